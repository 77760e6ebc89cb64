//! Wire formats, each twice: as the [`ClientApi`] that clients speak to us, as the [`ProviderFormat`] we speak to a provider.
//!
//! Both are pure: bytes in, canonical types out, and back. No clock, no network; origin and authorisation are added by the
//! host after `encode`, so that neither a native format nor a component can redirect a request or use a key. What is true of
//! one format alone stands behind its trait: nobody outside its folder asks which one it is. A new format is a folder, its
//! fixtures, and its family in the one list below; ARCHITECTURE.md goes through it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use secrecy::SecretString;
use serde_json::Value;

use crate::chat::{ChatRequest, Chunk, Reply, Usage, Vectors};
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::limits::Told;
use crate::money::NanoUsd;

mod allowed;
mod anthropic;
mod bedrock;
mod call_id;
mod drawn;
mod end_user;
mod framing;
mod gemini;
mod in_path;
mod in_words;
mod json;
mod meant;
mod media_type;
mod openai;
mod overflow;
mod plain_words;
mod prefill;
mod quirks;
mod rate_limits;
mod read;
mod rest;
mod sampling;
mod schemas;
mod sealed;
mod status;
mod thinking;
mod tool_names;
mod unstreamed;
mod whole_calls;
mod write;

#[cfg(test)]
mod tests;

pub use anthropic::Anthropic;
pub use meant::lost;
#[cfg(test)]
pub(crate) use meant::meant;
pub use openai::{Embeddings, OpenAi};
pub use quirks::{NO_QUIRKS, Quirks};
pub use rate_limits::{is_larger_than_limit, limit_in_words};
pub use sealed::without as without_thoughts;
pub use tool_names::ToolNames;
pub use unstreamed::MaybeWhole;

/// What one folder has to offer.
struct Family {
    /// The APIs clients may speak, the most particular first.
    clients: &'static [&'static dyn ClientApi],
    /// The formats providers may speak.
    providers: &'static [&'static dyn ProviderFormat],
}

/// Why several inputs are refused where a model makes vectors of one a request.
const ONE_INPUT: &str = "this model takes one text a request; ask for each of them (in LangChain `chunk_size=1`, in LlamaIndex `embed_batch_size=1`)";

/// Every family. The last API of the last one answers whoever speaks none.
static FAMILIES: [Family; 4] = [anthropic::FAMILY, gemini::FAMILY, bedrock::FAMILY, openai::FAMILY];

/// The APIs clients may speak, the most particular first.
pub fn client_apis() -> impl Iterator<Item = &'static dyn ClientApi> {
    FAMILIES.iter().flat_map(|family| family.clients).copied()
}

/// The formats providers may speak.
pub fn provider_formats() -> impl Iterator<Item = &'static dyn ProviderFormat> {
    FAMILIES.iter().flat_map(|family| family.providers).copied()
}

/// The format and the API that our own requests and simulated models have.
#[must_use]
pub fn own() -> (&'static dyn ProviderFormat, &'static dyn ClientApi) {
    (&OpenAi, &OpenAi)
}

/// The format with this name, as `data/providers.json` has it.
#[must_use]
pub fn provider_format(name: &str) -> Option<&'static dyn ProviderFormat> {
    provider_formats().find(|format| format.name() == name)
}

/// A request in the words that policies of the provider role read, whatever API it came through: `OpenAI`'s.
///
/// # Errors
/// As [`ProviderFormat::encode`].
pub fn in_common_words(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
    OpenAi.encode(request, target)
}

/// What a status and its headers make of a refusal whose words are read already.
#[must_use]
pub fn refusal_of(status: u16, headers: &HeaderMap, words: AttemptFault) -> AttemptFault {
    status::with_status(status, headers, words)
}

/// The API whose words answer a request: the one it speaks, else the one most clients read.
#[must_use]
pub fn spoken_at(path: &str, headers: &HeaderMap) -> &'static dyn ClientApi {
    client_apis().find(|api| api.speaks_at(path, headers)).unwrap_or(&OpenAi)
}

/// The API and operation that a path asks for.
#[must_use]
pub fn operation_at(path: &str) -> Option<(&'static dyn ClientApi, Operation)> {
    // Nearly everybody asks the last of them, and no path is two's.
    let own: &'static dyn ClientApi = &OpenAi;
    std::iter::once(own).chain(client_apis()).find_map(|api| Some((api, api.operation(path)?)))
}

