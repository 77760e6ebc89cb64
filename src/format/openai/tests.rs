//! The OpenAI dialect by itself. The matrix of both dialects is tested beside them.

use serde_json::Value;

use super::OpenAi;
use crate::chat::ChatRequest;
use crate::format::{Encoded, ProviderFormat, Target};

mod azure;
mod errors;
mod quirks;
mod reply;
mod request;
mod stream;

const TARGET: Target<'static> = Target::plain("upstream-model", &crate::format::NO_QUIRKS, 4096);

fn parse(request: &Value) -> ChatRequest {
    crate::format::openai::parse::request(&crate::format::ClientRequest::post(
        http::Uri::default(),
        request.to_string(),
    ))
    .unwrap()
}

fn encode(request: &ChatRequest) -> Encoded {
    OpenAi.encode(request, &TARGET).unwrap()
}

fn body(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}
