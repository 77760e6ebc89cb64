use std::path::PathBuf;

use super::*;

fn fixture(kind: &str, name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect").join(kind);
    std::fs::read(folder.join("openai_responses").join(name)).unwrap()
}

fn names(kind: &str) -> Vec<String> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect").join(kind).join("openai_responses");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn parts(name: &str) -> (Vec<PartKind>, Option<FinishReason>) {
    let reply = ResponsesProvider.decode(&fixture("replies", name)).unwrap();
    let choice = reply.choices.into_iter().next().unwrap();
    (choice.parts.into_iter().map(|part| part.kind).collect(), choice.finish)
}

/// A stream in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Chunk>, Option<AttemptFault>, bool) {
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&ResponsesProvider), Vec::new());
    let mut fault = None;
    for piece in pieces {
        fault = fault.or_else(|| decoder.push(piece, &mut chunks).err());
    }
    fault = fault.or_else(|| decoder.finish(&mut chunks).err());
    (chunks, fault, decoder.is_complete())
}

fn streamed(name: &str) -> (Vec<PartKind>, Vec<Delta>) {
    let (chunks, fault, is_complete) = read([&fixture("streams", name)[..]]);
    assert!(fault.is_none() && is_complete, "{name}: {fault:?}");
    let deltas: Vec<Delta> = chunks.into_iter().map(|chunk| chunk.delta).collect();
    let mut parts = PartsOfDeltas::default();
    deltas.iter().cloned().for_each(|delta| parts.add(delta));
    (parts.into_parts().into_iter().map(|part| part.kind).collect(), deltas)
}

fn text(text: &str) -> PartKind {
    PartKind::Text(text.to_owned())
}

fn call(id: &str, name: &str, arguments: &str) -> PartKind {
    PartKind::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

const THOUGHTS: &str = "**Weighing the question**\n\nIt is about rivers.\n\n**Answering**\n\nThe longest is asked for.";
const SEALED: &str = "gAAAAABor0Ay_k3-sealed-thoughts_01";

#[test]
fn what_a_whole_reply_says_is_in_its_items() {
    let (said, finish) = parts("reasoning.json");
    let [PartKind::Reasoning { text: thoughts, signature: Some(signature) }, answer] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!((thoughts.as_str(), answer, finish), (THOUGHTS, &text("The Nile."), Some(FinishReason::Stop)));
    let id = "rs_68af4030baa48193b0b43b4c2a176a1a05438e46b5f69a3b";
    assert_eq!(open(signature), Some((id.to_owned(), SEALED.to_owned())));
    let (said, finish) = parts("tools.json");
    let calls = [
        call("call_2U0ZMCgQhYNEoMzkRu2dPlXX", "get_weather", r#"{"city":"Paris"}"#),
        call("call_pAj7yNzW0kdYbGdMsBVkyB2m", "get_time", "{}"),
    ];
    assert_eq!((&said[1..], finish), (&calls[..], Some(FinishReason::ToolCalls)));
    let (said, _) = parts("custom_tool.json");
    let patch = json!({"input": "*** Begin Patch\n*** End Patch"}).to_string();
    assert_eq!(
        said,
        [
            call("call_c1", "apply_patch", &patch),
            call("call_s1", "local_shell", r#"{"command":["ls"],"env":{},"timeout_ms":1000}"#)
        ]
    );
    let (said, finish) = parts("length.json");
    assert_eq!((said.len(), finish), (2, Some(FinishReason::Length)));
    assert!(said[0].redacted().and_then(open).is_some());
    assert_eq!(parts("filtered.json"), (vec![], Some(FinishReason::ContentFilter)));
    assert_eq!(
        parts("refusal.json"),
        (vec![PartKind::Refusal("I can't help with that.".to_owned())], Some(FinishReason::Refusal))
    );
    let reply = ResponsesProvider.decode(&fixture("replies", "refusal.json")).unwrap();
    assert_eq!(reply.usage.and_then(|usage| usage.tier), Some(ServiceTier::Flex));
    let reply = ResponsesProvider.decode(&fixture("replies", "tools.json")).unwrap();
    let usage = reply.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.tier), (80, 120, 96, None));
    assert_eq!((reply.model.as_str(), reply.created), ("gpt-5-pro-2025-10-06", Some(1_756_315_696)));
}

#[test]
fn searches_are_counted_and_the_opening_of_pages_is_not() {
    let call = |action: Value| json!({"type": "web_search_call", "id": "ws", "status": "completed", "action": action});
    let items = [
        call(json!({"type": "search", "query": "a"})),
        call(json!({"type": "open_page", "url": "https://a"})),
        call(Value::Null),
    ];
    let mut response = json!({"id": "r", "model": "m", "status": "completed", "output": items,
        "usage": {"input_tokens": 9, "output_tokens": 2}});
    let searches = |response: &Value, with_items: bool| {
        let whole = ResponsesProvider.decode(response.to_string().as_bytes()).unwrap();
        let mut done = response.clone();
        if !with_items {
            done["output"] = json!([]);
        }
        let events = items
            .iter()
            .enumerate()
            .map(|(place, item)| json!({"type": "response.output_item.done", "output_index": place, "item": item}));
        let events = events.chain([json!({"type": "response.completed", "response": done})]);
        let body = events.map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>().concat();
        let (chunks, fault, is_complete) = read([body.as_bytes()]);
        assert!(fault.is_none() && is_complete, "{fault:?}");
        let streamed = chunks.iter().find_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(usage.searches),
            _ => None,
        });
        (whole.usage.map(|usage| usage.searches), streamed)
    };
    assert_eq!(searches(&response, true), (Some(2), Some(2)));
    assert_eq!(searches(&response, false), (Some(2), Some(2)));
    // What the response itself counts is what it is billed for.
    response["tool_usage"] = json!({"web_search": {"num_requests": 1}});
    assert_eq!(searches(&response, true), (Some(1), Some(1)));
}

