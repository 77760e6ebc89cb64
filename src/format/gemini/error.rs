//! Errors: `{"error": {"code", "message", "status", "details": [{"@type", …}]}}`, in a list where a stream was asked for.

use std::time::Duration;

use http::HeaderMap;

use crate::fault::{AttemptFault, FaultKind};
use crate::format::json::Json;
use crate::format::rate_limits::LONG;
use crate::format::status;

/// Reads a refusal of the provider's.
pub(super) fn read(code: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
    let (mut key, mut day) = (false, false);
    let mut fault = status::refusal(code, headers, body, |value| {
        (key, day) = (is_of_the_key(value), is_of_the_day(value));
        details(value)
    });
    leave_alone(&mut fault, day);
    // A key that is not valid is answered with 400.
    if key {
        fault.kind = FaultKind::Misconfigured;
    }
    fault
}

/// Reads an error inside a stream, where no status tells its kind.
pub(super) fn read_inside_stream(value: &Json<'_>) -> AttemptFault {
    let mut fault = details(value);
    if fault.message.is_empty() {
        "the provider reported an error without a message".clone_into(&mut fault.message);
    }
    let code = error(value).get("code").and_then(Json::as_u64).and_then(|code| u16::try_from(code).ok());
    fault.kind = code.map_or(FaultKind::Unavailable, status::kind);
    status::wait_as_said(&mut fault, &HeaderMap::new());
    leave_alone(&mut fault, is_of_the_day(value));
    fault
}

/// Where the quota of the day is used up, a wait of seconds is of no use: `RetryInfo` tells of the minute alone. (The other models of the key
/// have quotas of their own.)
fn leave_alone(fault: &mut AttemptFault, day: bool) {
    if day && fault.kind == FaultKind::RateLimited {
        fault.retry_after = fault.retry_after.max(Some(LONG));
    }
}

fn error<'a, 'b>(value: &'a Json<'b>) -> &'a Json<'b> {
    let value = match value {
        Json::Array(items) => items.first().unwrap_or(value),
        _ => value,
    };
    value.get("error").unwrap_or(value)
}

fn details(value: &Json<'_>) -> AttemptFault {
    let text = |name: &str| error(value).get(name).and_then(Json::as_str).map(str::to_owned);
    let mut fault = AttemptFault::new(FaultKind::Unavailable, text("message").unwrap_or_default());
    fault.code = text("status");
    fault.retry_after = retry_delay(value);
    fault
}

/// The entries of `details`.
fn entries<'a, 'b>(value: &'a Json<'b>) -> &'a [Json<'b>] {
    error(value).items("details")
}

/// `RetryInfo.retryDelay`: seconds with an `s` behind them, fractions allowed.
fn retry_delay(value: &Json<'_>) -> Option<Duration> {
    let delay = entries(value).iter().find_map(|entry| entry.get("retryDelay")?.as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

/// `QuotaFailure.violations[].quotaId`: `GenerateRequestsPerDayPerProjectPerModel-FreeTier` and its like.
fn is_of_the_day(value: &Json<'_>) -> bool {
    let violations = entries(value).iter().flat_map(|entry| entry.items("violations"));
    let mut quotas = violations.filter_map(|violation| violation.get("quotaId")?.as_str());
    quotas.any(|quota| quota.contains("PerDay"))
}

fn is_of_the_key(value: &Json<'_>) -> bool {
    entries(value).iter().any(|entry| entry.get("reason").and_then(Json::as_str) == Some("API_KEY_INVALID"))
}
