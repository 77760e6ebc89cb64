//! What machines ask about the gateway: models, health, metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;

use super::{App, refusal};

/// The groups clients may name, in the shape the caller's SDK reads.
pub(super) async fn models(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let snapshot = app.gateway.live.read();
    let aliases = snapshot.settings.aliases.iter().filter(|(_, alias)| !alias.hidden).map(|(name, _)| name);
    let names: Vec<&str> = snapshot.groups.keys().chain(aliases).map(crate::id::GroupName::as_str).collect();
    json_response(StatusCode::OK, &spoken_at(uri.path(), &headers).models(&names))
}

/// One of them, by a name that may hold slashes.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let api = spoken_at(uri.path(), &headers);
    match app.gateway.known_model(&name) {
        Ok(()) => json_response(StatusCode::OK, &api.model(&name)),
        Err(why) => refusal::unrecorded(&app, api, &why),
    }
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

/// Something answers here.
pub(super) async fn root() -> Response {
    json_response(StatusCode::OK, &json!({"name": "witgate"}))
}

/// Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    match app.metrics.render_with(
        super::admin::figures(&app),
        super::figures::queues(&app),
        super::figures::limits(&app),
    ) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(fault) => {
            let why = Refusal::new(RefusalKind::Internal, format!("metrics could not be written: {fault}"));
            refusal::unrecorded(&app, spoken_at(uri.path(), &headers), &why)
        }
    }
}

/// JSON that is written already.
pub(super) fn json_bytes(bytes: bytes::Bytes) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
}

pub(super) fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], value.to_string()).into_response()
}