/// Whether a field of a request that this gateway would read is the provider's own, by the word of the API that the client speaks.
#[must_use]
pub fn is_own(request: &ChatRequest, field: &str) -> bool {
    client_apis().any(|api| api.has_own(request, field))
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A reply to a conversation, whole or streamed. Always a `POST`.
    Chat,
    /// Vectors of texts. Always a `POST`.
    Embeddings,
    /// The tokens of a request, which is not served. Always a `POST`.
    Count,
}

/// A request as it came: an API may keep the model in its path or an option in a header.
#[derive(Clone, Debug)]
pub struct ClientRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The headers, the caller's key among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The gateway's id of it; empty where nobody asks for one.
    pub id: String,
    /// The exchanges it goes on from, oldest first, where its API knows of such.
    pub earlier: Vec<Turn>,
    /// Exchanges whose items it names, where its API knows of such.
    pub named: Vec<Turn>,
}

/// An exchange that a client may go on from: what it sent, and the whole reply, both in the words of its API.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The body of the request.
    pub request: Bytes,
    /// The body of the reply.
    pub reply: Bytes,
}

/// What a request says of exchanges that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The reply it goes on from.
    pub previous: Option<String>,
    /// The replies whose items it names.
    pub named: Vec<String>,
    /// Whether its own may be kept.
    pub keep: bool,
}

/// The requests that one request stands for, and how their replies are told as one.
pub struct Several {
    /// The bodies.
    pub bodies: Vec<Bytes>,
    /// What makes one reply of theirs.
    pub joiner: Box<dyn Joiner>,
}

/// Makes one reply of several, in the words of one API.
pub trait Joiner: Send {
    /// Of whole replies, in the order of their requests.
    fn whole(&mut self, replies: &[Bytes]) -> Bytes;

    /// Appends what a piece of the stream at `place` is in the stream of all: a piece holds whole events. Returns whether anything may
    /// follow, which it may not after an error.
    fn piece(&mut self, place: usize, piece: &[u8], out: &mut BytesMut) -> bool;

    /// Appends a remark that clients pass over: something that headers would have told.
    fn remark(&mut self, text: &str, out: &mut BytesMut);

    /// Appends the refusal of one of them after the stream began; nothing follows it.
    fn error(&mut self, refusal: &Refusal, out: &mut BytesMut);

    /// Appends the end, once all streams have ended.
    fn end(&mut self, out: &mut BytesMut);
}

impl ClientRequest {
    /// A request that goes on from nothing.
    #[must_use]
    pub const fn new(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        Self { method, uri, headers, body, id: String::new(), earlier: Vec::new(), named: Vec::new() }
    }

    /// Bytes that must be read to understand it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let earlier = self.earlier.iter().chain(&self.named).map(|turn| turn.request.len() + turn.reply.len());
        self.body.len() + earlier.sum::<usize>()
    }

    /// A `POST` without headers, as in-process callers make it.
    #[must_use]
    pub fn post(uri: Uri, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, uri, HeaderMap::new(), body.into())
    }
}

/// What a provider's format must know of the deployment it writes for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The version of the provider's API, where configuration names one.
    pub api_version: Option<&'a str>,
    /// What the provider takes otherwise than the one it imitates.
    pub quirks: &'static Quirks,
    /// Sent where the format demands an output bound and the client gave none.
    pub default_max_tokens: u32,
    /// Whether a stream is asked for without more said of it: the provider has refused to be told that usage is wanted.
    pub bare_stream: bool,
    /// Whether thinking is not asked for under a seal: the provider has refused to be asked with this model.
    pub unsealed: bool,
}

impl<'a> Target<'a> {
    /// Of no version in particular, and a provider that has refused nothing yet.
    #[must_use]
    pub const fn plain(model: &'a str, quirks: &'static Quirks, default_max_tokens: u32) -> Self {
        Self { model, api_version: None, quirks, default_max_tokens, bare_stream: false, unsealed: false }
    }
}

/// A request in a provider's words, without origin and credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Path below the deployment's origin (`/chat/completions`): no scheme, no host.
    pub path: String,
    /// Headers the format needs (`anthropic-version` …). Never a credential.
    pub headers: HeaderMap,
    /// The JSON body.
    pub body: Bytes,
    /// Fields the client sent that this provider has no word for; reported, not hidden.
    pub dropped: Vec<String>,
    /// Those of them that make another reply by being left out, or cut, as far as the format knows; see [`lost`].
    pub lost: Vec<&'static str>,
}

