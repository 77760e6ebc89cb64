use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{OpenAi, TARGET, body, encode, parse};
use crate::chat::{ImageSource, Message, OutputFormat, Part, PartKind, Reasoning, Role, Tool, ToolChoice};
use crate::fault::{FaultKind, RefusalKind};
use crate::format::framing::EventDecoder;
use crate::format::openai::DIALECT;
use crate::format::openai::decoder::Decoder;
use crate::format::{ClientApi, ClientRequest, ProviderFormat};

fn read(body: impl Into<bytes::Bytes>) -> Result<crate::chat::ChatRequest, crate::fault::Refusal> {
    crate::format::openai::parse::request(&ClientRequest::post(http::Uri::default(), body))
}

/// A request with every field of the provider's library, and a few of those who imitate it.
fn everything() -> Value {
    json!({
        "model": "my-group",
        "messages": [
            {"role": "developer", "content": "Be brief.", "name": "ops"},
            {"role": "system", "content": [
                {"type": "text", "text": "One."},
                {"type": "text", "text": "Two.", "prompt_cache_breakpoint": {"mode": "explicit"}}
            ]},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "hint": 1}, "mark": true},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}}
            ]},
            {"role": "assistant", "content": null, "reasoning_content": "Look it up.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"q\": 1 }"},
                 "extra_content": {"google": {"thought_signature": "abc"}}},
                {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": "not json"}},
                {"id": "call_3", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "call_2", "content": [
                {"type": "text", "text": "two"}, {"type": "text", "text": "parts"}
            ]},
            {"role": "assistant", "content": null, "refusal": "No.", "audio": {"id": "audio_1"}},
            {"role": "function", "name": "old", "content": "result"},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
            {"role": "user", "content": "go on"}
        ],
        "tools": [
            {"type": "function", "function": {
                "name": "look", "description": "Looks.", "strict": true,
                "parameters": {"type": "object", "properties": {"z": {}, "a": {}}, "required": ["z"]}
            }},
            {"type": "function", "function": {"name": "bare"}, "defer": true},
            {"type": "custom", "custom": {"name": "shell"}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "max_completion_tokens": 900,
        "n": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END", "\n\n"],
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "answer", "description": "d", "strict": true, "schema": {"type": "object"}, "more": 1
        }},
        "reasoning_effort": "high",
        "user": "u-1",
        "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false},
        "seed": 7, "logprobs": true, "top_logprobs": 2, "logit_bias": {"50256": -100},
        "frequency_penalty": 0.1, "presence_penalty": -0.1, "metadata": {"a": "b"}, "store": true,
        "service_tier": "flex", "verbosity": "low", "prompt_cache_key": "k", "safety_identifier": "s",
        "prediction": {"type": "content", "content": "x"}, "modalities": ["text"], "audio": null,
        "web_search_options": {"search_context_size": "low"}
    })
}

#[test]
fn the_same_dialect_gets_everything_back() {
    let mut expected = everything();
    let encoded = encode(&parse(&expected));
    expected["model"] = json!("upstream-model");
    assert_eq!(body(&encoded), expected);
    assert_eq!(encoded.dropped, Vec::<String>::new());
    assert_eq!(encoded.path, "/chat/completions");
    assert!(encoded.headers.is_empty());
    // The order of a schema's properties is part of its meaning to a model.
    let text = std::str::from_utf8(&encoded.body).unwrap();
    assert!(text.contains(r#"{"z":{},"a":{}}"#));
}

#[test]
fn what_is_said_of_a_request_that_is_not_kept_is_left_out_and_told() {
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    for (store, metadata) in
        [(json!(false), json!({"a": "b"})), (json!(true), json!({"a": 1})), (json!(true), many.into())]
    {
        let mut asked = everything();
        (asked["store"], asked["metadata"]) = (store, metadata);
        let encoded = encode(&parse(&asked));
        asked["model"] = json!("upstream-model");
        asked.as_object_mut().unwrap().remove("metadata");
        assert_eq!((body(&encoded), &encoded.dropped[..]), (asked, &["metadata".to_owned()][..]));
    }
}

#[test]
fn meaning_is_read_out_of_it() {
    use Role::{Assistant, Developer, System, Tool as ToolRole, User};
    let request = parse(&everything());
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Developer, System, User, Assistant, ToolRole, ToolRole, Assistant, ToolRole, Assistant, User]);
    assert_eq!(
        request.messages[2].parts[2].kind,
        PartKind::Image(ImageSource::Base64 {
            media_type: "image/png".to_owned(),
            data: "iVBORw0KGgo=".to_owned(),
            detail: None
        })
    );
    assert!(matches!(&request.messages[2].parts[3].kind, PartKind::Other(value) if value["type"] == "input_audio"));
    assert!(
        matches!(&request.messages[3].parts[0].kind, PartKind::Reasoning { text, signature: None } if text == "Look it up.")
    );
    assert!(
        matches!(&request.messages[3].parts[2].kind, PartKind::ToolCall { id, arguments, .. } if id == "call_2" && arguments == "not json")
    );
    assert_eq!(request.tool_choice, Some(ToolChoice::Function("look".to_owned())));
    assert_eq!((request.max_tokens, request.choices, request.top_k), (Some(900), 2, Some(40)));
    assert_eq!(request.reasoning, Some(Reasoning { effort: Some("high".to_owned()), budget_tokens: None }));
    assert!(
        matches!(&request.output, Some(OutputFormat::JsonSchema { name: Some(name), strict: Some(true), .. }) if name == "answer")
    );
    assert!(request.stream && request.stream_usage);
    assert_eq!(request.user.as_deref(), Some("u-1"));
    assert_eq!(request.rest["seed"], 7);
}

