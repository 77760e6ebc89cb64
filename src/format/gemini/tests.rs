use serde_json::{Value, json};

use super::*;
use crate::chat::{Choice, Chunk, Delta, FinishReason, Part, PartKind, ServiceTier};
use crate::fault::FaultKind;
use crate::format::call_id::{signature_of, signed};
use crate::format::{Anthropic, ClientApi, ClientRequest, NO_QUIRKS, OpenAi, Quirks};

mod pictures;
mod pieces;
mod results;
mod settings;

fn encode(body: &Value) -> Result<Value, AttemptFault> {
    let request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body.to_string());
    let request = OpenAi.parse(&request).unwrap();
    let target = Target::plain("m", &NO_QUIRKS, 100);
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
        "model": "g", "stream": true, "temperature": 0.1, "top_p": 0.9, "seed": 7, "n": 2, "max_tokens": 5000, "stop": ["END"],
        "logprobs": true, "top_logprobs": 3, "presence_penalty": 0.5, "logit_bias": {"1": 2}, "reasoning_effort": "low",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }))
    .unwrap();
    assert_eq!(body["path"], "/models/m:streamGenerateContent?alt=sse");
    assert_eq!(body["dropped"], json!(["logit_bias"]));
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "Be brief."}]}));
    let config = json!({
        "temperature": 0.1, "topP": 0.9, "candidateCount": 2, "maxOutputTokens": 5000, "stopSequences": ["END"],
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

fn sent(api: &dyn ClientApi, path: &str, body: &Value, quirks: &'static Quirks) -> (Value, Vec<String>) {
    let request = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
    let target = Target::plain("m", quirks, 100);
    let encoded = Gemini.encode(&request, &target).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

#[test]
fn a_reply_of_the_same_dialect_comes_back_as_it_was() {
    let reply = json!({
        "candidates": [{
            "content": {"role": "model", "parts": [
                {"text": "thinking", "thought": true, "thoughtSignature": "YQ=="},
                {"text": "Hello", "thoughtSignature": "Yg==", "partMetadata": {"a": 1}},
                {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}, "willContinue": false}, "thoughtSignature": "YWJj"},
                {"executableCode": {"language": "PYTHON", "code": "1"}},
                {"inlineData": {"mimeType": "image/png", "data": "AA==", "displayName": "p"}, "thoughtSignature": "Yw=="},
            ]},
            "finishReason": "RECITATION", "index": 0, "avgLogprobs": -0.5,
            "logprobsResult": {"chosenCandidates": [{"token": "H", "logProbability": -0.5}]},
            "groundingMetadata": {"webSearchQueries": ["q"]}, "citationMetadata": {"citations": []},
        }],
        "usageMetadata": {"promptTokenCount": 9, "toolUsePromptTokenCount": 4, "candidatesTokenCount": 2,
            "thoughtsTokenCount": 3, "totalTokenCount": 18, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]},
        "modelVersion": "m", "responseId": "r", "createTime": "t",
    });
    let read = Gemini.decode(reply.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&Gemini.reply(&read)).unwrap(), reply);
    let tier = |traffic: &str| {
        let mut told = reply.clone();
        told["usageMetadata"]["trafficType"] = traffic.into();
        Gemini.decode(told.to_string().as_bytes()).unwrap().usage.unwrap().tier
    };
    let tiers = ["ON_DEMAND", "ON_DEMAND_PRIORITY", "ON_DEMAND_FLEX", "PROVISIONED_THROUGHPUT"].map(tier);
    assert_eq!(tiers, [None, Some(ServiceTier::Priority), Some(ServiceTier::Flex), None]);
}

