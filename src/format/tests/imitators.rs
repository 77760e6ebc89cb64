//! What whoever imitates OpenAI is sent of other APIs' requests that it takes in one way only.

use serde_json::{Value, json};

use super::{parse, provider};
use crate::format::{Quirks, Target};

fn quirks(told: &Value) -> &'static Quirks {
    Box::leak(serde_json::from_value(told.clone()).unwrap())
}

/// What a provider is sent for a client's request, and what is reported of it.
fn sent(client: &str, request: &Value, quirks: &'static Quirks) -> (Value, Vec<String>) {
    let request = parse(client, request.to_string().as_bytes()).unwrap();
    let target = Target { model: "m", api_version: None, quirks, bare_stream: false, default_max_tokens: 4000 };
    let encoded = provider("openai").encode(&request, &target).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

/// Templates of models have one place for them.
#[test]
fn instructions_stand_before_all_else_where_later_ones_are_refused() {
    let first = quirks(&json!({"wants": ["instructions_first"], "roles": {"developer": "system"}}));
    let bridged = quirks(&json!({"wants": ["instructions_first"], "bridge": "OK."}));
    let any = quirks(&json!({}));
    let (user, late) = (json!({"role": "user", "content": "Go"}), json!({"role": "system", "content": "Late"}));
    let claude = json!({"model": "m", "max_tokens": 9, "system": "Early", "messages": [user, late, user]});
    let codex = json!({"model": "m", "instructions": "Early",
        "input": [{"role": "developer", "content": "Late"}, {"role": "user", "content": "Go"}, user]});
    let chat = json!({"model": "m", "messages": [{"role": "system", "content": "Early"}, user, late, user]});
    let system = |text: &str| json!({"role": "system", "content": text});
    let one = json!([system("Early\n\nLate"), user, user]);
    let alone = json!({"model": "m", "messages": [system("Early"), user]});
    for (client, request, quirks, messages) in [
        ("anthropic", &claude, first, &one),
        ("openai-responses", &codex, first, &one),
        ("anthropic", &claude, any, &json!([system("Early"), user, late, user])),
        // Who speaks the provider's own words put them there on purpose; where that is refused for certain they are moved all the same.
        ("openai", &chat, first, &chat["messages"]),
        ("openai", &chat, bridged, &one),
        ("openai", &alone, bridged, &alone["messages"]),
    ] {
        assert_eq!(&sent(client, request, quirks).0["messages"], messages, "{client} {request}");
    }
    let named = json!({"model": "m", "messages": [user, {"role": "system", "name": "x", "content": "Late", "y": 1}]});
    let (body, dropped) = sent("openai", &named, bridged);
    assert_eq!(body["messages"], json!([system("Late"), user]));
    assert_eq!(dropped, ["messages[1].name", "messages[1].y"]);
}

/// An agent keeps such a turn for ever, and would be refused for ever.
#[test]
fn turns_in_which_the_assistant_says_nothing_are_left_out_where_they_are_refused() {
    let (words, any) = (quirks(&json!({"wants": ["words"]})), quirks(&json!({})));
    let user = json!({"role": "user", "content": "Go"});
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let thought = json!([{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]);
    for (client, turn, left, dropped) in [
        ("openai", json!({"role": "assistant", "content": ""}), true, vec![]),
        ("openai", json!({"role": "assistant", "content": null}), true, vec![]),
        ("openai", json!({"role": "assistant", "content": null, "tool_calls": [call]}), false, vec![]),
        ("openai", json!({"role": "assistant", "content": "Yes"}), false, vec![]),
        ("openai", json!({"role": "assistant", "content": null, "reasoning_content": "hm"}), false, vec![]),
        ("anthropic", json!({"role": "assistant", "content": thought}), true, vec!["messages[1].content[0]"]),
        ("anthropic", json!({"role": "assistant", "content": []}), true, vec![]),
    ] {
        let request = json!({"model": "m", "max_tokens": 9, "messages": [user, turn, user]});
        let (body, reported) = sent(client, &request, words);
        assert_eq!(body["messages"].as_array().unwrap().len(), if left { 2 } else { 3 }, "{turn}");
        assert_eq!(reported, dropped, "{turn}");
        assert_eq!(sent(client, &request, any).0["messages"].as_array().unwrap().len(), 3, "{turn}");
    }
}

/// Elsewhere that may be said without any, and means nothing.
#[test]
fn how_tools_are_called_is_not_said_where_there_are_none() {
    let any = quirks(&json!({}));
    let responses =
        json!({"model": "m", "input": "Hi", "tools": [], "tool_choice": "auto", "parallel_tool_calls": false});
    let user = json!([{"role": "user", "content": "Hi"}]);
    let claude =
        |choice: Value| json!({"model": "m", "max_tokens": 9, "tools": [], "messages": user, "tool_choice": choice});
    for (client, request, dropped) in [
        ("openai-responses", responses, vec![]),
        ("anthropic", claude(json!({"type": "auto", "disable_parallel_tool_use": true})), vec![]),
        ("anthropic", claude(json!({"type": "none"})), vec![]),
        ("anthropic", claude(json!({"type": "any"})), vec!["tool_choice"]),
    ] {
        let (body, reported) = sent(client, &request, any);
        let told = ["tools", "tool_choice", "parallel_tool_calls"].map(|name| body.get(name));
        assert_eq!((told, reported), ([None; 3], dropped.iter().map(ToString::to_string).collect()), "{request}");
    }
    let chat = json!({"model": "m", "messages": user, "tool_choice": "auto"});
    assert_eq!(sent("openai", &chat, any).0["tool_choice"], "auto", "its own clients are told by the provider");
}
