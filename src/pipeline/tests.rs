use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use super::*;
use crate::authorization::{Authorization, Authorizer, Authorizing};
use crate::budgets::BudgetSpec;
use crate::format::OpenAi;
use crate::limits::{Dimension, Scope, Wait};
use crate::snapshot::{Callers, DeploymentRuntime, GroupRuntime, SpokenFormat, Wildcards};
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

mod left;
pub(super) mod support;
mod untold;

use support::{gateway, request};

const CONFIG: &str = "model_list:\n\
    - {model_name: g, litellm_params: {model: simulated/a, order: 2}, model_info: {id: a}}\n\
    - {model_name: g, litellm_params: {model: simulated/b, order: 1, tpm: 1000}, model_info: {id: b}}\n\
    router_settings: {model_group_alias: {other: g}}";

async fn plan(gateway: &Arc<Gateway>, body: &str) -> Result<RequestPlan, Refusal> {
    let caller = Arc::clone(&gateway.live.read().callers.anonymous);
    gateway.plan(caller, &OpenAi, &http::HeaderMap::new(), request(body)).await
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_where_serving_goes_and_leaves_nothing_behind() {
    let gateway = gateway(CONFIG);
    let body = r#"{"model": "other", "max_tokens": 300, "messages": [{"role": "user", "content": "hello there"}]}"#;
    let plan = plan(&gateway, body).await.unwrap();
    assert_eq!(plan.group.as_str(), "g");
    assert!(plan.policy.starts_with("simple-shuffle@"), "{}", plan.policy);
    let order: Vec<&str> = plan.candidates.iter().map(|one| one.deployment.as_str()).collect();
    assert_eq!(order, ["b", "a"], "`order` stands above the policy's ranking");
    assert_eq!((plan.candidates[0].demand.output_tokens, plan.candidates[0].wait), (300, Wait::Now));
    let scope = gateway.live.read().group("g").unwrap().deployments[1].scope;
    let used = gateway.limits.local().used(gateway.clock.now(), scope);
    assert_eq!(used[Dimension::Requests], 0);

    let (mut guard, body) = (gateway.arrive(&OpenAi), body.as_bytes().to_vec().into());
    guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
    let request = ClientRequest::new(http::Method::POST, http::Uri::default(), http::HeaderMap::new(), body);
    let Ok(Served::Whole { meta, .. }) = Box::pin(gateway.serve(guard, Box::new(request))).await else {
        panic!("the request is served")
    };
    assert_eq!((meta.deployment.as_str(), meta.policy), ("b", plan.policy));
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_what_never_fits_and_refuses_as_serving_does() {
    let gateway = gateway(CONFIG);
    let large = r#"{"model": "g", "max_tokens": 2000, "messages": [{"role": "user", "content": "hello"}]}"#;
    let waits: Vec<Wait> = plan(&gateway, large).await.unwrap().candidates.iter().map(|one| one.wait).collect();
    assert_eq!(waits, [Wait::Never, Wait::Now]);
    for (body, kind) in [
        (r#"{"model": "nobody", "messages": [{"role": "user", "content": "hello"}]}"#, RefusalKind::UnknownModel),
        (
            r#"{"model": "g", "api_base": "http://x", "messages": [{"role": "user", "content": "hello"}]}"#,
            RefusalKind::InvalidRequest,
        ),
    ] {
        assert_eq!(plan(&gateway, body).await.unwrap_err().kind, kind, "{body}");
    }
}

/// It has the snapshot of before, and holds nothing of what is being added.
#[tokio::test(start_paused = true)]
async fn a_request_that_begins_while_a_reload_adds_a_budget_counts_in_it() {
    let gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a, input_cost_per_token: 0.001,\n\
         output_cost_per_token: 0.001}}]",
    );
    let ask = async |mut guard: Box<RequestGuard>| {
        guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
        let body = br#"{"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}"#.to_vec();
        let request = ClientRequest::post(http::Uri::default(), body);
        assert!(Box::pin(gateway.serve(guard, Box::new(request))).await.is_ok());
    };
    let change = gateway.budgets.change();
    let now = gateway.clock.now();
    let id = change.set(now, &Scope::Global, &[BudgetSpec::default()])[0];
    let guard = gateway.arrive(&OpenAi);
    drop(change);
    ask(guard).await;
    let spent = || gateway.budgets.report(now, id).unwrap().spent;
    let once = spent();
    assert!(once.0 > 0);
    // By a snapshot that has it, it would hold of it.
    ask(gateway.arrive(&OpenAi)).await;
    assert_eq!(spent(), once);
}