#[test]
fn a_stream_of_the_same_dialect_says_what_its_provider_said_and_every_alternative() {
    let piece = |index: u32, part: Value, beside: Value| {
        let mut candidate = json!({"content": {"role": "model", "parts": [part]}, "index": index});
        candidate.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        json!({"candidates": [candidate], "modelVersion": "m", "responseId": "r"})
    };
    let mut events = vec![
        piece(0, json!({"text": "a", "partMetadata": {"k": 1}}), json!({"logprobsResult": {"n": 1}})),
        piece(0, json!({"executableCode": {"code": "1"}}), json!({})),
        piece(
            0,
            json!({"text": "", "thoughtSignature": "YQ=="}),
            json!({"finishReason": "RECITATION", "avgLogprobs": -1.0}),
        ),
        // The first is done before the second begins.
        piece(1, json!({"text": "b"}), json!({"finishReason": "STOP"})),
    ];
    events.push(json!({"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11,
        "promptTokensDetails": [{"modality": "TEXT"}]}, "createTime": "t"}));
    let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::<Chunk>::new());
    for event in &events {
        decoder.push(format!("data: {event}\r\n\r\n").as_bytes(), &mut chunks).unwrap();
        assert!(!decoder.is_complete(), "more may come");
    }
    decoder.finish(&mut chunks).unwrap();
    assert!(decoder.is_complete());
    let asked = ClientRequest::post(
        "/v1beta/models/m:streamGenerateContent?alt=sse".parse().unwrap(),
        json!({"contents": [{"parts": [{"text": "Hi"}]}]}).to_string(),
    );
    let mut encoder = ClientApi::stream(&Gemini, &Gemini.parse(&asked).unwrap());
    let mut out = bytes::BytesMut::new();
    for chunk in &chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.end(&mut out);
    let told = String::from_utf8(out.to_vec()).unwrap();
    let told: Vec<Value> =
        told.split("\r\n\r\n").filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok()).collect();
    // What was said in pieces is the same; why it ended is told at the end.
    assert_eq!(told[..2], events[..2]);
    let mut third = events[2].clone();
    third["candidates"][0].as_object_mut().unwrap().shift_remove("finishReason");
    assert_eq!(told[2], third);
    assert_eq!(told[3]["candidates"][0]["content"]["parts"], json!([{"text": "b"}]));
    let last = &told[4];
    assert_eq!((&last["usageMetadata"], &last["createTime"]), (&events[4]["usageMetadata"], &json!("t")));
    let ended = |at: usize| (&last["candidates"][at]["index"], &last["candidates"][at]["finishReason"]);
    assert_eq!([ended(0), ended(1)], [(&json!(0), &json!("RECITATION")), (&json!(1), &json!("STOP"))]);
}

#[test]
fn a_request_of_the_same_dialect_goes_out_as_it_was() {
    let path = "/v1beta/models/m:generateContent";
    let body = json!({
        "systemInstruction": {"parts": [{"text": "Be brief.", "partMetadata": {"a": 1}}]},
        "contents": [
            {"role": "user", "parts": [
                {"fileData": {"fileUri": "gs://x/v.mp4", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 2}},
                {"inlineData": {"mimeType": "video/mp4", "data": "AA=="}, "videoMetadata": {"startOffset": "1s"}},
                {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}},
            ]},
            {"role": "model", "parts": [
                {"text": "Hm", "thought": true, "thoughtSignature": "YQ=="},
                {"text": "Hello", "thoughtSignature": "Yg=="}, {"text": "", "thoughtSignature": "Yw=="}]},
            {"role": "user", "parts": [{"text": "Go on"}]},
        ],
        "generationConfig": {"thinkingConfig": {"includeThoughts": false, "thinkingLevel": "LOW"}, "mediaResolution": "X",
            "responseLogprobs": true, "logprobs": 2},
    });
    assert_eq!(sent(&Gemini, path, &body, &NO_QUIRKS), (body.clone(), vec![]));
    for thinking in [
        json!({"thinkingBudget": 77}),
        json!({"includeThoughts": true, "thinkingBudget": -1}),
        json!({"includeThoughts": true}),
        json!({"thinkingBudget": 0}),
    ] {
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"thinkingConfig": thinking}});
        assert_eq!(sent(&Gemini, path, &body, &NO_QUIRKS).0["generationConfig"]["thinkingConfig"], thinking);
    }
}

