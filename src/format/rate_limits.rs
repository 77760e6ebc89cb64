//! What providers tell of their limits: in headers that most of them copied from one another, and in the words of a refusal.

use std::cmp::Reverse;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::DATE;

use crate::limits::Dimension::{InputTokens, OutputTokens, Requests, Tokens};
use crate::limits::{Dimension, Told};
use crate::moment::Moment;

/// The windows that names and words tell of.
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MONTH: Duration = Duration::from_hours(24 * 30);

/// What of a longer window is used up is left alone for, where nobody says for how long: as long as an account that has nothing left.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// A limit that headers tell of: what their names end in behind `limit`, `remaining` and `reset`.
struct Limit<'n> {
    family: &'static str,
    what: &'n str,
    dimension: Dimension,
    window: Option<Duration>,
}

impl<'n> Limit<'n> {
    /// By the name of the header that tells its size: `x-ratelimit-limit-tokens` (OpenAI and most others), with its window
    /// `x-ratelimit-limit-req-minute` (Mistral), `x-ratelimit-limit-requests-day` (Cerebras, `SambaNova`), or `ratelimitbysize-limit` (Mistral,
    /// before).
    fn named(name: &'n str) -> Option<Self> {
        if name == "ratelimitbysize-limit" {
            return Some(Self { family: "ratelimitbysize", what: "", dimension: Tokens, window: Some(MINUTE) });
        }
        let what = name.strip_prefix("x-ratelimit-limit")?;
        let (unit, window) = with_window(what.strip_prefix('-')?);
        let dimension = match unit {
            "tokens" => Tokens,
            "requests" | "req" => Requests,
            _ => return None,
        };
        Some(Self { family: "x-ratelimit", what, dimension, window })
    }

    fn header(&self, field: &str) -> String {
        format!("{}-{field}{}", self.family, self.what)
    }

    fn told(&self, headers: &HeaderMap, again: Option<Duration>) -> Option<Told> {
        let limit = number(headers, &self.header("limit"))?;
        // Some tell a day's requests under a name that does not say so.
        let is_known = self.dimension != Requests || self.window.is_some();
        let remaining = if is_known { number(headers, &self.header("remaining")) } else { None };
        let used = remaining.map(|remaining| limit.saturating_sub(remaining));
        let reset = until(headers, &self.header("reset"));
        let (dimension, window) = (self.dimension, self.window);
        Some(Told { dimension, limit: Some(limit), used, reset, again, window, age: Duration::ZERO })
    }
}

/// The unit of a limit and its window: `requests-day`.
fn with_window(what: &str) -> (&str, Option<Duration>) {
    let Some((unit, word)) = what.rsplit_once('-') else { return (what, None) };
    let window = match word {
        "minute" => MINUTE,
        "hour" => HOUR,
        "day" => DAY,
        "month" => MONTH,
        _ => return (what, None),
    };
    (unit, Some(window))
}

/// The limits of which an answer's headers tell. What a reset says is when all of the limit is there again.
pub(super) fn in_headers(headers: &HeaderMap) -> Vec<Told> {
    let mut limits: Vec<_> = headers.keys().filter_map(|name| Limit::named(name.as_str())).collect();
    if limits.is_empty() {
        return Vec::new();
    }
    // In whichever order they came.
    limits.sort_by_key(|limit| (limit.window, Reverse(limit.dimension)));
    let again = again(headers);
    limits.iter().filter_map(|limit| limit.told(headers, again)).collect()
}

/// When what is used up is there again, where these are the headers of a refusal that says no more: of limits over more than a minute, and of
/// one whose window nobody knows. (What is left of a minute's is counted.)
pub(super) fn used_up(headers: &HeaderMap) -> Option<Duration> {
    let resets = headers.keys().filter_map(|name| {
        let what = name.as_str().strip_prefix("x-ratelimit-reset")?;
        let remaining = number(headers, &format!("x-ratelimit-remaining{what}"));
        let counts = match what.strip_prefix('-') {
            Some(named) => remaining == Some(0) && with_window(named).1.is_some_and(|window| window > MINUTE),
            None => remaining.is_none_or(|remaining| remaining == 0),
        };
        until(headers, name.as_str()).filter(|_| counts)
    });
    resets.max()
}

/// A header's number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// How long the provider asks to be left alone, where these are the headers of a refusal that says so: `retry-after-ms`, else `retry-after`
/// in seconds (fractions allowed) or as a date. One that makes no sense says nothing, and leaves the word to the other.
pub(super) fn again(headers: &HeaderMap) -> Option<Duration> {
    let millis = || Duration::try_from_secs_f64(text(headers, "retry-after-ms")?.parse::<f64>().ok()? * 1e-3).ok();
    millis().or_else(|| until(headers, "retry-after"))
}

