//! What a fallback asks otherwise than the client did (`{model: …, temperature: 0}` in the place of a name).

use http::Uri;
use serde_json::{Map, Value, json};

use crate::chat::ChatRequest;
use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientRequest, operation_at};

/// The API in whose names they are written, as LiteLLM's are.
const API: &str = "/v1/chat/completions";

/// Names of LiteLLM's parameters that steer a call.
const NAMES: [&str; 12] = [
    "api_base",
    "api_key",
    "api_version",
    "base_url",
    "configurable_clientside_auth_params",
    "custom_llm_provider",
    "extra_headers",
    "headers",
    "litellm_credential_name",
    "mock_response",
    "model_list",
    "user_config",
];
/// Beginnings of names that hold a provider's credentials or address.
const BEGINNINGS: [&str; 4] = ["aws_", "azure_", "vertex_", "watsonx_"];

/// Whether a field of this name would tell the gateway where to send a request, with which key, or what to answer.
#[must_use]
pub fn steers(name: &str) -> bool {
    NAMES.contains(&name) || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

/// What is asked otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Overrides {
    request: ChatRequest,
    /// Whether the conversation is another one too.
    messages: bool,
}

impl Overrides {
    /// Reads the fields beside `model`; `None` where there are none.
    ///
    /// # Errors
    /// A field that steers, or one a request could not have, named in `param`.
    pub fn parse(mut fields: Map<String, Value>) -> Result<Option<Self>, Refusal> {
        fields.remove("model");
        if fields.is_empty() {
            return Ok(None);
        }
        if let Some(name) = fields.keys().find(|name| steers(name) || matches!(name.as_str(), "stream" | "fallbacks")) {
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
