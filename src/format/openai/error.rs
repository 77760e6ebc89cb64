//! Errors, both ways: `{"error": {"message", "type", "param", "code"}}`.

use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;

use super::usage;
use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};
use crate::format::json::Json;
use crate::format::write::Object;
use crate::format::{rate_limits, status};

/// The code of a refusal by a provider's moderation.
const MODERATED: &str = "content_policy_violation";

/// Writes a refusal. The client library picks its exception by status; `type` and `code` are for people
/// and for programs that look closer.
pub(super) fn write(refusal: &Refusal) -> BytesMut {
    let mut out = BytesMut::with_capacity(192 + refusal.message.len());
    {
        let mut object = Object::open(&mut out);
        let mut error = object.object("error");
        error.field("message", &refusal.message);
        error.field("type", type_word(refusal));
        error.field("param", &refusal.param);
        error.field("code", refusal.code.as_deref().unwrap_or(refusal.kind.as_str()));
    }
    out
}

const fn type_word(refusal: &Refusal) -> &'static str {
    match refusal.kind {
        RefusalKind::InvalidRequest
        | RefusalKind::UnknownModel
        | RefusalKind::UnknownPath
        | RefusalKind::SlowRequest
        | RefusalKind::TooLarge
        | RefusalKind::NeverFits
        | RefusalKind::Rejected => "invalid_request_error",
        RefusalKind::Unauthorized => "authentication_error",
        RefusalKind::Forbidden | RefusalKind::PolicyRefused => "permission_error",
        RefusalKind::RateLimited => "rate_limit_error",
        RefusalKind::BudgetExceeded | RefusalKind::GroupOverBudget => "budget_exceeded",
        RefusalKind::Upstream
        | RefusalKind::Unavailable
        | RefusalKind::TimedOut
        | RefusalKind::PromptFailed
        | RefusalKind::Unparsed
        | RefusalKind::Internal => "server_error",
    }
}

/// Reads a refusal of the provider's.
pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> AttemptFault {
    status::refusal(status, headers, body, |value| {
        let mut fault = details(value);
        fault.retry_after = reset_in_body(value, headers).filter(|_| status == 429);
        fault
    })
}

/// When a limit that is used up is there again, where the body repeats the headers that say so (`OpenRouter`).
fn reset_in_body(value: &Json<'_>, headers: &HeaderMap) -> Option<Duration> {
    let repeated = value.within("error", "metadata")?.get("headers")?;
    let used_up = repeated.get("X-RateLimit-Remaining").is_none_or(|left| plain(left) == "0");
    let reset = plain(repeated.get("X-RateLimit-Reset").filter(|_| used_up)?);
    rate_limits::until_told(headers, &reset)
}

/// Whether a refusal names the options of streams: strict servers take no field they do not know.
pub(super) fn is_about_stream_options(fault: &AttemptFault) -> bool {
    const NAME: &str = "stream_options";
    let named = fault.param.as_ref().is_some_and(|param| param.contains(NAME)) || fault.message.contains(NAME);
    matches!(fault.status, Some(400 | 422)) && named
}

