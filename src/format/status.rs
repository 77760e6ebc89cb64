//! What a provider's status and headers mean, alike in every dialect.

use http::HeaderMap;

use super::json::Json;
use super::read::MAX_REPLY_VALUES;
use super::{overflow, rate_limits};
use crate::fault::{AttemptFault, FaultKind};

/// The kind of fault behind a status outside 2xx.
pub(super) const fn kind(status: u16) -> FaultKind {
    match status {
        429 => FaultKind::RateLimited,
        408 | 504 => FaultKind::TimedOut,
        // 409: another request is in the way. 425: it came too early. 498: a service tier has no room (Groq). 499: the provider gave it up
        // (Google's CANCELLED).
        409 | 425 | 498 | 499 => FaultKind::Unavailable,
        // 402: our account is empty. 3xx: redirects are never followed, so the origin is wrong. 403 and 404 may be about the
        // request: their words say so (`failover::classify`).
        300..=399 | 401..=404 => FaultKind::Misconfigured,
        400..=499 => FaultKind::Rejected,
        _ => FaultKind::Unavailable,
    }
}

/// Reads a refusal of a provider's: `details` knows where the dialect keeps its words, the rest is HTTP's.
pub(super) fn refusal(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    details: impl FnOnce(&Json<'_>) -> AttemptFault,
) -> AttemptFault {
    let fault = match Json::parse(body, MAX_REPLY_VALUES) {
        Ok(value) => details(&value),
        Err(_) => AttemptFault::new(FaultKind::Unavailable, excerpt(body)),
    };
    with_status(status, headers, fault)
}

/// A refusal whose words are known, with what is HTTP's.
pub(super) fn with_status(status: u16, headers: &HeaderMap, mut fault: AttemptFault) -> AttemptFault {
    if fault.message.is_empty() {
        fault.message = format!("the provider answered {status} without a message");
    }
    fault.kind = kind(status);
    fault.status = Some(status);
    fault.retry_after = rate_limits::again(headers).or(fault.retry_after);
    fault.final_there = headers.get("x-should-retry").is_some_and(|told| told == "false");
    overflow::name(&mut fault);
    wait_as_said(&mut fault, headers);
    fault
}

/// Where a limit is met and no field says when to come again, its words may, or what is told of the limit itself. Where it is of a day or more,
/// seconds are of no use. Words are read of nothing else: a message may repeat what somebody wrote.
pub(super) fn wait_as_said(fault: &mut AttemptFault, headers: &HeaderMap) {
    if fault.kind == FaultKind::RateLimited && fault.retry_after.is_none() {
        let long = || rate_limits::is_of_days(&fault.message).then_some(rate_limits::LONG);
        let told = rate_limits::wait_in_words(&fault.message).or_else(|| rate_limits::used_up(headers));
        fault.retry_after = told.or_else(long);
    }
}

/// The beginning of a body that is not of the dialect (a proxy's page), for a message. It is cut between words: half
/// a key is one that nobody finds when the message is scrubbed.
pub(super) fn excerpt(body: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(body);
    let mut line = String::new();
    let mut room = MOST;
    for word in text.split_whitespace() {
        let Some(left) = room.checked_sub(word.chars().count() + usize::from(!line.is_empty())) else {
            line.push_str(if line.is_empty() { "…" } else { " …" });
            break;
        };
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        room = left;
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{excerpt, kind, with_status};
    use crate::fault::{AttemptFault, FaultKind};
    use crate::format::rate_limits;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn reads_every_form_of_retry_after() {
        let wait = |pairs: &[_]| rate_limits::again(&headers(pairs));
        assert_eq!(wait(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(wait(&[("retry-after", "0.25")]), Some(Duration::from_millis(250)));
        assert_eq!(wait(&[("retry-after-ms", "1500"), ("retry-after", "9")]), Some(Duration::from_millis(1500)));
        assert_eq!(wait(&[("retry-after-ms", "-1"), ("retry-after", "9")]), Some(Duration::from_secs(9)));
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), None);
        for nonsense in ["-1", "NaN", "inf", "1e400", "soon", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn only_the_words_of_a_limit_say_when_to_come_again_and_only_where_no_field_does() {
        let words = "Limit 30000, Used 29000, Requested 1200. Please try again in 20s.";
        for (status, more, seconds) in [
            (429, &[][..], Some(20)),
            (429, &[("retry-after", "7")][..], Some(7)),
            (429, &[("retry-after", "soon")][..], Some(20)),
            (500, &[][..], None),
            (400, &[][..], None),
        ] {
            let fault = with_status(status, &headers(more), AttemptFault::new(FaultKind::Unavailable, words));
            assert_eq!(fault.retry_after.map(|wait| wait.as_secs()), seconds, "{status} {more:?}");
        }
    }

    #[test]
    fn a_limit_of_a_day_or_more_is_left_alone_for_longer_where_nobody_says_for_how_long() {
        for (words, more, seconds) in [
            ("Too many tokens per day, please wait before trying again.", &[][..], 600),
            ("Too many tokens per day.", &[("retry-after", "7")][..], 7),
            ("Limit 200 requests per day. Please try again in 20s.", &[], 20),
            ("free-models-per-day", &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3600")], 3600),
        ] {
            let fault = with_status(429, &headers(more), AttemptFault::new(FaultKind::Unavailable, words));
            assert_eq!(fault.retry_after.map(|wait| wait.as_secs()), Some(seconds), "{words} {more:?}");
        }
    }

    #[test]
    fn a_provider_says_whether_to_ask_again() {
        for (told, expected) in [(Some("false"), true), (Some("true"), false), (None, false)] {
            let told: Vec<_> = told.into_iter().map(|told| ("x-should-retry", told)).collect();
            let fault = with_status(529, &headers(&told), AttemptFault::new(FaultKind::Unavailable, "no"));
            assert_eq!((fault.kind, fault.final_there), (FaultKind::Unavailable, expected), "{told:?}");
        }
    }

    #[test]
    fn statuses_have_kinds() {
        for (status, expected) in [
            (301, FaultKind::Misconfigured),
            (400, FaultKind::Rejected),
            (401, FaultKind::Misconfigured),
            (402, FaultKind::Misconfigured),
            (403, FaultKind::Misconfigured),
            (404, FaultKind::Misconfigured),
            (408, FaultKind::TimedOut),
            (409, FaultKind::Unavailable),
            (413, FaultKind::Rejected),
            (422, FaultKind::Rejected),
            (425, FaultKind::Unavailable),
            (429, FaultKind::RateLimited),
            (451, FaultKind::Rejected),
            (498, FaultKind::Unavailable),
            (499, FaultKind::Unavailable),
            (500, FaultKind::Unavailable),
            (503, FaultKind::Unavailable),
            (504, FaultKind::TimedOut),
            (529, FaultKind::Unavailable),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
    }

    #[test]
    fn excerpts_are_short_and_whole_words() {
        assert_eq!(excerpt(b"<html>\n  <b>Bad\tGateway</b>"), "<html> <b>Bad Gateway</b>");
        let long = "ébène ".repeat(1000);
        assert_eq!(excerpt(long.as_bytes()), format!("{}…", "ébène ".repeat(33)));
        assert_eq!(excerpt(&[0xff, 0xfe]), "\u{fffd}\u{fffd}");
        for before in 0..300 {
            let page = format!("{} sk-very-secret {}", "x".repeat(before), "y ".repeat(300));
            let told = excerpt(page.as_bytes());
            assert!(told.contains("sk-very-secret") || !told.contains("sk"), "a part of the key: {told}");
        }
        let spaced = format!("<html>{}sk-very-secret", " ".repeat(590));
        assert_eq!(excerpt(spaced.as_bytes()), "<html> sk-very-secret");
    }
}
