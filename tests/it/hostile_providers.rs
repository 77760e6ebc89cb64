//! Policies of providers that loop, trap, hoard or answer nonsense, in a whole gateway: a fault costs its attempt and another
//! deployment serves; after the first content the stream ends with an error event; neither goes, or is authorised, where it should not be.

use serde_json::{Value, json};

use crate::chat::openai_reply;
use crate::prompts::{ask, content, read, stream};
use crate::support::fixture;
use crate::support::gateway::Gateway;
use crate::support::upstream::{ScriptedUpstream, Step};

/// A group whose first deployment is spoken to by the hostile policy, and whose second is not.
async fn gateway(hostile: &ScriptedUpstream, good: &ScriptedUpstream, deed: &str) -> Gateway {
    let text = format!(
        "model_list:
  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-very-secret, order: 1, provider_policy: hostile-provider, provider_settings: {{do: {deed}}}}}, model_info: {{id: hostile}}}}
  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k, order: 2}}, model_info: {{id: good}}}}
router_settings: {{num_retries: 2, cooldown_time: 0, disable_cooldowns: true}}
",
        hostile.origin(),
        good.origin()
    );
    let guest = fixture("policies/hostile-provider.wasm");
    Gateway::start_with(&text, &[("hostile-provider.wasm", &guest)]).await
}

fn streamed(text: &str) -> Value {
    let mut request = ask(text);
    request["stream"] = json!(true);
    request
}

