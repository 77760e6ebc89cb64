use serde_json::{Value, json};

use super::*;
use crate::chat::{Delta, ServiceTier};
use crate::fault::FaultKind;
use crate::format::framing::EventDecoder;
use crate::format::{ClientRequest, NO_QUIRKS, Quirks, client_apis};

fn encode(model: &str, body: &Value) -> Result<Encoded, AttemptFault> {
    with_quirks(&NO_QUIRKS, model, body)
}

/// They are read once and stay.
fn quirks(told: Value) -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_value(told).unwrap()))
}

fn with_quirks(quirks: &'static Quirks, model: &str, body: &Value) -> Result<Encoded, AttemptFault> {
    asked_by("openai", quirks, model, body)
}

fn asked_by(client: &str, quirks: &'static Quirks, model: &str, body: &Value) -> Result<Encoded, AttemptFault> {
    let api = client_apis().find(|api| api.name() == client).unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), body.to_string())).unwrap();
    Bedrock.encode(&request, &Target::plain(model, quirks, 9))
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
    let spec = json!({"name": "f", "description": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}});
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
fn a_limit_of_the_account_is_one_whatever_its_status() {
    for (status, name, expected) in [
        (400, "ServiceQuotaExceededException", FaultKind::RateLimited),
        (400, "ThrottlingException:http://internal.amazon.com/", FaultKind::RateLimited),
        (429, "ThrottlingException", FaultKind::RateLimited),
        (400, "ValidationException", FaultKind::Rejected),
        (424, "ModelErrorException", FaultKind::Unavailable),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", name.parse().unwrap());
        let body = json!({"message": "Your request exceeds the service quota for your account."}).to_string();
        assert_eq!(error::read(status, &headers, body.as_bytes()).kind, expected, "{status} {name}");
    }
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

/// A body and what is reported of a request.
fn sent(client: &str, quirks: &'static Quirks, more: &Value) -> (Value, Vec<String>) {
    let mut body = hi(more);
    if client == "anthropic" {
        body["max_tokens"] = json!(900);
    }
    let encoded = asked_by(client, quirks, "m", &body).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

#[test]
fn models_that_know_no_thinking_are_told_an_effort_as_each_takes_it() {
    let kind = |effort: &str, levels: &[&str]| {
        quirks(json!({"effort": effort, "refuses": ["thinking"], "thinking": {"levels": levels}}))
    };
    let greatest = kind("greatest", &["none", "low", "medium", "high"]);
    let (word, nested, never) = (kind("word", &["low", "medium", "high"]), kind("nested", &[]), kind("never", &[]));
    let off = json!({"thinking": {"type": "disabled"}});
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    let agent = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}});
    let effort = |effort: &str| json!({"reasoning_effort": effort});
    let told = |effort: &str| json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}});
    let disabled = json!({"reasoningConfig": {"type": "disabled"}});
    let bound = json!({"reasoning_effort": "high", "max_completion_tokens": 900});
    for (quirks, client, more, expected, dropped) in [
        (greatest, "openai", effort("low"), told("low"), vec![]),
        (greatest, "openai", effort("xhigh"), told("high"), vec!["reasoning_effort"]),
        (greatest, "openai", bound, told("medium"), vec!["reasoning_effort"]),
        (greatest, "openai", effort("none"), disabled.clone(), vec![]),
        (greatest, "openai", off.clone(), disabled, vec![]),
        (greatest, "openai", budget.clone(), told("low"), vec!["thinking.budget_tokens"]),
        (greatest, "anthropic", agent.clone(), told("medium"), vec!["thinking.type"]),
        (greatest, "anthropic", adaptive.clone(), Value::Null, vec!["thinking.type"]),
        (word, "openai", effort("medium"), effort("medium"), vec![]),
        (word, "openai", effort("minimal"), effort("low"), vec!["reasoning_effort"]),
        (word, "anthropic", agent.clone(), effort("medium"), vec!["thinking.type"]),
        (nested, "openai", effort("low"), json!({"reasoning": {"effort": "low"}}), vec![]),
        (nested, "anthropic", off.clone(), Value::Null, vec!["thinking.type"]),
        (never, "openai", effort("low"), Value::Null, vec!["reasoning_effort"]),
        (never, "anthropic", off, Value::Null, vec![]),
        (never, "anthropic", budget, Value::Null, vec!["thinking.budget_tokens"]),
        (never, "anthropic", agent, Value::Null, vec!["reasoning_effort", "thinking.type"]),
        (never, "openai", adaptive, Value::Null, vec!["thinking.type"]),
    ] {
        let (body, left) = sent(client, quirks, &more);
        assert_eq!((&body["additionalModelRequestFields"], left), (&expected, strings(&dropped)), "{client}: {more}");
    }
    let (body, left) = sent("openai", greatest, &json!({"reasoning_effort": "high", "temperature": 0.2, "top_k": 3}));
    assert_eq!((&body["inferenceConfig"], left), (&Value::Null, strings(&["temperature", "top_k"])), "{body}");
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_to_be_cached_is_marked_where_models_take_marks() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let text = json!([{"type": "text", "text": "Hi", "cache_control": mark}]);
    let body = json!({"system": text, "messages": [{"role": "user", "content": text}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]});
    let marks = |body: &Value| {
        [&body["system"], &body["messages"][0]["content"], &body["toolConfig"]["tools"]].map(|list| list[1].clone())
    };
    let point = json!({"cachePoint": {"type": "default"}});
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    let said =
        |ending: &str| vec![format!("messages[0].content[0].{ending}"), format!("messages[1].content[0].{ending}")];
    let (sent_body, left) = sent("anthropic", &NO_QUIRKS, &body);
    assert_eq!((marks(&sent_body), left), ([hour.clone(), hour, point.clone()], vec![]));
    let (sent_body, left) = sent("anthropic", quirks(json!({"cache_points": "said"})), &body);
    let mut dropped = said("cache_control.ttl");
    dropped.push("tools[0].cache_control".to_owned());
    assert_eq!((marks(&sent_body), left), ([point.clone(), point, Value::Null], dropped));
    let (sent_body, left) = sent("anthropic", quirks(json!({"cache_points": "nowhere"})), &body);
    let mut dropped = said("cache_control");
    dropped.push("tools[0].cache_control".to_owned());
    assert_eq!((marks(&sent_body), left), ([Value::Null, Value::Null, Value::Null], dropped));
}

