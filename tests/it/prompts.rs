//! Prompt builders and response parsers in a whole gateway: the built-in ones, as their users meet them.

use serde_json::{Value, json};

use crate::chat::openai_reply;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};

/// A configuration of one group `g` with one deployment, two retries and these policies.
pub(crate) fn config(upstream: &ScriptedUpstream, own: &str) -> String {
    format!(
        "model_list:\n  - model_name: g\n    litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-very-secret}}\n    model_info: {{id: one, max_input_tokens: 60, max_output_tokens: 10}}\nrouter_settings: {{num_retries: 2, cooldown_time: 0}}\nwitgate:\n{own}\n",
        upstream.origin()
    )
}

pub(crate) fn ask(text: &str) -> Value {
    json!({"model": "g", "messages": [{"role": "user", "content": text}]})
}

/// A stream of these texts, in OpenAI's words.
pub(crate) fn stream(texts: &[&str], finish: &str) -> String {
    let event = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk =
            json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    let texts = texts.iter().map(|text| event(json!({"content": text}), Value::Null)).collect::<String>();
    texts + &event(json!({}), json!(finish)) + "data: [DONE]\n\n"
}

/// What a client reads of a stream: text, reasoning, and the error at its end.
pub(crate) fn read(events: &[String]) -> (String, String, Option<Value>) {
    let (mut text, mut reasoning, mut error) = (String::new(), String::new(), None);
    for event in events.iter().filter(|event| *event != "[DONE]") {
        let event: Value = serde_json::from_str(event).expect("JSON");
        let delta = &event["choices"][0]["delta"];
        text += delta["content"].as_str().unwrap_or_default();
        reasoning += delta["reasoning_content"].as_str().unwrap_or_default();
        error = event.get("error").cloned().or(error);
    }
    (text, reasoning, error)
}

