//! What the two vendors say around a reply: limits in headers, and refusals in their own shapes.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::meter::{Gauge, Level, Per, Verdict};
use super::whole;
use crate::chat::DialectName;
use crate::dialect::face;
use crate::fault::Refusal;
use crate::moment::Moment;
use crate::upstream::UpstreamResponse;

/// Where the limits stand, as the vendor of `dialect` says it, and the id of the answer.
pub(super) fn limit_headers(dialect: DialectName, level: &Level, now: Moment, draw: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let gauges = [("requests", level.requests), ("tokens", level.tokens)];
    let gauges = gauges.into_iter().filter_map(|(what, gauge)| Some((what, gauge?)));
    match dialect {
        DialectName::Openai => {
            set(&mut headers, "x-request-id", format!("req_{draw:016x}"));
            for (what, Gauge { limit, remaining, reset }) in gauges {
                set(&mut headers, &format!("x-ratelimit-limit-{what}"), limit);
                set(&mut headers, &format!("x-ratelimit-remaining-{what}"), remaining);
                set(&mut headers, &format!("x-ratelimit-reset-{what}"), span(reset));
            }
        }
        DialectName::Anthropic => {
            set(&mut headers, "request-id", request_id(draw));
            for (what, Gauge { limit, remaining, reset }) in gauges {
                set(&mut headers, &format!("anthropic-ratelimit-{what}-limit"), limit);
                set(&mut headers, &format!("anthropic-ratelimit-{what}-remaining"), remaining);
                set(&mut headers, &format!("anthropic-ratelimit-{what}-reset"), timestamp(now + reset));
            }
        }
    }
    headers
}

/// The answer to what does not fit into a limit (429).
pub(super) fn limited(
    dialect: DialectName,
    model: &str,
    verdict: &Verdict,
    mut headers: HeaderMap,
    draw: u64,
) -> UpstreamResponse {
    let (per, limit, wait) = match verdict {
        Verdict::Later { per, limit, wait, .. } => (*per, *limit, Some(*wait)),
        Verdict::Never { limit, .. } => (Per::Tokens, *limit, None),
        Verdict::Admitted => (Per::Tokens, 0, None),
    };
    if let Some(wait) = wait {
        set(&mut headers, "retry-after", wait.as_millis().div_ceil(1000));
    }
    let body = match dialect {
        DialectName::Openai => {
            if let Some(wait) = wait {
                set(&mut headers, "retry-after-ms", wait.as_nanos().div_ceil(1_000_000));
            }
            openai(&openai_words(model, verdict), name(per), Some("rate_limit_exceeded"))
        }
        DialectName::Anthropic => {
            let message = format!(
                "This request would exceed your organization's rate limit of {limit} {} per minute. Please reduce \
                 the prompt length or the maximum tokens requested, or try again later.",
                name(per)
            );
            anthropic("rate_limit_error", &message, draw)
        }
    };
    whole(StatusCode::TOO_MANY_REQUESTS, headers, body)
}

fn openai_words(model: &str, verdict: &Verdict) -> String {
    let of = |per| match per {
        Per::Requests => "requests per min (RPM)",
        Per::Tokens => "tokens per min (TPM)",
    };
    match verdict {
        Verdict::Later { per, limit, used, asked, wait } => format!(
            "Rate limit reached for {model} in organization org-simulated on {}: Limit {limit}, Used {used}, \
             Requested {asked}. Please try again in {}.",
            of(*per),
            span(*wait)
        ),
        Verdict::Never { limit, asked } => format!(
            "Request too large for {model} in organization org-simulated on {}: Limit {limit}, Requested {asked}. \
             The input or output tokens must be reduced in order to run successfully.",
            of(Per::Tokens)
        ),
        Verdict::Admitted => String::new(),
    }
}

const fn name(per: Per) -> &'static str {
    match per {
        Per::Requests => "requests",
        Per::Tokens => "tokens",
    }
}

/// A failure of the provider (500).
pub(super) fn broken(dialect: DialectName, headers: HeaderMap, draw: u64) -> UpstreamResponse {
    let body = match dialect {
        DialectName::Openai => {
            openai("The server had an error while processing your request. Sorry about that!", "server_error", None)
        }
        DialectName::Anthropic => anthropic("api_error", "Internal server error", draw),
    };
    whole(StatusCode::INTERNAL_SERVER_ERROR, headers, body)
}

/// A model nobody serves (404).
pub(super) fn unknown_model(dialect: DialectName, model: &str) -> UpstreamResponse {
    let body = match dialect {
        DialectName::Openai => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            openai(&message, "invalid_request_error", Some("model_not_found"))
        }
        DialectName::Anthropic => anthropic("not_found_error", &format!("model: {model}"), 0),
    };
    whole(StatusCode::NOT_FOUND, HeaderMap::new(), body)
}

/// A request that is not one.
pub(super) fn refused(dialect: DialectName, refusal: &Refusal) -> UpstreamResponse {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    whole(status, HeaderMap::new(), face(dialect).refusal(refusal, &request_id(0)))
}

fn openai(message: &str, kind: &str, code: Option<&str>) -> Bytes {
    bytes(&json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

fn anthropic(kind: &str, message: &str, draw: u64) -> Bytes {
    let error = json!({"type": kind, "message": message});
    bytes(&json!({"type": "error", "error": error, "request_id": request_id(draw)}))
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn request_id(draw: u64) -> String {
    format!("req_{draw:016x}")
}

/// Names and values here are made of letters, digits and a few signs; one that were not is left out.
fn set(headers: &mut HeaderMap, name: &str, value: impl Display) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.to_string())) {
        headers.insert(name, value);
    }
}

/// A length of time as OpenAI writes it: `812ms`, `6.5s`, `1m0s`.
fn span(length: Duration) -> String {
    let millis = length.as_nanos().div_ceil(1_000_000);
    let (minutes, millis_left) = (millis / 60_000, millis % 60_000);
    let seconds = match (millis_left / 1000, millis_left % 1000) {
        (whole, 0) => format!("{whole}s"),
        (whole, part) => format!("{whole}.{}s", format!("{part:03}").trim_end_matches('0')),
    };
    match (minutes, millis) {
        (0, 1..1000) => format!("{millis}ms"),
        (0, _) => seconds,
        (minutes, _) => format!("{minutes}m{seconds}"),
    }
}

/// A moment as RFC 3339 has it, rounded up to the second.
fn timestamp(at: Moment) -> String {
    let seconds = at.as_nanos().div_ceil(1_000_000_000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from the Unix epoch.
/// Source: Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_openai_does() {
        let cases = [(0, "0s"), (812, "812ms"), (1000, "1s"), (6_500, "6.5s"), (60_000, "1m0s"), (361_020, "6m1.02s")];
        for (millis, text) in cases {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn moments_are_written_as_dates() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(timestamp(Moment::from_millis(seconds * 1000)), text);
        }
    }
}
