//! Providers that a component speaks to: Cohere, as its own client (`cohere` 5, v2) knows its shapes.

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::upstream::{ScriptedUpstream, Step};
use crate::support::{fixture, until};

fn config(upstream: &ScriptedUpstream, more: &str) -> String {
    format!(
        "model_list:\n  - model_name: g\n    litellm_params: {{model: cohere/command-a-03-2025, api_base: \"{}/v2/chat\", api_key: co-very-secret{more}}}\n    model_info: {{id: one, input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001}}\nrouter_settings: {{num_retries: 0, cooldown_time: 0}}\n",
        upstream.origin()
    )
}

fn whole() -> Value {
    json!({"id": "r1", "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
        "usage": {"billed_units": {"input_tokens": 4, "output_tokens": 1}, "tokens": {"input_tokens": 70, "output_tokens": 2}}})
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

fn streamed() -> String {
    let text =
        |text: &str| json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}});
    [
        json!({"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}}),
        json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        text("Hel"),
        text("lo"),
        json!({"type": "content-end", "index": 0}),
        json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 4, "output_tokens": 1}, "tokens": {"input_tokens": 70, "output_tokens": 2}}}}),
    ]
    .iter()
    .map(event)
    .collect()
}

fn ask(streamed: bool) -> Value {
    json!({"model": "g", "stream": streamed, "stream_options": {"include_usage": true}, "user": "u",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn a_whole_reply_and_a_refusal_in_the_clients_words() {
    let upstream = ScriptedUpstream::start([
        Step::json(200, &whole()),
        Step::json(429, &json!({"message": "You are past the per minute request limit"})).header("retry-after", "1"),
        Step::json(400, &json!({"id": "x", "message": "invalid request: model 'x' not found"})),
    ])
    .await;
    let gateway = Gateway::start(&config(&upstream, "")).await;
    let mut request = ask(false);
    request["stream_options"] = Value::Null;
    let reply = gateway.post("/v1/chat/completions", &request).await;
    let body = reply.json();
    assert_eq!(reply.status, 200, "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], "Hello");
    assert_eq!((&body["choices"][0]["finish_reason"], &body["usage"]["total_tokens"]), (&json!("stop"), &json!(5)));
    assert_eq!(reply.header("x-witgate-dropped"), "user");
    assert_eq!(reply.header("x-litellm-response-cost"), "0.00002");
    let explained = gateway.post("/route/explain", &ask(false)).await.json();
    let by = explained["deployments"][0]["spoken_by"].as_str().unwrap_or_default().to_owned();
    assert!(by.starts_with("cohere@"), "{explained}");
    let sent = &upstream.asked()[0];
    assert_eq!(sent.path, "/v2/chat");
    assert_eq!(sent.headers["authorization"], "Bearer co-very-secret");
    assert_eq!(
        (&sent.body["model"], &sent.body["messages"][0]["role"]),
        (&json!("command-a-03-2025"), &json!("system"))
    );

    let limited = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "1"), "{}", limited.text);
    assert!(limited.text.contains("past the per minute request limit"), "{}", limited.text);
    let refused = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("model 'x' not found"), "{}", refused.text);
}

#[tokio::test]
async fn a_stream_in_pieces_of_one_byte_through_both_apis() {
    let upstream = ScriptedUpstream::start([Step::events(streamed()).byte_by_byte(), Step::events(streamed())]).await;
    let gateway = Gateway::start(&config(&upstream, "")).await;
    let events = gateway.post("/v1/chat/completions", &ask(true)).await.events();
    let read: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let text: String = read.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!((text.as_str(), events.last().map(String::as_str)), ("Hello", Some("[DONE]")));
    let usage = read.iter().find_map(|event| event["usage"]["total_tokens"].as_u64());
    assert_eq!(usage, Some(5), "{events:?}");
    let request =
        json!({"model": "g", "stream": true, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let events = gateway.post("/v1/messages", &request).await.text;
    assert!(events.contains("\"text\":\"lo\"") && events.contains("message_stop"), "{events}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_is_of_another_kind_is_a_fault() {
    let whole = streamed();
    let cut = whole.find("event: message-end").expect("an end");
    let upstream =
        ScriptedUpstream::start([Step::events(whole[..cut].to_owned()), Step::events("data: not json\n\n")]).await;
    let gateway = Gateway::start(&config(&upstream, "")).await;
    let broken = gateway.post("/v1/chat/completions", &ask(true)).await;
    assert!(broken.text.contains("ended before the reply was whole"), "{}", broken.text);
    let refused = gateway.post("/v1/chat/completions", &ask(true)).await;
    assert_eq!(refused.status, 502, "{}", refused.text);
    assert!(refused.text.contains("no JSON"), "{}", refused.text);
}

#[tokio::test]
async fn a_provider_policy_can_be_named_for_any_deployment() {
    let upstream = ScriptedUpstream::start([Step::json(200, &whole())]).await;
    let named = config(&upstream, ", provider_policy: cohere").replace("cohere/command", "openai/command");
    let gateway = Gateway::start(&named).await;
    let mut request = ask(false);
    request["stream_options"] = Value::Null;
    let reply = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "Hello");
    assert_eq!(upstream.asked()[0].path, "/v2/chat/v2/chat", "only Cohere's own address is known to end so");
    let another =
        "model_list:\n  - {model_name: g, litellm_params: {model: openai/m, api_key: k, provider_policy: cohere}}\n";
    let named =
        named.replace("model_list:\n", another).replace("provider_policy: cohere", "provider_policy: tpm-aware");
    gateway.replace("config.yaml", named.as_bytes());
    crate::support::until("it is refused", || !gateway.app.gateway.live.problems().is_empty()).await;
    let problems = gateway.app.gateway.live.problems().join("\n");
    let told = problems.matches("is a router, and no provider").count();
    assert_eq!(told, 1, "it is not tried again for each deployment: {problems}");
}

/// The same component with other bytes: an empty section of its own says which it is.
fn version(name: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(fixture("policies/hostile-provider.wasm")).expect("a component");
    bytes.extend([0, 2, 1, name]);
    bytes
}

#[tokio::test]
async fn versions_of_a_providers_policy_are_kept_and_rolled_back() {
    let upstream = ScriptedUpstream::start([Step::json(200, &json!("well"))]).await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let deployment = |id: &str| {
        format!(
            "  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k, provider_policy: spoken, provider_settings: {{do: nothing}}}}, model_info: {{id: {id}}}}}\n",
            upstream.origin()
        )
    };
    let text = format!(
        "model_list:\n{}{}witgate: {{state_dir: {}}}\n",
        deployment("one"),
        deployment("two"),
        folder.path().join("state").display()
    );
    let first = folder.path().join("spoken.wasm");
    std::fs::write(&first, version(b'a')).expect("written");
    let gateway = Gateway::start_with(&text, &[("spoken.wasm", &first)]).await;
    let in_force = |gateway: &Gateway| {
        let snapshot = gateway.app.gateway.live.read();
        let digests = snapshot.groups["g"].provider_policies().map(|policy| policy.component().digest());
        digests.collect::<Vec<_>>()
    };
    let digest = |name| witgate::policy::Digest::of(&version(name));
    assert_eq!(in_force(&gateway), [digest(b'a'); 2]);
    gateway.replace("policies/spoken.wasm", &version(b'b'));
    until("the new version speaks", || in_force(&gateway) == [digest(b'b'); 2]).await;
    let done = gateway.post("/admin/policies/g/rollback", &json!({"role": "provider"})).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(in_force(&gateway), [digest(b'a'); 2], "both deployments, at once");
    assert_eq!(gateway.post("/v1/chat/completions", &ask(false)).await.status, 200);
    let history = gateway.get("/admin/policies/history?group=g").await.json();
    let changes = history["changes"].as_array().expect("changes").iter();
    let changes = changes.filter(|change| change["role"] == "provider").map(|change| change["how"].clone());
    assert_eq!(changes.collect::<Vec<_>>(), ["start", "replace", "rollback"], "{history}");
    let stranger = gateway.post("/admin/policies/g/rollback", &json!({"role": "provider", "policy": "other"})).await;
    assert!(stranger.status == 400 && stranger.text.contains("named `other`"), "{}", stranger.text);
    let named = json!({"role": "provider", "policy": "spoken", "to": digest(b'b').short()});
    let back = gateway.post("/admin/policies/g/promote", &named).await;
    assert_eq!((back.status, in_force(&gateway)), (200, vec![digest(b'b'); 2]), "{}", back.text);
    let tried =
        gateway.post("/admin/policies/g/shadow", &json!({"role": "provider", "to": digest(b'a').short()})).await;
    assert!(tried.status == 400 && tried.text.contains("replaced as a whole"), "{}", tried.text);
}
