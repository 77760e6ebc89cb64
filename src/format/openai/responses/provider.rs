//! The responses API, as providers speak it: OpenAI and Azure serve some of their models by no other.
//!
//! A conversation goes out as items, and nothing of it is kept there (`store: false`): thinking comes back sealed and travels with the
//! client. What chats have and this API has no word for is reported, or refused where the reply would be another one for it.
//!
//! Shapes are those of `openai` 3.57 for Python.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::chat::{ChatRequest, Dialect, Reply};
use crate::fault::AttemptFault;
use crate::format::framing::ServerSentEvents;
use crate::format::openai::azure::{self, Azure};
use crate::format::openai::{OpenAi, error};
use crate::format::{Encoded, ProviderFormat, StreamDecoder, Target};

mod attachments;
mod decoder;
mod encode;
mod fault;
mod input;
mod item;
mod reply;
mod tools;

pub(in crate::format::openai) use item::ANNOTATIONS;

#[cfg(test)]
mod tests;

/// Whose words the unknown fields of its replies are in: chats have other ones.
pub(in crate::format::openai) const DIALECT: Dialect = Dialect::named("openai_responses");

/// The event that tells one of [`ANNOTATIONS`].
pub(in crate::format::openai) const ANNOTATED: &str = "response.output_text.annotation.added";

/// The event that tells that an item begins.
pub(in crate::format::openai::responses) const ITEM_BEGUN: &str = "response.output_item.added";

/// The event that tells a whole item, which is all that is told of one that is kept whole.
pub(in crate::format::openai::responses) const ITEM_DONE: &str = "response.output_item.done";

/// The event that shows a picture before it is whole.
pub(in crate::format::openai::responses) const PARTIAL_IMAGE: &str = "response.image_generation_call.partial_image";

/// Where it is asked, below a base address.
const PATH: &str = "/responses";

/// The first version of Azure's dated API that has it.
const AZURE_SINCE: &str = "2025-03-01";

/// The format. It keeps no state; streams do.
pub(in crate::format::openai) struct ResponsesProvider;

impl ProviderFormat for ResponsesProvider {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn mode(&self) -> &'static str {
        "responses"
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &[PATH]
    }

    fn organization_header(&self) -> Option<HeaderName> {
        OpenAi.organization_header()
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        encode::request(request, target)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        reply::read(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        error::read(status, headers, body)
    }

    fn tells(&self, path: &str) -> bool {
        encode::tells(path)
    }

    fn refuses_stream_options(&self, fault: &AttemptFault) -> bool {
        OpenAi.refuses_stream_options(fault)
    }

    fn refuses_thoughts(&self, fault: &AttemptFault) -> bool {
        fault.code.as_deref() == Some(fault::UNVERIFIED)
    }

    fn refuses_sealing(&self, fault: &AttemptFault) -> bool {
        fault::is_about_sealing(fault)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::<ServerSentEvents<decoder::Decoder>>::default()
    }

    fn credential_header(&self, key: &SecretString, version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        OpenAi.credential_header(key, version)
    }
}

/// The same at Azure: all but address and key.
pub(in crate::format::openai) struct AzureResponses;

impl ProviderFormat for AzureResponses {
    fn name(&self) -> &'static str {
        "azure_responses"
    }

    fn mode(&self) -> &'static str {
        ResponsesProvider.mode()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        ResponsesProvider.path_endings()
    }

    fn organization_header(&self) -> Option<HeaderName> {
        None
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let encoded = ResponsesProvider.encode(request, target)?;
        let dated = target.api_version.filter(|version| version.starts_with("20"));
        // A version from before there was such an API is meant for chats.
        let version = target.api_version.filter(|_| dated.is_none_or(|version| version >= AZURE_SINCE));
        let path = azure::path_for_all(version, PATH);
        Ok(Encoded { path, ..encoded })
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        ResponsesProvider.decode(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        ResponsesProvider.decode_error(status, headers, body)
    }

    fn tells(&self, path: &str) -> bool {
        ResponsesProvider.tells(path)
    }

    fn refuses_stream_options(&self, fault: &AttemptFault) -> bool {
        ResponsesProvider.refuses_stream_options(fault)
    }

    fn refuses_thoughts(&self, fault: &AttemptFault) -> bool {
        ResponsesProvider.refuses_thoughts(fault)
    }

    fn refuses_sealing(&self, fault: &AttemptFault) -> bool {
        ResponsesProvider.refuses_sealing(fault)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        ProviderFormat::stream(&ResponsesProvider)
    }

    fn credential_header(&self, key: &SecretString, version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        Azure.credential_header(key, version)
    }
}
