//! Counting: what a request's input comes to in tokens, as the limits of its group count it. Nothing is sent, reserved or recorded.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;

use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientApi, ClientRequest, spoken_at};
use crate::snapshot::Caller;
use crate::tokens::Count;

use super::{App, access, coding, probe, refusal};

/// Answers in the words of `api`.
pub(super) async fn answer(app: &Arc<App>, api: &'static dyn ClientApi, request: Request<Body>) -> Response {
    match count(app, api, request, std::convert::identity).await {
        Ok((counted, _)) => probe::json_response(StatusCode::OK, &api.counted(counted.tokens)),
        Err(why) => refusal::unrecorded(app, api, &why),
    }
}

/// LiteLLM's counter: `messages`, or the `prompt` as text.
pub(super) async fn counter(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let api = spoken_at("/utils/token_counter", request.headers());
    match count(&app, api, request, prompt_as_message).await {
        Ok((counted, model)) => {
            let kind = if counted.exact { "tiktoken" } else { "estimate" };
            let said = json!({
                "total_tokens": counted.tokens, "request_model": model, "model_used": model, "tokenizer_type": kind,
            });
            probe::json_response(StatusCode::OK, &said)
        }
        Err(why) => refusal::unrecorded(&app, api, &why),
    }
}

async fn count(
    app: &App,
    api: &'static dyn ClientApi,
    request: Request<Body>,
    prepare: fn(Bytes) -> Bytes,
) -> Result<(Count, String), Refusal> {
    let limit = app.gateway.live.read().settings.server.max_request_bytes;
    let (head, body) = request.into_parts();
    let caller = head.extensions.get::<Arc<Caller>>().cloned();
    let caller = caller.unwrap_or_else(|| Arc::clone(&app.gateway.live.read().callers.anonymous));
    access::is_json(&head.headers)?;
    let codings = coding::of(&head.headers)?;
    let too_large = move || Refusal::new(RefusalKind::TooLarge, format!("the body has more than {limit} bytes"));
    let body = to_bytes(body, limit).await.map_err(|_| too_large())?;
    let body = coding::decode(&codings, &body, limit, too_large)?;
    let request = ClientRequest::new(head.method, head.uri, head.headers, prepare(body));
    let request = api.countable(&request)?;
    let model = request.model.clone();
    Ok((app.gateway.count(&caller, request).await?, model))
}

/// A body with a `prompt` in the place of messages, as one with messages.
fn prompt_as_message(body: Bytes) -> Bytes {
    #[derive(serde::Deserialize)]
    struct Asked {
        model: String,
        prompt: String,
        #[serde(default)]
        messages: Option<serde::de::IgnoredAny>,
    }
    // What is no such body is read, and refused, as one with messages.
    match serde_json::from_slice(&body) {
        Ok(Asked { model, prompt, messages: None }) => {
            let said = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
            said.to_string().into()
        }
        _ => body,
    }
}
