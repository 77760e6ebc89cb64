//! OpenAI's chat completions, and all that imitate it.
//!
//! The wire truth is the provider's own client (`openai` 3.54 for Python). Where imitators differ, reading is
//! tolerant and writing is what the provider documents.

use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::rest;
use super::{
    ClientApi, ClientRequest, Encoded, Family, Operation, ProviderFormat, StreamDecoder, StreamEncoder, Target,
};
use crate::chat::{ChatRequest, Dialect, FinishReason, Reply, Vectors};
use crate::fault::{AttemptFault, Refusal};
use crate::format::framing::ServerSentEvents;

mod annotations;
mod attachments;
mod azure;
mod calls;
mod completions;
mod decoder;
mod details;
mod effort;
mod embeddings;
mod encode;
mod encoder;
mod error;
mod history;
mod instructions;
mod logprobs;
mod message;
mod parse;
mod paths;
mod reply;
mod responses;
mod usage;

#[cfg(test)]
mod tests;

use azure::Azure;
use completions::Completions;
pub use embeddings::Embeddings;
use responses::{AzureResponses, CustomTools, Responses, ResponsesProvider};

/// What stands in this folder.
pub(super) const FAMILY: Family = Family {
    clients: &[&Responses, &Completions, &Embeddings, &OpenAi],
    providers: &[&OpenAi, &Azure, &ResponsesProvider, &AzureResponses],
};

/// The dialect of its field names.
pub(super) const DIALECT: Dialect = Dialect::named("openai");

/// The header that unlocks fields of bodies.
const BETA: &str = "openai-beta";

/// What the names of Mistral's own clients hold, and of Vercel's AI SDK's for it. They know calls that are whole, as Mistral streams them, and
/// are told usage unasked.
const MISTRALS_CLIENTS: [&str; 4] = ["mistral-client", "mistralai", "ai-sdk-mistral", "ai-sdk/mistral"];

/// What the request's echo says where calls are told whole.
const WHOLE_CALLS: &str = "whole_calls";

/// The format, as a client's API and as a provider's. It keeps no state; streams do.
pub struct OpenAi;

impl ClientApi for OpenAi {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        (paths::asked(path) == "/chat/completions").then_some(Operation::Chat)
    }

    /// Whoever asks for nothing of another API's.
    fn speaks_at(&self, _path: &str, _headers: &HeaderMap) -> bool {
        true
    }

    fn id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }

    fn model(&self, name: &str) -> Value {
        json!({"id": name, "object": "model", "created": 0, "owned_by": "witgate"})
    }

    fn models(&self, names: &[&str]) -> Value {
        json!({"object": "list", "data": names.iter().map(|name| self.model(name)).collect::<Vec<_>>()})
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        let mut chat = parse::request(request)?;
        rest::keep_header(&request.headers, BETA, &mut chat.rest);
        let agent = request.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        if agent.is_some_and(|agent| MISTRALS_CLIENTS.iter().any(|name| agent.contains(name))) {
            chat.stream_usage = true;
            chat.echo.insert(WHOLE_CALLS.to_owned(), true.into());
        }
        Ok(chat)
    }

    fn reply(&self, reply: &Reply) -> Bytes {
        reply::write(reply, &CustomTools::default())
    }

    fn reply_to(&self, request: &ChatRequest, reply: &Reply) -> Bytes {
        reply::write(reply, &CustomTools::of(request))
    }

    fn refusal(&self, refusal: &Refusal, _request_id: &str) -> Bytes {
        error::write(refusal).freeze()
    }

    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder> {
        let usage = request.stream_usage;
        let whole = request.echo.contains_key(WHOLE_CALLS);
        let encoder = if whole { encoder::Encoder::with_whole_calls(usage) } else { encoder::Encoder::new(usage) };
        Box::new(encoder.with_custom(CustomTools::of(request)))
    }
}

impl ProviderFormat for OpenAi {
    fn name(&self) -> &'static str {
        DIALECT.as_str()
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &["/chat/completions"]
    }

    fn organization_header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("openai-organization"))
    }

    fn newer(&self) -> Option<&'static dyn ProviderFormat> {
        Some(&ResponsesProvider)
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        encode::request(request, target)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        reply::read(body)
    }

    fn encode_vectors(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        Ok(embeddings::encode(request, target))
    }

    fn decode_vectors(&self, body: &[u8]) -> Result<Vectors, AttemptFault> {
        embeddings::decode(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        error::read(status, headers, body)
    }

    fn refuses_stream_options(&self, fault: &AttemptFault) -> bool {
        error::is_about_stream_options(fault)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        Box::<ServerSentEvents<decoder::Decoder>>::default()
    }

    fn credential_header(&self, key: &SecretString, _api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some((AUTHORIZATION, value))
    }
}

/// The reason an alternative ended. Imitators use the words of those whose models they serve. With a refusal in it, `stop` means that the
/// model declined. (Words for a reply that was given up: [`error::of_choice`].)
fn finish_reason(word: &str, refused: bool) -> FinishReason {
    match word.to_ascii_lowercase().as_str() {
        "stop" | "eos" | "eos_token" | "end_turn" if refused => FinishReason::Refusal,
        "stop" | "eos" | "eos_token" | "end_turn" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" | "safety" | "sensitive" => FinishReason::ContentFilter,
        _ => FinishReason::Other(word.to_owned()),
    }
}

/// The word for it. A refusal without a text of its own reads as a filter's work, or it would pass for an
/// answer; another dialect's own reason reads as `stop`, for clients know a closed set of words, and another dialect's `stop` after
/// `calls` says that they are waited for.
fn finish_word(reason: &FinishReason, refused: bool, calls: bool, same_dialect: bool) -> &str {
    match reason {
        FinishReason::Other(word) if same_dialect => word,
        FinishReason::Refusal if !refused => "content_filter",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Stop if calls && !same_dialect => "tool_calls",
        FinishReason::Stop | FinishReason::StopSequence(_) | FinishReason::Refusal | FinishReason::Other(_) => "stop",
    }
}
