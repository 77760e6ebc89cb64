//! Errors: `{"message"}`, with the exception's name in a header, or as the event's name in a stream.

use http::HeaderMap;

use crate::fault::{AttemptFault, FaultKind};
use crate::format::json::Json;
use crate::format::{overflow, status};

/// Reads a refusal.
pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
    let mut fault = status::refusal(status, headers, body, details);
    // `ThrottlingException:http://internal.amazon.com/…`
    let named = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    // A prompt that is too long has a name by now, which says more.
    let named = named.filter(|_| fault.code.as_deref() != Some(overflow::CODE));
    if let Some(name) = named.and_then(|name| name.split(':').next()).filter(|name| !name.is_empty()) {
        fault.code = Some(name.to_owned());
    }
    match (status, fault.code.as_deref()) {
        // The model failed, and not the request.
        (424, _) => fault.kind = FaultKind::Unavailable,
        // A limit of the account's, which is told as if the request were wrong.
        (400, Some("ServiceQuotaExceededException" | "ThrottlingException")) => fault.kind = FaultKind::RateLimited,
        _ => {}
    }
    fault
}

/// Reads an exception inside a stream, where no status tells its kind.
pub(super) fn inside_stream(name: &str, data: &str) -> AttemptFault {
    let mut fault = match Json::parse(data.as_bytes(), 1 << 10) {
        Ok(value) => details(&value),
        Err(_) => AttemptFault::new(FaultKind::Unavailable, data),
    };
    if fault.message.is_empty() {
        "the provider reported an exception without a message".clone_into(&mut fault.message);
    }
    fault.kind = match name {
        "throttlingException" => FaultKind::RateLimited,
        "validationException" => FaultKind::Rejected,
        _ => FaultKind::Unavailable,
    };
    fault.code = Some(name.to_owned()).filter(|name| !name.is_empty());
    overflow::name(&mut fault);
    fault
}

fn details(value: &Json<'_>) -> AttemptFault {
    let word = |names: [&str; 3]| names.into_iter().find_map(|name| value.get(name)?.as_str()).map(str::to_owned);
    let mut fault =
        AttemptFault::new(FaultKind::Unavailable, word(["message", "Message", "originalMessage"]).unwrap_or_default());
    fault.code = word(["__type", "code", "Code"]).map(|name| name.rsplit('#').next().unwrap_or_default().to_owned());
    fault
}
