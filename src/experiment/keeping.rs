//! What has ended is kept before it counts. A run of one process ends where it cannot keep it; where several workers share a server, one
//! that does not answer is waited for: what was paid for is in memory meanwhile, and nothing more is begun.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{End, Progress};
use crate::id::GroupName;
use crate::money::NanoUsd;
use crate::store::Paid;

/// How soon is tried again what could not be kept.
const AGAIN: Duration = Duration::from_millis(500);

/// Keeps what becomes of items.
pub trait Journal: Send + Sync {
    /// A call of these items is about to be sent.
    fn sent(&self, items: &[usize]);

    /// These have ended, and so much was paid for it, or for nothing. They count as ended once this has returned; told twice, once.
    ///
    /// # Errors
    /// It cannot be kept, in words.
    fn ended(&self, ends: &[(usize, End)], paid: &Paid<'_>) -> Result<(), String>;
}

/// How a call ended.
pub(super) struct Ended {
    pub(super) model: GroupName,
    /// The last request that was made for it.
    pub(super) request: String,
    pub(super) held: NanoUsd,
    pub(super) cost: NanoUsd,
    /// What of that the budget knows already.
    pub(super) settled: NanoUsd,
    pub(super) tokens: u64,
    pub(super) ends: Vec<(usize, End)>,
    /// Items to be asked one by one.
    pub(super) again: Vec<usize>,
    pub(super) out_of_money: bool,
    /// Why nothing more can come of the run.
    pub(super) refused: Option<String>,
}

impl Ended {
    pub(super) fn unsettled(&self) -> NanoUsd {
        NanoUsd(self.cost.0.saturating_sub(self.settled.0))
    }

    fn answered(&self) -> usize {
        self.ends.iter().filter(|(_, end)| matches!(end, End::Answered(_))).count()
    }
}

/// Keeps ends, in the order in which they came.
pub(super) struct Keeping<'a> {
    journal: &'a dyn Journal,
    progress: &'a Progress,
    /// How long is tried; `None`: once.
    patience: Option<Duration>,
    waiting: VecDeque<Ended>,
    trouble: Option<Trouble>,
}

struct Trouble {
    since: Instant,
    next: Instant,
    why: String,
}

impl<'a> Keeping<'a> {
    /// `patience`: how long is tried again; `None`: what cannot be kept at once ends the run.
    pub(super) fn new(journal: &'a dyn Journal, progress: &'a Progress, patience: Option<Duration>) -> Self {
        Self { journal, progress, patience, waiting: VecDeque::new(), trouble: None }
    }

    /// Keeps an end, behind those that wait.
    ///
    /// # Errors
    /// It cannot be kept, and is not tried again.
    pub(super) fn keep(&mut self, ended: Ended) -> Result<(), String> {
        self.waiting.push_back(ended);
        // Those behind one that cannot be kept wait with it.
        if self.trouble.is_some() { Ok(()) } else { self.try_again() }
    }

    /// Whether ends wait to be kept.
    pub(super) const fn is_behind(&self) -> bool {
        self.trouble.is_some()
    }

