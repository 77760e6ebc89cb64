//! Fields of a request's body that would tell the gateway where to send it, with which key or headers, or what to answer.
//!
//! They are the operator's to say. LiteLLM takes them from clients; here they are refused, because a provider would get them
//! as fields of its own where they were passed on, and a client would believe that they acted.

use crate::chat::ChatRequest;
use crate::fault::{Refusal, RefusalKind};

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

/// Refuses a request that steers.
///
/// # Errors
/// `InvalidRequest`, naming the first such field.
pub(super) fn refuse(request: &ChatRequest) -> Result<(), Refusal> {
    let steers =
        |name: &&String| NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|begin| name.starts_with(begin));
    match request.rest.keys().find(steers) {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "`{name}` cannot be set by a request: address, credentials, headers and answers are the gateway's configuration; \
                 leave it out"
            );
            Err(Refusal::new(RefusalKind::InvalidRequest, message).at(name))
        }
    }
}