/// Signs the body, as a cloud's gateway wants it; without a secret it cannot.
struct Signed {
    secret: Option<&'static str>,
}

fn signature(secret: &str, body: &[u8]) -> String {
    format!("{secret}-{}", body.len())
}

impl Authorizer for Signed {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, _now: Moment) -> Authorizing<'a> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let secret = self.secret.ok_or_else(|| AttemptFault::new(FaultKind::Misconfigured, "no secret"))?;
            request.headers.insert("x-signature", signature(secret, &request.body).parse().unwrap());
            Ok(())
        })
    }
}

/// Keeps what is sent, and replies.
#[derive(Default)]
struct Sent(Mutex<Vec<UpstreamRequest>>);

impl Upstream for Sent {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        self.0.lock().unwrap().push(call);
        let reply = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
        let body: Body = Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(reply.as_bytes()))]));
        let response = UpstreamResponse { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body };
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// Serves one request over `transport`, its deployment authorised by `secret`.
async fn serve_signed(secret: Option<&'static str>, transport: &Arc<Sent>) -> (Arc<Gateway>, Result<Served, Refusal>) {
    let body = r#"{"model": "g", "messages": [{"role": "user", "content": "hello"}]}"#;
    serve_over("openai/m", secret, Arc::clone(transport) as Arc<dyn Upstream>, body).await
}

/// The same of any model and request.
async fn serve_over(
    model: &str,
    secret: Option<&'static str>,
    transport: Arc<dyn Upstream>,
    body: &str,
) -> (Arc<Gateway>, Result<Served, Refusal>) {
    let gateway =
        gateway(&format!("model_list: [{{model_name: g, litellm_params: {{model: {model}, api_key: none}}}}]"));
    let before = gateway.live.read();
    let group = before.group("g").unwrap();
    let deployment = &group.deployments[0];
    let deployment = DeploymentRuntime {
        config: Arc::clone(&deployment.config),
        format: SpokenFormat::Native(deployment.config.format),
        transport,
        base_url: Arc::clone(&deployment.base_url),
        authorization: Authorization::PerRequest(Arc::new(Signed { secret })),
        health: Arc::clone(&deployment.health),
        scope: deployment.scope,
        budgets: Vec::new(),
        learned: Arc::clone(&deployment.learned),
        learned_of_model: Arc::clone(&deployment.learned_of_model),
    };
    let group = GroupRuntime {
        builder: None,
        builder_rollout: None,
        parser: None,
        parser_rollout: None,
        judge: None,
        embedding: None,
        config: Arc::clone(&group.config),
        router: None,
        rollout: None,
        policy: "built-in".into(),
        deployments: vec![Arc::new(deployment)],
        scope: group.scope,
        budgets: Vec::new(),
        queue: Arc::clone(&group.queue),
    };
    gateway.live.publish(Snapshot {
        generation: 2,
        settings: Arc::clone(&before.settings),
        groups: std::iter::once((group.config.name.clone(), Arc::new(group))).collect(),
        wildcards: Wildcards::default(),
        callers: Callers::new(before.callers.anonymous.scopes[0], Arc::clone(&before.callers.keys)),
        payers: before.payers.clone(),
        headers_read: Vec::new(),
        fingerprint: before.fingerprint,
        rollouts: Arc::default(),
    });
    let body = Bytes::from(body.to_owned());
    let request = ClientRequest::new(http::Method::POST, http::Uri::default(), http::HeaderMap::new(), body);
    let mut guard = gateway.arrive(&OpenAi);
    guard.set_caller(Some(Arc::clone(&before.callers.anonymous)));
    let served = Box::pin(gateway.serve(guard, Box::new(request))).await;
    (gateway, served)
}