/// A wire format we speak to a provider.
pub trait ProviderFormat: Send + Sync {
    /// The name `data/providers.json` knows it by.
    fn name(&self) -> &'static str;

    /// Ends of a configured address that this format appends itself, outermost first.
    fn path_endings(&self) -> &'static [&'static str];

    /// What clients that list models read of how they are asked (LiteLLM's `mode`).
    fn mode(&self) -> &'static str {
        "chat"
    }

    /// The format of a newer API by which the same providers serve some of their models alone, where there is one.
    fn newer(&self) -> Option<&'static dyn ProviderFormat> {
        None
    }

    /// The header that names the customer's organisation, where the format has one.
    fn organization_header(&self) -> Option<HeaderName>;

    /// Writes a request.
    ///
    /// # Errors
    /// `Rejected`, naming the field, where the request asks for what this format cannot express and
    /// nothing could be sent without it (several choices, a tool kind of another provider).
    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault>;

    /// Reads a whole reply (status 2xx).
    ///
    /// # Errors
    /// `BrokenStream` where the body is not a reply of this format.
    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault>;

    /// Writes a request for vectors.
    ///
    /// # Errors
    /// `Rejected`, naming the field, where the format has no such request or not of this kind.
    fn encode_vectors(&self, _request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let message = format!("`{}` is served by a provider of which no embeddings are asked here", target.model);
        Err(AttemptFault { param: Some("model".to_owned()), ..AttemptFault::new(FaultKind::Rejected, message) })
    }

    /// Reads vectors (status 2xx).
    ///
    /// # Errors
    /// `BrokenStream` where the body holds none.
    fn decode_vectors(&self, _body: &[u8]) -> Result<Vectors, AttemptFault> {
        Err(AttemptFault::new(FaultKind::BrokenStream, "the provider's format has no embeddings"))
    }

    /// What the head of an answer tells of tokens whose body tells none.
    fn usage_in_headers(&self, _headers: &HeaderMap) -> Option<Usage> {
        None
    }

    /// Reads a refusal (any other status): kind, code, message, `Retry-After`.
    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault;

    /// Whether a request that is written tells of this field, of which no other format tells ([`ChatRequest::untold`]).
    fn tells(&self, _path: &str) -> bool {
        false
    }

    /// Whether a refusal is about what a stream is asked beside itself, which can be left out.
    fn refuses_stream_options(&self, _fault: &AttemptFault) -> bool {
        false
    }

    /// Whether a refusal is about thinking that was sealed for somebody else (another account, another model), without which the conversation
    /// can go on; see [`without_thoughts`].
    fn refuses_thoughts(&self, _fault: &AttemptFault) -> bool {
        false
    }

    /// Whether a refusal is about thinking that is asked for under a seal, so that it can go back, which this model does not give; see
    /// [`Target::unsealed`].
    fn refuses_sealing(&self, _fault: &AttemptFault) -> bool {
        false
    }

    /// What an answer's headers tell of the provider's limits.
    fn limits_in_headers(&self, headers: &HeaderMap) -> Vec<Told> {
        rate_limits::in_headers(headers)
    }

    /// A reader for one streamed reply.
    fn stream(&self) -> Box<dyn StreamDecoder>;

    /// Whether writing and reading take so long that they must not be done on a thread that serves.
    fn is_slow(&self) -> bool {
        false
    }

    /// The header this provider wants its key in, by the version of its API: name, and value marked sensitive. `None` where
    /// the key cannot be a header's value.
    fn credential_header(&self, key: &SecretString, api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)>;
}

/// Reads one streamed reply from the bytes of its body, however they are cut and framed.
pub trait StreamDecoder: Send {
    /// Takes in the next bytes and appends what is whole.
    ///
    /// # Errors
    /// What the provider reports inside the stream, or `BrokenStream` where it is not of this format.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Chunk>) -> Result<(), AttemptFault>;