#[test]
fn what_other_clients_say_and_has_no_words_here_is_reported() {
    let body = json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"},
            "title": "T", "context": "C", "citations": {"enabled": true}, "cache_control": {"type": "ephemeral"}}]}]});
    let (_, dropped) = sent(&Anthropic, "/v1/messages", &body, &NO_QUIRKS);
    for name in [
        "messages[0].content[0].cache_control",
        "messages[1].content[0].citations",
        "messages[1].content[0].context",
        "messages[1].content[0].title",
        "messages[1].content[0].cache_control",
    ] {
        assert!(dropped.iter().any(|dropped| dropped == name), "{name}: {dropped:?}");
    }
    let body = json!({"model": "m", "messages": [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "user", "name": "ann", "content": "Hi"}]});
    let (_, dropped) = sent(&OpenAi, "/v1/chat/completions", &body, &NO_QUIRKS);
    assert_eq!(dropped, ["messages[0].content[1]", "messages[1].name"]);
}

#[test]
fn budgets_of_thinking_are_those_that_a_model_takes() {
    let lite: &'static Quirks =
        Box::leak(Box::new(serde_json::from_value(json!({"thinking": {"least": 512}})).unwrap()));
    let pro = json!({"thinking": {"least": 128, "always": true}});
    let pro: &'static Quirks = Box::leak(Box::new(serde_json::from_value(pro).unwrap()));
    for (quirks, effort, bound, budget, reported) in [
        (&NO_QUIRKS, "none", None, 0, false),
        (&NO_QUIRKS, "disable", None, 0, false),
        (pro, "none", None, 128, true),
        (lite, "none", None, 0, false),
        (lite, "minimal", None, 512, false),
        (&NO_QUIRKS, "high", Some(800), 799, false),
        (lite, "high", Some(400), 0, true),
        (pro, "high", Some(100), 128, true),
        (pro, "low", Some(5000), 1024, false),
    ] {
        let mut body =
            json!({"model": "m", "reasoning_effort": effort, "messages": [{"role": "user", "content": "Hi"}]});
        if let Some(bound) = bound {
            body["max_tokens"] = json!(bound);
        }
        let (sent, dropped) = sent(&OpenAi, "/v1/chat/completions", &body, quirks);
        let asked = (effort, bound);
        assert_eq!(sent["generationConfig"]["thinkingConfig"]["thinkingBudget"], budget, "{asked:?}");
        assert_eq!(dropped.iter().any(|name| name == "reasoning_effort"), reported, "{asked:?}");
    }
}

#[test]
fn penalties_are_not_sent_to_models_that_refuse_them() {
    let quirks = json!({"refuses": ["presence_penalty", "frequency_penalty"]});
    let refuses: &'static Quirks = Box::leak(Box::new(serde_json::from_value(quirks).unwrap()));
    let asked = |penalty: f64| json!({"model": "m", "presence_penalty": penalty, "messages": [{"role": "user", "content": "Hi"}]});
    for (quirks, penalty, told, lost) in [
        (&NO_QUIRKS, 0.5, json!(0.5), vec![]),
        (refuses, 0.5, Value::Null, vec!["presence_penalty"]),
        // It goes without saying.
        (refuses, 0.0, Value::Null, vec![]),
    ] {
        let request = OpenAi
            .parse(&ClientRequest::post("/v1/chat/completions".parse().unwrap(), asked(penalty).to_string()))
            .unwrap();
        let target = Target::plain("m", quirks, 100);
        let encoded = Gemini.encode(&request, &target).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((&body["generationConfig"]["presencePenalty"], encoded.lost), (&told, lost));
    }
}

#[test]
fn a_picture_is_of_a_kind_that_there_is() {
    let part = json!({"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AA=="}});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
    let (sent, _) = sent(&OpenAi, "/v1/chat/completions", &body, &NO_QUIRKS);
    assert_eq!(sent["contents"][0]["parts"][0]["inlineData"]["mimeType"], "image/jpeg");
}

