//! Structured logs: one line per request, in words for people or as JSON for machines.
//!
//! Lines are written by a thread of their own, so that requests go on where nobody reads what the gateway says. Once
//! so many lines wait, more are dropped, and counted.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use tracing::{info, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::{FormatFields, format};

use crate::record::{Ending, Record};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Lines that may wait to be written: some megabytes.
const WAITING: usize = 10_000;

/// How long the lines that wait are awaited at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1200);

/// Kept while lines may come; dropped, it writes out those that wait, but not longer than somebody takes to read them.
#[must_use = "dropped, nothing more is logged"]
pub struct LogGuard {
    worker: Option<WorkerGuard>,
    dropped: DroppedLines,
}

impl LogGuard {
    /// What this log could not write, for the metrics of whoever logs to it.
    #[must_use]
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let guard = self.worker.take();
        let (written, waiting) = mpsc::channel();
        // On a thread of its own: where the queue is full the guard complains on standard output, which may be the very
        // pipe that nobody reads.
        std::thread::spawn(move || {
            drop(guard);
            let _nobody_waits_any_more = written.send(());
        });
        let _given_up = waiting.recv_timeout(DRAIN_TIMEOUT);
    }
}

/// How many lines of a log were not written because too many waited. By default of no log: none.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Option<ErrorCounter>);

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lines = self.0.as_ref().map_or(0, |counter| counter.dropped_lines() as u64);
        let counter = ConstCounter::new(lines);
        let help = "Log lines not written because nobody read those before";
        let encoder = encoder.encode_descriptor("log_lines_dropped", help, None, counter.metric_type())?;
        counter.encode(encoder)
    }
}

/// Starts logging to standard error. `filter` is in `tracing`'s own language (`info`, `witgate=debug`).
/// Later calls change nothing.
pub fn init(format: LogFormat, filter: &str) -> LogGuard {
    let (writer, guard) = writer(WAITING, std::io::stderr());
    let dropped = DroppedLines(Some(writer.error_counter()));
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let _already_set = match format {
        LogFormat::Text => builder.with_target(false).fmt_fields(one_line()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    LogGuard { worker: Some(guard), dropped }
}

/// Fields of a text line, in which every control character is spelled out: what a file, a provider or a policy says cannot
/// begin a line of its own or speak to the terminal.
fn one_line() -> impl for<'w> FormatFields<'w> + 'static {
    format::debug_fn(|writer, field, value| {
        let mut escaped = Escaped(writer);
        if field.name() == "message" { write!(escaped, "{value:?}") } else { write!(escaped, "{field}={value:?}") }
    })
    .delimited(" ")
}

struct Escaped<'a, 'w>(&'a mut format::Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            match part.chars().next_back().filter(|last| last.is_control()) {
                Some(control) => {
                    let plain = part.strip_suffix(control).unwrap_or(part);
                    write!(self.0, "{plain}{}", control.escape_default())?;
                }
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

fn writer(waiting: usize, to: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(waiting).thread_name("log").finish(to)
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
                api = record.api,
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
        Ending::Refused(_) | Ending::Broken(_) | Ending::Stopped => line!(warn),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    /// Takes nothing before it is told to, as a full pipe does.
    struct Full(Receiver<()>);

    impl Write for Full {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _told_or_gone = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stopped_holds_up_nobody_and_what_is_lost_is_counted() {
        let (read_on, stopped) = mpsc::channel();
        let (mut writer, guard) = writer(3, Full(stopped));
        for _ in 0..10 {
            writer.write_all(b"a line\n").unwrap();
        }
        // Three wait and at most one is being written.
        assert!((6..=7).contains(&writer.error_counter().dropped_lines()));
        drop(read_on);
        drop(guard);
    }
}
