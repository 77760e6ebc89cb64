//! What people really send, receive and configure, as public reports have it: the cases that no other file holds.

use serde_json::{Value, json};

use crate::chat::{OPENAI_STREAM, openai_reply};
use crate::support::gateway::{Gateway, read};
use crate::support::upstream::{Gate, ScriptedUpstream, Step};

mod refusals;
mod replies;

fn asked(path: &str, stream: bool) -> Value {
    match path {
        "/v1/responses" => json!({"model": "g", "input": "hi", "stream": stream}),
        "/v1/completions" => json!({"model": "g", "prompt": "hi", "stream": stream}),
        path if path.starts_with("/v1beta") => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        _ => {
            json!({"model": "g", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
        }
    }
}

/// Where each API is asked for a reply and for a stream.
const APIS: [[&str; 2]; 6] = [
    ["/v1/chat/completions", "/v1/chat/completions"],
    ["/v1/messages", "/v1/messages"],
    ["/v1/responses", "/v1/responses"],
    ["/v1/completions", "/v1/completions"],
    ["/v1beta/models/g:generateContent", "/v1beta/models/g:streamGenerateContent?alt=sse"],
    ["/v1beta/models/g:generateContent", "/v1beta/models/g:streamGenerateContent"],
];

async fn over(provider: &str, more: &str, steps: Vec<Step>) -> (Gateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::start(steps).await;
    let config = format!(
        "model_list:\n  - {{model_name: g, litellm_params: {{model: {provider}/m, api_base: \"{}/v1\", api_key: sk-up{more}}}}}\nrouter_settings: {{num_retries: 0}}\n",
        upstream.origin()
    );
    (Gateway::start(&config).await, upstream)
}

/// A strict server takes no `stream_options`: it is asked once more without, and never again with.
#[tokio::test]
async fn a_server_that_refuses_stream_options_is_asked_without_from_then_on() {
    let detail =
        json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]});
    let steps = vec![Step::json(422, &detail), Step::events(OPENAI_STREAM)];
    let (gateway, upstream) = over("hosted_vllm", "", steps).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let said = gateway.post(path, &asked(path, true)).await;
        assert!(said.status == 200 && said.text.contains("lo"), "{}", said.text);
    }
    let with: Vec<bool> = upstream.asked().iter().map(|one| one.body.get("stream_options").is_some()).collect();
    assert_eq!(with, [true, false, false]);
}

/// A client whose words are in a refusal teaches nothing.
#[tokio::test]
async fn a_refusal_that_only_repeats_the_name_is_not_remembered() {
    let echo = json!({"error": {"message": "bad text: stream_options", "type": "invalid_request_error"}});
    let steps = vec![Step::json(400, &echo), Step::json(400, &echo), Step::events(OPENAI_STREAM)];
    let (gateway, upstream) = over("hosted_vllm", "", steps).await;
    let path = "/v1/chat/completions";
    assert_eq!(gateway.post(path, &asked(path, true)).await.status, 400);
    assert_eq!(gateway.post(path, &asked(path, true)).await.status, 200);
    assert!(upstream.asked()[2].body.get("stream_options").is_some());
}

/// The signature under a call of Google's models, where they imitate OpenAI, survives a client that keeps ids alone.
#[tokio::test]
async fn a_signature_beside_a_call_comes_back_through_anthropics_clients() {
    let google = json!({"google": {"thought_signature": "c2ln+/A="}});
    let call = json!({"index": 0, "id": "call_1", "type": "function", "extra_content": google,
        "function": {"name": "Read", "arguments": "{\"p\":1}"}});
    let event = |delta: Value, finish: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        format!(
            "data: {}\n\n",
            json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})
        )
    };
    let stream = event(json!({"role": "assistant", "tool_calls": [call]}), Value::Null)
        + &event(json!({}), json!("tool_calls"))
        + "data: [DONE]\n\n";
    let mut message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    message["tool_calls"][0].as_object_mut().unwrap().remove("index");
    let whole = json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    for streamed in [true, false] {
        let first = if streamed { Step::events(stream.clone()) } else { Step::json(200, &whole) };
        let (gateway, upstream) = over("hosted_vllm", "", vec![first, Step::json(200, &openai_reply("Hello"))]).await;
        let mut request = asked("/v1/messages", streamed);
        request["tools"] = json!([{"name": "Read", "input_schema": {"type": "object", "properties": {}}}]);
        let said = gateway.post("/v1/messages", &request).await;
        let block = if streamed {
            let events: Vec<Value> = said.events().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
            events.iter().find(|event| event["type"] == "content_block_start").unwrap()["content_block"].clone()
        } else {
            said.json()["content"][0].clone()
        };
        let id = block["id"].as_str().unwrap();
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{id}");
        request["stream"] = json!(false);
        let messages = request["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "Read", "input": {"p": 1}}]}));
        messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "x"}]}));
        assert_eq!(gateway.post("/v1/messages", &request).await.status, 200);
        let sent = upstream.asked()[1].body["messages"].clone();
        assert_eq!(sent[1]["tool_calls"][0]["extra_content"], google, "{sent}");
        assert_eq!(sent[1]["tool_calls"][0]["id"], sent[2]["tool_call_id"]);
    }
}

