//! Tools that the client runs, and that no other provider knows as what they are.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Responses, call, events, parse, reply, said};
use crate::chat::{ChatRequest, Chunk, Delta, Message, Part, PartKind, Role, Tool, ToolChoice};
use crate::format::ClientApi;
use crate::format::openai::DIALECT;
use crate::format::{NO_QUIRKS, Target, provider_format};

fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}, "strict": false})
}

fn group(name: &str, tools: &Value) -> Value {
    json!({"type": "namespace", "name": name, "description": "Tickets.", "tools": tools})
}

fn asked(tools: &Value, input: &Value) -> ChatRequest {
    parse(&json!({"model": "m", "tools": tools, "input": input})).unwrap()
}

fn names(request: &ChatRequest) -> Vec<&str> {
    let named = request.tools.iter().map(|tool| match tool {
        Tool::Function { name, .. } => name.as_str(),
        Tool::Other(_) => "",
    });
    named.collect()
}

fn calls(request: &ChatRequest) -> Vec<PartKind> {
    let is_call = |part: &PartKind| matches!(part, PartKind::ToolCall { .. });
    said(request).into_iter().flat_map(|(_, parts)| parts).filter(is_call).collect()
}

/// The items of a reply that calls these, which a stream says too.
fn replied(request: &ChatRequest, called: &[(&str, &str)]) -> Vec<Value> {
    let mut whole = reply();
    whole.choices[0].parts = called.iter().map(|(name, arguments)| call("c", name, arguments).into()).collect();
    let whole: Value = serde_json::from_slice(&Responses.reply_to(request, &whole)).unwrap();
    assert!(whole.get("witgate:tools").is_none(), "{whole}");
    let mut encoder = Responses.stream(request);
    let mut out = BytesMut::new();
    let mut tell = |delta| encoder.chunk(&Chunk::of(delta), &mut out);
    tell(Delta::Start { id: "chatcmpl-1".to_owned(), model: "up".to_owned(), created: None, dialect: DIALECT });
    for (index, (name, arguments)) in (0_u32..).zip(called) {
        tell(Delta::ToolCall { index, id: "c".to_owned(), name: (*name).to_owned() });
        tell(Delta::ToolArguments { index, fragment: (*arguments).to_owned() });
    }
    encoder.end(&mut out);
    let events = events(std::str::from_utf8(&out).unwrap());
    let items = whole["output"].as_array().unwrap().clone();
    let of = |kind: &str| -> Vec<&Value> {
        events.iter().filter(|(name, _)| name == kind).map(|(_, data)| &data["item"]).collect()
    };
    assert_eq!(of("response.output_item.done"), items.iter().collect::<Vec<_>>());
    for (added, item) in of("response.output_item.added").into_iter().zip(&items) {
        for same in ["id", "type", "call_id", "name", "namespace"] {
            assert_eq!(added.get(same), item.get(same), "{added}");
        }
    }
    items
}

