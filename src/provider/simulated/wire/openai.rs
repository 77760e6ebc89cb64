//! As OpenAI speaks.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use super::{Emulation, Limited, bytes, name, set};
use crate::format::{self, ClientApi};
use crate::moment::Moment;
use crate::provider::simulated::meter::{Gauge, Level, Per, Verdict};

/// The format.
pub(super) struct OpenAi;

impl Emulation for OpenAi {
    fn api(&self) -> &'static dyn ClientApi {
        &format::OpenAi
    }

    fn path_end(&self) -> &'static str {
        "/chat/completions"
    }

    fn id_prefix(&self) -> &'static str {
        "chatcmpl-"
    }

    fn limit_headers(&self, level: &Level, _now: Moment, draw: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, "x-request-id", super::request_id(draw));
        for (what, Gauge { limit, remaining, reset }) in level.gauges() {
            set(&mut headers, &format!("x-ratelimit-limit-{what}"), limit);
            set(&mut headers, &format!("x-ratelimit-remaining-{what}"), remaining);
            set(&mut headers, &format!("x-ratelimit-reset-{what}"), span(reset));
        }
        headers
    }

    fn limited(&self, model: &str, limit: &Limited<'_>, headers: &mut HeaderMap, _draw: u64) -> Bytes {
        if let Some(wait) = limit.wait {
            set(headers, "retry-after-ms", wait.as_nanos().div_ceil(1_000_000));
        }
        error(&words(model, limit.verdict), name(limit.per), Some("rate_limit_exceeded"))
    }

    fn server_error(&self, _draw: u64) -> Bytes {
        error("The server had an error while processing your request. Sorry about that!", "server_error", None)
    }

    fn unknown_model(&self, model: &str) -> Bytes {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        error(&message, "invalid_request_error", Some("model_not_found"))
    }
}

/// Its embeddings: the same provider at another path.
pub(super) struct Embeddings;

impl Emulation for Embeddings {
    fn api(&self) -> &'static dyn ClientApi {
        &format::Embeddings
    }

    fn path_end(&self) -> &'static str {
        "/embeddings"
    }

    fn id_prefix(&self) -> &'static str {
        OpenAi.id_prefix()
    }

    fn limit_headers(&self, level: &Level, now: Moment, draw: u64) -> HeaderMap {
        OpenAi.limit_headers(level, now, draw)
    }

    fn limited(&self, model: &str, limit: &Limited<'_>, headers: &mut HeaderMap, draw: u64) -> Bytes {
        OpenAi.limited(model, limit, headers, draw)
    }

    fn server_error(&self, draw: u64) -> Bytes {
        OpenAi.server_error(draw)
    }

    fn unknown_model(&self, model: &str) -> Bytes {
        OpenAi.unknown_model(model)
    }
}

fn words(model: &str, verdict: &Verdict) -> String {
    let of = |per| match per {
        Per::Requests => "requests per min (RPM)",
        Per::Tokens => "tokens per min (TPM)",
    };
    match verdict {
        Verdict::Later { per, limit, used, requested, wait } => format!(
            "Rate limit reached for {model} in organization org-simulated on {}: Limit {limit}, Used {used}, \
             Requested {requested}. Please try again in {}.",
            of(*per),
            span(*wait)
        ),
        Verdict::Never { limit, requested } => format!(
            "Request too large for {model} in organization org-simulated on {}: Limit {limit}, Requested {requested}. \
             The input or output tokens must be reduced in order to run successfully.",
            of(Per::Tokens)
        ),
        Verdict::Admitted => String::new(),
    }
}

fn error(message: &str, kind: &str, code: Option<&str>) -> Bytes {
    bytes(&json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
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
}
