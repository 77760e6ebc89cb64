//! Documents and JSON modes between the dialects: what one says, the other says in its own words.

use serde_json::{Value, json};

use super::{parse, provider};
use crate::format::{Encoded, NO_QUIRKS, Quirks, Target};

const PDF: &str = "data:application/pdf;base64,JVBERi0=";

/// What a request of one dialect becomes at a provider of another.
fn across(from: &str, to: &str, body: &Value) -> Result<(Encoded, Value), crate::fault::AttemptFault> {
    quirky(from, to, &NO_QUIRKS, body)
}

/// The same at a provider that takes some things otherwise.
fn quirky(
    from: &str,
    to: &str,
    quirks: &'static Quirks,
    body: &Value,
) -> Result<(Encoded, Value), crate::fault::AttemptFault> {
    let request = parse(from, body.to_string().as_bytes()).unwrap();
    let target = Target { model: "m", api_version: None, quirks, bare_stream: false, default_max_tokens: 9 };
    let encoded = provider(to).encode(&request, &target)?;
    let body = serde_json::from_slice(&encoded.body).unwrap();
    Ok((encoded, body))
}

#[test]
fn a_file_is_a_document_and_a_document_a_file() {
    let file = |file: Value| json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]});
    let (encoded, body) = across("openai", "anthropic", &file(json!({"filename": "a.pdf", "file_data": PDF}))).unwrap();
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    assert_eq!(body["messages"][0]["content"], json!([{"type": "document", "source": source, "title": "a.pdf"}]));
    assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
    let (_, body) = across("openai", "anthropic", &file(json!({"file_id": "https://example.org/a.pdf"}))).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["source"], json!({"type": "url", "url": "https://example.org/a.pdf"}));
    for other in [json!({"file_id": "file-1"}), json!({"file_data": "data:application/zip;base64,AAAA"})] {
        let fault = across("openai", "anthropic", &file(other)).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("messages[0].content[0]"));
    }
    let document =
        |document: Value| json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [document]}]});
    let asked = document(json!({"type": "document", "source": source, "title": "a.pdf"}));
    let (_, body) = across("anthropic", "openai", &asked).unwrap();
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}])
    );
    let words = json!({"type": "text", "media_type": "text/plain", "data": "Green."});
    let asked = document(json!({"type": "document", "source": words, "citations": {"enabled": true}}));
    let (encoded, body) = across("anthropic", "openai", &asked).unwrap();
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "Green."}]));
    assert_eq!(encoded.dropped, ["messages[0].content[0].citations"]);
}

#[test]
fn a_mode_of_any_json_is_asked_for_in_words_where_there_is_none() {
    let asked = json!({"model": "m", "response_format": {"type": "json_object"},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name one."}]});
    let (_, body) = across("openai", "anthropic", &asked).unwrap();
    assert_eq!(body["system"][0], json!({"type": "text", "text": "Be brief."}));
    assert!(body["system"][1]["text"].as_str().is_some_and(|text| text.contains("one JSON object")), "{body}");
    let (_, body) = across("openai", "bedrock", &asked).unwrap();
    assert_eq!(body["system"][0], json!({"text": "Be brief."}));
    assert!(body["system"][1]["text"].as_str().is_some_and(|text| text.contains("one JSON object")), "{body}");
    let (_, body) = across("openai", "openai", &asked).unwrap();
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
}

#[test]
fn a_schema_is_asked_for_in_words_where_the_provider_knows_none() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "description": "Counts.", "schema": schema, "strict": true}});
    let asked = json!({"model": "m", "response_format": format, "messages": [{"role": "user", "content": "Count."}]});
    let quirks: &Quirks = Box::leak(Box::new(serde_json::from_value(json!({"schemas": "words"})).unwrap()));
    for (to, said) in [("anthropic", "/system"), ("bedrock", "/system/0/text"), ("openai", "/messages/0/content")] {
        let (encoded, body) = quirky("openai", to, quirks, &asked).unwrap();
        let words = body.pointer(said).and_then(Value::as_str).unwrap_or_default();
        assert!(words.contains(&schema.to_string()) && words.contains("Counts."), "{to}: {body}");
        assert_eq!(encoded.dropped, ["response_format.json_schema.strict"], "{to}");
        assert!(!body.to_string().contains("json_schema"), "{to}: {body}");
        let (_, body) = across("openai", to, &asked).unwrap();
        assert!(body.to_string().contains("json_schema") && !body.to_string().contains("code fence"), "{to}: {body}");
    }
    let (_, body) = quirky("openai", "openai", quirks, &asked).unwrap();
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "Count."}));
}
