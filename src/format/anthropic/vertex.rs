//! Claude on Vertex AI: Anthropic's bodies at a cloud's addresses.
//!
//! The model stands in the path, the version of the API in the body, and a stream is another method; who asks is the cloud's to know (a
//! service account). Refusals of the model are Anthropic's, those of the cloud Google's. What a model takes of sampling goes by the
//! version that it needs at Anthropic itself. Pictures and documents are taken themselves alone: what stands at an address is refused there
//! (Anthropic's page on vision). Shapes are those of `AnthropicVertex` in `anthropic` 2.14.0 on `PyPI`.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Anthropic;
use super::encode::{self, At};
use crate::chat::{ChatRequest, Reply};
use crate::fault::AttemptFault;
use crate::format::gemini::Gemini;
use crate::format::in_path::in_path;
use crate::format::{Encoded, ProviderFormat, StreamDecoder, Target};

/// The version of the API there.
const VERSION: &str = "vertex-2023-10-16";

/// The format. All but address, version and the cloud's own refusals is Anthropic's.
pub(super) struct AnthropicAtVertex;

impl ProviderFormat for AnthropicAtVertex {
    fn name(&self) -> &'static str {
        "anthropic_vertex"
    }

    fn path_endings(&self) -> &'static [&'static str] {
        &["/models"]
    }

    fn organization_header(&self) -> Option<HeaderName> {
        None
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        let method = if request.stream { "streamRawPredict" } else { "rawPredict" };
        let path = format!("/models/{}:{method}", in_path(target.model, b"@")?);
        encode::request(request, target, At::Cloud { path, version: VERSION })
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        ProviderFormat::decode(&Anthropic, body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        #[derive(Deserialize)]
        struct Kind<'k> {
            #[serde(rename = "type")]
            kind: &'k str,
        }
        let of_model = serde_json::from_slice::<Kind<'_>>(body).is_ok_and(|body| body.kind == "error");
        if of_model {
            Anthropic.decode_error(status, headers, body)
        } else {
            Gemini.decode_error(status, headers, body)
        }
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        ProviderFormat::stream(&Anthropic)
    }

    fn credential_header(&self, key: &SecretString, _api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some((AUTHORIZATION, value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fault::FaultKind;
    use crate::format::{ClientApi, ClientRequest, NO_QUIRKS, OpenAi};

    fn encode(body: &Value, api_version: Option<&str>) -> Encoded {
        let request = Anthropic.parse(&ClientRequest::post("/".parse().unwrap(), body.to_string())).unwrap();
        let model = "claude-sonnet-4-5@20250929";
        let target = Target { api_version, ..Target::plain(model, &NO_QUIRKS, 9) };
        AnthropicAtVertex.encode(&request, &target).unwrap()
    }

    #[test]
    fn the_model_stands_in_the_path_and_the_version_in_the_body() {
        let body =
            json!({"model": "m", "max_tokens": 5, "temperature": 0.5, "messages": [{"role": "user", "content": "Hi"}]});
        let whole = encode(&body, Some("2023-06-01"));
        assert_eq!(whole.path, "/models/claude-sonnet-4-5@20250929:rawPredict");
        assert!(whole.headers.is_empty(), "{:?}", whole.headers);
        let sent: Value = serde_json::from_slice(&whole.body).unwrap();
        assert_eq!(
            sent,
            json!({"anthropic_version": VERSION, "max_tokens": 5, "temperature": 0.5, "messages": [{"role": "user", "content": "Hi"}]})
        );
        let mut streamed = body;
        streamed["stream"] = true.into();
        let streamed = encode(&streamed, None);
        assert_eq!(streamed.path, "/models/claude-sonnet-4-5@20250929:streamRawPredict");
        let sent: Value = serde_json::from_slice(&streamed.body).unwrap();
        assert_eq!((&sent["stream"], sent.get("temperature")), (&json!(true), None), "the newest know no sampling");
        assert_eq!(streamed.lost, ["temperature"]);
    }

    #[test]
    fn what_is_tried_out_and_not_known_there_is_left_out() {
        let body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
        for (betas, sent, is_left) in [
            ("claude-code-20250219,context-1m-2025-08-07", Some("claude-code-20250219,context-1m-2025-08-07"), false),
            ("oauth-2025-04-20,advanced-tool-use-2025-11-20", Some("tool-search-tool-2025-10-19"), true),
            ("prompt-caching-scope-2026-01-05", None, true),
        ] {
            let mut asked = ClientRequest::post("/".parse().unwrap(), body.to_string());
            asked.headers.insert("anthropic-beta", betas.parse().unwrap());
            let request = Anthropic.parse(&asked).unwrap();
            let target = Target::plain("m", &NO_QUIRKS, 9);
            let there = AnthropicAtVertex.encode(&request, &target).unwrap();
            assert_eq!(there.headers.get("anthropic-beta").map(|value| value.to_str().unwrap()), sent, "{betas}");
            let dropped: &[&str] = if is_left { &["anthropic-beta"] } else { &[] };
            assert_eq!(there.dropped, dropped, "{betas}");
            let own = ProviderFormat::encode(&Anthropic, &request, &target).unwrap();
            assert_eq!(own.headers["anthropic-beta"], betas, "its own vendor knows all of them");
        }
    }

    #[test]
    fn what_would_have_to_be_fetched_is_refused_by_name() {
        let at = |kind: &str| json!({"type": kind, "source": {"type": "url", "url": "https://a.test/b"}});
        let pieces = json!({"type": "document", "source": {"type": "content", "content": [at("image")]}});
        let found = json!({"type": "tool_result", "tool_use_id": "a", "content": [at("document")]});
        let (own, chats): (&dyn ClientApi, &dyn ClientApi) = (&Anthropic, &OpenAi);
        let picture = json!({"type": "image_url", "image_url": {"url": "https://a.test/b.png"}});
        let file = json!({"type": "file", "file": {"file_id": "https://a.test/b.pdf"}});
        let target = Target::plain("m", &NO_QUIRKS, 9);
        for (api, part) in
            [(own, at("image")), (own, at("document")), (own, pieces), (own, found), (chats, picture), (chats, file)]
        {
            let asked = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [part]}]});
            let request = api.parse(&ClientRequest::post("/".parse().unwrap(), asked.to_string())).unwrap();
            let fault = AnthropicAtVertex.encode(&request, &target).unwrap_err();
            let blamed = (fault.kind, fault.param.as_deref());
            assert_eq!(blamed, (FaultKind::Rejected, Some("messages[0].content[0]")), "{asked}: {fault}");
            assert!(ProviderFormat::encode(&Anthropic, &request, &target).is_ok(), "it fetches itself: {asked}");
        }
        let data = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
        let picture = json!([{"type": "image", "source": data}]);
        let body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": picture}]});
        let sent: Value = serde_json::from_slice(&encode(&body, None).body).unwrap();
        assert_eq!(sent["messages"][0]["content"][0]["source"], data);
    }

    #[test]
    fn refusals_are_read_in_the_words_of_whoever_refused() {
        let read = |status, body: Value| {
            AnthropicAtVertex.decode_error(status, &HeaderMap::new(), body.to_string().as_bytes())
        };
        let of_model = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}});
        let of_cloud = json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded"}}]);
        let (model, cloud) = (read(400, of_model), read(429, of_cloud));
        assert!(model.message.starts_with("prompt is too long"), "{model}");
        assert_eq!((cloud.kind, &*cloud.message), (FaultKind::RateLimited, "Quota exceeded"));
    }
}
