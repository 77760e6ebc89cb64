//! Policies that loop, trap, hoard or answer nonsense: requests are served by the built-in order, faults are
//! counted, and the process stays well.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::{fixture, until};

/// What the fixture is told to do when it is asked to decide.
const MISDEEDS: [&str; 14] = [
    "route-loop",
    "route-call-loop",
    "route-trap",
    "route-panic",
    "memory-hog",
    "stack-overflow",
    "out-of-range",
    "far-out-of-range",
    "propensity-nan",
    "propensity-negative",
    "propensity-zero",
    "propensity-above-one",
    "duplicate",
    "huge-list",
];

#[tokio::test]
async fn a_hostile_router_fails_no_request() {
    let hostile = fixture("policies/hostile.wasm");
    for misdeed in MISDEEDS {
        let config = format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, output_tokens: 3}}}}, model_info: {{id: first}}}}
  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, output_tokens: 3}}}}, model_info: {{id: second}}}}
witgate: {{routers: {{g: {{policy: hostile, settings: {{do: {misdeed}}}}}}}}}
"
        );
        let gateway = Gateway::start_with(&config, &[("hostile.wasm", &hostile)]).await;
        // The fixture misbehaves at this priority only, so that it passes the self-test.
        let body = json!({"model": "g", "priority": 666, "messages": [{"role": "user", "content": "Hi"}]});
        for _ in 0..5 {
            let answer = gateway.post("/v1/chat/completions", &body).await;
            assert_eq!(answer.status, 200, "{misdeed}: {}", answer.text);
            assert_eq!(answer.header("x-witgate-deployment"), "first", "{misdeed}: the built-in order");
            assert_eq!(answer.header("x-witgate-policy"), "built-in", "{misdeed}");
        }
        let report = gateway.get("/admin/policies").await.json();
        let policy = &report["policies"][0];
        assert!(policy["faults"].as_u64().is_some_and(|faults| faults >= 3), "{misdeed}: {report}");
        assert_eq!(policy["quarantined"], true, "{misdeed}: {report}");
        assert!(policy["next_probe_ms"].is_u64(), "{misdeed}: {report}");
    }
}

#[tokio::test]
async fn a_policy_refuses_a_request_only_where_it_may() {
    let hostile = fixture("policies/hostile.wasm");
    for may in [false, true] {
        let config = format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, output_tokens: 3}}}}, model_info: {{id: first}}}}
witgate: {{routers: {{g: {{policy: hostile, settings: {{do: reject}}, may_reject: {may}}}}}}}
"
        );
        let gateway = Gateway::start_with(&config, &[("hostile.wasm", &hostile)]).await;
        let mut body =
            json!({"model": "g", "max_tokens": 5, "priority": 666, "messages": [{"role": "user", "content": "Hi"}]});
        for (path, api) in [("/v1/chat/completions", "openai"), ("/v1/messages", "anthropic")] {
            let answer = gateway.post(path, &body).await;
            if !may {
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert_eq!(answer.header("x-witgate-policy"), "built-in");
                continue;
            }
            let error = &answer.json()["error"];
            assert_eq!((answer.status, answer.header("x-witgate-refusal")), (403, "policy-refused"), "{}", answer.text);
            assert!(error["message"].as_str().is_some_and(|words| words.starts_with("nono")), "{}", answer.text);
            let code = if api == "openai" { &error["code"] } else { &error["details"]["error_code"] };
            assert_eq!((&error["type"], code), (&json!("permission_error"), &json!("policy-refused")), "{api}");
            let record =
                format!("witgate_requests_total{{group=\"g\",api=\"{api}\",ending=\"policy-refused\",status=\"403\"}}");
            assert_eq!(gateway.metric(&record), Some(1.0), "{api}");
        }
        body["priority"] = json!(0);
        assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200, "others are served");
        assert_eq!(gateway.get("/admin/policies").await.json()["policies"][0]["faults"], 0, "a refusal is no fault");
    }
}

