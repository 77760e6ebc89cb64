//! What machines ask about the gateway: models, health, metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::chat::DialectName;
use crate::fault::{Refusal, RefusalKind};

use super::{App, refusal};

/// The groups clients may name, in the shape both vendors' SDKs read.
pub(super) async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let snapshot = app.gateway.live.read();
    // An Anthropic client names its API's version on every call; that is how the face is told apart.
    let face = if headers.contains_key("anthropic-version") { DialectName::Anthropic } else { DialectName::Openai };
    let aliases = snapshot.settings.aliases.iter().filter(|(_, alias)| !alias.hidden).map(|(name, _)| name);
    let names: Vec<&str> = snapshot.groups.keys().chain(aliases).map(crate::id::GroupName::as_str).collect();
    let list = match face {
        DialectName::Openai => {
            let data: Vec<Value> = names
                .iter()
                .map(|name| json!({"id": name, "object": "model", "created": 0, "owned_by": "witgate"}))
                .collect();
            json!({"object": "list", "data": data})
        }
        DialectName::Anthropic => {
            let data: Vec<Value> = names
                .iter()
                .map(|name| json!({"id": name, "type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z"}))
                .collect();
            json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()})
        }
    };
    json_response(StatusCode::OK, &list)
}

/// The process runs. LiteLLM's words.
pub(super) async fn alive() -> Response {
    json_response(StatusCode::OK, &json!("I'm alive!"))
}

/// Requests may be sent here: a configuration is in force and no shutdown has begun.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.draining.load(Ordering::Acquire) {
        return json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "draining"}));
    }
    let snapshot = app.gateway.live.read();
    let body = json!({"status": "healthy", "db": "Not connected", "generation": snapshot.generation, "groups": snapshot.groups.len()});
    json_response(StatusCode::OK, &body)
}

/// Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.metrics.render(&super::admin::figures(&app)) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(fault) => {
            let why = Refusal::new(RefusalKind::Internal, format!("metrics could not be written: {fault}"));
            refusal::unrecorded(&app, DialectName::Openai, &why)
        }
    }
}

pub(super) fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], value.to_string()).into_response()
}
