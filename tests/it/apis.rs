//! What clients may ask beside chats and messages: embeddings, the older completions, the paths and keys of other vendors' SDKs.

use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use crate::chat::{OPENAI_STREAM, openai_reply};
use crate::support::gateway::{Gateway, Reply, read};
use crate::support::until;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};

const SIMULATED: &str = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m}, model_info: {id: one}}
general_settings: {master_key: sk-gate}
";

/// Asks with these headers.
async fn ask(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut request = gateway.client.post(format!("{}{path}", gateway.url)).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.body(body.to_string()).send().await.unwrap()).await
}

/// A gateway over one scripted provider of this kind, without retries.
async fn over(provider: &str, base: &str, steps: Vec<Step>) -> (Gateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start(steps).await;
    let config = format!(
        "model_list:\n  - {{model_name: g, litellm_params: {{model: {provider}/m, api_base: \"{}{base}\", api_key: sk-up}}, model_info: {{id: one}}}}\nrouter_settings: {{num_retries: 0}}\n",
        upstream.origin()
    );
    (Gateway::start(&config).await, upstream)
}

#[tokio::test]
async fn any_key_that_is_known_lets_a_request_in() {
    let gateway = Gateway::start(SIMULATED).await;
    let chat = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    let path = "/v1/chat/completions";
    for (headers, status) in [
        (vec![("authorization", "Bearer sk-gate")], 200),
        (vec![("x-api-key", "sk-gate")], 200),
        (vec![("api-key", "sk-gate")], 200),
        (vec![("x-goog-api-key", "sk-gate")], 200),
        (vec![("authorization", "Bearer oat-other"), ("x-api-key", "sk-gate")], 200),
        (vec![("authorization", "Bearer sk-gate"), ("x-api-key", "oat-other")], 200),
        (vec![("authorization", "Bearer oat-other"), ("x-api-key", "sk-other")], 401),
        (vec![], 401),
    ] {
        assert_eq!(ask(&gateway, path, &headers, &chat).await.status, status, "{headers:?}");
    }
    assert_eq!(ask(&gateway, &format!("{path}?key=sk-gate"), &[], &chat).await.status, 200);
    assert_eq!(ask(&gateway, &format!("{path}?key=sk-other"), &[], &chat).await.status, 401);
}

