use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::Responses;
use crate::chat::{
    ChatRequest, Choice, Chunk, Delta, FinishReason, OutputFormat, Part, PartKind, Reply, Rest, Role, Tool, ToolChoice,
    Usage,
};
use crate::fault::Refusal;
use crate::format::openai::DIALECT;
use crate::format::{ClientApi, ClientRequest, Turn};

mod client_tools;

fn parse(body: &Value) -> Result<ChatRequest, Refusal> {
    let mut request = ClientRequest::post(http::Uri::default(), body.to_string());
    request.id = "0a-1b".to_owned();
    Responses.parse(&request)
}

fn said(request: &ChatRequest) -> Vec<(Role, Vec<PartKind>)> {
    request
        .messages
        .iter()
        .map(|message| (message.role, message.parts.iter().map(|part| part.kind.clone()).collect()))
        .collect()
}

fn text(text: &str) -> PartKind {
    PartKind::Text(text.to_owned())
}

fn call(id: &str, name: &str, arguments: &str) -> PartKind {
    PartKind::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

#[test]
fn items_become_messages() {
    let request = parse(&json!({
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 9, "store": false, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "high", "summary": "auto"}, "parallel_tool_calls": false, "prompt_cache_key": "k",
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false},
            {"type": "custom", "name": "patch", "description": "d", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
            {"type": "local_shell"}],
        "tool_choice": {"type": "function", "name": "f"},
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
            {"role": "user", "content": "look"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "witgate:signature:abc"},
            {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "I look", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "x\ny"},
            {"type": "local_shell_call", "call_id": "c3", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "ok"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
            {"type": "local_shell_call_output", "id": "c3", "output": "a"}
        ]}))
    .unwrap();
    let output = |id: &str, content: &str| PartKind::ToolResult {
        call_id: id.to_owned(),
        content: vec![Part::text(content)],
        is_error: false,
    };
    let found = said(&request);
    let thought = PartKind::Reasoning { text: "hm".to_owned(), signature: Some("abc".to_owned()) };
    let calls = [
        call("c1", "f", "{}"),
        call("c2", "patch", r#"{"input":"x\ny"}"#),
        call("c3", "local_shell", r#"{"command":["ls"]}"#),
    ];
    assert_eq!(
        found[..3],
        [
            (Role::System, vec![text("Be brief.")]),
            (Role::Developer, vec![text("rules")]),
            (Role::User, vec![text("look")]),
        ]
    );
    assert_eq!(found[3], (Role::Assistant, [vec![thought, text("I look")], calls.to_vec()].concat()));
    let [(Role::Tool, seen), done, listed] = &found[4..] else { panic!("{found:?}") };
    let [PartKind::ToolResult { call_id, content, is_error: false }] = &seen[..] else { panic!("{seen:?}") };
    let kinds: Vec<&PartKind> = content.iter().map(|part| &part.kind).collect();
    assert!(call_id == "c1" && matches!(kinds[..], [PartKind::Text(_), PartKind::Image(_)]), "{seen:?}");
    assert_eq!(*done, (Role::Tool, vec![output("c2", "done")]));
    assert_eq!(*listed, (Role::Tool, vec![output("c3", "a")]));
    assert_eq!((request.max_tokens, request.parallel_tool_calls, request.stream), (Some(9), Some(false), false));
    assert_eq!(request.tool_choice, Some(ToolChoice::Function("f".to_owned())));
    assert_eq!(request.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref()), Some("high"));
    assert!(matches!(&request.output, Some(OutputFormat::JsonSchema { strict: Some(true), .. })));
    assert_eq!(Value::Object(request.rest.clone()), json!({"prompt_cache_key": "k", "verbosity": "low"}));
    let names: Vec<_> = request
        .tools
        .iter()
        .map(|tool| match tool {
            Tool::Function { name, description, .. } => (name.as_str(), description.as_deref().unwrap_or_default()),
            Tool::Other(_) => ("", ""),
        })
        .collect();
    assert_eq!(names[1], ("patch", "d\n\nThe input follows this grammar:\nstart: x"));
    assert_eq!((names[0].0, names[2].0), ("f", "local_shell"));
}