#[test]
fn what_pictures_were_drawn_with_is_counted_beside_what_the_model_used() {
    let asked = json!({"type": "image_generation", "model": "gpt-image-2", "size": "auto"});
    let counted = json!({"input_tokens": 50, "output_tokens": 20, "total_tokens": 70});
    let none = json!({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0});
    let all = json!({"input_tokens": 1100, "input_tokens_details": {"image_tokens": 1000, "text_tokens": 100},
        "cached_tokens": 300, "cached_tokens_details": {"cached_image_tokens": 200, "cached_text_tokens": 100},
        "output_tokens": 4200, "output_tokens_details": {"image_tokens": 4160, "text_tokens": 40}, "total_tokens": 5300});
    let few = json!({"input_tokens": 100, "input_tokens_details": {"image_tokens": 0, "text_tokens": 100},
        "output_tokens": 4160, "total_tokens": 4260});
    let of_all = Usage {
        input_tokens: 1100,
        cache_read_tokens: 300,
        image_input_tokens: 1000,
        image_cache_read_tokens: 200,
        output_tokens: 4200,
        image_output_tokens: 4160,
        ..Usage::default()
    };
    let of_few = Usage { input_tokens: 100, output_tokens: 4160, image_output_tokens: 4160, ..Usage::default() };
    let by = |model: &str, usage: &Usage| vec![ByOther { model: model.to_owned(), usage: usage.clone() }];
    for (tools, image_gen, expected) in [
        (json!([{"type": "web_search"}, asked]), all.clone(), by("gpt-image-2", &of_all)),
        (json!([asked]), few, by("gpt-image-2", &of_few)),
        (json!([]), all, by("", &of_all)),
        (json!([asked]), none, Vec::new()),
        (json!([asked]), Value::Null, Vec::new()),
    ] {
        let whole = json!({"id": "r", "model": "m", "status": "completed", "output": [], "usage": counted, "tools": tools,
            "tool_usage": {"image_gen": image_gen, "web_search": {"num_requests": 0}}});
        let used = ResponsesProvider.decode(whole.to_string().as_bytes()).unwrap().usage.unwrap();
        assert_eq!((used.input_tokens, used.output_tokens, &used.by_others), (50, 20, &expected), "{whole}");
        let events = [json!({"type": "response.completed", "response": whole})];
        let (chunks, fault, _) = read([wire(&events).as_bytes()]);
        assert!(fault.is_none(), "{fault:?}");
        assert!(chunks.iter().any(|chunk| chunk.delta == Delta::Usage(Box::new(used.clone()))), "{chunks:?}");
    }
}

