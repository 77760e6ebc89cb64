//! Groups whose names are patterns, and tags as a filter, against a provider that keeps what it was asked.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, read};
use crate::support::upstream::{ScriptedUpstream, Step};

fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

fn reply() -> Step {
    let message = json!({"role": "assistant", "content": "Hi"});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000});
    Step::json(200, &json!({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}))
}

#[tokio::test]
async fn a_name_that_fits_a_pattern_is_served_with_what_the_star_stands_for() {
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(reply).take(8)).await;
    let base = upstream.origin();
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{ model_name: \"openai/*\", litellm_params: {{ model: \"openai/*\", api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: wide }} }}
  - {{ model_name: \"openai/gpt-*\", litellm_params: {{ model: \"openai/gpt-*\", api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: narrow }} }}
  - {{ model_name: openai/gpt-4o-mini, litellm_params: {{ model: openai/exact, api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: exact }} }}
  - {{ model_name: \"fixed-*\", litellm_params: {{ model: openai/one, api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: fixed }} }}
router_settings: {{ model_group_alias: {{ best: openai/gpt-4o }} }}"
    ))
    .await;
    for (model, sent, deployment) in [
        ("openai/gpt-4o-mini", "exact", "exact"),
        ("openai/gpt-4o", "gpt-4o", "narrow"),
        ("openai/o9-new", "o9-new", "wide"),
        ("gpt-4o", "gpt-4o", "narrow"),
        ("best", "gpt-4o", "narrow"),
        ("fixed-anything", "one", "fixed"),
    ] {
        let answer = gateway.post("/v1/chat/completions", &hello(model)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        let asked = upstream.asked().pop().expect("a request");
        assert_eq!((asked.body["model"].as_str(), answer.header("x-witgate-deployment")), (Some(sent), deployment));
        if model == "openai/gpt-4o" {
            assert_ne!(
                answer.header("x-litellm-response-cost"),
                "",
                "the price is the filled-in model's: {:?}",
                answer.headers
            );
        }
    }
    let unknown = gateway.post("/v1/chat/completions", &hello("anthropic/claude")).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text);
    let models = gateway.get("/v1/models").await.json();
    let listed: Vec<&str> =
        models["data"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert!(
        listed.contains(&"openai/gpt-4o") && listed.contains(&"best") && !listed.iter().any(|name| name.contains('*'))
    );
    assert_eq!(gateway.get("/v1/models/openai/never-seen").await.status, 200);
}

/// What somebody gave a name of its own is not what fits a pattern.
#[tokio::test]
async fn an_alias_stands_above_a_pattern() {
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(reply).take(4)).await;
    let base = upstream.origin();
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{ model_name: \"*\", litellm_params: {{ model: \"openai/*\", api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: any }} }}
  - {{ model_name: cred, litellm_params: {{ model: openai/one, api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: cred }} }}
router_settings: {{ model_group_alias: {{ gpt-4: cred, openai/gpt-4o: {{ model: cred, hidden: true }} }} }}"
    ))
    .await;
    for (model, sent) in [("gpt-4", "one"), ("openai/gpt-4o", "one"), ("cred", "one"), ("gpt-new", "gpt-new")] {
        let answer = gateway.post("/v1/chat/completions", &hello(model)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        assert_eq!(upstream.asked().pop().expect("a request").body["model"], sent, "{model}");
    }
    let models = gateway.get("/v1/models").await.json();
    let listed: Vec<&str> =
        models["data"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert!(listed.contains(&"gpt-4") && listed.contains(&"openai/gpt-4o-mini"), "{listed:?}");
    assert!(!listed.contains(&"openai/gpt-4o"), "it is hidden");
}

/// The version that a filled-in model needs says in which header the key goes, too.
#[tokio::test]
async fn a_filled_in_model_gets_its_key_as_the_one_that_is_written_out() {
    let said = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(|| Step::json(200, &said)).take(2)).await;
    let base = upstream.origin();
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{ model_name: \"anthropic/*\", litellm_params: {{ model: \"anthropic/*\", api_base: \"{base}\", api_key: k }} }}
  - {{ model_name: written, litellm_params: {{ model: anthropic/claude-opus-4-5, api_base: \"{base}\", api_key: k }} }}"
    ))
    .await;
    for model in ["written", "anthropic/claude-opus-4-5"] {
        let answer = gateway.post("/v1/chat/completions", &hello(model)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        let headers = upstream.asked().pop().expect("a request").headers;
        assert_eq!(headers["anthropic-version"], "2023-06-01", "{model}");
        assert_eq!(headers["x-api-key"], "k", "{model}");
        assert!(!headers.contains_key("authorization"), "{model}");
    }
}

#[tokio::test]
async fn a_price_of_an_entry_with_stars_leaves_each_model_its_others() {
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(reply).take(2)).await;
    let params = format!("api_base: \"{}/v1\", api_key: k, input_cost_per_token: 0.001", upstream.origin());
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{ model_name: \"openai/*\", litellm_params: {{ model: \"openai/*\", {params} }} }}
  - {{ model_name: written, litellm_params: {{ model: openai/gpt-4o-mini, {params} }} }}"
    ))
    .await;
    for model in ["written", "openai/gpt-4o-mini"] {
        let answer = gateway.post("/v1/chat/completions", &hello(model)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        assert_eq!(answer.header("x-litellm-response-cost"), "1.0006", "{model}");
    }
}

#[tokio::test]
async fn names_that_clients_think_of_make_no_series() {
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(reply).take(400)).await;
    let base = upstream.origin();
    let gateway = Gateway::start(&format!(
        "model_list: [{{ model_name: \"x/*\", litellm_params: {{ model: \"openai/*\", api_base: \"{base}/v1\", api_key: k }}, model_info: {{ id: one }} }}]"
    ))
    .await;
    let lines = |gateway: &Gateway| gateway.app.metrics.render(Vec::new()).expect("metrics").lines().count();
    gateway.post("/v1/chat/completions", &hello("x/first")).await;
    gateway.post("/v1/chat/completions", &hello("y/first")).await;
    let before = lines(&gateway);
    // More than are kept filled in.
    for number in 0..300 {
        assert_eq!(gateway.post("/v1/chat/completions", &hello(&format!("x/m-{number}"))).await.status, 200);
        assert_eq!(gateway.post("/v1/chat/completions", &hello(&format!("y/m-{number}"))).await.status, 404);
    }
    assert_eq!(lines(&gateway), before);
}

#[tokio::test]
async fn tags_choose_among_deployments_where_they_filter() {
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(reply).take(20)).await;
    let base = upstream.origin();
    let one = |id: &str, tags: &str| {
        format!(
            "  - {{ model_name: g, litellm_params: {{ model: openai/{id}, api_base: \"{base}/v1\", api_key: k, tags: [{tags}] }}, model_info: {{ id: {id} }} }}\n"
        )
    };
    let list = one("free", "free") + &one("paid", "paid, eu") + &one("rest", "default");
    let gateway =
        Gateway::start(&format!("model_list:\n{list}router_settings: {{ enable_tag_filtering: true }}")).await;
    let ask = async |tags: Value, header: &str| {
        let mut body = hello("g");
        body["metadata"] = json!({"tags": tags});
        let request = gateway
            .client
            .post(format!("{}/v1/chat/completions", gateway.url))
            .header("content-type", "application/json");
        let request = if header.is_empty() { request } else { request.header("x-litellm-tags", header) };
        let answer = read(request.body(body.to_string()).send().await.expect("an answer")).await;
        (answer.status, answer.header("x-witgate-deployment").to_owned())
    };
    for _ in 0..4 {
        assert_eq!(ask(json!(["free"]), "").await, (200, "free".to_owned()));
        assert_eq!(ask(json!([]), "paid, unheard-of").await, (200, "paid".to_owned()));
        assert_eq!(ask(json!([]), "").await, (200, "rest".to_owned()));
    }
    assert_eq!(ask(json!(["free"]), "!free").await.0, 400);
    assert!(upstream.asked().iter().all(|asked| asked.body.get("metadata").is_none()), "tags are the gateway's");
}

/// A name that somebody made up is no fault of the entry that serves all others.
#[tokio::test]
async fn a_model_that_the_provider_lacks_opens_no_breaker() {
    let unknown = json!({"error": {"message": "The model does not exist", "type": "invalid_request_error", "code": "model_not_found"}});
    let upstream = ScriptedUpstream::start([Step::json(404, &unknown), reply()]).await;
    let config = format!(
        "model_list: [{{model_name: \"x/*\", litellm_params: {{model: \"openai/*\", api_base: \"{}/v1\", api_key: k}}}}]\nrouter_settings: {{num_retries: 0, cooldown_time: 60}}\n",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let made_up = gateway.post("/v1/chat/completions", &hello("x/nobody")).await;
    assert_eq!(made_up.status, 502, "{}", made_up.text);
    assert_eq!(gateway.post("/v1/chat/completions", &hello("x/real")).await.status, 200);
}

#[tokio::test]
async fn a_filled_in_model_is_asked_as_that_model_is() {
    let upstream = ScriptedUpstream::start(std::iter::repeat_with(reply).take(4)).await;
    let base = upstream.origin();
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{ model_name: \"openai/*\", litellm_params: {{ model: \"openai/*\", api_base: \"{base}/v1\", api_key: k }} }}
  - {{ model_name: \"gemini/*\", litellm_params: {{ model: \"gemini/*\", api_base: \"{base}/v1beta\", api_key: k }} }}
router_settings: {{ num_retries: 0 }}"
    ))
    .await;
    for (model, sent) in [("openai/gpt-4o", "max_tokens"), ("openai/gpt-5-mini", "max_completion_tokens")] {
        let mut body = hello(model);
        body["max_tokens"] = json!(9);
        let answer = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        let asked = upstream.asked().pop().expect("a request");
        assert_eq!(asked.body[sent], 9, "{model}: {}", asked.body);
    }
    // What a star stands for may not lead anywhere but to a model.
    for model in ["gemini/../cachedContents", "gemini/a/../../files"] {
        let answer = gateway.post("/v1/chat/completions", &hello(model)).await;
        assert_eq!(answer.status, 400, "{model}: {}", answer.text);
        assert_eq!(answer.json()["error"]["param"], "model", "{model}: {}", answer.text);
    }
    let answer = gateway.post("/v1/chat/completions", &hello("gemini/m:countTokens?a=1#")).await;
    assert_ne!(answer.status, 200, "the script answers in another's words: {}", answer.text);
    let asked = upstream.asked().pop().expect("a request");
    assert_eq!(asked.path, "/v1beta/models/m%3AcountTokens%3Fa%3D1%23:generateContent");
    assert_eq!(upstream.count(), 3);
}

/// What a star stands for may say by which API, in which region and by which of a cloud's formats it is asked, as a model that is written may.
#[tokio::test]
async fn a_name_that_fills_a_star_says_how_and_where_its_model_is_asked() {
    let usage = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2});
    let claude = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": usage});
    let said = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Hello", "annotations": []}]});
    let response = json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
        "output": [said], "usage": usage});
    let converse = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}});
    let steps = [&claude, &response, &converse, &converse].map(|body| Step::json(200, body));
    let upstream = ScriptedUpstream::start(steps.into_iter().chain([reply(), reply()])).await;
    let base = upstream.origin();
    let gateway = Gateway::start(&format!(
        "model_list:
  - {{ model_name: \"azure_ai/*\", litellm_params: {{ model: \"azure_ai/*\", api_base: \"{base}/base\", api_key: k }} }}
  - {{ model_name: \"openai/*\", litellm_params: {{ model: \"openai/*\", api_base: \"{base}/v1\", api_key: k }} }}
  - {{ model_name: \"bedrock/*\", litellm_params: {{ model: \"bedrock/*\", api_base: \"{base}\", aws_region_name: eu-west-1, aws_access_key_id: AKID, aws_secret_access_key: s }} }}
  - {{ model_name: \"azure/*\", litellm_params: {{ model: \"azure/*\", api_base: \"{base}\", api_key: k, api_version: \"2024-10-21\" }} }}
router_settings: {{ num_retries: 0 }}"
    ))
    .await;
    let converse_path = "/model/amazon.nova-lite-v1%3A0/converse";
    for (model, path, header, value) in [
        ("azure_ai/claude-sonnet-4-5", "/base/anthropic/v1/messages", "x-api-key", "k"),
        ("openai/responses/gpt-4.1", "/v1/responses", "authorization", "Bearer k"),
        ("bedrock/us-west-1/amazon.nova-lite-v1:0", converse_path, "authorization", "/us-west-1/bedrock/"),
        ("bedrock/invoke/amazon.nova-lite-v1:0", converse_path, "authorization", "/eu-west-1/bedrock/"),
        ("azure_ai/gpt-4o", "/base/chat/completions", "authorization", "Bearer k"),
        ("azure/mine", "/openai/deployments/mine/chat/completions?api-version=2024-10-21", "api-key", "k"),
    ] {
        let answer = gateway.post("/v1/chat/completions", &hello(model)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text);
        let asked = upstream.asked().pop().expect("a request");
        assert_eq!(asked.path, path, "{model}");
        let told = asked.headers[header].to_str().expect("text");
        assert!(told.contains(value), "{model}: {told}");
    }
    // No deployment has a name with a slash, no other API of Bedrock's is spoken, and it is in no such region.
    for model in ["azure/a/b", "bedrock/mantle/openai.gpt-oss-120b", "bedrock/us-moon-9/amazon.nova-lite-v1:0"] {
        assert_eq!(gateway.post("/v1/chat/completions", &hello(model)).await.status, 404, "{model}");
    }
}