    /// When it is to be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.next)
    }

    /// Tries again.
    ///
    /// # Errors
    /// What cannot be kept is not tried again.
    pub(super) fn try_again(&mut self) -> Result<(), String> {
        while let Some(ended) = self.waiting.front() {
            let kept = if ended.ends.is_empty() && ended.cost == NanoUsd::default() {
                Ok(())
            } else {
                self.journal.ended(&ended.ends, &Paid { call: &ended.request, cost: ended.cost })
            };
            match kept {
                Ok(()) => self.told(),
                Err(why) if self.patience.is_none() => return Err(why),
                Err(why) => {
                    let now = Instant::now();
                    let since = self.trouble.take().map(|trouble| trouble.since);
                    if since.is_none() {
                        tracing::warn!(why, "what was answered cannot be kept; it is tried again");
                    }
                    let since = since.unwrap_or(now);
                    self.trouble = Some(Trouble { since, next: now + AGAIN, why });
                    return Ok(());
                }
            }
        }
        if self.trouble.take().is_some() {
            tracing::warn!("what was answered is kept now");
        }
        Ok(())
    }

    /// Whether there is sense in trying further, once nothing else is under way.
    ///
    /// # Errors
    /// It was tried for as long as it may be.
    pub(super) fn may_go_on(&self) -> Result<(), String> {
        let Some(trouble) = &self.trouble else { return Ok(()) };
        if trouble.since.elapsed() < self.patience.unwrap_or_default() {
            return Ok(());
        }
        let answered: usize = self.waiting.iter().map(Ended::answered).sum();
        let cost: NanoUsd = self.waiting.iter().map(|ended| ended.cost).sum();
        Err(format!("{answered} answers, for which ${cost} was paid, could not be kept: {}", trouble.why))
    }

    /// The first of those that wait is kept.
    fn told(&mut self) {
        let Some(ended) = self.waiting.pop_front() else { return };
        let answered = ended.answered();
        self.progress.update(&ended.model, |model| {
            model.in_flight -= 1;
            model.answered += answered;
            model.answered_here += answered;
            model.failed += ended.ends.len() - answered;
            model.tokens += ended.tokens;
            model.cost += ended.cost;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::experiment::{Answer, Failure};

    /// Keeps after so many failures.
    struct Failing(Mutex<(u32, Vec<String>)>);

    impl Journal for Failing {
        fn sent(&self, _items: &[usize]) {}

        fn ended(&self, _ends: &[(usize, End)], paid: &Paid<'_>) -> Result<(), String> {
            let mut state = self.0.lock().expect("nobody panicked");
            if state.0 > 0 {
                state.0 -= 1;
                return Err("the server is away".to_owned());
            }
            state.1.push(format!("{} {}", paid.call, paid.cost.0));
            Ok(())
        }
    }

    fn ended(request: &str) -> Ended {
        Ended {
            model: GroupName::from("m"),
            request: request.to_owned(),
            held: NanoUsd::default(),
            cost: NanoUsd(5),
            settled: NanoUsd::default(),
            tokens: 1,
            ends: vec![(0, End::Answered(Box::<Answer>::default())), (1, End::Failed(Failure::default()))],
            again: Vec::new(),
            out_of_money: false,
            refused: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_waited_for_in_order_and_not_for_ever() {
        let journal = Failing(Mutex::new((3, Vec::new())));
        let progress = Progress::default();
        let lease = Duration::from_secs(60);
        progress.update(&GroupName::from("m"), |model| model.in_flight = 3);
        let mut keeping = Keeping::new(&journal, &progress, Some(lease));
        keeping.keep(ended("first")).expect("it waits");
        keeping.keep(ended("second")).expect("behind the first");
        assert!(keeping.is_behind() && progress.models()[&GroupName::from("m")].answered == 0);
        for _ in 0..3 {
            tokio::time::sleep_until(keeping.next().expect("it is tried again")).await;
            keeping.try_again().expect("there is time");
        }
        assert!(!keeping.is_behind());
        assert_eq!(journal.0.lock().expect("nobody panicked").1, ["first 5", "second 5"]);
        let told = progress.models()[&GroupName::from("m")];
        assert_eq!((told.in_flight, told.answered, told.failed, told.cost), (1, 2, 2, NanoUsd(10)));
        journal.0.lock().expect("nobody panicked").0 = u32::MAX;
        keeping.keep(ended("third")).expect("it waits");
        keeping.may_go_on().expect("there is time");
        tokio::time::advance(lease).await;
        let why = keeping.may_go_on().expect_err("its time is over");
        assert!(why.contains("1 answers") && why.contains("the server is away"), "{why}");
        let mut alone = Keeping::new(&journal, &progress, None);
        assert!(alone.keep(ended("alone")).is_err(), "a run of one process ends");
    }
}