#[test]
fn a_reply_that_failed_or_is_not_made_yet_is_a_fault() {
    for (body, kind) in [
        (
            json!({"status": "failed", "output": [], "error": {"code": "server_error", "message": "x"}}),
            FaultKind::Unavailable,
        ),
        (
            json!({"status": "failed", "output": [], "error": {"code": "invalid_prompt", "message": "x"}}),
            FaultKind::Rejected,
        ),
        (
            json!({"status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "x"}}),
            FaultKind::RateLimited,
        ),
        (
            json!({"status": "failed", "output": [], "error": {"code": "context_length_exceeded", "message": "x"}}),
            FaultKind::Rejected,
        ),
        (json!({"status": "failed", "output": [], "error": null}), FaultKind::Unavailable),
        (json!({"status": "cancelled", "output": []}), FaultKind::Unavailable),
        (json!({"status": "queued", "output": []}), FaultKind::BrokenStream),
        (json!({"id": "x"}), FaultKind::BrokenStream),
    ] {
        assert_eq!(ResponsesProvider.decode(body.to_string().as_bytes()).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn a_stream_says_what_the_whole_reply_does() {
    for (stream, whole) in
        [("refusal.sse", "refusal.json"), ("length.sse", "length.json"), ("search.sse", "search.json")]
    {
        let (said, deltas) = streamed(stream);
        let (expected, finish) = parts(whole);
        let shown = |kind: &&PartKind| !matches!(kind, PartKind::Other(_));
        assert_eq!(
            said.iter().filter(shown).collect::<Vec<_>>(),
            expected.iter().filter(shown).collect::<Vec<_>>(),
            "{stream}"
        );
        assert!(deltas.contains(&Delta::Finish(finish.unwrap())), "{stream}");
    }
    let (said, deltas) = streamed("reasoning.sse");
    let [
        PartKind::Reasoning { text: first, signature: one },
        PartKind::Reasoning { text: second, signature: two },
        answer,
    ] = said.as_slice()
    else {
        panic!("{said:?}")
    };
    assert_eq!((first.as_str(), second.as_str(), answer), (THOUGHTS, "More.", &text("The Nile.")));
    assert_eq!(one.as_deref().and_then(open), Some(("rs_1".to_owned(), SEALED.to_owned())));
    assert_eq!(two.as_deref().and_then(open), Some(("rs_2".to_owned(), "gAAAAABmore==".to_owned())));
    let Some(Delta::Usage(usage)) = deltas.last() else { panic!("{deltas:?}") };
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (300, 256));
    let (said, deltas) = streamed("tools.sse");
    assert_eq!(said[1..], [text("I look."), parts("tools.json").0[1].clone(), parts("tools.json").0[2].clone()]);
    assert!(said[0].redacted().is_some() && deltas.contains(&Delta::Finish(FinishReason::ToolCalls)));
    let Some(Delta::Usage(usage)) = deltas.last() else { panic!("{deltas:?}") };
    assert_eq!(usage.tier, Some(ServiceTier::Priority));
    assert_eq!(streamed("custom_tool.sse").0, parts("custom_tool.json").0[..1]);
    let (said, _) = streamed("whole_items.sse");
    assert_eq!(said.len(), 3, "{said:?}");
    let (_, deltas) = streamed("logprobs.sse");
    assert_eq!(deltas.iter().filter(|delta| matches!(delta, Delta::Logprobs(_))).count(), 2);
}

#[test]
fn a_stream_without_its_end_or_with_an_error_is_none() {
    let (chunks, fault, is_complete) = read([&fixture("streams", "cut.sse")[..]]);
    assert!(!chunks.is_empty() && fault.is_none() && !is_complete);
    for (name, kind, code) in [
        ("failed.sse", FaultKind::Unavailable, "server_error"),
        ("too_long.sse", FaultKind::Rejected, "context_length_exceeded"),
        ("error.sse", FaultKind::RateLimited, "rate_limit_exceeded"),
    ] {
        let (_, fault, is_complete) = read([&fixture("streams", name)[..]]);
        let fault = fault.unwrap();
        assert_eq!((fault.kind, fault.code.as_deref(), is_complete), (kind, Some(code), false), "{name}");
    }
}

#[test]
fn how_a_stream_is_cut_says_nothing() {
    for name in names("streams") {
        let body = fixture("streams", &name);
        let whole = read([&body[..]]);
        assert_eq!(whole, read(body.chunks(1)), "{name}, byte by byte");
        assert_eq!(whole, read(body.chunks(7)), "{name}, in sevens");
        // Some proxies leave the events' names out, and some the spaces.
        let bare: String = String::from_utf8(body).unwrap().replace("event: ", "x: ").replace("\ndata: ", "\ndata:");
        assert_eq!(whole, read([bare.as_bytes()]), "{name}, without names");
    }
}

#[test]
fn every_text_event_says_the_same_by_both_ways() {
    // The quick way takes no event with a field that it does not know.
    for name in names("streams") {
        let body = String::from_utf8(fixture("streams", &name)).unwrap();
        let slow = body.replace("\"sequence_number\"", "\"unknown\":1,\"sequence_number\"");
        assert_eq!(read([body.as_bytes()]), read([slow.as_bytes()]), "{name}");
    }
}

#[test]
fn where_it_is_from_and_what_the_provider_did_is_told_to_those_who_know_such() {
    let api = |name: &str| client_apis().find(|api| api.name() == name).unwrap();
    let reply = ResponsesProvider.decode(&fixture("replies", "search.json")).unwrap();
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let own: Value = json(&fixture("replies", "search.json"));
    let mut searched = own["output"][0].clone();
    let id = own["id"].as_str().unwrap().trim_start_matches("resp_");
    searched["id"] = format!("ws_1-{id}_0").into();
    let told = json(&api("openai-responses").reply(&reply));
    assert_eq!(told["output"][0], searched);
    assert_eq!(told["output"][1]["content"], own["output"][1]["content"]);
    let told = json(&api("openai").reply(&reply));
    let cited = json!({"start_index": 0, "end_index": 9, "url": "https://example.org/nile", "title": "The Nile"});
    let citations = json!([{"type": "url_citation", "url_citation": cited}]);
    assert_eq!(told["choices"][0]["message"]["annotations"], citations);
    let (chunks, ..) = read([&fixture("streams", "search.sse")[..]]);
    let written = |name: &str| {
        let request = api(name).parse(&ClientRequest::post("/".parse().unwrap(), asked(name).to_string())).unwrap();
        let (mut encoder, mut out) = (api(name).stream(&request), bytes::BytesMut::new());
        for chunk in &chunks {
            encoder.chunk(chunk, &mut out);
        }
        encoder.end(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect::<Vec<Value>>()
    };
    let events = written("openai");
    assert!(events.iter().any(|event| event["choices"][0]["delta"]["annotations"] == citations), "{events:?}");
    let events = written("openai-responses");
    let response = &events.last().unwrap()["response"];
    assert_eq!((&response["output"][0], &response["output"][1]["content"]), (&searched, &own["output"][1]["content"]));
    assert!(events.iter().any(|event| event["type"] == "response.output_text.annotation.added"));
    for name in ["anthropic", "gemini"] {
        assert!(!String::from_utf8_lossy(&api(name).reply(&reply)).contains("web_search_call"), "{name}");
    }
}

/// A small request of a client's API.
fn asked(client: &str) -> Value {
    match client {
        "openai-responses" => json!({"model": "m", "input": "Hi", "stream": true}),
        _ => json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}),
    }
}

#[test]
fn thinking_that_is_not_its_own_is_told_from_other_refusals() {
    let code = |code: &str| {
        json!({"error": {"message": "x", "type": "invalid_request_error", "param": null, "code": code}}).to_string()
    };
    let fault = |body: &str| ResponsesProvider.decode_error(400, &HeaderMap::new(), body.as_bytes());
    assert!(ResponsesProvider.refuses_thoughts(&fault(&code("invalid_encrypted_content"))));
    assert!(AzureResponses.refuses_thoughts(&fault(&code("invalid_encrypted_content"))));
    assert!(!ResponsesProvider.refuses_thoughts(&fault(&code("invalid_prompt"))));
}

#[test]
fn a_call_without_a_word_is_one() {
    let item = json!({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""});
    let reply = ResponsesProvider.decode(json!({"output": [item]}).to_string().as_bytes()).unwrap();
    assert_eq!(reply.choices[0].parts[0].kind, call("c", "f", r#"{"input":""}"#));
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}}),
    ];
    let (chunks, fault, _) = read([wire(&events).as_bytes()]);
    assert!(fault.is_none(), "{fault:?}");
    let arguments = Delta::ToolArguments { index: 0, fragment: r#"{"input":""}"#.to_owned() };
    assert!(chunks.iter().any(|chunk| chunk.delta == arguments), "{chunks:?}");
}

fn wire(events: &[Value]) -> String {
    let told: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    told.concat()
}

#[test]
fn pictures_and_phases_come_back_as_they_were_told() {
    let picture = json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AA==",
        "output_format": "jpeg", "revised_prompt": "A river.", "size": "1024x1024"});
    let message = |phase: &str, text: &str| {
        let content = json!([{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]);
        json!({"type": "message", "id": "x", "status": "completed", "role": "assistant", "phase": phase, "content": content})
    };
    let items =
        [message("commentary", "I look."), picture, message("commentary", "On."), message("final_answer", "Done.")];
    let whole = json!({"id": "r", "model": "m", "status": "completed", "output": items});
    let mut events = vec![json!({"type": "response.created", "response": {"id": "r", "model": "m"}})];
    for (index, item) in items.iter().enumerate() {
        for kind in ["response.output_item.added", "response.output_item.done"] {
            events.push(json!({"type": kind, "output_index": index, "item": item}));
        }
    }
    events.push(json!({"type": "response.completed", "response": whole}));
    let (chunks, fault, is_complete) = read([wire(&events).as_bytes()]);
    assert!(fault.is_none() && is_complete, "{fault:?}");
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let asked = asked("openai-responses").to_string();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked)).unwrap();
    let (mut encoder, mut out) = (api.stream(&request), bytes::BytesMut::new());
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.end(&mut out);
    let streamed: Value = serde_json::from_slice(&api.streamed_whole(&out).unwrap()).unwrap();
    let reply = ResponsesProvider.decode(whole.to_string().as_bytes()).unwrap();
    let replied: Value = serde_json::from_slice(&api.reply_to(&request, &reply)).unwrap();
    let mut made = items[1].clone();
    made["id"] = "ig_1-r_1".into();
    for told in [&streamed, &replied] {
        assert_eq!(told["output"].as_array().map(Vec::len), Some(4), "{told}");
        assert_eq!(told["output"][1], made);
        for at in [0, 2, 3] {
            let (item, expected) = (&told["output"][at], &items[at]);
            assert_eq!((&item["phase"], &item["content"]), (&expected["phase"], &expected["content"]), "{told}");
        }
    }
}