/// What a small request becomes: (fields beside model and message, the same sent on).
#[test]
fn spellings_are_kept_or_made_plain() {
    for (given, sent) in [
        (json!({}), json!({})),
        (json!({"max_tokens": 5}), json!({"max_tokens": 5})),
        (json!({"max_completion_tokens": 5}), json!({"max_completion_tokens": 5})),
        (json!({"max_tokens": 9, "max_completion_tokens": 5}), json!({"max_completion_tokens": 5})),
        (json!({"max_tokens": null, "stop": null, "tools": null, "n": null, "stream": null}), json!({})),
        (json!({"stop": "END"}), json!({"stop": ["END"]})),
        (json!({"n": 1, "stream": false}), json!({})),
        (json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": true}})),
        (json!({"top_k": -1}), json!({"top_k": -1})),
        (json!({"response_format": {"type": "text"}}), json!({"response_format": {"type": "text"}})),
        (json!({"response_format": {"type": "json_object"}}), json!({"response_format": {"type": "json_object"}})),
        (
            json!({"response_format": {"type": "grammar", "g": 1}}),
            json!({"response_format": {"type": "grammar", "g": 1}}),
        ),
        (json!({"tool_choice": "required"}), json!({"tool_choice": "required"})),
        (
            json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}),
            json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}),
        ),
        (
            json!({"functions": [{"name": "f"}], "function_call": "auto"}),
            json!({"functions": [{"name": "f"}], "function_call": "auto"}),
        ),
    ] {
        let with = |fields: &Value| {
            let mut whole = json!({"model": "upstream-model", "messages": [{"role": "user", "content": "x"}]});
            whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            whole
        };
        let encoded = encode(&parse(&with(&given)));
        assert_eq!(body(&encoded), with(&sent), "{given}");
    }
}

#[test]
fn a_changed_bound_is_sent_under_the_name_the_client_used() {
    let mut request = parse(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 900}));
    request.max_tokens = Some(10);
    assert_eq!(body(&encode(&request))["max_tokens"], 10);
}

#[test]
fn a_complaint_names_the_field() {
    let hi = json!([{"role": "user", "content": "x"}]);
    for (request, message) in [
        (json!([]), "expected an object, found an array"),
        (json!({"messages": hi}), "`model`: this field is required"),
        (json!({"model": "", "messages": hi}), "`model`: the name of a model is required"),
        (json!({"model": 5, "messages": hi}), "`model`: expected a text, found 5"),
        (json!({"model": "m"}), "`messages`: this field is required"),
        (json!({"model": "m", "messages": []}), "`messages`: at least one message is required"),
        (json!({"model": "m", "messages": "x"}), "`messages`: expected an array, found \"x\""),
        (json!({"model": "m", "messages": ["x"]}), "`messages[0]`: expected an object, found \"x\""),
        (json!({"model": "m", "messages": [{"content": "x"}]}), "`messages[0].role`: this field is required"),
        (
            json!({"model": "m", "messages": [{"role": "boss", "content": "x"}]}),
            "`messages[0].role`: expected one of `system`, `developer`, `user`, `assistant`, `tool`, `function`, found \"boss\"",
        ),
        (json!({"model": "m", "messages": [{"role": "user"}]}), "`messages[0].content`: this field is required"),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": 1}]}),
            "`messages[0].content`: expected a text or an array of parts, found 1",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text"}]}]}),
            "`messages[1].content[0].text`: this field is required",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]}),
            "`messages[0].content[0].image_url.url`: expected a text, found 3",
        ),
        (
            json!({"model": "m", "messages": [{"role": "tool", "content": "x"}]}),
            "`messages[0].tool_call_id`: this field is required",
        ),
        (
            json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}]}),
            "`messages[0].tool_calls[0].function.name`: this field is required",
        ),
        (
            json!({"model": "m", "messages": hi, "tools": [{"type": "function", "function": {"name": "a", "strict": "yes"}}]}),
            "`tools[0].function.strict`: expected true or false, found \"yes\"",
        ),
        (
            json!({"model": "m", "messages": hi, "tool_choice": "maybe"}),
            "`tool_choice`: expected `auto`, `none`, `required` or an object, found \"maybe\"",
        ),
        (
            json!({"model": "m", "messages": hi, "temperature": "hot"}),
            "`temperature`: expected a number, found \"hot\"",
        ),
        (
            json!({"model": "m", "messages": hi, "max_tokens": 1.5}),
            "`max_tokens`: expected a whole number from 0 to 4294967295, found 1.5",
        ),
        (json!({"model": "m", "messages": hi, "n": 0}), "`n`: at least one reply must be asked for"),
        (json!({"model": "m", "messages": hi, "stop": ["a", 1]}), "`stop[1]`: expected a text, found 1"),
        (
            json!({"model": "m", "messages": hi, "stream_options": true}),
            "`stream_options`: expected an object, found true",
        ),
        (
            json!({"model": "m", "messages": hi, "response_format": {}}),
            "`response_format.type`: this field is required",
        ),
    ] {
        let refusal = read(request.to_string()).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::InvalidRequest, "{request}");
        assert_eq!(refusal.message, message, "{request}");
        if let Some(param) = message.strip_prefix('`').and_then(|rest| rest.split('`').next()) {
            assert_eq!(refusal.param.as_deref(), Some(param));
        }
    }
}

