//! Calls and results: which belongs to which, and what a result holds.

use super::*;

const CHAT: &str = "/v1/chat/completions";
const GEMINI: &str = "/v1beta/models/m:generateContent";

fn call(id: &str, name: &str, number: u32) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": json!({"a": number}).to_string()}})
}

fn asked(messages: &Value) -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": messages})
}

fn part(sent: &Value, content: usize, place: usize) -> &Value {
    &sent["contents"][content]["parts"][place]
}

#[test]
fn results_stand_in_the_order_of_their_calls() {
    let body = asked(&json!([
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": null, "tool_calls": [call("fA", "w", 1), call("fB", "w", 2)]},
        {"role": "tool", "tool_call_id": "fB", "content": "TWO"},
        {"role": "tool", "tool_call_id": "fA", "content": "ONE"},
    ]));
    let (sent, _) = sent(&OpenAi, CHAT, &body, &NO_QUIRKS);
    let response = |said: &str| json!({"functionResponse": {"name": "w", "response": {"output": said}}});
    assert_eq!(sent["contents"][2]["parts"], json!([response("ONE"), response("TWO")]));
}

#[test]
fn an_id_that_is_used_again_is_that_of_the_call_before() {
    let body = asked(&json!([
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": null, "tool_calls": [call("c1", "w", 1)]},
        {"role": "tool", "tool_call_id": "c1", "content": "ONE"},
        {"role": "assistant", "content": null, "tool_calls": [call("c1", "v", 2)]},
        {"role": "tool", "tool_call_id": "c1", "content": "TWO"},
        {"role": "tool", "tool_call_id": "lost__thought__c2ln", "content": "?"},
    ]));
    let (sent, _) = sent(&OpenAi, CHAT, &body, &NO_QUIRKS);
    assert_eq!(part(&sent, 2, 0)["functionResponse"]["name"], "w");
    assert_eq!(part(&sent, 4, 0)["functionResponse"]["name"], "v");
    assert_eq!(part(&sent, 4, 1)["functionResponse"]["name"], "lost");
}

#[test]
fn ids_of_its_own_clients_go_out_as_they_came() {
    let call = |id: &str, number: u32| json!({"functionCall": {"name": "w", "args": {"a": number}, "id": id}});
    let result = |id: &str| json!({"functionResponse": {"name": "w", "response": {"output": id}, "id": id}});
    let mut signed = call("fA", 1);
    signed["thoughtSignature"] = "c2ln".into();
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "Go"}]},
        {"role": "model", "parts": [signed, call("fB", 2)]},
        {"role": "user", "parts": [result("fB"), result("fA")]},
    ]});
    let (sent_body, dropped) = sent(&Gemini, GEMINI, &body, &NO_QUIRKS);
    assert_eq!(sent_body["contents"][1], body["contents"][1]);
    assert_eq!(sent_body["contents"][2]["parts"], json!([result("fA"), result("fB")]));
    assert!(dropped.is_empty(), "{dropped:?}");
    // Older models refuse them.
    let refuses = json!({"message_refuses": ["id"]});
    let refuses: &'static Quirks = Box::leak(Box::new(serde_json::from_value(refuses).unwrap()));
    let (older, dropped) = sent(&Gemini, GEMINI, &body, refuses);
    assert!(!older.to_string().contains("\"id\""), "{older}");
    let said = |place: usize| part(&older, 2, place)["functionResponse"]["response"]["output"].clone();
    assert_eq!((said(0), said(1), dropped.is_empty()), (json!("fA"), json!("fB"), true));
    // Whoever wrote none is given none.
    let body = json!({"contents": [
        {"role": "model", "parts": [{"functionCall": {"name": "w", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "w", "response": {"output": "x"}}}]},
    ]});
    assert_eq!(sent(&Gemini, GEMINI, &body, &NO_QUIRKS).0["contents"], body["contents"]);
}

