//! Documents and JSON modes between the dialects: what one says, the other says in its own words.

use serde_json::{Value, json};

use super::{parse, provider};
use crate::fault::FaultKind;
use crate::format::{Encoded, NO_QUIRKS, Quirks, Target};

const PDF: &str = "data:application/pdf;base64,JVBERi0=";

/// What a request of one dialect becomes at a provider of another.
pub(super) fn across(from: &str, to: &str, body: &Value) -> Result<(Encoded, Value), crate::fault::AttemptFault> {
    quirky(from, to, &NO_QUIRKS, body)
}

/// The same at a provider that takes some things otherwise.
pub(super) fn quirky(
    from: &str,
    to: &str,
    quirks: &'static Quirks,
    body: &Value,
) -> Result<(Encoded, Value), crate::fault::AttemptFault> {
    let request = parse(from, body.to_string().as_bytes()).unwrap();
    let target = Target::plain("m", quirks, 9);
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
fn a_document_at_an_address_is_fetched_by_all_that_fetch_some() {
    const URL: &str = "https://example.org/a.pdf";
    let chat =
        json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": URL}}]}]});
    let google = json!({"contents": [{"parts": [{"fileData": {"fileUri": URL, "mimeType": "application/pdf"}}]}]});
    let responses =
        json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_file", "file_url": URL}]}]});
    let mistral: &Quirks = Box::leak(Box::new(serde_json::from_value(json!({"attachments": "addresses"})).unwrap()));
    for (from, asked) in [("openai", &chat), ("gemini", &google), ("openai-responses", &responses)] {
        let (_, body) = across(from, "anthropic", asked).unwrap();
        assert_eq!(body["messages"][0]["content"][0]["source"], json!({"type": "url", "url": URL}), "{from}");
        let (_, body) = across(from, "gemini", asked).unwrap();
        assert_eq!(body["contents"][0]["parts"], google["contents"][0]["parts"], "{from}");
        let (_, body) = quirky(from, "openai", mistral, asked).unwrap();
        assert_eq!(body["messages"][0]["content"], json!([{"type": "document_url", "document_url": URL}]), "{from}");
    }
    let kept = json!({"contents": [{"parts": [
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a", "mimeType": "application/pdf"}}]}]});
    assert!(across("gemini", "anthropic", &kept).is_err(), "nobody else can fetch it");
    assert_eq!(across("gemini", "gemini", &kept).unwrap().1["contents"][0]["parts"], kept["contents"][0]["parts"]);
}

#[test]
fn a_document_at_an_address_is_refused_where_nobody_fetches_it() {
    const URL: &str = "https://example.org/a.pdf";
    let strict: &Quirks = Box::leak(Box::new(serde_json::from_value(json!({"no_file_addresses": true})).unwrap()));
    let chat =
        |content: Value| json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [content]}]});
    let file = |file: Value| chat(json!({"type": "file", "file": file}));
    let google = json!({"contents": [{"parts": [{"fileData": {"fileUri": URL, "mimeType": "application/pdf"}}]}]});
    let responses =
        json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_file", "file_url": URL}]}]});
    let claude = chat(json!({"type": "document", "source": {"type": "url", "url": URL}}));
    for (from, asked) in [
        ("openai", file(json!({"file_id": URL}))),
        ("openai", file(json!({"file_data": URL, "filename": "a.pdf"}))),
        ("openai-responses", responses),
        ("gemini", google),
        ("anthropic", claude),
    ] {
        let fault = quirky(from, "openai", strict, &asked).unwrap_err();
        let blamed = (fault.kind, fault.param.as_deref());
        assert_eq!(blamed, (FaultKind::Rejected, Some("messages[0].content[0]")), "{from}: {fault}");
    }
    for kept in [json!({"file_id": "file-1"}), json!({"file_data": PDF, "filename": "a.pdf"})] {
        let (_, body) = quirky("openai", "openai", strict, &file(kept.clone())).unwrap();
        assert_eq!(body["messages"][0]["content"], json!([{"type": "file", "file": kept}]));
    }
    // Other gateways fetch it.
    let (_, body) = across("openai", "openai", &file(json!({"file_id": URL}))).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["file"]["file_id"], URL);
}

#[test]
fn where_a_cache_ends_behind_a_document_is_told_or_reported() {
    let mark = json!({"type": "ephemeral"});
    let file =
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}, "cache_control": mark, "newer": 1});
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": [file]}]});
    let (encoded, body) = across("openai", "anthropic", &asked).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], mark);
    assert_eq!(encoded.dropped, ["messages[0].content[0].newer"]);
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    let document = json!({"type": "document", "source": source, "title": "a.pdf", "cache_control": mark});
    let asked = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": [document]}]});
    for to in ["openai", "openai_responses"] {
        let (encoded, _) = across("anthropic", to, &asked).unwrap();
        assert_eq!(encoded.dropped, ["messages[0].content[0].cache_control"], "{to}");
    }
}

#[test]
fn what_a_tool_found_is_beside_its_result_where_that_is_a_text() {
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    let found = json!([{"type": "text", "text": "Here."}, {"type": "document", "source": source, "title": "a.pdf"}]);
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": found}]});
    let asked = json!({"model": "m", "max_tokens": 9, "messages": [call, result]});
    let (encoded, body) = across("anthropic", "openai", &asked).unwrap();
    let file = json!([{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]);
    assert_eq!(body["messages"][1], json!({"role": "tool", "tool_call_id": "a", "content": "Here."}));
    assert_eq!(body["messages"][2], json!({"role": "user", "content": file}));
    assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
    let (_, body) = across("anthropic", "gemini", &asked).unwrap();
    let inline = json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}});
    assert_eq!(body["contents"][1]["parts"][1], inline);
}

#[test]
fn what_google_s_clients_put_into_a_result_is_in_it() {
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "AA==", "displayName": "a"}});
    let response = json!({"name": "f", "response": {"output": "Here."}, "parts": [picture]});
    let asked = json!({"contents": [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": response}]}]});
    let (_, body) = across("gemini", "gemini", &asked).unwrap();
    assert_eq!(body["contents"], asked["contents"]);
    let (_, body) = across("gemini", "anthropic", &asked).unwrap();
    let found = &body["messages"][1]["content"][0]["content"];
    assert_eq!((&found[0]["text"], &found[1]["source"]["data"]), (&json!("Here."), &json!("AA==")));
}

#[test]
fn no_two_documents_have_one_name_where_that_is_refused() {
    let file = || json!({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}});
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": [file(), file(), file()]}]});
    let (_, body) = across("openai", "bedrock", &asked).unwrap();
    let name = |place: usize| &body["messages"][0]["content"][place]["document"]["name"];
    assert_eq!((name(1), name(2), name(3)), (&json!("a-pdf"), &json!("a-pdf (2)"), &json!("a-pdf (3)")));
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
