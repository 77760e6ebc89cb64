//! What LiteLLM's own porters list as buggy or inconsistent, as it is here: docs/litellm.md names each with its test.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::*;
use crate::fault::FaultKind;

impl Scene {
    /// Streams to its end; the bytes, or the refusal before anything was sent.
    async fn stream(&self) -> Result<String, Refusal> {
        let body = r#"{"model": "a", "stream": true, "messages": [{"role": "user", "content": "hello"}]}"#;
        let request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body);
        match self.gateway.serve(self.gateway.arrive(&OpenAi), Box::new(request)).await? {
            Served::Streamed { stream, .. } => {
                let pieces: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
                Ok(String::from_utf8(pieces.concat()).unwrap())
            }
            _ => panic!("a stream"),
        }
    }
}

/// A wait of a provider's is read once: whoever may not wait so long is told it, and the deployment is left alone for it.
#[tokio::test(start_paused = true)]
async fn a_wait_that_a_provider_asks_for_is_one_for_retries_cooldowns_and_clients() {
    let scene = Scene::new(&[("a", "later-90"), ("a", "later-70")], "witgate: {queue: {max_wait_seconds: 0}}");
    let refusal = scene.ask("").await.unwrap_err();
    assert_eq!(scene.hosts.called().len(), 2, "nobody is asked again before it wants to be");
    assert!(refusal.retry_after.is_some_and(|wait| wait >= Duration::from_secs(70)), "{refusal:?}");
    // Of the two the first that may be asked again counts, and to the second.
    tokio::time::advance(Duration::from_secs(10)).await;
    let refusal = scene.ask("").await.unwrap_err();
    assert_eq!((refusal.kind, scene.hosts.called().len()), (RefusalKind::Unavailable, 2));
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(60)), "{}", refusal.message);
    tokio::time::advance(Duration::from_secs(60)).await;
    scene.ask("").await.unwrap_err();
    assert_eq!(scene.hosts.called()[2..], ["later-70"], "the other one is still left alone");
}