#[test]
fn models_that_are_told_a_level_get_the_next_that_they_know() {
    let quirks = |levels: Value| -> &'static Quirks {
        Box::leak(Box::new(serde_json::from_value(json!({"thinking": {"levels": levels}})).unwrap()))
    };
    let all = quirks(json!(["minimal", "low", "medium", "high"]));
    let pro = quirks(json!(["low", "high"]));
    for (quirks, effort, level, reported) in [
        (all, "minimal", "MINIMAL", false),
        (all, "medium", "MEDIUM", false),
        (all, "max", "HIGH", false),
        (all, "none", "MINIMAL", true),
        (pro, "minimal", "LOW", false),
        (pro, "medium", "HIGH", false),
        (pro, "none", "LOW", true),
    ] {
        let body = json!({"model": "m", "reasoning_effort": effort, "messages": [{"role": "user", "content": "Hi"}]});
        let (sent, dropped) = sent(&OpenAi, "/v1/chat/completions", &body, quirks);
        let told = json!({"includeThoughts": effort != "none", "thinkingLevel": level});
        assert_eq!(sent["generationConfig"]["thinkingConfig"], told, "{effort}");
        assert_eq!(dropped == ["reasoning_effort"], reported, "{effort}: {dropped:?}");
    }
    // A budget of another dialect comes to the level that has it.
    for (budget, level) in [(1024, "LOW"), (2000, "MEDIUM"), (31999, "HIGH")] {
        let body = json!({"model": "m", "max_tokens": 32000, "thinking": {"type": "enabled", "budget_tokens": budget},
            "messages": [{"role": "user", "content": "Hi"}]});
        let (sent, _) = sent(&Anthropic, "/v1/messages", &body, all);
        assert_eq!(sent["generationConfig"]["thinkingConfig"]["thinkingLevel"], level, "{budget}");
    }
    // Its own clients say what they mean.
    let own = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"thinkingConfig": {"thinkingBudget": 77}}});
    let (sent, _) = sent(&Gemini, "/v1beta/models/m:generateContent", &own, all);
    assert_eq!(sent["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 77}));
}

#[test]
fn thinking_that_another_provider_hid_comes_back_through_its_clients() {
    let parts = vec![
        PartKind::redacted_reasoning("c2VhbGVk").into(),
        PartKind::Reasoning { text: "t".to_owned(), signature: Some("a+b/".to_owned()) }.into(),
        Part::text("x"),
    ];
    let choice = Choice {
        index: 0,
        parts: parts.clone(),
        finish: Some(FinishReason::Stop),
        rest: Rest::new(),
        message_rest: Rest::new(),
        logprobs: Vec::new(),
    };
    let reply = Reply {
        id: String::new(),
        model: "m".to_owned(),
        created: None,
        choices: vec![choice],
        usage: None,
        dialect: Dialect::named("another"),
        rest: Rest::new(),
    };
    let told: Value = serde_json::from_slice(&ClientApi::reply(&Gemini, &reply)).unwrap();
    // Its SDK keeps signatures as bytes, and writes them in the other alphabet.
    let content = told["candidates"][0]["content"].to_string().replace("a+b/", "a-b_");
    let content: Value = serde_json::from_str(&content).unwrap();
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, content]});
    let path = "/v1beta/models/m:generateContent".parse().unwrap();
    let request = Gemini.parse(&ClientRequest::post(path, body.to_string())).unwrap();
    assert_eq!(request.messages[1].parts, parts);
    // A model of Google's cannot read it.
    let target = Target::plain("m", &NO_QUIRKS, 9);
    let sent = Gemini.encode(&request, &target).unwrap().body;
    assert!(!String::from_utf8_lossy(&sent).contains("c2VhbGVk"), "{sent:?}");
}