#[tokio::test(start_paused = true)]
async fn a_request_is_authorised_after_it_is_written_and_sent_as_it_was_signed() {
    let transport = Arc::new(Sent::default());
    let (_, served) = serve_signed(Some("s"), &transport).await;
    assert!(matches!(served, Ok(Served::Whole { .. })));
    let sent = transport.0.lock().unwrap();
    let [request] = &**sent else { panic!("{} requests", sent.len()) };
    assert_eq!(request.headers["x-signature"], signature("s", &request.body));
}

/// Verifies no thinking, and replies where there is none. Keeps whether there was any.
#[derive(Default)]
struct Verifying(Mutex<Vec<bool>>);

impl Upstream for Verifying {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let sealed = String::from_utf8_lossy(&call.body).contains("\"encrypted_content\":\"gAAA\"");
        self.0.lock().unwrap().push(sealed);
        let (status, said) = if sealed {
            (
                400,
                r#"{"error":{"message":"x","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}"#,
            )
        } else {
            (
                200,
                r#"{"id":"1","status":"completed","model":"m","output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}"#,
            )
        };
        let body: Body = Box::pin(futures_util::stream::iter([Ok(Bytes::from_static(said.as_bytes()))]));
        let status = http::StatusCode::from_u16(status).unwrap();
        let response = UpstreamResponse { status, headers: http::HeaderMap::new(), body };
        Box::pin(std::future::ready(Ok(response)))
    }
}