/// Clients compare the name: Claude Code keeps signed thinking of the model that it asked, and of no other.
#[tokio::test]
async fn a_reply_says_the_name_that_was_asked_for_and_a_header_its_models() {
    let steps = vec![Step::json(500, &json!({"error": {"message": "down"}})), Step::json(200, &openai_reply("Hi"))];
    let upstream = ScriptedUpstream::start(steps).await;
    let params = |model: &str| format!("model: openai/{model}, api_base: \"{}/v1\", api_key: k", upstream.origin());
    let config = format!(
        "model_list:\n- {{model_name: first, litellm_params: {{{}}}}}\n- {{model_name: second, litellm_params: {{{}}}}}\n\
         router_settings: {{num_retries: 0, fallbacks: [{{first: [second]}}], model_group_alias: {{gpt-9: second}}}}\n",
        params("m-1"),
        params("m-2")
    );
    let gateway = Gateway::start(&config).await;
    let chat = |model: &str, stream: bool| json!({"model": model, "max_tokens": 5, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
    let reply = gateway.post("/v1/messages", &chat("first", false)).await;
    assert_eq!((&reply.json()["model"], reply.header("x-witgate-model")), (&json!("m"), "m"), "another group's");
    for (path, stream) in [
        ("/v1/chat/completions", false),
        ("/v1/messages", false),
        ("/v1/chat/completions", true),
        ("/v1/messages", true),
        ("/v1/responses", true),
    ] {
        let step = if stream { Step::events(OPENAI_STREAM) } else { Step::json(200, &openai_reply("Hi")) };
        let upstream = ScriptedUpstream::start([step]).await;
        let config = format!(
            "model_list:\n- {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: k}}}}\nrouter_settings: {{model_group_alias: {{gpt-9: g}}}}\n",
            upstream.origin()
        );
        let gateway = Gateway::start(&config).await;
        let mut asked = chat("gpt-9", stream);
        if path == "/v1/responses" {
            asked = json!({"model": "gpt-9", "stream": true, "input": "Hi"});
        }
        let reply = gateway.post(path, &asked).await;
        assert_eq!(reply.header("x-witgate-model"), "m", "{path} {stream}");
        let says = |name: &str| reply.text.contains(&format!("\"model\":\"{name}\""));
        assert!(says("gpt-9") && !says("m"), "{path} {stream}: {}", reply.text);
    }
}

#[tokio::test]
async fn embeddings_go_through_the_pipeline_in_both_forms() {
    let gateway = Gateway::start(SIMULATED).await;
    let key = [("api-key", "sk-gate")];
    let asked = json!({"model": "g", "input": ["one", "two", [1, 2, 3]], "dimensions": 8});
    let reply = ask(&gateway, "/v1/embeddings", &key, &asked).await;
    assert_eq!((reply.status, reply.header("x-witgate-deployment")), (200, "one"), "{}", reply.text);
    let said = reply.json();
    assert_eq!((said["object"].as_str(), said["data"].as_array().unwrap().len()), (Some("list"), 3));
    assert!(said["usage"]["prompt_tokens"].as_u64() > Some(0));
    let numbers: Vec<f64> = serde_json::from_value(said["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(numbers.len(), 8);
    assert_ne!(said["data"][0]["embedding"], said["data"][1]["embedding"], "each text has its own");

    let asked = json!({"model": "g", "input": "two", "dimensions": 8, "encoding_format": "base64"});
    let said = ask(&gateway, "/openai/deployments/g/embeddings?api-version=2024-10-21", &key, &asked).await.json();
    let text = said["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let floats: Vec<f64> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()).into()).collect();
    for (packed, plain) in floats.iter().zip(&numbers) {
        assert!((packed - plain).abs() < 1e-6, "the same vector in the other form: {packed} {plain}");
    }
    for (body, why) in [
        (json!({"model": "g"}), "input"),
        (json!({"model": "g", "input": ""}), "input"),
        (json!({"model": "g", "input": []}), "input"),
        (json!({"model": "g", "input": ["a", {}]}), "input[1]"),
        (json!({"model": "g", "input": "a", "dimensions": 0}), "dimensions"),
        (json!({"model": "g", "input": "a", "encoding_format": "int8"}), "encoding_format"),
        (json!({"model": "g", "input": "a", "stream": true}), "stream"),
    ] {
        let refused = ask(&gateway, "/v1/embeddings", &key, &body).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(why)), "{body}");
    }
}

#[tokio::test]
async fn embeddings_speak_to_providers_in_their_words() {
    let answer = json!({"object": "list", "model": "m-1", "usage": {"prompt_tokens": 4, "total_tokens": 4},
        "data": [{"object": "embedding", "index": 1, "embedding": [0.25, -1.5]}, {"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}]});
    let (gateway, upstream) = over("openai", "/v1", vec![Step::json(200, &answer)]).await;
    let asked = json!({"model": "g", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64", "user": "u"});
    let reply = gateway.post("/v1/embeddings", &asked).await;
    let said = reply.json();
    assert_eq!(said["data"][0]["embedding"], "AACAPwAAAEA=", "the provider's order is by index: {said}");
    assert_eq!((&said["model"], reply.header("x-witgate-model")), (&json!("g"), "m-1"));
    let seen = &upstream.asked()[0];
    assert_eq!(seen.path, "/v1/embeddings");
    assert_eq!(
        seen.body,
        json!({"model": "m", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64", "user": "u"})
    );

    let answer = json!({"embeddings": [{"values": [0.5, 0.25]}]});
    let (gateway, upstream) = over("gemini", "/v1beta", vec![Step::json(200, &answer)]).await;
    let said = gateway.post("/v1/embeddings", &json!({"model": "g", "input": "a", "dimensions": 2})).await.json();
    assert_eq!((&said["data"][0]["embedding"], &said["model"]), (&json!([0.5, 0.25]), &json!("g")));
    let seen = &upstream.asked()[0];
    assert_eq!(seen.path, "/v1beta/models/m:batchEmbedContents");
    assert_eq!(
        seen.body,
        json!({"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 2}]})
    );

    // Fewer vectors than inputs is no answer.
    let answer = json!({"data": [{"index": 0, "embedding": [1.0]}]});
    let (gateway, _upstream) = over("openai", "/v1", vec![Step::json(200, &answer)]).await;
    assert_eq!(gateway.post("/v1/embeddings", &json!({"model": "g", "input": ["a", "b"]})).await.status, 502);
    // Who has no embeddings is not asked for any.
    let (gateway, upstream) = over("anthropic", "", vec![Step::silent()]).await;
    let refused = gateway.post("/v1/embeddings", &json!({"model": "g", "input": "a"})).await;
    assert_eq!((refused.status, upstream.count()), (400, 0), "{}", refused.text);
}

#[tokio::test]
async fn the_older_completions_are_chats() {
    let (gateway, upstream) = over(
        "openai",
        "/v1",
        vec![
            Step::json(200, &openai_reply("Hello")),
            Step::events(OPENAI_STREAM),
            Step::json(200, &openai_reply("Hello")),
        ],
    )
    .await;
    let asked = json!({"model": "g", "prompt": ["Say hello"], "max_tokens": 9, "stop": "x"});
    let said = gateway.post("/v1/completions", &asked).await.json();
    assert_eq!((&said["object"], &said["choices"][0]["text"]), (&json!("text_completion"), &json!("Hello")));
    assert_eq!((&said["choices"][0]["finish_reason"], &said["usage"]["total_tokens"]), (&json!("stop"), &json!(11)));
    let seen = upstream.asked()[0].body.clone();
    assert_eq!(seen["messages"], json!([{"role": "user", "content": "Say hello"}]));
    assert_eq!((&seen["max_tokens"], &seen["prompt"]), (&json!(9), &Value::Null));

    let asked = json!({"model": "g", "prompt": "Say hello", "stream": true, "stream_options": {"include_usage": true}});
    let events = gateway.post("/completions", &asked).await.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let parsed: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let scored = json!({"model": "g", "prompt": "Say hello", "logprobs": 2});
    assert_eq!(gateway.post("/v1/completions", &scored).await.status, 200);
    let seen = upstream.asked()[2].body.clone();
    assert_eq!((&seen["logprobs"], &seen["top_logprobs"]), (&json!(true), &json!(2)));
    let text: String = parsed.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!((text.as_str(), &parsed.last().unwrap()["usage"]["total_tokens"]), ("Hello", &json!(11)));
    for (name, value) in [
        ("suffix", json!("x")),
        ("echo", json!(true)),
        ("best_of", json!(3)),
        ("prompt", json!(["a", 1])),
        ("prompt", json!(vec!["a"; 129])),
        ("prompt", json!([1, 2])),
    ] {
        let mut body = json!({"model": "g", "prompt": "p"});
        body[name] = value;
        let refused = gateway.post("/v1/completions", &body).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(name)), "{body}");
    }
}

#[tokio::test]
async fn tools_without_their_wrapper_are_understood() {
    let (gateway, upstream) = over("openai", "/v1", vec![Step::json(200, &openai_reply("Hello"))]).await;
    let object = json!({"type": "object", "properties": {}});
    let asked = json!({"model": "g", "messages": [{"role": "user", "content": "hi"}], "tool_choice": "any", "tools": [
        {"type": "function", "name": "read", "description": "r", "parameters": object, "strict": false},
        {"name": "edit", "description": "e", "input_schema": object}]});
    assert_eq!(gateway.post("/v1/chat/completions", &asked).await.status, 200);
    let seen = upstream.asked()[0].body.clone();
    assert_eq!(
        seen["tools"],
        json!([
            {"type": "function", "function": {"name": "read", "description": "r", "parameters": object, "strict": false}},
            {"type": "function", "function": {"name": "edit", "description": "e", "parameters": object}}
        ])
    );
    assert_eq!(seen["tool_choice"], "required");
    let (gateway, upstream) = over("openai", "/v1", vec![Step::json(200, &openai_reply("Hello"))]).await;
    let asked = json!({"model": "g", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]});
    assert_eq!(gateway.post("/v1/chat/completions", &asked).await.json()["object"], "chat.completion");
    assert_eq!(upstream.asked()[0].body["messages"], json!([{"role": "user", "content": "hi"}]));
}

/// The header `content-encoding` and a body that is so encoded.
/// Several prompts are several requests, and one reply whose alternatives are numbered as OpenAI numbers them.
#[tokio::test]
async fn several_prompts_are_answered_as_one() {
    let whole = Step::json(200, &openai_reply("Hello"));
    let (gateway, upstream) = over("openai", "/v1", vec![whole]).await;
    for (n, places) in [(None, [0, 1, 2]), (Some(2), [0, 2, 4])] {
        let mut asked = json!({"model": "g", "prompt": ["one", "two", "three"], "max_tokens": 9});
        if let Some(n) = n {
            asked["n"] = json!(n);
        }
        let before = upstream.count();
        let said = gateway.post("/v1/completions", &asked).await;
        assert_eq!(said.status, 200, "{}", said.text);
        assert_eq!(said.header("x-litellm-model-group"), "g");
        let said = said.json();
        let told: Vec<(u64, &str)> = said["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| (choice["index"].as_u64().unwrap(), choice["text"].as_str().unwrap()))
            .collect();
        assert_eq!(told, places.map(|place| (place, "Hello")), "{said}");
        assert_eq!(said["usage"]["total_tokens"], 33, "{said}");
        let mut prompts: Vec<String> = upstream.asked()[before..]
            .iter()
            .map(|one| one.body["messages"][0]["content"].as_str().unwrap().to_owned())
            .collect();
        prompts.sort();
        assert_eq!(prompts, ["one", "three", "two"]);
    }
    assert_eq!(gateway.metric("witgate_requests_total"), Some(6.0), "each is a request");

    let (gateway, _upstream) = over("openai", "/v1", vec![Step::events(OPENAI_STREAM)]).await;
    let asked =
        json!({"model": "g", "prompt": ["one", "two"], "stream": true, "stream_options": {"include_usage": true}});
    let events = gateway.post("/v1/completions", &asked).await.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let parsed: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for place in [0, 1] {
        let of = |event: &&Value| event["choices"][0]["index"] == place;
        let text: String = parsed.iter().filter(of).filter_map(|event| event["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, "Hello");
    }
    assert_eq!(parsed.last().unwrap()["usage"]["total_tokens"], 22);

    // One that fails is the answer to all; in streams, an event after which nothing comes.
    let (gateway, _upstream) = over("openai", "/v1", vec![Step::openai_rate_limited(7)]).await;
    let mut asked = json!({"model": "g", "prompt": ["one", "two"]});
    assert_eq!(gateway.post("/v1/completions", &asked).await.status, 429);
    let cut = OPENAI_STREAM.find("{\"content\":\"lo\"").unwrap();
    let (gateway, _upstream) = over("openai", "/v1", vec![Step::events(OPENAI_STREAM).cut_after(cut)]).await;
    asked["stream"] = json!(true);
    let text = gateway.post("/v1/completions", &asked).await.text;
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
}

/// A gateway over one scripted provider of which a limit holds back what is more than it.
async fn limited(limit: &str, steps: Vec<Step>) -> (Gateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start(steps).await;
    let config = format!(
        "model_list:\n  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up, {limit}}}, model_info: {{id: one}}}}\nrouter_settings: {{num_retries: 0}}\nwitgate: {{queue: {{max_wait_seconds: 75}}}}\n",
        upstream.origin()
    );
    (Gateway::start(&config).await, upstream)
}

/// The last of several prompts may wait for what the first ones hold, which they hold until their streams are read.
#[tokio::test]
async fn a_stream_of_several_prompts_begins_with_the_first_that_is_answered() {
    let one_at_once = "max_parallel_requests: 1";
    let (gateway, upstream) = limited(one_at_once, vec![Step::events(OPENAI_STREAM)]).await;
    let asked = json!({"model": "g", "prompt": ["one", "two", "three"], "stream": true});
    let said = tokio::time::timeout(Duration::from_secs(30), gateway.post("/v1/completions", &asked)).await;
    let events = said.expect("nobody waits for what it holds itself").events();
    assert_eq!((events.last().map(String::as_str), upstream.count()), (Some("[DONE]"), 3));
    for place in [0, 1, 2] {
        let parsed = events[..events.len() - 1].iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
        let text: String = parsed
            .filter(|event| event["choices"][0]["index"] == place)
            .filter_map(|event| event["choices"][0]["text"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, "Hello");
    }

    // One that is refused once the stream has begun ends it as any fault does.
    let steps = vec![Step::events(OPENAI_STREAM), Step::openai_rate_limited(7)];
    let (gateway, _upstream) = limited(one_at_once, steps).await;
    let said = gateway.post("/v1/completions", &asked).await;
    let events = said.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!((said.status, last["error"]["type"].as_str()), (200, Some("rate_limit_error")), "{}", said.text);
    assert!(said.text.contains("\"Hel\"") && !said.text.contains("[DONE]"), "{}", said.text);
}

#[tokio::test]
async fn of_several_prompts_none_is_sent_any_more_once_one_is_refused() {
    let steps = vec![Step::json(200, &openai_reply("Hello")), Step::openai_rate_limited(7)];
    let (gateway, upstream) = limited("rpm: 2, input_cost_per_token: 0.001, output_cost_per_token: 0.001", steps).await;
    let asked = json!({"model": "g", "prompt": ["one", "two", "three"], "max_tokens": 9});
    let said = tokio::time::timeout(Duration::from_secs(30), gateway.post("/v1/completions", &asked)).await;
    let said = said.expect("the third waits for a minute that would lead to nothing");
    assert_eq!((said.status, upstream.count()), (429, 2), "{}", said.text);
    let told = "answers to 1 of the 3 prompts, which cost $0.011, are not told without the others";
    assert!(said.text.contains(told), "{}", said.text);
}

/// What is left pays for two of them, and would for all by what they really cost.
#[tokio::test]
async fn of_several_prompts_none_is_sent_where_the_budget_has_not_the_money_for_all() {
    for (max_budget, stream, statuses, calls) in
        [("0.05", false, [422, 422], 0), ("0.05", true, [422, 422], 0), ("0.06", false, [200, 422], 3)]
    {
        let upstream = ScriptedUpstream::start(vec![Step::json(200, &openai_reply("Hello"))]).await;
        let config = format!(
            "model_list:\n  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up, input_cost_per_token: 0.001, output_cost_per_token: 0.001}}, model_info: {{id: one}}}}\ncost_controls: {{max_budget: {max_budget}}}\n",
            upstream.origin()
        );
        let gateway = Gateway::start(&config).await;
        let asked = json!({"model": "g", "prompt": ["one", "two", "three"], "max_tokens": 9, "stream": stream});
        for status in statuses {
            let said = gateway.post("/v1/completions", &asked).await;
            assert_eq!(said.status, status, "{max_budget} {stream}: {}", said.text);
            assert!(status == 200 || said.text.contains("Budget has been exceeded!"), "{}", said.text);
        }
        assert_eq!(upstream.count(), calls, "{max_budget} {stream}");
        let (budgets, clock) = (&gateway.app.gateway.budgets, gateway.app.gateway.clock);
        assert!(budgets.reports(clock.now()).iter().all(|budget| budget.held.0 == 0), "nothing is held any more");
    }
}

/// Its stream would begin late, or never, and nobody would hear it.
#[tokio::test]
async fn of_several_streamed_prompts_the_refusal_of_one_is_told_though_another_has_not_begun() {
    let (gateway, upstream) = limited("rpm: 9", vec![Step::silent(), Step::openai_rate_limited(7)]).await;
    let asked = json!({"model": "g", "prompt": ["one", "two"], "stream": true});
    let said = tokio::time::timeout(Duration::from_secs(20), gateway.post("/v1/completions", &asked)).await;
    let said = said.expect("the other is not waited for");
    assert_eq!((said.status, upstream.count()), (429, 2), "{}", said.text);
    upstream.until_cancelled(1).await;
    let left = "witgate_requests_total{group=\"g\",api=\"openai-completions\",ending=\"cancelled\",status=\"499\"}";
    until("the other is recorded as one that was left", || gateway.metric(left) == Some(1.0)).await;
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bodies_are_bounded_by_what_is_in_them() {
    let gateway = Gateway::start(&SIMULATED.replace("sk-gate}", "sk-gate, max_request_size_mb: 1}")).await;
    let send = async |path: &str, coding: &str, body: Vec<u8>| {
        let request = gateway.client.post(format!("{}{path}", gateway.url)).bearer_auth("sk-gate");
        let request = request.header("content-type", "application/json").header("content-encoding", coding);
        read(request.body(body).send().await.unwrap()).await
    };
    let chat = br#"{"model":"g","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
    for path in ["/v1/chat/completions", "/v1/messages/count_tokens"] {
        let said = send(path, "gzip", gzipped(chat)).await;
        assert_eq!(said.status, 200, "{path}: {}", said.text);
        assert_eq!(send(path, "gzip", gzipped(&vec![b' '; 2 << 20])).await.status, 413, "{path}");
        assert_eq!(send(path, "gzip", chat.to_vec()).await.status, 400, "{path}");
        let unknown = send(path, "compress", chat.to_vec()).await;
        assert_eq!((unknown.status, unknown.header("accept-encoding")), (415, "gzip, deflate, zstd, br"), "{path}");
    }
}

#[tokio::test]
async fn responses_are_kept_for_whoever_made_them() {
    let gateway = Gateway::start(SIMULATED).await;
    let key = [("authorization", "Bearer sk-gate")];
    let asked = json!({"model": "g", "input": "call me", "max_output_tokens": 30});
    let first = ask(&gateway, "/v1/responses", &key, &asked).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let first = first.json();
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        (&first["object"], &first["store"], &first["output"][0]["role"]),
        (&json!("response"), &json!(true), &json!("assistant"))
    );
    let get = async |path: &str| {
        read(gateway.client.get(format!("{}{path}", gateway.url)).bearer_auth("sk-gate").send().await.unwrap()).await
    };
    assert_eq!(get(&format!("/v1/responses/{id}")).await.json(), first);
    for azure in ["/openai/v1/responses", "/openai/responses"] {
        assert_eq!(get(&format!("{azure}/{id}")).await.json(), first, "{azure}");
        assert_eq!(get(&format!("{azure}/{id}/input_items")).await.status, 200, "{azure}");
    }
    let streamed = get(&format!("/v1/responses/{id}?stream=true")).await;
    assert_eq!((streamed.status, streamed.json()["error"]["param"].as_str()), (400, Some("stream")));
    let items = get(&format!("/v1/responses/{id}/input_items")).await.json();
    assert_eq!(items["data"][0]["content"][0]["text"], "call me");

    let asked = json!({"model": "g", "input": "and", "previous_response_id": id, "stream": true});
    let second = ask(&gateway, "/v1/responses", &key, &asked).await;
    let last: Value = serde_json::from_str(second.events().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["response"]["previous_response_id"]), (&json!("response.completed"), &json!(id)));
    assert!(last["response"]["usage"]["input_tokens"].as_u64() > first["usage"]["input_tokens"].as_u64());
    let second = last["response"]["id"].as_str().unwrap();
    assert_eq!(get(&format!("/v1/responses/{second}")).await.json(), last["response"], "a streamed one is kept too");

    let item = json!({"type": "item_reference", "id": first["output"][0]["id"]});
    let asked = json!({"model": "g", "input": [item, {"role": "user", "content": "and"}]});
    let named = ask(&gateway, "/v1/responses", &key, &asked).await;
    assert_eq!(named.status, 200, "an item may be named: {}", named.text);
    let item = json!({"type": "item_reference", "id": "msg_00_1"});
    let unknown = ask(&gateway, "/v1/responses", &key, &json!({"model": "g", "input": [item]})).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["param"]), (400, &json!("input[0]")));

    let asked = json!({"model": "g", "input": "secret", "store": false});
    let third = ask(&gateway, "/v1/responses", &key, &asked).await.json();
    assert_eq!(get(&format!("/v1/responses/{}", third["id"].as_str().unwrap())).await.status, 404);
    let delete = gateway.client.delete(format!("{}/v1/responses/{id}", gateway.url)).bearer_auth("sk-gate");
    assert_eq!(read(delete.send().await.unwrap()).await.json()["deleted"], true);
    let asked = json!({"model": "g", "input": "and", "previous_response_id": second});
    let gone = ask(&gateway, "/v1/responses", &key, &asked).await;
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (400, &json!("previous_response_not_found")));
    let counted =
        ask(&gateway, "/v1/responses/input_tokens", &key, &json!({"model": "g", "input": "one two"})).await.json();
    assert_eq!(counted["object"], "response.input_tokens");
}

#[tokio::test]
async fn responses_reach_every_provider() {
    let answer = json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "tool_use", "id": "t1", "name": "apply_patch", "input": {"input": "***"}}],
        "usage": {"input_tokens": 9, "output_tokens": 2}});
    let (gateway, upstream) = over("anthropic", "", vec![Step::json(200, &answer), Step::json(200, &answer)]).await;
    // As Codex asks.
    let asked = json!({"model": "g", "instructions": "You are Codex.", "store": false, "stream": false, "parallel_tool_calls": false,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "tool_choice": "auto", "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [{"type": "function", "name": "shell", "strict": false, "parameters": {"type": "object", "properties": {}}},
            {"type": "custom", "name": "apply_patch", "description": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "fix"}]}]});
    let said = gateway.post("/v1/responses", &asked).await.json();
    assert_eq!(said["output"][0]["encrypted_content"], "witgate:signature:sig", "{said}");
    assert_eq!((&said["output"][1]["type"], &said["output"][1]["input"]), (&json!("custom_tool_call"), &json!("***")));
    let mut again = asked.clone();
    let input = again["input"].as_array_mut().unwrap();
    input.extend(said["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"type": "custom_tool_call_output", "call_id": "t1", "output": "ok"}));
    assert_eq!(gateway.post("/v1/responses", &again).await.status, 200);
    let seen = upstream.asked()[1].body["messages"].clone();
    assert_eq!(seen[1]["content"], answer["content"], "thinking comes back with its signature: {seen}");
    assert_eq!(seen[2]["content"][0]["tool_use_id"], "t1");
}

#[tokio::test]
async fn tokens_are_counted_without_a_reply() {
    let gateway = Gateway::start(SIMULATED).await;
    let key = [("x-api-key", "sk-gate"), ("anthropic-version", "2023-06-01")];
    let hi = json!([{"role": "user", "content": "hi there"}]);
    let counted =
        ask(&gateway, "/v1/messages/count_tokens?beta=true", &key, &json!({"model": "g", "messages": hi})).await;
    assert_eq!(counted.status, 200, "{}", counted.text);
    assert!(counted.json()["input_tokens"].as_u64() > Some(0));
    let unknown = ask(&gateway, "/v1/messages/count_tokens", &key, &json!({"model": "no", "messages": hi})).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (404, &json!("not_found_error")));
    let key = [("x-api-key", "sk-gate")];
    let mut totals = Vec::new();
    for body in [
        json!({"model": "g", "messages": hi}),
        json!({"model": "g", "contents": [{"role": "user", "parts": [{"text": "hi there"}]}]}),
        json!({"model": "g", "prompt": "hi there"}),
    ] {
        let said = ask(&gateway, "/utils/token_counter", &key, &body).await.json();
        assert_eq!((&said["request_model"], said["total_tokens"].as_u64() > Some(0)), (&json!("g"), true), "{said}");
        totals.push(said["total_tokens"].as_u64());
    }
    assert_eq!(totals[0], totals[1], "the same conversation in other words");
    assert!(totals[2] < totals[0], "a text alone is no message: {totals:?}");
    assert_eq!(gateway.metric("witgate_requests_total"), None, "nothing of it is a request");
}

#[tokio::test]
async fn what_agents_look_at_first_is_there() {
    let gateway = Gateway::start(SIMULATED).await;
    assert_eq!(gateway.client.head(format!("{}/", gateway.url)).send().await.unwrap().status(), 200);
    let asked = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = gateway.client.get(format!("{}{path}", gateway.url)).bearer_auth("sk-gate");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send().await.unwrap()).await
    };
    let anthropic = [("anthropic-version", "2023-06-01")];
    let list = asked("/v1/models?limit=1000", &anthropic).await.json();
    assert_eq!((&list["data"][0]["type"], &list["has_more"]), (&json!("model"), &json!(false)));
    let none = asked("/api/hello", &anthropic).await;
    assert_eq!((none.status, &none.json()["type"]), (404, &json!("error")));
    assert_eq!(asked("/anthropic/v1/models", &[]).await.json()["data"][0]["type"], "model");
    assert_eq!(asked("/anthropic/v1/models/g", &[]).await.json()["type"], "model");
    assert_eq!(asked("/v1beta/models", &[]).await.json()["models"][0]["name"], "models/g");
    let info = asked("/v1/model/info", &[]).await;
    assert_eq!(info.json()["data"][0]["model_name"], "g");
    assert_eq!(info.json()["data"][0]["litellm_params"], json!({"model": "simulated/m"}));
}

#[tokio::test]
async fn what_a_model_is_for_and_costs_is_told() {
    let config = "model_list:
  - {model_name: a, litellm_params: {model: openai/text-embedding-3-small, api_key: k}}
  - {model_name: b, litellm_params: {model: anthropic/claude-3-5-haiku-20241022, api_key: k}}\n";
    let gateway = Gateway::start(config).await;
    let asked = async |query: &str| {
        let info = gateway.client.get(format!("{}/v1/model/info{query}", gateway.url)).bearer_auth("sk-gate");
        read(info.send().await.unwrap()).await
    };
    let info = asked("").await.json();
    let of = |index: usize| &info["data"][index]["model_info"];
    assert_eq!((&of(0)["mode"], &of(1)["mode"]), (&json!("embedding"), &json!("chat")));
    let haiku = of(1);
    assert_eq!((&haiku["max_input_tokens"], &haiku["max_output_tokens"]), (&json!(200_000), &json!(8192)));
    assert_eq!(haiku["output_cost_per_token"].as_f64().map(|cost| (cost * 1e9).round()), Some(4000.0));
    // By its id it is told alone.
    let id = haiku["id"].as_str().expect("an id");
    let one = asked(&format!("?litellm_model_id={id}")).await.json();
    assert_eq!(one["data"], json!([info["data"][1]]));
    for unknown in ["?litellm_model_id=nobody", "?litellm_model_id="] {
        let refused = asked(unknown).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["param"]), (400, &json!("litellm_model_id")), "{unknown}: {}", refused.text);
    }
}

