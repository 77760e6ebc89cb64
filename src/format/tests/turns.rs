//! Turns and what is in them, where one dialect takes what another refuses.

use serde_json::{Value, json};

use super::documents::{across, quirky};
use crate::format::Quirks;

fn quirks(told: Value) -> &'static Quirks {
    Box::leak(Box::new(serde_json::from_value(told).unwrap()))
}

fn call(content: &Value) -> Value {
    let function = json!({"name": "f", "arguments": "{}"});
    json!({"role": "assistant", "content": content, "tool_calls": [{"id": "a", "type": "function", "function": function}]})
}

#[test]
fn turns_in_which_nothing_is_said_are_left_out() {
    let user = |text: &str| json!({"role": "user", "content": text});
    for silent in [json!(""), json!(null)] {
        let asked =
            json!({"model": "m", "messages": [user("One"), {"role": "assistant", "content": silent}, user("Two")]});
        let (_, body) = across("openai", "gemini", &asked).unwrap();
        assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]}]));
        for to in ["bedrock", "anthropic"] {
            let (_, body) = across("openai", to, &asked).unwrap();
            assert_eq!(body["messages"].as_array().map(Vec::len), Some(1), "{to}: {body}");
            assert_eq!(body["messages"][0]["content"].as_array().map(Vec::len), Some(2), "{to}: {body}");
        }
    }
}

#[test]
fn instructions_alone_are_a_question_where_a_conversation_is_wanted() {
    let (first, last) =
        (json!({"role": "system", "content": "Be brief."}), json!({"role": "developer", "content": "Say hi."}));
    let both = json!({"model": "m", "messages": [first, last]});
    let (encoded, body) = across("openai", "anthropic", &both).unwrap();
    assert_eq!(
        (&body["system"], &body["messages"]),
        (&json!("Be brief."), &json!([{"role": "user", "content": "Say hi."}]))
    );
    assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
    let (_, body) = across("openai", "bedrock", &both).unwrap();
    assert_eq!(body["system"], json!([{"text": "Be brief."}]));
    assert_eq!(body["messages"], json!([{"role": "user", "content": [{"text": "Say hi."}]}]));
    let (_, body) = across("openai", "gemini", &both).unwrap();
    assert_eq!(body["systemInstruction"]["parts"], json!([{"text": "Be brief."}]));
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "Say hi."}]}]));
    let (_, body) = across("openai", "gemini", &json!({"model": "m", "messages": [last]})).unwrap();
    assert_eq!((body.get("systemInstruction"), body["contents"].as_array().map(Vec::len)), (None, Some(1)), "{body}");
    // Turns in which nothing is said make no conversation of them.
    for silent in [json!({"role": "user", "content": ""}), json!({"role": "developer", "content": ""})] {
        let asked = json!({"model": "m", "messages": [first, last, silent]});
        let (encoded, body) = across("openai", "gemini", &asked).unwrap();
        assert_eq!(body["systemInstruction"]["parts"], json!([{"text": "Be brief."}]), "{silent}");
        assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "Say hi."}]}]), "{silent}");
        assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
        for to in ["anthropic", "bedrock"] {
            let (_, body) = across("openai", to, &asked).unwrap();
            assert_eq!(body["messages"].as_array().map(Vec::len), Some(1), "{to}: {body}");
        }
    }
    let one = json!({"model": "m", "messages": [last], "response_format": {"type": "json_object"}});
    let (_, body) = across("openai", "anthropic", &one).unwrap();
    assert!(body["system"].as_str().is_some_and(|text| text.contains("one JSON object")), "{body}");
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Say hi."}]));
    let (_, body) = across("openai", "bedrock", &one).unwrap();
    assert_eq!(body["system"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(body["messages"], json!([{"role": "user", "content": [{"text": "Say hi."}]}]));
}

#[test]
fn blank_texts_are_left_out_where_they_are_refused() {
    let result = json!({"role": "tool", "tool_call_id": "a", "content": "x"});
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}, call(&json!("\n\n")), result]});
    let (_, body) = across("openai", "anthropic", &asked).unwrap();
    let said = &body["messages"][1]["content"];
    assert_eq!((&said[0]["type"], &said[1]), (&json!("tool_use"), &Value::Null));
    let (_, body) = across("openai", "bedrock", &asked).unwrap();
    assert!(body["messages"][1]["content"][0]["toolUse"].is_object(), "{body}");
    let (_, body) = across("openai", "openai", &asked).unwrap();
    assert_eq!(body["messages"][1]["content"], "\n\n");
}

#[test]
fn the_beginning_of_a_reply_is_said_as_each_provider_takes_it() {
    let asked = json!({"model": "m", "messages": [
        {"role": "user", "content": "Which?"}, {"role": "assistant", "content": "The answer is "}]});
    let (_, body) = across("openai", "anthropic", &asked).unwrap();
    assert_eq!(body["messages"][1]["content"], "The answer is");
    let (_, body) = across("openai", "bedrock", &asked).unwrap();
    assert_eq!(body["messages"][1]["content"], json!([{"text": "The answer is"}]));
    let (_, body) = across("openai", "openai", &asked).unwrap();
    assert_eq!(body["messages"], asked["messages"]);
    let (_, body) = quirky("openai", "openai", quirks(json!({"wants": ["prefix"]})), &asked).unwrap();
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "The answer is ", "prefix": true}));
}

