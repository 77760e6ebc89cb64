//! What the headers of a reply say beside its body: who answered and who decided, what it took, what it cost, and where the
//! deployment's limits stand. Names and numbers are LiteLLM's and OpenAI's where they have one.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

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

/// Adds them.
pub(super) fn tell(headers: &mut HeaderMap, meta: &ReplyMeta) {
    let mut text = |name: HeaderName, value: &str| {
        // Names of an operator's may have letters that no header can hold.
        HeaderValue::from_str(value).ok().and_then(|value| headers.insert(name, value))
    };
    text(POLICY, &meta.policy);
    text(DEPLOYMENT, &meta.deployment);
    text(MODEL_ID, &meta.deployment);
    text(MODEL_GROUP, &meta.group);
    if let Some(items) = &meta.items {
        text(ITEMS, &ranges(items));
    }
    if let Some(dropped) = meta.dropped_told() {
        text(DROPPED, &dropped);
    }
    headers.insert(ATTEMPTS, meta.attempts.into());
    headers.insert(WAITED, HeaderValue::from(u64::try_from(meta.waited.as_millis()).unwrap_or(u64::MAX)));
    for (name, length) in [(DURATION, meta.took), (OVERHEAD, meta.overhead)] {
        headers.extend(HeaderValue::try_from(format!("{:.3}", length.as_secs_f64() * 1000.0)).map(|told| (name, told)));
    }
    headers.insert(RETRIES, meta.tried.retries.into());
    headers.insert(FALLBACKS, meta.tried.fallbacks.into());
    for LimitLeft { what, limit, left, reset } in &meta.limits {
        let [all, rest, again] = if *what == "requests" { OF_REQUESTS } else { OF_TOKENS };
        headers.insert(all, (*limit).into());
        headers.insert(rest, (*left).into());
        headers.extend(HeaderValue::try_from(spelled(*reset)).map(|reset| (again, reset)));
    }
    let mut dollars = |name: HeaderName, cost: NanoUsd| {
        headers.extend(HeaderValue::try_from(cost.to_string()).map(|cost| (name, cost)));
    };
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

/// A length of time as OpenAI's headers have it: `1m0s`, `7.5s`, `20ms`.
fn spelled(length: Duration) -> String {
    let (minutes, seconds) = (length.as_secs() / 60, length.as_secs() % 60);
    match (minutes, length.as_secs(), length.subsec_millis()) {
        (0, 0, millis) => format!("{millis}ms"),
        (0, _, 0) => format!("{seconds}s"),
        (0, _, millis) => format!("{seconds}.{}s", format!("{millis:03}").trim_end_matches('0')),
        _ => format!("{minutes}m{seconds}s"),
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
