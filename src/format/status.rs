//! What a provider's status and headers mean, alike in every dialect.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::json::Json;
use crate::fault::{AttemptFault, FaultKind};

/// The kind of fault behind a status outside 2xx.
pub(super) const fn kind(status: u16) -> FaultKind {
    match status {
        429 => FaultKind::RateLimited,
        408 | 504 => FaultKind::TimedOut,
        // 402: our account is empty. 3xx: redirects are never followed, so the origin is wrong.
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
    let mut fault = match serde_json::from_slice(body) {
        Ok(value) => details(&value),
        Err(_) => AttemptFault::new(FaultKind::Unavailable, excerpt(body)),
    };
    if fault.message.is_empty() {
        fault.message = format!("the provider answered {status} without a message");
    }
    fault.kind = kind(status);
    fault.status = Some(status);
    fault.retry_after = retry_after(headers);
    fault
}

/// How long the provider asks to be left alone: `retry-after-ms`, else `retry-after` in seconds (fractions
/// allowed) or as a date, which is read against the answer's own `date` so that no clock is needed.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    if let Some(millis) = number("retry-after-ms") {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    if let Some(seconds) = number("retry-after") {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = |name| http_date(headers.get(name)?.to_str().ok()?.trim());
    let (until, now) = (date(RETRY_AFTER)?, date(DATE)?);
    Some(Duration::from_secs(until.saturating_sub(now)))
}

/// Seconds since the Unix epoch of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form HTTP lets servers send.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, text) = text.split_once(", ")?;
    let mut words = text.strip_suffix(" GMT")?.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.into_iter().position(|name| name == month)?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day of a year.
    let march = (u64::try_from(month).ok()? + 10) % 12;
    let year = if march >= 10 { year - 1 } else { year };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (march * 153 + 2) / 5 + day - 1;
    // 719,468 days lie between 1 March of the year 0 and the Unix epoch.
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The beginning of a body that is not of the dialect (a proxy's page), for a message. It is cut between words: half
/// a key is one that nobody finds when the message is scrubbed.
fn excerpt(body: &[u8]) -> String {
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

    use super::{excerpt, http_date, kind, retry_after};
    use crate::fault::FaultKind;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn reads_every_form_of_retry_after() {
        let wait = |pairs: &[_]| retry_after(&headers(pairs));
        assert_eq!(wait(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(wait(&[("retry-after", "0.25")]), Some(Duration::from_millis(250)));
        assert_eq!(wait(&[("retry-after-ms", "1500"), ("retry-after", "9")]), Some(Duration::from_millis(1500)));
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), None);
        for nonsense in ["-1", "NaN", "inf", "1e400", "soon", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 12:00:00 GMT", 1_709_208_000),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Tue, 31 Dec 2030 23:59:59 GMT", 1_924_991_999),
        ] {
            assert_eq!(http_date(text), Some(seconds), "{text}");
        }
        for nonsense in
            ["", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", ", GMT"]
        {
            assert_eq!(http_date(nonsense), None, "{nonsense}");
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
            (413, FaultKind::Rejected),
            (422, FaultKind::Rejected),
            (429, FaultKind::RateLimited),
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