#[tokio::test]
async fn gemini_s_clients_reach_every_provider() {
    let call = json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [{"id": "call_9", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}});
    let steps = vec![
        Step::json(200, &call),
        Step::json(200, &openai_reply("Hello")),
        Step::events(OPENAI_STREAM),
        Step::events(OPENAI_STREAM),
    ];
    let (gateway, upstream) = over("openai", "/v1", steps).await;
    let path = "/v1beta/models/g:generateContent";
    let tools = json!([{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER", "nullable": true}}}}]}]);
    let mut asked = json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "tools": tools,
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"temperature": 0.5, "max_output_tokens": 9, "seed": 3, "responseMimeType": "application/json"},
        "contents": [{"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}]});
    let said = gateway.post(path, &asked).await.json();
    let candidate = &said["candidates"][0];
    assert_eq!(
        candidate["content"]["parts"][0]["functionCall"],
        json!({"id": "call_9", "name": "f", "args": {"a": 1}})
    );
    assert_eq!((&candidate["finishReason"], &said["usageMetadata"]["totalTokenCount"]), (&json!("STOP"), &json!(11)));
    let seen = upstream.asked()[0].body.clone();
    assert_eq!(seen["messages"][0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!(
        seen["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {"a": {"type": ["integer", "null"]}}})
    );
    assert_eq!(
        (&seen["tool_choice"], &seen["temperature"], &seen["max_completion_tokens"], &seen["seed"]),
        (&json!("required"), &json!(0.5), &json!(9), &json!(3))
    );
    assert_eq!(seen["response_format"], json!({"type": "json_object"}));
    let contents = asked["contents"].as_array_mut().unwrap();
    contents.push(candidate["content"].clone());
    contents.push(json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "7"}}}]}));
    assert_eq!(gateway.post(path, &asked).await.json()["candidates"][0]["content"]["parts"][0]["text"], "Hello");
    let seen = upstream.asked()[1].body["messages"].clone();
    assert_eq!(seen[3], json!({"role": "tool", "tool_call_id": "call_9", "content": "7"}), "{seen}");

    let asked = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let events = gateway.post("/v1beta/models/g:streamGenerateContent?alt=sse", &asked).await.events();
    let text = |events: &[Value]| -> String {
        let part = |event: &Value| event["candidates"][0]["content"]["parts"][0]["text"].as_str().map(str::to_owned);
        events.iter().filter_map(part).collect()
    };
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(text(&events), "Hello");
    assert_eq!(events.last().unwrap()["candidates"][0]["finishReason"], "STOP");
    let array = gateway.post("/v1beta/models/g:streamGenerateContent", &asked).await;
    assert_eq!(
        (array.header("content-type"), text(array.json().as_array().unwrap()).as_str()),
        ("application/json", "Hello")
    );

    let unknown = gateway.post("/v1beta/models/no:generateContent", &asked).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    assert!(gateway.post("/v1beta/models/g:countTokens", &asked).await.json()["totalTokens"].as_u64() > Some(0));
}