#[tokio::test(start_paused = true)]
async fn thinking_that_another_account_sealed_is_left_out_once_its_provider_refuses_it() {
    let body = |data: &str| {
        format!(
            r#"{{"model": "g", "messages": [{{"role": "user", "content": "hello"}}, {{"role": "assistant", "content": "Hi", "thinking_blocks": [{{"type": "redacted_thinking", "data": "{data}"}}]}}, {{"role": "user", "content": "more"}}]}}"#
        )
    };
    for (data, sent) in [("openaiRu0000gAAA", &[true, false][..]), ("EqRk", &[false])] {
        let transport = Arc::new(Verifying::default());
        let upstream = Arc::clone(&transport) as Arc<dyn Upstream>;
        let (_, served) = serve_over("openai/responses/m", Some("s"), upstream, &body(data)).await;
        assert!(matches!(served, Ok(Served::Whole { .. })), "{data}");
        assert_eq!(*transport.0.lock().unwrap(), sent, "{data}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_authorised_is_not_sent_and_counts_nowhere() {
    let transport = Arc::new(Sent::default());
    let (gateway, served) = serve_signed(None, &transport).await;
    assert!(served.is_err());
    assert!(transport.0.lock().unwrap().is_empty());
    let scope = gateway.live.read().group("g").unwrap().deployments[0].scope;
    assert_eq!(gateway.limits.local().used(gateway.clock.now(), scope)[Dimension::Requests], 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_body_would_take_is_held_while_it_is_served_and_refused_where_it_is_too_much() {
    let gateway = gateway(
        "model_list: [{model_name: g, litellm_params: {model: simulated/a}}]\n\
         witgate: {server: {max_memory_mb: 1}}",
    );
    let serve = async |rest: &str| {
        let body = format!(
            r#"{{"model": "g", "max_tokens": 5, "messages": [{{"role": "user", "content": "hello"}}], {rest}}}"#
        );
        let (uri, headers) = (http::Uri::default(), http::HeaderMap::new());
        let request = ClientRequest::new(http::Method::POST, uri, headers, body.into());
        let mut guard = gateway.arrive(&OpenAi);
        guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
        Box::pin(gateway.serve(guard, Box::new(request))).await.map(|_| ()).map_err(|refusal| refusal.kind)
    };
    let text = format!(r#""user": "{}""#, "words, ".repeat(20_000));
    assert_eq!(serve(&text).await, Ok(()), "a text is one value");
    let values = format!(r#""user": [{}0]"#, "0,".repeat(20_000));
    assert_eq!(serve(&values).await, Err(RefusalKind::Unavailable));
    assert_eq!(gateway.memory.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_whole_reply_is_recorded_when_its_last_piece_is_taken() {
    let gateway =
        gateway("model_list: [{model_name: g, litellm_params: {model: simulated/a, max_parallel_requests: 1}}]");
    let served = || async {
        let guard = gateway.arrive(&OpenAi);
        let body = Bytes::from(vec![b'x'; 3 * AT_ONCE / 2]);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        ReplyStream::of_whole(body, guard, deadline)
    };
    let whole: Vec<Bytes> = served().await.map(Result::unwrap_or_default).collect().await;
    assert_eq!(whole.iter().map(Bytes::len).sum::<usize>(), 3 * AT_ONCE / 2);
    assert!(whole.len() > 3, "in pieces");
    // One that nobody reads further is cut off at the end of the request's time, and its guard with it.
    let mut stopped = served().await;
    let _first = stopped.next().await;
    tokio::time::sleep(Duration::from_secs(181)).await;
    assert!(stopped.next().await.is_none(), "dropped");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_off_at_a_stop_ends_with_an_error_event_and_is_recorded_as_the_gateway_s_doing() {
    let (gateway, records) = support::record_into(gateway(
        "model_list:\n\
         - model_name: g\n\
         \x20 litellm_params: {model: simulated/a, simulated: {ttft_ms: 0, tokens_per_second: 1, output_tokens: 500}}",
    ));
    let body = r#"{"model": "g", "stream": true, "messages": [{"role": "user", "content": "hello"}]}"#;
    let (uri, headers) = (http::Uri::default(), http::HeaderMap::new());
    let request = ClientRequest::new(http::Method::POST, uri, headers, body.into());
    let mut guard = gateway.arrive(&OpenAi);
    guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
    let Ok(Served::Streamed { mut stream, .. }) = Box::pin(gateway.serve(guard, Box::new(request))).await else {
        panic!("it streams")
    };
    let _first = stream.next().await;
    gateway.cutoff.cancel();
    let rest: Vec<Bytes> = stream.map(Result::unwrap_or_default).collect().await;
    let rest = String::from_utf8(rest.concat()).unwrap();
    assert!(rest.contains("the gateway is stopping") && !rest.contains("[DONE]"), "{rest}");
    let records = records.lock().unwrap();
    let told = records.iter().map(|record| (record.status, record.ending.as_str(), record.attempts[0].fault));
    assert_eq!(told.collect::<Vec<_>>(), [(503, "stopped", Some(FaultKind::Gateway))]);
    let health = gateway.live.read().group("g").unwrap().deployments[0].health.report(gateway.clock.now());
    assert!(health.failure_rate.is_nan(), "it says nothing about the deployment");
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_cuts_is_recorded_as_the_gateway_s_doing_and_what_a_client_leaves_as_its_own() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/a, simulated: {ttft_ms: 60000}}}]";
    let body = r#"{"model": "g", "messages": [{"role": "user", "content": "hello"}]}"#;
    for (stops, expected) in
        [(false, (499, "cancelled", FaultKind::Cancelled)), (true, (503, "stopped", FaultKind::Gateway))]
    {
        let (gateway, records) = support::record_into(gateway(config));
        let (uri, headers) = (http::Uri::default(), http::HeaderMap::new());
        let request = ClientRequest::new(http::Method::POST, uri, headers, body.into());
        let mut guard = gateway.arrive(&OpenAi);
        guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
        let mut served = Box::pin(gateway.serve(guard, Box::new(request)));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut served).await.is_err(), "it is under way");
        if stops {
            gateway.cutoff.cancel();
        }
        drop(served);
        let records = records.lock().unwrap();
        let told = records.iter().map(|record| (record.status, record.ending.as_str(), record.attempts[0].fault));
        let (status, ending, fault) = expected;
        assert_eq!(told.collect::<Vec<_>>(), [(status, ending, Some(fault))]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_refuses_what_it_waits_for_no_longer_and_leaves_to_its_maker_what_nobody_waits_for() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/a, simulated: {ttft_ms: 60000}}}]";
    let body = r#"{"model": "g", "messages": [{"role": "user", "content": "hello"}]}"#;
    for in_background in [false, true] {
        let (gateway, records) = support::record_into(gateway(config));
        let (uri, headers) = (http::Uri::default(), http::HeaderMap::new());
        let request = ClientRequest::new(http::Method::POST, uri, headers, body.into());
        let mut guard = gateway.arrive(&OpenAi);
        guard.set_caller(Some(Arc::clone(&gateway.live.read().callers.anonymous)));
        let _followed = in_background.then(|| guard.follow());
        let mut served = Box::pin(gateway.serve(guard, Box::new(request)));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut served).await.is_err(), "it is under way");
        gateway.cutoff.cancel();
        let told = tokio::time::timeout(Duration::from_secs(1), &mut served).await;
        if in_background {
            assert!(told.is_err() && records.lock().unwrap().is_empty());
            continue;
        }
        let Ok(Err(refusal)) = told else { panic!("it is refused") };
        let expected = (RefusalKind::Unavailable, 503, Some(Duration::from_secs(1)));
        assert_eq!((refusal.kind, refusal.status, refusal.retry_after), expected);
        let records = records.lock().unwrap();
        assert_eq!(records.iter().map(|one| (one.status, one.ending.as_str())).collect::<Vec<_>>(), [(503, "stopped")]);
    }
}

/// A bound that is not sent holds nobody back, and must not be counted on.
#[tokio::test(start_paused = true)]
async fn a_bound_that_is_left_out_is_not_what_is_reserved() {
    let entry = "model_list:\n- {model_name: g, litellm_params: {model: openai/m, api_key: none";
    let dropping = format!("{entry}, additional_drop_params: [max_tokens]}}}}");
    let entry = format!("{entry}}}}}");
    let dropped = r#""additional_drop_params": ["max_completion_tokens"], "#;
    for (config, more, output) in [(&entry, "", 1), (&entry, dropped, 4096), (&dropping, "", 4096)] {
        let body =
            format!(r#"{{"model": "g", {more}"max_tokens": 1, "messages": [{{"role": "user", "content": "hello"}}]}}"#);
        let plan = plan(&gateway(config), &body).await.unwrap();
        assert_eq!(plan.candidates[0].demand.output_tokens, output, "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployments_defaults_hold_where_the_client_says_nothing() {
    let gateway = gateway(
        "model_list:\n\
         - {model_name: g, litellm_params: {model: openai/m, api_key: none, temperature: 0.1, max_tokens: 40, seed: 7,\n\
         \x20  extra_body: {top_a: 1}}}",
    );
    for (said, temperature) in [("", 0.1), (r#""temperature": 0.9, "#, 0.9)] {
        let body = format!(r#"{{"model": "g", {said}"messages": [{{"role": "user", "content": "hello"}}]}}"#);
        let plan = plan(&gateway, &body).await.unwrap();
        assert_eq!(plan.candidates[0].demand.output_tokens, 40, "the default is what is reserved");
        let snapshot = gateway.live.read();
        let deployment = &snapshot.group("g").unwrap().deployments[0];
        let sent = request(&body).with_defaults(deployment.config.defaults.as_ref().unwrap());
        let target = crate::format::Target::plain("m", deployment.config.quirks, 40);
        let sent = deployment.format.encode(&sent, &target).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!((&sent["temperature"], &sent["seed"], &sent["top_a"]), (&temperature.into(), &7.into(), &1.into()));
        assert_eq!(sent["messages"][0]["content"], "hello");
    }
}