/// Nothing comes for longer than a client may hear nothing: it is told so, and another deployment may still take over.
#[tokio::test]
async fn signs_of_life_come_before_anything_of_the_reply_and_end_no_failover() {
    for [_, path] in APIS {
        let gate = Gate::closed();
        let upstream =
            ScriptedUpstream::start([Step::openai_broken(500).head_after(&gate), Step::events(OPENAI_STREAM)]);
        let upstream = upstream.await;
        let entry = |id| {
            format!(
                "{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}, model_info: {{id: {id}}}}}",
                upstream.origin()
            )
        };
        let config = format!(
            "model_list: [{}, {}]\nwitgate: {{server: {{stream_ping_seconds: 0.01}}}}\n",
            entry("a"),
            entry("b")
        );
        let gateway = Gateway::start(&config).await;
        let mut response = gateway.open(path, &asked(path, true)).await;
        assert_eq!(response.status(), 200, "{path}");
        let mut signs = Vec::new();
        for _ in 0..2 {
            signs.extend(response.chunk().await.unwrap().unwrap());
        }
        let sign = match path {
            "/v1/messages" => "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            "/v1beta/models/g:streamGenerateContent" => "\n",
            path if path.contains("alt=sse") => "\r\n\r\n",
            _ => ": waiting\n",
        };
        let signs = String::from_utf8(signs).unwrap();
        assert!(signs.len() >= 2 * sign.len() && signs.replace(sign, "").is_empty(), "{path}: {signs:?}");
        gate.open();
        let rest = read(response).await.text;
        assert!(rest.contains("lo"), "{path}: the reply comes: {rest}");
        assert_eq!(upstream.count(), 2, "{path}: the second deployment took over");
    }
}

/// What goes wrong after a sign of life is an event of the stream, and one record.
#[tokio::test]
async fn a_refusal_after_a_sign_of_life_is_an_event_of_the_stream() {
    let error = [
        ("/v1/chat/completions", "\"error\""),
        ("/v1/messages", "event: error"),
        ("/v1/responses", "response.failed"),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", "\"error\""),
    ];
    for (path, sign) in error {
        let gate = Gate::closed();
        let (gateway, _upstream) = {
            let upstream = ScriptedUpstream::start([Step::openai_broken(500).head_after(&gate)]).await;
            let config = format!(
                "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}}}]\nrouter_settings: {{num_retries: 0}}\nwitgate: {{server: {{stream_ping_seconds: 0.01}}}}\n",
                upstream.origin()
            );
            (Gateway::start(&config).await, upstream)
        };
        let mut response = gateway.open(path, &asked(path, true)).await;
        assert!(response.chunk().await.unwrap().is_some());
        gate.open();
        let rest = read(response).await.text;
        assert!(rest.contains(sign) && rest.contains("The server had an error"), "{path}: {rest}");
        assert_eq!(gateway.metric("witgate_requests_total"), Some(1.0), "{path}");
    }
}

/// A client that leaves while nothing is there yet ends the call, as it does later.
#[tokio::test]
async fn leaving_during_signs_of_life_ends_the_call() {
    let upstream = ScriptedUpstream::start([Step::silent()]).await;
    let config = format!(
        "model_list: [{{model_name: g, litellm_params: {{model: openai/m, api_base: \"{}/v1\", api_key: sk-up}}}}]\nwitgate: {{server: {{stream_ping_seconds: 0.01}}}}\n",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let mut response = gateway.open("/v1/messages", &asked("/v1/messages", true)).await;
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    while gateway.metric("witgate_requests_total").is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.count(), 1);
}

