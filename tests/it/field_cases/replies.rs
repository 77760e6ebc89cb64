//! Replies, refusals and waits as reports have them.

use super::*;
use crate::chat::anthropic_reply;
use crate::support::gateway::Reply;

fn called(call: &Value, finish: &str) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": finish}]})
}

fn said(finish: &Value) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": finish}]})
}

/// The stop word says what came, whatever the provider called it, in a reply that is not streamed too.
#[tokio::test]
async fn the_reason_of_a_whole_reply_fits_what_it_says() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (reply, reason) in [
        (called(&call, "stop"), "tool_use"),
        (called(&call, "function_call"), "tool_use"),
        (called(&call, "STOP"), "tool_use"),
        (said(&json!("MAX_TOKENS")), "max_tokens"),
        (said(&json!("max_tokens")), "max_tokens"),
        (said(&json!("eos")), "end_turn"),
        (said(&Value::Null), "end_turn"),
    ] {
        let (gateway, _upstream) = over("hosted_vllm", "", vec![Step::json(200, &reply)]).await;
        let told = gateway.post("/v1/messages", &asked("/v1/messages", false)).await;
        assert_eq!((told.status, &told.json()["stop_reason"]), (200, &json!(reason)), "{reply}");
    }
    // Two calls of one id are two, in a reply as in a stream.
    let file = crate::support::fixture("dialect/replies/openai/calls_with_one_id.json");
    let two = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (gateway, _upstream) = over("hosted_vllm", "", vec![Step::json(200, &two)]).await;
    let told = gateway.post("/v1/messages", &asked("/v1/messages", false)).await.json();
    let [first, second] = [0, 1].map(|at| told["content"][at].clone());
    assert!(
        first["id"] != second["id"] && first["input"] == json!({"u": 1}) && second["input"] == json!({"u": 2}),
        "{told}"
    );
    let failed = Step::json(200, &said(&json!("error")));
    let (gateway, _upstream) = over("hosted_vllm", "", vec![failed]).await;
    let told = gateway.post("/v1/messages", &asked("/v1/messages", false)).await;
    assert_eq!((told.status, &told.json()["type"]), (502, &json!("error")), "{}", told.text);
    // And in OpenAI's words.
    let mut reply = anthropic_reply("Hello");
    reply["content"] = json!([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]);
    reply["stop_reason"] = json!("end_turn");
    let (gateway, _upstream) = over("anthropic", "", vec![Step::json(200, &reply)]).await;
    let told = gateway.post("/v1/chat/completions", &asked("/v1/chat/completions", false)).await;
    assert_eq!(told.json()["choices"][0]["finish_reason"], "tool_calls", "{}", told.text);
}

