//! Structured logs: one line per request, in words for people or as JSON for machines.

use std::io::IsTerminal;

use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::record::{Ending, Record};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `filter` is in `tracing`'s own language (`info`, `witgate=debug`).
/// Later calls change nothing.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _already_set = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// One line for one request.
pub(super) fn write(record: &Record) {
    let last = record.attempts.last();
    let deployment = last.map_or("", |attempt| attempt.deployment.as_str());
    let group = record.group.as_ref().map_or("", |group| group.as_str());
    let caller = record.caller.as_ref().map_or("", |caller| caller.as_str());
    let policy = record.policy.as_deref().unwrap_or_default();
    let ms = |length: std::time::Duration| length.as_secs_f64() * 1e3;
    macro_rules! line {
        ($level:ident) => {
            $level!(
                id = %record.id,
                face = record.face.as_str(),
                caller,
                group,
                policy,
                deployment,
                attempts = record.attempts.len(),
                streamed = record.streamed,
                input_tokens = record.usage.input_tokens,
                output_tokens = record.usage.output_tokens,
                usage_estimated = record.usage_estimated,
                cost_usd = record.cost.map(|cost| cost.to_string()),
                waited_ms = ms(record.waited),
                ttft_ms = record.ttft.map(ms),
                latency_ms = ms(record.latency),
                status = record.status,
                ending = record.ending.as_str(),
                "request"
            )
        };
    }
    match record.ending {
        Ending::Whole | Ending::Cancelled => line!(info),
        Ending::Refused(_) | Ending::Broken(_) => line!(warn),
    }
}