/// A header that is a length of time or a time.
pub(super) fn until(headers: &HeaderMap, name: &str) -> Option<Duration> {
    until_told(headers, text(headers, name)?)
}

/// A length of time; or a time, which is read against the answer's own `date` so that no clock is needed.
pub(super) fn until_told(headers: &HeaderMap, told: &str) -> Option<Duration> {
    if told.is_empty() {
        return None;
    }
    match time(told) {
        Some(time) => Some(time.since(http_date(text(headers, DATE.as_str())?)?)),
        None => span(told),
    }
}

/// A time as a date, in seconds since 1970, or in thousandths of them or less. Lengths of time are shorter than thirty years.
fn time(text: &str) -> Option<Moment> {
    let Ok(mut seconds) = text.parse::<f64>() else { return Moment::parse(text).or_else(|| http_date(text)) };
    if !seconds.is_finite() || seconds < 1e9 {
        return None;
    }
    while seconds >= 1e11 {
        seconds /= 1000.0;
    }
    Some(Moment::default() + Duration::try_from_secs_f64(seconds).ok()?)
}

fn http_date(text: &str) -> Option<Moment> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(Moment::default() + date.duration_since(UNIX_EPOCH).ok()?)
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
    ["try again in ", "try again after ", "retry after ", "retry in ", "please wait "]
        .into_iter()
        .find_map(|words| spoken(message.split_once(words)?.1))
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
    let (window, again) = (long_window(message), wait_in_words(message));
    let told = |limit, used, dimension| Told {
        dimension,
        limit: Some(limit),
        used,
        reset: window,
        again,
        window,
        age: Duration::ZERO,
    };
    if let Some(limit) = after(message, "rate limit of ") {
        return Some(told(limit, None, dimension(message.split("rate limit of ").nth(1)?)));
    }
    let limit = after(message, "Limit ").or_else(|| after(message, "Limit: "))?;
    let used = after(message, "Used ").or_else(|| after(message, "Used: "));
    Some(told(limit, used, dimension(message)))
}

/// The length of the window that the words of a refusal are about, where that is longer than a minute.
fn long_window(message: &str) -> Option<Duration> {
    const OF_A_MINUTE: [&str; 5] = ["per min", "per-min", "per_min", "(tpm)", "(rpm)"];
    const LONGER: [(Duration, &[&str]); 3] = [
        (DAY, &["per day", "per-day", "per_day", "perday", "/day", "/ day", "daily", "(tpd)", "(rpd)"]),
        (MONTH, &["per month", "/month", "/ month", "monthly", "per week", "weekly"]),
        (HOUR, &["per hour", "/hour", "/ hour", "hourly", "(tph)", "(rph)"]),
    ];
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // Beside the limit of a minute a message may say what one of a day could be had for.
    if says(&OF_A_MINUTE) {
        return None;
    }
    LONGER.into_iter().find(|(_, words)| says(words)).map(|(length, _)| length)
}

