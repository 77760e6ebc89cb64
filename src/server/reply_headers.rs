//! What the headers of a reply say beside its body: who answered and who decided, what it took, what it cost, and where the
//! deployment's limits stand. Names and numbers are LiteLLM's and OpenAI's where they have one.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::BytesMut;

use crate::money::NanoUsd;
use crate::pipeline::{LimitLeft, ReplyMeta};

/// About so many headers a reply has, and the two the connection adds.
pub(super) const MOST: usize = 28;

// Looked up when this is compiled, not for every reply.
const POLICY: HeaderName = HeaderName::from_static("x-witgate-policy");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-witgate-deployment");
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
const ROOM: usize = 320;

/// Headers to come, whose values are written into one piece of memory: a reply has a score of them.
struct Told<'h> {
    headers: &'h mut HeaderMap,
    room: BytesMut,
}

impl Told<'_> {
    fn text(&mut self, name: HeaderName, value: &str) {
        self.room.extend_from_slice(value.as_bytes());
        self.end(name);
    }

    fn written(&mut self, name: HeaderName, value: std::fmt::Arguments<'_>) {
        // Memory takes all that is written.
        let _infallible = self.room.write_fmt(value);
        self.end(name);
    }

    fn end(&mut self, name: HeaderName) {
        // Names of an operator's may have letters that no header can hold.
        if let Ok(value) = HeaderValue::from_maybe_shared(self.room.split().freeze()) {
            self.headers.insert(name, value);
        }
    }

    fn millis(&mut self, name: HeaderName, length: Duration) {
        let micros = length.as_micros();
        self.written(name, format_args!("{}.{:03}", micros / 1000, micros % 1000));
    }

    /// A length of time as OpenAI's headers have it: `1m0s`, `7.5s`, `20ms`.
    fn spelled(&mut self, name: HeaderName, length: Duration) {
        let (minutes, seconds) = (length.as_secs() / 60, length.as_secs() % 60);
        match (minutes, length.as_secs(), length.subsec_millis()) {
            (0, 0, millis) => self.written(name, format_args!("{millis}ms")),
            (0, _, 0) => self.written(name, format_args!("{seconds}s")),
            (0, _, millis) => {
                let fraction = format!("{millis:03}");
                self.written(name, format_args!("{seconds}.{}s", fraction.trim_end_matches('0')));
            }
            _ => self.written(name, format_args!("{minutes}m{seconds}s")),
        }
    }
}

/// Adds them.
pub(super) fn tell(headers: &mut HeaderMap, meta: &ReplyMeta) {
    let mut told = Told { headers, room: BytesMut::with_capacity(ROOM) };
    told.text(POLICY, &meta.policy);
    told.text(DEPLOYMENT, meta.deployment.as_str());
    told.text(MODEL_ID, meta.deployment.as_str());
    told.text(MODEL_GROUP, meta.group.as_str());
    if let Some(items) = &meta.items {
        told.text(ITEMS, &ranges(items));
    }
    if let Some(dropped) = meta.dropped_told() {
        told.text(DROPPED, &dropped);
    }
    told.written(ATTEMPTS, format_args!("{}", meta.attempts));
    told.written(WAITED, format_args!("{}", meta.waited.as_millis()));
    told.millis(DURATION, meta.took);
    told.millis(OVERHEAD, meta.overhead);
    told.written(RETRIES, format_args!("{}", meta.tried.retries));
    told.written(FALLBACKS, format_args!("{}", meta.tried.fallbacks));
    for LimitLeft { what, limit, left, reset } in &meta.limits {
        let [all, rest, again] = if *what == "requests" { OF_REQUESTS } else { OF_TOKENS };
        told.written(all, format_args!("{limit}"));
        told.written(rest, format_args!("{left}"));
        told.spelled(again, *reset);
    }
    let mut dollars = |name: HeaderName, cost: NanoUsd| told.written(name, format_args!("{cost}"));
    if let Some(cost) = meta.cost {
        dollars(COST, cost);
        dollars(COST_ORIGINAL, cost);
    }
    if let Some(bill) = &meta.bill {
        dollars(COST_INPUT, bill.input + bill.cache_read + bill.cache_write);
        dollars(COST_OUTPUT, bill.output);
        if bill.cache_read.0 > 0 {
            dollars(COST_CACHE_READ, bill.cache_read);
        }
        if bill.cache_write.0 > 0 {
            dollars(COST_CACHE_WRITE, bill.cache_write);
        }
    }
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
