//! What is asked for beside the conversation, and what is told beside a reply.

use super::*;
use crate::chat::Usage;

const CHAT: &str = "/v1/chat/completions";

fn quirks(value: Value) -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_value(value).unwrap()))
}

#[test]
fn a_shape_beside_tools_is_asked_for_in_words_where_the_model_refuses_both() {
    let words = quirks(json!({"schemas": "words"}));
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    for format in
        [json!({"type": "json_object"}), json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})]
    {
        let mut body =
            json!({"model": "m", "response_format": format, "messages": [{"role": "user", "content": "Hi"}]});
        let (alone, _) = sent(&OpenAi, CHAT, &body, words);
        assert_eq!(alone["generationConfig"]["responseMimeType"], "application/json");
        assert_eq!(alone["systemInstruction"], Value::Null);
        body["tools"] = tools.clone();
        let (both, _) = sent(&OpenAi, CHAT, &body, words);
        assert_eq!(both["generationConfig"], json!({}));
        let said = both["systemInstruction"]["parts"][0]["text"].as_str().unwrap_or_default();
        assert!(said.contains("JSON"), "{both}");
        let (newer, _) = sent(&OpenAi, CHAT, &body, &NO_QUIRKS);
        assert_eq!(newer["generationConfig"]["responseMimeType"], "application/json");
    }
}

#[test]
fn how_soon_it_is_to_be_served_is_sent() {
    for (asked, told, dropped) in [
        ("flex", json!("flex"), false),
        ("priority", json!("priority"), false),
        ("default", json!("standard"), false),
        ("auto", Value::Null, true),
    ] {
        let body = json!({"model": "m", "service_tier": asked, "messages": [{"role": "user", "content": "Hi"}]});
        let (sent, left_out) = sent(&OpenAi, CHAT, &body, &NO_QUIRKS);
        assert_eq!((&sent["serviceTier"], !left_out.is_empty()), (&told, dropped), "{asked}: {left_out:?}");
    }
    let own = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "serviceTier": "flex"});
    let path = "/v1beta/models/m:generateContent";
    let (sent, _) = sent(&Gemini, path, &own, &NO_QUIRKS);
    assert_eq!((&sent["serviceTier"], &sent["service_tier"]), (&json!("flex"), &Value::Null));
    let request = Gemini.parse(&ClientRequest::post(path.parse().unwrap(), own.to_string())).unwrap();
    assert_eq!(request.rest["service_tier"], "flex");
    // What is told is what it was served in, whole or streamed: what was to be sooner may have been served as usual.
    for (told, tier) in
        [("flex", Some(ServiceTier::Flex)), ("priority", Some(ServiceTier::Priority)), ("standard", None)]
    {
        let reply = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 1, "serviceTier": told}});
        let read = Gemini.decode(reply.to_string().as_bytes()).unwrap();
        assert_eq!(read.usage.map(|usage| usage.tier), Some(tier), "{told}");
        let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::new());
        decoder.push(format!("data: {reply}\n\n").as_bytes(), &mut chunks).unwrap();
        let streamed = chunks.iter().find_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(usage.tier),
            _ => None,
        });
        assert_eq!(streamed, Some(tier), "{told}");
    }
}

#[test]
fn what_is_heard_spoken_drawn_and_searched_for_is_counted_whole_or_streamed() {
    let heard = |kind: &str, count: u64| json!({"modality": kind, "tokenCount": count});
    let usage = json!({"promptTokenCount": 1000, "cachedContentTokenCount": 300, "candidatesTokenCount": 50,
        "promptTokensDetails": [heard("AUDIO", 900), heard("TEXT", 100)], "cacheTokensDetails": [heard("AUDIO", 300)],
        "candidatesTokensDetails": [heard("AUDIO", 40), heard("TEXT", 3), heard("IMAGE", 7)]});
    let candidate = |grounding: &Value, finish: Value| json!({"content": {"parts": [{"text": "x"}]}, "finishReason": finish, "groundingMetadata": grounding});
    let counts = |usage: &Usage| {
        let of_audio = (usage.audio_input_tokens, usage.audio_cache_read_tokens, usage.audio_output_tokens);
        (of_audio, usage.image_output_tokens, usage.searches)
    };
    let web = json!({"webSearchQueries": ["a", "b", "", "a"], "groundingChunks": [{"web": {"uri": "https://a"}}]});
    let maps = json!({"webSearchQueries": ["a"], "groundingChunks": [{"maps": {"uri": "https://a"}}]});
    for (grounding, searches) in [(web, 2), (maps, 0), (Value::Null, 0)] {
        let reply = json!({"candidates": [candidate(&grounding, json!("STOP"))], "usageMetadata": usage});
        let read = Gemini.decode(reply.to_string().as_bytes()).unwrap();
        assert_eq!(read.usage.as_ref().map(counts), Some(((900, 300, 40), 7, searches)), "{reply}");
        // In a stream what was found may be told more than once.
        let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::new());
        for finish in [Value::Null, json!("STOP")] {
            let event = json!({"candidates": [candidate(&grounding, finish)], "usageMetadata": usage});
            decoder.push(format!("data: {event}\n\n").as_bytes(), &mut chunks).unwrap();
        }
        let last = chunks.iter().rev().find_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(counts(usage)),
            _ => None,
        });
        assert_eq!(last, Some(((900, 300, 40), 7, searches)), "{reply}");
    }
}

