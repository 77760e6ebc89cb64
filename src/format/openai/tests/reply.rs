use serde_json::{Value, json};

use super::OpenAi;
use crate::chat::{Choice, FinishReason, Part, PartKind, Reply, Rest, ServiceTier, Usage};
use crate::fault::FaultKind;
use crate::format::{ClientApi, ProviderFormat};

fn decode(reply: &Value) -> Reply {
    OpenAi.decode(reply.to_string().as_bytes()).unwrap()
}

fn written(reply: &Reply) -> Value {
    serde_json::from_slice(&OpenAi.reply(reply)).unwrap()
}

#[test]
fn the_same_dialect_gets_everything_back() {
    let reply = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_790_000_000, "model": "gpt-x",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null,
                "reasoning_content": "hm", "annotations": [{"type": "url_citation"}]},
             "logprobs": {"content": []}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"x": 1}},
                {"id": "b", "type": "custom", "custom": {"name": "g", "input": "i"}}]},
             "logprobs": null, "finish_reason": "tool_calls"},
            {"index": 2, "message": {"role": "assistant", "content": null, "refusal": "No."},
             "logprobs": null, "finish_reason": "stop"},
            {"index": 3, "message": {"role": "assistant", "refusal": null, "content": "listed"}, "finish_reason": "weird"}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 8, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 7, "accepted_prediction_tokens": 0}, "cost": 0.5},
        "service_tier": "default", "system_fingerprint": "fp"
    });
    let read = decode(&reply);
    assert_eq!(written(&read), reply);
    let tier = |word: &str| {
        let mut told = reply.clone();
        told["service_tier"] = word.into();
        decode(&told).usage.unwrap().tier
    };
    assert_eq!(
        ["default", "flex", "priority", "fast", "ultrafast", "scale"].map(tier),
        [
            None,
            Some(ServiceTier::Flex),
            Some(ServiceTier::Priority),
            Some(ServiceTier::Priority),
            Some(ServiceTier::Ultrafast),
            None
        ]
    );
    let usage = read.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens), (100, 60, 8));
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (20, 7));
    let finish: Vec<_> = read.choices.iter().map(|choice| choice.finish.clone().unwrap()).collect();
    assert_eq!(finish[0], FinishReason::Stop);
    assert_eq!(finish[1], FinishReason::ToolCalls);
    assert_eq!(finish[2], FinishReason::Refusal);
    assert_eq!(finish[3], FinishReason::Other("weird".to_owned()));
}

#[test]
fn what_is_heard_spoken_drawn_and_searched_for_is_counted() {
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 1000,
        "prompt_tokens_details": {"audio_tokens": 900, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 800, "image_tokens": 120, "reasoning_tokens": 0}});
    let counts = |annotations: Value| {
        let reply = json!({"choices": [{"message": {"content": "x", "annotations": annotations}}], "usage": usage});
        let usage = decode(&reply).usage.unwrap();
        (usage.audio_input_tokens, usage.audio_output_tokens, usage.image_output_tokens, usage.searches)
    };
    let cited = json!({"type": "url_citation", "url_citation": {"url": "https://a"}});
    assert_eq!(counts(json!([cited, cited])), (900, 800, 120, 1));
    assert_eq!(counts(json!([{"type": "file_citation"}])), (900, 800, 120, 0));
    assert_eq!(counts(Value::Null), (900, 800, 120, 0));
}

#[test]
fn thoughts_that_a_provider_counts_beside_its_words_are_output() {
    let usage = |total: u64, thoughts: u64| {
        let reply = json!({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 100,
            "completion_tokens": 10, "total_tokens": total, "completion_tokens_details": {"reasoning_tokens": thoughts}}});
        let read = decode(&reply);
        let told = written(&read)["usage"]["total_tokens"].as_u64().unwrap();
        let usage = read.usage.unwrap();
        (usage.output_tokens, usage.reasoning_tokens, told)
    };
    assert_eq!(usage(610, 500), (510, 500, 610), "as xAI counts");
    assert_eq!(usage(110, 5), (10, 5, 110), "as OpenAI does");
    assert_eq!([usage(110, 0), usage(600, 500)], [(10, 0, 110), (10, 500, 110)]);
}

