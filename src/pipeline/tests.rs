use std::sync::Arc;

use super::*;
use crate::format::OpenAi;
use crate::limits::{Dimension, Wait};

pub(super) mod support;

use support::{gateway, request};

const CONFIG: &str = "model_list:\n\
    - {model_name: g, litellm_params: {model: simulated/a, order: 2}, model_info: {id: a}}\n\
    - {model_name: g, litellm_params: {model: simulated/b, order: 1, tpm: 1000}, model_info: {id: b}}\n\
    router_settings: {model_group_alias: {other: g}}";

async fn plan(gateway: &Arc<Gateway>, body: &str) -> Result<RequestPlan, Refusal> {
    let caller = Arc::clone(&gateway.live.read().callers.anonymous);
    gateway.plan(caller, &OpenAi, request(body)).await
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
    let request =
        ClientRequest { method: http::Method::POST, uri: http::Uri::default(), headers: http::HeaderMap::new(), body };
    let Ok(Served::Whole { meta, .. }) = gateway.serve(guard, request).await else { panic!("the request is served") };
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
