//! Rolling out a new version of a group's router, prompt builder or response parser: it works beside the one in force and is never
//! obeyed (shadow), or works for a share of the requests until its rules promote it or roll it back (canary).
//!
//! The rules kept here:
//! - The version in force works for every request that the new one does not work for, and for every one on which the new one fails (but
//!   for a stream that it has begun to read).
//! - Which version works for a request follows from the request's seed alone. Routers have a draw of their own: what is counted of a new
//!   builder must not be the doing of a new router. Builders and parsers share one, for they may be a pair that reads each other's notes.
//! - What rolls a canary back does so at once, for the next request; the snapshot without it follows.
//! - Both versions learn from every attempt; an attempt counts in the figures of the version that worked for it.
//!
//! What is in force, refused or asked for is one value a group and role ([`Standing`]), which outlives the process.

mod control;
mod figures;
mod folder;
mod history;
mod standing;
mod states;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::attempt::AttemptOutcome;
use crate::catalog::CanaryRules;
use crate::policy::{Component, Contract, Digest, PolicyReport, PolicyRuntime, Role, Routing};
use crate::seed;

pub use control::{Action, Control, Order};
pub use figures::{Compared, Comparison, Counts, Figures, Share, Verdict};
pub use folder::StateFolder;
pub use history::{Begun, Change, Compiling, Generation, Generations, History, Waiting};
pub use standing::{Asked, Standing};
pub use states::{Beside, States};

/// What may wait for a shadow at once; more is left out and counted.
const WAITING: usize = 256;
/// Keeps the draw of which version works apart from all other draws of a request; a router's, from that of builders and parsers.
const fn draw(role: Role) -> u64 {
    match role {
        Role::Router => 0x726f_6c6c_5f6f_7574,
        Role::PromptBuilder | Role::ResponseParser => 0x7072_6f6d_5f6f_7574,
        Role::Provider => 0x7072_6f76_5f6f_7574,
    }
}

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

/// A new version of a group's policy in the role `C` beside the one in force.
pub struct Rollout<C: Contract = Routing> {
    candidate: Arc<PolicyRuntime<C>>,
    policy: Arc<str>,
    live: Digest,
    mode: Mode,
    figures: Arc<Figures>,
    control: Arc<Control>,
    /// Faults of the candidate that the figures know of.
    faults_seen: AtomicU64,
    /// Work that waits for a shadow.
    waiting: Arc<AtomicUsize>,
}

/// A place among the work that waits for a shadow.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A version that is tried, for those who do not care in which role.
pub trait Trial: Send + Sync {
    /// In which role.
    fn role(&self) -> Role;
    /// The new version.
    fn component(&self) -> &Arc<Component>;
    /// Its work so far.
    fn report(&self) -> PolicyReport;
    /// The digest of the version in force.
    fn live(&self) -> Digest;
    /// How it is tried.
    fn mode(&self) -> &Mode;
    /// What was counted of both.
    fn figures(&self) -> &Arc<Figures>;
    /// An attempt ended for which one of the versions worked; `first` is whether it was its request's first.
    fn attempted(&self, by_candidate: bool, first: bool, outcome: &AttemptOutcome);

    /// The digest of the new version.
    fn digest(&self) -> Digest {
        self.component().digest()
    }
}

impl<C: Contract> Trial for Rollout<C> {
    fn role(&self) -> Role {
        C::ROLE
    }

    fn component(&self) -> &Arc<Component> {
        self.candidate.component()
    }

    fn report(&self) -> PolicyReport {
        self.candidate.report()
    }

    fn live(&self) -> Digest {
        self.live
    }

    fn mode(&self) -> &Mode {
        &self.mode
    }

    fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    fn attempted(&self, by_candidate: bool, first: bool, outcome: &AttemptOutcome) {
        Self::attempted(self, by_candidate, first, outcome);
    }
}

