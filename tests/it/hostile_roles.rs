//! Prompt builders and response parsers that loop, trap, hoard or answer nonsense, in a whole gateway: a reply is whole whatever its
//! parser does, a builder's failure refuses unless the group says otherwise, faults are counted, and the process stays well.

use serde_json::{Value, json};

use crate::chat::openai_reply;
use crate::prompts::{ask, config, content, read, stream};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};
use crate::support::{fixture, until};

async fn gateway(upstream: &ScriptedUpstream, own: &str) -> Gateway {
    let (prompt, reply) = (fixture("policies/hostile-prompt.wasm"), fixture("policies/hostile-reply.wasm"));
    let policies = [("hostile-prompt.wasm", prompt.as_path()), ("hostile-reply.wasm", reply.as_path())];
    Gateway::start_with(&config(upstream, own), &policies).await
}

fn parser(deed: &str, more: &str) -> String {
    format!("  response_parsers:\n    g: {{policy: hostile-reply{more}, settings: {{do: {deed}}}}}")
}

fn streamed(text: &str) -> Value {
    let mut request = ask(text);
    request["stream"] = json!(true);
    request
}

/// A policy's own faults of all kinds as `/metrics` tells them.
async fn faults(gateway: &Gateway, role: &str) -> u64 {
    let text = gateway.get("/metrics").await.text;
    let own = |line: &&str| {
        let others = line.contains("kind=\"quarantined\"") || line.contains("kind=\"no-instance\"");
        line.starts_with("witgate_policy_faults_total") && line.contains(role) && !others
    };
    text.lines().filter(own).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn a_builder_that_fails_refuses_and_is_passed_over_where_the_group_says_so() {
    for deed in
        ["loop", "trap", "memory", "stack", "count-loop", "no-such-part", "part-twice", "huge-note", "endless-text"]
    {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Yes"))]).await;
        for pass in [false, true] {
            let more = if pass { ", on_fault: pass" } else { "" };
            let own = format!("  prompt_builders:\n    g: {{policy: hostile-prompt{more}, settings: {{do: {deed}}}}}");
            let gateway = gateway(&upstream, &own).await;
            assert_eq!(gateway.post("/v1/chat/completions", &ask("well")).await.status, 200, "{deed}");
            let before = upstream.asked().len();
            for n in 0..5 {
                let reply = gateway.post("/v1/chat/completions", &ask("666")).await;
                let error = reply.json()["error"]["message"].clone();
                if pass {
                    assert_eq!((reply.status, content(&reply.json())), (200, "Yes"), "{deed}, {n}: {}", reply.text);
                } else {
                    assert_eq!(reply.status, 500, "{deed}, {n}: {}", reply.text);
                    assert!(error.as_str().is_some_and(|words| words.contains("nothing was sent")), "{deed}: {error}");
                }
            }
            let sent = upstream.asked().split_off(before);
            assert_eq!(sent.len(), if pass { 5 } else { 0 }, "{deed}");
            assert!(sent.iter().all(|sent| sent.body["messages"][0]["content"] == "666"), "{deed}: as it was written");
            assert_eq!(faults(&gateway, "prompt-builder").await, 3, "{deed}");
            let report = gateway.get("/admin/policies").await.json();
            let row = report["policies"].as_array().into_iter().flatten().find(|row| row["name"] == "hostile-prompt");
            assert_eq!(row.expect("a row")["quarantined"], true, "{deed}: {report}");
        }
    }
}

#[tokio::test]
async fn a_reply_is_whole_whatever_its_parser_does() {
    let said = ["one ", "666 ", "two"];
    for deed in [
        "push-loop",
        "push-trap",
        "push-memory",
        "push-endless",
        "finish-trap",
        "open-trap",
        "hold-trap",
        "late",
        "call-twice",
    ] {
        let upstream = ScriptedUpstream::start([
            Step::events(stream(&said, "stop")),
            Step::json(200, &openai_reply("one 666 two")),
            Step::events(stream(&said, "stop")),
            Step::json(200, &openai_reply("one 666 two")),
            Step::events(stream(&said, "stop")),
        ])
        .await;
        for hold in ["", ", hold: true"] {
            let gateway = gateway(&upstream, &parser(deed, hold)).await;
            let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
            assert_eq!(
                read(&reply.events()),
                ("one 666 two".into(), String::new(), None),
                "{deed}{hold}: {}",
                reply.text
            );
            assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "{deed}{hold}");
            let reply = gateway.post("/v1/chat/completions", &ask("?")).await;
            assert_eq!(content(&reply.json()), "one 666 two", "{deed}{hold}");
            let found = faults(&gateway, "response-parser").await;
            // The constructor fails where the client gets pieces, and only there.
            let least = match (deed, hold) {
                ("open-trap", "") => 1,
                ("open-trap", _) => 0,
                _ => 2,
            };
            assert!(found >= least, "{deed}{hold}: {found} faults");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_takes_nothing_along() {
    let gate = Gate::closed();
    let wire = stream(&["one ", "two"], "stop");
    let cut = wire.find("\n\n").expect("an event") + 2;
    let steps = (0..20).map(|_| Step::events(wire.clone()).pause_after(cut, &gate));
    let upstream = ScriptedUpstream::start(steps.chain([Step::events(wire.clone())])).await;
    let gateway = gateway(&upstream, &parser("nothing", "")).await;
    for _ in 0..20 {
        let mut response = gateway.open("/v1/chat/completions", &streamed("?")).await;
        drop(response.chunk().await.expect("a piece").expect("not the end"));
    }
    gate.open();
    let left = "witgate_requests_total{group=\"g\",api=\"openai\",ending=\"cancelled\",status=\"499\"}";
    until("all have left", || gateway.metric(left) == Some(20.0)).await;
    let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
    assert_eq!(read(&reply.events()).0, "one two");
    assert_eq!(faults(&gateway, "response-parser").await, 0);
    assert_eq!(gateway.app.gateway.memory.held(), 0);
}

/// A stream of these texts that ends with what was used, in OpenAI's words.
fn billed(texts: &[&str], input: u64, output: u64) -> String {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage});
    stream(texts, "stop").replace("data: [DONE]", &format!("data: {chunk}\n\ndata: [DONE]"))
}

#[tokio::test]
async fn both_replies_are_billed_where_the_model_is_asked_again() {
    let upstream =
        ScriptedUpstream::start([Step::events(billed(&["666"], 11, 7)), Step::events(billed(&["good"], 13, 5))]).await;
    let gateway = gateway(&upstream, &parser("hold-complain", ", hold: true")).await;
    let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
    assert_eq!(read(&reply.events()), ("good".into(), String::new(), None), "{}", reply.text);
    assert_eq!(reply.header("x-witgate-attempts"), "2");
    let again = upstream.asked()[1].body.clone();
    assert_eq!(again["messages"][1], json!({"role": "assistant", "content": "666"}));
    let tokens = |kind: &str| {
        let text = gateway.app.metrics.render(Vec::new()).expect("metrics");
        let lines = text.lines().filter(|line| line.starts_with("witgate_tokens_total") && line.contains(kind));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    until("it is recorded", || tokens("output") == 12 && tokens("input") == 24).await;
}

#[tokio::test]
async fn anthropics_clients_get_block_after_block() {
    let upstream = ScriptedUpstream::start([Step::events(stream(
        &["<think>hm", ", so</th", "ink>\n\nYes", ", it", " is <"],
        "stop",
    ))])
    .await;
    let gateway = Gateway::start(&config(&upstream, "  response_parsers:\n    g: {policy: reasoning}")).await;
    let mut request = streamed("is it?");
    request["max_tokens"] = json!(10);
    let reply = gateway.post("/v1/messages", &request).await;
    let events: Vec<Value> = reply.events().iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    let (mut open, mut texts, mut kinds) = (None, Vec::<String>::new(), Vec::new());
    for event in &events {
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(kinds.len() as u64)), "one after another: {}", reply.text);
                open = index;
                kinds.push(event["content_block"]["type"].as_str().unwrap_or_default().to_owned());
                texts.push(String::new());
            }
            "content_block_delta" => {
                assert_eq!(open, index, "{}", reply.text);
                let delta = &event["delta"];
                *texts.last_mut().expect("a block") +=
                    delta["text"].as_str().or(delta["thinking"].as_str()).unwrap_or_default();
            }
            "content_block_stop" => assert_eq!(open.take(), index, "{}", reply.text),
            _ => {}
        }
    }
    assert_eq!(
        (kinds, texts),
        (vec!["thinking".to_owned(), "text".into()], vec!["hm, so".to_owned(), "Yes, it is <".into()])
    );
}