pub(crate) fn content(reply: &Value) -> &str {
    reply["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn variables_make_a_prompt_and_as_many_items_as_fit_are_in_it() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("7"))]).await;
    let own = "  prompt_builders:\n    g: {policy: template, may_reject: true, settings: {system: \"Be {{tone}}.\", user: \"Rate:\\n{{items}}\", defaults: {tone: brief}}}";
    let gateway = Gateway::start(&config(&upstream, own)).await;
    let items =
        ["one two three four five", "six seven eight nine ten", "it goes on and on", "and on and on and on", "x"];
    let reply =
        gateway.post("/v1/chat/completions", &json!({"model": "g", "prompt_items": items, "max_tokens": 10})).await;
    assert_eq!((reply.status, content(&reply.json())), (200, "7"), "{}", reply.text);
    assert_eq!(reply.header("x-witgate-items"), "0-2");
    let sent = upstream.asked()[0].body.clone();
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!(
        sent["messages"][1],
        json!({"role": "user", "content": "Rate:\n1. one two three four five\n2. six seven eight nine ten\n3. it goes on and on\n"})
    );
    assert!(sent.get("prompt_items").is_none() && sent.get("prompt_variables").is_none(), "{sent}");

    // The tools that go along have their part of the context window.
    let tool = json!({"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}});
    let with_tools = json!({"model": "g", "prompt_items": items, "max_tokens": 10, "tools": [tool]});
    let reply = gateway.post("/v1/chat/completions", &with_tools).await;
    assert_eq!((reply.status, reply.header("x-witgate-items")), (200, "0"), "{}", reply.text);

    let refused = gateway.post("/v1/chat/completions", &json!({"model": "g", "prompt_variables": 3})).await;
    assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some("prompt_variables")));
}

#[tokio::test]
async fn a_missing_variable_is_told_where_the_builder_may_speak_to_clients() {
    let upstream = ScriptedUpstream::start([Step::silent()]).await;
    let policy = |grant: &str| {
        format!("  prompt_builders:\n    g: {{policy: template{grant}, settings: {{user: \"About {{{{topic}}}}\"}}}}")
    };
    let request = json!({"model": "g", "prompt_variables": {"tpic": "rain"}});
    let speaks = Gateway::start(&config(&upstream, &policy(", may_reject: true"))).await;
    let refused = speaks.post("/v1/chat/completions", &request).await;
    let error = &refused.json()["error"];
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(error["message"].as_str().is_some_and(|words| words.contains("needs `topic`")), "{error}");
    let silent = Gateway::start(&config(&upstream, &policy(""))).await;
    let refused = silent.post("/v1/chat/completions", &request).await;
    assert_eq!(refused.status, 500);
    assert!(!refused.text.contains("topic") && refused.text.contains("prompt builder `template`"), "{}", refused.text);
    assert!(upstream.asked().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn without_a_builder_messages_are_required() {
    let upstream = ScriptedUpstream::start([Step::silent()]).await;
    let gateway = Gateway::start(&config(&upstream, "  queue: {}")).await;
    let refused = gateway.post("/v1/chat/completions", &json!({"model": "g", "prompt_variables": {}})).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].as_str()),
        (400, Some("messages")),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn what_is_masked_never_leaves_and_comes_back_in_the_reply() {
    let upstream = ScriptedUpstream::start([
        Step::json(200, &openai_reply("I wrote to <EMAIL_1>.")),
        Step::events(stream(&["to <EM", "AIL_1", "> it", " went"], "stop")),
    ])
    .await;
    let own = "  prompt_builders:\n    g: {policy: redact}\n  response_parsers:\n    g: {policy: restore}";
    let gateway = Gateway::start(&config(&upstream, own)).await;
    let reply = gateway.post("/v1/chat/completions", &ask("write to ada@example.org")).await;
    assert_eq!(content(&reply.json()), "I wrote to ada@example.org.");
    let mut streamed = ask("write to ada@example.org");
    streamed["stream"] = json!(true);
    let reply = gateway.post("/v1/chat/completions", &streamed).await;
    assert_eq!(read(&reply.events()), ("to ada@example.org it went".to_owned(), String::new(), None));
    for request in upstream.asked() {
        assert_eq!(request.body["messages"][0]["content"], "write to <EMAIL_1>");
    }
}

#[tokio::test]
async fn thinking_comes_apart_and_nothing_waits_for_the_end() {
    let gate = Gate::closed();
    let wire = stream(&["<think>hm", ", so", "</think>\n\nYes", ", it is"], "stop");
    let second = wire.find(", so").expect("a piece");
    let cut = wire[..second].rfind("data: ").expect("an event");
    let upstream = ScriptedUpstream::start([
        Step::events(wire).pause_after(cut, &gate),
        Step::json(200, &openai_reply("<think>hm</think>Yes")),
    ])
    .await;
    let gateway = Gateway::start(&config(&upstream, "  response_parsers:\n    g: {policy: reasoning}")).await;
    let mut request = ask("is it?");
    request["stream"] = json!(true);
    let mut response = gateway.open("/v1/chat/completions", &request).await;
    let first = response.chunk().await.expect("a piece").expect("not the end");
    assert!(String::from_utf8_lossy(&first).contains("\"reasoning_content\":\"hm\""), "{first:?}");
    gate.open();
    let rest = crate::support::gateway::read(response).await;
    assert_eq!(read(&rest.events()), ("Yes, it is".to_owned(), ", so".to_owned(), None));
    let whole = gateway.post("/v1/chat/completions", &ask("is it?")).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!((message["content"].as_str(), message["reasoning_content"].as_str()), (Some("Yes"), Some("hm")));
}

const JSON: &str = "  response_parsers:\n    g: {policy: json, settings: {schema: {type: object, required: [a]}}}";

#[tokio::test]
async fn json_is_taken_out_of_prose_and_asked_for_again() {
    let cases = [("Sure:\n```json\n{\"a\": 1}\n```", "{\"a\": 1}"), ("{'a': [1,],}", "{\"a\":[1]}")];
    let replies = [cases[0].0, cases[1].0, "{\"b\": 1}", "{\"a\": 2}"];
    let upstream = ScriptedUpstream::start(replies.map(|reply| Step::json(200, &openai_reply(reply)))).await;
    let gateway = Gateway::start(&config(&upstream, JSON)).await;
    for (_, json) in cases {
        let reply = gateway.post("/v1/chat/completions", &ask("?")).await;
        assert_eq!(content(&reply.json()), json);
        assert_eq!(reply.header("x-witgate-attempts"), "1");
    }
    let reply = gateway.post("/v1/chat/completions", &ask("?")).await;
    assert_eq!((content(&reply.json()), reply.header("x-witgate-attempts")), ("{\"a\": 2}", "2"));
    let again = upstream.asked()[3].body.clone();
    assert_eq!(again["messages"][1], json!({"role": "assistant", "content": "{\"b\": 1}"}));
    assert!(again["messages"][2]["content"].as_str().is_some_and(|text| text.contains("it has no `a`")), "{again}");
    // Both replies were paid for.
    assert_eq!(gateway.metric("witgate_requests_total{").map(|count| count > 0.0), Some(true));
}

#[tokio::test]
async fn a_reply_that_never_becomes_json_ends_within_the_retries() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("I cannot do that."))]).await;
    let gateway = Gateway::start(&config(&upstream, JSON)).await;
    let refused = gateway.post("/v1/chat/completions", &ask("?")).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, error["code"].as_str()), (502, Some("parse")), "{}", refused.text);
    assert!(error["message"].as_str().is_some_and(|words| words.contains("there is no JSON in it")), "{error}");
    assert_eq!(upstream.asked().len(), 3);
}

