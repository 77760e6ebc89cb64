//! What requests cost, as clients are told it and as the ledger keeps it.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, read};
use crate::support::until;
use crate::support::upstream::{ScriptedUpstream, Step};

/// One simulated model at two and four dollars a million, cached tokens at a tenth.
const CONFIG: &str = "model_list:
  - model_name: g
    litellm_params: {model: simulated/m, input_cost_per_token: 0.000002, output_cost_per_token: 0.000004}
    model_info: {id: one}
";

/// What the tokens of a usage object cost.
fn expected(usage: &Value) -> f64 {
    let count = |name: &str| f64::from(u32::try_from(usage[name].as_u64().expect("a count")).expect("few tokens"));
    count("prompt_tokens") * 2e-6 + count("completion_tokens") * 4e-6
}

fn near(told: f64, expected: f64) -> bool {
    (told - expected).abs() <= expected * 0.01
}

#[tokio::test]
async fn whole_replies_say_their_cost_in_headers_and_streams_in_their_last_usage() {
    let gateway = Gateway::start(CONFIG).await;
    let mut body = json!({"model": "g", "messages": [{"role": "user", "content": "Hello there"}]});
    let whole = gateway.post("/v1/chat/completions", &body).await;
    let told = |name: &str| whole.header(name).parse::<f64>().expect("dollars");
    let usage = &whole.json()["usage"];
    assert!(near(told("x-litellm-response-cost"), expected(usage)), "{usage}");
    let parts = told("x-litellm-response-cost-input") + told("x-litellm-response-cost-output");
    assert!(near(parts, expected(usage)) && usage.get("cost").is_none(), "{usage}");

    // What the comment tells belongs to the last event: a comment that stands alone is an event without data to some clients.
    body["stream"] = json!(true);
    let silent = gateway.post("/v1/chat/completions", &body).await;
    assert!(!silent.text.contains("\"cost\""), "{}", silent.text);
    let (before, told) = silent.text.split_once("\n\n: x-litellm-response-cost: ").expect("a comment");
    let told = told.strip_suffix("\ndata: [DONE]\n\n").expect("nothing between it and the end").parse::<f64>();
    assert!(before.contains("\"finish_reason\":\"stop\""), "{before}");
    body["stream_options"] = json!({"include_usage": true});
    let streamed = gateway.post("/v1/chat/completions", &body).await;
    let events = streamed.events();
    let last: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
    let cost = last["usage"]["cost"].as_f64().expect("a cost");
    assert!(near(cost, expected(&last["usage"])) && told == Ok(cost), "{last}");
    assert_eq!(streamed.text.matches(": x-litellm-response-cost: ").count(), 1);

    // Two prompts are two requests, and one stream that tells what both cost.
    let prompts = json!({"model": "g", "prompt": ["One", "And two"], "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true}});
    let streamed = gateway.post("/v1/completions", &prompts).await;
    let events = streamed.events();
    let last: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
    let (_, told) = streamed.text.split_once("\n\n: x-litellm-response-cost: ").expect("a comment");
    let told: f64 = told.strip_suffix("\ndata: [DONE]\n\n").expect("the end").parse().expect("dollars");
    assert!(
        near(told, expected(&last["usage"])) && near(told, last["usage"]["cost"].as_f64().expect("a cost")),
        "{last}"
    );
    let prompts = json!({"model": "g", "prompt": ["One", "And two"], "max_tokens": 9});
    let whole = gateway.post("/v1/completions", &prompts).await;
    let told = |name: &str| whole.header(name).parse::<f64>().expect("dollars");
    let usage = &whole.json()["usage"];
    assert!(near(told("x-litellm-response-cost"), expected(usage)), "{usage}");
    let parts = told("x-litellm-response-cost-input") + told("x-litellm-response-cost-output");
    assert!(near(parts, expected(usage)), "{usage}");
}

/// A model that makes vectors has no other price than that of its input; so it is where a model that chats has one alone.
#[tokio::test]
async fn a_price_of_one_side_alone_leaves_the_other_free() {
    let config = CONFIG.replace(", output_cost_per_token: 0.000004", "");
    assert_ne!(config, CONFIG);
    let gateway = Gateway::start(&config).await;
    let chat = json!({"model": "g", "messages": [{"role": "user", "content": "Hello there"}]});
    let vectors = json!({"model": "g", "input": "Hello there"});
    for (path, body) in [("/v1/chat/completions", chat), ("/v1/embeddings", vectors)] {
        let reply = gateway.post(path, &body).await;
        let input = json!({"prompt_tokens": reply.json()["usage"]["prompt_tokens"], "completion_tokens": 0});
        let told = reply.header("x-litellm-response-cost").parse::<f64>().expect("dollars");
        assert!(told > 0.0 && near(told, expected(&input)), "{path}: {told}, {}", reply.text);
    }
}

#[tokio::test]
async fn streams_of_every_client_api_say_what_they_cost_in_their_last_usage() {
    let gateway = Gateway::start(CONFIG).await;
    let say = json!([{"role": "user", "content": "Hello there"}]);
    let contents = json!([{"role": "user", "parts": [{"text": "Hello there"}]}]);
    let gemini = json!({"contents": contents, "generationConfig": {"maxOutputTokens": 20}});
    let cases = [
        (
            "/v1/messages",
            json!({"model": "g", "max_tokens": 20, "stream": true, "messages": say}),
            ["/usage", "/input_tokens", "/output_tokens"],
        ),
        (
            "/v1/responses",
            json!({"model": "g", "max_output_tokens": 20, "stream": true, "input": "Hello there"}),
            ["/response/usage", "/input_tokens", "/output_tokens"],
        ),
        (
            "/v1beta/models/g:streamGenerateContent?alt=sse",
            gemini.clone(),
            ["/usageMetadata", "/promptTokenCount", "/candidatesTokenCount"],
        ),
        (
            "/v1beta/models/g:streamGenerateContent",
            gemini,
            ["/usageMetadata", "/promptTokenCount", "/candidatesTokenCount"],
        ),
    ];
    for (path, body, [usage, input, output]) in cases {
        let streamed = gateway.post(path, &body).await;
        let events: Vec<Value> = match serde_json::from_str(&streamed.text) {
            Ok(Value::Array(events)) => events,
            _ => streamed.events().iter().map(|event| serde_json::from_str(event).expect("JSON")).collect(),
        };
        let told: Vec<&Value> =
            events.iter().filter(|event| event.pointer(&format!("{usage}/cost")).is_some()).collect();
        assert_eq!(told.len(), 1, "{path}: {}", streamed.text);
        let usage = told[0].pointer(usage).expect("usage");
        let count = |name: &str| usage.pointer(name).and_then(Value::as_u64).expect("a count");
        let tokens = json!({"prompt_tokens": count(input), "completion_tokens": count(output)});
        assert!(near(usage["cost"].as_f64().expect("a cost"), expected(&tokens)), "{path}: {usage}");
        assert!(!streamed.text.contains("x-litellm-response-cost"), "{path}: {}", streamed.text);
    }
}

#[tokio::test]
async fn what_was_spent_is_kept_and_asked_for_in_litellm_s_shapes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.db");
    let own = format!(
        "general_settings: {{master_key: sk-master}}\nwitgate: {{admin_key: sk-admin, ledger: {{file: {}}}}}\n",
        file.display()
    );
    let gateway = Gateway::start(&format!("{CONFIG}{own}")).await;
    let request = |method, path: &str, key: &str| {
        gateway.client.request(method, format!("{}{path}", gateway.url)).bearer_auth(key)
    };
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hi"}], "metadata": {"tags": ["study"]}});
    let mut cost = 0.0;
    for _ in 0..5 {
        let sent =
            request(Method::POST, "/v1/chat/completions", "sk-master").header("content-type", "application/json");
        let reply = read(sent.body(body.to_string()).send().await.expect("an answer")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        cost += reply.header("x-litellm-response-cost").parse::<f64>().expect("dollars");
    }
    gateway.app.gateway.ledger.as_ref().expect("a ledger").finish();

    let ask =
        async |path: &str, key: &str| read(request(Method::GET, path, key).send().await.expect("an answer")).await;
    let same = |told: &Value| near(told.as_f64().expect("dollars"), cost);
    let logs = ask("/spend/logs", "sk-admin").await.json();
    assert_eq!((logs.as_array().map(Vec::len), &logs[0]["model_group"]), (Some(5), &json!("g")), "{logs}");
    let id = logs[2]["request_id"].as_str().expect("an id");
    let one = ask(&format!("/spend/logs?request_id={id}"), "sk-admin").await.json();
    assert_eq!(one, json!([logs[2]]));
    assert!(same(&ask("/global/spend", "sk-admin").await.json()["spend"]));
    let tags = ask("/spend/tags", "sk-admin").await.json();
    assert!(tags[0]["individual_request_tag"] == "study" && tags[0]["log_count"] == 5 && same(&tags[0]["total_spend"]));
    let keys = ask("/global/spend/keys", "sk-admin").await.json();
    assert!(keys[0]["api_key"] == "master" && same(&keys[0]["total_spend"]), "{keys}");
    assert!(same(&ask("/global/spend/models", "sk-admin").await.json()[0]["total_spend"]));
    // What was spent is operators' to know.
    assert_eq!(ask("/spend/logs", "sk-master").await.status, 401);
    assert_eq!(ask("/spend/logs?start_date=soon", "sk-admin").await.status, 400);

    let spend = |format: &str| {
        let arguments = ["spend", "--by", "tag", "--format", format, "--ledger"];
        let output = Command::new(env!("CARGO_BIN_EXE_witgate")).args(arguments).arg(&file).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let told: Value = serde_json::from_str(&spend("json")).expect("JSON");
    assert!(told[0]["name"] == "study" && told[0]["requests"] == 5 && same(&told[0]["cost_usd"]), "{told}");
    assert!(spend("csv").lines().nth(1).is_some_and(|line| line.starts_with("study,5,")), "{}", spend("csv"));
    assert!(spend("table").contains("COST USD"));
}

/// A provider says which service tier it served a reply in, which decides the price; what may be held is the dearer of that asked for and the usual one.
#[tokio::test]
async fn the_service_tier_that_a_reply_says_it_was_served_in_decides_its_price() {
    let reply = |tier: &str| {
        let message = json!({"role": "assistant", "content": "Hi"});
        let usage = json!({"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010, "prompt_tokens_details": {"cached_tokens": 500}});
        let choices = json!([{"index": 0, "finish_reason": "stop", "message": message}]);
        json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "service_tier": tier, "usage": usage, "choices": choices})
    };
    let events = |tier: &str| {
        let first = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": tier,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": null}]});
        let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": reply(tier)["usage"]});
        Step::events(format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n"))
    };
    let steps = ["default", "flex", "priority"].map(|tier| Step::json(200, &reply(tier)));
    let upstream = ScriptedUpstream::start(steps.into_iter().chain([events("priority")])).await;
    let config = format!(
        "model_list:
  - model_name: g
    litellm_params:
      model: openai/m
      api_base: \"{}/v1\"
      api_key: sk-x
      max_tokens: 10
      input_cost_per_token: 2e-6
      output_cost_per_token: 1e-5
      cache_read_input_token_cost: 1e-6
      input_cost_per_token_flex: 1e-6
      input_cost_per_token_priority: 4e-6
      output_cost_per_token_priority: 2e-5
      cache_read_input_token_cost_priority: 2e-6
litellm_settings: {{max_budget: 100}}
",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let body = json!({"model": "g", "messages": [{"role": "user", "content": "Hello there"}]});
    // 500 fresh tokens, 500 that were cached and 10 of output.
    for expected in [0.001 + 0.0005 + 0.0001, 0.0005 + 0.0005 + 0.0001, 0.002 + 0.001 + 0.0002] {
        let told = gateway.post("/v1/chat/completions", &body).await;
        assert!(near(told.header("x-litellm-response-cost").parse().expect("dollars"), expected), "{}", told.text);
    }
    let mut streamed = body.clone();
    (streamed["stream"], streamed["stream_options"]) = (json!(true), json!({"include_usage": true}));
    let told = gateway.post("/v1/chat/completions", &streamed).await;
    let last: Value = told.events().iter().rev().find_map(|event| serde_json::from_str(event).ok()).expect("JSON");
    assert!(near(last["usage"]["cost"].as_f64().expect("a cost"), 0.0032), "{}", told.text);
    let info = gateway.get("/model/info").await.json();
    let info = &info["data"][0]["model_info"];
    assert_eq!([&info["input_cost_per_token_flex"], &info["output_cost_per_token_flex"]], [&json!(1e-6), &json!(1e-5)]);
}

/// Claude's fast mode and inference in one country make all tokens dearer, and searches have a fee: in what a whole reply costs, and the same
/// reply in pieces. What is asked for is held.
#[tokio::test]
async fn what_claude_takes_more_for_is_in_the_cost_and_held_where_it_is_asked_for() {
    // Tenths of a thousandth of a dollar, of 1,000 tokens of input and 100 of output.
    let cases = [
        ("standard", "global", 0, 60),
        ("fast", "global", 0, 120),
        ("standard", "us", 0, 66),
        ("standard", "global", 5, 560),
    ];
    let used = |(speed, place, searches, _): (&str, &str, u64, u32)| {
        json!({"input_tokens": 1000, "output_tokens": 100, "speed": speed, "inference_geo": place,
            "server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0}})
    };
    let message = |content: &Value, usage: &Value| json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": "end_turn", "usage": usage});
    let events = |usage: &Value| {
        let mut before = usage.clone();
        before["server_tool_use"]["web_search_requests"] = json!(0);
        let last = json!({"output_tokens": 100, "server_tool_use": usage["server_tool_use"]});
        let events = [
            json!({"type": "message_start", "message": message(&json!([]), &before)}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}),
            json!({"type": "message_stop"}),
        ];
        Step::events(events.map(|event| format!("data: {event}\n\n")).concat())
    };
    let hi = json!([{"type": "text", "text": "Hi"}]);
    let steps = cases.into_iter().map(used).flat_map(|usage| [Step::json(200, &message(&hi, &usage)), events(&usage)]);
    let last = Step::json(200, &message(&hi, &used(cases[0])));
    let upstream = ScriptedUpstream::start(steps.chain([last])).await;
    let config = format!(
        "model_list:
  - model_name: g
    litellm_params: {{model: anthropic/claude-opus-5-5, api_base: \"{}\", api_key: sk-x}}
litellm_settings: {{max_budget: 1}}
",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let mut body = json!({"model": "g", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello there"}]});
    let mut paid = 0.0;
    for case in cases {
        let expected = f64::from(case.3) / 10_000.0;
        body["stream"] = json!(false);
        let told = gateway.post("/v1/messages", &body).await;
        assert!(
            near(told.header("x-litellm-response-cost").parse().expect("dollars"), expected),
            "{case:?}: {}",
            told.text
        );
        body["stream"] = json!(true);
        let told = gateway.post("/v1/messages", &body).await;
        let mut events = told.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(&event).ok());
        let cost = events.find_map(|event| event["usage"]["cost"].as_f64());
        assert!(near(cost.expect("a cost"), expected), "{case:?}: {}", told.text);
        paid += 2.0 * expected;
        let sum = || gateway.metric("witgate_cost_nano_usd_total").is_some_and(|nano| near(nano / 1e9, paid));
        until("its record", sum).await;
    }
    // 0.6 dollars of output at most fit into what is left, and twice as much do not.
    let mut long = json!({"model": "g", "max_tokens": 30_000, "speed": "fast", "messages": body["messages"]});
    let refused = gateway.post("/v1/messages", &long).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    long["speed"] = json!("standard");
    assert_eq!(gateway.post("/v1/messages", &long).await.status, 200);
}

