//! What one instance has on the host's side: its bounds, and the log it may write to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::field::display;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::bindings::witgate::policy::{log, tokens as counting};
use super::ticker::{stopwatch, thread_cpu};
use crate::id::{GroupName, PolicyName, RequestId};
use crate::tokens;

/// Lines a policy may log in one call.
const LINES_A_CALL: u32 = 20;
/// Bytes of a line that are kept.
const LINE_BYTES: usize = 1024;
/// Lines a capturing sink keeps.
const CAPTURED_LINES: usize = 10_000;
/// Bytes whose tokens one call may have counted.
const COUNTED_BYTES: usize = 4 << 20;
/// Elements of one table; the largest guests (an interpreter inside) have some ten thousand.
pub(in crate::policy) const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables of one component: wit-component makes a handful, Python inside one 38.
pub(in crate::policy) const PARTS: u32 = 64;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For the policy's author.
    Debug,
    /// For the operator.
    Info,
    /// Something the operator should look at.
    Warn,
}

/// A line a policy wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The text, at most 1 KiB.
    pub message: String,
}

impl LogLine {
    /// What was said last that an operator should look at.
    pub(crate) fn last_warning(log: &[Self]) -> Option<&str> {
        log.iter().rfind(|line| line.level == LogLevel::Warn).map(|line| line.message.as_str())
    }
}

/// Where captured lines wait to be taken.
#[derive(Debug, Default)]
pub(in crate::policy) struct Sink(Mutex<Vec<LogLine>>);

impl Sink {
    pub(in crate::policy) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, line: LogLine) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < CAPTURED_LINES {
            lines.push(line);
        }
    }
}

/// Lines all instances of a component may log in a second: enough to follow it, too few to fill a disk.
const LINES_A_SECOND: u32 = 100;

/// Bounds a component's log over all its instances.
#[derive(Debug, Default)]
pub(in crate::policy) struct LogRate(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    number: u64,
    lines: u32,
}

impl LogRate {
    /// Whether a line may be written in second `number`; how many were not in the last second that had any, once.
    fn admit(&self, number: u64) -> (bool, u32) {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        if second.number != number {
            dropped = second.lines.saturating_sub(LINES_A_SECOND);
            *second = Second { number, lines: 0 };
        }
        second.lines = second.lines.saturating_add(1);
        (second.lines <= LINES_A_SECOND, dropped)
    }
}

/// The data of one instance's store.
pub struct HostState {
    policy: PolicyName,
    /// Whom it works for, for its log lines.
    group: Option<GroupName>,
    /// The request it is called for; none where it is called for no request.
    request: Option<RequestId>,
    sink: Option<Arc<Sink>>,
    /// The lines of a call that somebody listens to.
    heard: Option<Vec<LogLine>>,
    rate: Arc<LogRate>,
    lines: u32,
    /// Whose way of counting tokens is asked for.
    model: Arc<str>,
    counted: usize,
    cpu_budget: Duration,
    cpu_from: Option<Duration>,
    memory_limit: usize,
    memory_used: usize,
    refused_space: bool,
}

impl HostState {
    pub(in crate::policy) fn new(
        policy: PolicyName,
        group: Option<GroupName>,
        sink: Option<Arc<Sink>>,
        rate: Arc<LogRate>,
        memory_limit: usize,
    ) -> Self {
        Self {
            policy,
            group,
            request: None,
            sink,
            heard: None,
            rate,
            lines: 0,
            model: Arc::from(""),
            counted: 0,
            cpu_budget: Duration::ZERO,
            cpu_from: None,
            memory_limit,
            memory_used: 0,
            refused_space: false,
        }
    }

    /// Bytes of linear memory it has.
    pub(in crate::policy) const fn memory_used(&self) -> usize {
        self.memory_used
    }

    /// Counts tokens as `model` does from now on.
    pub(in crate::policy) fn count_as(&mut self, model: &Arc<str>) {
        self.model = Arc::clone(model);
    }

    /// What is logged from now on belongs to this request, or to none.
    pub(in crate::policy) const fn serves(&mut self, request: Option<RequestId>) {
        self.request = request;
    }

    /// What is logged from now on is kept, until it is taken.
    pub(in crate::policy) fn listen(&mut self) {
        self.heard = Some(Vec::new());
    }

    /// What was logged since.
    pub(in crate::policy) fn heard(&mut self) -> Vec<LogLine> {
        self.heard.take().unwrap_or_default()
    }

    /// Starts a call: the budgets of a call are whole again.
    pub(in crate::policy) fn begin(&mut self, cpu_budget: Duration) {
        self.lines = 0;
        self.counted = 0;
        self.cpu_budget = cpu_budget;
        self.cpu_from = None;
        self.refused_space = false;
    }

