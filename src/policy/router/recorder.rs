//! Which calls of a router are kept: whole runs of them, each beginning with what the router knew.
//!
//! A router's calls are cut into stretches of so many decisions. A log draws whether a stretch is kept; one that is, is a run. A
//! run holds every call of the instance in order, or it ends: a call that cannot be kept is never left out of the middle. It lasts
//! until the next stretch begins, so that most outcomes of its last decisions are in it.
//! Of routers whose answers depend on their arguments alone several instances answer at once, in no order that matters;
//! outcomes, which they are not told, are kept beside their calls.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::calls::Routing;
use super::types::{Choice, Needs, Outcome, RouteError, RouteRequest, Setup};
use crate::id::PolicyName;
use crate::moment::Moment;
use crate::policy::host::{CallRecorder, Component, Digest, PolicyFault, SavedState};

/// Which router decides, and what it was told once.
#[derive(Clone, Debug)]
pub struct RouterFacts {
    /// Its policy.
    pub policy: PolicyName,
    /// The digest of that policy's component.
    pub digest: Digest,
    /// What it was configured with.
    pub setup: Setup,
    /// What it asked to be told.
    pub needs: Needs,
}

/// One decision: all that the router was told, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The request.
    pub request: RouteRequest,
    /// The columns it wanted, one after another.
    pub signals: Vec<f32>,
    /// The features it wanted.
    pub features: Vec<f32>,
    /// The attributes it wanted.
    pub attributes: Vec<String>,
    /// Its ranking, checked; or why there is none.
    pub answer: Result<Vec<Choice>, RouteError>,
}

/// One call of a router.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordedCall {
    /// It decided, or was to.
    Route(Arc<Decision>),
    /// It was told an outcome; how it failed, where it did. A pure router is told none: of such it is what came of its answers.
    Observe(Outcome, Option<PolicyFault>),
    /// It was asked to save: what it said.
    Save(Result<Option<SavedState>, PolicyFault>),
}

/// The beginning of a run.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// Which router.
    pub facts: Arc<RouterFacts>,
    /// What it knew.
    pub state: Option<SavedState>,
    /// When.
    pub now: Moment,
}

/// A run under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// So many decisions of one router, kept or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How many, at least one.
    pub decisions: u32,
    /// Whether they are kept.
    pub kept: bool,
}

/// What keeps decisions. It is called while requests wait: nothing in it may block.
pub trait DecisionLog: fmt::Debug + Send + Sync {
    /// Whether anything is kept. Read at every call, and the rest is called only while it is true.
    fn switch(&self) -> &Arc<AtomicBool>;

    /// The `number`th stretch of the router with this seed.
    fn stretch(&self, seed: u64, number: u64) -> Stretch;

    /// A run begins; `None` where it cannot be kept.
    fn begin(&self, start: RunStart) -> Option<RunId>;

    /// The next call of a run. False: it cannot be kept, and the run is over.
    fn keep(&self, run: RunId, call: RecordedCall) -> bool;

    /// A run is over.
    fn end(&self, run: RunId);

    /// A decision was made, in a run or not.
    fn decided(&self, facts: &Arc<RouterFacts>, decision: &Arc<Decision>);
}

/// What is asked of a router.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) request: &'a RouteRequest,
    pub(super) signals: &'a [f32],
    pub(super) features: &'a [f32],
    pub(super) attributes: &'a [&'a str],
}

/// Keeps the calls of one router. Nothing where its engine has no log.
pub struct RunRecorder(Option<Recording>);

struct Recording {
    on: Arc<AtomicBool>,
    log: Arc<dyn DecisionLog>,
    facts: Arc<RouterFacts>,
    state: Mutex<Recorded>,
}

/// How far recording has come.
#[derive(Default)]
struct Recorded {
    /// Stretches begun.
    stretches: u64,
    /// Decisions left of the current one.
    left: u32,
    run: Option<RunId>,
}

impl RunRecorder {
    /// What does the keeping, where anything is kept now.
    fn active(&self) -> Option<&Recording> {
        self.0.as_ref().filter(|recording| recording.on.load(Ordering::Relaxed))
    }

    /// A decision was made: `answer`, and the ranking where it is one.
    pub(super) fn routed(&self, question: &Question<'_>, answer: &Result<(), RouteError>, ranking: &[Choice]) {
        let Some(recording) = self.active() else { return };
        let decision = Arc::new(Decision {
            request: question.request.clone(),
            signals: question.signals.to_vec(),
            features: question.features.to_vec(),
            attributes: question.attributes.iter().copied().map(str::to_owned).collect(),
            answer: answer.clone().map(|()| ranking.to_vec()),
        });
        recording.log.decided(&recording.facts, &decision);
        recording.keep(&mut recording.state(), || RecordedCall::Route(decision));
    }
}

impl Recording {
    fn state(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, state: &mut Recorded) {
        if let Some(run) = state.run.take() {
            self.log.end(run);
        }
    }

    fn keep(&self, state: &mut Recorded, call: impl FnOnce() -> RecordedCall) {
        if let Some(run) = state.run
            && !self.log.keep(run, call())
        {
            state.run = None;
        }
    }
}

impl CallRecorder<Routing> for RunRecorder {
    fn new(component: &Arc<Component>, setup: &Setup, needs: &Needs) -> Self {
        let recording = component.engine().options().decisions.as_ref().map(|log| Recording {
            on: Arc::clone(log.switch()),
            log: Arc::clone(log),
            facts: Arc::new(RouterFacts {
                policy: component.name().clone(),
                digest: component.digest(),
                setup: setup.clone(),
                needs: needs.clone(),
            }),
            state: Mutex::default(),
        });
        Self(recording)
    }

    fn wants_checkpoint(&self) -> bool {
        let Some(recording) = self.active() else { return false };
        let mut state = recording.state();
        if state.left > 0 {
            state.left -= 1;
            return false;
        }
        let stretch = recording.log.stretch(recording.facts.setup.seed, state.stretches);
        state.stretches += 1;
        state.left = stretch.decisions.saturating_sub(1);
        if !stretch.kept {
            recording.end(&mut state);
        }
        stretch.kept
    }

    fn begin(&self, state: Option<SavedState>, now: Moment) {
        let Some(recording) = self.active() else { return };
        let start = RunStart { facts: Arc::clone(&recording.facts), state, now };
        let mut state = recording.state();
        recording.end(&mut state);
        state.run = recording.log.begin(start);
    }

    fn observed(&self, event: &Outcome, fault: Option<&PolicyFault>) {
        let Some(recording) = self.active() else { return };
        recording.keep(&mut recording.state(), || RecordedCall::Observe(event.clone(), fault.cloned()));
    }

    fn saved(&self, state: Result<Option<&SavedState>, &PolicyFault>) {
        let Some(recording) = self.active() else { return };
        let call = || RecordedCall::Save(state.map(Option::<&SavedState>::cloned).map_err(Clone::clone));
        recording.keep(&mut recording.state(), call);
    }
}

impl Drop for RunRecorder {
    fn drop(&mut self) {
        if let Some(recording) = &self.0 {
            recording.end(&mut recording.state());
        }
    }
}
