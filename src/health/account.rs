//! The breaker of one provider account: a credential that is refused is refused for all deployments that have it.
//!
//! It opens at once, for 5 s or the cooldown, whichever is longer, and twice as long each time a probe is refused again, up to ten
//! minutes. A probe that the provider takes closes it, whatever else became of the request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::breaker::Breaker;
use super::{Admission, BreakerOpen, BreakerRule, OpenBreaker};
use crate::attempt::AttemptOutcome;
use crate::fault::{Cause, FaultKind};
use crate::moment::Moment;

#[derive(Debug, Default)]
pub(super) struct Account {
    /// Whether it is not closed: almost always false, and then no lock is taken.
    shut: AtomicBool,
    breaker: Mutex<Breaker>,
}

impl Account {
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    pub(super) fn admission(&self, now: Moment) -> Admission {
        if self.is_shut() { self.lock().admission(now, &BreakerRule::default()) } else { Admission::Yes }
    }

    /// Takes the probe, where it takes one.
    pub(super) fn begin(&self, now: Moment) -> Result<Option<u64>, BreakerOpen> {
        if !self.is_shut() {
            return Ok(None);
        }
        let mut breaker = self.lock();
        match breaker.admission(now, &BreakerRule::default()) {
            Admission::Yes => Ok(None),
            Admission::Probe => Ok(Some(breaker.probe(now))),
            Admission::No { until } => Err(BreakerOpen { until }),
        }
    }

    /// Its breaker, where that is not closed.
    pub(super) fn open(&self) -> Option<OpenBreaker> {
        let breaker = self.lock();
        Some(OpenBreaker { until: breaker.opened_until()?, failed_probes: breaker.failed_probes() })
    }

    /// As it was before a restart, unless it has opened since.
    pub(super) fn restore(&self, open: OpenBreaker) {
        let mut breaker = self.lock();
        if breaker.opened_until().is_none() {
            breaker.restore(open.until, open.failed_probes);
            self.shut.store(true, Ordering::Release);
        }
    }

    pub(super) fn close(&self, probe: u64) {
        let mut breaker = self.lock();
        breaker.close(probe);
        self.shut.store(breaker.opened_until().is_some(), Ordering::Release);
    }

    /// An attempt ended, `None` without any outcome. Says until when it opened, where it did.
    pub(super) fn end(
        &self,
        probe: Option<u64>,
        ended: Option<(Moment, &AttemptOutcome)>,
        cooldown: Duration,
    ) -> Option<Moment> {
        let refused = ended.is_some_and(|(_, outcome)| outcome.cause == Some(Cause::Credential));
        if !refused && probe.is_none() {
            return None;
        }
        let mut breaker = self.lock();
        let before = breaker.opened_until();
        match (ended, probe) {
            (Some((now, _)), probe) if refused => breaker.refused(now, probe, cooldown),
            (Some((_, outcome)), Some(probe)) if is_taken(outcome) => breaker.close(probe),
            (_, Some(probe)) => breaker.abandon(probe),
            _ => {}
        }
        let until = breaker.opened_until();
        self.shut.store(until.is_some(), Ordering::Release);
        until.filter(|_| until != before)
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the provider looked at more than the credential.
const fn is_taken(outcome: &AttemptOutcome) -> bool {
    matches!(outcome.fault, None | Some(FaultKind::RateLimited | FaultKind::Rejected | FaultKind::Unparsed))
}
