//! Both client APIs over both providers, as clients see them: replies, streams, errors, endings.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, read};
use crate::support::until;
use crate::support::upstream::{Gate, ScriptedUpstream, Step};

pub(crate) const OPENAI_STREAM: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n\
data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n\
data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":null}]}\n\n\
data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n\
data: [DONE]\n\n";

const ANTHROPIC_STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n\
event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n\
event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo\"}}\n\n\
event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":2}}\n\n\
event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

pub(crate) fn openai_reply(text: &str) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}})
}

pub(crate) fn anthropic_reply(text: &str) -> Value {
    json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 2}})
}

const GEMINI_STREAM: &str = "\
data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hel\"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\",\"responseId\":\"r1\"}\r\n\r\n\
data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"lo\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":2},\"modelVersion\":\"m\",\"responseId\":\"r1\"}\r\n\r\n";

pub(crate) fn gemini_reply(text: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}, "modelVersion": "m", "responseId": "r1"})
}

/// A configuration whose group `g` has these deployments, `id: provider at origin`, and our retries.
fn config(deployments: &[(&str, &str, &str)]) -> String {
    let entry = |(id, provider, origin): &(&str, &str, &str)| {
        let base = match *provider {
            "openai" => format!("{origin}/v1"),
            "gemini" => format!("{origin}/v1beta"),
            _ => (*origin).to_owned(),
        };
        format!(
            "  - model_name: g\n    litellm_params: {{model: {provider}/m, api_base: \"{base}\", api_key: sk-very-secret, order: 1}}\n    model_info: {{id: {id}}}\n"
        )
    };
    let list = deployments.iter().map(entry).collect::<Vec<_>>().concat();
    // least-busy takes the first of equals, so the order of attempts is the order above.
    format!("model_list:\n{list}router_settings: {{routing_strategy: least-busy, num_retries: 2, cooldown_time: 0}}\n")
}

