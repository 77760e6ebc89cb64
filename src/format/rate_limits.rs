//! What providers tell of their limits: in headers that most of them copied from one another, and in the words of a refusal.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::limits::Dimension::{InputTokens, OutputTokens, Requests, Tokens};
use crate::limits::{Dimension, Told};

// Looked up in every reply: made when this is compiled.
const TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");

/// `x-ratelimit-limit-tokens`, `-remaining-tokens`, `-reset-tokens`, and the same for requests. Of requests only the limit is
/// taken: some providers tell a day's there. What a reset says is when all of the limit is there again.
pub(super) fn in_headers(headers: &HeaderMap) -> Vec<Told> {
    // No provider but those that copied it sends any.
    if !headers.contains_key(TOKENS) && !headers.contains_key(REQUESTS) {
        return Vec::new();
    }
    let again = again(headers);
    let told = |what: &str, dimension| {
        let number = |field: &str| number(headers, &format!("x-ratelimit-{field}-{what}"));
        let limit = number("limit")?;
        let remaining = if dimension == Requests { None } else { number("remaining") };
        let reset = headers.get(format!("x-ratelimit-reset-{what}")).and_then(|value| span(value.to_str().ok()?));
        let used = remaining.map(|remaining| limit.saturating_sub(remaining));
        Some(Told { dimension, limit: Some(limit), used, reset, again, age: Duration::ZERO })
    };
    [told("tokens", Tokens), told("requests", Requests)].into_iter().flatten().collect()
}

/// A header's number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Until what is refused fits, where these are the headers of a refusal that says so.
pub(super) fn again(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |name: &str, unit: f64| {
        let number: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    seconds("retry-after-ms", 1e-3).or_else(|| seconds("retry-after", 1.0))
}

/// A length of time as `6ms`, `59.5s`, `1m0s`, `2h3m`, or plain seconds.
fn span(text: &str) -> Option<Duration> {
    let (mut seconds, mut rest) = (0.0, text.trim());
    if let Ok(plain) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(plain).ok();
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (amount, unit) = rest.split_at(end);
        let amount: f64 = amount.parse().ok()?;
        let (unit, length) = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)]
            .into_iter()
            .find(|(name, _)| unit.starts_with(name))?;
        seconds += amount * length;
        rest = rest.split_at(end).1.strip_prefix(unit)?;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// How long the words of a refusal ask to be left alone: `Please try again in 7m12s` (OpenAI, Groq), `Please retry after 4 seconds`
/// (Azure), `Please retry in 3.5s` (Gemini).
pub(super) fn wait_in_words(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    ["try again in ", "retry after ", "retry in "].into_iter().find_map(|words| spoken(message.split_once(words)?.1))
}

/// A length of time that a text begins with: one word (`3m0s`), or a number and its unit (`4 seconds`).
fn spoken(text: &str) -> Option<Duration> {
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', ')', '!']));
    let first = words.next().filter(|word| !word.is_empty())?;
    let Ok(amount) = first.parse::<f64>() else { return span(first) };
    let unit = match words.next()? {
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "day" | "days" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(amount * unit).ok()
}

/// The numbers in the words of a refusal: `Limit 30000, Used 20000, Requested 12000. Please try again in 4s`, or `rate limit of 40,000
/// input tokens per minute`. `None` where there are none.
#[must_use]
pub fn limit_in_words(message: &str) -> Option<Told> {
    let day = message.contains("per day") || message.contains("(TPD)") || message.contains("(RPD)");
    let (reset, again) = (day.then_some(Duration::from_hours(24)), wait_in_words(message));
    let told = |limit, used, dimension| Told { dimension, limit: Some(limit), used, reset, again, age: Duration::ZERO };
    if let Some(limit) = after(message, "rate limit of ") {
        return Some(told(limit, None, dimension(message.split("rate limit of ").nth(1)?)));
    }
    let limit = after(message, "Limit ").or_else(|| after(message, "Limit: "))?;
    let used = after(message, "Used ").or_else(|| after(message, "Used: "));
    Some(told(limit, used, dimension(message)))
}

/// Whether the words of a refusal say that the request alone is larger than a limit of tokens: `Limit 30000, Requested 40666`.
/// Waiting does not help there.
#[must_use]
pub fn is_larger_than_limit(message: &str) -> bool {
    let requested = after(message, "Requested ").or_else(|| after(message, "Requested: "));
    let limit = limit_in_words(message).filter(|told| told.dimension != Requests).and_then(|told| told.limit);
    // A limit of nothing is the account's fault, and not this request's.
    requested.zip(limit).is_some_and(|(requested, limit)| limit > 0 && requested > limit)
}

fn dimension(words: &str) -> Dimension {
    let words = words.to_ascii_lowercase();
    if words.contains("input tokens per") || words.contains("input-tokens") {
        InputTokens
    } else if words.contains("output tokens per") || words.contains("output-tokens") {
        OutputTokens
    } else if words.contains("requests per") || words.contains("(rpm)") || words.contains("(rpd)") {
        Requests
    } else {
        Tokens
    }
}