/// Whether they are about a day or more.
pub(super) fn is_of_days(message: &str) -> bool {
    long_window(message).is_some_and(|window| window >= DAY)
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
                    window: None,
                    age: Duration::ZERO
                },
                Told {
                    dimension: Requests,
                    limit: Some(14_400),
                    used: None,
                    reset: None,
                    again: None,
                    window: None,
                    age: Duration::ZERO
                },
            ]
        );
        assert_eq!(in_headers(&headers(&[("x-ratelimit-remaining-tokens", "5")])), []);
        assert_eq!(in_headers(&headers(&[("x-ratelimit-limit-tokens", "many")])), []);
    }

    #[test]
    fn a_limit_that_names_its_window_is_of_that_window() {
        let minute = Some(Duration::from_mins(1));
        let told = |dimension, window, limit, used, reset| Told {
            dimension,
            limit: Some(limit),
            used: Some(used),
            reset,
            again: None,
            window,
            age: Duration::ZERO,
        };
        let mistral = in_headers(&headers(&[
            ("x-ratelimit-limit-req-minute", "720"),
            ("x-ratelimit-remaining-req-minute", "717"),
            ("x-ratelimit-limit-tokens-minute", "5000000"),
            ("x-ratelimit-remaining-tokens-minute", "4999911"),
            ("x-ratelimit-tokens-query-cost", "52"),
        ]));
        let expected = [told(Tokens, minute, 5_000_000, 89, None), told(Requests, minute, 720, 3, None)];
        assert_eq!(mistral, expected);
        let before = in_headers(&headers(&[
            ("ratelimitbysize-limit", "500000"),
            ("ratelimitbysize-remaining", "468000"),
            ("ratelimitbysize-reset", "3"),
            ("x-ratelimitbysize-limit-month", "1000000000"),
            ("x-ratelimitbysize-remaining-month", "999967993"),
        ]));
        assert_eq!(before, [told(Tokens, minute, 500_000, 32_000, Some(Duration::from_secs(3)))]);
        let cerebras = in_headers(&headers(&[
            ("x-ratelimit-limit-requests-day", "14400"),
            ("x-ratelimit-remaining-requests-day", "14390"),
            ("x-ratelimit-reset-requests-day", "33.5"),
            ("x-ratelimit-limit-tokens-minute", "60000"),
            ("x-ratelimit-remaining-tokens-minute", "58000"),
            ("x-ratelimit-reset-tokens-minute", "11.25"),
        ]));
        let (day, reset) = (Some(Duration::from_hours(24)), |millis| Some(Duration::from_millis(millis)));
        let expected =
            [told(Tokens, minute, 60_000, 2000, reset(11_250)), told(Requests, day, 14_400, 10, reset(33_500))];
        assert_eq!(cerebras, expected);
        assert_eq!(in_headers(&headers(&[("x-ratelimit-limit-tokens-generated", "5")])), []);
    }

    const DATED: (&str, &str) = ("date", "Wed, 15 Jul 2026 10:36:17 GMT");

    #[test]
    fn a_time_is_no_length_of_time() {
        for (told, seconds) in [
            ("1784111807", Some(30)),
            ("1784111807.5", Some(30)),
            ("1784111807000", Some(30)),
            ("1784111807000000", Some(30)),
            ("2026-07-15T10:36:47Z", Some(30)),
            ("Wed, 15 Jul 2026 10:36:47 GMT", Some(30)),
            ("2026-07-15T10:00:00Z", Some(0)),
            ("30", Some(30)),
            ("1m", Some(60)),
            ("2592000", Some(2_592_000)),
            ("inf", None),
            ("NaN", None),
            ("-1784111807", None),
            ("soon", None),
            ("", None),
        ] {
            let told_at = |more| until_told(&headers(more), told).map(|until| until.as_secs());
            assert_eq!(told_at(&[DATED]), seconds, "{told}");
            let is_time = told.len() >= 10 && seconds.is_some();
            assert_eq!(told_at(&[]), seconds.filter(|_| !is_time), "{told}: when it was told nobody knows");
        }
        let reset = [("x-ratelimit-limit-tokens", "6000"), ("x-ratelimit-reset-tokens", "1784111807"), DATED];
        assert_eq!(in_headers(&headers(&reset))[0].reset, Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_is_used_up_tells_when_it_is_there_again() {
        for (told, seconds) in [
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1784111807000")][..], Some(30)),
            (&[("x-ratelimit-reset", "12")], Some(12)),
            (&[("x-ratelimit-remaining", "4"), ("x-ratelimit-reset", "12")], None),
            (
                &[("x-ratelimit-remaining-requests-day", "0"), ("x-ratelimit-reset-requests-day", "33011.38")],
                Some(33_011),
            ),
            (&[("x-ratelimit-remaining-requests-day", "7"), ("x-ratelimit-reset-requests-day", "33011.38")], None),
            // What is left of a minute is counted, and another header may have been meant.
            (&[("x-ratelimit-remaining-tokens-minute", "0"), ("x-ratelimit-reset-tokens-minute", "9")], None),
            (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "9")], None),
        ] {
            let headers = headers(&[told, &[DATED][..]].concat());
            assert_eq!(used_up(&headers).map(|until| until.as_secs()), seconds, "{told:?}");
        }
    }

    #[test]
    fn words_say_which_window_they_are_about() {
        for (words, window) in [
            ("Rate limit reached on tokens per day (TPD): Limit 100000, Used 99900, Requested 200.", Some(DAY)),
            ("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 requests per day", Some(DAY)),
            ("Too many tokens per day, please wait before trying again.", Some(DAY)),
            ("Number of request tokens has exceeded your daily rate limit", Some(DAY)),
            ("You are using a Trial key, which is limited to 1000 API calls / month.", Some(MONTH)),
            ("Requests per hour limit exceeded", Some(HOUR)),
            ("Rate limit exceeded: free-models-per-min. 50 of 1000 per day are left", None),
            ("Rate limit reached on tokens per min (TPM): Limit 30000, Used 20000", None),
            ("Overloaded", None),
        ] {
            assert_eq!(long_window(words), window, "{words}");
        }
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
                window: None,
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
                window: day,
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
                window: None,
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
            ("Your account reached max RPM: 3, please try again after 1 seconds", Some(1000)),
            ("Rate limit of 150 per 86400s exceeded. Please wait 55000 seconds before retrying.", Some(55_000_000)),
            ("Too many requests, please wait before trying again.", None),
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
        let told = Told {
            dimension: Tokens,
            limit: Some(30_000),
            used: None,
            reset: None,
            again: None,
            window: None,
            age: Duration::ZERO,
        };
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
