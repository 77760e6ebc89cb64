use std::fmt::Write;

use serde_json::json;

use super::{Fields, Mismatch, Path, reply_body, request_body};
use crate::fault::{Refusal, RefusalKind};
use crate::format::json::Json;

#[test]
fn a_path_reads_as_people_write_it() {
    let messages = Path::Root.key("messages");
    let second = messages.index(2);
    let content = second.key("content");
    let part = content.index(0);
    assert_eq!(part.key("text").to_string(), "messages[2].content[0].text");
}

#[test]
fn bad_syntax_tells_line_and_column() {
    let refusal = request_body(b"{\n  \"model\": \"a\",\n  \"n\": oops\n}").unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::InvalidRequest);
    assert_eq!(refusal.message, "the body is not JSON: line 3, column 8: expected value");
    assert!(request_body(b" \n").unwrap_err().message.contains("no body"));
    let deep = "[".repeat(100_000);
    assert!(request_body(deep.as_bytes()).unwrap_err().message.contains("recursion limit"));
}

#[test]
fn a_bad_shape_tells_the_field() {
    let root = Path::Root;
    let value = json!({"n": -1, "t": "x", "gone": null});
    let mut fields = Fields::of(Json::from(&value), &root).unwrap();
    let refusal = Refusal::from(fields.whole("n").unwrap_err());
    assert_eq!(refusal.message, "`n`: expected a whole number from 0 to 4294967295, found -1");
    assert_eq!(refusal.param.as_deref(), Some("n"));
    assert_eq!(
        fields.number("t").unwrap_err(),
        Mismatch::expected(&root.key("t"), "a number", &Json::Text("x".into()))
    );
    assert_eq!(fields.text("gone"), Ok(None));
    assert!(fields.need_text("gone").is_err());
    assert!(fields.rest().is_empty());
}

#[test]
fn what_is_not_read_stays_in_order() {
    let root = Path::Root;
    let value = json!({"a": 1, "b": 2, "c": 3, "d": null});
    let mut fields = Fields::of(Json::from(&value), &root).unwrap();
    assert_eq!(fields.whole("a"), Ok(Some(1)));
    fields.keep("e", serde_json::Map::new());
    assert_eq!(serde_json::to_string(&fields.rest()).unwrap(), r#"{"b":2,"c":3,"d":null}"#);
}

#[test]
fn of_a_field_said_twice_the_last_counts_and_none_is_left() {
    let root = Path::Root;
    let body = br#"{"a": 1, "b": 1, "c": 1, "a": 2, "b": null, "c": null, "d": null, "d": 3, "e": 4, "f": null}"#;
    let read = || Fields::of(reply_body(body).unwrap(), &root).unwrap();
    let mut fields = read();
    assert_eq!(fields.peek("a").and_then(Json::as_u64), Some(2));
    assert_eq!(fields.whole("a"), Ok(Some(2)));
    assert!(fields.take("a").is_none());
    assert!(fields.peek("b").is_none());
    assert!(fields.take("b").is_none());
    fields.put("c", json!("put back"));
    assert_eq!(json!(fields.rest()).to_string(), r#"{"c":"put back","d":3,"e":4,"f":null}"#);
    assert_eq!(json!(read().telling_rest()).to_string(), r#"{"a":2,"d":3,"e":4}"#);
}

/// Each known name is looked for once among all, and each unknown one is hashed once: were it more, this would not end.
#[test]
fn an_object_of_very_many_names_is_read() {
    let mut body = String::from("{");
    for name in 0..200_000 {
        write!(body, "\"n{name}\":0,").unwrap();
    }
    body.push_str("\"model\":\"m\"}");
    let mut fields = Fields::of(request_body(body.as_bytes()).unwrap(), &Path::Root).unwrap();
    assert_eq!(fields.need_text("model").unwrap(), "m");
    assert_eq!(fields.rest().len(), 200_000);
}
