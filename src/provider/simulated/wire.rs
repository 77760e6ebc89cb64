//! What a provider says around a reply, in the format of the request: limits in headers, and refusals.
//!
//! One file for each format; what they share is here.

mod anthropic;
mod openai;

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::meter::{Level, Per, Verdict};
use super::whole;
use crate::fault::{Refusal, RefusalKind};
use crate::format::ClientApi;
use crate::moment::Moment;
use crate::upstream::UpstreamResponse;

/// Every format that is emulated.
const EMULATIONS: [&dyn Emulation; 3] = [&openai::OpenAi, &openai::Embeddings, &anthropic::Anthropic];

/// How the provider behind one format speaks.
pub(super) trait Emulation: Sync {
    /// Who reads requests and writes replies in this format.
    fn api(&self) -> &'static dyn ClientApi;

    /// How the path of its chats ends.
    fn path_end(&self) -> &'static str;

    /// How its replies' ids begin.
    fn id_prefix(&self) -> &'static str;

    /// Where the limits stand, and the id of the answer.
    fn limit_headers(&self, level: &Level, now: Moment, draw: u64) -> HeaderMap;

    /// The body that answers what does not fit into a limit; headers of its own are added to `headers`.
    fn limited(&self, model: &str, limit: &Limited<'_>, headers: &mut HeaderMap, draw: u64) -> Bytes;

    /// The body of a failure.
    fn server_error(&self, draw: u64) -> Bytes;

    /// The body that answers for a model nobody serves.
    fn unknown_model(&self, model: &str) -> Bytes;
}

/// The limit that a request does not fit into.
pub(super) struct Limited<'a> {
    verdict: &'a Verdict,
    per: Per,
    limit: u64,
    wait: Option<std::time::Duration>,
}

/// What stands before a format's path, and the format. An id may hold anything, slashes too, so the path is read from its
/// end.
pub(super) fn split(url: &str) -> Option<(&str, &'static dyn Emulation)> {
    let found = |emulation: &'static dyn Emulation| Some((url.strip_suffix(emulation.path_end())?, emulation));
    let (front, emulation) = EMULATIONS.into_iter().find_map(found)?;
    Some((front.strip_suffix("/v1").unwrap_or(front), emulation))
}

/// The answer to what does not fit into a limit (429).
pub(super) fn limited(
    emulation: &dyn Emulation,
    model: &str,
    verdict: &Verdict,
    mut headers: HeaderMap,
    draw: u64,
) -> UpstreamResponse {
    let (per, limit, wait) = match verdict {
        Verdict::Later { per, limit, wait, .. } => (*per, *limit, Some(*wait)),
        Verdict::Never { limit, .. } => (Per::Tokens, *limit, None),
        Verdict::Admitted => (Per::Tokens, 0, None),
    };
    if let Some(wait) = wait {
        set(&mut headers, "retry-after", wait.as_millis().div_ceil(1000));
    }
    let body = emulation.limited(model, &Limited { verdict, per, limit, wait }, &mut headers, draw);
    whole(StatusCode::TOO_MANY_REQUESTS, headers, body)
}

/// A failure of the provider (500).
pub(super) fn broken(emulation: &dyn Emulation, headers: HeaderMap, draw: u64) -> UpstreamResponse {
    whole(StatusCode::INTERNAL_SERVER_ERROR, headers, emulation.server_error(draw))
}

/// A model nobody serves (404).
pub(super) fn unknown_model(emulation: &dyn Emulation, model: &str) -> UpstreamResponse {
    whole(StatusCode::NOT_FOUND, HeaderMap::new(), emulation.unknown_model(model))
}

/// A request that is not one.
pub(super) fn refused(emulation: &dyn Emulation, refusal: &Refusal) -> UpstreamResponse {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    whole(status, HeaderMap::new(), emulation.api().refusal(refusal, &request_id(0)))
}

/// The failure that `mock_response` names as one of LiteLLM's exceptions.
pub(super) fn exception(says: &str) -> Option<Refusal> {
    let (kind, code, message) = match says {
        "litellm.RateLimitError" => {
            (RefusalKind::RateLimited, Some("rate_limit_exceeded"), "this is a mock rate limit error")
        }
        "litellm.ContextWindowExceededError" => (
            RefusalKind::InvalidRequest,
            Some("context_length_exceeded"),
            "this is a mock context window exceeded error",
        ),
        "litellm.InternalServerError" => (RefusalKind::Internal, None, "this is a mock internal server error"),
        says if says.starts_with("Exception: content_filter_policy") => {
            (RefusalKind::InvalidRequest, Some("content_filter"), says)
        }
        _ => return None,
    };
    let mut refusal = Refusal::new(kind, message);
    refusal.code = code.map(str::to_owned);
    Some(refusal)
}

const fn name(per: Per) -> &'static str {
    match per {
        Per::Requests => "requests",
        Per::Tokens => "tokens",
    }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn request_id(draw: u64) -> String {
    format!("req_{draw:016x}")
}

/// Names and values here are made of letters, digits and a few signs; one that were not is left out.
fn set(headers: &mut HeaderMap, name: &str, value: impl Display) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.to_string())) {
        headers.insert(name, value);
    }
}