/// `mock_response` answers without a call, in every API, whole and streamed, and fails as LiteLLM's exceptions do.
#[tokio::test]
async fn a_mocked_deployment_answers_without_a_call() {
    let config = "model_list:
  - {model_name: g, litellm_params: {model: openai/gpt-4o, mock_response: \"It's all right\"}}
  - {model_name: limited, litellm_params: {model: openai/gpt-4o, mock_response: litellm.RateLimitError}}
  - {model_name: long, litellm_params: {model: anthropic/claude-x, mock_response: litellm.ContextWindowExceededError}}
  - {model_name: broken, litellm_params: {model: openai/gpt-4o, mock_response: litellm.InternalServerError}}
router_settings: {num_retries: 0, disable_cooldowns: true}
";
    let gateway = Gateway::start(config).await;
    for [whole, stream] in APIS {
        let said = gateway.post(whole, &asked(whole, false)).await;
        assert!(said.status == 200 && said.text.contains("It's all right"), "{whole}: {}", said.text);
        let said = gateway.post(stream, &asked(stream, true)).await;
        assert!(said.status == 200 && said.text.contains(" right"), "{stream}: {}", said.text);
    }
    for (model, status) in [("limited", 429), ("long", 400), ("broken", 502)] {
        let mut body = asked("/v1/chat/completions", false);
        body["model"] = json!(model);
        let said = gateway.post("/v1/chat/completions", &body).await;
        assert_eq!(said.status, status, "{model}: {}", said.text);
        if model == "long" {
            assert_eq!(said.json()["error"]["code"], "context_length_exceeded");
        }
    }
}

#[tokio::test]
async fn a_query_of_the_operators_is_added_to_the_address() {
    let more = ", extra_query: {tenant: \"a b&c\", n: 7}";
    let (gateway, upstream) = over("openai", more, vec![Step::json(200, &openai_reply("Hello"))]).await;
    assert_eq!(gateway.post("/v1/messages", &asked("/v1/messages", false)).await.status, 200);
    assert_eq!(upstream.asked()[0].path, "/v1/chat/completions?tenant=a%20b%26c&n=7");
}

/// A parameter that refuses a request where nothing is known of it is sent where the operator or the client says so.
#[tokio::test]
async fn parameters_that_are_allowed_are_sent() {
    for (more, body, sent) in [
        ("", json!({}), Value::Null),
        (", allowed_openai_params: [seed]", json!({}), json!(7)),
        ("", json!({"allowed_openai_params": ["seed"]}), json!(7)),
    ] {
        let reply = crate::chat::anthropic_reply("Hello");
        let (gateway, upstream) = over("anthropic", more, vec![Step::json(200, &reply)]).await;
        let mut request = asked("/v1/chat/completions", false);
        request["seed"] = json!(7);
        request.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let said = gateway.post("/v1/chat/completions", &request).await;
        if sent.is_null() {
            assert_eq!((said.status, &said.json()["error"]["param"]), (400, &json!("seed")), "{}", said.text);
            continue;
        }
        assert_eq!(said.status, 200, "{}", said.text);
        let seen = &upstream.asked()[0].body;
        assert_eq!(seen["seed"], sent);
        assert!(seen.get("allowed_openai_params").is_none());
        assert_eq!(said.header("x-witgate-dropped"), "");
    }
    let (gateway, _upstream) = over("anthropic", "", vec![Step::silent()]).await;
    let mut request = asked("/v1/chat/completions", false);
    request["allowed_openai_params"] = json!("seed");
    let refused = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("allowed_openai_params")));
}

/// Mistral takes files by their addresses, and recordings as texts.
#[tokio::test]
async fn documents_reach_mistral_in_its_words() {
    let (gateway, upstream) = over("mistral", "", vec![Step::json(200, &openai_reply("Hello"))]).await;
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}});
    let audio = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    let mut request = asked("/v1/chat/completions", false);
    request["messages"][0]["content"] = json!([file, audio]);
    assert_eq!(gateway.post("/v1/chat/completions", &request).await.status, 200);
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "AA=="});
    let mut request = asked("/v1/messages", false);
    request["messages"][0]["content"] = json!([{"type": "document", "title": "a.pdf", "source": source},
        {"type": "document", "source": {"type": "url", "url": "https://a.example.test/b.pdf"}}]);
    assert_eq!(gateway.post("/v1/messages", &request).await.status, 200);
    let sent: Vec<Value> = upstream.asked().iter().map(|one| one.body["messages"][0]["content"].clone()).collect();
    let url = "data:application/pdf;base64,AA==";
    let named = json!({"type": "document_url", "document_url": url, "document_name": "a.pdf"});
    assert_eq!(sent[0], json!([named, {"type": "input_audio", "input_audio": "AAAA"}]));
    assert_eq!(sent[1], json!([named, {"type": "document_url", "document_url": "https://a.example.test/b.pdf"}]));
}

