//! The Gemini API of Google AI Studio (`generateContent`), as a provider and as a client API.
//!
//! The rules: the model stands in the path, and a stream is another method; instructions are `systemInstruction`, whatever
//! their place; tool calls have no ids of their own in most replies, so they get some here, and the signature under a call travels
//! in its id (`call_…__thought__SIGNATURE`, as LiteLLM's clients know it), because the provider wants it back; JSON schemas go
//! out as they are. Nothing ends a stream but the last reason to finish.
//!
//! Field names are those of `google-genai` 3.6.1 on `PyPI`.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Encoded, Family, ProviderFormat, StreamDecoder, Target};
use crate::chat::{ChatRequest, Dialect, Reply, Rest, Vectors};
use crate::fault::AttemptFault;
use crate::format::call_id::{SIGNATURE, signed_beside};
use crate::format::framing::ServerSentEvents;

mod calls;
mod candidate;
mod client;
mod contents;
mod decoder;
mod documents;
mod encode;
mod error;
mod logprobs;
mod pieces;
mod reply;
mod vectors;
mod vertex;

#[cfg(test)]
mod tests;

/// A call's own id, without the signature that was woven into it here.
fn own_id(id: &str) -> &str {
    let beside = signed_beside("", "");
    let ends = [SIGNATURE, beside.as_str()].into_iter().filter_map(|mark| id.find(mark));
    ends.min().and_then(|end| id.get(..end)).unwrap_or(id)
}

/// Adds what was left of something to it, at every depth. A null is no field: it remembers how something was said.
fn merge(value: &mut Value, rest: &Rest) {
    let Value::Object(fields) = value else { return };
    for (name, left) in rest.iter().filter(|(_, left)| !left.is_null()) {
        match (fields.get_mut(name), left) {
            (Some(inside @ Value::Object(_)), Value::Object(left)) => merge(inside, left),
            _ => drop(fields.insert(name.clone(), left.clone())),
        }
    }
}

/// The dialect of its field names.
pub(super) const DIALECT: Dialect = Dialect::named("gemini");

/// What stands in this folder.
pub(super) const FAMILY: Family = Family { clients: &[&Gemini], providers: &[&Gemini, &vertex::GeminiAtVertex] };

/// The format. It has no state: what a stream must remember is in its reader.
pub(super) struct Gemini;

impl ProviderFormat for Gemini {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &["/models"]
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

    fn encode_vectors(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        vectors::encode(request, target, encode::At::Own)
    }

    fn decode_vectors(&self, body: &[u8]) -> Result<Vectors, AttemptFault> {
        vectors::decode(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        error::read(status, headers, body)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::<ServerSentEvents<decoder::Decoder>>::default()
    }

    fn credential_header(&self, key: &SecretString, _api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(key.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_static("x-goog-api-key"), value))
    }
}
