//! What vendors take of tools, of end users' names and of what was thought, whatever a client wrote.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{api, json, parse, provider, request};
use crate::chat::{Chunk, Delta, FinishReason};
use crate::format::{NO_QUIRKS, Quirks, Target};

fn quirks(written: Value) -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_value(written).unwrap()))
}

/// A body as a provider is sent it, and what was reported.
fn sent(from: &str, body: &Value, to: &str, quirks: &'static Quirks) -> (Value, Vec<String>) {
    let request = parse(from, body.to_string().as_bytes()).unwrap();
    let target = Target::plain("m", quirks, 9);
    let encoded = provider(to).encode(&request, &target).unwrap_or_else(|fault| panic!("{to}: {fault}"));
    (json(&encoded.body), encoded.dropped)
}

fn asked(more: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_user_whose_name_is_refused_is_told_by_a_digest() {
    let checked = quirks(json!({"names": "checked"}));
    let long = format!("user_{}_account__session_0f8fad5b-d9cb-469f-a165-70867728950e", "a".repeat(64));
    let user = |from: &str, user: &str, to: &str, quirks: &'static Quirks| {
        let said = if from == "openai" { json!({"user": user}) } else { json!({"metadata": {"user_id": user}}) };
        let (body, dropped) = sent(from, &asked(&said), to, quirks);
        let told = if to == "anthropic" { &body["metadata"]["user_id"] } else { &body["user"] };
        (told.as_str().unwrap().to_owned(), dropped)
    };
    for (from, name, to, quirks, is_kept) in [
        ("openai", "u-1", "anthropic", &NO_QUIRKS, true),
        ("openai", "ann@example.org", "anthropic", &NO_QUIRKS, false),
        ("openai", "+49 170 1234567", "anthropic", &NO_QUIRKS, false),
        ("openai", long.as_str(), "anthropic", &NO_QUIRKS, true),
        ("anthropic", "ann@example.org", "anthropic", &NO_QUIRKS, true),
        ("anthropic", long.as_str(), "openai", checked, false),
        ("anthropic", long.as_str(), "openai_responses", checked, false),
        ("openai", long.as_str(), "openai", checked, false),
        ("openai", "ann@example.org", "openai", checked, true),
        ("anthropic", long.as_str(), "openai", &NO_QUIRKS, true),
    ] {
        let (told, dropped) = user(from, name, to, quirks);
        assert_eq!(told == name, is_kept, "{from} {to} {name}: {told}");
        assert_eq!(dropped.contains(&"user".to_owned()), !is_kept, "{from} {to} {name}: {dropped:?}");
        assert!(is_kept || told.len() <= 64, "{told}");
        assert_eq!(user(from, name, to, quirks).0, told);
    }
    let identifier = json!({"safety_identifier": "s".repeat(129)});
    for to in ["openai", "openai_responses"] {
        let (body, dropped) = sent("openai", &asked(&identifier), to, checked);
        assert!(body["safety_identifier"].as_str().is_some_and(|told| told.len() <= 64), "{to}: {body}");
        assert_eq!(dropped, ["safety_identifier"], "{to}");
        assert_eq!(sent("openai", &asked(&identifier), to, &NO_QUIRKS).0["safety_identifier"], "s".repeat(129), "{to}");
    }
    // Whoever takes none is told none, once.
    let none = quirks(json!({"names": "checked", "refuses": ["user"]}));
    let (body, dropped) = sent("openai", &asked(&json!({"user": long})), "openai", none);
    assert_eq!((&body["user"], dropped), (&Value::Null, vec!["user".to_owned()]));
}

#[test]
fn of_what_clients_of_gateways_tell_of_a_request_anthropic_is_told_the_user() {
    let told = json!({"metadata": {"user_id": "u", "trace_name": "t", "tags": ["a"], "session_id": null}});
    let (body, dropped) = sent("anthropic", &asked(&told), "anthropic", &NO_QUIRKS);
    assert_eq!(body["metadata"], json!({"user_id": "u"}));
    assert_eq!(dropped, ["metadata.trace_name", "metadata.tags"]);
    let (body, dropped) = sent("anthropic", &asked(&json!({"metadata": {"tags": []}})), "anthropic", &NO_QUIRKS);
    assert_eq!((&body["metadata"], dropped), (&Value::Null, vec!["metadata.tags".to_owned()]));
}

