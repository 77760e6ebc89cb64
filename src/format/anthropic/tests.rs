//! What this dialect alone knows; what both share is tested beside them.

use bytes::BytesMut;
use http::header::AUTHORIZATION;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Anthropic;
use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::chat::{ByOther, Chunk, Delta, FinishReason, ServiceTier, Surcharges, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::framing::EventDecoder;
use crate::format::{ProviderFormat, Quirks, StreamEncoder, Target};

fn target(api_version: Option<&str>) -> Target<'_> {
    Target { api_version, ..Target::plain("claude-x", &crate::format::NO_QUIRKS, 4096) }
}

fn parse(body: &Value) -> crate::chat::ChatRequest {
    crate::format::anthropic::parse::request(body.to_string().as_bytes()).unwrap()
}

#[test]
fn the_version_decides_the_credential_and_the_sampling_fields() {
    let key = SecretString::from("sk-1");
    let mut request = parse(&json!({
        "model": "chat", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5, "top_p": 0.25, "top_k": 3,
    }));
    request.max_tokens = None;
    for (version, sent, credential, sampled) in [
        (None, "2026-10-21", (AUTHORIZATION.as_str(), "Bearer sk-1"), false),
        (Some("2026-10-21"), "2026-10-21", (AUTHORIZATION.as_str(), "Bearer sk-1"), false),
        (Some("2027-01-01"), "2027-01-01", (AUTHORIZATION.as_str(), "Bearer sk-1"), false),
        (Some("2023-06-01"), "2023-06-01", ("x-api-key", "sk-1"), true),
    ] {
        let target = target(version);
        let (name, value) = Anthropic.credential_header(&key, target.api_version).unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), credential);
        assert!(value.is_sensitive());
        let encoded = Anthropic.encode(&request, &target).unwrap();
        assert_eq!(encoded.headers["anthropic-version"], sent);
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["max_tokens"], 4096, "the dialect demands a bound");
        for field in ["temperature", "top_p", "top_k"] {
            assert_eq!(body.get(field).is_some(), sampled, "{field} under {sent}");
            assert_eq!(encoded.dropped.iter().any(|dropped| dropped == field), !sampled, "{field} under {sent}");
        }
    }
}

#[test]
fn what_cannot_be_a_header_is_no_credential_and_no_version() {
    assert!(Anthropic.credential_header(&SecretString::from("a\nb"), None).is_none());
    let request = parse(&json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}));
    let fault = Anthropic.encode(&request, &target(Some("a\nb"))).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
}

#[test]
fn numbers_in_arguments_go_out_as_they_were_written() {
    let mut request = parse(&json!({"model": "m", "max_tokens": 1, "messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}]}));
    for arguments in ["{\"n\":1.10,\"big\":123456789012345678901234567890}", "{ }"] {
        if let crate::chat::PartKind::ToolCall { arguments: place, .. } =
            &mut std::sync::Arc::make_mut(&mut request.messages)[0].parts[0].kind
        {
            arguments.clone_into(place);
        }
        let encoded = Anthropic.encode(&request, &target(None)).unwrap();
        let body = std::str::from_utf8(&encoded.body).unwrap();
        assert!(body.contains(&format!("\"input\":{arguments}")), "{body}");
    }
}

#[test]
fn thinking_without_a_signature_goes_back_where_none_is_verified() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    let asked = json!({"role": "user", "content": "Go"});
    let called =
        json!({"role": "assistant", "content": [thought, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]});
    let edits = json!([{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}]);
    let body = json!({"model": "m", "max_tokens": 4000, "messages": [asked, called, result],
        "thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low"},
        "context_management": {"edits": edits}});
    // Who only imitates this provider signs nothing, and misses what does not come back.
    let imitator = Anthropic.encode(&parse(&body), &target(None)).unwrap();
    let sent: Value = serde_json::from_slice(&imitator.body).unwrap();
    for field in ["messages", "thinking", "output_config", "context_management"] {
        assert_eq!(sent[field], body[field], "{field}");
    }
    assert!(imitator.dropped.is_empty(), "{:?}", imitator.dropped);
    let quirks: &'static Quirks = Box::leak(Box::new(serde_json::from_value(json!({"thought": "signed"})).unwrap()));
    let verifies = Target { quirks, ..target(None) };
    let encoded = Anthropic.encode(&parse(&body), &verifies).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(sent["messages"][1]["content"], json!([called["content"][1]]));
    assert_eq!((sent.get("thinking"), &sent["output_config"]), (None, &body["output_config"]));
    assert_eq!(sent["context_management"], json!({"edits": [edits[1]]}));
    assert_eq!(encoded.dropped, ["thinking", "messages[1].content[0]", "context_management.edits"]);
    // A turn of which nothing is left is none.
    let mut alone = body;
    alone["messages"] = json!([asked, {"role": "assistant", "content": [thought]}, asked]);
    let encoded = Anthropic.encode(&parse(&alone), &verifies).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(sent["messages"].as_array().map(Vec::len), Some(1), "{sent}");
    assert_eq!((&sent["thinking"], encoded.dropped), (&alone["thinking"], vec!["messages[1].content[0]".to_owned()]));
}

fn read(events: &[Value]) -> Result<Vec<Chunk>, AttemptFault> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for event in events {
        decoder.event("", &event.to_string(), &mut out)?;
    }
    Ok(out)
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}})
}

