use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;

use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind, Tried};
use crate::format::{ClientRequest, OpenAi};
use crate::pipeline::tests::support::{gateway_over, record_into};
use crate::pipeline::{Access, Gateway, ReplyMeta, RequestGuard, Served, authenticate};
use crate::record::{Ending, Record};
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

mod callers;
mod names;
mod porters;

/// Answers by the host: `ok-…` replies, `later-SECONDS` says when to come again, `hangs-…` never answers; any other name is the status and body
/// it is told.
#[derive(Default)]
struct Hosts {
    /// Hosts called, in order, each with what was asked of it.
    calls: Mutex<Vec<(String, String)>>,
}

const REPLY: &str = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;

const HELD: &str = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"W"},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;

const NONE: &str = r#"{"id":"1","object":"chat.completion","model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}"#;

const STREAM: &str = concat!(
    r#"data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#,
    "\n\ndata: [DONE]\n\n",
);

/// It tells what was used, and breaks off before any content.
const CUT: &str = concat!(
    r#"data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#,
    "\n\n",
);

/// In Anthropic's words, of which some were said.
const DECLINED: &str = r#"{"id": "1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "I"}], "stop_reason": "refusal", "usage": {"input_tokens": 5, "output_tokens": 1}}"#;

impl Hosts {
    fn called(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|(host, _)| host.clone()).collect()
    }
}

