//! Web pages that may call the gateway: those of listed origins, and no others. They still need a key; only the question whether they
//! may ask at all, which browsers send first, needs none.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;

use crate::snapshot::Live;

/// Whether `origin` is listed.
pub(super) fn listed(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|listed| listed == "*" || listed.as_bytes() == origin.as_bytes())
}

/// The origin of the web page that asks, where it is listed. Nobody else costs more than a look for the header.
pub(super) fn page(live: &Live, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    listed(&live.read().settings.server.cors_origins, origin).then(|| origin.clone())
}

/// Whether a browser asks whether it may ask.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// It may, with whatever headers it names: SDKs send many of their own.
pub(super) fn preflight(page: &HeaderValue, asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, HEAD"));
    if let Some(named) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, named.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    shown_to(Some(page), response)
}

/// The response as that page may read it, refusals too: without these headers a browser shows nothing but a network error.
pub(super) fn shown_to(page: Option<&HeaderValue>, mut response: Response) -> Response {
    if let Some(page) = page {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page.clone());
        headers.append(VARY, HeaderValue::from_static("origin"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    }
    response
}