fn block(index: u32, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

#[test]
fn the_short_way_reads_what_the_general_way_reads() {
    for (content, piece) in [
        (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": "é\u{2028}\"\\"})),
        (json!({"type": "thinking", "thinking": ""}), json!({"type": "thinking_delta", "thinking": "hm"})),
        (
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
            json!({"type": "input_json_delta", "partial_json": "{\"a\":"}),
        ),
        // A piece that is not of its block's kind passes whole either way.
        (json!({"type": "text", "text": ""}), json!({"type": "thinking_delta", "thinking": "hm"})),
        (json!({"type": "server_tool_use"}), json!({"type": "input_json_delta", "partial_json": "{}"})),
    ] {
        let short = read(&[start(), block(0, &content), delta(0, &piece)]).unwrap();
        let mut longer = delta(0, &piece);
        longer["a_new_field"] = json!(1);
        let mut general = read(&[start(), block(0, &content), longer]).unwrap();
        if let Delta::Other { value: Value::Object(value), .. } = &mut general.last_mut().unwrap().delta {
            value.shift_remove("a_new_field");
        }
        assert_eq!(short, general, "{piece}");
    }
}

#[test]
fn what_is_no_stream_of_this_dialect_is_a_fault() {
    let text = block(0, &json!({"type": "text", "text": "Hi"}));
    for events in [
        vec![text],
        vec![start(), json!({"type": "content_block_start", "content_block": {"type": "text"}})],
        vec![start(), block(0, &json!({"type": "tool_use", "name": "f"}))],
        vec![start(), json!({"type": "content_block_delta", "index": "one", "delta": {}})],
        vec![json!({"type": "message_start"})],
    ] {
        assert_eq!(read(&events).unwrap_err().kind, FaultKind::BrokenStream, "{events:?}");
    }
    let mut decoder = Decoder::default();
    assert_eq!(decoder.event("", "{", &mut Vec::new()).unwrap_err().kind, FaultKind::BrokenStream);
}

#[test]
fn an_error_inside_a_stream_has_its_kind() {
    for (word, kind) in [
        ("overloaded_error", FaultKind::Unavailable),
        ("api_error", FaultKind::Unavailable),
        ("an_error_of_tomorrow", FaultKind::Unavailable),
        ("rate_limit_error", FaultKind::RateLimited),
        ("timeout_error", FaultKind::TimedOut),
        ("invalid_request_error", FaultKind::Rejected),
        ("request_too_large", FaultKind::Rejected),
        ("authentication_error", FaultKind::Misconfigured),
        ("billing_error", FaultKind::Misconfigured),
        ("not_found_error", FaultKind::Misconfigured),
    ] {
        let event = json!({"type": "error", "error": {"type": word, "message": "No."}});
        let fault = read(&[start(), event.clone()]).unwrap_err();
        assert_eq!((fault.kind, fault.code.as_deref(), fault.message.as_str()), (kind, Some(word), "No."));
        // Some imitators send it as a whole reply, with status 200.
        assert_eq!(Anthropic.decode(event.to_string().as_bytes()).unwrap_err(), fault);
    }
}

