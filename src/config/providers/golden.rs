//! The golden matrix's vendors: what is sent to those that take something otherwise than the one whose format they speak. A snapshot stands
//! where the quirks make a difference; one that changes is a change on the wire.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{Found, find};
use crate::chat::ChatRequest;
use crate::config::models;
use crate::format::{ClientRequest, NO_QUIRKS, Quirks, Target, client_apis};

/// Vendors with a quirk that no other of these shows: what they are called, a model, a version of the API where a deployment names one.
const VENDORS: [(&str, &str, Option<&str>); 21] = [
    ("openai_4", "openai/gpt-4o", None),
    ("openai_5_1", "openai/gpt-5.1", None),
    ("openai_o", "openai/o4-mini", None),
    ("openai_newer", "openai/responses/gpt-5-pro", None),
    ("groq", "groq/openai/gpt-oss-120b", None),
    ("imitator", "cerebras/m", None),
    ("ollama", "ollama/m", None),
    ("openrouter", "openrouter/openai/gpt-5", None),
    ("mistral", "mistral/mistral-large-latest", None),
    ("deepseek", "deepseek/deepseek-reasoner", None),
    ("azure", "azure/gpt-4o", Some("2025-02-01-preview")),
    ("azure_older", "azure/gpt-4o", Some("2024-06-01")),
    ("azure_ai", "azure_ai/gpt-5-mini", None),
    ("azure_ai_claude", "azure_ai/claude-haiku-4-5", None),
    ("claude_3", "anthropic/claude-3-5-haiku-20241022", None),
    ("claude_4_5", "anthropic/claude-sonnet-4-5", None),
    ("vertex_claude", "vertex_ai/claude-sonnet-4-5@20250929", None),
    ("gemini_pro", "gemini/gemini-2.5-pro", None),
    ("gemini_levels", "vertex_ai/gemini-3.8-flash", None),
    ("bedrock_claude", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", None),
    ("bedrock_nova", "bedrock/amazon.nova-pro-v1:0", None),
];

/// The requests that show most of it: a client API, a fixture, and where it is asked.
const REQUESTS: [(&str, &str, &str); 5] = [
    ("openai", "newest", "/v1/chat/completions"),
    ("openai", "thinking_history", "/v1/chat/completions"),
    ("openai", "no_thinking", "/v1/chat/completions"),
    ("anthropic", "budget", "/v1/messages"),
    ("openai-responses", "agent", "/v1/responses"),
];

fn request(api: &str, name: &str, path: &str) -> ChatRequest {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect/requests");
    let file: PathBuf = [&*folder.to_string_lossy(), api, &format!("{name}.json")].iter().collect();
    let body = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let api = client_apis().find(|known| known.name() == api).unwrap();
    api.parse(&ClientRequest::post(path.parse().unwrap(), body)).unwrap_or_else(|refusal| panic!("{name}: {refusal}"))
}

fn sent(model: &str, version: Option<&str>, request: &ChatRequest, own: bool) -> Value {
    let Found::Spoken(row, model) = find(model, None, None) else { panic!("{model} is spoken") };
    let (model, format) = row.asked_by(&model, None);
    let format = format.unwrap_or(row.format);
    let quirks: &'static Quirks = if own { row.quirks_at(version, model) } else { &NO_QUIRKS };
    let api_version = version.or_else(|| models::api_version(row.models_of(), model));
    let target = Target { api_version, ..Target::plain(model, quirks, 4096) };
    match format.encode(request, &target) {
        Ok(encoded) => {
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            json!({"path": encoded.path, "dropped": encoded.dropped, "lost": encoded.lost, "body": body})
        }
        Err(fault) => json!({"refused": {"param": fault.param, "message": fault.message}}),
    }
}

#[test]
fn vendors_are_sent_what_they_take() {
    let mut shown = 0;
    for (label, model, version) in VENDORS {
        let before = shown;
        for (api, name, path) in REQUESTS {
            let request = request(api, name, path);
            let with_quirks = sent(model, version, &request, true);
            if with_quirks == sent(model, version, &request, false) {
                continue;
            }
            shown += 1;
            let text = serde_json::to_string_pretty(&with_quirks).unwrap();
            assert_snapshot!(format!("{label}_{api}_{name}"), text);
        }
        assert!(shown > before, "{label}: no quirk of it shows");
    }
}
