//! Work for a thread that owns a connection, and how long is waited for it.
//!
//! The rule: nobody waits for a server without end. A thread that is stuck in one is left behind, and whoever asks next gets another; what
//! was asked of the one before is begun no more, and is not made good where it was begun.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often is looked whether it has been waited for long enough.
const LOOK: Duration = Duration::from_millis(50);
/// Threads that may be stuck at once: a connection that nobody answers any more may take days to be noticed by the system.
const STUCK: usize = 32;

/// Nobody has begun it.
const WAITS: u8 = 0;
const RUNS: u8 = 1;
/// What it changed is being made good.
const COMMITS: u8 = 2;
/// Nobody waits for it any more.
const GIVEN_UP: u8 = 3;

/// One question, as far as it is: of whoever asks and of the thread.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Asked(Arc<AtomicU8>);

impl Asked {
    fn becomes(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn begin(&self) -> bool {
        self.becomes(WAITS, RUNS)
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) != WAITS
    }

    /// Whether somebody was told that nothing came of it.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }

    /// Whether what it changed may be made good; nobody gives it up from then on.
    pub(super) fn may_commit(&self) -> bool {
        self.becomes(RUNS, COMMITS) || self.0.load(Ordering::Acquire) == COMMITS
    }

    /// Gives it up, where that is still possible. Tells whether it had begun.
    fn give_up(&self) -> Option<bool> {
        if self.becomes(WAITS, GIVEN_UP) {
            return Some(false);
        }
        self.becomes(RUNS, GIVEN_UP).then_some(true)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Unanswered {
    /// It takes too long. Nothing that was asked is made good.
    Silent,
    /// It takes too long, and nobody knows what came of it.
    Unknown,
    /// There is no thread to ask.
    NoThread(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Silent => "the server does not answer",
            Self::Unknown => "the server does not answer, and it is not known whether this was done",
            Self::NoThread(why) => why,
        })
    }
}

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// A thread with a connection.
struct Line<C> {
    jobs: Sender<Job<C>>,
    stuck: Arc<AtomicBool>,
}

impl<C> Line<C> {
    fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }
}

/// A thread with a connection, one after another.
pub(in crate::store) struct Lines<C> {
    connect: Box<dyn Fn() -> C + Send + Sync>,
    current: Mutex<Option<Arc<Line<C>>>>,
    /// Threads that are left behind.
    stuck: Arc<AtomicUsize>,
}

