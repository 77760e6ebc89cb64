use http::HeaderMap;
use serde_json::{Value, json};

use crate::format::openai::Azure;
use crate::format::{ClientRequest, Encoded, NO_QUIRKS, ProviderFormat, Target, client_apis};

fn encode(api_version: Option<&str>) -> Encoded {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let api = client_apis().find(|api| api.name() == "openai").unwrap();
    let request = api.parse(&ClientRequest::post("/".parse().unwrap(), body.to_string())).unwrap();
    let target = Target { api_version, ..Target::plain("mine", &NO_QUIRKS, 9) };
    Azure.encode(&request, &target).unwrap()
}

/// What `AzureOpenAI` of `openai` 3.57 asks for with these versions, and `OpenAI` at `/openai/v1`.
#[test]
fn the_version_decides_where_a_deployment_is() {
    for (version, path) in [
        (Some("2024-10-21"), "/openai/deployments/mine/chat/completions?api-version=2024-10-21"),
        (Some("2025-04-01-preview"), "/openai/deployments/mine/chat/completions?api-version=2025-04-01-preview"),
        (Some("v1"), "/openai/v1/chat/completions"),
        (Some("latest"), "/openai/v1/chat/completions"),
        (Some("preview"), "/openai/v1/chat/completions?api-version=preview"),
    ] {
        let encoded = encode(version);
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!((encoded.path.as_str(), &body["model"]), (path, &json!("mine")), "{version:?}");
        assert_eq!(body["stream_options"], json!({"include_usage": true}));
    }
}

#[test]
fn its_key_has_a_header_of_its_own() {
    let (name, value) = Azure.credential_header(&"very-secret".into(), None).unwrap();
    assert_eq!((name.as_str(), value.to_str().unwrap(), value.is_sensitive()), ("api-key", "very-secret", true));
    assert!(Azure.decode_error(401, &HeaderMap::new(), b"{}").message.contains("401"));
}