/// The bound of output goes out under the name that its taker reads.
#[tokio::test]
async fn the_bound_of_output_has_the_name_its_provider_reads() {
    for (model, path, name) in [
        ("openai/gpt-5", "/v1/chat/completions", "max_completion_tokens"),
        ("openai/o3-mini", "/v1/chat/completions", "max_completion_tokens"),
        // Who uses the older name with an older model gets it.
        ("openai/gpt-4o", "/v1/chat/completions", "max_tokens"),
        ("ollama_chat/qwen3", "/v1/messages", "max_tokens"),
        ("hosted_vllm/m", "/v1/messages", "max_tokens"),
        ("mistral/m", "/v1/messages", "max_tokens"),
    ] {
        let upstream = ScriptedUpstream::start([Step::json(200, &openai_reply("Hello"))]).await;
        let config = format!(
            "model_list: [{{model_name: g, litellm_params: {{model: {model}, api_base: \"{}/v1\", api_key: sk-up}}}}]\n",
            upstream.origin()
        );
        let gateway = Gateway::start(&config).await;
        assert_eq!(gateway.post(path, &asked(path, false)).await.status, 200);
        let seen = &upstream.asked()[0].body;
        let names: Vec<&str> =
            ["max_tokens", "max_completion_tokens"].into_iter().filter(|name| seen.get(*name).is_some()).collect();
        assert_eq!(names, [name], "{model}");
    }
}

/// An effort is told to a model of Anthropic's as it knows it, or left out and told.
#[tokio::test]
async fn an_effort_reaches_each_model_as_it_knows_it() {
    for (model, bound, thinking, output, dropped) in [
        ("claude-haiku-4-5", 800, Value::Null, Value::Null, "reasoning_effort"),
        ("claude-haiku-4-5", 8000, json!({"type": "enabled", "budget_tokens": 4096}), Value::Null, ""),
        ("claude-haiku-4-5", 1500, json!({"type": "enabled", "budget_tokens": 1499}), Value::Null, ""),
        ("claude-opus-4-7", 800, json!({"type": "adaptive"}), json!({"effort": "high"}), ""),
        ("claude-3-5-haiku-20241022", 8000, Value::Null, Value::Null, "reasoning_effort"),
    ] {
        let upstream = ScriptedUpstream::start([Step::json(200, &crate::chat::anthropic_reply("Hello"))]).await;
        let config = format!(
            "model_list: [{{model_name: g, litellm_params: {{model: anthropic/{model}, api_base: \"{}\", api_key: sk-up}}}}]\n",
            upstream.origin()
        );
        let gateway = Gateway::start(&config).await;
        let mut request = asked("/v1/chat/completions", false);
        request["reasoning_effort"] = json!("high");
        request.as_object_mut().unwrap().remove("max_tokens");
        request["max_completion_tokens"] = json!(bound);
        let said = gateway.post("/v1/chat/completions", &request).await;
        assert_eq!((said.status, said.header("x-witgate-dropped")), (200, dropped), "{model}: {}", said.text);
        let seen = &upstream.asked()[0].body;
        assert_eq!((&seen["thinking"], &seen["output_config"]), (&thinking, &output), "{model} of {bound}");
    }
}

/// Streams as imitators really send them, as Anthropic's clients put them together: block after block, each call whole, under a reason that
/// fits what came.
#[tokio::test]
async fn strange_streams_are_what_they_mean() {
    let call = |name: &str, input: Value| (name.to_owned(), input);
    let (f, g) = (|input| call("f", input), |input| call("g", input));
    let x = json!({"x": 1});
    let two = || vec![call("get", json!({"u": 1})), call("get", json!({"u": 2}))];
    for (fixture, calls, text, reason) in [
        ("late_name", vec![call("read", json!({"p": 1}))], "", "tool_use"),
        ("woven_calls", vec![f(x.clone()), g(json!({"y": 2}))], "", "tool_use"),
        ("blank_in_call", vec![f(x.clone())], "", "tool_use"),
        ("call_ends_stop", vec![f(json!({}))], "", "tool_use"),
        ("call_ends_function_call", vec![f(json!({}))], "", "tool_use"),
        ("ends_max_tokens", vec![], "Hi", "max_tokens"),
        ("ends_eos", vec![], "Hi", "end_turn"),
        ("joined", vec![], "Hello", "end_turn"),
        ("without_done", vec![], "", "end_turn"),
        ("without_finish", vec![], "Hi", "end_turn"),
        ("calls_at_one_index", two(), "", "tool_use"),
        ("calls_with_one_id", two(), "", "tool_use"),
        ("calls_without_ids", two(), "", "tool_use"),
    ] {
        let file = crate::support::fixture(&format!("dialect/streams/openai/{fixture}.sse"));
        let stream = Step::events(std::fs::read(file).unwrap());
        let (gateway, _upstream) = over("hosted_vllm", "", vec![stream]).await;
        let said = gateway.post("/v1/messages", &asked("/v1/messages", true)).await;
        assert_eq!(said.status, 200, "{fixture}: {}", said.text);
        let message = crate::agents::accumulated(&said);
        let content = message["content"].as_array().unwrap();
        let made: Vec<(String, Value)> = content
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|block| (block["name"].as_str().unwrap().to_owned(), block["input"].clone()))
            .collect();
        assert_eq!(made, calls, "{fixture}: {message}");
        let ids: Vec<&str> = content.iter().filter_map(|block| block["id"].as_str()).collect();
        assert!(ids.iter().collect::<std::collections::BTreeSet<_>>().len() == calls.len(), "{fixture}: {ids:?}");
        let words: String = content.iter().filter_map(|block| block["text"].as_str()).collect();
        assert!(text.is_empty() || words == text, "{fixture}: {message}");
        assert_eq!(message["stop_reason"], reason, "{fixture}");
    }
}

