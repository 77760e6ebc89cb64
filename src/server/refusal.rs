//! Refusals become HTTP here and nowhere else: the caller's dialect, the status, `Retry-After`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;

use crate::chat::DialectName;
use crate::dialect;
use crate::fault::{Refusal, RefusalKind};

use super::App;
use super::access::face_of;

/// A refusal in the words of `face`.
pub(super) fn response(face: DialectName, refusal: &Refusal, id: &str) -> Response {
    let mut response = Response::new(Body::from(dialect::face(face).refusal(refusal, id)));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    identify(face, headers, id);
    headers.insert(HeaderName::from_static("x-witgate-refusal"), HeaderValue::from_static(refusal.kind.as_str()));
    // Whoever is told to come back is told when; where nobody knows, a second is a polite guess.
    let again = matches!(refusal.kind, RefusalKind::RateLimited | RefusalKind::Unavailable);
    if let Some(wait) = refusal.retry_after.or(again.then_some(Duration::from_secs(1))) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
        // Both SDKs prefer this one: it says to the millisecond when.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis.max(1)));
    }
    response
}

/// A refusal of what is no chat request and so has no record; its id is for whoever asks about it.
pub(super) fn unrecorded(app: &App, face: DialectName, refusal: &Refusal) -> Response {
    response(face, refusal, &app.gateway.new_id().to_string())
}

/// Whole seconds, rounded up: who comes back then is not too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The request's id, where each vendor's SDK looks for it.
pub(super) fn identify(face: DialectName, headers: &mut HeaderMap, id: &str) {
    let Ok(value) = HeaderValue::from_str(id) else { return };
    let theirs = match face {
        DialectName::Openai => "x-request-id",
        DialectName::Anthropic => "request-id",
    };
    headers.insert(HeaderName::from_static(theirs), value.clone());
    headers.insert(HeaderName::from_static("x-litellm-call-id"), value);
}

/// No such path.
pub(super) async fn unknown_path(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let path = uri.path();
    let message = format!(
        "nothing is served at `{path}`; try /v1/chat/completions, /v1/messages, /v1/models, /health/readiness or /metrics"
    );
    unrecorded(&app, face_of(path), &Refusal::new(RefusalKind::UnknownPath, message))
}

/// A path with another method.
pub(super) async fn unknown_method(State(app): State<Arc<App>>, method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let mut refusal = Refusal::new(RefusalKind::UnknownPath, format!("`{path}` does not answer to {method}"));
    refusal.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
    unrecorded(&app, face_of(path), &refusal)
}
