use serde_json::{Value, json};

use super::*;
use crate::fault::FaultKind;
use crate::format::{CLIENT_APIS, ClientRequest, NO_QUIRKS};

fn encode(model: &str, body: &Value) -> Result<Encoded, AttemptFault> {
    let api = CLIENT_APIS.into_iter().find(|api| api.name() == "openai").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), body.to_string())).unwrap();
    Bedrock.encode(
        &request,
        &Target { model, api_version: None, quirks: &NO_QUIRKS, bare_stream: false, default_max_tokens: 9 },
    )
}

fn hi(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn models_stand_in_the_path_as_one_segment() {
    for (model, stream, path) in [
        ("amazon.nova-lite-v1:0", false, "/model/amazon.nova-lite-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.a",
            true,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a/converse-stream",
        ),
    ] {
        assert_eq!(encode(model, &hi(&json!({"stream": stream}))).unwrap().path, path);
    }
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let history = json!([
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "x"}
    ]);
    let picture =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]}]);
    for (more, param) in [
        (json!({"n": 2}), "n"),
        (json!({"tools": tool, "messages": history, "tool_choice": "none"}), "tool_choice"),
        (json!({"messages": picture}), "messages[0].content[0]"),
    ] {
        let fault = encode("m", &hi(&more)).unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some(param)), "{fault}");
    }
    // Where no tool was called yet, no tools are the same as none to be called.
    let body = encode("m", &hi(&json!({"tools": tool, "tool_choice": "none"}))).unwrap().body;
    assert!(!String::from_utf8_lossy(&body).contains("toolConfig"));
}

#[test]
fn fields_of_its_own_pass_from_other_dialects() {
    let own = json!({
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 3}},
        "reasoning_effort": "low", "logit_bias": {"1": 2}
    });
    let encoded = encode("m", &hi(&own)).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body["guardrailConfig"]["guardrailIdentifier"], "g");
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({"inferenceConfig": {"topK": 3}, "reasoning_effort": "low"})
    );
    assert_eq!(encoded.dropped, ["logit_bias"]);
}