#[test]
fn counts_are_totals_and_all_input_is_input() {
    let first = json!({"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11,
        "output_tokens": 1, "service_tier": "priority"});
    let chunks = read(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": first}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 40, "input_tokens": null, "output_tokens_details": {"thinking_tokens": 9}}}),
    ])
    .unwrap();
    let counted: Vec<&Usage> = chunks
        .iter()
        .filter_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(&**usage),
            _ => None,
        })
        .collect();
    let [before, after] = counted.as_slice() else { panic!("{counted:?}") };
    assert_eq!((before.input_tokens, before.output_tokens), (23, 1));
    assert_eq!((after.input_tokens, after.cache_read_tokens, after.cache_write_tokens), (23, 7, 11));
    assert_eq!((after.output_tokens, after.reasoning_tokens), (40, 9));
    assert_eq!((after.rest["service_tier"].as_str(), after.tier), (Some("priority"), Some(ServiceTier::Priority)));
    assert!(chunks.iter().any(|chunk| chunk.delta == Delta::Finish(FinishReason::Stop)));
}

#[test]
fn what_makes_a_reply_dearer_is_told_by_its_usage_whole_or_streamed() {
    let first = json!({"input_tokens": 5, "output_tokens": 1, "speed": "fast", "inference_geo": "US",
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0}});
    let last = json!({"output_tokens": 40, "server_tool_use": {"web_search_requests": 5, "web_fetch_requests": 1}});
    let mut whole = first.clone();
    whole.as_object_mut().unwrap().extend(last.as_object().unwrap().clone());
    let reply = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "usage": whole});
    let read_whole = Anthropic.decode(reply.to_string().as_bytes()).unwrap().usage.unwrap();
    let chunks = read(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": first}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}),
    ])
    .unwrap();
    let streamed = chunks.iter().rev().find_map(|chunk| match &chunk.delta {
        Delta::Usage(usage) => Some(&**usage),
        _ => None,
    });
    assert_eq!(streamed, Some(&read_whole));
    assert_eq!((read_whole.searches, read_whole.surcharges), (5, Surcharges { fast: true, us: true }));
    // Clients of this API are told it as it came.
    assert_eq!(read_whole.rest["server_tool_use"], last["server_tool_use"]);
    let usual = json!({"input_tokens": 5, "output_tokens": 1, "speed": "standard", "inference_geo": "not_available"});
    let reply = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "usage": usual});
    let usual = Anthropic.decode(reply.to_string().as_bytes()).unwrap().usage.unwrap();
    assert_eq!((usual.searches, usual.surcharges), (0, Surcharges::default()));
}

#[test]
fn what_is_cached_for_an_hour_is_counted_apart() {
    let whole = json!({"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 8}, "output_tokens": 1});
    let counts = |usage: &Usage| (usage.input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens);
    let reply = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "usage": whole});
    let usage = Anthropic.decode(reply.to_string().as_bytes()).unwrap().usage.unwrap();
    assert_eq!(counts(&usage), (23, 11, 8));
    assert_eq!(Value::Object(usage.rest), json!({"cache_creation": whole["cache_creation"]}));
    // In a stream the last event says no more of it, or all of it again.
    for last in [json!({"output_tokens": 40}), whole.clone()] {
        let chunks = read(&[
            json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": whole}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}),
        ]);
        for chunk in chunks.unwrap() {
            if let Delta::Usage(usage) = &chunk.delta {
                assert_eq!(counts(usage), (23, 11, 8));
            }
        }
    }
}

#[test]
fn what_summing_up_took_is_counted_beside_the_totals_which_clients_are_told_as_they_came() {
    let made = |kind: &str, input: u64, output: u64| {
        json!({"type": kind, "input_tokens": input, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, "output_tokens": output})
    };
    let whole = json!({"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11, "output_tokens": 40,
        "iterations": [made("compaction", 1000, 200), made("message", 5, 40)]});
    let reply = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "usage": whole});
    let decoded = Anthropic.decode(reply.to_string().as_bytes()).unwrap();
    let counts = |usage: &Usage| {
        let written = (usage.cache_write_tokens, usage.cache_write_1h_tokens);
        (usage.input_tokens, usage.cache_read_tokens, written, usage.output_tokens)
    };
    let expected = (5 + 7 + 11 + 1000 + 30 + 4, 7 + 4, (11 + 30, 20), 240);
    assert_eq!(decoded.usage.as_ref().map(counts), Some(expected));
    let told: Value = serde_json::from_slice(&crate::format::anthropic::reply::write(&decoded)).unwrap();
    assert_eq!(told["usage"], whole);
    let chunks = read(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": whole}),
    ]);
    let chunks = chunks.unwrap();
    let last = chunks.iter().rev().find_map(|chunk| match &chunk.delta {
        Delta::Usage(usage) => Some(counts(usage)),
        _ => None,
    });
    assert_eq!(last, Some(expected));
}