/// What was cut off cost 27 thousandths, and another attempt may cost 110: what is left pays for it, or nobody waits for it.
#[tokio::test(start_paused = true)]
async fn a_retry_that_no_budget_pays_for_is_not_slept_for() {
    let prices = ", input_cost_per_token: 0.001, output_cost_per_token: 0.01";
    let own = ", input_cost_per_token: 0.001, output_cost_per_token: 0.01, max_budget: 0.13, budget_duration: 30d";
    // What the deployment's entry says, the budget of all, how often it is called.
    for (entry, of_all, calls) in [(prices, "0.13", 1), (prices, "0.15", 2), (prices, "1", 3), (own, "1", 1)] {
        let settings = format!("router_settings: {{num_retries: 2}}\ncost_controls: {{max_budget: {of_all}}}");
        let scene = Scene::of(&deployment("a", "cut-1", entry), &settings);
        let began = tokio::time::Instant::now();
        let refusal = scene.ask(r#", "stream": true, "max_tokens": 10"#).await.unwrap_err();
        let told = (refusal.kind, scene.hosts.called().len());
        assert_eq!(told, (RefusalKind::Upstream, calls), "{entry} {of_all}: {}", refusal.message);
        assert_eq!(began.elapsed() >= Duration::from_millis(500), calls > 1, "{entry} {of_all}");
    }
}

/// A budget that begins anew before the retry pays for it.
#[tokio::test(start_paused = true)]
async fn a_retry_that_a_budget_pays_for_after_the_pause_is_slept_for() {
    let entry = ", input_cost_per_token: 0.001, output_cost_per_token: 0.01, max_budget: 0.12, budget_duration: 1s";
    let settings = "router_settings: {num_retries: 1, retry_after: 2}";
    let scene = Scene::of(&deployment("a", "cut-1", entry), settings);
    scene.ask(r#", "stream": true, "max_tokens": 10"#).await.unwrap_err();
    assert_eq!(scene.hosts.called().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_id_of_a_deployment_is_no_model_and_says_so() {
    let scene = Scene::new(&[("a", "ok-1"), ("b", "ok-2")], "");
    let refusal = scene.ask(r#", "model": "ok-2""#).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.status), (RefusalKind::UnknownModel, 404));
    assert!(refusal.message.contains("a, b"), "{}", refusal.message);
    assert!(scene.hosts.called().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_alternatives_counts_as_held_back_only_where_a_group_is_there_for_it() {
    let groups = [("a", "none-1"), ("b", "ok-b")];
    let scene = Scene::new(&groups, "router_settings: {content_policy_fallbacks: [{a: [b]}]}");
    assert_eq!(scene.ask("").await.unwrap().group.as_str(), "b");
    for rest in ["", "router_settings: {fallbacks: [{a: [b]}]}"] {
        let scene = Scene::new(&groups, rest);
        assert_eq!(scene.ask("").await.unwrap().group.as_str(), "a", "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_of_one_request_or_one_group_are_nobody_else_s() {
    let groups = [("a", "down-1"), ("b", "down-2"), ("c", "ok-c"), ("d", "ok-d")];
    let settings =
        "router_settings: {num_retries: 0, disable_cooldowns: true, fallbacks: [{a: [b]}], default_fallbacks: [c]}";
    let scene = Scene::new(&groups, settings);
    assert_eq!(scene.ask(r#", "fallbacks": ["d"]"#).await.unwrap().group.as_str(), "d");
    let from = scene.hosts.called().len();
    assert_eq!(scene.ask(r#", "model": "b""#).await.unwrap().group.as_str(), "c");
    assert_eq!(scene.hosts.called()[from..], ["down-2", "ok-c"], "the request's list was its own");
    let from = scene.hosts.called().len();
    scene.ask("").await.unwrap();
    assert_eq!(scene.hosts.called()[from..from + 2], ["down-1", "down-2"], "and so is the group's");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_told_with_its_own_deployment_and_fault() {
    let list = [deployment("a", "down-1", ", order: 1"), deployment("a", "busy-1", ", order: 2")];
    let list = [list.concat(), deployment("b", "bad-1", ""), deployment("c", "ok-1", "")].concat();
    let scene = Scene::of(&list, "router_settings: {num_retries: 0, fallbacks: [{a: [b]}, {b: [c]}]}");
    scene.ask("").await.unwrap();
    let records = scene.records.lock().unwrap();
    let told: Vec<(&str, Option<FaultKind>)> =
        records[0].attempts.iter().map(|attempt| (attempt.deployment.as_str(), attempt.fault)).collect();
    let faults = [Some(FaultKind::Unavailable), Some(FaultKind::RateLimited), Some(FaultKind::Rejected), None];
    assert_eq!(told, ["down-1", "busy-1", "bad-1", "ok-1"].into_iter().zip(faults).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn one_failure_counts_once() {
    let settings = "router_settings: {num_retries: 0, allowed_fails: 1, cooldown_time: 600}";
    let list = [deployment("a", "down-1", ", order: 1"), deployment("a", "ok-1", ", order: 2")].concat();
    let scene = Scene::of(&list, settings);
    for _ in 0..4 {
        scene.ask("").await.unwrap();
    }
    let called = scene.hosts.called();
    let failed = |called: &[String]| called.iter().filter(|host| *host == "down-1").count();
    assert_eq!(failed(&called), 2, "one is borne, and the second is one too many: {called:?}");
    // Nothing is one too many where the deployment says so.
    let scene = Scene::of(&list.replace("order: 1", "order: 1, cooldown_time: 0"), settings);
    for _ in 0..4 {
        scene.ask("").await.unwrap();
    }
    assert_eq!(failed(&scene.hosts.called()), 4);
}

#[tokio::test(start_paused = true)]
async fn every_class_of_refusal_tells_how_often_it_was_tried() {
    for (host, calls) in
        [("down-1", 3), ("busy-1", 3), ("bad-1", 1), ("denied-1", 1), ("long-1", 1), ("moderated-1", 1)]
    {
        let scene = Scene::new(&[("a", host)], "router_settings: {num_retries: 2}");
        let refusal = scene.ask("").await.unwrap_err();
        assert_eq!(refusal.tried, Some(tried(calls - 1, 0)), "{host}");
        assert_eq!(scene.hosts.called().len(), calls as usize, "{host}");
    }
    let scene = Scene::new(&[("a", "cut-1")], "router_settings: {num_retries: 2}");
    assert_eq!(scene.stream().await.unwrap_err().tried, Some(tried(2, 0)), "a stream that broke off");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_before_its_content_is_tried_again_and_then_elsewhere_and_all_is_billed() {
    let scene = Scene::new(
        &[("a", "cut-1"), ("b", "streams-1")],
        "router_settings: {num_retries: 1, disable_cooldowns: true, fallbacks: [{a: [b]}]}",
    );
    let said = scene.stream().await.unwrap();
    assert!(said.contains("\"content\":\"Hi\"") && said.ends_with("data: [DONE]\n\n"), "{said}");
    assert_eq!(scene.hosts.called(), ["cut-1", "cut-1", "streams-1"]);
    let records = scene.records.lock().unwrap();
    let used: Vec<(u64, u64)> =
        records[0].attempts.iter().map(|attempt| (attempt.usage.input_tokens, attempt.usage.output_tokens)).collect();
    assert_eq!(used, [(7, 2), (7, 2), (5, 1)]);
    assert_eq!((records[0].usage.input_tokens, records[0].usage.output_tokens), (19, 5), "what broke off is paid, too");
}

#[tokio::test(start_paused = true)]
async fn a_call_streamed_or_whole_counts_alike() {
    let streamed = Scene::new(&[("a", "streams-1")], "");
    streamed.stream().await.unwrap();
    let whole = Scene::new(&[("a", "ok-1")], "");
    whole.ask("").await.unwrap();
    let of = |scene: &Scene| {
        let records = scene.records.lock().unwrap();
        let [record] = records.as_slice() else { panic!("one record") };
        (record.attempts.len(), record.ending.as_str(), record.usage.input_tokens, record.usage.output_tokens)
    };
    assert_eq!(of(&streamed), of(&whole));
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_request_are_bounded_over_all_its_groups() {
    let groups = [("a", "down-1"), ("b", "down-2"), ("c", "ok-1")];
    let with = |most: &str| {
        format!(
            "router_settings: {{num_retries: 1, fallbacks: [{{a: [b, c]}}]}}\nlitellm_settings: {{num_retries_per_request: {most}}}"
        )
    };
    for (most, called) in [
        ("0", &["down-1"][..]),
        ("1", &["down-1", "down-1"]),
        ("2", &["down-1", "down-1", "down-2"]),
        ("4", &["down-1", "down-1", "down-2", "down-2", "ok-1"]),
    ] {
        let scene = Scene::new(&groups, &with(most));
        let answer = scene.ask("").await;
        assert_eq!(scene.hosts.called(), called, "{most}");
        assert_eq!(answer.is_ok(), called.len() == 5, "{most}");
    }
}

/// However many deployments there are, what is in flight at one of them counts there until it ends.
#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_not_forgotten_however_many_deployments_there_are() {
    let others: String =
        (0..300).map(|number| deployment(&format!("g{number}"), &format!("ok-{number}"), "")).collect();
    let list = deployment("a", "hangs-1", ", max_parallel_requests: 1") + &others;
    let scene = Scene::of(&list, "witgate: {queue: {max_wait_seconds: 0}}");
    let mut first = Box::pin(scene.ask(""));
    assert!(futures_util::poll!(&mut first).is_pending());
    for number in 0..300 {
        scene.ask(&format!(r#", "model": "g{number}""#)).await.unwrap();
    }
    assert_eq!(scene.ask("").await.unwrap_err().kind, RefusalKind::RateLimited);
    drop(first);
    assert!(futures_util::poll!(Box::pin(scene.ask(""))).is_pending(), "its place is free once it ended");
}

#[tokio::test(start_paused = true)]
async fn a_list_is_found_by_the_whole_name_by_what_follows_its_slash_or_for_all() {
    let groups = [("x/a", "down-1"), ("b", "ok-b"), ("c", "ok-c"), ("d", "ok-d")];
    for (lists, taken) in [
        ("fallbacks: [{x/a: [b]}, {a: [c]}, {'*': [d]}]", "b"),
        ("fallbacks: [{a: [c]}, {'*': [d]}]", "c"),
        ("fallbacks: [{'*': [d]}]", "d"),
        ("fallbacks: [{b: [c]}], default_fallbacks: [d]", "d"),
    ] {
        let scene = Scene::new(&groups, &format!("router_settings: {{num_retries: 0, {lists}}}"));
        let served = scene.ask(r#", "model": "x/a""#).await.unwrap();
        assert_eq!((served.group.as_str(), served.tried), (taken, tried(0, 1)), "{lists}");
    }
}
