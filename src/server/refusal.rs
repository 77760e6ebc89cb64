//! Refusals become HTTP here and nowhere else: the caller's dialect, the status, `Retry-After`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;

use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientApi, operation_at, spoken_at};

use super::reply_headers::CALL_ID;
use super::{App, coding};

/// A refusal in the words of `api`.
#[cold]
pub(super) fn response(api: &dyn ClientApi, refusal: &Refusal, id: &str) -> Response {
    let mut response = Response::new(Body::from(api.refusal(refusal, id)));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    identify(api, headers, id);
    headers.insert(HeaderName::from_static("x-witgate-refusal"), HeaderValue::from_static(refusal.kind.as_str()));
    if refusal.status == coding::UNKNOWN {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding::ACCEPTED));
    }
    if let Some(tried) = refusal.tried {
        headers.insert(HeaderName::from_static("x-litellm-attempted-retries"), tried.retries.into());
        headers.insert(HeaderName::from_static("x-litellm-attempted-fallbacks"), tried.fallbacks.into());
    }
    let for_good = refusal.is_for_good();
    if for_good {
        // The vendors' SDKs obey it, whatever the status: time does not help here.
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    // A client that may retry learns when; where nobody knows, we say one second.
    let again = matches!(refusal.kind, RefusalKind::RateLimited | RefusalKind::Unavailable) && !for_good;
    if let Some(wait) = refusal.retry_after.or(again.then_some(Duration::from_secs(1))) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
        // Both SDKs prefer this one: it says to the millisecond when.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis.max(1)));
    }
    response
}

/// A refusal of what is no chat request and so has no record; its id is for whoever asks about it.
pub(super) fn unrecorded(app: &App, api: &dyn ClientApi, refusal: &Refusal) -> Response {
    response(api, refusal, &app.gateway.new_id().to_string())
}

/// Whole seconds, rounded up: who comes back then is not too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The request's id, where the SDKs of the API look for it.
pub(super) fn identify(api: &dyn ClientApi, headers: &mut HeaderMap, id: &str) {
    let Ok(value) = HeaderValue::from_str(id) else { return };
    headers.insert(api.id_header(), value.clone());
    headers.insert(CALL_ID, value);
}

/// No such path, or one that answers to another method.
pub(super) async fn unknown_path(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path();
    if operation_at(path).is_some() {
        let mut response = wrong_method(&app, &method, path, &headers);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let message = format!(
        "nothing is served at `{path}`; try /v1/chat/completions, /v1/messages, /v1/responses, /v1/embeddings, /v1/models, /health/readiness or /metrics"
    );
    unrecorded(&app, spoken_at(path, &headers), &Refusal::new(RefusalKind::UnknownPath, message))
}

/// What Codex CLI asks of OpenAI and nobody else: what a conversation comes to there is sealed for its own models.
pub(super) async fn no_compaction(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let message = "conversations are not compacted here: what that comes to is sealed for one provider's models. Ask for a summary in \
        /v1/responses, as Codex CLI does by itself where the `name` of its provider is neither `OpenAI` nor `Azure`";
    let mut refusal = Refusal::new(RefusalKind::UnknownPath, message);
    refusal.code = Some("compaction_not_served".to_owned());
    unrecorded(&app, spoken_at(uri.path(), &headers), &refusal)
}

/// A path with another method.
pub(super) async fn unknown_method(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    wrong_method(&app, &method, uri.path(), &headers)
}

fn wrong_method(app: &App, method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let mut refusal = Refusal::new(RefusalKind::UnknownPath, format!("`{path}` does not accept {method}"));
    refusal.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
    unrecorded(app, spoken_at(path, headers), &refusal)
}
