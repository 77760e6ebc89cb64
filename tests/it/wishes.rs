//! What clients of LiteLLM say about their own requests is done here, and no provider gets it.

use serde_json::{Value, json};

use crate::chat::openai_reply;
use crate::support::gateway::{Gateway, read};
use crate::support::upstream::{Gate, ScriptedUpstream, Step};

fn asked(more: &Value) -> Value {
    let mut body = json!({"model": "one", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

async fn gateway(upstream: &ScriptedUpstream) -> Gateway {
    let origin = upstream.origin();
    let list = ["one", "two"].map(|group| {
        format!(
            "  - {{ model_name: {group}, litellm_params: {{ model: openai/{group}, api_base: \"{origin}/v1\", api_key: k }} }}\n"
        )
    });
    Gateway::start(&format!("model_list:\n{}router_settings: {{ num_retries: 0 }}\n", list.concat())).await
}

#[tokio::test]
async fn a_request_s_own_lists_are_asked_by_what_went_wrong() {
    let long = json!({"error": {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"}});
    let broken = json!({"error": {"message": "broken"}});
    for (status, fault, lists, served) in [
        (400, &long, json!({"context_window_fallbacks": [{"one": ["two"]}]}), 200),
        (400, &long, json!({"content_policy_fallbacks": [{"one": ["two"]}]}), 400),
        (500, &broken, json!({"fallbacks": [{"one": ["two"]}, {"two": ["one"]}]}), 200),
        (500, &broken, json!({"fallbacks": [{"two": ["one"]}]}), 502),
        (500, &broken, json!({"context_window_fallbacks": ["two"]}), 502),
    ] {
        let upstream =
            ScriptedUpstream::start([Step::json(status, fault), Step::json(200, &openai_reply("Hello"))]).await;
        let answer = gateway(&upstream).await.post("/v1/chat/completions", &asked(&lists)).await;
        assert_eq!(answer.status, served, "{lists}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_only_litellm_reads_reaches_no_provider_and_is_told() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
    let gateway = gateway(&upstream).await;
    let more = json!({"seed": 7, "timeout": 30, "cache": {"no-cache": true}, "litellm_trace_id": "t", "max_retries": 2,
        "context_window_fallback_dict": {"one": "two"}, "langfuse_secret_key": "sk-lf-1", "input_cost_per_token": 1,
        "metadata": {"tags": ["t"], "generation_name": "g"}});
    let answer = gateway.post("/v1/chat/completions", &asked(&more)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let sent = upstream.asked()[0].body.clone();
    let mut names: Vec<&String> = sent.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["max_tokens", "messages", "model", "seed"]);
    let dropped = answer.header("x-witgate-dropped");
    let own =
        "cache, litellm_trace_id, max_retries, context_window_fallback_dict, langfuse_secret_key, input_cost_per_token";
    assert_eq!(dropped, format!("metadata, {own}"));
    for (name, value) in [("guardrails", json!(["pii"])), ("prompt_id", json!("p"))] {
        let held = gateway.post("/v1/chat/completions", &asked(&json!({name: value}))).await;
        assert_eq!((held.status, &held.json()["error"]["param"]), (400, &json!(name)), "{}", held.text);
    }
}

/// Who has no SDK to put them beside the rest writes `extra_body` itself, as LiteLLM takes it.
#[tokio::test]
async fn what_a_client_writes_under_extra_body_stands_beside_the_rest() {
    let steps = std::iter::repeat_with(|| Step::json(200, &openai_reply("Hello"))).take(2);
    let upstream = ScriptedUpstream::start(steps).await;
    let gateway = gateway(&upstream).await;
    let extra = json!({"min_p": 0.1, "temperature": 0.3, "top_p": 0.9, "num_retries": 0, "cache": {}});
    let answer = gateway
        .post("/v1/chat/completions", &asked(&json!({"extra_body": extra, "temperature": 0.7, "seed": 7})))
        .await;
    assert_eq!((answer.status, answer.header("x-witgate-dropped")), (200, "cache"), "{}", answer.text);
    let sent = upstream.asked()[0].body.clone();
    assert_eq!((&sent["min_p"], &sent["top_p"], &sent["seed"]), (&json!(0.1), &json!(0.9), &json!(7)), "{sent}");
    assert_eq!((&sent["temperature"], sent.get("extra_body")), (&json!(0.7), None), "{sent}");
    let wrong = gateway.post("/v1/chat/completions", &asked(&json!({"extra_body": {"top_p": "much"}}))).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("top_p")), "{}", wrong.text);
    let steers = gateway.post("/v1/chat/completions", &asked(&json!({"extra_body": {"api_base": "http://a"}}))).await;
    assert_eq!(steers.status, 400, "{}", steers.text);
}

/// What an entry says of chats says nothing of vectors.
#[tokio::test]
async fn defaults_of_chats_do_not_reach_who_makes_vectors() {
    let vectors = json!({"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1}});
    let upstream = ScriptedUpstream::start([Step::json(200, &vectors)]).await;
    let gateway = Gateway::start(&format!(
        "model_list: [{{ model_name: one, litellm_params: {{ model: openai/m, api_base: \"{}/v1\", api_key: k, max_tokens: 9, \
         temperature: 0.2, seed: 7, logprobs: true, min_p: 0.1, dimensions: 256, input_type: query, user: u }} }}]",
        upstream.origin()
    ))
    .await;
    let answer = gateway.post("/v1/embeddings", &json!({"model": "one", "input": "x"})).await;
    assert_eq!((answer.status, answer.header("x-witgate-dropped")), (200, ""), "{}", answer.text);
    let sent = &upstream.asked()[0].body;
    let mut names: Vec<&String> = sent.as_object().expect("a map").keys().collect();
    names.sort();
    assert_eq!(names, ["dimensions", "input", "input_type", "model", "user"], "{sent}");
    assert_eq!((&sent["dimensions"], &sent["input_type"]), (&json!(256), &json!("query")), "{sent}");
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_own_timeout() {
    let never = Gate::closed();
    let hangs = Step::json(200, &openai_reply("Hello")).head_after(&never);
    let upstream = ScriptedUpstream::start([hangs]).await;
    let gateway = gateway(&upstream).await;
    let answer = gateway.post("/v1/chat/completions", &asked(&json!({"timeout": 0.05}))).await;
    assert_eq!(answer.status, 504, "{}", answer.text);
    let told = &answer.json()["error"]["message"];
    assert!(told.as_str().is_some_and(|told| told.contains("within 0.05 s") && told.contains("`timeout`")), "{told}");
    let wrong = gateway.post("/v1/chat/completions", &asked(&json!({"timeout": "soon"}))).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("timeout")), "{}", wrong.text);
}

/// What a deployment's defaults say in chat completions' words its other clients' requests say, too.
#[tokio::test]
async fn defaults_of_a_deployment_hold_for_clients_of_every_api() {
    let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{ model_name: one, litellm_params: {{ model: hosted_vllm/one, api_base: \"{}/v1\", api_key: k, seed: 7, presence_penalty: 0.5, extra_body: {{ chat_template_kwargs: {{ enable_thinking: false }} }} }} }}\n",
        upstream.origin()
    ))
    .await;
    let answer = gateway.post("/v1/messages", &asked(&json!({}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let sent = &upstream.asked()[0].body;
    assert_eq!((&sent["seed"], &sent["presence_penalty"]), (&json!(7), &json!(0.5)), "{sent}");
    assert_eq!(sent["chat_template_kwargs"], json!({"enable_thinking": false}), "{sent}");
}

/// What is a provider's own has a name there alone, and is sent as the file has it.
#[tokio::test]
async fn fields_of_a_provider_s_own_reach_it_as_they_are_written() {
    let claude = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let gemini = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}});
    let safety = json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]);
    let edits = json!({"edits": [{"type": "clear_tool_uses_20250919"}]});
    let extra = json!({"generationConfig": {"responseModalities": ["TEXT"]}, "labels": {"team": "lab"}});
    for (model, reply, params) in [
        ("anthropic/claude-sonnet-4-5", &claude, json!({"extra_body": {"context_management": edits}})),
        ("gemini/gemini-2.5-flash", &gemini, json!({"safety_settings": safety, "extra_body": extra})),
    ] {
        for api in ["/v1/chat/completions", "/v1/messages"] {
            let upstream = ScriptedUpstream::start([Step::json(200, reply)]).await;
            let mut entry = json!({"model": model, "api_base": upstream.origin(), "api_key": "k"});
            entry.as_object_mut().expect("a map").extend(params.as_object().expect("a map").clone());
            let gateway =
                Gateway::start(&format!("model_list: [{{ model_name: one, litellm_params: {entry} }}]")).await;
            let answer = gateway.post(api, &asked(&json!({"temperature": 0.5}))).await;
            assert_eq!((answer.status, answer.header("x-witgate-dropped")), (200, ""), "{}", answer.text);
            let sent = &upstream.asked()[0].body;
            if reply == &claude {
                assert_eq!((&sent["context_management"], &sent["temperature"]), (&edits, &json!(0.5)), "{sent}");
            } else {
                let settings = &sent["generationConfig"];
                assert_eq!((&sent["safety_settings"], &sent["labels"]), (&safety, &extra["labels"]), "{sent}");
                assert_eq!(settings["responseModalities"], json!(["TEXT"]), "{sent}");
                assert_eq!(settings["temperature"], json!(0.5), "what the request says stays beside it: {sent}");
            }
        }
    }
}

/// A reply is cut for no wish of the client's: all that the model may write is allowed where a bound must be given.
#[tokio::test]
async fn a_bound_that_nobody_gave_is_the_model_s_own() {
    let reply = json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 3, "output_tokens": 1}});
    let upstream = ScriptedUpstream::start([Step::json(200, &reply)]).await;
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{ model_name: one, litellm_params: {{ model: anthropic/claude-sonnet-4-5, api_base: \"{}\", api_key: k }} }}\n",
        upstream.origin()
    ))
    .await;
    let body = json!({"model": "one", "messages": [{"role": "user", "content": "hello"}]});
    let answer = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(upstream.asked()[0].body["max_tokens"], json!(64_000));
}

/// What stands in the way of a retry is a limit: it is told at once, and when it will be over.
#[tokio::test]
async fn a_retry_that_limits_refuse_is_not_slept_for() {
    let upstream = ScriptedUpstream::start([Step::openai_rate_limited(1)]).await;
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{ model_name: one, litellm_params: {{ model: openai/one, api_base: \"{}/v1\", api_key: k, rpm: 1 }} }}\nrouter_settings: {{ num_retries: 3 }}\nwitgate: {{ queue: {{ max_wait_seconds: 0 }} }}\n",
        upstream.origin()
    ))
    .await;
    let answer = gateway.post("/v1/chat/completions", &asked(&json!({}))).await;
    assert_eq!((answer.status, upstream.asked().len()), (429, 1), "{}", answer.text);
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!(seconds > 30, "{seconds}");
}

/// What takes over at Anthropic is Anthropic's to read, though LiteLLM's field has the same name.
#[tokio::test]
async fn fallbacks_of_the_provider_s_own_reach_it() {
    let said = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(|| Step::json(200, &said)).take(2)).await;
    let gateway = Gateway::start(&format!(
        "model_list: [{{ model_name: one, litellm_params: {{ model: anthropic/claude-opus-4-5, api_base: \"{}\", api_key: k }} }}]",
        upstream.origin()
    ))
    .await;
    let listed = json!([{"model": "claude-sonnet-4-6"}]);
    for (fallbacks, beta, status) in [
        (&json!("default"), "another-beta-1", 200),
        (&listed, "another-beta-1,server-side-fallback-2026-07-01", 200),
        (&listed, "another-beta-1", 404),
    ] {
        let call = gateway.client.post(format!("{}/v1/messages?beta=true", gateway.url)).header("anthropic-beta", beta);
        let body = asked(&json!({"fallbacks": fallbacks})).to_string();
        let answer = call.header("content-type", "application/json").body(body).send().await.expect("an answer");
        let answer = read(answer).await;
        assert_eq!(answer.status, status, "{fallbacks} with {beta}: {}", answer.text);
        if status == 200 {
            assert_eq!(&upstream.asked().pop().expect("a request").body["fallbacks"], fallbacks);
        }
    }
}
