//! The one clock. It is handed to what needs time; nothing else asks the system.
//!
//! It runs on tokio's time, so on a paused runtime it stands still until somebody waits: the pipeline is
//! then the same code on virtual time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::moment::Moment;

/// Turns tokio's time into moments.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    at: Moment,
}

impl Clock {
    /// A clock that shows the system's date now and from here on never goes back.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the system's date enters")]
    pub fn system() -> Self {
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// A clock that shows `at` now.
    #[must_use]
    pub fn starting_at(at: Moment) -> Self {
        Self { origin: Instant::now(), at }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.at + self.origin.elapsed()
    }

    /// Waits until `moment`; returns at once if it is past.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep_until(self.instant(moment)).await;
    }

    /// The moment as tokio's timers want it.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        let far = Duration::from_secs(86_400 * 365);
        self.origin + moment.since(self.at).min(far)
    }
}

/// What `future` comes to; `None` where it is not there by `deadline`. What is there at once, as most of what is read is, costs no timer.
pub async fn by<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(at_once) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        return Some(at_once);
    }
    tokio::time::timeout_at(deadline, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_is_there_by_any_deadline_and_what_comes_later_only_by_a_later_one() {
        let now = Instant::now();
        assert_eq!(by(now, std::future::ready(1)).await, Some(1));
        let second = || tokio::time::sleep(Duration::from_secs(1));
        assert_eq!(by(now + Duration::from_millis(999), second()).await, None);
        assert_eq!(now.elapsed(), Duration::from_millis(999));
        assert_eq!(by(Instant::now() + Duration::from_millis(1001), second()).await, Some(()));
    }
}