#[test]
fn what_a_search_found_is_no_input_and_what_other_tools_read_is() {
    let web = json!({"webSearchQueries": ["a"], "groundingChunks": [{"web": {"uri": "https://a"}}]});
    let maps = json!({"groundingChunks": [{"maps": {"uri": "https://a"}}]});
    // Pages that were opened are told there, too, and nothing was searched for.
    let opened = json!({"groundingChunks": [{"web": {"uri": "https://a"}}]});
    let path = "/v1beta/models/m:streamGenerateContent?alt=sse";
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    for (grounding, input, heard) in [(web, 10, 4), (maps, 10, 4), (opened, 5010, 104), (Value::Null, 5010, 104)] {
        let told = json!({"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 5033, "thoughtsTokenCount": 3,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}], "toolUsePromptTokenCount": 5000,
            "toolUsePromptTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}]});
        let reply = json!({"candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}, "finishReason": "STOP",
            "index": 0, "groundingMetadata": grounding}], "usageMetadata": told, "modelVersion": "m", "responseId": "r"});
        let read = Gemini.decode(reply.to_string().as_bytes()).unwrap();
        let counts = |usage: &Usage| (usage.input_tokens, usage.audio_input_tokens, usage.output_tokens);
        assert_eq!(read.usage.as_ref().map(counts), Some((input, heard, 23)), "{reply}");
        // Clients of this API are told what its provider told.
        let whole: Value = serde_json::from_slice(&Gemini.reply(&read)).unwrap();
        assert_eq!(whole["usageMetadata"], told, "{reply}");
        let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::new());
        decoder.push(format!("data: {reply}\n\n").as_bytes(), &mut chunks).unwrap();
        let last = chunks.iter().rev().find_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(counts(usage)),
            _ => None,
        });
        assert_eq!(last, Some((input, heard, 23)), "{reply}");
        let request = Gemini.parse(&ClientRequest::post(path.parse().unwrap(), asked.to_string())).unwrap();
        let (mut encoder, mut out) = (ClientApi::stream(&Gemini, &request), bytes::BytesMut::new());
        for chunk in &chunks {
            encoder.chunk(chunk, &mut out);
        }
        encoder.end(&mut out);
        let streamed = String::from_utf8(out.to_vec()).unwrap();
        let event = streamed.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
        assert_eq!(serde_json::from_str::<Value>(event).unwrap()["usageMetadata"], told, "{streamed}");
    }
}

#[test]
fn tokens_of_vectors_are_told_in_either_place() {
    let tokens = |body: Value| {
        let usage = Gemini.decode_vectors(body.to_string().as_bytes()).unwrap().usage;
        usage.map(|usage| usage.input_tokens)
    };
    let list = json!([{"values": [0.5]}]);
    assert_eq!(tokens(json!({"embeddings": list, "usageMetadata": {"promptTokenCount": 3}})), Some(3));
    assert_eq!(tokens(json!({"embedding": list[0], "usageMetadata": {"promptTokenCount": 3}})), Some(3));
    assert_eq!(tokens(json!({"embeddings": list})), None);
    let cloud = json!({"embeddings": {"values": [0.5], "statistics": {"token_count": 4}}});
    assert_eq!(tokens(json!({"predictions": [cloud]})), Some(4));
}