#[test]
fn what_is_not_here_is_refused_by_name() {
    for (field, value, param) in [
        ("conversation", json!("c"), "conversation"),
        ("prompt", json!({"id": "p"}), "prompt"),
        ("tools", json!([{"name": "f"}]), "tools[0].type"),
        ("tools", json!([{"type": "web_search"}, {"type": "computer_use_preview"}]), "tools[1].type"),
        ("tools", json!([{"type": "programmatic_tool_calling"}]), "tools[0].type"),
        ("tool_choice", json!({"type": "function"}), "tool_choice"),
        ("input", json!([{"type": "compaction", "encrypted_content": "gAAA"}]), "input[0].type"),
        ("input", json!([]), "input"),
        ("input", json!([{"type": "item_reference", "id": "x"}]), "input[0]"),
        ("input", json!([{"type": "computer_call"}]), "input[0].type"),
        ("input", json!([{"role": "user", "content": [{"type": "input_image"}]}]), "input[0].content[0]"),
        ("input", json!([{"role": "user", "content": [{"type": "input_file"}]}]), "input[0].content[0]"),
        ("input", json!([{"role": "robot", "content": "x"}]), "input[0].role"),
        ("input", Value::Null, "input"),
    ] {
        let mut body = json!({"model": "m", "input": "hi"});
        body[field] = value;
        let refusal = parse(&body).unwrap_err();
        assert_eq!((refusal.status, refusal.param.as_deref()), (400, Some(param)), "{body}: {refusal}");
    }
}

