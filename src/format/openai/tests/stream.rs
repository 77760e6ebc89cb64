use bytes::BytesMut;
use serde_json::{Value, json};

use super::{OpenAi, parse};
use crate::chat::{Chunk, Delta, FinishReason, ServiceTier, Usage};
use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};
use crate::format::ClientApi;
use crate::format::framing::EventDecoder;
use crate::format::openai::DIALECT;
use crate::format::openai::decoder::Decoder;

fn decode(events: &[Value]) -> Result<Vec<Chunk>, AttemptFault> {
    let mut decoder = Decoder::default();
    let mut chunks = Vec::new();
    for event in events {
        decoder.event("", &event.to_string(), &mut chunks)?;
        assert!(!decoder.is_complete());
    }
    decoder.event("", "[DONE]", &mut chunks)?;
    assert!(decoder.is_complete());
    Ok(chunks)
}

/// The events a client reads, `[DONE]` left out.
fn encode(chunks: &[Chunk], wants_usage: bool) -> Vec<Value> {
    let request = parse(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": true,
        "stream_options": {"include_usage": wants_usage}}));
    let mut encoder = ClientApi::stream(&OpenAi, &request);
    let mut out = BytesMut::new();
    for chunk in chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.end(&mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let text = text.strip_suffix("data: [DONE]\n\n").unwrap();
    let events = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
    events.map(|event| serde_json::from_str(event).unwrap()).collect()
}

fn event(choices: &Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "gpt-x", "choices": choices})
}

fn delta(delta: &Value) -> Value {
    event(&json!([{"index": 0, "delta": delta, "finish_reason": null}]))
}

fn deltas(chunks: &[Chunk]) -> Vec<Delta> {
    chunks.iter().map(|chunk| chunk.delta.clone()).collect()
}

fn start() -> Delta {
    Delta::Start { id: "c1".to_owned(), model: "gpt-x".to_owned(), created: Some(5), dialect: DIALECT }
}

#[test]
fn the_same_dialect_gets_everything_back() {
    let with = |mut event: Value, name: &str, value: Value| {
        event[name] = value;
        event
    };
    let events = [
        with(delta(&json!({"role": "assistant", "content": ""})), "system_fingerprint", json!("fp")),
        with(delta(&json!({"content": "Hel"})), "obfuscation", json!("xyz")),
        event(&json!([{"index": 0, "delta": {"content": "lo"}, "logprobs": {"content": [1]}, "finish_reason": null}])),
        event(&json!([{"index": 1, "delta": {"role": "assistant", "content": "Two"}, "finish_reason": null}])),
        delta(&json!({"reasoning_content": "hm"})),
        delta(&json!({"refusal": "No"})),
        delta(&json!({"tool_calls": [{"index": 0, "id": "a", "type": "function",
            "function": {"name": "f", "arguments": ""}, "extra_content": {"x": 1}}]})),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"q\":"}}]})),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]})),
        delta(
            &json!({"tool_calls": [{"index": 1, "id": "b", "type": "custom", "custom": {"name": "g", "input": "i"}}]}),
        ),
        delta(&json!({"audio": {"data": "AAAA"}})),
        event(&json!([{"index": 1, "delta": {}, "finish_reason": "length"}])),
        event(&json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])),
        with(event(&json!([])), "moderation", json!({"input": {}})),
    ];
    let mut all = events.to_vec();
    all.push(with(
        event(&json!([])),
        "usage",
        json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 1}, "x": 1}),
    ));
    let chunks = decode(&all).unwrap();
    assert_eq!(encode(&chunks, true), all);
    assert_eq!(encode(&chunks, false), events);
}

