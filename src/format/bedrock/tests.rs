use serde_json::{Value, json};

use super::*;
use crate::chat::ServiceTier;
use crate::fault::FaultKind;
use crate::format::{ClientRequest, NO_QUIRKS, Quirks, client_apis};

fn encode(model: &str, body: &Value) -> Result<Encoded, AttemptFault> {
    with_quirks(&NO_QUIRKS, model, body)
}

/// They are read once and stay.
fn quirks(told: Value) -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_value(told).unwrap()))
}

fn with_quirks(quirks: &'static Quirks, model: &str, body: &Value) -> Result<Encoded, AttemptFault> {
    let api = client_apis().find(|api| api.name() == "openai").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), body.to_string())).unwrap();
    Bedrock.encode(&request, &Target { model, api_version: None, quirks, bare_stream: false, default_max_tokens: 9 })
}

fn hi(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn models_stand_in_the_path_as_one_segment() {
    for (model, stream, path) in [
        ("amazon.nova-lite-v1:0", false, "/model/amazon.nova-lite-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.a",
            true,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a/converse-stream",
        ),
    ] {
        assert_eq!(encode(model, &hi(&json!({"stream": stream}))).unwrap().path, path);
    }
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let history = json!([
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "x"}
    ]);
    let picture =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]}]);
    for (more, param) in [
        (json!({"n": 2}), "n"),
        (json!({"tools": tool, "messages": history, "tool_choice": "none"}), "tool_choice"),
        (json!({"messages": picture}), "messages[0].content[0]"),
    ] {
        let fault = encode("m", &hi(&more)).unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some(param)), "{fault}");
    }
    // Where no tool was called yet, no tools are the same as none to be called.
    let body = encode("m", &hi(&json!({"tools": tool, "tool_choice": "none"}))).unwrap().body;
    assert!(!String::from_utf8_lossy(&body).contains("toolConfig"));
}

#[test]
fn fields_of_its_own_pass_from_other_dialects() {
    let own = json!({
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 3}},
        "reasoning_effort": "low", "logit_bias": {"1": 2}
    });
    let encoded = encode("m", &hi(&own)).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body["guardrailConfig"]["guardrailIdentifier"], "g");
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({"inferenceConfig": {"topK": 3}, "reasoning_effort": "low"})
    );
    assert_eq!(encoded.dropped, ["logit_bias"]);
}

#[test]
fn models_get_of_sampling_what_they_take() {
    let asked = |kind: &str, more: Value| {
        let quirks = quirks(json!({"sampling": kind}));
        let encoded = with_quirks(quirks, "m", &hi(&more)).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        (body["inferenceConfig"].clone(), body["additionalModelRequestFields"].clone(), encoded.dropped, encoded.lost)
    };
    let both = json!({"temperature": 0.5, "top_p": 0.9, "top_k": 3});
    assert_eq!(
        asked("any", both.clone()),
        (json!({"temperature": 0.5, "topP": 0.9}), json!({"top_k": 3}), Vec::<String>::new(), Vec::new())
    );
    let (sent, more, dropped, lost) = asked("one", both.clone());
    assert_eq!((sent, more), (json!({"temperature": 0.5}), json!({"top_k": 3})));
    assert!(dropped == ["top_p"] && lost.is_empty(), "{dropped:?} {lost:?}");
    let (sent, _, _, lost) = asked("one", json!({"temperature": 1.5}));
    assert_eq!((sent, lost), (json!({"temperature": 1.0}), vec!["temperature"]));
    let (sent, more, dropped, lost) = asked("fixed", json!({"temperature": 0.2, "top_p": 1.0, "top_k": 3}));
    assert_eq!((sent, more), (Value::Null, Value::Null));
    assert!(dropped.contains(&"top_p".to_owned()) && lost == ["temperature", "top_k"], "{dropped:?} {lost:?}");
}

#[test]
fn what_a_model_cannot_read_or_hear_is_refused_by_name() {
    let part = |part: Value| hi(&json!({"messages": [{"role": "user", "content": [part]}]}));
    let recording = part(json!({"type": "input_audio", "input_audio": {"format": "mp3", "data": "AA=="}}));
    let no_audio = quirks(json!({"no_audio": true}));
    let fault = with_quirks(no_audio, "m", &recording).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("messages[0].content[0]"), "{fault}");
    assert!(encode("m", &recording).is_ok());
    let file = |kind: &str| {
        part(json!({"type": "file", "file": {"filename": "a", "file_data": format!("data:{kind};base64,AA==")}}))
    };
    let fault = encode("m", &file("application/rtf")).unwrap_err();
    assert!(fault.message.contains("`application/rtf`"), "{fault}");
    assert!(encode("m", &file("text/plain")).is_ok());
}

#[test]
fn tools_that_were_called_are_described_where_the_client_no_longer_does() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let history = json!({"messages": [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "tool_call_id": "a", "content": "x"}, {"role": "tool", "tool_call_id": "b", "content": "y"}
    ]});
    let body: Value = serde_json::from_slice(&encode("m", &hi(&history)).unwrap().body).unwrap();
    let spec = json!({"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}});
    assert_eq!(body["toolConfig"], json!({"tools": [{"toolSpec": spec}]}));
}

#[test]
fn the_least_effort_is_the_least_that_its_models_know() {
    let quirks = quirks(json!({"effort": "adaptive"}));
    let body = with_quirks(quirks, "m", &hi(&json!({"reasoning_effort": "minimal"}))).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["additionalModelRequestFields"]["output_config"]["effort"], "low");
}

#[test]
fn a_prompt_that_is_too_long_is_known_as_one_whatever_its_exception_is_called() {
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-errortype", "ValidationException:http://internal.amazon.com/".parse().unwrap());
    let told = |message: &str| json!({"message": message}).to_string();
    let long = "The model returned the following errors: Input is too long for requested model.";
    let code = |fault: AttemptFault| fault.code.unwrap_or_default();
    assert_eq!(code(error::read(400, &headers, told(long).as_bytes())), "context_length_exceeded");
    assert_eq!(code(error::inside_stream("validationException", &told(long))), "context_length_exceeded");
    assert_eq!(code(error::read(400, &headers, told("no such field").as_bytes())), "ValidationException");
    assert_eq!(
        code(error::inside_stream("throttlingException", &told("too many tokens, slow down"))),
        "throttlingException"
    );
}

#[test]
fn what_is_cached_for_an_hour_is_counted_apart() {
    let reply = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 11,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 8}, {"ttl": "5m", "inputTokens": 3}]}});
    let usage = Bedrock.decode(reply.to_string().as_bytes()).unwrap().usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens), (12, 11, 8));
}

#[test]
fn the_service_tier_of_a_reply_is_known() {
    let reply = |tier: &str| {
        json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 2}, "serviceTier": {"type": tier}})
    };
    for (word, tier) in
        [("priority", Some(ServiceTier::Priority)), ("flex", Some(ServiceTier::Flex)), ("default", None)]
    {
        let read = Bedrock.decode(reply(word).to_string().as_bytes()).unwrap();
        assert_eq!(read.usage.unwrap().tier, tier, "{word}");
    }
}
