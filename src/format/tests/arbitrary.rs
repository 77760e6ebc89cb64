//! Nothing a stranger sends can crash a dialect, and whatever was read can be written: as JSON.

use std::fmt::Write;
use std::sync::LazyLock;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{DIALECTS, api, clients, fixtures, folders, json, parse, provider, read_stream, write_stream};
use crate::fault::Refusal;
use crate::format::{Target, provider_formats};

/// The formats that replies are read of.
static PROVIDERS: LazyLock<Vec<&'static str>> = LazyLock::new(|| folders("replies"));

/// The formats whose streams are lines.
const STREAMED: [&str; 3] = ["openai", "anthropic", "openai_responses"];

/// Every request, reply and event of the fixtures.
static SAMPLES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut samples = Vec::new();
    for dialect in STREAMED {
        for folder in ["requests", "replies", "errors"] {
            if folder == "requests" && !DIALECTS.contains(&dialect) {
                continue;
            }
            let found = fixtures(&format!("{folder}/{dialect}"));
            samples.extend(found.iter().map(|(_, body)| json(body)));
        }
        for (_, body) in fixtures(&format!("streams/{dialect}")) {
            let text = String::from_utf8(body).unwrap();
            let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
            samples.extend(events.filter_map(|data| serde_json::from_str(data).ok()));
        }
    }
    // What the other client APIs are asked.
    samples.extend(OTHERS.iter().map(|text| json(text.as_bytes())));
    samples
});

const OTHERS: [&str; 3] = [
    r#"{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":"witgate:signature:s"},{"type":"custom_tool_call","call_id":"c","name":"n","input":"i"},{"type":"function_call_output","call_id":"c","output":"o"}],"tools":[{"type":"custom","name":"n","format":{"definition":"d"}}],"text":{"format":{"type":"json_schema","name":"n","schema":{}}}}"#,
    r#"{"contents":[{"role":"user","parts":[{"text":"x"},{"inlineData":{"mimeType":"image/png","data":"AA"}}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"cw=="}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"r":1}}}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]}],"generationConfig":{"topK":3.0,"responseSchema":{"type":"STRING"}}}"#,
    r#"{"model":"m","prompt":["x"],"max_tokens":3,"stop":["a"]}"#,
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_ \u{2028}é\"\\\\]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["text", "image", "tool_use", "tool_result", "thinking", "function", "user", "error"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A sample with one of its parts replaced or taken away.
fn damaged() -> impl Strategy<Value = Value> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::option::of(any_json())).prop_map(
        |(sample, place, replacement)| {
            let mut value = sample.get(&SAMPLES).clone();
            let mut count = 0;
            visit(&mut value, &mut count, None, None);
            let mut seen = 0;
            visit(&mut value, &mut seen, Some(place.index(count.max(1))), replacement.as_ref());
            value
        },
    )
}

/// Counts the parts below `value`; at number `place`, puts the replacement, or null.
fn visit(value: &mut Value, count: &mut usize, place: Option<usize>, replacement: Option<&Value>) {
    let mut child = |child: &mut Value| {
        let here = place == Some(*count);
        *count += 1;
        if here {
            *child = replacement.cloned().unwrap_or_default();
        } else {
            visit(child, count, place, replacement);
        }
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(&mut child),
        Value::Object(fields) => fields.values_mut().for_each(&mut child),
        _ => {}
    }
}

/// Puts bytes through everything that reads, and what was read through everything that writes.
fn exercise(bytes: &[u8]) {
    for client in clients() {
        if let Ok(request) = parse(client, bytes) {
            let newest = provider_formats().map(|format| (format, None));
            for (to, api_version) in newest.chain([(provider("anthropic"), Some("2023-06-01"))]) {
                let target = Target { api_version, ..Target::plain("m", &crate::format::NO_QUIRKS, 1) };
                if let Ok(encoded) = to.encode(&request, &target) {
                    assert!(json(&encoded.body).is_object());
                }
            }
        }
    }
    for &dialect in PROVIDERS.iter() {
        if let Ok(reply) = provider(dialect).decode(bytes) {
            for to in clients() {
                assert!(json(&api(to).reply(&reply)).is_object());
            }
        }
        let refusal = Refusal::from(provider(dialect).decode_error(400, &HeaderMap::new(), bytes));
        for to in clients() {
            assert!(json(&api(to).refusal(&refusal, "req-1")).is_object());
        }
    }
}

/// Puts events through both readers, and what was read through both writers.
fn exercise_stream(events: &[Value]) {
    for dialect in STREAMED {
        let mut body = String::new();
        if dialect == "anthropic" {
            body.push_str("data: {\"type\":\"message_start\",\"message\":{\"usage\":{}}}\n\n");
        }
        for event in events {
            writeln!(body, "data: {event}\n").unwrap();
        }
        let read = read_stream(dialect, [body.as_bytes()]);
        for to in clients() {
            for line in write_stream(to, &read).lines() {
                if let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") {
                    assert!(json(data.as_bytes()).is_object());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        exercise(&bytes);
        for dialect in STREAMED {
            read_stream(dialect, [bytes.as_slice()]);
        }
    }

    #[test]
    fn any_json_is_survived(value in any_json()) {
        exercise(value.to_string().as_bytes());
    }

    #[test]
    fn damaged_samples_are_survived(value in damaged()) {
        exercise(value.to_string().as_bytes());
    }

    #[test]
    fn damaged_streams_are_survived(events in prop::collection::vec(damaged(), 1..6)) {
        exercise_stream(&events);
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for open in ["[", "{\"content\":[", "{\"a\":"] {
        let bytes = open.repeat(100_000);
        exercise(bytes.as_bytes());
    }
}