#[test]
fn tools_that_say_little_are_said_as_each_provider_wants_them() {
    let function = |parameters: Option<Value>| {
        let mut function = json!({"name": "f"});
        function.as_object_mut().unwrap().extend(parameters.map(|parameters| ("parameters".to_owned(), parameters)));
        json!({"tools": [{"type": "function", "function": function}]})
    };
    let nothing = json!({"type": "object", "properties": {}});
    let strict = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {},
        "required": [], "additionalProperties": false});
    for (written, schema) in [
        (None, nothing.clone()),
        (Some(json!({})), json!({"type": "object"})),
        (Some(json!({"type": null})), json!({"type": "object"})),
        (Some(json!({"type": ["object", "null"]})), json!({"type": "object"})),
        (Some(nothing.clone()), nothing.clone()),
        (Some(strict.clone()), strict.clone()),
    ] {
        let body = asked(&function(written.clone()));
        let (at_anthropic, _) = sent("openai", &body, "anthropic", &NO_QUIRKS);
        assert_eq!(at_anthropic["tools"][0]["input_schema"], schema, "{written:?}");
        let (at_bedrock, _) = sent("openai", &body, "bedrock", &NO_QUIRKS);
        let spec = &at_bedrock["toolConfig"]["tools"][0]["toolSpec"];
        assert_eq!((&spec["inputSchema"]["json"], &spec["description"]), (&schema, &json!("f")), "{written:?}");
        let (at_gemini, _) = sent("openai", &body, "gemini", &NO_QUIRKS);
        assert_eq!(at_gemini["tools"][0]["functionDeclarations"], json!([{"name": "f"}]), "{written:?}");
    }
    // Where a schema may be of anything, and OpenAI asks for an object's properties.
    let tool = |schema: Value| asked(&json!({"tools": [{"name": "f", "input_schema": schema}]}));
    for written in [json!({"type": "object"}), json!({})] {
        let (body, _) = sent("anthropic", &tool(written.clone()), "openai", &NO_QUIRKS);
        assert_eq!(body["tools"][0]["function"]["parameters"], nothing, "{written}");
        let (body, _) = sent("anthropic", &tool(written.clone()), "openai_responses", &NO_QUIRKS);
        assert_eq!(body["tools"][0]["parameters"], nothing, "{written}");
    }
    let (body, _) = sent("openai", &asked(&function(Some(json!({"type": "object"})))), "openai", &NO_QUIRKS);
    assert_eq!(body["tools"][0]["function"]["parameters"], json!({"type": "object"}), "its own clients' are theirs");
}

#[test]
fn thinking_that_tells_nothing_is_no_block() {
    let thought = |text: &str| json!({"role": "assistant", "content": "Hello", "reasoning_content": text});
    for blank in ["", "\n\n"] {
        let messages = json!([{"role": "user", "content": "Hi"}, thought(blank), {"role": "user", "content": "Go"}]);
        for (to, content) in [("anthropic", json!("Hello")), ("bedrock", json!([{"text": "Hello"}]))] {
            let (body, dropped) = sent("openai", &asked(&json!({"messages": messages})), to, &NO_QUIRKS);
            assert_eq!((&body["messages"][1]["content"], dropped), (&content, vec![]), "{to} {blank:?}");
        }
        // Who imitates Anthropic takes thinking back that nobody signed, and none that is empty.
        let blocks =
            json!([{"type": "thinking", "thinking": blank, "signature": ""}, {"type": "text", "text": "Hello"}]);
        let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": blocks},
            {"role": "user", "content": "Go"}]);
        let (body, dropped) = sent("anthropic", &asked(&json!({"messages": messages})), "anthropic", &NO_QUIRKS);
        assert_eq!((&body["messages"][1]["content"], dropped), (&json!("Hello"), vec![]), "{blank:?}");

        let message = json!({"role": "assistant", "content": "Hello", "reasoning": blank, "reasoning_content": blank});
        let reply =
            json!({"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
        let reply = provider("openai").decode(reply.to_string().as_bytes()).unwrap();
        assert_eq!(json(&api("anthropic").reply(&reply))["content"], json!([{"type": "text", "text": "Hello"}]));
    }
    let signed = json!([{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "Hello"}]);
    let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": signed},
        {"role": "user", "content": "Go"}]);
    let (body, _) = sent("anthropic", &asked(&json!({"messages": messages})), "anthropic", &NO_QUIRKS);
    assert_eq!(body["messages"][1]["content"], signed, "what is signed goes back as it is");
}

#[test]
fn the_name_under_which_thinking_is_told_is_the_one_that_says_something() {
    let message = json!({"role": "assistant", "content": "Hello", "reasoning_content": "", "reasoning": "Hm."});
    let reply =
        json!({"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    let reply = provider("openai").decode(reply.to_string().as_bytes()).unwrap();
    let told = json(&api("anthropic").reply(&reply));
    assert_eq!(told["content"][0]["thinking"], "Hm.", "{told}");
    assert_eq!(json(&api("openai").reply(&reply))["choices"][0]["message"]["reasoning_content"], "Hm.");
}

#[test]
fn a_stream_s_thinking_begins_with_what_can_be_seen() {
    let told = |pieces: &[Delta]| {
        let mut encoder = api("anthropic").stream(&request("anthropic"));
        let mut out = BytesMut::new();
        let start = Delta::Start {
            id: "1".to_owned(),
            model: "m".to_owned(),
            created: None,
            dialect: crate::chat::Dialect::named("openai"),
        };
        for delta in std::iter::once(&start).chain(pieces).chain([&Delta::Finish(FinishReason::Stop)]) {
            encoder.chunk(&Chunk::of(delta.clone()), &mut out);
        }
        encoder.end(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    };
    let thought = |text: &str| Delta::Reasoning(text.to_owned());
    let hello = Delta::Text("Hello".to_owned());
    let written = told(&[thought("\n"), thought("\n"), hello.clone()]);
    assert!(!written.contains("thinking") && written.contains("\"index\":0"), "{written}");
    let written = told(&[thought("\n"), thought("Hm."), thought(" "), thought("So."), hello]);
    for piece in ["\"thinking\":\"\\nHm.\"", "\"thinking\":\" \"", "\"thinking\":\"So.\""] {
        assert!(written.contains(piece), "{piece}: {written}");
    }
}
