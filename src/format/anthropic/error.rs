//! Errors, both ways: `{"type": "error", "error": {"type", "message", "details"}, "request_id"}`.

use bytes::BytesMut;
use http::HeaderMap;

use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};
use crate::format::json::Json;
use crate::format::write::Object;
use crate::format::{overflow, status};

/// How a message about a prompt that is too long begins.
const TOO_LONG: &str = "prompt is too long";

/// Writes a refusal. The client library picks its exception by status; `type` is the broad category,
/// `details.error_code` the stable name of the cause. The dialect has no field for what is to blame, so
/// the message names it.
pub(super) fn write(refusal: &Refusal, request_id: &str, out: &mut BytesMut) {
    let mut object = Object::open(out);
    object.field("type", "error");
    {
        let mut error = object.object("error");
        let kind = type_word(refusal);
        error.field("type", kind);
        match &refusal.param {
            // Its agents shorten a conversation at these words, and only where a message begins with them.
            // One that counts the reply's room in they read themselves, and lower `max_tokens`.
            _ if overflow::is(refusal) && overflow::is_sum(&refusal.message) => {
                error.field("message", &refusal.message);
            }
            _ if overflow::is(refusal) && !refusal.message.starts_with(TOO_LONG) => {
                let message = match overflow::numbers(&refusal.message) {
                    Some((tokens, most)) => {
                        format!("{TOO_LONG}: {tokens} tokens > {most} maximum ({})", refusal.message)
                    }
                    None => format!("{TOO_LONG}: {}", refusal.message),
                };
                error.field("message", &message);
            }
            Some(param) if !refusal.message.contains(param.as_str()) => {
                error.field("message", &format!("`{param}`: {}", refusal.message));
            }
            _ => error.field("message", &refusal.message),
        }
        let code = refusal.code.as_deref().unwrap_or(refusal.kind.as_str());
        if code != kind {
            error.object("details").field("error_code", code);
        }
    }
    object.field("request_id", request_id);
}

fn type_word(refusal: &Refusal) -> &'static str {
    match refusal.kind {
        // The provider's clients wait and try again by this word, also inside a stream.
        RefusalKind::Upstream if refusal.code.as_deref() == Some("overloaded_error") => "overloaded_error",
        RefusalKind::Unauthorized => "authentication_error",
        RefusalKind::Forbidden | RefusalKind::PolicyRefused => "permission_error",
        RefusalKind::UnknownModel | RefusalKind::UnknownPath => "not_found_error",
        RefusalKind::SlowRequest | RefusalKind::TimedOut => "timeout_error",
        RefusalKind::TooLarge | RefusalKind::NeverFits => "request_too_large",
        RefusalKind::RateLimited => "rate_limit_error",
        RefusalKind::BudgetExceeded | RefusalKind::GroupOverBudget => "billing_error",
        RefusalKind::Unavailable => "overloaded_error",
        RefusalKind::Upstream | RefusalKind::PromptFailed | RefusalKind::Unparsed | RefusalKind::Internal => {
            "api_error"
        }
        RefusalKind::InvalidRequest | RefusalKind::Rejected => match refusal.status {
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            409 => "conflict_error",
            413 => "request_too_large",
            _ => "invalid_request_error",
        },
    }
}

/// Reads a refusal of the provider's.
pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
    status::refusal(status, headers, body, details)
}

/// Reads an error inside a stream, where no status tells its kind.
pub(super) fn read_inside_stream(value: &Json<'_>) -> AttemptFault {
    let mut fault = details(value);
    if fault.message.is_empty() {
        "the provider reported an error without a message".clone_into(&mut fault.message);
    }
    fault.kind = match value.within("error", "type").and_then(Json::as_str).unwrap_or_default() {
        "rate_limit_error" => FaultKind::RateLimited,
        "timeout_error" => FaultKind::TimedOut,
        "invalid_request_error" | "request_too_large" | "conflict_error" => FaultKind::Rejected,
        "authentication_error" | "permission_error" | "not_found_error" | "billing_error" => FaultKind::Misconfigured,
        _ => FaultKind::Unavailable,
    };
    fault
}

/// The cause's own code where there is one, else the category. A bare text for `error` and the bare
/// `detail` of some frameworks are what imitators send.
fn details(value: &Json<'_>) -> AttemptFault {
    let text =
        |value: Option<&Json<'_>>| value.and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let error = value.get("error").unwrap_or(value);
    let message = text(error.get("message")).or_else(|| text(Some(error))).or_else(|| text(value.get("detail")));
    let mut fault = AttemptFault::new(FaultKind::Unavailable, message.unwrap_or_default());
    fault.code = text(error.within("details", "error_code")).or_else(|| text(error.get("type")));
    fault
}
