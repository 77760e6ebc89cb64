//! What machines ask about the gateway: models, health, metrics.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::catalog::Group;
use crate::config;
use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::pipeline;
use crate::snapshot::Caller;

use super::{App, refusal};

/// The groups clients may name, in the shape the caller's SDK reads.
pub(super) async fn models(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let snapshot = app.gateway.live.read();
    let aliases = snapshot.settings.aliases.iter().filter(|(_, alias)| !alias.hidden).map(|(name, _)| name);
    let exact = snapshot.groups.values().filter(|group| group.config.pattern.is_none()).map(|group| &group.config.name);
    let known = snapshot.groups.values().flat_map(|group| known_names(&group.config));
    // A name that is hidden stays so where it fits a pattern.
    let known = known.filter(|name| snapshot.alias(name).is_none_or(|alias| !alias.hidden));
    let names: BTreeSet<Cow<'_, str>> =
        exact.chain(aliases).map(|name| Cow::Borrowed(name.as_str())).chain(known.map(Cow::Owned)).collect();
    // Those that its key may ask for.
    let names = names.iter().map(AsRef::as_ref).filter(|name| pipeline::may_use(&snapshot, &caller, name));
    let names: Vec<&str> = names.collect();
    json_response(StatusCode::OK, &spoken_at(uri.path(), &headers).models(&names))
}

/// The names known to fit a group's pattern: those of models that its deployments stand for.
fn known_names(group: &Group) -> impl Iterator<Item = String> {
    let wildcards = group.deployments.iter().filter_map(|deployment| deployment.wildcard.as_ref());
    let names = wildcards.flat_map(|wildcard| {
        let models = config::known_models(wildcard);
        models.map(|model| format!("{}/{model}", wildcard.provider))
    });
    names.filter(|name| group.pattern.as_ref().is_some_and(|pattern| pattern.parts(name).is_some()))
}

/// One of them, by a name that may hold slashes.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let api = spoken_at(uri.path(), &headers);
    match app.gateway.known_model(&caller, &name) {
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
    let connected = app.gateway.ledger.as_ref().is_some_and(|ledger| ledger.is_connected());
    // LiteLLM's words.
    let db = if connected { "connected" } else { "Not connected" };
    let body =
        json!({"status": "healthy", "db": db, "generation": snapshot.generation, "groups": snapshot.groups.len()});
    json_response(StatusCode::OK, &body)
}

/// Something answers here.
pub(super) async fn root() -> Response {
    json_response(StatusCode::OK, &json!({"name": "witgate"}))
}

/// Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    match app.metrics.render_with(super::admin::figures(&app), super::figures::state(&app)) {
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
