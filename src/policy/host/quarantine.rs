//! Quarantine: a policy that fails too often is not called any more, but for a probe now and then.
//!
//! Three faults within sixty seconds of the callers' time begin it. From a minute later on one use a minute is let through as a probe: what
//! clients wrote may have been to blame, and they must not keep the policy from everybody for good. The first probe of this very quarantine
//! that is good to its end ends it; what began before it, or under an older one, says nothing of it. A use may be several calls at several
//! times (a provider's: a request is written, its reply is read), so all calls for the probe's request belong to it until one of them fails.
//! With the later ones nothing begins: a reply to a request that was written before the quarantine is no probe.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault::PolicyFault;
use crate::id::RequestId;
use crate::moment::Moment;

const FAULTS: usize = 3;
const WITHIN: Duration = Duration::from_mins(1);
/// Between two probes, and before the first.
const PROBE_EVERY: Duration = Duration::from_mins(1);
/// Requests whose probes may be under way at once; the oldest is forgotten for one more.
const PROBES: usize = 16;

/// Whether a policy is quarantined, and what may end that.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// Beside the lock, for the hot path.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it failed within the last minute.
    recent: Vec<Moment>,
    /// Quarantines so far: which one this is.
    number: u64,
    next_probe: Moment,
    /// The requests whose probes are under way.
    probes: Vec<RequestId>,
}

/// A use that is let through to see whether the policy answers again, and of which quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Probe(u64);

impl Quarantine {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// From when on the next probe is let through, where it is on.
    pub(super) fn next_probe(&self) -> Option<Moment> {
        self.is_on().then(|| self.state().next_probe)
    }

    /// Whether a use that `begins`, or a call of one that goes on, may be made now; under quarantine as a probe.
    ///
    /// # Errors
    /// It is quarantined, and this is no probe.
    pub(super) fn admits(
        &self,
        now: Moment,
        request: Option<RequestId>,
        begins: bool,
    ) -> Result<Option<Probe>, PolicyFault> {
        if !self.is_on() {
            return Ok(None);
        }
        let mut state = self.state();
        // It may have ended while this waited for the lock.
        if !self.is_on() {
            return Ok(None);
        }
        if request.is_some_and(|request| state.probes.contains(&request)) {
            return Ok(Some(Probe(state.number)));
        }
        if !begins || now < state.next_probe {
            return Err(PolicyFault::Quarantined);
        }
        state.next_probe = now + PROBE_EVERY;
        if state.probes.len() == PROBES {
            state.probes.remove(0);
        }
        state.probes.extend(request);
        Ok(Some(Probe(state.number)))
    }

    /// The policy failed. True if this begins a quarantine.
    pub(super) fn failed(&self, now: Moment, request: Option<RequestId>) -> bool {
        let mut state = self.state();
        state.probes.retain(|probe| Some(*probe) != request);
        state.recent.retain(|at| now.since(*at) < WITHIN);
        state.recent.push(now);
        if state.recent.len() < FAULTS || self.is_on() {
            return false;
        }
        state.number += 1;
        state.next_probe = now + PROBE_EVERY;
        state.probes.clear();
        self.is_on.store(true, Ordering::Release);
        true
    }

    /// A probe was good to its end. True if that ends the quarantine.
    pub(super) fn passed(&self, Probe(number): Probe) -> bool {
        let mut state = self.state();
        if !self.is_on() || state.number != number {
            return false;
        }
        state.recent.clear();
        state.probes.clear();
        self.is_on.store(false, Ordering::Release);
        true
    }

    /// A panic elsewhere must not make the lock useless; what it guards is always whole between two statements.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_millis(secs * 1000)
    }

    fn id(number: u64) -> RequestId {
        RequestId::derive(at(1), number)
    }

    fn begun(now: u64) -> Quarantine {
        let quarantine = Quarantine::default();
        assert_eq!([(); 3].map(|()| quarantine.failed(at(now), None)), [false, false, true]);
        quarantine
    }

    fn is_probe(quarantine: &Quarantine, secs: u64, request: Option<RequestId>) -> bool {
        quarantine.admits(at(secs), request, true).is_ok_and(|probe| probe.is_some())
    }

    #[test]
    fn three_faults_within_a_minute_begin_it_and_three_in_two_minutes_do_not() {
        let slow = Quarantine::default();
        assert_eq!([0, 31, 62, 93].map(|secs| slow.failed(at(secs), None)), [false; 4]);
        assert!(!slow.is_on());
        let fast = Quarantine::default();
        assert_eq!([0, 31, 59, 60].map(|secs| fast.failed(at(secs), None)), [false, false, true, false]);
        assert!(fast.is_on());
    }

    #[test]
    fn one_use_a_minute_is_a_probe_until_one_is_good() {
        assert_eq!(Quarantine::default().admits(at(1), None, true), Ok(None));
        let quarantine = begun(100);
        let probes = [101, 159, 160, 161, 219, 220].map(|secs| is_probe(&quarantine, secs, None));
        assert_eq!(probes, [false, false, true, false, false, true]);
        assert!(!quarantine.failed(at(220), None) && quarantine.is_on(), "it failed again");
        assert_eq!(quarantine.next_probe(), Some(at(280)));
        assert!(!is_probe(&quarantine, 279, None));
        let probe = quarantine.admits(at(280), None, true).ok().flatten();
        assert!(probe.is_some_and(|probe| quarantine.passed(probe) && !quarantine.passed(probe)));
        assert_eq!(quarantine.admits(at(280), None, true), Ok(None));
        assert_eq!(quarantine.next_probe(), None, "nothing is waited for");
        assert!(!quarantine.failed(at(280), None), "three more, as at first");
    }

    #[test]
    fn all_calls_for_a_probes_request_belong_to_it_until_one_fails() {
        let quarantine = begun(0);
        assert!(is_probe(&quarantine, 60, Some(id(1))) && !is_probe(&quarantine, 61, Some(id(2))));
        // Its reply comes after the next probe has begun.
        assert!(is_probe(&quarantine, 120, Some(id(2))) && is_probe(&quarantine, 130, Some(id(1))));
        assert!(!quarantine.failed(at(131), Some(id(1))));
        assert!(!is_probe(&quarantine, 132, Some(id(1))) && is_probe(&quarantine, 132, Some(id(2))));
    }

    #[test]
    fn a_use_that_began_before_the_quarantine_is_no_probe() {
        let quarantine = begun(0);
        assert_eq!(quarantine.admits(at(60), Some(id(1)), false), Err(PolicyFault::Quarantined));
        assert!(is_probe(&quarantine, 60, Some(id(2))), "nor does it take the place of one");
        assert!(quarantine.admits(at(61), Some(id(2)), false).is_ok_and(|probe| probe.is_some()), "that one goes on");
    }

    #[test]
    fn a_probe_of_an_older_quarantine_does_not_end_a_newer_one() {
        let quarantine = begun(0);
        let [long, short] = [60, 120].map(|secs| quarantine.admits(at(secs), None, true).ok().flatten().unwrap());
        assert!(quarantine.passed(short));
        assert_eq!([(); 3].map(|()| quarantine.failed(at(130), None)), [false, false, true]);
        assert!(!quarantine.passed(long) && quarantine.is_on());
    }
}