#[test]
fn a_quota_of_the_day_is_left_alone_for_longer_than_the_minute_s() {
    let waited = |quota: &str, delay: &str, status: u16| {
        let body = json!({"error": {"code": status, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "20"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
        ]}});
        let whole = Gemini.decode_error(status, &HeaderMap::new(), body.to_string().as_bytes());
        let streamed = Gemini.decode(body.to_string().as_bytes()).unwrap_err();
        assert_eq!((whole.kind, whole.retry_after), (streamed.kind, streamed.retry_after));
        (whole.kind, whole.retry_after.map(|wait| wait.as_secs()))
    };
    let of_a_day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
    assert_eq!(waited(of_a_day, "34s", 429), (FaultKind::RateLimited, Some(600)));
    assert_eq!(waited(of_a_day, "7200s", 429), (FaultKind::RateLimited, Some(7200)));
    assert_eq!(waited(of_a_day, "34s", 503), (FaultKind::Unavailable, Some(34)));
    let of_a_minute = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
    assert_eq!(waited(of_a_minute, "34s", 429), (FaultKind::RateLimited, Some(34)));
}

#[test]
fn a_reply_that_went_wrong_before_any_content_is_a_fault_with_the_provider_s_words_and_what_it_cost() {
    let read = |event: &Value, before: &[&Value]| {
        let (mut decoder, mut chunks) = (ProviderFormat::stream(&Gemini), Vec::<Chunk>::new());
        let events = before.iter().copied().chain([event]).map(|event| format!("data: {event}\n\n"));
        let streamed = decoder.push(events.collect::<String>().as_bytes(), &mut chunks);
        let streamed = streamed.and_then(|()| decoder.finish(&mut chunks));
        let finished = chunks.iter().any(|chunk| matches!(chunk.delta, Delta::Finish(_)));
        (Gemini.decode(event.to_string().as_bytes()), streamed, finished)
    };
    let usage = json!({"promptTokenCount": 30, "candidatesTokenCount": 4});
    let went_wrong = [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "OTHER",
    ];
    for word in went_wrong {
        let candidate =
            json!({"content": {}, "finishReason": word, "finishMessage": "Malformed function call: print("});
        let (whole, streamed, finished) = read(&json!({"candidates": [candidate], "usageMetadata": usage}), &[]);
        for fault in [whole.unwrap_err(), streamed.unwrap_err()] {
            assert_eq!((fault.kind, fault.code.as_deref()), (FaultKind::BrokenStream, Some(word)));
            assert!(fault.message.contains(word) && fault.message.ends_with(": Malformed function call: print("));
            let used = fault.used.unwrap();
            assert_eq!((used.input_tokens, used.output_tokens), (30, 4));
        }
        assert!(!finished, "{word}");
    }
    // What was only thought is nothing said.
    let thought = json!({"candidates": [{"content": {"parts": [{"text": "Hm", "thought": true}]}}]});
    let end = json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]});
    let (_, streamed, finished) = read(&end, &[&thought]);
    assert!(streamed.is_err() && !finished);
    // Where something was said, it is a reply.
    let text = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]});
    let end = json!({"candidates": [{"finishReason": "MALFORMED_RESPONSE"}]});
    let (whole, streamed, finished) = read(&end, &[&text]);
    assert!(whole.is_err() && streamed.is_ok() && finished);
    let said = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "MALFORMED_RESPONSE"}]});
    let (whole, streamed, finished) = read(&said, &[]);
    assert!(whole.is_ok() && streamed.is_ok() && finished);
    // One that was stopped for a reason that is not told did not come to its end by itself.
    for (word, finish) in [
        ("OTHER", FinishReason::ContentFilter),
        ("LANGUAGE", FinishReason::ContentFilter),
        ("CONTINUATION", FinishReason::Length),
    ] {
        let said = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": word}]});
        let (whole, streamed, finished) = read(&said, &[]);
        assert!(streamed.is_ok() && finished, "{word}");
        assert_eq!(whole.unwrap().choices[0].finish, Some(finish), "{word}");
    }
    let (whole, ..) = read(&json!({"candidates": [{"finishReason": "STOP"}]}), &[]);
    assert_eq!(whole.unwrap().choices[0].finish, Some(FinishReason::Stop));
}
