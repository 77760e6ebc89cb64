//! The contract of a wire format, twice: as a [`ClientApi`] clients speak to, as a [`ProviderFormat`] we speak to.
//!
//! Both are pure: bytes in, canonical types out, and back. No clock, no network, no credential; the
//! deployment's origin and key are added by the host after `encode`, so that neither a native dialect nor
//! a component can see or redirect them. A new vendor is one module that implements [`ProviderFormat`].

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::chat::{ChatRequest, Chunk, DialectName, Reply};
use crate::fault::{AttemptFault, Refusal};

mod anthropic;
mod json;
mod openai;
mod read;
mod rest;
mod status;
mod write;

#[cfg(test)]
mod tests;

/// The face that speaks `name`.
#[must_use]
pub fn face(name: DialectName) -> &'static dyn ClientApi {
    match name {
        DialectName::Openai => &openai::OpenAi,
        DialectName::Anthropic => &anthropic::Anthropic,
    }
}

/// The provider contract of `name`.
#[must_use]
pub fn provider(name: DialectName) -> &'static dyn ProviderFormat {
    match name {
        DialectName::Openai => &openai::OpenAi,
        DialectName::Anthropic => &anthropic::Anthropic,
    }
}

/// What a provider's dialect must know of the deployment it writes for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The version of the provider's API, where configuration names one.
    pub api_version: Option<&'a str>,
    /// Sent where the dialect demands an output bound and the client gave none.
    pub default_max_tokens: u32,
}

/// A request in a provider's words, without origin and credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Path below the deployment's origin (`/chat/completions`): no scheme, no host.
    pub path: String,
    /// Headers the dialect needs (`anthropic-version` …). Never a credential.
    pub headers: HeaderMap,
    /// The JSON body.
    pub body: Bytes,
    /// Fields the client sent that this provider has no word for; reported, not hidden.
    pub dropped: Vec<String>,
}

/// A wire format we speak to a provider.
pub trait ProviderFormat: Send + Sync {
    /// Writes a request.
    ///
    /// # Errors
    /// `Rejected`, naming the field, where the request asks for what this dialect cannot express and
    /// leaving it out would change the answer (several choices, a tool kind of another vendor).
    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault>;

    /// Reads a whole reply (status 2xx).
    ///
    /// # Errors
    /// `BrokenStream` where the body is not a reply of this dialect.
    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault>;

    /// Reads a refusal (any other status): kind, code, message, `Retry-After`.
    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault;

    /// A reader for one streamed reply.
    fn stream(&self) -> Box<dyn StreamDecoder>;

    /// The header this provider wants its key in, by the version of its API: name, and value marked sensitive. `None` where
    /// the key cannot be a header's value.
    fn credential_header(&self, key: &SecretString, api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)>;
}

/// Reads one streamed reply, event by event.
pub trait StreamDecoder: Send {
    /// Reads one server-sent event and appends what it means.
    ///
    /// # Errors
    /// What the provider reports inside the stream, or `BrokenStream` where the event is not of this dialect.
    fn event(&mut self, name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault>;

    /// Whether the dialect's terminator has been read. A stream that ends before is a fault.
    fn is_complete(&self) -> bool;
}

/// A wire format clients speak to us.
pub trait ClientApi: Send + Sync {
    /// Reads a request.
    ///
    /// # Errors
    /// `InvalidRequest` with the JSON position (`line 3, column 14`) or the field (`messages[2].content`).
    fn parse(&self, body: &[u8]) -> Result<ChatRequest, Refusal>;

    /// Writes a whole reply.
    fn reply(&self, reply: &Reply) -> Bytes;

    /// Writes a refusal. The status is the refusal's; `Retry-After` is the server's to add.
    fn refusal(&self, refusal: &Refusal, request_id: &str) -> Bytes;

    /// A writer for one streamed reply to this request.
    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder>;
}

/// Writes one streamed reply, event by event, as server-sent events.
pub trait StreamEncoder: Send {
    /// Appends what `chunk` is in this dialect; may be nothing.
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut);

    /// Appends the dialect's ending. Called once, after the last chunk of a whole reply.
    fn end(&mut self, out: &mut BytesMut);

    /// Appends an error after the stream began; nothing follows it.
    fn error(&mut self, refusal: &Refusal, request_id: &str, out: &mut BytesMut);
}