#[test]
fn thinking_goes_back_to_models_that_take_it() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
    let history = json!({"messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [thought, {"type": "redacted_thinking", "data": "c2ln"}]},
        {"role": "user", "content": "Go on"}
    ]});
    let (body, left) = sent("anthropic", &NO_QUIRKS, &history);
    assert_eq!((body["messages"].as_array().map(Vec::len), left), (Some(3), vec![]), "{body}");
    let (body, left) = sent("anthropic", quirks(json!({"thought": "refused"})), &history);
    assert_eq!(body["messages"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(left, ["messages[1].content[0]", "messages[1].content[1]"]);
}

#[test]
fn a_document_keeps_what_is_told_of_it() {
    let source = json!({"type": "text", "media_type": "text/plain", "data": "Green."});
    let document = json!({"type": "document", "source": source, "title": "Grass", "context": "A field.",
        "citations": {"enabled": true}, "cache_control": {"type": "ephemeral"}, "newer": 1});
    let (body, left) = sent("anthropic", &NO_QUIRKS, &json!({"messages": [{"role": "user", "content": [document]}]}));
    let expected = json!({"format": "txt", "name": "Grass", "source": {"text": "Green."}, "context": "A field.",
        "citations": {"enabled": true}});
    let content = json!([{"text": "."}, {"document": expected}, {"cachePoint": {"type": "default"}}]);
    assert_eq!((&body["messages"][0]["content"], left), (&content, strings(&["messages[0].content[0].newer"])));
}

#[test]
fn a_turn_with_documents_has_a_text() {
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let user = |content: Value| json!({"role": "user", "content": content});
    let told = |messages: Value| {
        let (body, left) = sent("openai", &NO_QUIRKS, &json!({"messages": messages}));
        assert_eq!(left, strings(&[]), "{body}");
        let turns = body["messages"].as_array().unwrap().iter();
        let blocks = turns.map(|turn| turn["content"].as_array().unwrap().iter());
        let kind = |block: &Value| block["text"].as_str().unwrap_or("document").to_owned();
        blocks.map(|blocks| blocks.map(kind).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(told(json!([user(json!([file, file]))])), [[".", "document", "document"]]);
    assert_eq!(told(json!([user(json!([file, text(" ")]))])), [[".", "document"]]);
    assert_eq!(told(json!([user(json!([file])), user(json!("Read."))])), [["document", "Read."]]);
    assert_eq!(told(json!([user(json!("Read."))])), [["Read."]]);
}

#[test]
fn a_service_tier_is_asked_for_in_its_own_words() {
    for (more, tier, dropped) in [
        (json!({"service_tier": "flex"}), json!({"type": "flex"}), vec![]),
        (json!({"service_tier": "priority"}), json!({"type": "priority"}), vec![]),
        (json!({"service_tier": "auto"}), Value::Null, vec!["service_tier"]),
        (json!({"serviceTier": {"type": "reserved"}}), json!({"type": "reserved"}), vec![]),
        (
            json!({"serviceTier": {"type": "flex"}, "service_tier": "priority"}),
            json!({"type": "flex"}),
            vec!["service_tier"],
        ),
        (json!({"serviceTier": "flex"}), Value::Null, vec!["serviceTier"]),
    ] {
        let (body, left) = sent("openai", &NO_QUIRKS, &more);
        assert_eq!((&body["serviceTier"], left), (&tier, strings(&dropped)), "{more}");
    }
}

#[test]
fn fields_of_one_vendor_s_models_are_named_as_theirs() {
    let quirks = quirks(json!({"message_refuses": ["strict"], "renames": {"top_k": "inferenceConfig.topK"}}));
    let tool = json!({"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object"}}});
    let (body, left) = sent("openai", quirks, &json!({"tools": [tool], "top_k": 3}));
    assert_eq!(body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 3}}));
    let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
    assert_eq!((spec.get("strict"), left), (None, strings(&["tools[0].strict"])), "{body}");
    assert_eq!(spec["inputSchema"]["json"], json!({"type": "object"}), "nothing is held to it");
}

