use serde_json::json;

use super::{Fields, Mismatch, Path, request_body};
use crate::fault::{Refusal, RefusalKind};

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
    let mut fields = Fields::of(json!({"n": -1, "t": "x", "gone": null}), &root).unwrap();
    let refusal = Refusal::from(fields.whole("n").unwrap_err());
    assert_eq!(refusal.message, "`n`: expected a whole number from 0 to 4294967295, found -1");
    assert_eq!(refusal.param.as_deref(), Some("n"));
    assert_eq!(fields.number("t").unwrap_err(), Mismatch::expected(&root.key("t"), "a number", &json!("x")));
    assert_eq!(fields.text("gone"), Ok(None));
    assert!(fields.need_text("gone").is_err());
    assert!(fields.rest().is_empty());
}

#[test]
fn what_is_not_read_stays_in_order() {
    let root = Path::Root;
    let mut fields = Fields::of(json!({"a": 1, "b": 2, "c": 3, "d": null}), &root).unwrap();
    assert_eq!(fields.whole("a"), Ok(Some(1)));
    fields.keep("e", serde_json::Map::new());
    assert_eq!(serde_json::to_string(&fields.rest()).unwrap(), r#"{"b":2,"c":3,"d":null}"#);
}
