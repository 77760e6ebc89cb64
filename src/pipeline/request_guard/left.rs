//! The endings that are nobody's at the provider: the client went away, or waits no longer; or the gateway stops and waits no longer.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Ending, RequestGuard};
use crate::fault::{AttemptFault, FaultKind};
use crate::limits::Reservation;
use crate::moment::Moment;
use crate::record::Record;

impl Drop for RequestGuard {
    /// What must be counted for its bill, and takes long, is counted on another thread, and nothing that only a request under way holds is held
    /// until then; not at a stop, when none may be left for it.
    fn drop(&mut self) {
        if self.written {
            return;
        }
        let stops = self.gateway.cutoff.is_cancelled();
        let (fault, ending, status) = if stops {
            // The client waited for it: nothing of this is its doing.
            (AttemptFault::new(FaultKind::Gateway, "the gateway stopped"), Ending::Stopped, 503)
        } else {
            (AttemptFault::new(FaultKind::Cancelled, "the client went away"), Ending::Cancelled, 499)
        };
        if stops || !self.attempt.as_ref().is_some_and(|attempt| attempt.counts_long(Some(&fault))) {
            return self.leave(&fault, ending, status);
        }
        self.leave_places();
        let waited_for = self.gateway.left.token();
        let left = Left { guard: Box::new(self.take()), fault, ending, status, _waited_for: waited_for };
        self.gateway.blocking.spawn(move || drop(left));
    }
}

impl RequestGuard {
    /// Its client waits until then, which is less than the configuration gives it.
    pub(in crate::pipeline) const fn waits_until(&mut self, own: Moment) {
        self.own_deadline = Some(own);
    }

    /// A client whose own time is over is one that goes away, whatever it is told: that says nothing about the deployment, which others may wait
    /// for longer. What took too long by a timeout of the configuration's did so before.
    pub(super) fn left_in_time(&self, fault: Option<&AttemptFault>) -> Option<AttemptFault> {
        let timed_out = fault.filter(|fault| fault.kind == FaultKind::TimedOut)?;
        let over = self.own_deadline.is_some_and(|own| self.gateway.clock.now() >= own);
        over.then(|| AttemptFault { kind: FaultKind::Cancelled, ..timed_out.clone() })
    }

    fn leave(&mut self, fault: &AttemptFault, ending: Ending, status: u16) {
        self.end_attempt(Some(fault));
        self.end(ending, status);
    }

    /// Gives back what it holds for no longer than it is under way, to whoever waits for a place. What limits count in windows and budgets hold
    /// for it stays until its tokens are counted.
    fn leave_places(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.leave();
        let held: Vec<&Reservation> = std::iter::once(attempt.held()).chain(&self.shared).collect();
        self.gateway.limits.leave(&held);
        self.gateway.capacity.notify();
    }

    /// All that is left to be done. Nothing is here then.
    fn take(&mut self) -> Self {
        let record = Record::new(self.record.id, self.record.arrived, self.record.api);
        let (gateway, snapshot) = (Arc::clone(&self.gateway), Arc::clone(&self.snapshot));
        let mut nothing = Self::new(gateway, snapshot, self.api, record, (self.seed, self.knew));
        nothing.written = true;
        std::mem::replace(self, nothing)
    }
}

/// A request on its way to the thread that counts it. Dropping it ends it: there, or where no thread takes work any more.
struct Left {
    guard: Box<RequestGuard>,
    fault: AttemptFault,
    ending: Ending,
    status: u16,
    /// Dropped after it has ended: a stop waits until then.
    _waited_for: TaskTrackerToken,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.guard.leave(&self.fault, self.ending, self.status);
    }
}
