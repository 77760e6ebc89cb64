//! What the headers of a reply say beside its body: who answered and who decided, what it took, what it cost, and where the
//! deployment's limits stand. Names and numbers are LiteLLM's and OpenAI's where they have one.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::BytesMut;

use crate::money::NanoUsd;
use crate::pipeline::{LimitLeft, ReplyMeta};

// Looked up when this is compiled, not for every reply.
pub(super) const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const POLICY: HeaderName = HeaderName::from_static("x-witgate-policy");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-witgate-deployment");
const MODEL: HeaderName = HeaderName::from_static("x-witgate-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-witgate-attempts");
const WAITED: HeaderName = HeaderName::from_static("x-witgate-waited-ms");
const ITEMS: HeaderName = HeaderName::from_static("x-witgate-items");
const DROPPED: HeaderName = HeaderName::from_static("x-witgate-dropped");
const MODEL_GROUP: HeaderName = HeaderName::from_static("x-litellm-model-group");
const MODEL_ID: HeaderName = HeaderName::from_static("x-litellm-model-id");
const RETRIES: HeaderName = HeaderName::from_static("x-litellm-attempted-retries");
const FALLBACKS: HeaderName = HeaderName::from_static("x-litellm-attempted-fallbacks");
const DURATION: HeaderName = HeaderName::from_static("x-litellm-response-duration-ms");
const OVERHEAD: HeaderName = HeaderName::from_static("x-litellm-overhead-duration-ms");
const COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");
const COST_ORIGINAL: HeaderName = HeaderName::from_static("x-litellm-response-cost-original");
const COST_INPUT: HeaderName = HeaderName::from_static("x-litellm-response-cost-input");
const COST_OUTPUT: HeaderName = HeaderName::from_static("x-litellm-response-cost-output");
const COST_CACHE_READ: HeaderName = HeaderName::from_static("x-litellm-response-cost-cache-read");
const COST_CACHE_WRITE: HeaderName = HeaderName::from_static("x-litellm-response-cost-cache-creation");
/// Limit, what is left, and when all of it is there again.
const OF_REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const OF_TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Bytes that the values of most replies need.
const ROOM: usize = 416;
/// Bytes of a model's name that are told: it is its provider's.
const LONGEST_MODEL: usize = 128;

/// The names that nearly every reply has, in their order and with nothing yet for values. Copied as a whole: to put a name into a map
/// costs several times what its place in a copy does, and to put one more into a full map moves all of them.
struct Names {
    always: HeaderMap,
    /// The same with the limits of requests and tokens, where a deployment has both.
    with_limits: HeaderMap,
}

/// By the two names under which APIs tell the request's id.
static OF_OPENAI: LazyLock<Names> = LazyLock::new(|| Names::with(X_REQUEST_ID));
static OF_ANTHROPIC: LazyLock<Names> = LazyLock::new(|| Names::with(REQUEST_ID));

impl Names {
    fn with(id: HeaderName) -> Self {
        let always = [
            POLICY,
            DEPLOYMENT,
            MODEL_ID,
            MODEL_GROUP,
            MODEL,
            ATTEMPTS,
            WAITED,
            DURATION,
            OVERHEAD,
            RETRIES,
            FALLBACKS,
            CONTENT_TYPE,
            id,
            CALL_ID,
        ];
        let empty = |name| (name, HeaderValue::from_static(""));
        let limits = OF_REQUESTS.into_iter().chain(OF_TOKENS);
        let with_limits = always.clone().into_iter().chain(limits).map(empty).collect();
        Self { always: always.into_iter().map(empty).collect(), with_limits }
    }

    fn of(id: &HeaderName) -> &'static Self {
        if *id == REQUEST_ID { &OF_ANTHROPIC } else { &OF_OPENAI }
    }
}

/// Small numbers as they are written.
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// In 64 bits: dividing 128 takes longer than writing the digits.
fn whole_millis(length: Duration) -> u64 {
    length.as_secs().saturating_mul(1000).saturating_add(length.subsec_millis().into())
}

/// Values of headers to come, written into one piece of memory: a reply has a score of them.
struct Values {
    room: BytesMut,
}

impl Values {
    fn text(&mut self, value: &str) -> Option<HeaderValue> {
        self.room.extend_from_slice(value.as_bytes());
        self.end()
    }

    fn number(&mut self, value: u64) -> Option<HeaderValue> {
        // Retries, fallbacks and attempts are mostly such, and what is static is neither written nor counted.
        if let Some(digit) = usize::try_from(value).ok().and_then(|value| DIGITS.get(value)) {
            return Some(HeaderValue::from_static(digit));
        }
        self.digits(value);
        self.end()
    }