#[tokio::test]
async fn a_policy_that_fails_behind_the_answer_costs_nobody_anything() {
    let hostile = fixture("policies/hostile.wasm");
    for misdeed in ["observe-loop", "observe-trap", "save-loop", "log-flood"] {
        let config = format!(
            "model_list:
  - {{model_name: g, litellm_params: {{model: simulated/m, simulated: {{ttft_ms: 0, output_tokens: 3}}}}}}
witgate: {{routers: {{g: {{policy: hostile, settings: {{do: {misdeed}}}}}}}}}
"
        );
        let gateway = Gateway::start_with(&config, &[("hostile.wasm", &hostile)]).await;
        let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
        for _ in 0..3 {
            let answer = gateway.post("/v1/chat/completions", &body).await;
            assert_eq!(answer.status, 200, "{misdeed}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_component_that_cannot_be_taken_keeps_nothing_from_starting_but_itself() {
    let good = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 3}}}\n";
    let gateway = Gateway::start_with(good, &[("broken.wasm", &fixture("../../Cargo.toml"))]).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    // No group names it, so it is looked at aside.
    until("it is reported", || !gateway.app.gateway.live.problems().is_empty()).await;
    let report = gateway.get("/admin/policies").await.json();
    let told = report["problems"][0].as_str().unwrap_or_default();
    assert!(told.contains("broken") && told.contains("not a WebAssembly component"), "{report}");
    assert!(told.ends_with("build it anew, or copy it again where it was not copied whole"), "{report}");
}

/// A body and a stream pass a group with a router as they pass one without: it decides before the call and has no business with either.
#[tokio::test]
async fn a_router_changes_nothing_that_the_gateway_can_carry() {
    let large = "x".repeat(12 << 20);
    for (policy, settings) in
        [(None, ""), (Some("simple-shuffle"), ""), (Some("tpm-aware"), ""), (Some("latency-based"), "")]
    {
        let gate = crate::support::upstream::Gate::closed();
        let content = crate::chat::OPENAI_STREAM.find("data: [DONE]").expect("an end");
        let upstream = crate::support::upstream::ScriptedUpstream::start([
            crate::support::upstream::Step::json(200, &crate::chat::openai_reply("Hello")),
            crate::support::upstream::Step::events(crate::chat::OPENAI_STREAM).pause_after(content, &gate),
        ])
        .await;
        let routers = policy.map_or_else(String::new, |policy| {
            format!("witgate: {{routers: {{g: {{policy: {policy}{settings}}}}}}}\n")
        });
        let config = format!(
            "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}}}]\n{routers}",
            upstream.origin()
        );
        let gateway = Gateway::start(&config).await;
        let body = json!({"model": "g", "messages": [{"role": "user", "content": large}]});
        let said = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(said.status, 200, "{policy:?}: {}", said.text);
        assert_eq!(upstream.asked()[0].body["messages"][0]["content"].as_str().map(str::len), Some(large.len()));
        // What is there of a stream reaches the client though its end is far off.
        let body = json!({"model": "g", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
        let mut stream = gateway.open("/v1/chat/completions", &body).await;
        let mut seen = String::new();
        while !seen.contains("\"lo\"") {
            seen += std::str::from_utf8(&stream.chunk().await.expect("readable").expect("more")).expect("text");
        }
        gate.open();
    }
}

/// A trap costs one request its policy's decision and no other; the mended file under the same name decides from then on.
#[tokio::test]
async fn a_trap_poisons_no_other_request_and_the_mended_file_decides() {
    let config = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}, model_info: {id: first}}
  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 2}}, model_info: {id: last}}
witgate: {routers: {g: {policy: counting}}}
";
    let gateway = Gateway::start_with(config, &[("counting.wasm", &fixture("policies/counting-faulty.wasm"))]).await;
    let decided = async |priority: i32| {
        let body = json!({"model": "g", "priority": priority, "messages": [{"role": "user", "content": "Hi"}]});
        let answer = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.header("x-witgate-policy").to_owned()
    };
    let faulty = decided(0).await;
    assert!(faulty.starts_with("counting@"), "{faulty}");
    // It traps in about one of two requests of this priority.
    while decided(666).await != "built-in" {}
    assert_eq!(decided(0).await, faulty, "the next one has a sound instance");
    futures_util::future::join_all((0..50).map(|number| decided(if number % 5 == 0 { 666 } else { 0 }))).await;
    gateway
        .replace("policies/counting.wasm", &std::fs::read(fixture("policies/counting-a.wasm")).expect("a component"));
    until("the mended file decides", || *gateway.app.gateway.live.read().groups["g"].policy != *faulty).await;
    for priority in [0, 666].repeat(10) {
        let mended = decided(priority).await;
        assert!(mended.starts_with("counting@") && mended != faulty, "{mended}");
    }
}