#[test]
fn a_result_without_a_call_of_its_id_is_that_of_the_first_open_one_of_its_name() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let with_id = |id: &str| json!({"functionCall": {"name": "w", "args": {}, "id": id}, "thoughtSignature": "c2ln"});
    let response = json!({"output": "x"});
    let result =
        |name: &str, id: Option<&str>| json!({"functionResponse": {"name": name, "response": response, "id": id}});
    let results = [("w", Some("other")), ("v", None), ("w", Some("a")), ("w", None), ("z", Some("b"))];
    let body = json!({"contents": [
        {"role": "model", "parts": [call("w"), call("v"), call("w"), with_id("a")]},
        {"role": "user", "parts": results.map(|(name, id)| result(name, id))},
    ]});
    let request = Gemini.parse(&ClientRequest::post(GEMINI.parse().unwrap(), body.to_string())).unwrap();
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let ids: Vec<&str> = parts
        .filter_map(|part| match &part.kind {
            PartKind::ToolResult { call_id, .. } => Some(call_id.as_str()),
            _ => None,
        })
        .collect();
    let signed = signed("a", "c2ln");
    assert_eq!(ids, ["call_1", "call_2", signed.as_str(), "call_3", "b"]);
}

#[test]
fn the_first_call_of_each_turn_says_that_it_has_no_signature() {
    let signs: &'static Quirks = Box::leak(Box::new(serde_json::from_value(json!({"wants": ["signatures"]})).unwrap()));
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let body = asked(&json!([
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": null, "tool_calls": [call("a", "w", 1), call("b", "w", 2)]},
        result("a"), result("b"),
        {"role": "assistant", "content": null, "tool_calls": [call("c__thought__c2ln", "w", 3), call("d", "w", 4)]},
        result("c__thought__c2ln"), result("d"),
        {"role": "assistant", "content": null, "tool_calls": [call("e", "w", 5)]},
        result("e"),
    ]));
    let signatures = |quirks: &'static Quirks| {
        let (sent, _) = sent(&OpenAi, CHAT, &body, quirks);
        [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0)]
            .map(|(content, place)| part(&sent, content, place)["thoughtSignature"].as_str().map(str::to_owned))
    };
    let said = |text: &str| Some(text.to_owned());
    let skip = "skip_thought_signature_validator";
    assert_eq!(signatures(signs), [said(skip), None, said("c2ln"), None, said(skip)]);
    assert_eq!(signatures(&NO_QUIRKS), [None, None, said("c2ln"), None, None]);
}

#[test]
fn what_a_search_found_is_said_and_what_has_no_words_is_refused() {
    let found = json!({"type": "search_result", "source": "https://a.test", "title": "A", "citations": {"enabled": true},
        "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]});
    let body = |block: &Value| {
        asked(&json!([
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [block]}]},
        ]))
    };
    let (told, dropped) = sent(&Anthropic, "/v1/messages", &body(&found), &NO_QUIRKS);
    let words = "A\nhttps://a.test\nOne.\nTwo.";
    assert_eq!(part(&told, 1, 0)["functionResponse"]["response"], json!({"output": words}));
    assert!(dropped.iter().any(|name| name.ends_with(".citations")), "{dropped:?}");
    let (told, _) =
        sent(&Anthropic, "/v1/messages", &asked(&json!([{"role": "user", "content": [found]}])), &NO_QUIRKS);
    assert_eq!(part(&told, 0, 0), &json!({"text": words}));
    let other = body(&json!({"type": "container_upload", "file_id": "f"})).to_string();
    let request = Anthropic.parse(&ClientRequest::post("/v1/messages".parse().unwrap(), other)).unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 9);
    let refused = Gemini.encode(&request, &target).unwrap_err();
    assert!(refused.param.is_some_and(|param| param.ends_with(".content[0]")), "{}", refused.message);
}

#[test]
fn what_another_provider_s_tools_did_is_reported() {
    let used = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    let body = asked(&json!([
        {"role": "user", "content": "News?"},
        {"role": "assistant", "content": [used, {"type": "text", "text": "None."}]},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": "Well?"},
    ]));
    let (_, dropped) = sent(&Anthropic, "/v1/messages", &body, &NO_QUIRKS);
    for name in ["messages[1].content[0]", "messages[3].content[0]"] {
        assert!(dropped.iter().any(|dropped| dropped == name), "{name}: {dropped:?}");
    }
}
