//! Where a prompt is built: once per request, for its group, before anything is counted. Until a
//! prompt-builder role exists, the prompt is what the client sent.

use crate::chat::ChatRequest;

/// The request as it will be counted and sent.
pub(super) fn build(request: ChatRequest) -> ChatRequest {
    request
}