#[test]
fn tools_in_a_namespace_are_functions_and_are_called_as_they_stand_there() {
    let tools = json!([
        function("run"),
        group("mcp__jira", &json!([function("search"), {"type": "custom", "name": "jql"}])),
        group("mcp__wiki__", &json!([function("mcp__wiki__search"), function("_get")])),
    ]);
    let input = json!([
        {"role": "user", "content": "look"},
        {"type": "function_call", "call_id": "c1", "name": "search", "namespace": "mcp__jira", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "none"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "jql", "namespace": "mcp__jira", "input": "a = b"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "none"},
        {"type": "function_call", "call_id": "c3", "name": "js", "namespace": "gone", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c3", "output": "1"},
    ]);
    let request = asked(&tools, &input);
    let shown = ["run", "mcp__jira__search", "mcp__jira__jql", "mcp__wiki__search", "mcp__wiki__get"];
    assert_eq!(names(&request), shown);
    let about = |at: usize| match &request.tools[at] {
        Tool::Function { description, .. } => description.clone(),
        Tool::Other(_) => None,
    };
    assert_eq!(about(1).as_deref(), Some("About all tools of `mcp__jira`: Tickets."));
    assert_eq!(about(2), None, "it is said once");
    assert_eq!(
        calls(&request),
        [
            call("c1", "mcp__jira__search", "{}"),
            call("c2", "mcp__jira__jql", r#"{"input":"a = b"}"#),
            call("c3", "gone__js", "{}"),
        ]
    );
    let items = replied(
        &request,
        &[
            ("mcp__jira__search", r#"{"q":1}"#),
            ("mcp__jira__jql", r#"{"input":"x"}"#),
            ("mcp__wiki__search", "{}"),
            ("run", ""),
        ],
    );
    assert_eq!(
        items,
        [
            json!({"id": "fc_0a1b_0", "type": "function_call", "status": "completed", "call_id": "c", "name": "search", "arguments": "{\"q\":1}", "namespace": "mcp__jira"}),
            json!({"id": "ctc_0a1b_1", "type": "custom_tool_call", "status": "completed", "call_id": "c", "name": "jql", "input": "x", "namespace": "mcp__jira"}),
            json!({"id": "fc_0a1b_2", "type": "function_call", "status": "completed", "call_id": "c", "name": "mcp__wiki__search", "arguments": "{}", "namespace": "mcp__wiki__"}),
            json!({"id": "fc_0a1b_3", "type": "function_call", "status": "completed", "call_id": "c", "name": "run", "arguments": "{}"}),
        ]
    );
}

#[test]
fn names_are_short_plain_and_each_tools_own() {
    let long = "x".repeat(70);
    let tools = json!([
        function("a__b"),
        group("a", &json!([function("b"), function("c.d"), function(&long), function("apple")])),
        group("b", &json!([function(&long)])),
    ]);
    let request = asked(&tools, &json!("hi"));
    let shown: Vec<String> = names(&request).into_iter().map(str::to_owned).collect();
    assert_eq!((shown[0].as_str(), shown[4].as_str()), ("a__b", "a__apple"));
    assert!(shown[1].starts_with("a__b_") && shown[2].starts_with("a__c_d_"), "{shown:?}");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    assert!(shown.iter().all(|name| name.len() <= 64 && name.chars().all(plain)), "{shown:?}");
    let distinct: std::collections::HashSet<&String> = shown.iter().collect();
    assert_eq!(distinct.len(), shown.len());
    for (shown, namespace, name) in
        [(&shown[0], None, "a__b"), (&shown[1], Some("a"), "b"), (&shown[5], Some("b"), long.as_str())]
    {
        let item = &replied(&request, &[(shown.as_str(), "{}")])[0];
        assert_eq!((item["namespace"].as_str(), item["name"].as_str()), (namespace, Some(name)));
        let again = asked(&tools, &json!([item]));
        assert_eq!(calls(&again), [call("c", shown, "{}")]);
    }
    // A request that does not have the tool any more says the same.
    let item = json!({"type": "function_call", "call_id": "c", "namespace": "b", "name": long, "arguments": "{}"});
    assert_eq!(calls(&asked(&json!([]), &json!([item]))), [call("c", &shown[5], "{}")]);
}

#[test]
fn a_choice_finds_tools_where_they_stand() {
    let tools = json!([function("run"), group("ns", &json!([function("a"), {"type": "custom", "name": "b"}]))]);
    let choice = |choice: Value| {
        parse(&json!({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice})).unwrap().tool_choice
    };
    let one = |name: &str| Some(ToolChoice::Function(name.to_owned()));
    assert_eq!(choice(json!({"type": "function", "name": "run"})), one("run"));
    assert_eq!(choice(json!({"type": "function", "name": "a"})), one("ns__a"));
    assert_eq!(choice(json!({"type": "custom", "namespace": "ns", "name": "b"})), one("ns__b"));
    let of = |listed: Value| match choice(json!({"type": "allowed_tools", "mode": "auto", "tools": listed})) {
        Some(ToolChoice::Other(value)) => value["allowed_tools"]["tools"].clone(),
        other => panic!("{other:?}"),
    };
    let listed = |name: &str| json!({"type": "function", "function": {"name": name}});
    let run = json!({"type": "function", "name": "run"});
    assert_eq!(
        of(json!([run, {"type": "namespace", "name": "ns"}])),
        json!([listed("run"), listed("ns__a"), listed("ns__b")])
    );
    assert_eq!(of(json!([{"type": "function", "name": "a"}])), json!([listed("ns__a")]));
}

#[test]
fn items_bring_more_tools() {
    let tools = json!([function("run"), {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}}]);
    let found = json!({"type": "tool_search_output", "call_id": "s1", "execution": "client", "status": "completed",
        "tools": [group("mcp__jira", &json!([function("search")]))]});
    let input = json!([
        {"type": "additional_tools", "role": "developer", "tools": [group("functions", &json!([{"type": "custom", "name": "exec"}]))]},
        {"role": "user", "content": "look"},
        {"type": "tool_search_call", "call_id": "s1", "execution": "client", "status": "completed", "arguments": {"query": "tickets"}},
        found, found,
        {"type": "tool_search_call", "call_id": null, "execution": "server", "status": "completed", "arguments": {"paths": ["x"]}},
        {"type": "tool_search_output", "call_id": null, "execution": "server", "status": "completed", "tools": [function("late")]},
    ]);
    let request = asked(&tools, &input);
    assert_eq!(names(&request), ["run", "tool_search", "functions__exec", "mcp__jira__search", "late"]);
    assert_eq!(request.untold, [""; 0]);
    let told = |words: &str| PartKind::ToolResult {
        call_id: "s1".to_owned(),
        content: vec![Part::text(words)],
        is_error: false,
    };
    let said = said(&request);
    assert_eq!(said[1], (Role::Assistant, vec![call("s1", "tool_search", r#"{"query":"tickets"}"#)]));
    assert_eq!(said[2], (Role::Tool, vec![told("These tools can be called now: mcp__jira__search.")]));
    let items = replied(
        &request,
        &[("tool_search", r#"{"query":"x"}"#), ("functions__exec", r#"{"input":"ls"}"#), ("mcp__jira__search", "{}")],
    );
    assert_eq!(
        items[0],
        json!({"id": "tsc_0a1b_0", "type": "tool_search_call", "status": "completed", "execution": "client", "call_id": "c", "arguments": {"query": "x"}})
    );
    assert_eq!((&items[1]["name"], &items[1]["namespace"]), (&json!("exec"), &json!("functions")));
    assert_eq!((&items[2]["name"], &items[2]["namespace"]), (&json!("search"), &json!("mcp__jira")));
}

#[test]
fn a_search_of_the_providers_is_told_to_nobody_and_its_tools_are_all_shown() {
    let mut late = function("late");
    late["defer_loading"] = true.into();
    let request = asked(&json!([late, {"type": "tool_search"}]), &json!("hi"));
    assert_eq!((names(&request), request.untold.as_slice()), (vec!["late"], ["tools[1]".to_owned()].as_slice()));
}

#[test]
fn a_shell_and_patches_of_the_clients_own_are_functions() {
    let tools = json!([{"type": "shell", "environment": {"type": "local", "skills": [{"name": "s", "path": "p", "description": "d"}]}}, {"type": "apply_patch"}]);
    let operation = json!({"type": "delete_file", "path": "a.rs"});
    let input = json!([
        {"type": "shell_call", "call_id": "c1", "status": "completed", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
        {"type": "apply_patch_call", "call_id": "c2", "status": "completed", "operation": operation},
        {"type": "apply_patch_call_output", "call_id": "c2", "status": "failed", "output": "no such file"},
    ]);
    let request = asked(&tools, &input);
    assert_eq!(names(&request), ["shell", "apply_patch"]);
    assert_eq!(
        calls(&request),
        [call("c1", "shell", r#"{"commands":["ls"]}"#), call("c2", "apply_patch", &operation.to_string())]
    );
    let output = |message: &Message| match &message.parts[0].kind {
        PartKind::ToolResult { content, .. } => content[0].kind.clone(),
        other => other.clone(),
    };
    assert_eq!(output(&request.messages[3]), super::text("failed: no such file"));
    assert!(matches!(output(&request.messages[1]), PartKind::Text(said) if said.contains(r#""exit_code":0"#)));
    let arguments = operation.to_string();
    assert_eq!(
        replied(&request, &[("shell", r#"{"commands":["ls"]}"#), ("apply_patch", &arguments)]),
        [
            json!({"id": "sh_0a1b_0", "type": "shell_call", "status": "completed", "call_id": "c",
                "action": {"commands": ["ls"], "timeout_ms": null, "max_output_length": null}, "environment": {"type": "local"}}),
            json!({"id": "apc_0a1b_1", "type": "apply_patch_call", "status": "completed", "call_id": "c", "operation": operation}),
        ]
    );
    let hosted =
        json!({"model": "m", "input": "hi", "tools": [{"type": "shell", "environment": {"type": "container_auto"}}]});
    assert_eq!(parse(&hosted).unwrap_err().param.as_deref(), Some("tools[0].environment"));
}

#[test]
fn where_a_cache_ends_is_told_to_chats_and_reported_elsewhere() {
    let mark = json!({"mode": "explicit"});
    let spoken = json!([{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}]);
    let file = json!({"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf", "prompt_cache_breakpoint": mark});
    let input = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": mark}, file]},
        {"role": "assistant", "content": spoken},
        {"role": "user", "content": "c"},
    ]);
    let body = json!({"model": "m", "prompt_cache_options": mark, "input": input});
    let request = parse(&body).unwrap();
    let sent = |to: &str| {
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = provider_format(to).unwrap().encode(&request, &target).unwrap();
        (serde_json::from_slice::<Value>(&encoded.body).unwrap(), encoded.dropped)
    };
    let (chat, dropped) = sent("openai");
    assert_eq!(chat["messages"][0]["content"][0]["prompt_cache_breakpoint"], mark);
    assert_eq!(chat["messages"][0]["content"][1]["prompt_cache_breakpoint"], mark);
    assert_eq!((&chat["messages"][1]["content"], dropped.len()), (&json!("b"), 0), "{dropped:?}");
    let (_, dropped) = sent("anthropic");
    assert!(dropped.contains(&"messages[0].content[0].prompt_cache_breakpoint".to_owned()), "{dropped:?}");
}