/// A conversation as another dialect's API would make it.
fn foreign() -> crate::chat::ChatRequest {
    let mut request = parse(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}));
    request.dialect = crate::format::anthropic::DIALECT;
    request
}

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None, rest: crate::chat::Rest::new() }
}

fn object(value: &Value) -> crate::chat::Rest {
    value.as_object().unwrap().clone()
}

#[test]
fn what_another_dialect_said_is_dropped_and_reported() {
    let mut request = foreign();
    request.top_k = Some(5);
    request.reasoning = Some(Reasoning { effort: None, budget_tokens: Some(5000) });
    request.rest = object(&json!({"container": "c", "max_tokens": null, "metadata": {"tenant": 1}}));
    Arc::make_mut(&mut request.messages)[0].parts[0].rest = object(&json!({"cache_control": {"type": "ephemeral"}}));
    let thinking = PartKind::Reasoning { text: "hm".to_owned(), signature: Some("sig".to_owned()) };
    let sealed = PartKind::Other(json!({"type": "redacted_thinking", "data": "x"}));
    Arc::make_mut(&mut request.messages)
        .push(said(Role::Assistant, vec![thinking.into(), sealed.into(), Part::text("well")]));
    request.max_tokens = Some(50);
    request.tools = vec![Tool::Function {
        name: "f".to_owned(),
        description: None,
        parameters: Some(json!({"type": "object"})),
        strict: None,
        rest: object(&json!({"cache_control": {}})),
    }];
    let encoded = encode(&request);
    assert_eq!(
        body(&encoded),
        json!({
            "model": "upstream-model",
            "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "well"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
            "max_completion_tokens": 50,
            "top_k": 5,
            "reasoning_effort": "medium"
        })
    );
    assert_eq!(
        encoded.dropped,
        [
            "messages[0].content[0].cache_control",
            "messages[1].content[0]",
            "messages[1].content[1]",
            "tools[0].cache_control",
            "thinking.budget_tokens",
            "container",
            "metadata.tenant"
        ]
    );
}

#[test]
fn what_cannot_be_left_out_is_rejected() {
    let document = || PartKind::Other(json!({"type": "document", "source": {}})).into();
    let mut asked = foreign();
    Arc::make_mut(&mut asked.messages)[0].parts.push(document());
    let mut tool = foreign();
    tool.tools = vec![Tool::Other(json!({"type": "web_search_20260101", "name": "web_search"}))];
    let mut choice = foreign();
    choice.tool_choice = Some(ToolChoice::Other(json!({"type": "x"})));
    for (request, param, kind) in [
        (asked, "messages[0].content[1]", "`document`"),
        (tool, "tools[0]", "`web_search_20260101`"),
        (choice, "tool_choice", "`x`"),
    ] {
        let fault = OpenAi.encode(&request, &TARGET).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected);
        assert_eq!(fault.param.as_deref(), Some(param));
        assert!(fault.message.contains(kind), "{}", fault.message);
    }
}

