use std::time::Duration;

use http::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::OpenAi;
use crate::chat::FinishReason;
use crate::fault::{FaultKind, Refusal, RefusalKind};
use crate::format::{ClientApi, ProviderFormat};

#[test]
fn every_shape_of_error_is_read() {
    for (status, body, kind, code, message, param) in [
        (
            429,
            r#"{"error":{"message":"Rate limit reached","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            FaultKind::RateLimited,
            Some("rate_limit_exceeded"),
            "Rate limit reached",
            None,
        ),
        (
            400,
            r#"{"error":{"message":"Bad","type":"invalid_request_error","param":"messages[0]","code":null}}"#,
            FaultKind::Rejected,
            Some("invalid_request_error"),
            "Bad",
            Some("messages[0]"),
        ),
        (401, r#"{"error":"bad key"}"#, FaultKind::Misconfigured, None, "bad key", None),
        (
            404,
            r#"{"object":"error","message":"no such model","type":"NotFoundError","param":null,"code":404}"#,
            FaultKind::Misconfigured,
            Some("404"),
            "no such model",
            None,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"listed","status":"INVALID_ARGUMENT"}}]"#,
            FaultKind::Rejected,
            Some("400"),
            "listed",
            None,
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["violence"],"flagged_input":"abc"}}}"#,
            FaultKind::Misconfigured,
            Some("content_policy_violation"),
            "flagged",
            None,
        ),
        (409, r#"{"error":"in the way"}"#, FaultKind::Unavailable, None, "in the way", None),
        (422, r#"{"detail":"not this way"}"#, FaultKind::Rejected, None, "not this way", None),
        (
            502,
            "<html><h1>Bad   Gateway</h1></html>",
            FaultKind::Unavailable,
            None,
            "<html><h1>Bad Gateway</h1></html>",
            None,
        ),
        (503, "", FaultKind::Unavailable, None, "the provider answered 503 without a message", None),
        (504, "{}", FaultKind::TimedOut, None, "the provider answered 504 without a message", None),
    ] {
        let fault = OpenAi.decode_error(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!(fault.kind, kind, "{body}");
        assert_eq!(fault.status, Some(status));
        assert_eq!(fault.code.as_deref(), code, "{body}");
        assert_eq!(fault.message, message, "{body}");
        assert_eq!(fault.param.as_deref(), param, "{body}");
    }
}

/// `OpenRouter`'s: the headers of a limit stand in the body, and what the model's maker said beside words of its own.
#[test]
fn what_a_body_repeats_of_headers_and_of_another_s_refusal_is_read() {
    let headers = HeaderMap::from_iter([("date".parse().unwrap(), "Wed, 15 Jul 2026 10:36:17 GMT".parse().unwrap())]);
    let limited = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day.","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1784111807000"},"provider_name":null}}}"#;
    let fault = OpenAi.decode_error(429, &headers, limited.as_bytes());
    assert_eq!((fault.kind, fault.retry_after), (FaultKind::RateLimited, Some(Duration::from_secs(30))));
    for (raw, told) in [
        (r#""{\"error\":{\"message\":\"too long\"}}""#, "Provider returned error: too long"),
        (r#""[{\"error\":{\"message\":\"too long\"}}]""#, "Provider returned error: too long"),
        (r#"{"detail":"too long"}"#, "Provider returned error: too long"),
        (r#""Bad Gateway""#, "Provider returned error: Bad Gateway"),
    ] {
        let body =
            format!(r#"{{"error":{{"message":"Provider returned error","code":400,"metadata":{{"raw":{raw}}}}}}}"#);
        assert_eq!(OpenAi.decode_error(400, &HeaderMap::new(), body.as_bytes()).message, told, "{raw}");
    }
}

#[test]
fn an_error_with_status_200_is_an_error() {
    let fault = OpenAi.decode(br#"{"error":{"message":"busy","code":503}}"#).unwrap_err();
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Unavailable, "busy"));
    let moderated = br#"{"error":{"message":"flagged","code":403,"metadata":{"flagged_input":"abc"}}}"#;
    let fault = OpenAi.decode(moderated).unwrap_err();
    assert_eq!((fault.kind, fault.code.as_deref()), (FaultKind::Rejected, Some("content_policy_violation")));
}

#[test]
fn every_refusal_has_the_vendors_shape() {
    for kind in RefusalKind::ALL {
        let refusal = Refusal::new(kind, "what \"and\" where").at("model");
        let body: Value = serde_json::from_slice(&OpenAi.refusal(&refusal, "id")).unwrap();
        let error = &body["error"];
        assert_eq!(error["message"], "what \"and\" where");
        assert_eq!(error["param"], "model");
        assert_eq!(error["code"], kind.as_str());
        // LiteLLM's clients look for the other word.
        let known = |word: &str| word.ends_with("_error") || word == "budget_exceeded";
        assert!(error["type"].as_str().is_some_and(known));
        assert_eq!(body.as_object().unwrap().len(), 1);
    }
    let mut theirs = Refusal::new(RefusalKind::Rejected, "too long");
    theirs.code = Some("context_length_exceeded".to_owned());
    let body: Value = serde_json::from_slice(&OpenAi.refusal(&theirs, "id")).unwrap();
    assert_eq!(
        body,
        json!({"error": {"message": "too long", "type": "invalid_request_error", "param": null, "code": "context_length_exceeded"}})
    );
}

#[test]
fn the_credential_is_a_bearer_key_that_is_not_shown() {
    let (name, value) = OpenAi.credential_header(&SecretString::from("sk-1"), None).unwrap();
    assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Bearer sk-1"));
    assert!(value.is_sensitive());
    assert!(OpenAi.credential_header(&SecretString::from("sk\n1"), None).is_none());
}

#[test]
fn a_reply_that_was_given_up_is_a_fault_in_a_stream_too() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
    let told = json!({"code": 502, "message": "Upstream idle timeout exceeded", "metadata": {"error_type": "provider_unavailable"}});
    for (word, error, kind, said) in [
        ("insufficient_system_resource", &Value::Null, FaultKind::Unavailable, "insufficient_system_resource"),
        ("network_error", &Value::Null, FaultKind::Unavailable, "network_error"),
        ("error", &Value::Null, FaultKind::BrokenStream, "error"),
        ("abort", &Value::Null, FaultKind::BrokenStream, "abort"),
        ("error", &told, FaultKind::Unavailable, "Upstream idle timeout exceeded"),
    ] {
        for beside in [false, true] {
            let reply = |name: &str| {
                let mut choice =
                    json!({"index": 0, "finish_reason": word, name: {"role": "assistant", "content": "He"}});
                let mut reply = json!({"id": "c1", "model": "m", "usage": usage});
                let place = if beside { &mut reply } else { &mut choice };
                place["error"] = error.clone();
                reply["choices"] = json!([choice]);
                reply
            };
            let whole = OpenAi.decode(reply("message").to_string().as_bytes()).unwrap_err();
            let (mut decoder, mut chunks) = (ProviderFormat::stream(&OpenAi), Vec::new());
            let streamed = decoder.push(format!("data: {}\n\n", reply("delta")).as_bytes(), &mut chunks).unwrap_err();
            for fault in [whole, streamed] {
                assert_eq!(fault.kind, kind, "{word}: {fault}");
                assert!(fault.message.contains(said), "{word}: {fault}");
                // An error in the place of a piece tells of itself alone.
                let is_beside = beside && !error.is_null();
                assert!(is_beside || fault.used.is_some_and(|used| used.input_tokens == 3), "{word}");
            }
        }
    }
}

#[test]
fn words_of_models_that_others_serve_say_why_a_reply_ended() {
    for (word, finish) in [
        ("sensitive", FinishReason::ContentFilter),
        ("model_length", FinishReason::Length),
        ("repetition_truncation", FinishReason::Other("repetition_truncation".to_owned())),
    ] {
        let message = json!({"role": "assistant", "content": "He"});
        let body =
            json!({"id": "c1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": word}]});
        let reply = OpenAi.decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(reply.choices[0].finish, Some(finish), "{word}");
    }
}
