//! As Anthropic speaks.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use super::{Emulation, Limited, bytes, name, request_id, set};
use crate::format::{self, ClientApi};
use crate::moment::Moment;
use crate::provider::simulated::meter::{Gauge, Level};

/// The format.
pub(super) struct Anthropic;

impl Emulation for Anthropic {
    fn api(&self) -> &'static dyn ClientApi {
        &format::Anthropic
    }

    fn path_end(&self) -> &'static str {
        "/messages"
    }

    fn id_prefix(&self) -> &'static str {
        "msg_"
    }

    fn limit_headers(&self, level: &Level, now: Moment, draw: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, "request-id", request_id(draw));
        for (what, Gauge { limit, remaining, reset }) in level.gauges() {
            set(&mut headers, &format!("anthropic-ratelimit-{what}-limit"), limit);
            set(&mut headers, &format!("anthropic-ratelimit-{what}-remaining"), remaining);
            set(&mut headers, &format!("anthropic-ratelimit-{what}-reset"), timestamp(now + reset));
        }
        headers
    }

    fn limited(&self, _model: &str, limit: &Limited<'_>, _headers: &mut HeaderMap, draw: u64) -> Bytes {
        let message = format!(
            "This request would exceed your organization's rate limit of {} {} per minute. Please reduce the prompt length \
             or the maximum tokens requested, or try again later.",
            limit.limit,
            name(limit.per)
        );
        error("rate_limit_error", &message, draw)
    }

    fn server_error(&self, draw: u64) -> Bytes {
        error("api_error", "Internal server error", draw)
    }

    fn unknown_model(&self, model: &str) -> Bytes {
        error("not_found_error", &format!("model: {model}"), 0)
    }
}

fn error(kind: &str, message: &str, draw: u64) -> Bytes {
    let error = json!({"type": kind, "message": message});
    bytes(&json!({"type": "error", "error": error, "request_id": request_id(draw)}))
}

/// A moment as RFC 3339 has it, rounded up to the second.
fn timestamp(at: Moment) -> String {
    let whole = Moment::from_millis(at.as_nanos().div_ceil(1_000_000_000) * 1000);
    let (year, month, day, hour, minute, second) = whole.civil();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

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