/// A stream whose events are cut otherwise, or that never says why it ended.
#[tokio::test]
async fn a_stream_is_whole_by_its_reason_or_by_its_end_and_by_nothing_else() {
    let piece = |text: &str| {
        format!(
            "data: {}\n\n",
            json!({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
        )
    };
    let end =
        "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let lines = (piece("Hel") + &piece("lo")).replace("data: ", "").replace("\n\n", "\n");
    for (stream, whole) in [
        (piece("Hello") + end, true),
        (piece("Hello") + "data: [DONE]\n\n", true),
        (piece("Hello"), false),
        // What ends without having begun is no reply, and one that comes whole is one.
        ("data: [DONE]\n\n".to_owned(), false),
        (openai_reply("Hello").to_string(), true),
        // A name without data is no event.
        (format!("event: x\n\n{}{end}data: [DONE]\n\n", piece("Hello")), true),
        // Lines of JSON are no events.
        (lines, false),
    ] {
        let (gateway, _upstream) = over("hosted_vllm", "", vec![Step::events(stream.clone())]).await;
        let path = "/v1/chat/completions";
        let told = gateway.post(path, &asked(path, true)).await;
        let ended = told.text.ends_with("data: [DONE]\n\n");
        assert_eq!(ended, whole, "{stream}: {} {}", told.status, told.text);
        assert!(whole || told.text.contains("\"error\""), "{stream}: {}", told.text);
    }
}

/// The coding is named, whatever it is a coding of; nobody is handed its bytes.
#[tokio::test]
async fn a_coding_nobody_asked_for_is_named_in_replies_streams_and_errors() {
    let coded = |step: Step| step.header("content-encoding", "gzip");
    let error = json!({"error": {"message": "no", "type": "invalid_request_error"}});
    let path = "/v1/chat/completions";
    for (step, stream) in [
        (coded(Step::json(200, &openai_reply("Hello"))), false),
        (coded(Step::events(OPENAI_STREAM)), true),
        (coded(Step::json(400, &error)), false),
    ] {
        let (gateway, _upstream) = over("openai", "", vec![step]).await;
        let Reply { status, text, .. } = gateway.post(path, &asked(path, stream)).await;
        assert!(status >= 400 && text.contains("gzip") && !text.contains("Hello"), "{status} {text}");
    }
}

/// What refuses the gateway's credential is no fault of its client's, whose own is good.
#[tokio::test]
async fn a_key_that_a_provider_refuses_is_not_told_as_the_client_s() {
    let refused = json!({"error": {"message": "Incorrect API key provided: sk-**up. See https://x.example.test?key=sk-up", "code": "invalid_api_key"}});
    let (gateway, _upstream) = over("openai", "", vec![Step::json(401, &refused)]).await;
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        let told = gateway.post(path, &asked(path, false)).await;
        assert!(told.status >= 500, "{path}: {} {}", told.status, told.text);
        assert!(!told.text.contains("sk-"), "{path}: {}", told.text);
    }
}

/// No credential of a client's reaches a provider, wherever it stood.
#[tokio::test]
async fn a_client_s_credentials_stay_here() {
    for (provider, header, value) in
        [("openai", "authorization", "Bearer sk-up"), ("anthropic", "authorization", "Bearer sk-up")]
    {
        let reply = if provider == "openai" { openai_reply("Hello") } else { anthropic_reply("Hello") };
        let (gateway, upstream) = over(provider, "", vec![Step::json(200, &reply)]).await;
        let call = gateway.client.post(format!("{}/v1/messages?key=sk-query", gateway.url));
        let mut call = call.header("content-type", "application/json").header("authorization", "Bearer oat-client");
        for name in ["x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "cookie"] {
            call = call.header(name, "sk-client");
        }
        let told = read(call.body(asked("/v1/messages", false).to_string()).send().await.unwrap()).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let seen = &upstream.asked()[0];
        assert_eq!(seen.headers[header], value, "{provider}");
        let leaked = |text: &str| ["oat-client", "sk-client", "sk-query"].iter().any(|secret| text.contains(secret));
        let told = seen.headers.values().filter_map(|value| value.to_str().ok()).any(leaked);
        assert!(!told && !leaked(&seen.path) && !leaked(&seen.body.to_string()), "{provider}: {:?}", seen.headers);
    }
}

/// A stream that waits for a limit shows signs of life, as one does whose provider is silent.
#[tokio::test]
async fn a_stream_that_waits_for_a_limit_shows_signs_of_life() {
    let config = "model_list: [{model_name: g, litellm_params: {model: simulated/m, rpm: 1, simulated: {ttft_ms: 0, output_tokens: 2}}}]
witgate: {server: {stream_ping_seconds: 0.01}}
";
    let gateway = Gateway::start(config).await;
    let path = "/v1/messages";
    assert_eq!(gateway.post(path, &asked(path, false)).await.status, 200);
    let mut response = gateway.open(path, &asked(path, true)).await;
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"), "{first:?}");
}

/// Fields of tools that only Anthropic knows reach it with the names that unlock them.
#[tokio::test]
async fn fields_of_tools_that_a_header_unlocks_reach_anthropic() {
    let (gateway, upstream) = over("anthropic", "", vec![Step::json(200, &anthropic_reply("Hello"))]).await;
    let mut request = asked("/v1/messages", false);
    let tool = json!({"name": "Look", "description": "look", "input_schema": {"type": "object", "properties": {}}, "input_examples": [{}]});
    request["tools"] = json!([tool]);
    request["context_management"] = json!({"edits": [{"type": "clear_tool_uses_20250919"}]});
    let betas = "claude-code-20250219,context-management-2025-06-27,interleaved-thinking-2025-05-14";
    let call = gateway.client.post(format!("{}/v1/messages?beta=true", gateway.url)).header("anthropic-beta", betas);
    let call = call.header("content-type", "application/json").body(request.to_string());
    assert_eq!(call.send().await.unwrap().status(), 200);
    let seen = &upstream.asked()[0];
    assert_eq!(seen.headers["anthropic-beta"], betas);
    assert_eq!((&seen.body["tools"][0], &seen.body["context_management"]), (&tool, &request["context_management"]));
}
