use serde_json::{Value, json};

use super::*;
use crate::chat::{Chunk, Delta};
use crate::format::call_id::{signature_of, signed};
use crate::format::{ClientApi, ClientRequest, NO_QUIRKS, OpenAi};

fn encode(body: &Value) -> Result<Value, AttemptFault> {
    let request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body.to_string());
    let request = OpenAi.parse(&request).unwrap();
    let target =
        Target { model: "m", api_version: None, quirks: &NO_QUIRKS, bare_stream: false, default_max_tokens: 100 };
    let encoded = Gemini.encode(&request, &target)?;
    let mut shown: Value = serde_json::from_slice(&encoded.body).unwrap();
    shown["path"] = encoded.path.into();
    shown["dropped"] = encoded.dropped.into();
    Ok(shown)
}

#[test]
fn the_signature_under_a_call_comes_back_with_it_and_its_result_names_the_function() {
    let reply = Gemini
        .decode(include_bytes!("../../../tests/fixtures/dialect/replies/gemini/tools.json"))
        .map(|reply| OpenAi.reply(&reply))
        .unwrap();
    let message = serde_json::from_slice::<Value>(&reply).unwrap()["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    let result = json!({"role": "tool", "tool_call_id": id, "content": "sunny"});
    let ask = json!({"role": "user", "content": "Weather?"});
    let body = encode(&json!({"model": "g", "messages": [ask, message, result]})).unwrap();
    let call = &body["contents"][1]["parts"][0];
    assert_eq!((&call["thoughtSignature"], &call["functionCall"]["args"]), (&json!("c2ln"), &json!({"city": "Paris"})));
    let expected = json!({"functionResponse": {"name": "get_weather", "response": {"output": "sunny"}}});
    assert_eq!((&body["contents"][2]["role"], &body["contents"][2]["parts"][0]), (&json!("user"), &expected));
}

#[test]
fn a_signature_survives_the_letters_of_an_id() {
    for signature in ["c2ln", "+/+/YQ==", "YWI=", "AAAA"] {
        let id = signed("call_1", signature);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{id}");
        assert_eq!(signature_of(&id).as_deref(), Some(signature));
    }
    assert_eq!(signature_of("call_1"), None);
}

#[test]
fn a_stream_is_another_method_and_sampling_goes_out_in_full() {
    let body = encode(&json!({
        "model": "g", "stream": true, "temperature": 0.1, "top_p": 0.9, "seed": 7, "n": 2, "max_tokens": 50, "stop": ["END"],
        "logprobs": true, "top_logprobs": 3, "presence_penalty": 0.5, "logit_bias": {"1": 2}, "reasoning_effort": "low",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }))
    .unwrap();
    assert_eq!(body["path"], "/models/m:streamGenerateContent?alt=sse");
    assert_eq!(body["dropped"], json!(["logit_bias"]));
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "Be brief."}]}));
    let config = json!({
        "temperature": 0.1, "topP": 0.9, "candidateCount": 2, "maxOutputTokens": 50, "stopSequences": ["END"],
        "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 1024}, "seed": 7, "presencePenalty": 0.5,
        "responseLogprobs": true, "logprobs": 3,
    });
    assert_eq!(body["generationConfig"], config);
}

#[test]
fn documents_go_out_whole_and_what_has_no_words_is_refused() {
    let with = |part: Value| {
        encode(
            &json!({"model": "g", "messages": [{"role": "user", "content": [{"type": "text", "text": "Read"}, part]}]}),
        )
    };
    let file = with(
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
    );
    let expected = json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}});
    assert_eq!(file.unwrap()["contents"][0]["parts"][1], expected);
    let refused = with(json!({"type": "file", "file": {"file_id": "file-1"}})).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("messages[0].content[1]"));
    let other =
        json!({"model": "g", "tools": [{"type": "web_search"}], "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(encode(&other).unwrap_err().param.as_deref(), Some("tools[0]"));
}

#[test]
fn a_stream_reads_alike_however_it_is_cut() {
    let stream = include_bytes!("../../../tests/fixtures/dialect/streams/gemini/tools.sse");
    let read = |cut: usize| {
        let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::<Chunk>::new());
        for piece in [&stream[..cut], &stream[cut..]] {
            decoder.push(piece, &mut chunks).unwrap();
        }
        decoder.finish(&mut chunks).unwrap();
        (chunks, decoder.is_complete())
    };
    let whole = read(0);
    assert!(whole.1 && whole.0.iter().any(|chunk| matches!(chunk.delta, Delta::ToolCall { index: 1, .. })));
    for cut in 0..stream.len() {
        assert_eq!(read(cut), whole, "cut at {cut}");
    }
}