#[test]
fn cached_input_is_read_by_each_provider_s_name() {
    let cached = |usage: Value| {
        let read = decode(&json!({"choices": [{"message": {"content": "x"}}], "usage": usage}));
        let told = written(&read)["usage"].clone();
        assert_eq!(told["prompt_tokens_details"]["cached_tokens"], read.usage.as_ref().unwrap().cache_read_tokens);
        (read.usage.unwrap().cache_read_tokens, told)
    };
    let (tokens, told) = cached(json!({"prompt_tokens": 100, "completion_tokens": 1, "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36}));
    assert_eq!((tokens, &told["prompt_cache_hit_tokens"]), (64, &json!(64)), "DeepSeek's");
    let (tokens, told) = cached(json!({"prompt_tokens": 100, "completion_tokens": 1, "cached_tokens": 32}));
    assert_eq!((tokens, &told["cached_tokens"]), (32, &json!(32)), "Moonshot's");
    let both = json!({"prompt_tokens": 100, "completion_tokens": 1, "prompt_cache_hit_tokens": 64,
        "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(cached(both).0, 0);
    let other = json!({"prompt_tokens": 100, "completion_tokens": 1, "cached_tokens": 32,
        "prompt_tokens_details": {"audio_tokens": 3}});
    assert_eq!(cached(other).0, 32);
}

#[test]
fn imitators_are_understood() {
    let read = decode(&json!({"choices": [{"message": {"content": "x", "tool_calls": [
        {"function": {"name": "f", "arguments": {"a": 1}}}]}}], "created": 1.5e9, "usage": {}}));
    assert_eq!((read.id.as_str(), read.created, read.usage), ("", Some(1_500_000_000), None));
    assert!(matches!(&read.choices[0].parts[1].kind, PartKind::ToolCall { arguments, .. } if arguments == "{\"a\":1}"));
    assert_eq!(read.choices[0].finish, None);
    let read = decode(&json!({"choices": [{"message": {"content": "x", "reasoning": "r"}}]}));
    assert!(matches!(&read.choices[0].parts[0].kind, PartKind::Reasoning { text, .. } if text == "r"));
}

#[test]
fn what_is_no_reply_is_a_fault() {
    for (body, message) in [
        ("<html>", "the provider's reply is not JSON: line 1, column 1: expected value"),
        ("[]", "the provider's reply is not understood: expected an object, found an array"),
        ("{}", "the provider's reply is not understood: `choices`: this field is required"),
        (
            r#"{"choices":[{"message":{"content":7}}]}"#,
            "the provider's reply is not understood: `choices[0].message.content`: expected a text or an array of parts, found 7",
        ),
    ] {
        let fault = OpenAi.decode(body.as_bytes()).unwrap_err();
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::BrokenStream, message));
    }
}

#[test]
fn another_dialects_reply_reads_well() {
    let thinking = |text: &str, signature: &str| {
        Part::from(PartKind::Reasoning { text: text.to_owned(), signature: Some(signature.to_owned()) })
    };
    let cited = Part { kind: PartKind::Text("is it.".to_owned()), rest: object(&json!({"citations": []})) };
    let sealed = PartKind::Other(json!({"type": "redacted_thinking", "data": "d"}));
    let foreign = PartKind::Other(json!({"type": "server_tool_use"}));
    let call = PartKind::ToolCall { id: "toolu_1".to_owned(), name: "f".to_owned(), arguments: String::new() };
    let reply = Reply {
        id: "msg_1".to_owned(),
        model: "m".to_owned(),
        created: None,
        choices: vec![Choice {
            index: 0,
            parts: vec![
                thinking("t1", "s1"),
                sealed.into(),
                thinking("t2", "s2"),
                Part::text("This "),
                foreign.into(),
                cited,
                call.into(),
            ],
            finish: Some(FinishReason::ToolCalls),
            rest: object(&json!({"stop_sequence": null})),
            message_rest: Rest::new(),
            logprobs: Vec::new(),
        }],
        usage: Some(Usage {
            input_tokens: 10,
            output_tokens: 5,
            cache_read_tokens: 4,
            rest: object(&json!({"geo": 1})),
            ..Usage::default()
        }),
        dialect: crate::format::anthropic::DIALECT,
        rest: object(&json!({"container": null})),
    };
    assert_eq!(
        written(&reply),
        json!({
            "id": "msg_1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "This is it.", "refusal": null,
                "reasoning_content": "t1t2",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "t1", "signature": "s1"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "thinking", "thinking": "t2", "signature": "s2"}],
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 0}}
        })
    );
    let word = |finish, parts| {
        let choice = Choice {
            index: 0,
            parts,
            finish: Some(finish),
            rest: Rest::new(),
            message_rest: Rest::new(),
            logprobs: Vec::new(),
        };
        written(&Reply { choices: vec![choice], ..reply.clone() })["choices"][0]["finish_reason"].clone()
    };
    assert_eq!(word(FinishReason::Refusal, vec![]), "content_filter");
    assert_eq!(word(FinishReason::Refusal, vec![PartKind::Refusal("no".to_owned()).into()]), "stop");
    assert_eq!(word(FinishReason::StopSequence(Some("END".to_owned())), vec![]), "stop");
    assert_eq!(word(FinishReason::Length, vec![]), "length");
    assert_eq!(word(FinishReason::ContentFilter, vec![]), "content_filter");
    assert_eq!(word(FinishReason::Other("pause_turn".to_owned()), vec![]), "stop");
}

fn object(value: &Value) -> Rest {
    value.as_object().unwrap().clone()
}
