//! What one client's request is to blame for takes nothing away from the others.

use serde_json::{Value, json};

use crate::chat::openai_reply;
use crate::support::gateway::Gateway;
use crate::support::upstream::{ScriptedUpstream, Step};

fn hello() -> Value {
    json!({"model": "g", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]})
}

fn reply() -> Step {
    Step::json(200, &openai_reply("Hello"))
}

fn moderated() -> Value {
    json!({"error": {"code": 403, "message": "openai/m requires moderation on OpenAI. Your input was flagged for \"violence\".",
        "metadata": {"reasons": ["violence"], "flagged_input": "abc"}}})
}

fn too_large() -> Value {
    json!({"error": {"message": "Request too large for m on tokens per min (TPM): Limit 30000, Requested 40666.",
        "type": "tokens", "param": null, "code": "rate_limit_exceeded"}})
}

fn deployment(group: &str, id: &str, order: u32, origin: &str) -> String {
    format!(
        "  - {{ model_name: {group}, litellm_params: {{ model: openai/{id}, api_base: \"{origin}/v1\", api_key: k-{id}, order: {order} }}, model_info: {{ id: {id} }} }}\n"
    )
}

/// A gateway whose group `g` asks `first` as long as it may be asked, and else `second`.
async fn two(upstream: &ScriptedUpstream) -> Gateway {
    let origin = upstream.origin();
    let list = [("first", 1), ("second", 2)].map(|(id, order)| deployment("g", id, order, &origin));
    Gateway::start(&format!("model_list:\n{}router_settings: {{ num_retries: 0, cooldown_time: 60 }}\n", list.concat()))
        .await
}

#[tokio::test]
async fn a_request_that_is_refused_for_what_it_says_opens_no_breaker() {
    let file = json!({"error": {"message": "No such File object: file-abc", "type": "invalid_request_error", "param": "id", "code": null}});
    let picture = json!({"error": {"code": 404, "message": "No endpoints found that support image input"}});
    let words = "You do not have permission to access the File abc or it may not exist.";
    let foreign = json!({"error": {"code": 403, "message": words, "status": "PERMISSION_DENIED"}});
    for (status, body) in [(403, moderated()), (404, file), (404, picture), (403, foreign)] {
        let upstream = ScriptedUpstream::start([Step::json(status, &body), reply()]).await;
        let gateway = two(&upstream).await;
        let refused = gateway.post("/v1/chat/completions", &hello()).await;
        assert_eq!(refused.status, status, "{}", refused.text);
        assert_eq!(refused.json()["error"]["message"], body["error"]["message"]);
        let next = gateway.post("/v1/chat/completions", &hello()).await;
        assert_eq!((next.status, next.header("x-witgate-deployment")), (200, "first"), "{body}");
    }
}

#[tokio::test]
async fn a_deployment_that_is_to_blame_is_left_alone_all_the_same() {
    let unknown = json!({"error": {"message": "The model `m` does not exist", "code": "model_not_found"}});
    let denied = json!({"error": {"code": 403, "message": "The caller does not have permission"}});
    for (status, body) in [(404, unknown), (403, denied)] {
        let upstream = ScriptedUpstream::start([Step::json(status, &body), reply(), reply()]).await;
        let gateway = two(&upstream).await;
        for _ in 0..2 {
            let answer = gateway.post("/v1/chat/completions", &hello()).await;
            assert_eq!((answer.status, answer.header("x-witgate-deployment")), (200, "second"), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn what_moderation_refuses_with_a_403_has_the_fallback_for_it() {
    let upstream = ScriptedUpstream::start([Step::json(403, &moderated()), reply()]).await;
    let list = ["g", "safe"].map(|group| deployment(group, group, 1, &upstream.origin()));
    let config = format!(
        "model_list:\n{}router_settings: {{ num_retries: 0, content_policy_fallbacks: [{{g: [safe]}}] }}\n",
        list.concat()
    );
    let answer = Gateway::start(&config).await.post("/v1/chat/completions", &hello()).await;
    assert_eq!((answer.status, answer.header("x-witgate-deployment")), (200, "safe"), "{}", answer.text);
}

#[tokio::test]
async fn a_request_larger_than_the_provider_s_limit_is_for_another_deployment_or_for_none() {
    let upstream = ScriptedUpstream::start([Step::json(429, &too_large()), reply(), reply()]).await;
    let gateway = two(&upstream).await;
    for deployment in ["second", "first"] {
        let answer = gateway.post("/v1/chat/completions", &hello()).await;
        assert_eq!((answer.status, answer.header("x-witgate-deployment")), (200, deployment), "{}", answer.text);
    }

    let upstream = ScriptedUpstream::start([Step::json(429, &too_large()), reply()]).await;
    let config = format!(
        "model_list:\n{}router_settings: {{ num_retries: 3 }}\n",
        deployment("g", "only", 1, &upstream.origin())
    );
    let gateway = Gateway::start(&config).await;
    let refused = gateway.post("/v1/chat/completions", &hello()).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (413, "false"), "{}", refused.text);
    assert!(refused.text.contains("Limit 30000, Requested 40666"), "{}", refused.text);
    assert_eq!(upstream.asked().len(), 1, "it is not asked again");
    let mut larger = hello();
    larger["max_tokens"] = json!(50_000);
    let refused = gateway.post("/v1/chat/completions", &larger).await;
    assert_eq!((refused.status, upstream.asked().len()), (413, 1), "the limit is known now: {}", refused.text);
    assert_eq!(gateway.post("/v1/chat/completions", &hello()).await.status, 200);
}

#[tokio::test]
async fn who_says_not_to_ask_again_is_not_asked_again_and_another_is() {
    let body = json!({"error": {"message": "not for this account", "code": null}});
    let busy = || Step::json(429, &body).header("x-should-retry", "false");
    let upstream = ScriptedUpstream::start([busy(), reply()]).await;
    let only = deployment("g", "only", 1, &upstream.origin());
    let config = format!("model_list:\n{only}router_settings: {{ num_retries: 3 }}\n");
    let refused = Gateway::start(&config).await.post("/v1/chat/completions", &hello()).await;
    assert_eq!((refused.status, upstream.asked().len()), (429, 1), "{}", refused.text);
    let upstream = ScriptedUpstream::start([busy(), reply()]).await;
    let config: String = ["first", "second"].map(|id| deployment("g", id, 1, &upstream.origin())).concat();
    let config = format!("model_list:\n{config}router_settings: {{ num_retries: 3 }}\n");
    let answer = Gateway::start(&config).await.post("/v1/chat/completions", &hello()).await;
    assert_eq!((answer.status, upstream.asked().len()), (200, 2), "{}", answer.text);
}

#[tokio::test]
async fn a_conflict_is_tried_again() {
    for status in [409, 425, 498, 499] {
        let busy = json!({"error": {"message": "in the way", "code": null}});
        let upstream = ScriptedUpstream::start([Step::json(status, &busy), reply()]).await;
        let config = format!(
            "model_list:\n{}router_settings: {{ num_retries: 1 }}\n",
            deployment("g", "only", 1, &upstream.origin())
        );
        let answer = Gateway::start(&config).await.post("/v1/chat/completions", &hello()).await;
        assert_eq!((answer.status, upstream.asked().len()), (200, 2), "{}", answer.text);
    }
}