    /// Milliseconds to the thousandth.
    fn millis(&mut self, length: Duration) -> Option<HeaderValue> {
        self.digits(whole_millis(length));
        self.fraction((length.subsec_micros() % 1000).into(), 3);
        self.end()
    }

    fn dollars(&mut self, cost: NanoUsd) -> Option<HeaderValue> {
        let (whole, part) = (cost.0 / 1_000_000_000, cost.0 % 1_000_000_000);
        self.digits(whole);
        if part > 0 {
            self.fraction(part, 9);
            self.trim_zeros();
        }
        self.end()
    }

    /// A length of time as OpenAI's headers have it: `1m0s`, `7.5s`, `20ms`.
    fn spelled(&mut self, length: Duration) -> Option<HeaderValue> {
        let (minutes, seconds) = (length.as_secs() / 60, length.as_secs() % 60);
        let unit: &[u8] = match (minutes, length.as_secs(), length.subsec_millis()) {
            (0, 0, millis) => {
                self.digits(millis);
                b"ms"
            }
            (0, _, millis) => {
                self.digits(seconds);
                if millis > 0 {
                    self.fraction(u64::from(millis), 3);
                    self.trim_zeros();
                }
                b"s"
            }
            _ => {
                self.digits(minutes);
                self.room.extend_from_slice(b"m");
                self.digits(seconds);
                b"s"
            }
        };
        self.room.extend_from_slice(unit);
        self.end()
    }

    /// The limit, what is left, and when all of it is there again.
    fn limit(&mut self, told: &LimitLeft) -> [Option<HeaderValue>; 3] {
        // Most windows are a minute.
        let minute = (told.reset == Duration::from_mins(1)).then(|| HeaderValue::from_static("1m0s"));
        [self.number(told.limit), self.number(told.left), minute.or_else(|| self.spelled(told.reset))]
    }

    fn digits(&mut self, value: impl itoa::Integer) {
        self.room.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A point and so many digits.
    fn fraction(&mut self, mut part: u64, digits: usize) {
        let start = self.room.len();
        self.room.extend_from_slice(&b".000000000"[..=digits]);
        for digit in self.room[start + 1..].iter_mut().rev() {
            // Less than ten.
            *digit = b'0' + (part % 10) as u8;
            part /= 10;
        }
    }

    fn trim_zeros(&mut self) {
        let zeros = self.room.iter().rev().take_while(|byte| **byte == b'0').count();
        self.room.truncate(self.room.len() - zeros);
    }

    /// What was written since the last one; nothing where names of an operator's have letters that no header can hold.
    fn end(&mut self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.room.split().freeze()).ok()
    }
}

/// The headers of a reply of this kind to the request of this id, which goes under the name that its API has for it.
pub(super) fn of(meta: &ReplyMeta, kind: HeaderValue, (id_header, id): (&HeaderName, &str)) -> HeaderMap {
    let both = matches!(&meta.limits[..], [one, other] if one.what == "requests" && other.what == "tokens");
    let names = Names::of(id_header);
    let mut headers = if both { names.with_limits.clone() } else { names.always.clone() };
    let mut values = Values { room: BytesMut::with_capacity(ROOM) };
    let id = values.text(id);
    let deployment = values.text(meta.deployment.as_str());
    let always = [
        values.text(&meta.policy),
        deployment.clone(),
        deployment,
        values.text(meta.group.as_str()),
        values.text(meta.model.get(..LONGEST_MODEL).unwrap_or(&meta.model)),
        values.number(meta.attempts as u64),
        values.number(whole_millis(meta.waited)),
        values.millis(meta.took),
        values.millis(meta.overhead),
        values.number(meta.tried.retries.into()),
        values.number(meta.tried.fallbacks.into()),
        Some(kind),
        id.clone(),
        id,
    ];
    let limits = meta.limits.iter().filter(|_| both).flat_map(|told| values.limit(told));
    let told = always.into_iter().chain(limits);
    let mut unsaid = Vec::new();
    for ((name, place), value) in headers.iter_mut().zip(told) {
        match value {
            Some(value) => *place = value,
            None => unsaid.push(name.clone()),
        }
    }
    for name in unsaid {
        headers.remove(name);
    }
    let mut tell = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    if let Some(items) = &meta.items {
        tell(ITEMS, values.text(&ranges(items)));
    }
    if let Some(dropped) = meta.dropped_told() {
        tell(DROPPED, values.text(&dropped));
    }
    for told in meta.limits.iter().filter(|_| !both) {
        let names = if told.what == "requests" { OF_REQUESTS } else { OF_TOKENS };
        names.into_iter().zip(values.limit(told)).for_each(|(name, value)| tell(name, value));
    }
    if let Some(cost) = meta.cost {
        let cost = values.dollars(cost);
        tell(COST, cost.clone());
        tell(COST_ORIGINAL, cost);
    }
    if let Some(bill) = &meta.bill {
        tell(COST_INPUT, values.dollars(bill.input + bill.cache_read + bill.cache_write));
        tell(COST_OUTPUT, values.dollars(bill.output));
        if bill.cache_read.0 > 0 {
            tell(COST_CACHE_READ, values.dollars(bill.cache_read));
        }
        if bill.cache_write.0 > 0 {
            tell(COST_CACHE_WRITE, values.dollars(bill.cache_write));
        }
    }
    headers
}

