//! What is sent by which client's words, and what of a reply is read.

use http::HeaderMap;
use serde_json::{Value, json};

use super::{AzureResponses, ResponsesProvider};
use crate::chat::{ByOther, Chunk, Delta, FinishReason, PartKind, PartsOfDeltas, ServiceTier, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::sealed::{open, seal};
use crate::format::{ClientRequest, Encoded, NO_QUIRKS, ProviderFormat, Quirks, Target, Turn, client_apis, lost};

mod custom;
mod decode;
mod encode;

const PDF: &str = "data:application/pdf;base64,JVBERi0=";

fn quirks(told: &Value) -> &'static Quirks {
    Box::leak(serde_json::from_value(told.clone()).unwrap())
}

/// What a request of this client's API becomes.
fn encoded(
    client: &str,
    quirks: &'static Quirks,
    body: &Value,
) -> Result<(Encoded, Value, Vec<&'static str>), AttemptFault> {
    let path = if client == "gemini" { "/v1beta/models/m:generateContent" } else { "/" };
    let api = client_apis().find(|api| api.name() == client).unwrap();
    let request = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
    let target = Target::plain("m", quirks, 9);
    let encoded = ResponsesProvider.encode(&request, &target)?;
    let lost = lost(&request, &encoded).collect();
    let body = serde_json::from_slice(&encoded.body).unwrap();
    Ok((encoded, body, lost))
}

/// The same where nothing is left out.
fn sent(client: &str, body: &Value) -> Value {
    let (encoded, body, _) = encoded(client, &NO_QUIRKS, body).unwrap();
    assert_eq!(encoded.dropped, Vec::<String>::new(), "{body}");
    body
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}
