use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::Value;

use super::Json;

fn read(text: &str) -> Json<'_> {
    Json::parse(text.as_bytes(), usize::MAX).unwrap()
}

#[test]
fn texts_and_names_are_borrowed_until_an_escape_stands_in_them() {
    let Json::Object(members) = read(r#"{"a": "plain", "\u0062": "\n"}"#) else { panic!("an object") };
    let borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
    let is_borrowed = |value: &Json<'_>| matches!(value, Json::Text(text) if borrowed(text));
    let found: Vec<_> = members.iter().map(|(name, value)| (borrowed(name), is_borrowed(value))).collect();
    assert_eq!(found, [(true, true), (false, false)]);
    assert_eq!((&*members[1].0, members[1].1.as_str()), ("b", Some("\n")));
}

#[test]
fn a_name_said_twice_has_its_last_value_at_its_first_place() {
    let many: Vec<_> = (0..100).map(|name| format!("\"n{}\": {name}", name % 50)).collect();
    for text in [
        r#"{"a": 1, "b": 2, "a": {"x": 3, "x": 4}}"#,
        r#"{"a": 1, "b": 2, "\u0061": null}"#,
        r#"{"a": null, "b": 2, "a": 1}"#,
        &format!("{{{}, \"a\": 1}}", many.join(", ")),
    ] {
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read(text).to_json(), expected.to_string());
        let found = read(text).get("a").cloned().map(Value::from);
        assert_eq!(found.as_ref(), expected.get("a"), "{text}");
    }
}

#[test]
fn numbers_keep_their_value() {
    for text in
        ["0", "-0", "18446744073709551615", "18446744073709551616", "-9223372036854775808", "1.0", "1e300", "0.1"]
    {
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read(text).to_json(), expected.to_string());
    }
    assert!(Json::parse(b"1e400", 10).is_err());
}

#[test]
fn values_are_counted_and_bounded() {
    let text = br#"{"a": [1, {"b": null}], "c": "x"}"#;
    assert!(Json::parse(text, 6).is_ok());
    let error = Json::parse(text, 5).unwrap_err().to_string();
    assert!(error.starts_with("more than 5 values at line 1 column"), "{error}");
}

/// JSON whose objects have few names, and so often say one twice.
fn any_text() -> impl Strategy<Value = String> {
    const LEAVES: &str = r#"1 -2.50 0.1e3 18446744073709551615 null true "" "a" "\"é\u00e9\n" {} []"#;
    // What is no JSON: too large, half a sign, a word that ends early, a sign that must be escaped.
    const FLAWS: &str = "1e999 \"\\ud800\" nul \"\u{1}\" 01 1] {,}";
    let leaves = prop::sample::select(LEAVES.split(' ').collect::<Vec<_>>());
    let flaws = prop::sample::select(FLAWS.split(' ').collect::<Vec<_>>());
    let leaf = prop_oneof![20 => leaves, 1 => flaws].prop_map(str::to_owned);
    leaf.prop_recursive(4, 32, 5, |inner| {
        let name = prop::sample::select(vec!["\"a\"", "\"b\" ", "\"\\u0061\"", "\"c\""]);
        let member = (name, inner.clone()).prop_map(|(name, value)| format!("{name}:\n {value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_and_what_is_refused_is_what_serde_json_says(text in any_text()) {
        let expected = serde_json::from_slice::<Value>(text.as_bytes()).map_err(|error| error.to_string());
        let found = Json::parse(text.as_bytes(), usize::MAX).map_err(|error| error.to_string());
        let written = found.clone().map(|value| value.to_json());
        prop_assert_eq!(written, expected.clone().map(|value| value.to_string()));
        prop_assert_eq!(found.map(|value| Value::from(value).to_string()), expected.map(|value| value.to_string()));
    }
}