    /// Whether memory or table space was refused during this call.
    pub(in crate::policy) const fn refused_space(&self) -> bool {
        self.refused_space
    }

    /// Called at every beat a call lives through. The first one only notes the time, so a call shorter than a
    /// beat never reads a clock.
    pub(in crate::policy) fn beat(&mut self) -> UpdateDeadline {
        let now = thread_cpu();
        let from = *self.cpu_from.get_or_insert(now);
        if now.saturating_sub(from) > self.cpu_budget { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // All memories of the component together.
        let used = self.memory_used.saturating_add(desired.saturating_sub(current));
        let granted = used <= self.memory_limit;
        if granted {
            self.memory_used = used;
        }
        self.refused_space |= !granted;
        Ok(granted)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= TABLE_ELEMENTS;
        self.refused_space |= !granted;
        Ok(granted)
    }

    fn instances(&self) -> usize {
        PARTS as usize
    }

    fn tables(&self) -> usize {
        PARTS as usize
    }

    fn memories(&self) -> usize {
        PARTS as usize
    }
}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, mut message: String) {
        self.lines += 1;
        if self.lines > LINES_A_CALL {
            if self.lines == LINES_A_CALL + 1 {
                let Self { policy, group, request, .. } = self;
                let (group, id) = (group.as_ref().map(display), request.map(display));
                tracing::warn!(id, group, %policy, "more than {LINES_A_CALL} log lines in one call; the rest is dropped");
            }
            return;
        }
        cut(&mut message, LINE_BYTES);
        let message = plain(message);
        let (admitted, dropped) = self.rate.admit(stopwatch().as_secs());
        let Self { policy, group, request, .. } = self;
        let (group, id) = (group.as_ref().map(display), request.map(display));
        if dropped > 0 {
            tracing::warn!(group, %policy, "{dropped} log lines dropped: more than {LINES_A_SECOND} in a second");
        }
        match level {
            _ if !admitted => {}
            log::Level::Debug => tracing::debug!(id, group, %policy, "{message}"),
            log::Level::Info => tracing::info!(id, group, %policy, "{message}"),
            log::Level::Warn => tracing::warn!(id, group, %policy, "{message}"),
        }
        if self.sink.is_none() && self.heard.is_none() {
            return;
        }
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
        };
        let line = LogLine { level, message };
        if let Some(heard) = &mut self.heard {
            heard.push(line.clone());
        }
        if let Some(sink) = &self.sink {
            sink.push(line);
        }
    }
}

impl counting::Host for HostState {
    /// Counting is the host's work: its time is not the policy's.
    fn count(&mut self, text: String) -> u32 {
        self.counted = self.counted.saturating_add(text.len());
        if self.counted > COUNTED_BYTES {
            return u32::try_from(text.len()).unwrap_or(u32::MAX);
        }
        let start = thread_cpu();
        let count = tokens::count_text(&text, &self.model);
        self.cpu_budget += thread_cpu().saturating_sub(start);
        u32::try_from(count.tokens).unwrap_or(u32::MAX)
    }
}

/// One line is one line: a policy writes no second one in the gateway's name, nor colours the terminal.
fn plain(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}

/// Cuts a text at the last whole character within `limit` bytes.
pub(in crate::policy) fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(plain("ok\n2026 ERROR forged \u{1b}[31m".to_owned()), "ok 2026 ERROR forged  [31m");
        assert_eq!(plain("grüße, 世界".to_owned()), "grüße, 世界");
    }

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_says_what_was_dropped() {
        let rate = LogRate::default();
        let admitted = (0..250).filter(|_| rate.admit(7).0).count();
        assert_eq!(admitted, LINES_A_SECOND as usize);
        assert_eq!(rate.admit(9), (true, 150));
        assert_eq!(rate.admit(9), (true, 0));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let mut text = "aä".to_owned();
        cut(&mut text, 2);
        assert_eq!(text, "a");
    }

    #[test]
    fn the_memories_of_one_component_share_one_limit() {
        let mut state = HostState::new(PolicyName::from("p"), None, None, Arc::default(), 100);
        assert!(state.memory_growing(0, 60, None).unwrap());
        assert!(!state.memory_growing(0, 50, None).unwrap());
        assert!(state.refused_space());
        assert!(state.memory_growing(60, 100, None).unwrap());
        assert_eq!(state.memory_used(), 100);
    }

    #[test]
    fn a_refused_table_counts_as_refused_space_until_the_next_call() {
        let mut state = HostState::new(PolicyName::from("p"), None, None, Arc::default(), 100);
        assert!(!state.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
        assert!(state.refused_space());
        state.begin(Duration::ZERO);
        assert!(!state.refused_space());
    }
}