/// The number behind these words.
fn after(message: &str, words: &str) -> Option<u64> {
    let rest = message.split(words).nth(1)?;
    let digits: String = rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == ',').collect();
    digits.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn headers_tell_limit_use_and_reset() {
        let told = in_headers(&headers(&[
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "18000"),
            ("x-ratelimit-reset-tokens", "1m0.5s"),
            ("x-ratelimit-limit-requests", "14400"),
            ("x-ratelimit-remaining-requests", "3"),
        ]));
        let reset = Some(Duration::from_millis(60_500));
        assert_eq!(
            told,
            [
                Told {
                    dimension: Tokens,
                    limit: Some(30_000),
                    used: Some(12_000),
                    reset,
                    again: None,
                    age: Duration::ZERO
                },
                Told {
                    dimension: Requests,
                    limit: Some(14_400),
                    used: None,
                    reset: None,
                    again: None,
                    age: Duration::ZERO
                },
            ]
        );
        assert_eq!(in_headers(&headers(&[("x-ratelimit-remaining-tokens", "5")])), []);
        assert_eq!(in_headers(&headers(&[("x-ratelimit-limit-tokens", "many")])), []);
    }

    #[test]
    fn spans_are_read_in_every_form() {
        for (text, millis) in [
            ("6ms", Some(6)),
            ("59.5s", Some(59_500)),
            ("2h3m", Some(7_380_000)),
            ("12", Some(12_000)),
            ("0s", Some(0)),
            ("soon", None),
            ("5x", None),
            ("", Some(0)),
        ] {
            assert_eq!(span(text).map(|span| span.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn refusals_tell_numbers() {
        let openai = "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 20000, Requested 12000. Please try again in 4s.";
        assert_eq!(
            limit_in_words(openai),
            Some(Told {
                dimension: Tokens,
                limit: Some(30_000),
                used: Some(20_000),
                reset: None,
                again: Some(Duration::from_secs(4)),
                age: Duration::ZERO
            })
        );
        let requests = "Rate limit reached for m on requests per day (RPD): Limit 200, Used 200, Requested 1.";
        let day = Some(Duration::from_hours(24));
        assert_eq!(
            limit_in_words(requests),
            Some(Told {
                dimension: Requests,
                limit: Some(200),
                used: Some(200),
                reset: day,
                again: None,
                age: Duration::ZERO
            })
        );
        let anthropic = "This request would exceed your organization\u{2019}s rate limit of 40,000 input tokens per minute (org: x).";
        assert_eq!(
            limit_in_words(anthropic),
            Some(Told {
                dimension: InputTokens,
                limit: Some(40_000),
                used: None,
                reset: None,
                again: None,
                age: Duration::ZERO
            })
        );
        assert_eq!(limit_in_words("Overloaded"), None);
        assert_eq!(limit_in_words("Limit reached"), None);
    }

    #[test]
    fn a_refusal_says_when_what_it_refused_fits() {
        let words = |wait: &str| format!("Limit 6000, Used 5500, Requested 1200. Please try again in {wait}");
        for (wait, millis) in [
            ("7s. Need more?", Some(7000)),
            ("7.66s.", Some(7660)),
            ("6m1.02s", Some(361_020)),
            ("812ms, or", Some(812)),
            ("a while", None),
        ] {
            let again = limit_in_words(&words(wait)).and_then(|told| told.again);
            assert_eq!(again.map(|again| again.as_millis()), millis, "{wait}");
        }
        let limits = [("x-ratelimit-limit-tokens", "6000"), ("x-ratelimit-remaining-tokens", "500")];
        for (more, millis) in [
            (&[][..], None),
            (&[("retry-after", "7")][..], Some(7000)),
            (&[("retry-after", "7"), ("retry-after-ms", "6500")][..], Some(6500)),
            (&[("retry-after", "soon")][..], None),
            (&[("retry-after", "-5")][..], None),
        ] {
            let told = in_headers(&headers(&[&limits[..], more].concat()));
            assert_eq!(told[0].again.map(|again| again.as_millis()), millis, "{more:?}");
        }
    }

    #[test]
    fn words_say_how_long_to_wait_in_every_vendor_s_way() {
        let azure = "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 4 seconds. Please go here: https://aka.ms/oai/quotaincrease";
        for (words, millis) in [
            ("Limit 100000, Used 99000, Requested 1200. Please try again in 3m0s.", Some(180_000)),
            ("Limit 200, Used 200, Requested 1. Please try again in 7m12s. Visit https://x", Some(432_000)),
            ("Rate limit reached. Try again in 812ms", Some(812)),
            (azure, Some(4000)),
            ("Please retry after 1 second.", Some(1000)),
            ("Please retry after 500 milliseconds.", Some(500)),
            ("Please try again in 5 minutes.", Some(300_000)),
            ("Quota exceeded for metric: x, limit: 15\nPlease retry in 3.5s.", Some(3500)),
            ("Please try again in 0s.", Some(0)),
            ("try again in a while", None),
            ("try again in 3 tries", None),
            ("try again in .", None),
            ("retry after -5 seconds", None),
            ("retry in inf days", None),
            ("try again in ", None),
            ("try again later", None),
            ("Requests rate limit exceeded", None),
        ] {
            assert_eq!(wait_in_words(words).map(|wait| wait.as_millis()), millis, "{words}");
        }
    }

    #[test]
    fn a_request_that_never_fits_is_told_by_its_numbers() {
        let openai = "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40666. The input or output tokens must be reduced in order to run successfully.";
        let told =
            Told { dimension: Tokens, limit: Some(30_000), used: None, reset: None, again: None, age: Duration::ZERO };
        assert_eq!((is_larger_than_limit(openai), limit_in_words(openai)), (true, Some(told)));
        for fits in [
            "Rate limit reached on tokens per min (TPM): Limit 30000, Used 20000, Requested 12000.",
            "Rate limit reached on tokens per min (TPM): Limit 30000, Used 20000, Requested 30000.",
            "Rate limit reached on tokens per min (TPM): Limit 0, Requested 12.",
            "Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 201.",
            "Requested 40666 tokens",
            "Overloaded",
        ] {
            assert!(!is_larger_than_limit(fits), "{fits}");
        }
    }
}