#[tokio::test]
async fn what_only_gemini_knows_reaches_gemini() {
    let answer = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}, "modelVersion": "m", "responseId": "r1"});
    let vectors = json!({"embeddings": [{"values": [0.5]}, {"values": [0.25]}]});
    let (gateway, upstream) =
        over("gemini", "/v1beta", vec![Step::json(200, &answer), Step::json(200, &answer), Step::json(200, &vectors)])
            .await;
    let safety = json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]);
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "safetySettings": safety,
        "tools": [{"googleSearch": {}}], "generationConfig": {"responseModalities": ["TEXT"], "topK": 3.0}});
    let said = gateway.post("/v1beta/models/g:generateContent", &asked).await.json();
    let seen = upstream.asked()[0].body.clone();
    assert_eq!((&seen["safetySettings"], &seen["tools"]), (&safety, &asked["tools"]));
    assert_eq!(seen["generationConfig"], json!({"topK": 3, "responseModalities": ["TEXT"]}));
    let part = &said["candidates"][0]["content"]["parts"][0];
    assert_eq!((&part["functionCall"]["name"], &part["thoughtSignature"]), (&json!("f"), &json!("c2ln")));
    let mut again = asked.clone();
    let contents = again["contents"].as_array_mut().unwrap();
    contents.push(said["candidates"][0]["content"].clone());
    contents.push(json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"x": 1}}}]}));
    assert_eq!(gateway.post("/v1beta/models/g:generateContent", &again).await.status, 200);
    assert_eq!(upstream.asked()[1].body["contents"][1]["parts"][0]["thoughtSignature"], "c2ln");

    let asked = json!({"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]});
    let said = gateway.post("/v1beta/models/g:batchEmbedContents", &asked).await.json();
    assert_eq!(said, vectors);
}

#[tokio::test]
async fn listed_pages_may_ask_and_read_refusals() {
    let gateway =
        Gateway::start(&format!("{SIMULATED}witgate: {{server: {{cors_origins: [\"app://obsidian.md\"]}}}}\n")).await;
    let url = format!("{}/v1/chat/completions", gateway.url);
    let preflight = async |origin: &str| {
        let request = gateway.client.request(reqwest::Method::OPTIONS, &url).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        read(request.header("access-control-request-headers", "authorization,x-stainless-os").send().await.unwrap())
            .await
    };
    let listed = preflight("app://obsidian.md").await;
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (204, "app://obsidian.md"));
    assert_eq!(listed.header("access-control-allow-headers"), "authorization,x-stainless-os");
    let other = preflight("https://evil.example").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (403, ""));
    let chat = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    for (key, status) in [("Bearer sk-gate", 200), ("Bearer sk-no", 401)] {
        let headers = [("origin", "app://obsidian.md"), ("authorization", key)];
        let said = ask(&gateway, "/v1/chat/completions", &headers, &chat).await;
        assert_eq!((said.status, said.header("access-control-allow-origin")), (status, "app://obsidian.md"));
    }
    let headers = [("origin", "https://evil.example"), ("authorization", "Bearer sk-gate")];
    assert_eq!(ask(&gateway, "/v1/chat/completions", &headers, &chat).await.status, 403);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_in_the_words_agents_know() {
    let openai = json!({"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}});
    let (gateway, _upstream) = over("openai", "/v1", vec![Step::json(400, &openai)]).await;
    let hi = json!({"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let told = gateway.post("/v1/messages", &hi).await;
    let error = &told.json()["error"];
    assert_eq!((told.status, &error["type"]), (400, &json!("invalid_request_error")));
    assert!(
        error["message"].as_str().unwrap().starts_with("prompt is too long: 9000 tokens > 8192 maximum"),
        "{error}"
    );

    let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9000 tokens > 8192 maximum"}});
    let (gateway, _upstream) = over("anthropic", "", vec![Step::json(400, &anthropic)]).await;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        let mut body = hi.clone();
        if path.ends_with("responses") {
            body = json!({"model": "g", "input": "hi"});
        }
        let told = gateway.post(path, &body).await;
        assert_eq!((told.status, &told.json()["error"]["code"]), (400, &json!("context_length_exceeded")), "{path}");
    }
    let own = "model_list: [{model_name: g, litellm_params: {model: openai/gpt-4o, api_key: k, api_base: \"http://127.0.0.1:9/v1\"}, model_info: {max_input_tokens: 20}}]";
    let gateway = Gateway::start(own).await;
    let long = json!({"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "word ".repeat(120)}]});
    let told = gateway.post("/v1/messages", &long).await.json();
    assert!(told["error"]["message"].as_str().unwrap().starts_with("prompt is too long: "), "{told}");
    assert_eq!(gateway.post("/v1/chat/completions", &long).await.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn a_silent_stream_shows_signs_of_life() {
    let gates = [Gate::closed(), Gate::closed()];
    let half = OPENAI_STREAM.find("lo\"").unwrap();
    let steps = gates.each_ref().map(|gate| Step::events(OPENAI_STREAM).pause_after(half, gate));
    let upstream = ScriptedUpstream::start(steps).await;
    let config = format!(
        "model_list:\n  - {{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}}}\nwitgate: {{server: {{stream_ping_seconds: 0.01}}}}\n",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let signs =
        [("/v1/chat/completions", ": waiting\n"), ("/v1/messages", "event: ping\ndata: {\"type\": \"ping\"}\n\n")];
    for ((path, sign), gate) in signs.into_iter().zip(&gates) {
        let body =
            json!({"model": "g", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
        let mut response = gateway.open(path, &body).await;
        let mut text = String::new();
        while text.matches(sign).count() < 2 {
            text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
        }
        gate.open();
        let rest = read(response).await.text;
        assert!(rest.contains("lo"), "the reply goes on: {rest}");
    }
}

/// A call: path, headers and body.
type Call = (String, Vec<(String, String)>, Value);

/// The calls that a page shows.
fn shown(page: &str) -> Vec<Call> {
    let call = |line: &str| {
        let (address, rest) = line.strip_prefix("curl http://127.0.0.1:4000")?.split_once(' ')?;
        let (headers, body) = rest.split_once(" -d '")?;
        let header = |text: &str| text.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = headers.split('\'').filter_map(header).collect();
        Some((address.to_owned(), headers, serde_json::from_str(body.strip_suffix('\'')?).unwrap()))
    };
    page.lines().filter_map(call).collect()
}

#[tokio::test]
async fn what_the_page_on_agents_shows_works() {
    let page = include_str!("../../docs/agents.md");
    let gateway = Gateway::start(&SIMULATED.replace("model_name: g", "model_name: coder")).await;
    let calls = shown(page);
    assert_eq!(calls.len(), 5);
    for (path, headers, body) in calls {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let said = ask(&gateway, &path, &headers, &body).await;
        assert_eq!(said.status, 200, "{path}: {}", said.text);
    }
    let settings = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let settings: toml::Value = toml::from_str(settings).unwrap();
    assert_eq!(settings["model_providers"]["witgate"]["wire_api"].as_str(), Some("responses"));
}

#[tokio::test]
async fn what_claude_code_sends_beside_a_conversation_is_taken() {
    let answer = json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 2}});
    let (gateway, upstream) = over("anthropic", "", vec![Step::json(200, &answer)]).await;
    let asked = json!({"model": "g", "max_tokens": 64, "metadata": {"user_id": "user_x_session_y"},
        "system": [{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "Look", "description": "look", "input_schema": {"type": "object", "properties": {}}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "<system-reminder>x</system-reminder>"}, {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]});
    let headers =
        [("authorization", "Bearer oat-other"), ("x-api-key", "sk-gate"), ("anthropic-version", "2023-06-01")];
    let said = ask(&gateway, "/v1/messages?beta=true", &headers, &asked).await;
    assert_eq!(said.status, 200, "{}", said.text);
    let seen = &upstream.asked()[0];
    assert_eq!((&seen.body["system"], &seen.body["messages"]), (&asked["system"], &asked["messages"]));
    let told = format!("{:?}", seen.headers);
    assert!(!told.contains("oat-other") && !told.contains("sk-gate"), "the client's credentials stay here: {told}");
}

#[tokio::test]
async fn replies_tell_where_the_deployment_s_limits_stand() {
    let config = "model_list:
  - {model_name: g, litellm_params: {model: simulated/m, rpm: 5, tpm: 1000}}
  - {model_name: free, litellm_params: {model: simulated/n}}
";
    let gateway = Gateway::start(config).await;
    let ask = async |model: &str| {
        let body = json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
        gateway.post("/v1/chat/completions", &body).await
    };
    let said = ask("g").await;
    assert_eq!(said.header("x-ratelimit-limit-requests"), "5");
    assert_eq!(said.header("x-ratelimit-remaining-requests"), "4");
    assert_eq!(said.header("x-ratelimit-reset-requests"), "1m0s");
    assert_eq!(said.header("x-ratelimit-reset-tokens"), "1m0s");
    assert_eq!(said.header("x-ratelimit-limit-tokens"), "1000");
    assert!(said.header("x-ratelimit-remaining-tokens").parse::<u64>().unwrap() < 1000);
    assert_eq!(ask("free").await.header("x-ratelimit-limit-requests"), "");
}
