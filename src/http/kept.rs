//! What is fetched to authorise requests, kept until it ends and fetched anew shortly before.
//!
//! It is fetched by one request at a time, for all: those that have nothing meanwhile wait for what comes of it, be that a failure. While
//! what is kept still holds, nobody waits but who fetches, and a failure costs nothing: it is tried again after a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::fault::{AttemptFault, FaultKind};
use crate::moment::Moment;

/// It is fetched anew this long before it ends, or when half of its time is over if that comes later: no request is to carry what ends
/// on its way.
pub(super) const EARLY: Duration = Duration::from_secs(120);
/// After a failure, what still holds is not fetched anew for so long.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Why something could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfetched {
    kind: FaultKind,
    pub(super) why: String,
}

impl Unfetched {
    /// Whoever gives it is down, overloaded or cannot be reached: it may be had a moment later.
    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unavailable, why: why.into() }
    }

    /// The fault of an attempt for which `what` was wanted; nothing of the request was sent.
    pub(super) fn fault(self, what: impl fmt::Display) -> AttemptFault {
        AttemptFault::new(self.kind, format!("no {what}: {}", self.why)).before_sending()
    }
}

/// What is wrong here, and stays so until somebody sets it right.
impl<T: Into<String>> From<T> for Unfetched {
    fn from(why: T) -> Self {
        Self { kind: FaultKind::Misconfigured, why: why.into() }
    }
}

/// One thing and its end.
pub(super) struct Kept<T> {
    value: ArcSwapOption<Held<T>>,
    /// The last failure.
    failed: ArcSwapOption<(Unfetched, Moment)>,
    /// Who fetches.
    turn: Mutex<()>,
}

struct Held<T> {
    value: T,
    /// When it is to be fetched anew.
    renewal: Moment,
    end: Moment,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { value: ArcSwapOption::empty(), failed: ArcSwapOption::empty(), turn: Mutex::new(()) }
    }
}

impl<T: Clone> Kept<T> {
    /// What is kept, or what `fetch` gives and how long it holds from `now` on.
    ///
    /// # Errors
    /// Why it could not be fetched, where nothing is kept that still holds.
    pub(super) async fn get(
        &self,
        now: Moment,
        fetch: impl Future<Output = Result<(T, Duration), Unfetched>> + Send,
    ) -> Result<T, Unfetched> {
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let holds = || self.value.load().as_ref().filter(|held| now < held.end).map(|held| held.value.clone());
        let before = self.failed.load_full();
        let _turn = match (self.turn.try_lock(), holds()) {
            (Ok(turn), _) => turn,
            (Err(_), Some(value)) => return Ok(value),
            (Err(_), None) => self.turn.lock().await,
        };
        // Somebody else may have had the turn before.
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let since = self.failed.load_full();
        let is_new = since.as_ref().map(Arc::as_ptr) != before.as_ref().map(Arc::as_ptr);
        if let Some(failed) = since.filter(|_| is_new) {
            return holds().ok_or_else(|| failed.0.clone());
        }
        match fetch.await {
            Ok((value, length)) => {
                let renewal = now + length.saturating_sub(EARLY.min(length / 2));
                self.value.store(Some(Arc::new(Held { value: value.clone(), renewal, end: now + length })));
                Ok(value)
            }
            Err(failed) => {
                self.failed.store(Some(Arc::new((failed.clone(), now))));
                let Some(value) = holds() else { return Err(failed) };
                tracing::warn!(why = %failed.why, "what authorises requests could not be renewed; the last one still holds");
                Ok(value)
            }
        }
    }

    /// What is kept and need not be fetched now.
    fn fresh(&self, now: Moment) -> Option<T> {
        let held = self.value.load();
        let held = held.as_ref()?;
        let pauses = || self.failed.load().as_ref().is_some_and(|failed| now < failed.1 + PAUSE);
        (now < held.renewal || now < held.end && pauses()).then(|| held.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const BEGIN: Moment = Moment::from_millis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Moment {
        BEGIN + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn what_still_holds_outlives_a_failed_renewal_which_is_tried_again_after_a_pause() {
        let (kept, asked) = (Kept::default(), AtomicU32::new(0));
        let fetch = |answer: Result<u32, &'static str>| {
            let asked = &asked;
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                answer.map(|value| (value, HOUR)).map_err(Unfetched::unavailable)
            }
        };
        assert_eq!(kept.get(at(0), fetch(Ok(1))).await, Ok(1));
        assert_eq!(kept.get(at(3479), fetch(Ok(2))).await, Ok(1));
        assert_eq!(kept.get(at(3480), fetch(Err("down"))).await, Ok(1));
        assert_eq!(kept.get(at(3484), fetch(Ok(2))).await, Ok(1));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(kept.get(at(3485), fetch(Err("down"))).await, Ok(1));
        // At its end, nothing is left.
        assert_eq!(kept.get(at(3600), fetch(Err("down"))).await, Err(Unfetched::unavailable("down")));
        assert_eq!(kept.get(at(3600), fetch(Ok(2))).await, Ok(2));
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn what_holds_for_a_short_while_serves_for_half_of_it() {
        let kept = Kept::default();
        let fetch = |value: u32| async move { Ok((value, Duration::from_secs(60))) };
        for (second, value, got) in [(0, 1, 1), (29, 2, 1), (30, 3, 3), (59, 4, 3), (61, 5, 5)] {
            assert_eq!(kept.get(at(second), fetch(value)).await, Ok(got), "{second}");
        }
    }

    #[tokio::test]
    async fn those_who_waited_share_a_failure_and_who_has_something_does_not_wait() {
        let (kept, asked, go) = (Kept::<u32>::default(), AtomicU32::new(0), Notify::new());
        let slow = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            go.notified().await;
            Err(Unfetched::from("refused"))
        };
        let all = futures_util::future::join_all((0..5).map(|_| kept.get(at(0), slow())));
        // All wait when the first is let go.
        let (all, ()) = futures_util::future::join(all, async { go.notify_one() }).await;
        assert!(all.iter().all(|answer| *answer == Err("refused".into())), "{all:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        kept.get(at(1), async { Ok((7, HOUR)) }).await.unwrap();
        let renewing = kept.get(at(3500), slow());
        let (renewed, other) = futures_util::future::join(renewing, async {
            let other = kept.get(at(3500), slow()).await;
            go.notify_one();
            other
        })
        .await;
        assert_eq!((renewed, other), (Ok(7), Ok(7)));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