/// Plain text is read a short way, and only it. A null beside it sends the same event the long way.
#[test]
fn the_short_way_reads_like_the_long_one() {
    let piece = |delta: Value| event(&json!([{"index": 2, "delta": delta, "logprobs": null, "finish_reason": null}]));
    let said = json!({"role": "assistant", "content": "a\n\u{2028}\"é", "refusal": null, "tool_calls": null});
    let mut full = piece(said);
    for (name, value) in [
        ("service_tier", json!("flex")),
        ("system_fingerprint", json!("fp")),
        ("obfuscation", json!("xx")),
        ("usage", json!(null)),
    ] {
        full[name] = value;
    }
    let mut bare = piece(json!({"content": "x"}));
    bare.as_object_mut().unwrap().retain(|name, _| name == "choices");
    let mut odd = full.clone();
    odd["system_fingerprint"] = json!("f\"p");
    let thinking = piece(json!({"content": null, "reasoning_content": "hm"}));
    let empty = piece(json!({"content": "", "role": "assistant"}));
    let both = piece(json!({"content": "x", "reasoning_content": "y"}));
    let short_ways = [&full, &bare, &odd, &thinking, &empty, &both].map(|piece| {
        let mut long = piece.clone();
        long["nothing"] = Value::Null;
        let first = delta(&json!({"role": "assistant"}));
        assert_eq!(decode(&[first.clone(), piece.clone()]).unwrap(), decode(&[first, long]).unwrap(), "{piece}");
        crate::format::openai::decoder::text_piece(&piece.to_string()).is_some()
    });
    assert_eq!(short_ways, [true, true, false, true, false, false]);
}

#[test]
fn one_event_may_say_several_things() {
    let mut whole = event(&json!([{"index": 0, "finish_reason": "stop", "logprobs": {"content": [2]},
        "delta": {"role": "assistant", "content": "Hi", "refusal": null, "tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
            {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}}]));
    whole["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 2});
    whole["service_tier"] = json!("flex");
    let chunks = decode(&[whole]).unwrap();
    let call = |index, id: &str, name: &str| Delta::ToolCall { index, id: id.to_owned(), name: name.to_owned() };
    let arguments = |index| Delta::ToolArguments { index, fragment: "{}".to_owned() };
    assert_eq!(
        deltas(&chunks),
        [
            start(),
            Delta::Text("Hi".to_owned()),
            call(0, "a", "f"),
            arguments(0),
            call(1, "b", "g"),
            arguments(1),
            Delta::Finish(FinishReason::Stop),
            Delta::Usage(Box::new(Usage {
                input_tokens: 1,
                output_tokens: 2,
                tier: Some(ServiceTier::Flex),
                ..Usage::default()
            }))
        ]
    );
    assert_eq!(Value::Object(chunks[0].rest.clone()), json!({"service_tier": "flex"}));
    assert_eq!(Value::Object(chunks[1].rest.clone()), json!({"choices": [{"logprobs": {"content": [2]}}]}));
    assert!(chunks[2..].iter().all(|chunk| chunk.rest.is_empty()));
}

#[test]
fn a_stream_that_cites_what_it_found_was_searched_for() {
    let mut last = event(&json!([]));
    last["usage"] = json!({"prompt_tokens": 100, "completion_tokens": 10});
    let searches = |kind: &str| {
        let cited = delta(&json!({"annotations": [{"type": kind, "url_citation": {"url": "https://a"}}]}));
        let chunks = decode(&[delta(&json!({"content": "x"})), cited, last.clone()]).unwrap();
        chunks.iter().find_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(usage.searches),
            _ => None,
        })
    };
    assert_eq!([searches("url_citation"), searches("file_citation")], [Some(1), Some(0)]);
}

#[test]
fn a_stream_s_usage_is_read_as_a_reply_s() {
    let mut last = event(&json!([]));
    last["usage"] = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 610, "cached_tokens": 32,
        "completion_tokens_details": {"reasoning_tokens": 500}});
    let chunks = decode(&[delta(&json!({"content": "x"})), last]).unwrap();
    let usage = chunks.iter().find_map(|chunk| match &chunk.delta {
        Delta::Usage(usage) => Some((usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens)),
        _ => None,
    });
    assert_eq!(usage, Some((32, 510, 500)));
}