#[tokio::test]
async fn a_stream_of_json_is_cut_out_as_it_comes_and_held_where_the_group_says_so() {
    let gate = Gate::closed();
    let wire = stream(&["{\"b\"", ": 1}"], "stop");
    let cut = wire.find("\n\n").expect("an event") + 2;
    let upstream = ScriptedUpstream::start([
        Step::events(stream(&["Sure: {\"", "a\": 1", "} there"], "stop")),
        Step::events(wire).pause_after(cut, &gate),
        Step::events(stream(&["{\"b\"", ": 1}"], "stop")),
        Step::events(stream(&["Oh: {'a'", ": 1,}"], "stop")),
    ])
    .await;
    let mut request = ask("?");
    request["stream"] = json!(true);
    let gateway = Gateway::start(&config(&upstream, JSON)).await;
    let reply = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!(read(&reply.events()), ("{\"a\": 1}".to_owned(), String::new(), None));
    // What the client has begun to read cannot be taken back.
    let mut response = gateway.open("/v1/chat/completions", &request).await;
    let first = response.chunk().await.expect("a piece").expect("not the end");
    gate.open();
    let rest = crate::support::gateway::read(response).await;
    let events = String::from_utf8_lossy(&first).into_owned() + &rest.text;
    let events: Vec<String> =
        events.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
    let (text, _, error) = read(&events);
    assert_eq!(text, "{\"b\": 1}");
    assert_eq!(error.expect("an error")["code"], "parse");

    let held = Gateway::start(&config(&upstream, &JSON.replace("{policy", "{hold: true, policy"))).await;
    let reply = held.post("/v1/chat/completions", &request).await;
    assert_eq!(read(&reply.events()), ("{\"a\":1}".to_owned(), String::new(), None));
    assert_eq!(reply.header("x-witgate-attempts"), "2");
}

#[tokio::test]
async fn a_policy_of_another_role_is_refused_by_name() {
    let upstream = ScriptedUpstream::start([Step::silent()]).await;
    let gateway = Gateway::start(&config(&upstream, JSON)).await;
    let before = gateway.generation();
    gateway.replace("config.yaml", config(&upstream, &JSON.replace("json", "least-busy")).as_bytes());
    crate::support::until("it is refused", || !gateway.app.gateway.live.problems().is_empty()).await;
    let problems = gateway.app.gateway.live.problems().join("\n");
    assert!(
        problems.contains("is a router, and no response-parser; each role is named under a key of its own"),
        "{problems}"
    );
    assert_eq!(gateway.generation(), before);
}

#[tokio::test]
async fn several_texts_go_into_one_call_and_each_has_its_answer() {
    let array = r#"Here you are: [{"number": 2, "result": "low"}, {"number": 1, "result": "high"}]"#;
    let upstream = ScriptedUpstream::start([
        Step::json(200, &openai_reply("I would rather not.")),
        Step::json(200, &openai_reply(array)),
    ])
    .await;
    let own = "  prompt_builders:\n    g: {policy: batch, settings: {instructions: \"{{count}} texts:\", item: \"{{number}}. {{item}} \", instruction_tokens: 4, max_batch_tokens: 45}}\n  response_parsers:\n    g: {policy: batch-split}";
    let gateway = Gateway::start(&config(&upstream, own)).await;
    let texts = ["it was the best of times", "it was the worst of times", "it was the age of wisdom, it was the age"];
    let reply =
        gateway.post("/v1/chat/completions", &json!({"model": "g", "prompt_items": texts, "max_tokens": 10})).await;
    assert_eq!(
        (reply.status, content(&reply.json())),
        (200, r#"[{"item":0,"result":"high"},{"item":1,"result":"low"}]"#),
        "{}",
        reply.text
    );
    assert_eq!(reply.header("x-witgate-items"), "0-1");
    assert_eq!(upstream.count(), 2, "a reply that is no array is asked for again");
}
