//! Pictures that a model drew, whole and in streams.

use super::*;
use crate::format::client_apis;

fn reply() -> Value {
    json!({
        "candidates": [{"content": {"role": "model", "parts": [
            {"text": "Here:"},
            {"inlineData": {"mimeType": "image/png", "data": "AA==", "displayName": "p"}, "thoughtSignature": "Yw=="},
        ]}, "index": 0, "finishReason": "STOP"}],
        "modelVersion": "m", "responseId": "r",
    })
}

#[test]
fn clients_of_chats_get_them_as_litellm_s_do() {
    let read = Gemini.decode(reply().to_string().as_bytes()).unwrap();
    let told: Value = serde_json::from_slice(&OpenAi.reply(&read)).unwrap();
    let drawn = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "index": 0}]);
    let message = &told["choices"][0]["message"];
    assert_eq!((&message["content"], &message["images"]), (&json!("Here:"), &drawn));
    // What is heard is no picture.
    let heard = reply().to_string().replace("image/png", "audio/wav");
    let told: Value = serde_json::from_slice(&OpenAi.reply(&Gemini.decode(heard.as_bytes()).unwrap())).unwrap();
    assert_eq!(told["choices"][0]["message"]["images"], Value::Null);
}

/// What clients of this API are told in a stream: the data of its events.
fn streamed(api: &dyn ClientApi, path: &str, body: &Value) -> Vec<Value> {
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::<Chunk>::new());
    decoder.push(format!("data: {}\r\n\r\n", reply()).as_bytes(), &mut chunks).unwrap();
    decoder.finish(&mut chunks).unwrap();
    let asked = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
    let (mut encoder, mut out) = (api.stream(&asked), bytes::BytesMut::new());
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.end(&mut out);
    let told = String::from_utf8(out.to_vec()).unwrap();
    told.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[test]
fn a_stream_tells_them_too() {
    let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "Draw"}]});
    let told = streamed(&OpenAi, "/v1/chat/completions", &body);
    let deltas: Vec<&Value> = told.iter().map(|event| &event["choices"][0]["delta"]["images"]).collect();
    let drawn = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "index": 0}]);
    assert_eq!(deltas.iter().filter(|images| !images.is_null()).collect::<Vec<_>>(), [&&drawn], "{told:?}");
    // Its own clients get them as they came.
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Draw"}]}]});
    let told = streamed(&Gemini, "/v1beta/models/m:streamGenerateContent?alt=sse", &body);
    let expected = reply()["candidates"][0]["content"]["parts"][1].clone();
    assert!(told.iter().any(|event| event["candidates"][0]["content"]["parts"][0] == expected), "{told:?}");
    let responses = client_apis().find(|api| api.name() == "openai-responses").unwrap();
    let told = streamed(responses, "/v1/responses", &json!({"model": "m", "input": "Draw", "stream": true}));
    let made = &told.last().unwrap()["response"]["output"][1];
    assert_eq!((&made["type"], &made["result"]), (&json!("image_generation_call"), &json!("AA==")), "{told:?}");
}
