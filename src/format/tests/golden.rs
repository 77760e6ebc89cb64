//! The golden matrix: fixture × provider format × client API.

use std::fmt::Write;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{DIALECTS, api, fixtures, folders, json, parse, pretty, provider, read_stream, write_stream};
use crate::fault::{AttemptFault, Refusal, RefusalKind};
use crate::format::{Encoded, Target};

/// Versions that are written for beside the newest: what they are called, of which format.
const OLDER: [(&str, &str); 1] = [("anthropic", "2023-06-01")];

/// Every target a request is written for: a label, a format, a version. Vendors with quirks are in `config/providers/golden.rs`.
fn targets() -> impl Iterator<Item = (String, &'static str, Option<&'static str>)> {
    folders("replies").into_iter().flat_map(|format| {
        let older = OLDER.into_iter().filter(move |(of, _)| *of == format);
        let older = older.map(|(of, version)| (format!("{of}_{version}"), of, Some(version)));
        std::iter::once((format.to_owned(), format, None)).chain(older)
    })
}

fn fault(fault: &AttemptFault) -> Value {
    json!({
        "kind": fault.kind,
        "status": fault.status,
        "code": fault.code,
        "message": fault.message,
        "param": fault.param,
        "retry_after_ms": fault.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap()),
    })
}

fn encoded(encoded: &Encoded) -> Value {
    let headers: serde_json::Map<_, _> =
        encoded.headers.iter().map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap()))).collect();
    json!({"path": encoded.path, "headers": headers, "dropped": encoded.dropped, "body": json(&encoded.body)})
}

#[test]
fn requests() {
    for from in folders("requests") {
        for (name, body) in fixtures(&format!("requests/{from}")) {
            let request = parse(from, &body).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            let mut current = None;
            for (label, to, api_version) in targets() {
                let target = Target { api_version, ..Target::plain("upstream", &crate::format::NO_QUIRKS, 4096) };
                let value = match provider(to).encode(&request, &target) {
                    Ok(request) => encoded(&request),
                    Err(refused) => json!({"refused": fault(&refused)}),
                };
                // The older version is shown where it differs by more than its name.
                if api_version.is_some() && current.as_ref() == Some(&value["body"]) {
                    continue;
                }
                assert_snapshot!(format!("request_{from}_{name}_for_{label}"), pretty(&value));
                current = Some(value["body"].clone());
            }
        }
    }
}

#[test]
fn replies() {
    for from in folders("replies") {
        for (name, body) in fixtures(&format!("replies/{from}")) {
            let reply = provider(from).decode(&body).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            for to in folders("requests") {
                assert_snapshot!(format!("reply_{from}_{name}_as_{to}"), pretty(&json(&api(to).reply(&reply))));
            }
        }
    }
}

#[test]
fn streams() {
    for from in folders("streams") {
        for (name, body) in fixtures(&format!("streams/{from}")) {
            let read = read_stream(from, [body.as_slice()]);
            for to in folders("requests") {
                let shown = write_stream(to, &read);
                assert_snapshot!(format!("stream_{from}_{name}_as_{to}"), shown);
            }
        }
    }
}

#[test]
fn errors() {
    for from in folders("errors") {
        for (name, body) in fixtures(&format!("errors/{from}")) {
            let fixture = json(&body);
            let mut headers = HeaderMap::new();
            for (name, value) in fixture["headers"].as_object().unwrap() {
                headers.insert(
                    HeaderName::try_from(name).unwrap(),
                    HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
                );
            }
            let status = u16::try_from(fixture["status"].as_u64().unwrap()).unwrap();
            let body = match &fixture["body"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let read = provider(from).decode_error(status, &headers, body.as_bytes());
            let refusal = Refusal::from(read.clone());
            let shown = json!({"fault": fault(&read), "status": refusal.status});
            assert_snapshot!(format!("error_{from}_{name}"), pretty(&shown));
            for to in folders("requests") {
                let told = pretty(&json(&api(to).refusal(&refusal, "req-1")));
                assert_snapshot!(format!("error_{from}_{name}_as_{to}"), told);
            }
        }
    }
}

#[test]
fn refusals_of_our_own() {
    for to in folders("requests") {
        let shown: serde_json::Map<_, _> = RefusalKind::ALL
            .into_iter()
            .map(|kind| {
                let refusal = Refusal::new(kind, "what went wrong, and what to do").at("model");
                let told = json(&api(to).refusal(&refusal, "req-1"));
                (kind.as_str().to_owned(), json!({"status": refusal.status, "body": told}))
            })
            .collect();
        assert_snapshot!(format!("refusals_as_{to}"), pretty(&Value::Object(shown)));
    }
}

#[test]
fn requests_that_are_none() {
    let mut shown = String::new();
    for dialect in DIALECTS {
        let path = format!("tests/fixtures/dialect/bad/{dialect}.txt");
        let bodies = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        for body in bodies.trim_end().split("\n---\n") {
            let refusal = parse(dialect, body.as_bytes()).expect_err(body);
            assert_eq!(refusal.kind, RefusalKind::InvalidRequest, "{body}");
            writeln!(shown, "{dialect} {body}\n  → {}", refusal.message).unwrap();
        }
    }
    assert_snapshot!("bad_requests", shown);
}