#[test]
fn what_a_provider_ran_is_referred_to_by_an_id_that_names_its_reply() {
    let searched = |id: &str| json!({"type": "web_search_call", "id": id, "status": "completed"});
    let mut whole = reply();
    whole.dialect = super::RESPONSES;
    whole.choices[0].parts = vec![PartKind::Other(searched("ws_1-a")).into(), Part::text("Found.")];
    let kept = Responses.reply_to(&asked(), &whole);
    let told: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(told["output"][0], searched("ws_1-a-0a1b_0"));
    let referring = json!({"model": "m", "input": [
        {"type": "item_reference", "id": "ws_1-a-0a1b_0"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1-0a1b_1", "approve": true},
        {"type": "item_reference", "id": "msg_0a1b_1"},
    ]});
    let mut request = ClientRequest::post(http::Uri::default(), referring.to_string());
    assert_eq!(Responses.remembered(&request.body).unwrap().named, ["resp_0a1b"]);
    request.named = vec![Turn { request: Bytes::new(), reply: kept }];
    let approved = json!({"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": true});
    let parts = vec![PartKind::Other(searched("ws_1-a")), PartKind::Other(approved), text("Found.")];
    assert_eq!(said(&Responses.parse(&request).unwrap()), [(Role::Assistant, parts)], "its provider knows its own id");
}

#[test]
fn a_conversation_goes_on_from_what_was_kept() {
    let turn = Turn {
        request: Bytes::from(json!({"model": "m", "instructions": "old", "input": "one"}).to_string()),
        reply: Bytes::from(
            json!({"id": "resp_1", "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]}]})
                .to_string(),
        ),
    };
    let body = json!({"model": "m", "instructions": "new", "input": "three", "previous_response_id": "resp_1"});
    let mut request = ClientRequest::post(http::Uri::default(), body.to_string());
    request.earlier = vec![turn];
    let request = Responses.parse(&request).unwrap();
    assert_eq!(
        said(&request),
        [
            (Role::System, vec![text("new")]),
            (Role::User, vec![text("one")]),
            (Role::Assistant, vec![text("two")]),
            (Role::User, vec![text("three")]),
        ]
    );
    assert_eq!(request.echo["previous_response_id"], "resp_1");
}

fn reply() -> Reply {
    let parts = vec![
        PartKind::Reasoning { text: "hm".to_owned(), signature: Some("sig".to_owned()) }.into(),
        Part::text("Hello"),
        call("c1", "f", "{\"a\":1}").into(),
        call("c2", "patch", "{\"input\":\"x\"}").into(),
    ];
    let usage =
        Usage { input_tokens: 9, cache_read_tokens: 4, output_tokens: 5, reasoning_tokens: 2, ..Usage::default() };
    let finish = Some(FinishReason::ToolCalls);
    let choice = Choice { index: 0, parts, finish, rest: Rest::new(), message_rest: Rest::new(), logprobs: Vec::new() };
    Reply {
        id: "chatcmpl-1".to_owned(),
        model: "up".to_owned(),
        created: Some(7),
        choices: vec![choice],
        usage: Some(usage),
        dialect: DIALECT,
        rest: Rest::new(),
    }
}

fn deltas() -> Vec<Delta> {
    let more = |index, fragment: &str| Delta::ToolArguments { index, fragment: fragment.to_owned() };
    let begin = |index, id: &str, name: &str| Delta::ToolCall { index, id: id.to_owned(), name: name.to_owned() };
    let Reply { id, model, created, usage, .. } = reply();
    vec![
        Delta::Start { id, model, created, dialect: DIALECT },
        Delta::Reasoning("h".to_owned()),
        Delta::Reasoning("m".to_owned()),
        Delta::ReasoningSignature("sig".to_owned()),
        Delta::Text("Hel".to_owned()),
        Delta::Text("lo".to_owned()),
        begin(0, "c1", "f"),
        more(0, "{\"a\""),
        more(0, ":1}"),
        begin(1, "c2", "patch"),
        more(1, "{\"input\":\"x\"}"),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::Usage(Box::new(usage.unwrap())),
    ]
}

fn asked() -> ChatRequest {
    parse(&json!({"model": "m", "input": "hi", "tools": [{"type": "custom", "name": "patch"}]})).unwrap()
}

fn events(wire: &str) -> Vec<(String, Value)> {
    wire.split("\n\n")
        .filter_map(|event| {
            let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
            Some((name.to_owned(), serde_json::from_str(data).unwrap()))
        })
        .collect()
}

#[test]
fn a_stream_says_what_the_whole_reply_says_in_numbered_events() {
    let whole: Value = serde_json::from_slice(&Responses.reply_to(&asked(), &reply())).unwrap();
    let mut encoder = Responses.stream(&asked());
    let mut out = BytesMut::new();
    for delta in deltas() {
        encoder.chunk(&Chunk::of(delta), &mut out);
    }
    encoder.end(&mut out);
    let wire = String::from_utf8(out.to_vec()).unwrap();
    let events = events(&wire);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.strip_prefix("response.").unwrap()).collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "custom_tool_call_input.delta",
            "custom_tool_call_input.done",
            "output_item.done",
            "completed",
        ]
    );
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
    }
    assert_eq!(events.last().unwrap().1["response"], whole);
    let kept = Responses.streamed_whole(wire.as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), whole);
    assert_eq!(Responses.streamed_whole(&wire.as_bytes()[..wire.len() / 2]), None);
    assert_eq!(whole["id"], "resp_0a1b");
    assert_eq!(
        whole["output"],
        json!([
            {"id": "rs_0a1b_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "witgate:signature:sig"},
            {"id": "msg_0a1b_1", "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}]},
            {"id": "fc_0a1b_2", "type": "function_call", "status": "completed", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
            {"id": "ctc_0a1b_3", "type": "custom_tool_call", "status": "completed", "call_id": "c2", "name": "patch", "input": "x"},
        ])
    );
    assert_eq!(
        whole["usage"],
        json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14})
    );
}

#[test]
fn a_reply_that_was_cut_or_broke_says_so() {
    let mut cut = reply();
    cut.choices[0].finish = Some(FinishReason::Length);
    let whole: Value = serde_json::from_slice(&Responses.reply_to(&asked(), &cut)).unwrap();
    assert_eq!(
        (&whole["status"], &whole["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    let mut encoder = Responses.stream(&asked());
    let mut out = BytesMut::new();
    for delta in deltas().into_iter().take(5) {
        encoder.chunk(&Chunk::of(delta), &mut out);
    }
    let mut refusal = Refusal::new(crate::fault::RefusalKind::Rejected, "too long");
    refusal.code = Some("context_length_exceeded".to_owned());
    encoder.error(&refusal, "r", &mut out);
    let events = events(std::str::from_utf8(&out).unwrap());
    let (failed, error) = (&events[events.len() - 2], &events[events.len() - 1]);
    assert_eq!((failed.0.as_str(), &failed.1["response"]["status"]), ("response.failed", &json!("failed")));
    assert_eq!(failed.1["response"]["error"], json!({"code": "context_length_exceeded", "message": "too long"}));
    assert_eq!((error.0.as_str(), &error.1["message"]), ("error", &json!("too long")));
}