impl Upstream for Hosts {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let host = call.url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        self.calls.lock().unwrap().push((host.clone(), String::from_utf8(call.body.to_vec()).unwrap()));
        let (status, body) = match host.split('-').next().unwrap() {
            "ok" => (200, REPLY),
            "down" => (500, r#"{"error": {"message": "it is down"}}"#),
            "long" => (400, r#"{"error": {"message": "too long", "code": "context_length_exceeded"}}"#),
            "moderated" => (400, r#"{"error": {"message": "no", "code": "content_filter"}}"#),
            "held" => (200, HELD),
            "bad" => (400, r#"{"error": {"message": "bad request"}}"#),
            "broke" => (429, r#"{"error": {"message": "no money left", "code": "insufficient_quota"}}"#),
            "credit" => (
                400,
                r#"{"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}"#,
            ),
            "busy" | "later" => (429, r#"{"error": {"message": "slow down"}}"#),
            "day" => (
                429,
                r#"{"error": {"message": "Limit 100000, Used 99000, Requested 1200. Please try again in 3m0s.", "code": "rate_limit_exceeded"}}"#,
            ),
            "tpd" => (
                429,
                r#"{"error": {"message": "tokens per day (TPD): Limit 100000, Used 99900, Requested 200. Please try again in 30s.", "code": "rate_limit_exceeded"}}"#,
            ),
            "minute" => (
                429,
                r#"{"error": {"message": "Limit 30000, Used 29000, Requested 1200. Please try again in 20s.", "code": "rate_limit_exceeded"}}"#,
            ),
            "azure" => (
                429,
                r#"{"error": {"message": "exceeded token rate limit. Please retry after 4 seconds.", "code": "429"}}"#,
            ),
            "denied" => (401, r#"{"error": {"message": "who are you"}}"#),
            "declines" => (200, DECLINED),
            "none" => (200, NONE),
            "streams" => (200, STREAM),
            "cut" => (200, CUT),
            "closes" => {
                let closed = AttemptFault::new(FaultKind::Unavailable, "closed").on_closed_connection();
                return Box::pin(std::future::ready(Err(closed)));
            }
            "hangs" => return Box::pin(std::future::pending()),
            other => panic!("{other}"),
        };
        let body: Body = Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(body.as_bytes()))]));
        let status = StatusCode::from_u16(status).unwrap();
        let later =
            host.strip_prefix("later-").map(|seconds| ("retry-after".parse().unwrap(), seconds.parse().unwrap()));
        let headers = later.into_iter().collect();
        Box::pin(std::future::ready(Ok(UpstreamResponse { status, headers, body })))
    }
}

/// A deployment: group, host, and what else its entry says.
fn deployment(group: &str, host: &str, more: &str) -> String {
    format!(
        "- {{model_name: {group}, litellm_params: {{model: openai/m, api_base: 'http://{host}/v1', api_key: k-{host}{more}}}, model_info: {{id: {host}}}}}\n"
    )
}

struct Scene {
    gateway: Arc<Gateway>,
    hosts: Arc<Hosts>,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Scene {
    fn new(deployments: &[(&str, &str)], rest: &str) -> Self {
        let list: String = deployments.iter().map(|(group, host)| deployment(group, host, "")).collect();
        Self::of(&list, rest)
    }

    fn of(list: &str, rest: &str) -> Self {
        let hosts = Arc::new(Hosts::default());
        let (gateway, records) = record_into(gateway_over(&format!("model_list:\n{list}{rest}"), hosts.clone()));
        Self { gateway, hosts, records }
    }

    async fn ask(&self, more: &str) -> Result<ReplyMeta, Refusal> {
        self.ask_with(HeaderMap::new(), more).await
    }

    async fn ask_with(&self, headers: HeaderMap, more: &str) -> Result<ReplyMeta, Refusal> {
        self.serve(self.gateway.arrive(&OpenAi), headers, more).await
    }

    /// As the holder of this key.
    async fn ask_as(&self, key: &str, more: &str) -> Result<ReplyMeta, Refusal> {
        let (key, snapshot, now) = (SecretString::from(key), self.gateway.live.read(), self.gateway.clock.now());
        let caller = authenticate(&snapshot, Access::Client, Some(&key), now)?;
        let mut guard = self.gateway.arrive(&OpenAi);
        guard.set_caller(Some(caller));
        self.serve(guard, HeaderMap::new(), more).await
    }

    async fn serve(&self, guard: Box<RequestGuard>, headers: HeaderMap, more: &str) -> Result<ReplyMeta, Refusal> {
        let body = format!(r#"{{"model": "a", "messages": [{{"role": "user", "content": "hello"}}]{more}}}"#);
        let mut request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body);
        request.headers = headers;
        match self.gateway.serve(guard, Box::new(request)).await? {
            Served::Whole { meta, .. } => Ok(meta),
            _ => panic!("a whole reply"),
        }
    }
}

fn tried(retries: u32, fallbacks: u32) -> Tried {
    Tried { retries, fallbacks }
}

#[tokio::test(start_paused = true)]
async fn another_group_takes_over_and_one_record_tells_all_attempts() {
    let scene = Scene::new(
        &[("a", "down-1"), ("b", "down-2"), ("c", "ok-1")],
        "router_settings: {num_retries: 1, fallbacks: [{a: [b]}, {b: [a, c]}]}",
    );
    let meta = scene.ask("").await.unwrap();
    assert_eq!((meta.group.as_str(), meta.tried), ("c", tried(2, 2)));
    assert_eq!(scene.hosts.called(), ["down-1", "down-1", "down-2", "down-2", "ok-1"]);
    let records = scene.records.lock().unwrap();
    let groups: Vec<&str> = records[0].attempts.iter().map(|attempt| attempt.group.as_str()).collect();
    assert_eq!((records.len(), records[0].fallbacks), (1, 2));
    assert_eq!(groups, ["a", "a", "b", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_first_groups_fault_is_told_with_the_others_words() {
    let scene = Scene::new(
        &[("a", "bad-1"), ("b", "down-1")],
        "router_settings: {num_retries: 0, fallbacks: [{a: [b]}, {b: [a]}]}",
    );
    let refusal = scene.ask("").await.unwrap_err();
    assert_eq!((refusal.kind, refusal.status, refusal.tried), (RefusalKind::Rejected, 400, Some(tried(0, 1))));
    assert_eq!(refusal.message, "bad request; fallback `b`: it is down (upstream)");
}

#[tokio::test(start_paused = true)]
async fn the_cause_chooses_the_list() {
    let settings = "router_settings: {fallbacks: [{'*': [c]}], context_window_fallbacks: [{a: [b]}], content_policy_fallbacks: [{a: [d]}]}";
    for (host, group) in [("long-1", "b"), ("moderated-1", "d"), ("bad-1", "c")] {
        let scene = Scene::new(&[("a", host), ("b", "ok-b"), ("c", "ok-c"), ("d", "ok-d")], settings);
        assert_eq!(scene.ask("").await.unwrap().group.as_str(), group, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_moderation_held_back_goes_on_only_where_a_group_is_there_for_it() {
    let groups = [("a", "held-1"), ("b", "ok-b")];
    let scene = Scene::new(&groups, "router_settings: {content_policy_fallbacks: [{a: [b]}]}");
    assert_eq!(scene.ask("").await.unwrap().group.as_str(), "b");
    assert_eq!(scene.hosts.called(), ["held-1", "ok-b"]);
    let paid: Vec<u64> =
        scene.records.lock().unwrap()[0].attempts.iter().map(|attempt| attempt.usage.input_tokens).collect();
    assert_eq!(paid, [5, 5], "the provider counts it");
    let disabled = scene.ask(r#", "disable_fallbacks": true"#).await.unwrap();
    assert_eq!(disabled.group.as_str(), "a");
    for rest in ["", "router_settings: {fallbacks: [{a: [b]}]}"] {
        assert_eq!(Scene::new(&groups, rest).ask("").await.unwrap().group.as_str(), "a", "{rest}");
    }
    let claude = "- {model_name: a, litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: 'http://declines-1', api_key: k}}\n";
    let list = claude.to_owned() + &deployment("b", "ok-b", "");
    let scene = Scene::of(&list, "router_settings: {content_policy_fallbacks: [{a: [b]}]}");
    assert_eq!(scene.ask("").await.unwrap().group.as_str(), "b", "its clients would read `content_filter`");
    // Of several that hold it back, the first one's words.
    let settings = "router_settings: {content_policy_fallbacks: [{a: [b]}, {b: [a]}]}";
    assert_eq!(Scene::new(&[("a", "held-1"), ("b", "held-2")], settings).ask("").await.unwrap().group.as_str(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_to_a_model_that_takes_it_and_is_refused_where_none_does() {
    let entry = |host: &str, supports: &str| {
        format!(
            "- {{model_name: a, litellm_params: {{model: openai/m, api_base: 'http://{host}/v1', api_key: k-{host}}}, model_info: {{id: {host}, {supports}}}}}\n"
        )
    };
    let picture = r#", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]"#;
    let tools = r#", "tools": [{"type": "function", "function": {"name": "f"}}]"#;
    let blind = entry("ok-1", "supports_vision: false");
    let other = entry("ok-2", "supports_function_calling: false");
    let scene = Scene::of(&format!("{blind}{other}"), "");
    for _ in 0..8 {
        scene.ask(picture).await.unwrap();
        scene.ask(tools).await.unwrap();
    }
    let calls = scene.hosts.calls.lock().unwrap().clone();
    assert!(calls.iter().all(|(host, body)| (host == "ok-2") == body.contains("image_url")), "{calls:?}");
    let refusal = scene.ask(&format!("{picture}{tools}")).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.status), (RefusalKind::InvalidRequest, 400));
    assert_eq!(refusal.code.as_deref(), Some("unsupported_by_model"));
    assert!(refusal.message.contains("tools") && refusal.message.contains("supports_function_calling"), "{refusal}");
    // What is unknown is tried.
    Scene::of(&entry("ok-3", ""), "").ask(picture).await.unwrap();
    // Another group that takes it takes over, by the list for all faults.
    let seeing = entry("ok-2", "supports_vision: true").replace("model_name: a", "model_name: b");
    let scene = Scene::of(&format!("{blind}{seeing}"), "router_settings: {fallbacks: [{a: [b]}]}");
    assert_eq!(scene.ask(picture).await.unwrap().group.as_str(), "b");
    assert_eq!(scene.ask(tools).await.unwrap().group.as_str(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_bring_its_own_list_or_want_none() {
    let scene = Scene::new(
        &[("a", "bad-1"), ("b", "ok-b"), ("c", "ok-c")],
        "router_settings: {fallbacks: [{a: [b]}], model_group_alias: {other: c}}",
    );
    let own = scene.ask(r#", "fallbacks": [{"model": "other", "temperature": 0.25}]"#).await.unwrap();
    assert_eq!(own.group.as_str(), "c");
    let asked = scene.hosts.calls.lock().unwrap().last().unwrap().1.clone();
    assert!(asked.contains(r#""temperature":0.25"#) && !asked.contains("fallbacks"), "{asked}");
    let none = scene.ask(r#", "disable_fallbacks": true"#).await.unwrap_err();
    assert_eq!(none.message, "bad request");
    for (field, param) in [
        (r#", "fallbacks": ["nobody"]"#, "fallbacks"),
        (r#", "fallbacks": [{"model": "b", "api_key": "x"}]"#, "fallbacks"),
        (r#", "fallbacks": [{"model": "b", "timeout": 1}]"#, "fallbacks"),
        (r#", "fallbacks": "b""#, "fallbacks"),
        (r#", "num_retries": -1"#, "num_retries"),
        (r#", "disable_fallbacks": 1"#, "disable_fallbacks"),
    ] {
        let refusal = scene.ask(field).await.unwrap_err();
        assert!((400..405).contains(&refusal.status), "{field}: {refusal:?}");
        assert_eq!(refusal.param.as_deref(), Some(param), "{field}");
    }
}

/// A key knows a group by the names that it may ask for, one of which may be an alias.
#[tokio::test(start_paused = true)]
async fn a_key_that_may_use_an_alias_may_name_it_in_its_own_lists() {
    let settings = "router_settings: {num_retries: 0, model_group_alias: {good: b}}\n\
        general_settings: {master_key: sk-master}\n\
        witgate: {keys: [{key: sk-its-own, key_alias: own, models: [a, good]}]}";
    for (host, list) in [
        ("down-1", r#", "fallbacks": ["good"]"#),
        ("down-1", r#", "fallbacks": [{"model": "good", "temperature": 0}]"#),
        ("down-1", r#", "fallbacks": [{"a": ["good"]}]"#),
        ("long-1", r#", "context_window_fallbacks": ["good"]"#),
        ("moderated-1", r#", "content_policy_fallbacks": [{"a": ["good"]}]"#),
    ] {
        let scene = Scene::new(&[("a", host), ("b", "ok-b")], settings);
        assert_eq!(scene.ask_as("sk-its-own", list).await.unwrap().group.as_str(), "b", "{list}");
        let refused = scene.ask_as("sk-its-own", &list.replace("good", "b")).await.unwrap_err();
        let told = (refused.status, refused.code.as_deref());
        assert_eq!(told, (403, Some("key_model_access_denied")), "{list}: the key may not ask for it by this name");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_groups_than_configured_are_tried() {
    let scene = Scene::new(
        &[("a", "bad-1"), ("b", "bad-2"), ("c", "ok-1")],
        "router_settings: {max_fallbacks: 1, fallbacks: [{a: [b, c]}]}",
    );
    assert_eq!(scene.ask("").await.unwrap_err().tried, Some(tried(0, 1)));
    assert_eq!(scene.hosts.called(), ["bad-1", "bad-2"]);
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_by_class_by_request_and_by_deployment() {
    let down = deployment("a", "down-1", "");
    let busy = deployment("a", "busy-1", "");
    let own = deployment("a", "down-1", ", num_retries: 1");
    let policy =
        "router_settings: {num_retries: 2, retry_policy: {RateLimitErrorRetries: 5, InternalServerErrorRetries: 0}}";
    let of_group =
        "router_settings: {retry_policy: {DefaultRetries: 0}, model_group_retry_policy: {a: {DefaultRetries: 3}}}";
    let plain = "router_settings: {num_retries: 2}";
    for (list, settings, more, calls) in [
        (&down, plain, "", 3),
        (&down, plain, r#", "num_retries": 4"#, 5),
        (&own, plain, "", 2),
        (&own, plain, r#", "num_retries": 0"#, 1),
        (&down, policy, "", 1),
        (&busy, policy, "", 6),
        (&down, of_group, "", 4),
    ] {
        let scene = Scene::of(list, settings);
        scene.ask(more).await.unwrap_err();
        assert_eq!(scene.hosts.called().len(), calls, "{settings} {more}");
    }
    let scene = Scene::of(&down, plain);
    let headers = HeaderMap::from_iter([("x-litellm-num-retries".parse().unwrap(), HeaderValue::from_static("1"))]);
    scene.ask_with(headers, "").await.unwrap_err();
    assert_eq!(scene.hosts.called().len(), 2);
}

/// Some vendors say it in words, and not always in a header.
#[tokio::test(start_paused = true)]
async fn a_wait_in_the_words_of_a_refusal_is_waited_for_and_told_as_one_in_a_header_is() {
    for (host, calls, slept, again) in [("later-4", 2, 4, 4), ("azure-1", 2, 4, 4), ("day-1", 1, 0, 180)] {
        let scene = Scene::new(&[("a", host)], "router_settings: {num_retries: 1}");
        let began = tokio::time::Instant::now();
        let refusal = scene.ask("").await.unwrap_err();
        assert_eq!((scene.hosts.called().len(), began.elapsed().as_secs()), (calls, slept), "{host}");
        let told = (refusal.kind, refusal.retry_after.map(|wait| wait.as_secs()));
        assert_eq!(told, (RefusalKind::RateLimited, Some(again)), "{host}");
    }
    // Where others take over it is left alone for as long.
    let scene = Scene::new(&[("a", "minute-1"), ("a", "ok-1")], "router_settings: {num_retries: 1}");
    for (wait, calls) in [(0, 1), (6, 1), (15, 2)] {
        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
        for _ in 0..20 {
            assert_eq!(scene.ask("").await.unwrap().deployment.as_str(), "ok-1");
        }
        let called = scene.hosts.called();
        assert_eq!(called.iter().filter(|host| *host == "minute-1").count(), calls, "{wait} s later");
    }
}

#[tokio::test(start_paused = true)]
async fn what_meets_connections_that_are_being_closed_is_sent_once_more_and_no_oftener() {
    let scene = Scene::new(&[("a", "closes-1")], "router_settings: {num_retries: 0}");
    let refusal = scene.ask("").await.unwrap_err();
    let record = scene.records.lock().unwrap().pop().unwrap();
    assert_eq!((refusal.kind, scene.hosts.called().len(), record.attempts.len()), (RefusalKind::Upstream, 2, 1));
}

/// Nothing here counts a day's tokens: limits and queue do not know when there is room again.
#[tokio::test(start_paused = true)]
async fn what_no_window_counts_is_left_alone_for_as_long_as_its_provider_says() {
    let scene = Scene::new(&[("a", "tpd-1")], "router_settings: {num_retries: 0}");
    for (wait, calls) in [(0, 1), (20, 1), (11, 2)] {
        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
        for _ in 0..3 {
            let headers = HeaderMap::from_iter([("x-litellm-timeout".parse().unwrap(), HeaderValue::from_static("1"))]);
            scene.ask_with(headers, "").await.unwrap_err();
        }
        assert_eq!(scene.hosts.called().len(), calls, "{wait} s later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_never_repeats_what_a_deployment_refused() {
    let settings = "router_settings: {retry_policy: {BadRequestErrorRetries: 9}}";
    let scene = Scene::new(&[("a", "bad-1"), ("a", "bad-2"), ("a", "ok-1")], settings);
    assert_eq!(scene.ask("").await.unwrap().group.as_str(), "a");
    let scene = Scene::new(&[("a", "bad-1"), ("a", "bad-2")], settings);
    scene.ask("").await.unwrap_err();
    assert_eq!(scene.hosts.called().len(), 2, "each once");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_of_a_request_counts_towards_a_cooldown() {
    let settings = "router_settings: {num_retries: 3, allowed_fails: 1, cooldown_time: 600}\nwitgate: {queue: {max_wait_seconds: 0}}";
    let scene = Scene::new(&[("a", "down-1"), ("a", "down-2")], settings);
    scene.ask("").await.unwrap_err();
    let called = scene.hosts.called();
    let of = |host: &str| called.iter().filter(|called| *called == host).count();
    assert_eq!((of("down-1"), of("down-2")), (2, 2), "one request, four failures");
    let refused = scene.ask("").await.unwrap_err();
    assert_eq!(scene.hosts.called().len(), 4, "both have failed oftener than is allowed: {}", refused.message);
}

#[tokio::test(start_paused = true)]
async fn the_deployments_of_the_next_order_come_before_another_group() {
    let list = [
        deployment("a", "down-1", ", order: 1"),
        deployment("a", "down-2", ", order: 1"),
        deployment("a", "ok-2", ", order: 2"),
        deployment("b", "ok-b", ""),
    ];
    let scene = Scene::of(&list.concat(), "router_settings: {num_retries: 0, fallbacks: [{a: [b]}]}");
    let meta = scene.ask("").await.unwrap();
    assert_eq!((meta.group.as_str(), meta.deployment.as_str()), ("a", "ok-2"));
}

#[tokio::test(start_paused = true)]
async fn an_empty_account_takes_out_all_deployments_of_its_key_and_no_others() {
    // Some tell it as a limit, and some as a fault of the request.
    for empty in ["broke-1", "credit-1"] {
        leaves_an_empty_account_alone(empty).await;
    }
}

async fn leaves_an_empty_account_alone(empty: &str) {
    let same = |model: &str| {
        format!(
            "- {{model_name: a, litellm_params: {{model: openai/{model}, api_base: 'http://{empty}/v1', api_key: k, order: 1}}}}\n"
        )
    };
    let list = [same("m1"), same("m2"), deployment("a", "ok-1", ", order: 2")].concat();
    let scene = Scene::of(&list, "router_settings: {num_retries: 5}");
    assert_eq!(scene.ask("").await.unwrap().deployment.as_str(), "ok-1");
    assert_eq!(scene.hosts.called(), [empty, "ok-1"], "the second row has the same key");
    assert_eq!(scene.ask("").await.unwrap().deployment.as_str(), "ok-1");
    assert_eq!(scene.hosts.called().len(), 3, "left alone");
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(scene.ask("").await.unwrap().deployment.as_str(), "ok-1");
    assert_eq!(scene.hosts.called()[3..], [empty, "ok-1"], "one probe");
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    scene.ask("").await.unwrap();
    assert_eq!(scene.hosts.called().len(), 6, "the wait has grown");
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_takes_nothing_out() {
    let scene = Scene::new(&[("a", "moderated-1"), ("a", "moderated-2")], "");
    for _ in 0..30 {
        scene.ask("").await.unwrap_err();
    }
    assert_eq!(scene.hosts.called().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_all_open_is_passed_over_where_another_takes_over() {
    let list = [deployment("a", "down-1", ""), deployment("b", "ok-b", "")].concat();
    let scene = Scene::of(
        &list,
        "router_settings: {num_retries: 0, allowed_fails: 0, cooldown_time: 30, fallbacks: [{a: [b]}]}",
    );
    for _ in 0..25 {
        assert_eq!(scene.ask("").await.unwrap().group.as_str(), "b");
    }
    let called = scene.hosts.called();
    assert_eq!(called.iter().filter(|host| *host == "down-1").count(), 1, "{called:?}");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_is_sent_nowhere_but_to_the_longer_group() {
    let list = [
        "- {model_name: a, litellm_params: {model: openai/gpt-4o, api_base: 'http://ok-a/v1', api_key: k}, model_info: {max_input_tokens: 3}}\n".to_owned(),
        deployment("b", "ok-b", ""),
    ];
    let scene = Scene::of(&list.concat(), "router_settings: {context_window_fallbacks: [{a: [b]}]}");
    let long = r#", "messages": [{"role": "user", "content": "many words that are more than three tokens"}]"#;
    assert_eq!(scene.ask(long).await.unwrap().group.as_str(), "b");
    assert_eq!(scene.hosts.called(), ["ok-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_counted_once_for_all_groups_with_the_same_encoding() {
    // Which window makes somebody count, what the groups after the first are asked, how often all of it is counted.
    let same = [("a", "down-1", "openai/m"), ("b", "down-2", "openai/n"), ("c", "ok-1", "openai/o")];
    let other = [("a", "down-1", "openai/m"), ("b", "down-2", "openai/gpt-4o"), ("c", "ok-1", "openai/gpt-4.1")];
    let changed = "{model: b, messages: [{role: user, content: 'another question'}]}";
    for (groups, second, counts) in [(same, "b", 1), (other, "b", 2), (same, changed, 2)] {
        crate::tokens::load("gpt-4o");
        let entry = |(group, host, model): (&str, &str, &str)| {
            format!(
                "- {{model_name: {group}, litellm_params: {{model: {model}, api_base: 'http://{host}/v1', api_key: k-{host}, tpm: 5000}}, model_info: {{id: {host}, max_input_tokens: 30}}}}\n"
            )
        };
        let list: String = groups.into_iter().map(entry).collect();
        let rest = format!("router_settings: {{num_retries: 0, fallbacks: [{{a: [{second}, c]}}]}}");
        let scene = Scene::of(&list, &rest);
        let before = crate::tokens::COUNTED.get();
        scene.ask(r#", "max_tokens": 3000"#).await.unwrap();
        assert_eq!(scene.hosts.called(), ["down-1", "down-2", "ok-1"]);
        assert_eq!(crate::tokens::COUNTED.get() - before, counts, "{groups:?} {second}");
    }
}

/// What one client has no patience for others may wait for, and it could else take a deployment from them at will.
#[tokio::test(start_paused = true)]
async fn a_client_whose_own_time_is_over_takes_no_deployment_from_others() {
    let settings = "router_settings: {num_retries: 0, fallbacks: [{a: [b]}]}";
    let scene = Scene::new(&[("a", "hangs-1"), ("a", "hangs-2"), ("b", "ok-1")], settings);
    for _ in 0..20 {
        let refusal = scene.ask(r#", "timeout": 0.05"#).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.status), (RefusalKind::TimedOut, 504));
        assert!(refusal.message.contains("within 0.05 s"), "{refusal}");
    }
    assert!(scene.hosts.called().iter().all(|host| host.starts_with("hangs")), "neither is left alone");
    let records = scene.records.lock().unwrap();
    let faults: Vec<_> = records.iter().flat_map(|record| &record.attempts).map(|attempt| attempt.fault).collect();
    assert_eq!(faults, [Some(FaultKind::Cancelled); 20]);
    assert!(records.iter().all(|record| record.ending == Ending::Refused(RefusalKind::TimedOut)));
}