#[test]
fn tool_results_stand_alone_and_their_pictures_follow() {
    let result = |id: &str, content: Vec<Part>, is_error| {
        Part::from(PartKind::ToolResult { call_id: id.to_owned(), content, is_error })
    };
    let call = |id: &str| {
        Part::from(PartKind::ToolCall { id: id.to_owned(), name: "look".to_owned(), arguments: String::new() })
    };
    let picture = || {
        let source = ImageSource::Base64 { media_type: "image/png".to_owned(), data: "AAAA".to_owned(), detail: None };
        Part::from(PartKind::Image(source))
    };
    let mut request = foreign();
    Arc::make_mut(&mut request.messages).push(said(Role::Assistant, vec![call("a"), call("b")]));
    Arc::make_mut(&mut request.messages).push(said(
        Role::Tool,
        vec![result("a", vec![Part::text("seen"), picture()], false), result("b", vec![picture()], true)],
    ));
    Arc::make_mut(&mut request.messages).push(said(Role::User, vec![Part::text("so?")]));
    let encoded = encode(&request);
    let tool_call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    assert_eq!(
        body(&encoded)["messages"],
        json!([
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "tool_calls": [tool_call("a"), tool_call("b")]},
            {"role": "tool", "tool_call_id": "a", "content": "seen"},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "user", "content": [image, image]},
            {"role": "user", "content": "so?"}
        ])
    );
    assert_eq!(encoded.dropped, ["messages[2].content[1].is_error"]);
}

#[test]
fn signed_thinking_survives_a_client_of_this_dialect() {
    let request = parse(&json!({"model": "m", "messages": [{"role": "assistant", "content": "a",
    "reasoning_content": "t1t2",
    "thinking_blocks": [
        {"index": 0, "type": "thinking", "thinking": "t1", "signature": "s1"},
        {"type": "redacted_thinking", "data": "d"}
    ]}]}));
    assert_eq!(
        request.messages[0].parts,
        [
            PartKind::Reasoning { text: "t1".to_owned(), signature: Some("s1".to_owned()) }.into(),
            PartKind::Other(json!({"type": "redacted_thinking", "data": "d"})).into(),
            Part::text("a")
        ]
    );
}

/// JSON that looks like a request, with anything in any place.
fn likely_json() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just("user"),
        Just("assistant"),
        Just("tool"),
        Just("text"),
        Just("image_url"),
        Just("function"),
        Just("data:;base64,"),
        Just("")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    let keys = proptest::sample::select(vec![
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "tools",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "choices",
        "delta",
        "message",
        "usage",
        "prompt_tokens",
        "error",
        "code",
        "finish_reason",
        "response_format",
        "json_schema",
        "schema",
        "stop",
        "n",
        "tool_call_id",
        "refusal",
        "thinking_blocks",
        "thinking",
        "reasoning",
        "prompt_tokens_details",
        "cached_tokens",
        "logprobs",
        "stream_options",
    ]);
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keys.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_read_is_written_as_json(messages in likely_json(), more in likely_json(), noise in any::<Vec<u8>>()) {
        let mut whole = more.clone();
        if let Some(object) = whole.as_object_mut() {
            object.insert("model".to_owned(), json!("m"));
            object.insert("messages".to_owned(), if messages.is_array() { messages } else { json!([messages]) });
        }
        for dialect in [DIALECT, crate::format::anthropic::DIALECT] {
            if let Ok(mut request) = read(whole.to_string()) {
                request.dialect = dialect;
                if let Ok(encoded) = OpenAi.encode(&request, &TARGET) {
                    prop_assert!(serde_json::from_slice::<Value>(&encoded.body).is_ok());
                }
            }
            if let Ok(mut reply) = OpenAi.decode(whole.to_string().as_bytes()) {
                reply.dialect = dialect;
                prop_assert!(serde_json::from_slice::<Value>(&OpenAi.reply(&reply)).is_ok());
            }
        }
        let mut chunks = Vec::new();
        let mut decoder = Decoder::default();
        for data in [more.to_string(), whole.to_string(), String::from_utf8_lossy(&noise).into_owned()] {
            drop(decoder.event("", &data, &mut chunks));
        }
        let mut encoder = super::super::encoder::Encoder::new(true);
        let mut out = bytes::BytesMut::new();
        for chunk in &chunks {
            crate::format::StreamEncoder::chunk(&mut encoder, chunk, &mut out);
        }
        for line in String::from_utf8(out.to_vec()).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
            prop_assert!(serde_json::from_str::<Value>(line).is_ok(), "{}", line);
        }
        drop(read(noise.clone()));
        drop(OpenAi.decode(&noise));
        drop(OpenAi.decode_error(500, &http::HeaderMap::new(), &noise));
        drop(OpenAi.decode_error(400, &http::HeaderMap::new(), more.to_string().as_bytes()));
    }
}