#[test]
fn a_call_of_a_tool_that_takes_nothing_has_no_arguments_and_not_none() {
    let start = json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}});
    let piece =
        |input: &str| ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": input}}}));
    for (pieces, expected) in
        [(vec![], "{}"), (vec![piece("")], "{}"), (vec![piece(""), piece("{\"a\":"), piece("1}")], "{\"a\":1}")]
    {
        let mut events = vec![("contentBlockStart", start.clone())];
        events.extend(pieces);
        events.push(("contentBlockStop", json!({"contentBlockIndex": 0})));
        let (mut decoder, mut out) = (decoder::Decoder::default(), Vec::new());
        for (name, data) in &events {
            decoder.event(name, &data.to_string(), &mut out).unwrap();
        }
        let fragments = out.iter().filter_map(|chunk| match &chunk.delta {
            Delta::ToolArguments { index: 0, fragment } => Some(fragment.as_str()),
            _ => None,
        });
        assert_eq!(fragments.collect::<String>(), expected);
    }
}

#[test]
fn what_claude_knows_of_what_is_tried_out_goes_to_it_by_name() {
    let (context, thinking) = ("context-1m-2025-08-07", "interleaved-thinking-2025-05-14");
    let claude = quirks(json!({"betas": [context, thinking]}));
    let own = json!({"anthropic_beta": [thinking, "mine"]});
    for (quirks, header, own, expected, is_left) in [
        (claude, context.to_owned(), None, json!([context]), false),
        (claude, format!("claude-code-20250219, {thinking},{context}"), None, json!([thinking, context]), true),
        (claude, format!("{context},{thinking}"), Some(own), json!([thinking, "mine", context]), false),
        (claude, "claude-code-20250219".to_owned(), None, Value::Null, true),
        (&NO_QUIRKS, context.to_owned(), None, Value::Null, true),
    ] {
        let mut body = hi(&json!({"max_tokens": 9}));
        if let Some(own) = own {
            body["additionalModelRequestFields"] = own;
        }
        let mut asked = ClientRequest::post("/".parse().unwrap(), body.to_string());
        asked.headers.insert("anthropic-beta", header.parse().unwrap());
        let request = client_apis().find(|api| api.name() == "anthropic").unwrap().parse(&asked).unwrap();
        let target = Target::plain("m", quirks, 9);
        let encoded = Bedrock.encode(&request, &target).unwrap();
        let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(sent["additionalModelRequestFields"]["anthropic_beta"], expected, "{header}");
        let dropped: &[&str] = if is_left { &["anthropic-beta"] } else { &[] };
        assert_eq!(encoded.dropped, dropped, "{header}");
        assert!(encoded.headers.is_empty(), "{:?}", encoded.headers);
    }
}