#[test]
fn a_picture_is_shown_before_it_is_whole_within_its_item() {
    let item = |id: &str, status: &str, result: Value| json!({"type": "image_generation_call", "id": id, "status": status, "result": result});
    let partial = |id: &str, index: u64, data: &str| {
        json!({"type": "response.image_generation_call.partial_image", "item_id": id, "output_index": 7, "sequence_number": 70,
            "partial_image_index": index, "partial_image_b64": data, "size": "1024x1024", "output_format": "png"})
    };
    let done = |item: Value| json!({"type": "response.output_item.done", "output_index": 7, "item": item});
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
        json!({"type": "response.output_item.added", "output_index": 7, "item": item("ig_1", "in_progress", Value::Null)}),
        partial("ig_1", 0, "AA=="),
        partial("ig_1", 1, "AB=="),
        done(item("ig_1", "completed", "BB==".into())),
        partial("ig_2", 0, "CC=="),
        done(item("ig_2", "failed", Value::Null)),
        partial("ig_3", 0, "DD=="),
        json!({"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": []}}),
    ];
    let (chunks, fault, is_complete) = read([wire(&events).as_bytes()]);
    assert!(fault.is_none() && is_complete, "{fault:?}");
    assert!(chunks[1].delta.is_content(), "it is not kept until something is said: {chunks:?}");
    let api = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let asked = asked("openai-responses").to_string();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked)).unwrap();
    let (mut encoder, mut out) = (api.stream(&request), bytes::BytesMut::new());
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.end(&mut out);
    let told = String::from_utf8(out.to_vec()).unwrap();
    let data = told.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut told: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    for (number, event) in told.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let response = told.pop().unwrap();
    let shown = |index: u64, at: u64, data: &str| {
        let mut event = partial(&format!("ig_{}-r_{index}", index + 1), at, data);
        (event["output_index"], event["sequence_number"]) = (index.into(), Value::Null);
        event
    };
    let of_item = |kind: &str, index: u64, status: &str, result: Value| {
        let item = item(&format!("ig_{}-r_{index}", index + 1), status, result);
        json!({"type": format!("response.output_item.{kind}"), "output_index": index, "item": item, "sequence_number": null})
    };
    let expected = [
        of_item("added", 0, "generating", Value::Null),
        shown(0, 0, "AA=="),
        shown(0, 1, "AB=="),
        of_item("done", 0, "completed", "BB==".into()),
        of_item("added", 1, "generating", Value::Null),
        shown(1, 0, "CC=="),
        of_item("done", 1, "failed", Value::Null),
        of_item("added", 2, "generating", Value::Null),
        shown(2, 0, "DD=="),
        of_item("done", 2, "failed", Value::Null),
    ];
    let mut told = told.split_off(2);
    for event in &mut told {
        event["sequence_number"] = Value::Null;
    }
    assert_eq!(told, expected);
    let output: Vec<Value> = told.into_iter().filter_map(|mut event| event.get_mut("item").map(Value::take)).collect();
    let ended: Vec<&Value> = output.iter().filter(|item| item["status"] != "generating").collect();
    assert_eq!(response["response"]["output"].as_array().unwrap().iter().collect::<Vec<_>>(), ended);
    // Clients of other APIs are shown the picture alone.
    let api = client_apis().find(|api| api.name() == "openai").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), self::asked("openai").to_string())).unwrap();
    let (mut encoder, mut out) = (api.stream(&request), bytes::BytesMut::new());
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    let told = String::from_utf8(out.to_vec()).unwrap();
    assert!(told.contains("BB==") && ["AA==", "CC==", "DD=="].iter().all(|data| !told.contains(data)), "{told}");
}