/// OpenAI's responses API tells what a reply used that came to nothing, whole and streamed.
#[tokio::test]
async fn a_reply_that_failed_costs_what_its_provider_says_that_it_used() {
    let error = json!({"code": "server_error", "message": "It broke."});
    let usage = json!({"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500});
    let failed = json!({"id": "r", "object": "response", "model": "m", "status": "failed", "output": [], "error": error, "usage": usage});
    let event = json!({"type": "response.failed", "response": failed});
    let steps = [Step::json(200, &failed), Step::events(format!("data: {event}\n\n"))];
    let upstream = ScriptedUpstream::start(steps).await;
    let config = format!(
        "model_list:
  - model_name: g
    litellm_params:
      model: openai/responses/m
      api_base: \"{}/v1\"
      api_key: sk-x
      input_cost_per_token: 2e-6
      output_cost_per_token: 1e-5
router_settings: {{num_retries: 0, disable_cooldowns: true}}
",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    for (stream, nano_usd) in [(false, 7e6), (true, 14e6)] {
        let body = json!({"model": "g", "stream": stream, "messages": [{"role": "user", "content": "Hello there"}]});
        let told = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(told.status, 502, "{}", told.text);
        until("its record", || gateway.metric("witgate_cost_nano_usd_total") == Some(nano_usd)).await;
    }
}