/// What Anthropic refuses together, or blank, is left out and told; its own clients are told by itself.
#[tokio::test]
async fn what_anthropic_refuses_together_or_blank_is_left_out_and_told() {
    let reply = crate::chat::anthropic_reply("Hello");
    let upstream = ScriptedUpstream::start([Step::json(200, &reply)]).await;
    let config = format!(
        "model_list: [{{model_name: g, litellm_params: {{model: anthropic/claude-sonnet-4-5, api_base: \"{}\", api_key: sk-up}}}}]\n",
        upstream.origin()
    );
    let gateway = Gateway::start(&config).await;
    let mut request = asked("/v1/chat/completions", false);
    request["temperature"] = json!(1);
    request["top_p"] = json!(0.95);
    request["stop"] = json!(["\n", "END"]);
    let said = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!((said.status, said.header("x-witgate-dropped")), (200, "top_p, stop"), "{}", said.text);
    let seen = &upstream.asked()[0].body;
    assert_eq!((&seen["temperature"], &seen["stop_sequences"]), (&json!(1.0), &json!(["END"])), "{seen}");
    assert!(seen.get("top_p").is_none());
    let mut request = asked("/v1/messages", false);
    request["temperature"] = json!(1);
    request["top_p"] = json!(0.95);
    request["stop_sequences"] = json!(["\n"]);
    let said = gateway.post("/v1/messages", &request).await;
    assert_eq!((said.status, said.header("x-witgate-dropped")), (200, ""));
    let seen = &upstream.asked()[1].body;
    assert_eq!((&seen["top_p"], &seen["stop_sequences"]), (&json!(0.95), &json!(["\n"])), "{seen}");
}

/// Ids of calls are written anew where they are illegal and nowhere else, call and result together.
#[tokio::test]
async fn ids_of_calls_are_rewritten_where_they_are_illegal_and_nowhere_else() {
    let long = "call_".to_owned() + &"x".repeat(85);
    for (provider, id, kept) in [
        ("anthropic", "functions.Bash:0", false),
        ("anthropic", "toolu_1", true),
        ("openai", long.as_str(), false),
        ("openai", "functions.Bash:0", true),
        ("hosted_vllm", "functions.Bash:0", true),
        ("hosted_vllm", long.as_str(), true),
    ] {
        let reply = if provider == "anthropic" { crate::chat::anthropic_reply("Hello") } else { openai_reply("Hello") };
        let (gateway, upstream) = over(provider, "", vec![Step::json(200, &reply)]).await;
        let mut request = asked("/v1/chat/completions", false);
        let call = json!({"id": id, "type": "function", "function": {"name": "Bash", "arguments": "{}"}});
        request["messages"] = json!([{"role": "user", "content": "ls"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": id, "content": "a"}]);
        request["tools"] = json!([{"type": "function", "function": {"name": "Bash", "parameters": {"type": "object", "properties": {}}}}]);
        assert_eq!(gateway.post("/v1/chat/completions", &request).await.status, 200);
        let messages = upstream.asked()[0].body["messages"].clone();
        let (called, answered) = if provider == "anthropic" {
            (messages[1]["content"][0]["id"].clone(), messages[2]["content"][0]["tool_use_id"].clone())
        } else {
            (messages[1]["tool_calls"][0]["id"].clone(), messages[2]["tool_call_id"].clone())
        };
        assert_eq!(called, answered, "{provider}: {messages}");
        assert_eq!(called == id, kept, "{provider}: {called} of {id}");
        assert!(called.as_str().unwrap().len() <= 64 || kept, "{called}");
    }
}
