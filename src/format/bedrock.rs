//! Amazon Bedrock's Converse API, as a provider.
//!
//! The rules: the model (a name, an inference profile or its ARN) stands in the path; instructions are `system`, tool results are said by
//! the user, turns of one speaker are one message; what is one model's own goes into `additionalModelRequestFields`; pictures are
//! bytes, for Bedrock fetches none but from S3. Streams are `vnd.amazon.eventstream`. A reply names neither itself nor its model.
//! Vectors are asked by `InvokeModel`, since Converse has none.
//!
//! Shapes are those of the service model `bedrock-runtime` in `botocore` 1.44.8 on `PyPI`.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{Encoded, Family, ProviderFormat, StreamDecoder, Target};
use crate::chat::{ChatRequest, Dialect, Reply, Usage, Vectors};
use crate::fault::AttemptFault;
use crate::format::framing::EventStream;

mod blocks;
mod decoder;
mod encode;
mod error;
mod messages;
mod reply;
mod vectors;

#[cfg(test)]
mod tests;

/// The dialect of its field names.
pub(super) const DIALECT: Dialect = Dialect::named("bedrock");

/// What stands in this folder.
pub(super) const FAMILY: Family = Family { clients: &[], providers: &[&Bedrock] };

/// The format. It has no state: what a stream must remember is in its reader.
pub(super) struct Bedrock;

impl ProviderFormat for Bedrock {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &["/model"]
    }

    fn organization_header(&self) -> Option<HeaderName> {
        None
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        encode::request(request, target)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        reply::read(body)
    }

    fn encode_vectors(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        vectors::encode(request, target)
    }

    fn decode_vectors(&self, body: &[u8]) -> Result<Vectors, AttemptFault> {
        vectors::decode(body)
    }

    fn usage_in_headers(&self, headers: &HeaderMap) -> Option<Usage> {
        vectors::usage(headers)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        error::read(status, headers, body)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::<EventStream<decoder::Decoder>>::default()
    }

    /// A key of Bedrock's own (`AWS_BEARER_TOKEN_BEDROCK`); whoever has an access key signs instead.
    fn credential_header(&self, key: &SecretString, _api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some((AUTHORIZATION, value))
    }
}