/// Indices as ranges: `0-11,14`.
fn ranges(indices: &[u32]) -> String {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for index in sorted {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let said = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(said).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(write: impl FnOnce(&mut Values) -> Option<HeaderValue>) -> String {
        let mut values = Values { room: BytesMut::with_capacity(ROOM) };
        write(&mut values).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn money_is_said_as_it_is_elsewhere() {
        for nanos in
            [0, 1, 10, 120, 1_000, 3_150_000, 999_999_999, 1_000_000_000, 1_000_000_001, 12_500_000_000, u64::MAX]
        {
            assert_eq!(said(|values| values.dollars(NanoUsd(nanos))), NanoUsd(nanos).to_string());
        }
    }

    #[test]
    fn lengths_of_time_are_spelled_as_openai_spells_them() {
        for (millis, spelled) in [
            (0, "0ms"),
            (20, "20ms"),
            (1_000, "1s"),
            (7_500, "7.5s"),
            (7_050, "7.05s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (3_661_500, "61m1s"),
        ] {
            assert_eq!(said(|values| values.spelled(Duration::from_millis(millis))), spelled);
        }
    }

    #[test]
    fn milliseconds_have_three_digits_behind_the_point() {
        for (micros, millis) in [(0, "0.000"), (7, "0.007"), (999, "0.999"), (1_000, "1.000"), (1_234_567, "1234.567")]
        {
            assert_eq!(said(|values| values.millis(Duration::from_micros(micros))), millis);
        }
    }

    #[test]
    fn one_value_ends_where_the_next_begins() {
        let mut values = Values { room: BytesMut::with_capacity(ROOM) };
        let (zeros, next) = (values.number(100).unwrap(), values.dollars(NanoUsd(500_000_000)).unwrap());
        assert_eq!((zeros.to_str().unwrap(), next.to_str().unwrap()), ("100", "0.5"));
        assert_eq!(
            values.text(
                "with a
line"
            ),
            None
        );
    }

    #[test]
    fn what_every_reply_has_stands_under_its_own_name_and_what_no_header_can_hold_is_left_out() {
        let meta = |group: &str| ReplyMeta {
            deployment: "d".into(),
            policy: "p@1".into(),
            group: group.into(),
            model: "m-1".to_owned(),
            attempts: 3,
            tried: crate::fault::Tried { retries: 1, fallbacks: 2 },
            waited: Duration::from_millis(7),
            cost: None,
            bill: None,
            items: None,
            dropped: Vec::new(),
            limits: Vec::new(),
            took: Duration::from_micros(1_500),
            overhead: Duration::from_micros(20),
        };
        let json = HeaderValue::from_static("application/json");
        let of = |group| of(&meta(group), json.clone(), (&REQUEST_ID, "r-1"));
        let headers = of("g");
        let told = [
            (POLICY, "p@1"),
            (DEPLOYMENT, "d"),
            (MODEL_ID, "d"),
            (MODEL_GROUP, "g"),
            (MODEL, "m-1"),
            (ATTEMPTS, "3"),
            (WAITED, "7"),
            (DURATION, "1.500"),
            (OVERHEAD, "0.020"),
            (RETRIES, "1"),
            (FALLBACKS, "2"),
            (CONTENT_TYPE, "application/json"),
            (REQUEST_ID, "r-1"),
            (CALL_ID, "r-1"),
        ];
        for (name, value) in &told {
            assert_eq!(headers[name], *value, "{name}");
        }
        assert_eq!(headers.len(), told.len());
        let headers = of("a\nline");
        assert_eq!((headers.get(MODEL_GROUP), headers.len()), (None, told.len() - 1));
    }

    #[test]
    fn every_api_tells_the_id_under_a_name_that_there_is_a_map_for() {
        for api in crate::format::client_apis() {
            let name = api.id_header();
            assert!(Names::of(&name).always.contains_key(&name), "{} tells it as `{name}`", api.name());
        }
    }
}