/// Tool calls as imitators stream them: (pieces, the ids and arguments they make).
#[test]
fn tool_calls_are_told_apart() {
    let piece = |index: Value, id: Value, name: Value, arguments: &str| {
        delta(&json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}))
    };
    let null = Value::Null;
    for (what, pieces, expected) in [
        (
            "the id repeated with every piece",
            vec![piece(json!(0), json!("a"), json!("f"), "{"), piece(json!(0), json!("a"), json!("f"), "}")],
            vec![("a", "{}")],
        ),
        (
            "a new id with every piece",
            vec![piece(json!(0), json!("a"), json!("f"), "{"), piece(json!(0), json!("b"), null.clone(), "}")],
            vec![("a", "{}")],
        ),
        (
            "every call at index 0",
            vec![
                piece(json!(0), json!("a"), json!("f"), "1"),
                piece(json!(0), json!("b"), json!("f"), "2"),
                piece(json!(0), null.clone(), null.clone(), "3"),
            ],
            vec![("a", "1"), ("b", "23")],
        ),
        (
            "no index",
            vec![
                piece(null.clone(), json!("a"), json!("f"), "1"),
                piece(null.clone(), null.clone(), null.clone(), "2"),
                piece(null.clone(), json!("b"), json!("f"), "3"),
            ],
            vec![("a", "12"), ("b", "3")],
        ),
        (
            "no id",
            vec![piece(json!(0), null.clone(), json!("f"), "1"), piece(json!(1), json!(""), json!("g"), "2")],
            vec![("call_0_0", "1"), ("call_0_1", "2")],
        ),
        (
            "interleaved",
            vec![
                piece(json!(0), json!("a"), json!("f"), "1"),
                piece(json!(1), json!("b"), json!("g"), "2"),
                piece(json!(0), null.clone(), null, "3"),
            ],
            vec![("a", "13"), ("b", "2")],
        ),
    ] {
        let mut calls: Vec<(String, String)> = Vec::new();
        for chunk in decode(&pieces).unwrap() {
            match chunk.delta {
                Delta::ToolCall { index, id, .. } => {
                    assert_eq!(index as usize, calls.len());
                    calls.push((id, String::new()));
                }
                Delta::ToolArguments { index, fragment } => calls[index as usize].1.push_str(&fragment),
                _ => {}
            }
        }
        let expected: Vec<_> = expected.into_iter().map(|(id, text)| (id.to_owned(), text.to_owned())).collect();
        assert_eq!(calls, expected, "{what}");
    }
}

#[test]
fn the_reply_begins_where_it_begins() {
    let filter = json!({"id": "", "model": "", "choices": [], "prompt_filter_results": [1]});
    let chunks =
        decode(&[filter, delta(&json!({"role": "assistant", "content": ""})), delta(&json!({"content": "x"}))])
            .unwrap();
    assert_eq!(deltas(&chunks), [start(), Delta::Text("x".to_owned())]);
    assert_eq!(Value::Object(chunks[0].rest.clone()), json!({"prompt_filter_results": [1]}));
}

#[test]
fn a_message_in_the_place_of_deltas_is_the_reply_and_one_behind_them_repeats_it() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "Hi", "tool_calls": [call]});
    let whole = event(&json!([{"index": 0, "message": message, "finish_reason": "stop"}]));
    let said = deltas(&decode(std::slice::from_ref(&whole)).unwrap());
    assert_eq!(said[..2], [start(), Delta::Text("Hi".to_owned())]);
    assert!(matches!(&said[2], Delta::ToolCall { name, .. } if name == "f"), "{said:?}");
    assert_eq!(said.last(), Some(&Delta::Finish(FinishReason::Stop)));
    let alternative = |index: u32| json!({"index": index, "message": {"content": "Hi"}, "finish_reason": "stop"});
    let both = decode(&[event(&json!([alternative(0), alternative(1)]))]).unwrap();
    let said = both.iter().filter(|chunk| matches!(chunk.delta, Delta::Text(_))).map(|chunk| chunk.choice);
    assert_eq!(said.collect::<Vec<_>>(), [0, 1]);
    for first in [json!({"content": "Hi"}), json!({"role": "assistant"})] {
        let events = [delta(&first), delta(&json!({"content": "Ho"})), whole.clone()];
        let said = deltas(&decode(&events).unwrap());
        assert!(!said.iter().any(|delta| matches!(delta, Delta::ToolCall { .. })), "{said:?}");
    }
}

#[test]
fn an_error_ends_the_stream() {
    for (error, kind) in [
        (json!({"error": {"message": "m", "type": "server_error"}}), FaultKind::Unavailable),
        (json!({"error": {"message": "m", "code": 429}}), FaultKind::RateLimited),
        (json!({"error": {"message": "m", "code": "rate_limit_exceeded"}}), FaultKind::RateLimited),
        (json!({"error": {"message": "m", "type": "too_many_requests"}}), FaultKind::RateLimited),
        (json!({"error": {"message": "m", "type": "invalid_request_error", "code": null}}), FaultKind::Rejected),
        (json!({"error": {"message": "m", "code": "504"}}), FaultKind::TimedOut),
        (json!({"error": "m"}), FaultKind::Unavailable),
    ] {
        let fault = decode(&[delta(&json!({"content": "x"})), error.clone()]).unwrap_err();
        assert_eq!((fault.kind, fault.message.as_str()), (kind, "m"), "{error}");
    }
    let mut decoder = Decoder::default();
    for broken in ["{\"id\":", "[1]", "{\"choices\":[{\"delta\":7}]}", "{\"choices\":7}"] {
        let fault = decoder.event("", broken, &mut Vec::new()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BrokenStream, "{broken}");
    }
    assert!(!decoder.is_complete());
}