#[test]
fn a_stream_shows_pictures_to_clients_of_other_apis() {
    let made = json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AA==", "output_format": "jpeg"});
    let whole = json!({"id": "r", "model": "m", "status": "completed", "output": [made]});
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": made}),
        json!({"type": "response.completed", "response": whole}),
    ];
    let (chunks, fault, is_complete) = read([wire(&events).as_bytes()]);
    assert!(fault.is_none() && is_complete, "{fault:?}");
    for (client, path, asked, place, expected) in [
        (
            "openai",
            "/",
            asked("openai"),
            "/choices/0/delta/images",
            json!([{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA=="}, "index": 0}]),
        ),
        (
            "gemini",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "Draw."}]}]}),
            "/candidates/0/content/parts/0/inlineData",
            json!({"mimeType": "image/jpeg", "data": "AA=="}),
        ),
    ] {
        let api = client_apis().find(|api| api.name() == client).unwrap();
        let request = api.parse(&ClientRequest::post(path.parse().unwrap(), asked.to_string())).unwrap();
        let (mut encoder, mut out) = (api.stream(&request), bytes::BytesMut::new());
        for chunk in &chunks {
            encoder.chunk(chunk, &mut out);
        }
        encoder.end(&mut out);
        let told = String::from_utf8(out.to_vec()).unwrap();
        let data = told.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let shown: Vec<Value> = events.filter_map(|event| event.pointer(place).cloned()).collect();
        assert_eq!(shown, [expected], "{client}: {told}");
    }
}