impl<C: Contract> fmt::Debug for Rollout<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollout").field("policy", &self.policy).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl<C: Contract> Rollout<C> {
    /// Begins, or goes on with `figures` of the same two versions.
    #[must_use]
    pub fn new(
        candidate: Arc<PolicyRuntime<C>>,
        live: Digest,
        mode: Mode,
        figures: Arc<Figures>,
        control: Arc<Control>,
    ) -> Arc<Self> {
        let policy = candidate.component().label().into();
        let faults_seen = AtomicU64::new(candidate.faults());
        Arc::new(Self { candidate, policy, live, mode, figures, control, faults_seen, waiting: Arc::default() })
    }

    /// The new version.
    #[must_use]
    pub const fn candidate(&self) -> &Arc<PolicyRuntime<C>> {
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
            (Mode::Canary(rules), None) if drawn(C::ROLE, seed, rules.share) => Decider::Candidate,
            (Mode::Canary(_), None | Some(Verdict::RolledBack)) => Decider::Live,
        }
    }

    /// The new version was asked to decide and failed: the one in force decides instead.
    pub fn failed(&self) {
        self.figures.count(|counts| counts.fallbacks += 1);
        self.look_at_faults();
    }

    /// The new version did something wrong that is no fault of one of its calls: an answer it has no grant for, or one that brought down who
    /// had to work with it.
    pub fn blamed(&self) {
        self.figures.count(|counts| counts.faults += 1);
        self.judge();
    }

    /// A request failed by one of the versions before there was an attempt.
    pub fn lost(&self, by_candidate: bool) {
        self.figures.count(|counts| counts.of(by_candidate).lose());
        self.judge();
    }

    /// A version that may, refused a request.
    pub fn refused(&self, by_candidate: bool) {
        self.figures.count(|counts| counts.of(by_candidate).refused += 1);
        self.judge();
    }

    /// An attempt ended that one of the versions decided; `first` is whether it was its request's first.
    pub fn attempted(&self, by_candidate: bool, first: bool, outcome: &AttemptOutcome) {
        let wrote = C::ROLE == Role::PromptBuilder;
        self.figures.count(|counts| counts.of(by_candidate).add(first, outcome, wrote));
        self.judge();
    }

    /// Tells the new version what happened.
    pub fn observe(&self, event: &C::Event) {
        self.candidate.observe(event);
        self.look_at_faults();
    }

    /// A place for work beside a request; `None` where too much waits already, which is counted.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let take = |waiting: usize| (waiting < WAITING).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_err() {
            self.left_out();
            return None;
        }
        Some(Place(Arc::clone(&self.waiting)))
    }

    /// Work beside a request is not done.
    pub fn left_out(&self) {
        self.figures.count(|counts| counts.skipped += 1);
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
fn drawn(role: Role, seed: u64, share: f64) -> bool {
    seed::is_drawn(seed::derive(seed, draw(role)), share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_seeds_is_drawn_and_a_larger_share_holds_the_smaller() {
        let drawn = |seed, share| drawn(Role::Router, seed, share);
        let count = |share| (0..100_000).filter(|seed| drawn(*seed, share)).count();
        assert!((4_700..5_300).contains(&count(0.05)), "{}", count(0.05));
        assert_eq!((count(0.0), count(1.0)), (0, 100_000));
        assert!((0..100_000).all(|seed| !drawn(seed, 0.05) || drawn(seed, 0.1)));
    }

    #[test]
    fn a_router_draws_for_itself_and_a_builder_with_its_parser() {
        let both = |one: Role, other: Role| {
            (0..100_000).filter(|seed| drawn(one, *seed, 0.5) && drawn(other, *seed, 0.5)).count()
        };
        let apart = both(Role::Router, Role::PromptBuilder);
        assert!((24_500..25_500).contains(&apart), "a quarter, where half is drawn of each: {apart}");
        let together = both(Role::PromptBuilder, Role::ResponseParser);
        assert!((49_500..50_500).contains(&together), "all that is drawn of either: {together}");
    }
}
