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
    let target = Target::plain("m", quirks, 4000);
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

/// Between calls and their results nothing may stand there.
#[test]
fn calls_of_one_turn_stand_in_one_message_however_a_client_cuts_it() {
    let any = quirks(&json!({}));
    let (user, call) = (
        json!({"role": "user", "content": "Go"}),
        |id: &str| json!([{"type": "tool_use", "id": id, "name": "f", "input": {}}]),
    );
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "x"});
    let claude = json!({"model": "m", "max_tokens": 9, "messages": [user, {"role": "assistant", "content": "I look."},
        {"role": "assistant", "content": call("a")}, {"role": "assistant", "content": call("b")},
        {"role": "user", "content": [result("a"), result("b")]}]});
    let messages = &sent("anthropic", &claude, any).0["messages"];
    let roles: Vec<&str> =
        messages.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
    assert_eq!((&messages[1]["content"], messages[1]["tool_calls"].as_array().unwrap().len()), (&json!("I look."), 2));
}

/// What the client of a stream keeps: a turn for each of its pieces.
#[test]
fn pieces_of_a_streamed_reply_come_back_as_what_was_said_and_thought() {
    let model = |part: Value| json!({"role": "model", "parts": [part]});
    let asked = json!({"contents": [
        {"role": "user", "parts": [{"text": "Go"}]},
        model(json!({"text": "Hm, ", "thought": true})), model(json!({"text": "yes", "thought": true})),
        model(json!({"text": "", "thought": true, "thoughtSignature": "c2ln"})),
        model(json!({"text": "Hello"})), model(json!({"text": " "})), model(json!({"text": "world"})), model(json!({"text": "\n\n"})),
        model(json!({"functionCall": {"name": "f", "args": {}}})), model(json!({"text": ""})),
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}}}]},
    ]});
    let request = parse("gemini", asked.to_string().as_bytes()).unwrap();
    let target = |name: &str| {
        let quirks = &crate::format::NO_QUIRKS;
        let target = Target::plain("m", quirks, 4000);
        let encoded = provider(name).encode(&request, &target).unwrap();
        serde_json::from_slice::<Value>(&encoded.body).unwrap()
    };
    let blocks = &target("anthropic")["messages"][1]["content"];
    assert_eq!(blocks[0], json!({"type": "thinking", "thinking": "Hm, yes", "signature": "c2ln"}));
    assert_eq!((&blocks[1]["text"], &blocks[2]["type"]), (&json!("Hello world\n\n"), &json!("tool_use")));
    let messages = &target("openai")["messages"];
    let roles: Vec<&str> =
        messages.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
}

/// A picture belongs to the call that it answers.
#[test]
fn a_picture_in_a_result_of_the_newer_api_stays_in_it_where_it_may() {
    let picture = json!({"type": "input_image", "image_url": "data:image/png;base64,AA=="});
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "view", "arguments": "{}"});
    let asked = json!({"model": "m", "input": [{"role": "user", "content": "Go"}, call("a"), call("b"),
        {"type": "function_call_output", "call_id": "a", "output": [picture]},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "ok"}, picture]}]});
    let request = parse("openai-responses", asked.to_string().as_bytes()).unwrap();
    let quirks = &crate::format::NO_QUIRKS;
    let target = Target::plain("m", quirks, 4000);
    let sent =
        |to: &str| serde_json::from_slice::<Value>(&provider(to).encode(&request, &target).unwrap().body).unwrap();
    let results = &sent("anthropic")["messages"][2]["content"];
    assert_eq!(
        (&results[0]["content"][0]["type"], &results[1]["content"][1]["type"]),
        (&json!("image"), &json!("image"))
    );
    let messages = &sent("openai")["messages"];
    let (last, kinds) = (&messages[4], ["a", "b"].map(|_| "image_url"));
    assert_eq!((&messages[2]["content"], &messages[3]["content"]), (&json!(""), &json!("ok")));
    assert_eq!(last["role"], "user");
    assert_eq!([0, 1].map(|at| last["content"][at]["type"].as_str().unwrap()), kinds, "no chat takes them inside");
}

/// Claude Code tells it in each request anew.
#[test]
fn what_is_for_anthropic_alone_goes_nowhere_else() {
    let bill = json!({"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.37.abc; cch=12345;"});
    let asked = json!({"model": "m", "max_tokens": 9, "system": [bill, {"type": "text", "text": "You are an agent."}],
        "messages": [{"role": "user", "content": "Go"}]});
    let request = parse("anthropic", asked.to_string().as_bytes()).unwrap();
    let quirks = &crate::format::NO_QUIRKS;
    let target = Target::plain("m", quirks, 4000);
    for to in ["openai", "openai_responses", "gemini", "bedrock", "anthropic"] {
        let body = provider(to).encode(&request, &target).unwrap().body;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(body.contains("billing"), to == "anthropic", "{to}: {body}");
        assert!(body.contains("You are an agent."), "{to}: {body}");
    }
}
