//! Gemini on Vertex AI: the same bodies at a cloud's addresses, but for what is refused in them there.
//!
//! How soon a reply is to be served is told in a header: the word in the body is refused, or passed over (googleapis/python-genai#2847).
//! Ids of calls are left out, and vectors have a body of their own.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use super::encode::{self, At};
use super::{Gemini, vectors};
use crate::chat::{ChatRequest, Reply, Vectors};
use crate::fault::AttemptFault;
use crate::format::{Encoded, ProviderFormat, StreamDecoder, Target};

/// The format. All but these is Gemini's.
pub(super) struct GeminiAtVertex;

impl ProviderFormat for GeminiAtVertex {
    fn name(&self) -> &'static str {
        "gemini_vertex"
    }

    fn path_endings(&self) -> &'static [&'static str] {
        Gemini.path_endings()
    }

    fn organization_header(&self) -> Option<HeaderName> {
        Gemini.organization_header()
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        encode::request(request, target, At::Cloud)
    }

    fn decode(&self, body: &[u8]) -> Result<Reply, AttemptFault> {
        Gemini.decode(body)
    }

    fn encode_vectors(&self, request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, AttemptFault> {
        vectors::encode(request, target, At::Cloud)
    }

    fn decode_vectors(&self, body: &[u8]) -> Result<Vectors, AttemptFault> {
        Gemini.decode_vectors(body)
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
        Gemini.decode_error(status, headers, body)
    }

    fn stream(&self) -> Box<dyn StreamDecoder> {
        ProviderFormat::stream(&Gemini)
    }

    fn credential_header(&self, key: &SecretString, api_version: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
        Gemini.credential_header(key, api_version)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{ClientApi, ClientRequest, NO_QUIRKS, OpenAi};

    fn sent(format: &dyn ProviderFormat, api: &dyn ClientApi, path: &str, body: &Value) -> (Encoded, Value) {
        let request = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = format.encode(&request, &target).unwrap();
        let body = serde_json::from_slice(&encoded.body).unwrap();
        (encoded, body)
    }

    #[test]
    fn how_soon_it_is_to_be_served_stands_in_a_header() {
        let header = "x-vertex-ai-llm-shared-request-type";
        for (asked, told, dropped) in [
            ("flex", Some("flex"), false),
            ("priority", Some("priority"), false),
            ("default", None, false),
            ("auto", None, true),
        ] {
            let body = json!({"model": "m", "service_tier": asked, "messages": [{"role": "user", "content": "Hi"}]});
            let (encoded, body) = sent(&GeminiAtVertex, &OpenAi, "/v1/chat/completions", &body);
            assert_eq!(encoded.headers.get(header).and_then(|value| value.to_str().ok()), told, "{asked}");
            assert_eq!((body.get("serviceTier"), !encoded.dropped.is_empty()), (None, dropped), "{asked}");
        }
        let own = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "serviceTier": "flex"});
        let path = "/v1beta/models/m:generateContent";
        let (encoded, body) = sent(&GeminiAtVertex, &Gemini, path, &own);
        assert_eq!((encoded.headers[header].to_str().ok(), encoded.dropped.is_empty()), (Some("flex"), true));
        assert_eq!(body["contents"], own["contents"]);
        assert_eq!((body.get("serviceTier"), body.get("service_tier")), (None, None), "{body}");
        let (encoded, body) = sent(&Gemini, &Gemini, path, &own);
        assert_eq!((encoded.headers.is_empty(), &body["serviceTier"]), (true, &json!("flex")));
    }

    #[test]
    fn calls_have_no_ids() {
        let body = json!({"contents": [
            {"role": "model", "parts": [{"functionCall": {"name": "w", "args": {}, "id": "a"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "w", "response": {"output": "x"}, "id": "a"}}]},
        ]});
        let (encoded, sent) = sent(&GeminiAtVertex, &Gemini, "/v1beta/models/m:generateContent", &body);
        assert!(!String::from_utf8_lossy(&encoded.body).contains("\"id\""), "{sent}");
        assert_eq!(sent["contents"][1]["parts"][0]["functionResponse"]["name"], "w");
        assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
    }
}