/// A policy that does not say `pure` gets an instance of its own for each request: no prompt and no reply of one client reaches
/// another through it. Beside it the same policies where they say `pure` and are not, whose instances serve again: all three tell.
#[tokio::test]
async fn what_one_client_says_reaches_no_other_through_a_policy_that_remembers() {
    for (deed, crosses) in [("remember", false), ("remember-pure", true)] {
        let replies = ["early reply", "late reply"].map(|text| Step::json(200, &json!(text)));
        let upstream = ScriptedUpstream::start(replies).await;
        let text = format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k, provider_policy: hostile-provider, provider_settings: {{do: {deed}}}}}}}
witgate:
  prompt_builders: {{g: {{policy: hostile-prompt, settings: {{do: {deed}}}}}}}
  response_parsers: {{g: {{policy: hostile-reply, settings: {{do: {deed}}}}}}}
",
            upstream.origin()
        );
        let guests = ["hostile-prompt.wasm", "hostile-reply.wasm", "hostile-provider.wasm"];
        let guests = guests.map(|name| (name, fixture(&format!("policies/{name}"))));
        let policies = guests.each_ref().map(|(name, path)| (*name, path.as_path()));
        let gateway = Gateway::start_with(&text, &policies).await;
        let mut said = String::new();
        for words in ["earlyprompt", "lateprompt"] {
            let reply = gateway.post("/v1/chat/completions", &ask(words)).await;
            assert_eq!(reply.status, 200, "{deed}: {}", reply.text);
            said = content(&reply.json()).to_owned();
        }
        let sent = upstream.asked()[1].body.clone();
        let by_provider = sent["before"].to_string();
        let told = [
            ("builder", sent["messages"].to_string().contains("earlyprompt")),
            ("provider", by_provider.contains("earlyprompt")),
            ("parser", said.contains("early reply")),
        ];
        assert!(said.contains("late reply") && sent["before"].is_string(), "{deed}: {said} {sent}");
        for (role, told) in told {
            assert_eq!(told, crosses, "{deed}: the {role}: {said} {sent}");
        }
    }
}