/// What an error is called inside a stream that is about a limit.
const LIMITED: [&str; 4] = ["rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "too_many_requests"];

/// Reads an error inside a stream, where no status tells its kind.
pub(super) fn read_inside_stream(value: &Json<'_>) -> AttemptFault {
    let mut fault = details(value);
    if fault.message.is_empty() {
        "the provider reported an error without a message".clone_into(&mut fault.message);
    }
    let error = value.get("error").unwrap_or(value);
    let words = ["code", "type"].map(|name| error.get(name).map(plain).unwrap_or_default());
    let number = words.iter().find_map(|word| word.parse::<u16>().ok().filter(|code| (400..600).contains(code)));
    let says = |word: &str| words.iter().any(|found| found == word);
    fault.kind = if fault.code.as_deref() == Some(MODERATED) {
        FaultKind::Rejected
    } else if let Some(code) = number {
        status::kind(code)
    } else if LIMITED.into_iter().any(says) {
        FaultKind::RateLimited
    } else if says("invalid_request_error") || says("content_filter") {
        FaultKind::Rejected
    } else {
        FaultKind::Unavailable
    };
    status::wait_as_said(&mut fault, &HeaderMap::new());
    fault
}

/// Why a reply was given up, where one of its alternatives tells of it in the place of a reason to finish: in an error of its own, as
/// `OpenRouter` does, or by a word. What was used all the same is told beside it.
pub(super) fn of_choice(value: &Json<'_>) -> Option<AttemptFault> {
    let fault = value.items("choices").iter().find_map(|choice| {
        if choice.get("error").is_some_and(|error| !error.is_null()) {
            return Some(read_inside_stream(choice));
        }
        let word = choice.get("finish_reason").and_then(Json::as_str)?.to_ascii_lowercase();
        let fault = given_up(&word)?;
        let is_told = value.get("error").is_some_and(|error| !error.is_null());
        Some(if is_told { read_inside_stream(value) } else { fault })
    })?;
    let used = value.get("usage").and_then(|usage| usage::read(usage.clone())).map(Box::new);
    Some(AttemptFault { used, ..fault })
}

/// The same by a word: in place of a reason to finish `DeepSeek` says that it has no room (`insufficient_system_resource`), Z.AI that its
/// model failed (`network_error`), servers that people run that they stopped the request (`abort`).
fn given_up(word: &str) -> Option<AttemptFault> {
    let kind = match word {
        "error" | "abort" => FaultKind::BrokenStream,
        "insufficient_system_resource" | "network_error" => FaultKind::Unavailable,
        _ => return None,
    };
    let message = format!("the provider gave the reply up: it ended with `{word}`");
    let code = Some(word.to_owned()).filter(|word| word != "error");
    Some(AttemptFault { code, ..AttemptFault::new(kind, message) })
}

/// Code, message and parameter out of the shapes in use: the provider's, a bare text for `error`, the object
/// itself, the `detail` of Python servers, and any of them in a list of one.
fn details(value: &Json<'_>) -> AttemptFault {
    let value = first(value);
    let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
    let word = |name: &str| error.get(name).map(plain).filter(|word| !word.is_empty());
    let mut message = words(error);
    if message == PASSED_ON
        && let Some(raw) = error.within("metadata", "raw")
    {
        message = format!("{PASSED_ON}: {}", passed_on(raw));
    }
    let mut fault = AttemptFault::new(FaultKind::Unavailable, message);
    // OpenRouter repeats what its moderation refused, and has the status for a code.
    let moderated = error.within("metadata", "flagged_input").is_some_and(|input| !input.is_null());
    fault.code = if moderated { Some(MODERATED.to_owned()) } else { word("code").or_else(|| word("type")) };
    fault.param = word("param");
    fault
}

fn first<'a, 'b>(value: &'a Json<'b>) -> &'a Json<'b> {
    match value {
        Json::Array(items) => items.first().unwrap_or(value),
        _ => value,
    }
}

fn words(error: &Json<'_>) -> String {
    match error {
        Json::Text(text) => text.to_string(),
        _ => ["message", "detail"]
            .map(|name| error.get(name).map(plain).unwrap_or_default())
            .into_iter()
            .find(|word| !word.is_empty())
            .unwrap_or_default(),
    }
}

/// What `OpenRouter` says of a refusal by whoever serves the model, whose own words stand beside it.
const PASSED_ON: &str = "Provider returned error";

/// The words of a refusal that somebody else's repeats; the beginning of it, where it has none.
fn passed_on(raw: &Json<'_>) -> String {
    let raw = plain(raw);
    let read = Json::parse(raw.as_bytes(), 1 << 10).ok().map(|value| {
        let value = first(&value);
        words(value.get("error").filter(|error| !error.is_null()).unwrap_or(value))
    });
    read.filter(|words| !words.is_empty()).unwrap_or_else(|| status::excerpt(raw.as_bytes()))
}

/// A text as it is, nothing for null, anything else as JSON.
fn plain(value: &Json<'_>) -> String {
    match value {
        Json::Null => String::new(),
        Json::Text(text) => text.to_string(),
        other => other.to_json(),
    }
}
