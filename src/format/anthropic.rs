//! The messages API of Anthropic, as a client API and as a provider.
//!
//! The rules: instructions are `system`, tool results are blocks of a user turn, turns of one speaker are
//! one message, and `input_tokens` on the wire is what no cache touched (the canonical count is all of it).
//! A single text block without further fields and a plain string are the same thing; the string is written.
//!
//! The API has two versions in use. `2026-10-21` takes bearer keys and refuses the sampling fields
//! `temperature`, `top_p` and `top_k` at any value; `2023-06-01` takes `x-api-key` and still knows them.
//! A deployment names its version, or configuration knows the one its model needs (`data/models.json`); else the newest is used.

use bytes::{Bytes, BytesMut};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    ClientApi, ClientRequest, Encoded, Family, Operation, ProviderFormat, StreamDecoder, StreamEncoder, Target,
    rate_limits, rest,
};
use crate::chat::{ChatRequest, Dialect, Reply};
use crate::fault::{AttemptFault, Refusal};
use crate::format::framing::ServerSentEvents;
use crate::limits::Dimension::{InputTokens, OutputTokens, Requests, Tokens};
use crate::limits::Told;

mod betas;
mod blocks;
mod decoder;
mod encode;
mod encoder;
mod error;
mod history;
mod parse;
mod reply;
mod usage;
mod vertex;

#[cfg(test)]
mod tests;

/// The version the provider's SDKs send by default; the first that refuses sampling fields.
const CURRENT_VERSION: &str = "2026-10-21";

/// The header that unlocks fields of bodies.
const BETA: &str = "anthropic-beta";

/// The dialect of its field names.
pub(super) const DIALECT: Dialect = Dialect::named("anthropic");

/// The format, as a client's API and as a provider's. It has no state: what a stream must remember is in its reader or writer.
pub struct Anthropic;

/// What stands in this folder.
pub(super) const FAMILY: Family =
    Family { clients: &[&Anthropic], providers: &[&Anthropic, &vertex::AnthropicAtVertex] };

/// What is asked for at `path`, with or without a version.
fn asked(path: &str) -> &str {
    let path = path.strip_prefix("/anthropic").unwrap_or(path);
    path.strip_prefix("/v1").unwrap_or(path)
}

/// The version spoken where a deployment names this one.
fn version(api_version: Option<&str>) -> &str {
    api_version.unwrap_or(CURRENT_VERSION)
}

/// Whether `version` is older than the one that dropped sampling and `x-api-key`. Versions are dates, so
/// their order is the order of their text.
fn is_legacy(version: &str) -> bool {
    version < CURRENT_VERSION
}

impl ProviderFormat for Anthropic {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &["/messages", "/v1"]
    }

    fn organization_header(&self) -> Option<HeaderName> {
        None
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        encode::request(request, target, encode::At::Own)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        reply::read(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        error::read(status, headers, body)
    }

    fn limits_in_headers(&self, headers: &HeaderMap) -> Vec<Told> {
        limits_in_headers(headers)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::<ServerSentEvents<decoder::Decoder>>::default()
    }

    fn credential_header(&self, key: &SecretString, api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = if is_legacy(version(api_version)) {
            (HeaderName::from_static("x-api-key"), key.expose_secret().to_owned())
        } else {
            (AUTHORIZATION, format!("Bearer {}", key.expose_secret()))
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

impl ClientApi for Anthropic {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        match asked(path) {
            "/messages" => Some(Operation::Chat),
            "/messages/count_tokens" => Some(Operation::Count),
            _ => None,
        }
    }

    /// Its clients name the API's version on every call, whatever they ask for.
    fn speaks_at(&self, path: &str, headers: &HeaderMap) -> bool {
        asked(path).starts_with("/messages")
            || path.starts_with("/anthropic/")
            || headers.contains_key("anthropic-version")
    }

    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("request-id")
    }

    fn model(&self, name: &str) -> Value {
        json!({"id": name, "type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
    }

    fn models(&self, names: &[&str]) -> Value {
        let data: Vec<Value> = names.iter().map(|name| self.model(name)).collect();
        json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()})
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        let mut chat = parse::request(&request.body)?;
        rest::keep_header(&request.headers, BETA, &mut chat.rest);
        Ok(chat)
    }

    /// What is counted is not bounded.
    fn countable(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        parse::countable(&request.body)
    }

    /// The models that take over at the provider have the name of LiteLLM's groups that do. Either its beta or a word that names no group
    /// tells them apart.
    fn has_own(&self, request: &ChatRequest, field: &str) -> bool {
        let said = |name: &str| request.rest.get(name).and_then(Value::as_str);
        let is_beta = || said(BETA).is_some_and(|betas| betas.contains("server-side-fallback"));
        field == "fallbacks" && request.dialect == DIALECT && (said(field) == Some("default") || is_beta())
    }

    fn reply(&self, reply: &Reply) -> Bytes {
        reply::write(reply)
    }

    fn refusal(&self, refusal: &Refusal, request_id: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        error::write(refusal, request_id, &mut out);
        out.freeze()
    }

    fn stream(&self, _request: &ChatRequest) -> Box<dyn StreamEncoder> {
        Box::<encoder::Encoder>::default()
    }
}

/// What the headers tell. `tokens` is input and output together only where they are not told apart: else it repeats the tighter one. When all of
/// a limit is there again is a date.
fn limits_in_headers(headers: &HeaderMap) -> Vec<Told> {
    if !headers.contains_key("anthropic-ratelimit-requests-limit")
        && !headers.contains_key("anthropic-ratelimit-tokens-limit")
        && !headers.contains_key("anthropic-ratelimit-input-tokens-limit")
    {
        return Vec::new();
    }
    let again = rate_limits::again(headers);
    let told = |what: &str, dimension| {
        let number = |field: &str| rate_limits::number(headers, &format!("anthropic-ratelimit-{what}-{field}"));
        let limit = number("limit")?;
        let used = number("remaining").map(|remaining| limit.saturating_sub(remaining));
        let reset = rate_limits::until(headers, &format!("anthropic-ratelimit-{what}-reset"));
        Some(Told { dimension, limit: Some(limit), used, reset, again, window: None, age: std::time::Duration::ZERO })
    };
    let apart: Vec<Told> =
        [told("input-tokens", InputTokens), told("output-tokens", OutputTokens)].into_iter().flatten().collect();
    let tokens = told("tokens", Tokens).filter(|_| apart.is_empty());
    apart.into_iter().chain(tokens).chain(told("requests", Requests)).collect()
}