    /// Takes in the end of the body: what is under way is complete.
    ///
    /// # Errors
    /// As [`StreamDecoder::push`].
    fn finish(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault>;

    /// Whether the format's terminator has been read. A stream that ends before is a fault.
    fn is_complete(&self) -> bool;
}

impl fmt::Debug for dyn ProviderFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A wire format clients speak to us.
pub trait ClientApi: Send + Sync {
    /// The name in logs, metrics and what policies are told.
    fn name(&self) -> &'static str;

    /// What is asked for at `path`; `None` where this API has nothing there.
    fn operation(&self, path: &str) -> Option<Operation>;

    /// Whether a request at this path, for something or nothing of the API's own, wants its answer in this API's words.
    fn speaks_at(&self, path: &str, headers: &HeaderMap) -> bool;

    /// Where clients look for a request's id.
    fn id_header(&self) -> HeaderName;

    /// One model, as clients read it.
    fn model(&self, name: &str) -> Value;

    /// The list of models, as clients read it.
    fn models(&self, names: &[&str]) -> Value;

    /// Reads a request.
    ///
    /// # Errors
    /// `InvalidRequest` with the JSON position (`line 3, column 14`) or the field (`messages[2].content`).
    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal>;

    /// Reads a request whose tokens are to be counted: it may lack what only a reply needs.
    ///
    /// # Errors
    /// As [`ClientApi::parse`].
    fn countable(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        self.parse(request)
    }

    /// Whether a field of a request in its dialect is the provider's own, where one of LiteLLM's has the same name.
    fn has_own(&self, _request: &ChatRequest, _field: &str) -> bool {
        false
    }

    /// The tokens of a request, as clients read them.
    fn counted(&self, tokens: u64) -> Value {
        serde_json::json!({"input_tokens": tokens})
    }

    /// The requests that this one stands for, where it stands for several.
    ///
    /// # Errors
    /// It stands for too many.
    fn several(&self, _body: &[u8]) -> Result<Option<Several>, Refusal> {
        Ok(None)
    }

    /// What a request says of exchanges that are kept; `None` in an API that knows of none.
    fn remembered(&self, _body: &[u8]) -> Option<Remembered> {
        None
    }

    /// The id under which clients ask for the reply to the request with this id.
    fn reply_id(&self, request_id: &str) -> String {
        request_id.to_owned()
    }

    /// The whole reply, where this piece of a stream is the last one and says it.
    fn streamed_whole(&self, _piece: &[u8]) -> Option<Bytes> {
        None
    }

    /// What was sent in an exchange that is kept, as clients read it.
    fn input_items(&self, _turn: &Turn) -> Option<Value> {
        None
    }

    /// The `content-type` of streams asked for at this address.
    fn stream_type(&self, _uri: &Uri) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// Writes a whole reply.
    fn reply(&self, reply: &Reply) -> Bytes;

    /// Writes a whole reply to this request. Most APIs say the same whatever was asked.
    fn reply_to(&self, _request: &ChatRequest, reply: &Reply) -> Bytes {
        self.reply(reply)
    }

    /// Writes vectors. Only an API with [`Operation::Embeddings`] is asked to.
    fn vectors(&self, _request: &ChatRequest, _vectors: &Vectors) -> Bytes {
        Bytes::new()
    }

    /// Writes a refusal. The status is the refusal's; `Retry-After` is the server's to add.
    fn refusal(&self, refusal: &Refusal, request_id: &str) -> Bytes;

    /// A writer for one streamed reply to this request.
    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder>;
}

/// Writes one streamed reply, event by event, as server-sent events.
pub trait StreamEncoder: Send {
    /// Appends what `chunk` is in this API; may be nothing.
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut);

    /// Appends a sign of life, which says nothing: something is still being waited for. No blank line follows: to clients that do
    /// not keep to the letter (openai-go before March 2026) it is an event without data, which they cannot read.
    fn alive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b": waiting\n");
    }

    /// Appends a remark that clients pass over: something that headers would have told.
    fn remark(&mut self, text: &str, out: &mut BytesMut) {
        out.extend_from_slice(b": ");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\n");
    }

    /// What the whole reply costs; told with the API's ending. Called once at most, right before [`StreamEncoder::end`].
    fn cost(&mut self, cost: NanoUsd);

    /// Appends the API's ending. Called once, after the last chunk of a whole reply.
    fn end(&mut self, out: &mut BytesMut);

    /// Appends an error after the stream began; nothing follows it.
    fn error(&mut self, refusal: &Refusal, request_id: &str, out: &mut BytesMut);
}
