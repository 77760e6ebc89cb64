//! What vendors refuse of a request, as reports have it, and what is asked in its place.

use super::*;

const SEALED: &str = "reasoning.encrypted_content";

fn response() -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}})
}

fn includes(upstream: &ScriptedUpstream) -> Vec<bool> {
    let asks = |body: &Value| body["include"].as_array().is_some_and(|names| names.iter().any(|name| name == SEALED));
    upstream.asked().iter().map(|one| asks(&one.body)).collect()
}

/// Models that do not think, where nobody knows that, refuse to give thinking under a seal: they are asked once more without, and from then on.
#[tokio::test]
async fn a_model_that_gives_nothing_sealed_is_asked_without_from_then_on() {
    let error = json!({"message": "Encrypted content is not supported with this model.",
        "type": "invalid_request_error", "param": "include", "code": null});
    let steps = vec![Step::json(400, &json!({"error": error})), Step::json(200, &response())];
    let (gateway, upstream) = over("openai/responses", "", steps).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let told = gateway.post(path, &asked(path, false)).await;
        assert!(told.status == 200 && told.text.contains("Hello"), "{}", told.text);
    }
    assert_eq!(includes(&upstream), [true, false, false]);
}

/// A refusal that is not mended by that is the client's, and teaches nothing.
#[tokio::test]
async fn a_refusal_that_stays_teaches_nothing() {
    let error = json!({"error": {"message": "No.", "type": "invalid_request_error", "param": "include"}});
    let steps = vec![Step::json(400, &error), Step::json(400, &error), Step::json(200, &response())];
    let (gateway, upstream) = over("openai/responses", "", steps).await;
    let path = "/v1/chat/completions";
    assert_eq!(gateway.post(path, &asked(path, false)).await.status, 400);
    assert_eq!(gateway.post(path, &asked(path, false)).await.status, 200);
    assert_eq!(includes(&upstream), [true, false, true]);
}

/// A tool of a server's has a name that the vendor refuses: its call comes back under the name that the client wrote, in whole replies and in
/// streams.
#[tokio::test]
async fn a_tool_s_name_that_a_vendor_refuses_comes_back_as_it_was_written() {
    let tool = json!({"type": "function", "function": {"name": "files/read.text", "parameters": {"type": "object"}}});
    let mut request = asked("/v1/chat/completions", false);
    request["tools"] = json!([tool]);
    let (gateway, upstream) = over("mistral", "", vec![Step::json(200, &openai_reply("Hello"))]).await;
    assert_eq!(gateway.post("/v1/chat/completions", &request).await.status, 200);
    let name = upstream.asked()[0].body["tools"][0]["function"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("files_read_text_"), "{name}");

    let call =
        json!({"index": 0, "id": "a12345678", "type": "function", "function": {"name": name, "arguments": "{}"}});
    let choice = |said: &str| {
        json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, said: {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    };
    let streamed = format!("data: {}\n\ndata: [DONE]\n\n", choice("delta"));
    for (stream, step) in [(false, Step::json(200, &choice("message"))), (true, Step::events(streamed))] {
        let (gateway, _upstream) = over("mistral", "", vec![step]).await;
        request["stream"] = json!(stream);
        let told = gateway.post("/v1/chat/completions", &request).await;
        assert!(told.text.contains("\"name\":\"files/read.text\"") && !told.text.contains(&name), "{}", told.text);
    }
}

/// `DeepSeek` has no room: it says so in the place of a reason to finish, and another deployment is asked.
#[tokio::test]
async fn a_reply_that_was_given_up_for_lack_of_room_is_asked_for_elsewhere() {
    let given_up = |said: &str| {
        json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, said: {"role": "assistant", "content": ""}, "finish_reason": "insufficient_system_resource"}]})
    };
    let events = |event: &Value| format!("data: {event}\n\ndata: [DONE]\n\n");
    for (stream, full, good) in [
        (false, Step::json(200, &given_up("message")), Step::json(200, &openai_reply("Hello"))),
        (true, Step::events(events(&given_up("delta"))), Step::events(OPENAI_STREAM)),
    ] {
        let (one, other) = (ScriptedUpstream::start(vec![full]).await, ScriptedUpstream::start(vec![good]).await);
        let entry = |upstream: &ScriptedUpstream, order: u32| {
            let base = upstream.origin();
            format!(
                "  - {{model_name: g, litellm_params: {{model: deepseek/m, api_base: \"{base}/v1\", api_key: k, order: {order}}}}}\n"
            )
        };
        let config = format!("model_list:\n{}{}", entry(&one, 1), entry(&other, 2));
        let gateway = Gateway::start(&config).await;
        let told = gateway.post("/v1/chat/completions", &asked("/v1/chat/completions", stream)).await;
        assert!(told.status == 200 && !told.text.contains("insufficient"), "{}", told.text);
        assert_eq!(other.asked().len(), 1);
    }
}