#[test]
fn what_a_strict_provider_refuses_of_messages_and_tools_is_left_out() {
    let strict = quirks(json!({"message_refuses": ["cache_control", "annotations", "audio"], "wants": ["parameters"]}));
    let mark = json!({"type": "ephemeral"});
    let asked = json!({"model": "m",
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]},
            {"role": "assistant", "content": "Yes", "annotations": [], "audio": null}, {"role": "user", "content": "Go on"}]});
    let (encoded, body) = quirky("openai", "openai", strict, &asked).unwrap();
    assert_eq!(encoded.dropped, ["messages[0].content[0].cache_control", "tools[0].cache_control"]);
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "Hi"}]));
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Yes"}));
    let empty = json!({"type": "object", "properties": {}});
    assert_eq!(body["tools"], json!([{"type": "function", "function": {"name": "f", "parameters": empty}}]));
    let (_, body) = across("openai", "openai", &asked).unwrap();
    assert_eq!((&body["messages"], &body["tools"]), (&asked["messages"], &asked["tools"]), "others take them");
}

#[test]
fn google_s_own_words_reach_its_own_providers() {
    let tool =
        |name: &str| json!({"name": name, "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}});
    let schema = json!({"type": "OBJECT", "propertyOrdering": ["a"], "properties": {
        "a": {"type": "ARRAY", "minItems": "1", "items": {"type": "STRING", "nullable": true, "enum": ["x"]}}}});
    let config = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["b", "c"]}});
    let asked = json!({"contents": [{"parts": [{"text": "Hi"}]}], "toolConfig": config,
        "tools": [{"functionDeclarations": [tool("a"), tool("b"), tool("c")]}],
        "generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": schema}});
    let (encoded, body) = across("gemini", "gemini", &asked).unwrap();
    assert_eq!(body["toolConfig"], config);
    assert_eq!(body["generationConfig"], asked["generationConfig"]);
    assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
    let (encoded, body) = across("gemini", "openai", &asked).unwrap();
    assert_eq!(body["tool_choice"], "required");
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(2));
    let items = json!({"type": ["string", "null"], "enum": ["x", null]});
    let plain = json!({"type": "object", "properties": {"a": {"type": "array", "minItems": 1, "items": items}}});
    assert_eq!(body["response_format"]["json_schema"]["schema"], plain);
    assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
    let validated = json!({"functionCallingConfig": {"mode": "VALIDATED"}});
    let asked = json!({"contents": [{"parts": [{"text": "Hi"}]}], "toolConfig": validated,
        "tools": [{"functionDeclarations": [tool("a")]}]});
    assert_eq!(across("gemini", "gemini", &asked).unwrap().1["toolConfig"], validated);
    assert_eq!(across("gemini", "openai", &asked).unwrap().1["tool_choice"], "auto");
}

/// What a shape is asked for where a grammar takes those of objects alone: lists and enumerations, which Google's SDK makes of Python's.
#[test]
fn shapes_that_are_no_objects_are_asked_for_in_words_where_objects_alone_are_taken() {
    let asked = |schema: &Value| {
        json!({"contents": [{"parts": [{"text": "Hi"}]}],
            "generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}})
    };
    let item = json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}});
    let list = asked(&json!({"type": "ARRAY", "items": item}));
    let word = asked(&json!({"type": "STRING", "enum": ["x", "y"]}));
    let either = asked(&json!({"anyOf": [item, {"type": "INTEGER"}]}));
    for asked in [&list, &word, &either] {
        let (encoded, body) = across("gemini", "openai", asked).unwrap();
        assert_eq!(body.get("response_format"), None, "any object is not what is asked for");
        assert!(body["messages"][0].to_string().contains("JSON Schema below"), "{body}");
        assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
        let (_, body) = across("gemini", "openai_responses", asked).unwrap();
        assert_eq!(body["text"]["format"], json!({"type": "text"}));
        assert!(body.to_string().contains("JSON Schema below"), "{body}");
    }
    let (_, body) = across("gemini", "openai", &asked(&item)).unwrap();
    assert_eq!(body["response_format"]["type"], "json_schema");
}

#[test]
fn a_schema_is_as_strict_as_the_other_side_takes_it() {
    let properties = json!({"a": {"type": "integer", "minimum": 1}, "b": {"type": "string"}});
    let open = json!({"type": "object", "properties": properties, "required": ["a"], "additionalProperties": false});
    let asked = |schema: &Value| {
        json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}}})
    };
    let (_, body) = across("anthropic", "openai", &asked(&open)).unwrap();
    assert_eq!(body["response_format"]["json_schema"], json!({"name": "output", "schema": open}));
    let mut shut = open.clone();
    shut["required"] = json!(["a", "b"]);
    let (_, body) = across("anthropic", "openai", &asked(&shut)).unwrap();
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
    let (_, body) = across("anthropic", "anthropic", &asked(&open)).unwrap();
    assert_eq!(body["output_config"]["format"]["schema"], open, "its own clients' are theirs");
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": open}});
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": format});
    let (_, body) = across("openai", "anthropic", &asked).unwrap();
    let said = &body["output_config"]["format"]["schema"]["properties"]["a"];
    assert_eq!(*said, json!({"type": "integer", "description": "{minimum: 1}"}));
}
