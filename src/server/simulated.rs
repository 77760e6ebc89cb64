//! The simulated provider over HTTP: what `witgate simulate-provider` serves. It needs no key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use crate::provider::simulated::Simulated;

/// Larger than what either provider takes.
const LARGEST: usize = 64 << 20;

/// The provider, and how often it has answered.
struct Served {
    simulated: Arc<Simulated>,
    replies: AtomicU64,
    rate_limited: AtomicU64,
    faults: AtomicU64,
}

/// All that the two providers' chat clients ask for.
pub(super) fn router(simulated: Arc<Simulated>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(answer))
        .route("/chat/completions", post(answer))
        .route("/v1/embeddings", post(answer))
        .route("/embeddings", post(answer))
        .route("/v1/messages", post(answer))
        .route("/v1/models", get(models))
        .route("/models", get(models))
        .route("/answered", get(answered))
        .with_state(Arc::new(Served {
            simulated,
            replies: AtomicU64::default(),
            rate_limited: AtomicU64::default(),
            faults: AtomicU64::default(),
        }))
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let Some(answer) = served.simulated.respond(head.uri.path(), body.to_bytes()).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let count = match answer.status {
        StatusCode::OK => &served.replies,
        StatusCode::TOO_MANY_REQUESTS => &served.rate_limited,
        _ => &served.faults,
    };
    count.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::new(Body::from_stream(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// Its models, in a shape that carries the fields of both providers.
async fn models(State(served): State<Arc<Served>>) -> Response {
    let names: Vec<&str> = served.simulated.models().map(crate::id::DeploymentId::as_str).collect();
    let model = |name: &&str| {
        json!({
            "id": name, "object": "model", "created": 0, "owned_by": "simulated",
            "type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z",
        })
    };
    let data: Vec<Value> = names.iter().map(model).collect();
    let list = json!({
        "object": "list", "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last(),
    });
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], list.to_string()).into_response()
}

/// How many calls it has answered since it began, and how: what a proof compares a gateway's own count with.
async fn answered(State(served): State<Arc<Served>>) -> Response {
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let told = json!({
        "replies": count(&served.replies), "rate_limited": count(&served.rate_limited), "faults": count(&served.faults),
    });
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], told.to_string()).into_response()
}