impl<C: Send + 'static> Lines<C> {
    /// None yet; each begins with what `connect` makes.
    pub(in crate::store) fn new(connect: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self { connect: Box::new(connect), current: Mutex::default(), stuck: Arc::default() }
    }

    /// Has something done with the connection, and waits until it is; no longer than `patience` from when it began, and no longer than
    /// until `enough` says so of the time since. Blocks.
    ///
    /// # Errors
    /// It is not done, and why.
    pub(in crate::store) fn ask<R: Send + 'static>(
        &self,
        patience: Duration,
        enough: &dyn Fn(Duration) -> bool,
        work: impl FnOnce(&mut C, &Asked) -> R + Send + 'static,
    ) -> Result<R, Unanswered> {
        let line = self.line()?;
        let (done, told) = sync_channel(1);
        let asked = Asked::default();
        let job_asked = asked.clone();
        let job = move |connection: &mut C| {
            if job_asked.begin() {
                let _gone = done.send(work(connection, &job_asked));
            }
        };
        let ended = || Unanswered::NoThread("its thread has ended".to_owned());
        line.jobs.send(Box::new(job)).map_err(|_| ended())?;
        let mut ran = Duration::ZERO;
        loop {
            match told.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) if line.is_stuck() => return Err(Unanswered::Silent),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if asked.has_begun() {
                ran += LOOK;
            }
            if ran >= patience || line.is_stuck() || enough(ran) {
                match asked.give_up() {
                    Some(begun) => {
                        if begun {
                            self.leave(&line);
                        }
                        return Err(Unanswered::Silent);
                    }
                    None if ran >= 2 * patience => {
                        self.leave(&line);
                        return Err(Unanswered::Unknown);
                    }
                    None => {}
                }
            }
        }
    }

    /// Its thread is stuck. Whoever else waits there finds that out.
    fn leave(&self, line: &Line<C>) {
        self.stuck.fetch_add(1, Ordering::AcqRel);
        if line.stuck.swap(true, Ordering::AcqRel) {
            self.stuck.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn line(&self) -> Result<Arc<Line<C>>, Unanswered> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = current.as_ref().filter(|line| !line.is_stuck()) {
            return Ok(Arc::clone(line));
        }
        if self.stuck.load(Ordering::Acquire) >= STUCK {
            return Err(Unanswered::Silent);
        }
        let line = Arc::new(self.begin()?);
        *current = Some(Arc::clone(&line));
        Ok(line)
    }

    fn begin(&self) -> Result<Line<C>, Unanswered> {
        let (jobs, received) = channel::<Job<C>>();
        let (is_stuck, all_stuck) = (Arc::<AtomicBool>::default(), Arc::clone(&self.stuck));
        let (mut connection, stuck) = ((self.connect)(), Arc::clone(&is_stuck));
        let work = move || {
            for job in received {
                job(&mut connection);
                if is_stuck.load(Ordering::Acquire) {
                    break;
                }
            }
            if is_stuck.load(Ordering::Acquire) {
                all_stuck.fetch_sub(1, Ordering::AcqRel);
            }
        };
        let spawned = std::thread::Builder::new().name("postgres".to_owned()).spawn(work);
        spawned.map_err(|fault| Unanswered::NoThread(format!("no thread: {fault}")))?;
        Ok(Line { jobs, stuck })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(600);

    fn never(_: Duration) -> bool {
        false
    }

    /// A line whose connections are numbered, and one of them is stuck until the sender is dropped.
    fn stuck() -> (Lines<usize>, Sender<()>, Receiver<bool>) {
        let made = AtomicUsize::new(0);
        let lines = Lines::new(move || made.fetch_add(1, Ordering::Relaxed));
        let (free, held) = channel::<()>();
        let (tell, committed) = channel();
        let silent = lines.ask(SHORT, &never, move |_, asked| {
            let _freed = held.recv();
            let _gone = tell.send(asked.may_commit());
        });
        assert_eq!(silent, Err(Unanswered::Silent));
        (lines, free, committed)
    }

    #[test]
    fn a_thread_that_is_stuck_is_left_behind_and_what_it_was_asked_is_not_made_good() {
        let (lines, free, committed) = stuck();
        assert_eq!(lines.ask(LONG, &never, |connection, _| *connection), Ok(1), "another one answers");
        drop(free);
        assert_eq!(committed.recv(), Ok(false));
        assert_eq!(lines.ask(LONG, &never, |connection, _| *connection), Ok(1));
    }

    #[test]
    fn who_waits_behind_one_that_is_stuck_need_not_wait_longer_and_is_never_begun() {
        let lines = Arc::new(Lines::new(|| ()));
        let (free, held) = channel::<()>();
        let (tell, begun) = channel();
        let (first, stands) = (Arc::clone(&lines), Arc::<AtomicBool>::default());
        let stands_behind = Arc::clone(&stands);
        let first = std::thread::spawn(move || {
            // It is given up once the second waits behind it, and not before.
            first.ask(LONG, &|_| stands_behind.load(Ordering::Acquire), move |(), _| {
                let _gone = tell.send(());
                let _freed = held.recv();
            })
        });
        begun.recv().unwrap();
        let (run, ran) = channel();
        let looks = |_: Duration| {
            stands.store(true, Ordering::Release);
            false
        };
        let second = lines.ask(LONG, &looks, move |(), _| {
            let _gone = run.send(());
        });
        assert_eq!(second, Err(Unanswered::Silent));
        assert_eq!(first.join().unwrap(), Err(Unanswered::Silent));
        drop(free);
        assert!(ran.recv().is_err(), "nobody has begun it, and nobody will");
    }

    #[test]
    fn what_is_being_made_good_is_waited_for_and_whoever_stops_waits_no_longer() {
        let lines = Lines::new(|| ());
        let (free, held) = channel::<()>();
        let unknown = lines.ask(SHORT, &never, move |(), asked| {
            assert!(asked.may_commit());
            let _freed = held.recv();
        });
        assert_eq!(unknown, Err(Unanswered::Unknown));
        drop(free);
        let (free, held) = channel::<()>();
        let stopped = lines.ask(LONG, &|ran| ran >= SHORT, move |(), _| {
            let _freed = held.recv();
        });
        assert_eq!(stopped, Err(Unanswered::Silent));
        drop(free);
    }

    #[test]
    fn no_more_threads_are_left_behind_than_may_be() {
        let lines = Lines::new(|| ());
        lines.stuck.store(STUCK, Ordering::Release);
        assert_eq!(lines.ask(LONG, &never, |(), _| ()), Err(Unanswered::Silent));
        lines.stuck.store(0, Ordering::Release);
        assert_eq!(lines.ask(LONG, &never, |(), _| ()), Ok(()));
    }
}
