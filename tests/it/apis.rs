//! What clients may ask beside chats and messages: embeddings, the older completions, the paths and keys of other vendors' SDKs.

use base64::Engine;
use serde_json::{Value, json};

use crate::chat::{OPENAI_STREAM, openai_reply};
use crate::support::gateway::{Gateway, Reply, read};
use crate::support::upstream::{ScriptedUpstream, Step};

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
    let said = gateway.post("/v1/embeddings", &asked).await.json();
    assert_eq!(said["data"][0]["embedding"], "AACAPwAAAEA=", "the provider's order is by index: {said}");
    assert_eq!(said["model"], "m-1");
    let seen = &upstream.asked()[0];
    assert_eq!(seen.path, "/v1/embeddings");
    assert_eq!(
        seen.body,
        json!({"model": "m", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64", "user": "u"})
    );

    let answer = json!({"embeddings": [{"values": [0.5, 0.25]}]});
    let (gateway, upstream) = over("gemini", "/v1beta", vec![Step::json(200, &answer)]).await;
    let said = gateway.post("/v1/embeddings", &json!({"model": "g", "input": "a", "dimensions": 2})).await.json();
    assert_eq!((&said["data"][0]["embedding"], &said["model"]), (&json!([0.5, 0.25]), &json!("m")));
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
    let (gateway, upstream) =
        over("openai", "/v1", vec![Step::json(200, &openai_reply("Hello")), Step::events(OPENAI_STREAM)]).await;
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
    let text: String = parsed.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!((text.as_str(), &parsed.last().unwrap()["usage"]["total_tokens"]), ("Hello", &json!(11)));
    for (name, value) in [
        ("suffix", json!("x")),
        ("echo", json!(true)),
        ("logprobs", json!(2)),
        ("best_of", json!(3)),
        ("prompt", json!(["a", "b"])),
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
}