#[test]
fn the_beginning_of_a_reply_is_refused_by_name_where_the_model_takes_none() {
    let asked = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "He"}]});
    for client in ["openai", "anthropic"] {
        let mut body = hi(&asked);
        body["max_tokens"] = json!(9);
        let fault = asked_by(client, quirks(json!({"wants": ["last_word"]})), "m", &body).unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some("messages[1]")), "{fault}");
        assert!(asked_by(client, &NO_QUIRKS, "m", &body).is_ok());
    }
}

#[test]
fn a_reply_that_went_wrong_before_it_said_anything_is_a_fault_with_what_it_cost() {
    let usage = json!({"inputTokens": 5, "outputTokens": 3, "totalTokens": 8});
    let told =
        |fault: &AttemptFault| (fault.kind, fault.code.clone(), fault.used.as_ref().map(|used| used.output_tokens));
    for word in ["malformed_model_output", "malformed_tool_use"] {
        let expected = (FaultKind::BrokenStream, Some(word.to_owned()), Some(3));
        let whole = |content: Value| {
            let output = json!({"message": {"role": "assistant", "content": content}});
            Bedrock.decode(json!({"output": output, "stopReason": word, "usage": usage}).to_string().as_bytes())
        };
        assert_eq!(told(&whole(json!([{"text": " "}])).unwrap_err()), expected);
        assert!(whole(json!([{"text": "Hi"}])).is_ok());
        let thought = json!([{"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}}]);
        assert_eq!(told(&whole(thought).unwrap_err()), expected, "what was only thought is nothing said");
        for (delta, metadata, fault, is_complete) in [
            (json!({"text": ""}), true, Some(expected.clone()), true),
            (json!({"text": ""}), false, None, false),
            (json!({"reasoningContent": {"text": "Hm"}}), true, Some(expected), true),
            (json!({"text": "Hi"}), true, None, true),
        ] {
            let (mut decoder, mut out) = (decoder::Decoder::default(), Vec::new());
            let mut events = vec![
                ("messageStart", json!({"role": "assistant"})),
                ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": delta})),
                ("messageStop", json!({"stopReason": word})),
            ];
            events.extend(metadata.then(|| ("metadata", json!({"usage": usage}))));
            let found = events.iter().find_map(|(name, data)| decoder.event(name, &data.to_string(), &mut out).err());
            decoder.end(&mut out);
            assert_eq!((found.as_ref().map(told), decoder.is_complete()), (fault, is_complete), "{delta} {metadata}");
        }
    }
}
