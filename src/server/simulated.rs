//! The simulated provider over HTTP: what `witgate simulate-provider` serves. It needs no key.

use std::sync::Arc;

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
        .with_state(simulated)
}

async fn answer(State(simulated): State<Arc<Simulated>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let Some(answer) = simulated.respond(head.uri.path(), body.to_bytes()).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::new(Body::from_stream(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// Its models, in a shape that carries the fields of both providers.
async fn models(State(simulated): State<Arc<Simulated>>) -> Response {
    let names: Vec<&str> = simulated.models().map(crate::id::DeploymentId::as_str).collect();
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