/// Its own faults by kind.
async fn faults(gateway: &Gateway) -> Vec<(String, u64)> {
    let text = gateway.get("/metrics").await.text;
    let of_role = |line: &&str| line.starts_with("witgate_policy_faults_total{") && line.contains("role=\"provider\"");
    let read = |line: &str| {
        let (_, kind) = line.split_once("kind=\"")?;
        Some((kind.split('"').next()?.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
    };
    text.lines().filter(of_role).filter_map(read).filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn a_request_it_cannot_write_is_served_elsewhere() {
    let deeds = [
        ("loop", "cpu-budget"),
        ("trap", "trap"),
        ("panic", "trap"),
        ("memory", "memory cpu-budget"),
        ("stack", "trap stack-overflow cpu-budget"),
        ("log-loop", "cpu-budget"),
        ("endless", "trap memory cpu-budget"),
        ("path", "contract"),
        ("climb", "contract"),
        ("header", "contract"),
        ("host", "contract"),
    ];
    for (deed, kinds) in deeds {
        let hostile = ScriptedUpstream::start([Step::json(200, &json!("never asked"))]).await;
        let good = ScriptedUpstream::start([Step::json(200, &openai_reply("Yes"))]).await;
        let gateway = gateway(&hostile, &good, &format!("encode-{deed}")).await;
        // Three faults, and the quarantine that follows them.
        for n in 0..5 {
            let reply = gateway.post("/v1/chat/completions", &ask("666")).await;
            assert_eq!((reply.status, content(&reply.json())), (200, "Yes"), "{deed}, {n}: {}", reply.text);
            assert_eq!(reply.header("x-witgate-deployment"), "good", "{deed}, {n}");
        }
        assert!(hostile.asked().is_empty(), "{deed}: nothing was sent");
        let found = faults(&gateway).await;
        let own: u64 = found.iter().filter(|(kind, _)| kinds.contains(kind.as_str())).map(|(_, count)| count).sum();
        assert_eq!(own, 3, "{deed}: {found:?}");
        assert!(found.iter().any(|(kind, count)| kind == "quarantined" && *count == 2), "{deed}: {found:?}");
    }
}

#[tokio::test]
async fn a_reply_it_cannot_read_is_asked_for_elsewhere() {
    for deed in ["loop", "trap", "memory", "stack", "endless", "endless-list", "fault"] {
        let hostile = ScriptedUpstream::start([Step::json(200, &json!("666"))]).await;
        let good = ScriptedUpstream::start([Step::json(200, &openai_reply("Yes"))]).await;
        let gateway = gateway(&hostile, &good, &format!("decode-{deed}")).await;
        let reply = gateway.post("/v1/chat/completions", &ask("?")).await;
        assert_eq!((reply.status, content(&reply.json())), (200, "Yes"), "{deed}: {}", reply.text);
        assert_eq!((hostile.asked().len(), reply.header("x-witgate-attempts")), (1, "2"), "{deed}");
        // What it says of a reply is an answer, and no fault of its own.
        assert_eq!(faults(&gateway).await.is_empty(), deed == "fault", "{deed}");
    }
    for deed in ["loop", "trap"] {
        let hostile = ScriptedUpstream::start([Step::json(503, &json!("666"))]).await;
        let good = ScriptedUpstream::start([Step::json(200, &openai_reply("Yes"))]).await;
        let gateway = gateway(&hostile, &good, &format!("error-{deed}")).await;
        let reply = gateway.post("/v1/chat/completions", &ask("?")).await;
        assert_eq!((reply.status, content(&reply.json())), (200, "Yes"), "{deed}: {}", reply.text);
        assert_eq!(faults(&gateway).await.len(), 1, "{deed}");
    }
}

#[tokio::test]
async fn a_stream_it_cannot_read_is_another_deployments_before_its_first_content_and_an_error_after_it() {
    let events = |texts: &[&str]| format!("data: {}\n\n", texts.join("\n\ndata: "));
    for deed in ["loop", "trap", "memory", "endless", "endless-list", "fault"] {
        let hostile = ScriptedUpstream::start([
            Step::events(events(&["666", "[DONE]"])),
            Step::events(events(&["one", "two", "666", "[DONE]"])),
        ])
        .await;
        let good = ScriptedUpstream::start([Step::events(stream(&["Yes"], "stop"))]).await;
        let gateway = gateway(&hostile, &good, &format!("push-{deed}")).await;
        let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
        assert_eq!(read(&reply.events()), ("Yes".to_owned(), String::new(), None), "{deed}: {}", reply.text);
        assert_eq!(reply.header("x-witgate-deployment"), "good", "{deed}");
        // One piece may bring all of it: then nothing was sent yet, and the other serves too.
        let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
        let (text, _, error) = read(&reply.events());
        match reply.header("x-witgate-deployment") {
            "good" => assert_eq!((text.as_str(), error), ("Yes", None), "{deed}"),
            _ => assert!("onetwo".starts_with(&text) && error.is_some(), "{deed}: {}", reply.text),
        }
    }
    // A stream whose end it never tells is one that broke off.
    let hostile = ScriptedUpstream::start([Step::events(events(&["one", "two"]))]).await;
    let good = ScriptedUpstream::start([Step::silent()]).await;
    let gateway = gateway(&hostile, &good, "nothing").await;
    let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
    let (text, _, error) = read(&reply.events());
    assert!(text == "onetwo" && error.is_some(), "{}", reply.text);
}

#[tokio::test]
async fn arguments_of_no_tool_call_do_not_harm_the_client() {
    let events = "data: one\n\ndata: 666\n\ndata: [DONE]\n\n";
    let hostile = ScriptedUpstream::start([Step::events(events), Step::events(events)]).await;
    let good = ScriptedUpstream::start([Step::silent()]).await;
    let gateway = gateway(&hostile, &good, "push-arguments-of-nothing").await;
    let reply = gateway.post("/v1/chat/completions", &streamed("?")).await;
    assert_eq!((reply.status, reply.events().last().map(String::as_str)), (200, Some("[DONE]")), "{}", reply.text);
    let mut anthropic = streamed("?");
    anthropic["max_tokens"] = json!(10);
    let reply = gateway.post("/v1/messages", &anthropic).await;
    assert!(reply.status == 200 && reply.text.contains("message_stop"), "{}", reply.text);
}

#[tokio::test]
async fn faults_that_are_far_apart_quarantine_nobody() {
    // On virtual time this takes nothing; here the clock is the system's, and only what counts as time is checked: the policy's
    // calls carry the moment of their requests.
    let hostile = ScriptedUpstream::start([Step::json(200, &json!("well"))]).await;
    let good = ScriptedUpstream::start([Step::json(200, &openai_reply("Yes"))]).await;
    let gateway = gateway(&hostile, &good, "encode-trap").await;
    assert_eq!(gateway.post("/v1/chat/completions", &ask("?")).await.status, 200);
    let snapshot = gateway.app.gateway.live.read();
    let policy = snapshot.groups["g"].provider_policies().next().expect("a provider's policy");
    let age = gateway.app.gateway.clock.now().since(policy.last_seen());
    assert!(policy.last_seen().as_millis() > 0 && age.as_secs() < 60, "{age:?}");
}
