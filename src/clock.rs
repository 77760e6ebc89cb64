//! The one clock. It is handed to what needs time; nothing else asks the system.
//!
//! It runs on tokio's time, so on a paused runtime it stands still until somebody waits: the pipeline is
//! then the same code on virtual time. Tokio's time stands still while a computer sleeps, too, and knows nothing of a date that is
//! set; a clock of the system's date goes on with it once it is told to ([`Clock::follow`]).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::moment::Moment;

/// So much further than a clock the system's date may be: the two are never read at one moment.
const TOLERATED: Duration = Duration::from_secs(2);

/// Turns tokio's time into moments.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    at: Moment,
    /// Nanoseconds by which the system's date has gone on further than tokio's time, as far as it is followed; one and the same for all copies.
    /// `None` follows no date.
    ahead: Option<&'static AtomicU64>,
}

impl Clock {
    /// A clock that shows the system's date now and from here on never goes back.
    #[must_use]
    pub fn system() -> Self {
        Self::following(date())
    }

    /// A clock that shows `at` now.
    #[must_use]
    pub fn starting_at(at: Moment) -> Self {
        Self { origin: Instant::now(), at, ahead: None }
    }

    /// The same that goes on with a date. There are few of them, and each lives as long as its process.
    fn following(at: Moment) -> Self {
        let ahead: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        Self { ahead: Some(ahead), ..Self::starting_at(at) }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.set_at() + self.origin.elapsed()
    }

    /// What it would have shown at its beginning, had it known all that it follows by now.
    fn set_at(&self) -> Moment {
        let ahead = self.ahead.map_or(0, |ahead| ahead.load(Ordering::Relaxed));
        self.at + Duration::from_nanos(ahead)
    }

    /// Whether it goes on with the system's date.
    #[must_use]
    pub const fn follows(&self) -> bool {
        self.ahead.is_some()
    }

    /// Goes on to the system's date, where that is further by seconds. Returns by how much; `None` where it was not.
    #[must_use]
    pub fn follow(&self) -> Option<Duration> {
        self.follow_to(date())
    }

    fn follow_to(&self, date: Moment) -> Option<Duration> {
        let ahead = self.ahead?;
        let further = date.since(self.now());
        if further < TOLERATED {
            return None;
        }
        let in_all = date.since(self.at + self.origin.elapsed());
        // Two that look at once do not go on twice.
        ahead.fetch_max(u64::try_from(in_all.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Some(further)
    }

    /// Waits until `moment`; returns at once if it is past.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep_until(self.instant(moment)).await;
    }

    /// The moment as tokio's timers want it.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        let far = Duration::from_secs(86_400 * 365);
        self.origin + moment.since(self.set_at()).min(far)
    }
}

/// The system's date.
#[expect(clippy::disallowed_methods, reason = "the one place where the system's date enters")]
fn date() -> Moment {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
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

    #[tokio::test(start_paused = true)]
    async fn a_date_that_goes_on_while_tokio_s_time_stands_still_is_followed_and_none_that_goes_back() {
        let (began, slept) = (Moment::from_millis(1_000_000), Duration::from_hours(10));
        let clock = Clock::following(began);
        let copy = clock;
        assert_eq!(clock.follow_to(began + Duration::from_secs(1)), None, "that is no difference");
        assert_eq!(clock.follow_to(began + slept), Some(slept));
        assert_eq!((clock.now(), copy.now()), (began + slept, began + slept));
        assert_eq!(clock.follow_to(began + slept), None, "it is there already");
        assert_eq!((clock.follow_to(began), clock.now()), (None, began + slept));
        // Whoever waits from here on waits as long as it takes.
        let (before, until) = (Instant::now(), clock.now() + Duration::from_secs(3));
        assert_eq!(clock.instant(until) - before, Duration::from_secs(3));
        clock.sleep_until(until).await;
        assert_eq!(clock.now(), until);
        // And once more.
        assert_eq!(clock.follow_to(until + slept), Some(slept));
        assert_eq!(clock.now(), until + slept);
        assert!(clock.follows() && !Clock::starting_at(began).follows());
        assert_eq!(Clock::starting_at(began).follow_to(began + slept), None);
    }
}
