//! Custom tools of chats.

use bytes::BytesMut;

use super::*;
use crate::format::ClientApi;

/// Two tools, each as its API writes it.
fn tools() -> [[Value; 2]; 2] {
    let grammar = json!({"definition": "start: x", "syntax": "lark"});
    let format = json!({"type": "grammar", "definition": "start: x", "syntax": "lark"});
    let patch = json!({"name": "patch", "description": "d", "format": {"type": "grammar", "grammar": grammar}});
    let exec = json!({"name": "exec", "format": {"type": "text"}});
    [
        [
            json!({"type": "custom", "custom": patch}),
            json!({"type": "custom", "name": "patch", "description": "d", "format": format}),
        ],
        [
            json!({"type": "custom", "custom": exec}),
            json!({"type": "custom", "name": "exec", "format": {"type": "text"}}),
        ],
    ]
}

fn asked() -> Value {
    let called = |id: &str, name: &str, input: &str| json!({"id": id, "type": "custom", "custom": {"name": name, "input": input}});
    let function = json!({"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let [[patch, _], [exec, _]] = tools();
    chat(&json!({
        "tools": [patch, exec, {"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "So.", "tool_calls": [called("c1", "patch", "x\ny"), function, called("c3", "exec", "")]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
            {"role": "tool", "tool_call_id": "c2", "content": "1"},
            {"role": "tool", "tool_call_id": "c3", "content": "2"},
        ],
    }))
}

#[test]
fn they_go_out_with_their_grammar_and_so_do_their_calls_and_what_these_gave() {
    let body = sent("openai", &asked());
    let [[_, patch], [_, exec]] = tools();
    assert_eq!((&body["tools"][0], &body["tools"][1]), (&patch, &exec));
    assert_eq!(body["tool_choice"], json!({"type": "custom", "name": "patch"}));
    assert_eq!(
        body["input"],
        json!([
            user("Hi"),
            {"type": "message", "role": "assistant", "content": "So."},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "x\ny"},
            {"type": "custom_tool_call", "call_id": "c3", "name": "exec", "input": ""},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
            {"type": "function_call_output", "call_id": "c2", "output": "1"},
            {"type": "custom_tool_call_output", "call_id": "c3", "output": "2"},
        ])
    );
    // As editors write them that mix both APIs.
    let body = sent("openai", &chat(&json!({"tools": [patch]})));
    assert_eq!(body["tools"], json!([patch]));
    let allowed = json!({"mode": "auto", "tools": [{"type": "custom", "custom": {"name": "exec"}}]});
    let mut asked = asked();
    asked["tool_choice"] = json!({"type": "allowed_tools", "allowed_tools": allowed});
    let listed = json!([{"type": "custom", "name": "exec"}]);
    assert_eq!(sent("openai", &asked)["tool_choice"]["tools"], listed);
}

#[test]
fn thinking_before_a_call_goes_back_and_other_kinds_of_calls_are_refused() {
    let blocks = json!([{"type": "thinking", "thinking": "hm", "signature": seal("rs_1", "gAAA")}]);
    let call = json!({"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "x"}});
    let said = json!({"role": "assistant", "content": null, "thinking_blocks": blocks, "tool_calls": [call]});
    let result = json!({"role": "tool", "tool_call_id": "c1", "content": "done"});
    let body = sent("openai", &chat(&json!({"messages": [{"role": "user", "content": "Hi"}, said, result]})));
    let kinds: Vec<_> = body["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "reasoning", "custom_tool_call", "custom_tool_call_output"]);
    for other in [json!({"id": "c1", "type": "new", "new": {}}), json!({"type": "custom", "custom": {"name": "x"}})] {
        let said = json!({"role": "assistant", "content": null, "tool_calls": [call, other]});
        let messages = json!([{"role": "user", "content": "Hi"}, said]);
        let fault = encoded("openai", &NO_QUIRKS, &chat(&json!({"messages": messages}))).unwrap_err();
        let blamed = Some("messages[1].tool_calls");
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, blamed), "{fault:?}");
    }
}

/// A client's API, and its request of which the reply is told.
fn client() -> (&'static dyn ClientApi, crate::chat::ChatRequest) {
    let api = client_apis().find(|api| api.name() == "openai").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked().to_string())).unwrap();
    (api, request)
}

fn items() -> Value {
    json!([
        {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "custom_tool_call", "id": "ctc", "call_id": "c2", "name": "patch", "input": "x\n\"y\"", "status": "completed"},
    ])
}

#[test]
fn what_the_model_calls_is_told_as_chats_tell_it() {
    let (api, request) = client();
    let body = json!({"id": "r", "model": "m", "status": "completed", "output": items()}).to_string();
    let reply = ResponsesProvider.decode(body.as_bytes()).unwrap();
    let told: Value = serde_json::from_slice(&api.reply_to(&request, &reply)).unwrap();
    let choice = &told["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "x\n\"y\""}},
        ])
    );
}

#[test]
fn the_same_of_a_stream() {
    let (api, request) = client();
    let mut events = vec![json!({"type": "response.created", "response": {"id": "r", "model": "m"}})];
    for (place, item) in items().as_array().unwrap().iter().enumerate() {
        events.push(json!({"type": "response.output_item.done", "output_index": place, "item": item}));
    }
    events
        .push(json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": items()}}));
    let body = events.iter().fold(String::new(), |body, event| body + &format!("data: {event}\n\n"));
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&ResponsesProvider), Vec::new());
    decoder.push(body.as_bytes(), &mut chunks).unwrap();
    decoder.finish(&mut chunks).unwrap();
    let (mut encoder, mut out) = (api.stream(&request), BytesMut::new());
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.end(&mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let told: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: ").filter(|data| *data != "[DONE]"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let calls: Vec<&Value> = told.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]).collect();
    let custom: Vec<&&Value> = calls.iter().filter(|call| call["index"] == 1).collect();
    let whole = json!({"index": 1, "id": "c2", "type": "custom", "custom": {"name": "patch", "input": "x\n\"y\""}});
    assert_eq!(custom, [&&whole]);
    assert!(calls.iter().any(|call| call["function"]["name"] == "f"), "{text}");
    assert_eq!(told.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}