#[test]
fn another_dialects_stream_reads_well() {
    let text = |text: &str| text.to_owned();
    let foreign = Delta::Other { event: text("ping"), value: json!({"type": "ping"}) };
    let mut cited = Chunk::of(Delta::Text(text("Hi")));
    cited.rest.insert(text("citations"), json!([]));
    let chunks = [
        Chunk::of(Delta::Start {
            id: text("msg_1"),
            model: text("m"),
            created: None,
            dialect: crate::format::anthropic::DIALECT,
        }),
        Chunk::of(foreign),
        Chunk::of(Delta::Reasoning(text("t1"))),
        Chunk::of(Delta::ReasoningSignature(text("s1"))),
        Chunk::of(Delta::Reasoning(text("t2"))),
        cited,
        Chunk::of(Delta::ToolCall { index: 0, id: text("toolu_1"), name: text("f") }),
        Chunk::of(Delta::ToolArguments { index: 0, fragment: text("{\"a\":\"\u{2028}\"}") }),
        Chunk::of(Delta::Usage(Box::new(Usage { input_tokens: 3, ..Usage::default() }))),
        Chunk::of(Delta::Finish(FinishReason::Refusal)),
        Chunk::of(Delta::Usage(Box::new(Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() }))),
    ];
    let events = encode(&chunks, true);
    let said: Vec<&Value> =
        events.iter().filter_map(|event| event["choices"].get(0)).map(|choice| &choice["delta"]).collect();
    let block = |index: u32, name: &str, text: &str| json!({"index": index, "type": "thinking", name: text});
    assert_eq!(
        said,
        [
            &json!({"role": "assistant", "content": ""}),
            &json!({"reasoning_content": "t1", "thinking_blocks": [block(0, "thinking", "t1")]}),
            &json!({"thinking_blocks": [block(0, "signature", "s1")]}),
            &json!({"reasoning_content": "t2", "thinking_blocks": [block(1, "thinking", "t2")]}),
            &json!({"content": "Hi"}),
            &json!({"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
            &json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":\"\u{2028}\"}"}}]}),
            &json!({})
        ]
    );
    assert_eq!(events[7]["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(events[8]["usage"]["total_tokens"], 5);
    assert_eq!(events.len(), 9);
    assert!(events.iter().all(|event| event["id"] == "msg_1" && event["created"] == 0));
}

#[test]
fn an_error_is_the_last_event() {
    let request = parse(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}));
    let mut out = BytesMut::new();
    ClientApi::stream(&OpenAi, &request).error(&Refusal::new(RefusalKind::Upstream, "gone"), "id", &mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        "data: {\"error\":{\"message\":\"gone\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream\"}}\n\n"
    );
}

#[test]
fn clients_of_mistral_find_a_choice_in_every_chunk() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": true});
    for (agent, told) in
        [("ai/7.0.173 ai-sdk-mistral/4.0.87", Some(1)), ("mistral-client-python/3.7.0", Some(1)), ("curl", None)]
    {
        let mut asked = crate::format::ClientRequest::post(http::Uri::default(), body.to_string());
        asked.headers.insert(http::header::USER_AGENT, agent.parse().unwrap());
        let mut encoder = ClientApi::stream(&OpenAi, &OpenAi.parse(&asked).unwrap());
        let mut out = BytesMut::new();
        let usage = Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() };
        for delta in
            [start(), Delta::Text("Hi".to_owned()), Delta::Finish(FinishReason::Stop), Delta::Usage(Box::new(usage))]
        {
            encoder.chunk(&Chunk::of(delta), &mut out);
        }
        encoder.end(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let events = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
        let events: Vec<Value> = events.filter_map(|event| serde_json::from_str(event).ok()).collect();
        assert!(events.iter().all(|event| event["choices"].get(0).is_some()), "{agent}: {text}");
        let usage = events.iter().find(|event| event["usage"].is_object());
        assert_eq!(usage.map(|event| event["choices"].as_array().unwrap().len()), told, "{agent}: {text}");
    }
}