#[test]
fn a_call_that_takes_nothing_is_told_so_in_a_stream_too() {
    let item = json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "", "status": "completed"});
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        json!({"type": "response.function_call_arguments.done", "output_index": 0, "item_id": "fc_1", "arguments": ""}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}}),
    ];
    for events in [&events[..], &[&events[..1], &events[3..]].concat()[..]] {
        let (chunks, fault, _) = read([wire(events).as_bytes()]);
        assert!(fault.is_none(), "{fault:?}");
        let mut parts = PartsOfDeltas::default();
        for chunk in chunks {
            parts.add(chunk.delta);
        }
        let said: Vec<PartKind> = parts.into_parts().into_iter().map(|part| part.kind).collect();
        assert_eq!(said, [call("c", "f", "{}")]);
    }
}

#[test]
fn a_reply_that_failed_says_what_it_used() {
    let used = json!({"input_tokens": 80, "output_tokens": 12, "total_tokens": 92});
    let nothing = json!({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0});
    for (usage, expected) in [(used, Some((80, 12))), (nothing, None), (Value::Null, None)] {
        let error = json!({"code": "server_error", "message": "x"});
        let failed = json!({"id": "r", "status": "failed", "output": [], "error": error, "usage": usage});
        let told = |fault: AttemptFault| fault.used.map(|used| (used.input_tokens, used.output_tokens));
        assert_eq!(told(ResponsesProvider.decode(failed.to_string().as_bytes()).unwrap_err()), expected, "{usage}");
        let (_, fault, _) = read([wire(&[json!({"type": "response.failed", "response": failed})]).as_bytes()]);
        assert_eq!(told(fault.unwrap()), expected, "{usage}");
    }
}

#[test]
fn a_stream_that_failed_says_how_often_it_had_searched() {
    let search = json!({"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search"}});
    let usage = json!({"input_tokens": 80, "output_tokens": 12});
    let error = json!({"code": "server_error", "message": "x"});
    for (kind, error) in [("failed", &error), ("failed", &Value::Null), ("completed", &error)] {
        let failed = json!({"id": "r", "status": "failed", "output": [], "error": error, "usage": usage});
        let events = [
            json!({"type": "response.created", "response": {"id": "r", "model": "m"}}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": search}),
            json!({"type": "response.output_item.done", "output_index": 1, "item": search}),
            json!({"type": format!("response.{kind}"), "response": failed}),
        ];
        let (_, fault, _) = read([wire(&events).as_bytes()]);
        assert_eq!(fault.unwrap().used.map(|used| used.searches), Some(2), "{kind} {error}");
    }
}
