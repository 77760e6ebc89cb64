//! What a fallback asks otherwise than the client did (`{model: …, temperature: 0}` in the place of a name).

use http::Uri;
use serde_json::{Map, Value, json};

use super::litellm_names::is_litellms;
use crate::chat::ChatRequest;
use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientRequest, operation_at};

/// The API in whose names they are written, as LiteLLM's are.
const API: &str = "/v1/chat/completions";

/// Names of LiteLLM's parameters that steer a call, in letters alone.
const NAMES: [&str; 12] = [
    "apibase",
    "apikey",
    "apiversion",
    "baseurl",
    "configurableclientsideauthparams",
    "customllmprovider",
    "extraheaders",
    "headers",
    "litellmcredentialname",
    "mockresponse",
    "modellist",
    "userconfig",
];
/// Beginnings of names that hold a provider's credentials or address.
const BEGINNINGS: [&str; 4] = ["aws", "azure", "vertex", "watsonx"];
/// What LiteLLM reads of a request as a whole: it acts before a group is chosen, and no provider is to get it.
const OF_THE_REQUEST: [&str; 12] = [
    "additional_drop_params",
    "allowed_openai_params",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "disable_fallbacks",
    "drop_params",
    "fallbacks",
    "guardrails",
    "num_retries",
    "stream",
    "stream_timeout",
    "timeout",
];
/// Of these, what would hold a request back, lead it on or change its form: nobody does without it unasked.
const NEVER_LEFT_OUT: [&str; 5] =
    ["content_policy_fallbacks", "context_window_fallbacks", "fallbacks", "guardrails", "stream"];
/// Objects whose fields are, or are taken for, fields of the request itself.
const WRAPPERS: [&str; 4] = ["extrabody", "generationconfig", "httpoptions", "litellmparams"];

/// A name as every spelling of it is compared: `api_base`, `apiBase` and `API-Base` are one.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase())
}

/// Whether a field of this name, however it is spelled, would tell the gateway where to send a request, with which key, or what to
/// answer.
fn steers(name: &str) -> bool {
    let begins = |begin: &&str| letters(name).take(begin.len()).eq(begin.bytes());
    NAMES.iter().any(|known| letters(name).eq(known.bytes())) || BEGINNINGS.iter().any(begins)
}

/// The path of the first field that steers, also inside of what is taken for the request itself (`extra_body.api_base`).
#[must_use]
pub fn steering_field(fields: &Map<String, Value>) -> Option<String> {
    fields.iter().find_map(|(name, value)| match value {
        _ if steers(name) => Some(name.clone()),
        Value::Object(inside) if WRAPPERS.iter().any(|wrapper| letters(name).eq(wrapper.bytes())) => {
            steering_field(inside).map(|field| format!("{name}.{field}"))
        }
        _ => None,
    })
}

/// What is asked otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Overrides {
    request: ChatRequest,
    /// Whether the conversation is another one too.
    messages: bool,
}

/// Whether a field acts on a request as a whole, or on nothing.
fn is_of_the_request(name: &str) -> bool {
    OF_THE_REQUEST.contains(&name) || is_litellms(name)
}

impl Overrides {
    /// Takes out the fields of a file that act on a request as a whole and that it is served without: their names.
    #[must_use]
    pub fn leave_out(fields: &mut Map<String, Value>) -> Vec<String> {
        let left_out = |name: &&String| is_of_the_request(name) && !NEVER_LEFT_OUT.contains(&name.as_str());
        let names: Vec<String> = fields.keys().filter(left_out).cloned().collect();
        fields.retain(|name, _| !names.contains(name));
        names
    }

    /// Reads the fields beside `model`; `None` where there are none.
    ///
    /// # Errors
    /// A field that steers, one that acts on the request as a whole, or one a request could not have, named in `param`.
    pub fn parse(mut fields: Map<String, Value>) -> Result<Option<Self>, Refusal> {
        fields.remove("model");
        if fields.is_empty() {
            return Ok(None);
        }
        let other = || fields.keys().find(|name| is_of_the_request(name)).cloned();
        if let Some(name) = steering_field(&fields).or_else(other) {
            let message = format!("`{name}` cannot be set by a fallback; make a group with what it is to say");
            return Err(Refusal::new(RefusalKind::InvalidRequest, message).at(name));
        }
        let messages = fields.contains_key("messages");
        fields.insert("model".to_owned(), "-".into());
        fields.entry("messages").or_insert_with(|| json!([{"role": "user", "content": "-"}]));
        let request = ClientRequest::post(Uri::from_static(API), Value::Object(fields).to_string());
        let unknown = || Refusal::new(RefusalKind::Internal, "no client API is spoken at the path of chats");
        let (api, _) = operation_at(API).ok_or_else(unknown)?;
        Ok(Some(Self { request: api.parse(&request)?, messages }))
    }

    /// Says in a request what its client wrote apart from it, where the request says nothing of it.
    ///
    /// # Errors
    /// A field that steers, or one a request could not have, named in `param`.
    pub fn say_too(request: &mut ChatRequest, fields: Map<String, Value>) -> Result<(), Refusal> {
        let (whole, fields): (Map<_, _>, Map<_, _>) = fields.into_iter().partition(|(name, _)| is_of_the_request(name));
        for (name, value) in whole {
            if !request.rest.contains_key(&name) {
                request.rest.insert(name, value);
            }
        }
        if let Some(said) = Self::parse(fields)? {
            *request = request.with_defaults(&said.request);
        }
        Ok(())
    }

    /// The client's request as it is asked there.
    #[must_use]
    pub fn apply(&self, original: &ChatRequest) -> ChatRequest {
        let mut request = self.request.with_defaults(original);
        if !self.messages {
            request.messages.clone_from(&original.messages);
        }
        // Fields without a common meaning belong to the API that the client speaks.
        if request.dialect != original.dialect {
            request.rest.clone_from(&original.rest);
            request.dialect = original.dialect;
        }
        (request.stream, request.stream_usage) = (original.stream, original.stream_usage);
        request
    }
}