fn request(api: &str, stream: bool) -> (&'static str, Value) {
    let mut body = json!({"model": "g", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    if stream {
        body["stream"] = json!(true);
    }
    (if api == "openai" { "/v1/chat/completions" } else { "/v1/messages" }, body)
}

#[tokio::test]
async fn every_api_reaches_every_provider_plain_and_streamed() {
    for provider in ["openai", "anthropic", "gemini"] {
        let (whole, streamed) = match provider {
            "openai" => (openai_reply("Hello"), OPENAI_STREAM),
            "gemini" => (gemini_reply("Hello"), GEMINI_STREAM),
            _ => (anthropic_reply("Hello"), ANTHROPIC_STREAM),
        };
        for api in ["openai", "anthropic"] {
            let upstream = ScriptedUpstream::start([Step::json(200, &whole), Step::events(streamed)]).await;
            let gateway = Gateway::start(&config(&[("one", provider, &upstream.origin())])).await;
            let (path, body) = request(api, false);
            let answer = gateway.post(path, &body).await;
            assert_eq!(answer.status, 200, "{api} over {provider}: {}", answer.text);
            let reply = answer.json();
            let (text, input) = match api {
                "openai" => (&reply["choices"][0]["message"]["content"], &reply["usage"]["prompt_tokens"]),
                _ => (&reply["content"][0]["text"], &reply["usage"]["input_tokens"]),
            };
            assert_eq!((text, input), (&json!("Hello"), &json!(9)), "{api} over {provider}");
            assert!(answer.header("x-witgate-policy").starts_with("least-busy@"), "{:?}", answer.headers);
            assert_eq!(answer.header("x-witgate-deployment"), "one");
            let (path, body) = request(api, true);
            let answer = gateway.post(path, &body).await;
            assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
            let text: String = answer.events().iter().map(|event| delta(api, event)).collect();
            assert_eq!(text, "Hello", "{api} over {provider}: {}", answer.text);
            let last = if api == "openai" { "[DONE]" } else { "{\"type\":\"message_stop\"}" };
            assert_eq!(answer.events().last().map(String::as_str), Some(last), "{}", answer.text);
            until("both records written", || gateway.metric("witgate_under_way") == Some(0.0)).await;
            if provider == "gemini" {
                let asked = upstream.asked();
                let paths: Vec<&str> = asked.iter().map(|one| one.path.as_str()).collect();
                let expected = ["/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent?alt=sse"];
                assert_eq!(paths, expected);
                assert_eq!(asked[0].headers["x-goog-api-key"], "sk-very-secret");
            }
        }
    }
}

fn delta(api: &str, event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = if api == "openai" { &event["choices"][0]["delta"]["content"] } else { &event["delta"]["text"] };
    text.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn another_deployment_takes_over_before_the_first_content() {
    let broken = ScriptedUpstream::start([Step::openai_broken(500), Step::events(OPENAI_STREAM).cut_after(200)]).await;
    let sound = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello")), Step::events(OPENAI_STREAM)]).await;
    let gateway = Gateway::start(&config(&[("a", "openai", &broken.origin()), ("b", "openai", &sound.origin())])).await;
    for stream in [false, true] {
        let (path, body) = request("openai", stream);
        let answer = gateway.post(path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-witgate-deployment"), "b");
        assert_eq!(answer.header("x-witgate-attempts"), "2");
        assert_eq!(answer.text.matches("assistant").count(), 1, "one beginning only: {}", answer.text);
    }
    assert_eq!((broken.count(), sound.count()), (2, 2));
}

#[tokio::test]
async fn after_the_first_content_a_fault_is_an_error_event_in_the_callers_words() {
    let two = OPENAI_STREAM.find("lo\"").expect("the second piece");
    let last = OPENAI_STREAM.find("\"delta\":{}").and_then(|at| OPENAI_STREAM[..at].rfind("data: "));
    let unfinished = &OPENAI_STREAM[..last.expect("the chunk with the reason")];
    for step in [Step::events(OPENAI_STREAM).cut_after(two), Step::events(unfinished)] {
        let broken = ScriptedUpstream::start([step]).await;
        let sound = ScriptedUpstream::start([Step::events(OPENAI_STREAM)]).await;
        let gateway =
            Gateway::start(&config(&[("a", "openai", &broken.origin()), ("b", "openai", &sound.origin())])).await;
        let (path, body) = request("openai", true);
        let answer = gateway.post(path, &body).await;
        assert!(!answer.text.contains("[DONE]"), "never a quiet end: {}", answer.text);
        assert!(answer.events().last().is_some_and(|last| last.starts_with("{\"error\"")), "{}", answer.text);
        let (path, body) = request("anthropic", true);
        let answer = gateway.post(path, &body).await;
        assert!(!answer.text.contains("message_stop"), "{}", answer.text);
        assert!(answer.text.contains("event: error\ndata: {\"type\":\"error\""), "{}", answer.text);
        let asked = json!({"model": "g", "stream": true, "input": "Hi", "prompt": "Hi", "contents": [{"parts": [{"text": "Hi"}]}]});
        let of = |names: &[&str]| -> Value {
            names
                .iter()
                .map(|name| ((*name).to_owned(), asked[*name].clone()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        for (path, body, fault, end) in [
            ("/v1/responses", of(&["model", "stream", "input"]), "\"response.failed\"", "response.completed"),
            ("/v1/completions", of(&["model", "stream", "prompt"]), "{\"error\"", "[DONE]"),
            ("/v1beta/models/g:streamGenerateContent?alt=sse", of(&["contents"]), "{\"error\"", "\"STOP\""),
        ] {
            let answer = gateway.post(path, &body).await;
            assert!(answer.text.contains("Hel") && answer.text.contains(fault), "{path}: {}", answer.text);
            assert!(!answer.text.contains(end), "{path}: {}", answer.text);
        }
        assert_eq!(sound.count(), 0, "nobody takes over once content was sent");
        until("all broken", || {
            gateway.metric("witgate_attempts_total{deployment=\"a\",provider=\"openai\",fault=\"broken-stream\"}")
                == Some(5.0)
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call_and_is_recorded() {
    let held = Gate::closed();
    let first = OPENAI_STREAM.find("lo\"").expect("the second piece");
    let upstream = ScriptedUpstream::start([Step::events(OPENAI_STREAM).hang_after(first), Step::silent()]).await;
    let gateway = Gateway::start(&config(&[("one", "openai", &upstream.origin())])).await;
    let (path, body) = request("openai", true);
    let mut response = gateway.open(path, &body).await;
    let mut text = String::new();
    while !text.contains("Hel") {
        let piece = response.chunk().await.expect("a piece").expect("more");
        text.push_str(std::str::from_utf8(&piece).expect("text"));
    }
    drop(response);
    upstream.until_cancelled(1).await;
    let (path, body) = request("openai", false);
    let call = tokio::spawn(
        gateway
            .client
            .post(format!("{}{path}", gateway.url))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send(),
    );
    upstream.until_asked(2).await;
    call.abort();
    upstream.until_cancelled(2).await;
    until("both recorded", || {
        gateway.metric("witgate_requests_total{group=\"g\",api=\"openai\",ending=\"cancelled\",status=\"499\"}")
            == Some(2.0)
    })
    .await;
    assert_eq!(gateway.metric("witgate_under_way"), Some(0.0));
    held.open();
}

#[tokio::test]
async fn refusals_say_what_and_where_in_the_callers_dialect() {
    let quoting = json!({"error": {"message": "Incorrect API key provided: sk-very-secret", "type": "invalid_request_error", "param": "x", "code": "bad"}});
    let upstream = ScriptedUpstream::start([Step::json(400, &quoting)]).await;
    let config = format!(
        "{}general_settings: {{master_key: sk-master, max_request_size_mb: 1}}\n",
        config(&[("one", "openai", &upstream.origin())])
    );
    let gateway = Gateway::start(&config).await;
    let send = |path: &str, key: &str, kind: &str, body: String| {
        let request = gateway.client.post(format!("{}{path}", gateway.url)).header("content-type", kind);
        let request = if key.is_empty() { request } else { request.header("x-api-key", key) };
        async { read(request.body(body).send().await.expect("an answer")).await }
    };
    let sound = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let unknown = sound.replace("\"g\"", "\"nobody\"");
    let cases = [
        ("/v1/chat/completions", "", "application/json", sound.clone(), 401, "no API key"),
        ("/v1/chat/completions", "wrong", "application/json", sound.clone(), 401, "not known"),
        (
            "/v1/chat/completions",
            "sk-master",
            "application/x-www-form-urlencoded",
            sound.clone(),
            400,
            "application/json",
        ),
        // Who has shown a key need not say what is seen.
        ("/v1/chat/completions", "sk-master", "text/plain", sound.clone(), 400, "Incorrect API key"),
        (
            "/v1/chat/completions",
            "sk-master",
            "application/json",
            "{\"model\": \"g\",\n  oops}".to_owned(),
            400,
            "line 2, column 3",
        ),
        ("/v1/chat/completions", "sk-master", "application/json", unknown.clone(), 404, "nobody"),
        ("/v1/messages", "sk-master", "application/json", unknown, 404, "nobody"),
        (
            "/v1/chat/completions",
            "sk-master",
            "application/json",
            format!("{sound}{}", " ".repeat(2 << 20)),
            413,
            "larger than",
        ),
        ("/v1/chat/completions", "sk-master", "application/json", sound.clone(), 400, "Incorrect API key"),
        ("/v1/messages", "sk-master", "application/json", sound, 400, "Incorrect API key"),
        ("/v1/nothing", "sk-master", "application/json", String::new(), 404, "/v1/nothing"),
    ];
    for (path, key, kind, body, status, words) in cases {
        let answer = send(path, key, kind, body).await;
        let error = &answer.json()["error"];
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{path}: {}", answer.text);
        assert!(!answer.text.contains("sk-very-secret"), "{}", answer.text);
        assert_eq!(answer.json()["type"] == "error", path == "/v1/messages", "{}", answer.text);
    }
    let get = gateway.client.get(format!("{}/v1/chat/completions", gateway.url));
    let wrong_method = get.bearer_auth("sk-master").send().await.expect("an answer");
    assert_eq!(
        (wrong_method.status().as_u16(), &wrong_method.headers()["allow"]),
        (405, &HeaderValue::from_static("POST"))
    );
}

#[tokio::test]
async fn no_part_of_a_key_comes_back_from_a_provider() {
    let page = |before: usize| {
        format!("<html>\n{}<p>Unknown key: sk-very-secret or {}", "word ".repeat(before), "word ".repeat(99))
    };
    let error = json!({"error": {"message": "the key sk-very-secret, sent as sk-header-secret to ?k=sk-query-secret, was revoked",
        "type": "invalid_request_error", "code": "sk-very-secret"}});
    // As providers mask keys themselves.
    let masked = ["sk-v**et", "sk-very...", "sk-…cret", "'*****cret'", "sk-h***et"];
    let masked =
        masked.map(|key| Step::json(400, &json!({"error": {"message": format!("Incorrect key: {key}. See there")}})));
    // Cut where the key stands, if it were cut before the key was looked for.
    let long = json!({"error": {"message": format!("{}sk-very-secret{}", "é".repeat(2044), "y".repeat(99_999))}});
    let event = format!("data: {error}\n\n");
    let begun = OPENAI_STREAM.split_inclusive("\n\n").take(2).collect::<String>();
    let gate = Gate::closed();
    // Wherever the page is cut; before a reply has begun; after it.
    let pages = (30..45).map(|before| Step::bytes(400, "text/html", page(before)));
    let mut steps: Vec<Step> =
        pages.chain(masked).chain([Step::json(400, &long), Step::events(event.clone())]).collect();
    let count = steps.len();
    steps.push(Step::events(format!("{begun}{event}")).pause_after(begun.len(), &gate));
    let upstream = ScriptedUpstream::start(steps).await;
    let config = config(&[("one", "openai", &upstream.origin())]).replace(
        "api_key: sk-very-secret",
        "api_key: sk-very-secret, extra_headers: {x-other: Token sk-header-secret}, extra_query: {k: sk-query-secret}",
    );
    let gateway = Gateway::start(&config).await;
    for index in 0..count {
        let (path, body) = request("openai", index + 1 == count);
        let answer = gateway.post(path, &body).await;
        assert_eq!(answer.status, 400, "{index}: {}", answer.text);
        assert!(!answer.text.contains("sk-") && !answer.text.contains("cret"), "{index}: {}", answer.text);
        assert!(answer.text.len() < 5000, "{index}: {} bytes", answer.text.len());
    }
    let (path, body) = request("openai", true);
    let response = gateway.open(path, &body).await;
    assert_eq!(response.status(), 200, "it has begun");
    gate.open();
    let answer = read(response).await;
    assert!(answer.text.contains("Hel") && answer.text.contains("the key ***, sent as ***"), "{}", answer.text);
    assert!(!answer.text.contains("sk-"), "{}", answer.text);
}

#[tokio::test]
async fn a_web_page_cannot_spend_the_keys() {
    let gateway =
        Gateway::start("model_list:\n  - model_name: g\n    litellm_params: {model: simulated/talker}\n").await;
    let (path, body) = request("openai", false);
    let url = format!("{}{path}", gateway.url);
    let rebound = gateway
        .client
        .post(&url)
        .header("host", "evil.example:4000")
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("sent");
    assert_eq!(read(rebound).await.status, 403);
    let foreign = gateway
        .client
        .post(&url)
        .header("origin", "https://evil.example")
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("sent");
    let foreign = read(foreign).await;
    assert_eq!(foreign.status, 403);
    assert_eq!(foreign.headers.get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn machines_learn_models_health_and_metrics() {
    let gateway =
        Gateway::start("model_list:\n  - model_name: g\n    litellm_params: {model: simulated/talker}\n").await;
    assert_eq!(gateway.get("/v1/models").await.json()["data"][0]["id"], "g");
    assert_eq!(gateway.get("/health/liveliness").await.json(), json!("I'm alive!"));
    assert_eq!(gateway.get("/health/readiness").await.json()["status"], "healthy");
    let metrics = gateway.get("/metrics").await;
    assert!(metrics.text.contains("witgate_generation 1"), "{}", metrics.text);
    assert!(metrics.text.contains("\nwitgate_log_lines_dropped_total 0\n"), "{}", metrics.text);
    assert!(metrics.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn stopping_lets_a_stream_finish() {
    let gate = Gate::closed();
    let first = OPENAI_STREAM.find("lo\"").expect("the second piece");
    let upstream = ScriptedUpstream::start([Step::events(OPENAI_STREAM).pause_after(first, &gate)]).await;
    let mut gateway = Gateway::start(&config(&[("one", "openai", &upstream.origin())])).await;
    let (path, body) = request("openai", true);
    let response = gateway.open(path, &body).await;
    gateway.begin_to_stop();
    until("draining", || gateway.app.draining.load(std::sync::atomic::Ordering::Acquire)).await;
    gate.open();
    let answer = read(response).await;
    assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
    gateway.drain().await;
}

#[tokio::test]
async fn a_request_cannot_say_where_it_goes_or_with_which_key() {
    let gateway =
        Gateway::start("model_list:\n  - model_name: g\n    litellm_params: {model: simulated/talker}\n").await;
    let said = json!({"model": "g", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    let contents = json!({"contents": [{"parts": [{"text": "Hi"}]}]});
    let content = json!({"content": {"parts": [{"text": "Hi"}]}});
    let apis = [
        ("/v1/chat/completions", said.clone()),
        ("/v1/messages", said.clone()),
        ("/v1/messages/count_tokens", said),
        ("/v1/completions", json!({"model": "g", "prompt": "Hi"})),
        ("/v1/responses", json!({"model": "g", "input": "Hi"})),
        ("/v1/embeddings", json!({"model": "g", "input": "Hi"})),
        ("/v1beta/models/g:generateContent", contents.clone()),
        ("/v1beta/models/g:streamGenerateContent", contents.clone()),
        ("/v1beta/models/g:countTokens", json!({"generateContentRequest": contents})),
        ("/v1beta/models/g:embedContent", content.clone()),
        ("/v1beta/models/g:batchEmbedContents", json!({"requests": [content]})),
    ];
    for (path, plain) in apis {
        for field in [
            "api_base",
            "apiKey",
            "API-Key",
            "base_url",
            "baseUrl",
            "extra_headers",
            "mock_response",
            "userConfig",
            "aws_region_name",
            "vertex_credentials",
            "vertexCredentials",
        ] {
            let mut plainly = plain.clone();
            plainly[field] = json!("x");
            let mut wrapped = plain.clone();
            wrapped["extra_body"] = json!({field: "x"});
            for body in [plainly, wrapped] {
                let answer = gateway.post(path, &body).await;
                assert_eq!(answer.status, 400, "{path} {field}: {}", answer.text);
                assert!(answer.text.contains("` cannot be set by a request"), "{path} {field}: {}", answer.text);
            }
        }
    }
    let (path, mut body) = request("openai", false);
    body["logit_bias"] = json!({});
    assert_eq!(gateway.post(path, &body).await.status, 200, "what a provider takes is no business of ours");
}

#[tokio::test]
async fn a_service_account_is_exchanged_for_a_token_that_goes_with_each_request() {
    let token = json!({"access_token": "very-secret-token", "expires_in": 3600, "token_type": "Bearer"});
    let tokens = ScriptedUpstream::start([Step::json(200, &token)]).await;
    let reply = gemini_reply("Hello");
    let upstream = ScriptedUpstream::start([Step::json(200, &reply), Step::json(200, &reply)]).await;
    let account = include_str!("../fixtures/google/service-account.json");
    let account = account.replace("https://oauth2.googleapis.com/token", &format!("{}/token", tokens.origin()));
    let config = format!(
        "model_list:\n- model_name: g\n  litellm_params: {{model: vertex_ai/gemini-2.5-flash, api_base: \"{}/v1\", vertex_credentials: {}}}\n",
        upstream.origin(),
        json!(account)
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..2 {
        let answer = gateway.post("/v1/chat/completions", &request("openai", false).1).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(tokens.asked().len(), 1, "one token for both");
    for asked in upstream.asked() {
        let place = "/v1/projects/test-project/locations/us-central1/publishers/google";
        assert_eq!(asked.path, format!("{place}/models/gemini-2.5-flash:generateContent"));
        assert_eq!(asked.headers["authorization"], "Bearer very-secret-token");
        assert!(!asked.headers.contains_key("x-goog-api-key"));
    }
}

#[tokio::test]
async fn a_whole_reply_says_what_it_cost_where_the_price_is_known() {
    for (model, cost) in [("openai/gpt-4o", Some("0.0000425")), ("openai/nobodys-model", None)] {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
        let config = format!(
            "model_list: [{{model_name: g, litellm_params: {{model: {model}, api_base: \"{}/v1\", api_key: sk-x}}}}]\n",
            upstream.origin()
        );
        let gateway = Gateway::start(&config).await;
        let answer = gateway.post("/v1/chat/completions", &request("openai", false).1).await;
        let told = answer.headers.get("x-litellm-response-cost").map(|value| value.to_str().expect("text"));
        assert_eq!((answer.status, told), (200, cost), "{model}");
        assert_eq!(answer.header("x-litellm-attempted-retries"), "0");
        assert!(!answer.header("x-litellm-call-id").is_empty());
    }
}