#[test]
fn advice_is_told_beside_the_counts_with_the_model_that_gave_it_and_told_once() {
    let made = |kind: &str, input: u64, output: u64| {
        json!({"type": kind, "model": "claude-opus-4-6", "input_tokens": input, "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": output})
    };
    let whole = json!({"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11, "output_tokens": 40,
        "speed": "fast", "inference_geo": "us",
        "iterations": [made("message", 5, 20), made("advisor_message", 800, 1500), made("message", 9, 20)]});
    let reply = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "usage": whole});
    let advice = Usage {
        input_tokens: 800 + 30 + 4,
        cache_read_tokens: 4,
        cache_write_tokens: 30,
        cache_write_1h_tokens: 20,
        output_tokens: 1500,
        surcharges: Surcharges { fast: false, us: true },
        ..Usage::default()
    };
    let expected = (5 + 7 + 11, 40, vec![ByOther { model: "claude-opus-4-6".to_owned(), usage: advice }]);
    let told = |usage: &Usage| (usage.input_tokens, usage.output_tokens, usage.by_others.clone());
    let decoded = Anthropic.decode(reply.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.usage.as_ref().map(told).as_ref(), Some(&expected));
    let written: Value = serde_json::from_slice(&crate::format::anthropic::reply::write(&decoded)).unwrap();
    assert_eq!(written["usage"], whole);
    let chunks = read(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": whole}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": whole}),
    ]);
    let chunks = chunks.unwrap();
    let last = chunks.iter().rev().find_map(|chunk| match &chunk.delta {
        Delta::Usage(usage) => Some(told(usage)),
        _ => None,
    });
    assert_eq!(last, Some(expected));
}

#[test]
fn an_event_of_tomorrow_is_passed_unless_its_name_breaks_the_line() {
    for (name, passed) in [("a_new_event", true), ("a\n\ndata: {}", false), ("", false)] {
        let chunks = read(&[start(), json!({"type": name, "index": 7, "note": "x"})]).unwrap();
        let mut encoder = Encoder::default();
        let mut out = BytesMut::new();
        for chunk in &chunks {
            encoder.chunk(chunk, &mut out);
        }
        let text = std::str::from_utf8(&out).unwrap();
        let expected = "event: a_new_event\ndata: {\"type\":\"a_new_event\",\"index\":7,\"note\":\"x\"}\n\n";
        assert_eq!(text.ends_with(expected), passed, "{text}");
        assert_eq!(text.matches("event: ").count(), if passed { 2 } else { 1 }, "{text}");
    }
}

#[test]
fn a_name_is_enough_where_the_data_has_no_type() {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    decoder.event("message_start", "{\"message\":{\"id\":\"msg_1\",\"model\":\"m\"}}", &mut out).unwrap();
    assert!(matches!(out.as_slice(), [Chunk { delta: Delta::Start { .. }, .. }]), "{out:?}");
    decoder.event("message_stop", "{}", &mut out).unwrap();
    assert!(decoder.is_complete());
}

#[test]
fn headers_tell_when_all_of_a_limit_is_there_again() {
    let told = |more: &[(&'static str, &'static str)]| {
        let limits = [
            ("anthropic-ratelimit-input-tokens-limit", "50000"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "1994-11-06T08:49:40Z"),
        ];
        let pairs = limits
            .iter()
            .chain(more)
            .map(|&(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        Anthropic.limits_in_headers(&pairs.collect())
    };
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
    for (more, reset, again) in [
        (vec![], None, None),
        (vec![date], seconds(3), None),
        (vec![date, ("retry-after", "2")], seconds(3), seconds(2)),
        (vec![("date", "Sun, 06 Nov 1994 08:50:37 GMT")], seconds(0), None),
    ] {
        let told = told(&more);
        assert_eq!(
            (told.len(), told[0].used, told[0].reset, told[0].again),
            (1, Some(50_000), reset, again),
            "{more:?}"
        );
    }
}
