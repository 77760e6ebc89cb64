//! Azure's OpenAI: the same bodies at addresses of its own.
//!
//! A dated version stands in the query, and the deployment in the path; the newer API (`v1`, `latest`, `preview`) has one path for
//! all deployments and takes the deployment's name for a model's. Addresses are those of `AzureOpenAI` in `openai` 3.57 on `PyPI`.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::OpenAi;
use super::responses::AzureResponses;
use crate::chat::{ChatRequest, Reply, Vectors};
use crate::fault::AttemptFault;
use crate::format::in_path::in_path;
use crate::format::{Encoded, ProviderFormat, StreamDecoder, Target};

/// The format. All but address and key is `OpenAI`'s.
pub(super) struct Azure;

/// Where `what` is asked for.
///
/// # Errors
/// `Rejected` where the deployment's name is none.
fn path(target: &Target<'_>, what: &str) -> Result<String, AttemptFault> {
    Ok(match target.api_version {
        Some(version) if is_dated(version) => {
            format!("/openai/deployments/{}{what}?api-version={version}", in_path(target.model, b"")?)
        }
        other => path_for_all(other, what),
    })
}

/// The same of what no version has in the path of a deployment.
pub(super) fn path_for_all(version: Option<&str>, what: &str) -> String {
    match version {
        None | Some("v1" | "latest") => format!("/openai/v1{what}"),
        Some("preview") => format!("/openai/v1{what}?api-version=preview"),
        Some(version) => format!("/openai{what}?api-version={version}"),
    }
}

fn is_dated(version: &str) -> bool {
    !matches!(version, "v1" | "latest" | "preview")
}

impl ProviderFormat for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn path_endings(&self) -> &'static [&'static str] {
        OpenAi.path_endings()
    }

    fn organization_header(&self) -> Option<HeaderName> {
        None
    }

    fn newer(&self) -> Option<&'static dyn ProviderFormat> {
        Some(&AzureResponses)
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let encoded = OpenAi.encode(request, target)?;
        Ok(Encoded { path: path(target, &encoded.path)?, ..encoded })
    }

    fn encode_vectors(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let encoded = OpenAi.encode_vectors(request, target)?;
        Ok(Encoded { path: path(target, &encoded.path)?, ..encoded })
    }

    fn decode_vectors(&self, body: &[u8]) -> Result<Vectors, AttemptFault> {
        OpenAi.decode_vectors(body)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        OpenAi.decode(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        OpenAi.decode_error(status, headers, body)
    }

    fn refuses_stream_options(&self, fault: &AttemptFault) -> bool {
        OpenAi.refuses_stream_options(fault)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        ProviderFormat::stream(&OpenAi)
    }

    fn credential_header(&self, key: &SecretString, _api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(key.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_static("api-key"), value))
    }
}
