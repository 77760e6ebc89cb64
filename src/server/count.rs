//! Counting: what a request's input comes to in tokens, as the limits of its group count it. Nothing is sent, reserved or recorded.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::chat::ChatRequest;
use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientApi, ClientRequest, operation_at, spoken_at};
use crate::snapshot::Caller;
use crate::tokens::Count;

use super::{App, access, coding, probe, refusal};

/// Where LiteLLM counts.
pub(super) const COUNTER: &str = "/utils/token_counter";

/// Answers in the words of `api`.
pub(super) async fn answer(app: &Arc<App>, api: &'static dyn ClientApi, request: Request<Body>) -> Response {
    let counted = async {
        let (caller, request) = read(app, request).await?;
        app.gateway.count(&caller, api.countable(&request)?).await
    };
    match counted.await {
        Ok(counted) => probe::json_response(StatusCode::OK, &api.counted(counted.tokens)),
        Err(why) => refusal::unrecorded(app, api, &why),
    }
}

/// LiteLLM's counter: `messages`, `contents`, or a `prompt`, which is a text and no message.
pub(super) async fn counter(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let api = spoken_at(COUNTER, request.headers());
    match count(&app, api, request).await {
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

/// What of such a body tells in whose words it is.
#[derive(serde::Deserialize)]
struct Asked {
    model: String,
    prompt: Option<String>,
    messages: Option<IgnoredAny>,
    contents: Option<IgnoredAny>,
}

async fn count(app: &App, api: &'static dyn ClientApi, request: Request<Body>) -> Result<(Count, String), Refusal> {
    let (caller, request) = read(app, request).await?;
    // What is no such body is read, and refused, as one with messages.
    let request = match serde_json::from_slice(&request.body) {
        Ok(Asked { model, messages: None, contents: Some(_), .. }) => of_contents(&model, request)?,
        Ok(Asked { model, prompt: Some(prompt), messages: None, .. }) => {
            let counted = app.gateway.count_text(&caller, &model, prompt).await?;
            return Ok((counted, model));
        }
        _ => api.countable(&request)?,
    };
    let model = request.model.clone();
    Ok((app.gateway.count(&caller, request).await?, model))
}

/// A body with `contents`, as it is counted where such bodies are at home. There the model stands in the path.
fn of_contents(model: &str, request: ClientRequest) -> Result<ChatRequest, Refusal> {
    let path = format!("/v1beta/models/{}:countTokens", utf8_percent_encode(model, NON_ALPHANUMERIC));
    let unread =
        || Refusal::new(RefusalKind::InvalidRequest, "`contents` cannot be read for this model").at("contents");
    let (api, _) = operation_at(&path).ok_or_else(unread)?;
    let uri = path.parse::<Uri>().map_err(|_| unread())?;
    api.countable(&ClientRequest { uri, ..request })
}

/// The caller, and the request with its body.
pub(super) async fn read(app: &App, request: Request<Body>) -> Result<(Arc<Caller>, ClientRequest), Refusal> {
    let limit = app.gateway.live.read().settings.server.max_request_bytes;
    let (head, body) = request.into_parts();
    let caller = head.extensions.get::<Arc<Caller>>().cloned();
    let caller = caller.unwrap_or_else(|| Arc::clone(&app.gateway.live.read().callers.anonymous));
    access::is_json(&app.gateway.live.read(), &head.headers)?;
    let codings = coding::of(&head.headers)?;
    let too_large = move || Refusal::new(RefusalKind::TooLarge, format!("the body has more than {limit} bytes"));
    let body = to_bytes(body, limit).await.map_err(|_| too_large())?;
    let body = coding::decode(&codings, &body, limit, too_large)?;
    Ok((caller, ClientRequest::new(head.method, head.uri, head.headers, body)))
}
