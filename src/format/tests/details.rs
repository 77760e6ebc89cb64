//! Cached parts and signed thinking, across an imitator that takes both from whoever has them.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::documents::quirky;
use crate::chat::{Chunk, Delta, PartKind};
use crate::format::{Anthropic, ClientApi, ClientRequest, NO_QUIRKS, OpenAi, ProviderFormat, Quirks};

fn quirks() -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_value(json!({"keeps": ["cache_control"], "thought": "details"})).unwrap()))
}

fn mark() -> Value {
    json!({"type": "ephemeral"})
}

#[test]
fn marks_and_signed_thinking_of_another_dialect_reach_whoever_takes_them() {
    let asked = json!({"model": "m", "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark()}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark()}],
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sg"},
                {"type": "redacted_thinking", "data": "dd"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {}, "cache_control": mark()}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "seen", "cache_control": mark()},
                {"type": "text", "text": "Go on.", "cache_control": mark()}]}]});
    let (encoded, body) = quirky("anthropic", "openai", quirks(), &asked).unwrap();
    let text = |text: &str| json!([{"type": "text", "text": text, "cache_control": mark()}]);
    let messages = &body["messages"];
    assert_eq!(messages[0]["content"], text("Be brief."));
    assert_eq!(
        messages[2]["reasoning_details"],
        json!([
            {"type": "reasoning.text", "text": "hm", "signature": "sg", "format": "anthropic-claude-v1", "index": 0},
            {"type": "reasoning.encrypted", "data": "dd", "format": "anthropic-claude-v1", "index": 1}
        ])
    );
    assert_eq!(messages[2]["tool_calls"][0].get("cache_control"), None, "no place for it is known there");
    assert_eq!(messages[3]["content"], text("seen"));
    assert_eq!(messages[4]["content"], text("Go on."));
    assert_eq!(body["tools"][0]["cache_control"], mark());
    assert_eq!(encoded.dropped.len(), 1, "{:?}", encoded.dropped);
    // Whoever takes neither gets neither.
    let (encoded, body) = quirky("anthropic", "openai", &NO_QUIRKS, &asked).unwrap();
    assert!(!body.to_string().contains("cache_control") && !body.to_string().contains("reasoning_details"), "{body}");
    assert_eq!(encoded.dropped.len(), 7, "{:?}", encoded.dropped);
}

/// An empty signature is none, and what another format sealed is none there.
#[test]
fn unsigned_thinking_is_no_detail() {
    let sealed = crate::format::sealed::seal("rs_1", "gAAA");
    for (signature, goes) in [("sg", true), ("", false), (sealed.as_str(), false)] {
        let block = json!({"type": "thinking", "thinking": "hm", "signature": signature});
        let said = json!({"role": "assistant", "content": "a", "thinking_blocks": [block]});
        let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}, said]});
        let (_, body) = quirky("openai", "openai", quirks(), &asked).unwrap();
        assert_eq!(body["messages"][1].get("reasoning_details").is_some(), goes, "{signature}: {body}");
    }
}

/// Signed thinking that a client of the same dialect holds goes back once, in its own field where it has that.
#[test]
fn a_client_s_own_details_are_not_said_twice() {
    let block = json!({"type": "thinking", "thinking": "hm", "signature": "sg"});
    let own = json!([{"type": "reasoning.text", "text": "hm", "signature": "sg"}]);
    let asked = |field: &str, value: &Value| {
        let said = json!({"role": "assistant", "content": "a", "thinking_blocks": [block], field: value});
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}, said]})
    };
    let (_, body) = quirky("openai", "openai", quirks(), &asked("reasoning_details", &own)).unwrap();
    assert_eq!(body["messages"][1]["reasoning_details"], own);
    let (_, body) = quirky("openai", "openai", quirks(), &asked("name", &json!("n"))).unwrap();
    assert_eq!(body["messages"][1]["reasoning_details"][0]["signature"], "sg");
}

#[test]
fn a_reply_s_details_are_signed_thinking_to_others_and_untouched_to_its_own() {
    let details = json!([
        {"type": "reasoning.text", "text": "rr", "signature": "sg", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "dd", "id": null, "format": "anthropic-claude-v1", "index": 1}]);
    let message = json!({"role": "assistant", "content": "x", "refusal": null, "reasoning_content": "rr", "reasoning_details": details});
    let reply = json!({"id": "1", "object": "chat.completion", "created": 5, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    let read = OpenAi.decode(reply.to_string().as_bytes()).unwrap();
    let thought = PartKind::Reasoning { text: "rr".to_owned(), signature: Some("sg".to_owned()) };
    assert_eq!(read.choices[0].parts[0].kind, thought);
    let same: Value = serde_json::from_slice(&OpenAi.reply(&read)).unwrap();
    assert_eq!(same["choices"][0]["message"], message);
    let other: Value = serde_json::from_slice(&Anthropic.reply(&read)).unwrap();
    assert_eq!(
        other["content"],
        json!([{"type": "thinking", "thinking": "rr", "signature": "sg"}, {"type": "redacted_thinking", "data": "dd"},
            {"type": "text", "text": "x"}])
    );
    // What is sealed for somebody else is no thinking of this format.
    let foreign = reply.to_string().replace("anthropic-claude-v1", "openai-responses-v1");
    let read = OpenAi.decode(foreign.as_bytes()).unwrap();
    assert_eq!(read.choices[0].parts[0].kind, PartKind::Reasoning { text: "rr".to_owned(), signature: None });
}

#[test]
fn a_stream_s_details_are_signatures_to_others_and_untouched_to_its_own() {
    let piece = |fields: Value| {
        let mut piece = json!({"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0});
        piece.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!([piece])
    };
    let deltas = [
        json!({"role": "assistant", "content": "", "reasoning_content": "r1", "reasoning_details": piece(json!({"text": "r1"}))}),
        json!({"reasoning_content": "r2", "reasoning_details": piece(json!({"text": "r2", "signature": "sg"}))}),
        json!({"content": "x"}),
    ];
    let event =
        |delta: &Value| json!({"id": "1", "created": 5, "model": "m", "choices": [{"index": 0, "delta": delta}]});
    let mut wire = deltas.iter().map(|delta| format!("data: {}\n\n", event(delta))).collect::<Vec<_>>().concat();
    wire.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&OpenAi), Vec::new());
    decoder.push(wire.as_bytes(), &mut chunks).unwrap();
    let said = |chunk: &Chunk| match &chunk.delta {
        Delta::Reasoning(text) => Some(format!("r:{text}")),
        Delta::ReasoningSignature(text) => Some(format!("s:{text}")),
        Delta::Text(text) => Some(format!("t:{text}")),
        _ => None,
    };
    assert_eq!(chunks.iter().filter_map(said).collect::<Vec<_>>(), ["r:r1", "r:r2", "s:sg", "t:x"]);
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let request = OpenAi.parse(&ClientRequest::post(http::Uri::default(), request.to_string())).unwrap();
    let mut encoder = ClientApi::stream(&OpenAi, &request);
    let mut out = BytesMut::new();
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(!text.contains("thinking_blocks"), "{text}");
    let told = |event: &str| {
        let event: Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
        Some(event["choices"][0]["delta"].get("reasoning_details")?.clone())
    };
    let told: Vec<Value> = text.split_terminator("\n\n").filter_map(told).collect();
    assert_eq!(told, deltas[..2].iter().map(|delta| delta["reasoning_details"].clone()).collect::<Vec<_>>());
}
