//! Errors that a reply tells of itself, or a stream in its midst: no status tells their kind.

use crate::fault::{AttemptFault, FaultKind};
use crate::format::json::Json;
use crate::format::openai::error;
use crate::format::overflow;

use super::reply;

/// The code of a refusal of thinking that was not sealed for this account and model.
pub(super) const UNVERIFIED: &str = "invalid_encrypted_content";

/// Codes of what the request itself is to blame for, or how they begin.
const REJECTED: [&str; 12] = [
    "context_length_exceeded",
    "invalid_",
    "image_",
    "unsupported_",
    "empty_",
    "failed_to_download_",
    "content_",
    "bio_policy",
    "cyber_policy",
    "misalignment_policy",
    "data_residency_mismatch",
    "string_above_max_length",
];

/// Whether a refusal is about thinking that is to be given under a seal.
pub(super) fn is_about_sealing(fault: &AttemptFault) -> bool {
    let is_named = fault.param.as_deref().is_some_and(|param| param == "include" || param.starts_with("include["));
    fault.status == Some(400) && (is_named || fault.message.starts_with("Encrypted content is not supported"))
}

/// What went wrong, of an object whose `error` says it or which says it itself.
pub(super) fn read(value: &Json<'_>) -> AttemptFault {
    let mut fault = error::read_inside_stream(value);
    let code = fault.code.as_deref().unwrap_or_default();
    if fault.kind == FaultKind::Unavailable && REJECTED.iter().any(|beginning| code.starts_with(beginning)) {
        fault.kind = FaultKind::Rejected;
    }
    overflow::name(&mut fault);
    fault
}

/// The same where a response did not come to its end, however it says so, with what it used all the same; so many searches were seen before
/// it.
pub(super) fn of(response: &Json<'_>, seen: u64) -> Option<AttemptFault> {
    let told = response.get("error").is_some_and(|error| !error.is_null());
    let fault = match response.get("status").and_then(Json::as_str) {
        _ if told => read(response),
        Some(status @ ("failed" | "cancelled")) => {
            let message = format!("the provider ended the reply as `{status}` and did not say why");
            AttemptFault::new(FaultKind::Unavailable, message)
        }
        _ => return None,
    };
    let used = reply::usage(response, seen).filter(|used| used.input_tokens > 0 || used.output_tokens > 0);
    Some(AttemptFault { used: used.map(Box::new), ..fault })
}
