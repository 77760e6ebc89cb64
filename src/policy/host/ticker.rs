//! The beat by which endless loops are found: while calls are under way a thread moves the engine's epoch
//! every millisecond. It sleeps when nothing has been called for a while, so an idle gateway burns nothing.
//!
//! An epoch only wakes the check; what is checked is the CPU time of the calling thread. Wall time would end
//! healthy calls on a busy machine (1,420 of 960,000 when measured; none by CPU time).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

const BEAT: Duration = Duration::from_millis(1);
/// Beats without a call before the thread goes to sleep; waking it costs the next caller some microseconds.
const LINGER: u32 = 100;

/// The thread and what it shares with callers. Dropping it ends the thread.
pub(in crate::policy) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    calls: AtomicUsize,
    asleep: AtomicBool,
    closed: AtomicBool,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(in crate::policy) fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (mine, weak) = (Arc::clone(&shared), engine.weak());
        let handle = thread::Builder::new()
            .name("policy-ticker".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || mine.run(|| weak.upgrade().is_some_and(|engine| beat(&engine))))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Keeps the beat going until the guard is dropped.
    pub(in crate::policy) fn enter(&self) -> Call<'_> {
        // Sequentially consistent with `run`: either the thread sees this call, or this call sees it asleep.
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Call(&self.shared)
    }

    #[cfg(test)]
    pub(in crate::policy) fn asleep(&self) -> bool {
        self.shared.asleep.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn run(&self, mut beat: impl FnMut() -> bool) {
        let mut idle = 0;
        while !self.closed.load(Ordering::SeqCst) {
            thread::sleep(BEAT);
            if !beat() {
                return;
            }
            idle = if self.calls.load(Ordering::Relaxed) == 0 { idle + 1 } else { 0 };
            if idle >= LINGER {
                self.asleep.store(true, Ordering::SeqCst);
                if self.calls.load(Ordering::SeqCst) == 0 && !self.closed.load(Ordering::SeqCst) {
                    // A wake-up for nothing costs a hundred beats and no more.
                    thread::park();
                }
                self.asleep.store(false, Ordering::SeqCst);
                idle = 0;
            }
        }
    }
}

fn beat(engine: &wasmtime::Engine) -> bool {
    engine.increment_epoch();
    true
}

/// One call under way.
pub(in crate::policy) struct Call<'a>(&'a Shared);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Release);
    }
}

/// CPU time this thread has used.
pub(in crate::policy) fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// A clock for measuring lengths of time: reports only, never a decision.
#[must_use]
pub fn stopwatch() -> Duration {
    duration(clock_gettime(ClockId::Monotonic))
}

fn duration(time: Timespec) -> Duration {
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or_default())
}
