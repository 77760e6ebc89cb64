//! Rolling out a new version of a group's router: it decides beside the one in force and is never obeyed (shadow), or decides a
//! share of the requests until its rules promote it or roll it back (canary).
//!
//! The rules kept here:
//! - The version in force decides every request that the new one does not, and every one on which the new one fails.
//! - Which version decides a request follows from the request's seed alone.
//! - What rolls a canary back does so at once, for the next request; the snapshot without it follows.
//! - Both versions learn from every attempt; an attempt counts in the figures of the version that decided it.
//!
//! What is in force, refused or asked for is one value a group and role ([`Standing`]), which outlives the process.

mod control;
mod figures;
mod folder;
mod history;
mod standing;
mod states;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::attempt::AttemptOutcome;
use crate::catalog::CanaryRules;
use crate::policy::{Digest, Outcome, Router};
use crate::seed;

pub use control::{Action, Control, Order};
pub use figures::{Compared, Comparison, Counts, Figures, Share, Verdict};
pub use folder::StateFolder;
pub use history::{Change, Generation, Generations, History};
pub use standing::{Asked, Standing};
pub use states::States;

/// What may wait for a shadow at once; more is left out and counted.
const WAITING: usize = 256;
/// Keeps the draw of who decides apart from all other draws of a request.
const DRAW: u64 = 0x726f_6c6c_5f6f_7574;

/// How a new version is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Beside the version in force, never obeyed.
    Shadow,
    /// On a share of the requests.
    Canary(CanaryRules),
}

impl Mode {
    /// The stable name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary(_) => "canary",
        }
    }
}

/// Who decides a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The version in force.
    Live,
    /// The version in force, and the new one beside it.
    LiveWithShadow,
    /// The new version.
    Candidate,
}

/// A new version of a group's router beside the one in force.
#[derive(Debug)]
pub struct Rollout {
    candidate: Arc<Router>,
    policy: Arc<str>,
    live: Digest,
    mode: Mode,
    figures: Arc<Figures>,
    control: Arc<Control>,
    /// Faults of the candidate that the figures know of.
    faults_seen: AtomicU64,
    /// Work that waits for a shadow.
    waiting: AtomicUsize,
}

/// A place among the work that waits for a shadow.
#[derive(Debug)]
pub struct Place(Arc<Rollout>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Rollout {
    /// Begins, or goes on with `figures` of the same two versions.
    #[must_use]
    pub fn new(
        candidate: Arc<Router>,
        live: Digest,
        mode: Mode,
        figures: Arc<Figures>,
        control: Arc<Control>,
    ) -> Arc<Self> {
        let policy = candidate.component().label().into();
        let faults_seen = AtomicU64::new(candidate.faults());
        Arc::new(Self { candidate, policy, live, mode, figures, control, faults_seen, waiting: AtomicUsize::new(0) })
    }

    /// The new version.
    #[must_use]
    pub const fn candidate(&self) -> &Arc<Router> {
        &self.candidate
    }

    /// `NAME@DIGEST` of the new version.
    #[must_use]
    pub const fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// The digest of the new version.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.candidate.component().digest()
    }

    /// The digest of the version in force.
    #[must_use]
    pub const fn live(&self) -> Digest {
        self.live
    }

    /// How it is tried.
    #[must_use]
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What was counted of both.
    #[must_use]
    pub const fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Who decides the request with this seed.
    #[must_use]
    pub fn decider(&self, seed: u64) -> Decider {
        match (&self.mode, self.figures.verdict()) {
            (Mode::Shadow, _) => Decider::LiveWithShadow,
            (Mode::Canary(_), Some(Verdict::Promoted)) => Decider::Candidate,
            (Mode::Canary(rules), None) if drawn(seed, rules.share) => Decider::Candidate,
            (Mode::Canary(_), None | Some(Verdict::RolledBack)) => Decider::Live,
        }
    }

    /// The new version was asked to decide and failed: the one in force decides instead.
    pub fn failed(&self) {
        self.figures.count(|counts| counts.fallbacks += 1);
        self.look_at_faults();
    }

    /// A version that may, refused a request.
    pub fn refused(&self, by_candidate: bool) {
        self.figures.count(|counts| counts.of(by_candidate).refused += 1);
        self.judge();
    }

    /// An attempt ended that one of the versions decided; `first` is whether it was its request's first.
    pub fn attempted(&self, by_candidate: bool, first: bool, outcome: &AttemptOutcome) {
        self.figures.count(|counts| counts.of(by_candidate).add(first, outcome));
        self.judge();
    }

    /// Tells the new version what happened.
    pub fn observe(&self, event: &Outcome) {
        self.candidate.observe(event);
        self.look_at_faults();
    }

    /// A place for work beside a request; `None` where too much waits already, which is counted.
    #[must_use]
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let take = |waiting: usize| (waiting < WAITING).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_err() {
            self.figures.count(|counts| counts.skipped += 1);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }

    /// Both versions were asked.
    pub fn compared(&self, compared: &Compared) {
        self.figures.count(|counts| counts.compare(compared));
        self.look_at_faults();
    }

    fn look_at_faults(&self) {
        let faults = self.candidate.faults();
        let new = faults.saturating_sub(self.faults_seen.fetch_max(faults, Ordering::AcqRel));
        if new > 0 {
            self.figures.count(|counts| counts.faults += new);
            self.judge();
        }
    }

    fn judge(&self) {
        let Mode::Canary(rules) = &self.mode else { return };
        if let Some(told) = self.figures.judge(rules, self.candidate.quarantined()) {
            let (policy, verdict) = (&self.policy, told.verdict.as_str());
            tracing::warn!(%policy, verdict, why = %told.why, "the canary has ended");
            self.control.wake();
        }
    }
}

/// Whether the request with this seed is one of the share.
fn drawn(seed: u64, share: f64) -> bool {
    seed::is_drawn(seed::derive(seed, DRAW), share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_seeds_is_drawn_and_a_larger_share_holds_the_smaller() {
        let count = |share| (0..100_000).filter(|seed| drawn(*seed, share)).count();
        assert!((4_700..5_300).contains(&count(0.05)), "{}", count(0.05));
        assert_eq!((count(0.0), count(1.0)), (0, 100_000));
        assert!((0..100_000).all(|seed| !drawn(seed, 0.05) || drawn(seed, 0.1)));
    }
}
