//! A router in service: one component configured for one group.
//!
//! One instance behind a short lock, or several where the policy says that its answers depend on its
//! arguments alone; those are made when calls first meet. An instance that fails is dropped, and the next call
//! makes another from the last saved state. Locks are always taken in the order memory, place, saved.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use super::host::{
    Budget, Component, Instance, InstanceLifetime, LogLine, PolicyFault, PolicyProblem, SavedState, Sink, Stats, cut,
};
use crate::id::DeploymentId;
use crate::moment::Moment;

mod bindings;
mod calls;
mod report;
mod setup;
mod succession;
mod types;
mod validate;

pub use report::RouterReport;
pub use succession::Succession;
pub use types::{Choice, DeploymentInfo, Needs, Outcome, RouteError, RouteRequest, Setup, Traits};

pub(super) use calls::Routing;

use bindings::exports::witgate::policy::routing as wit;
use setup::{make_ready, self_test};
use validate::validate;

/// Outcomes after which a router is asked to save.
const SAVE_EVERY: u32 = 1000;
/// Time after which a router that did anything is asked to save.
const SAVE_AFTER: Duration = Duration::from_secs(10);
/// Bytes of a rejection's words that are kept.
const REJECT_BYTES: usize = 1024;
/// Instances of a pure router at most.
const MOST_INSTANCES: usize = 16;

/// A router in service.
pub struct Router {
    component: Arc<Component>,
    setup: Setup,
    places: BTreeMap<DeploymentId, u32>,
    needs: Needs,
    generation: u64,
    state_problem: Option<PolicyProblem>,
    call: Budget,
    recovery: Budget,
    sink: Option<Arc<Sink>>,
    stats: Stats,
    /// The first place is the one that observes and saves.
    instances: Box<[Mutex<Option<Instance<Routing>>>]>,
    saved: Mutex<Option<SavedState>>,
    learning: Mutex<Learning>,
    lineage: Arc<Lineage>,
}

/// What happened to a router that its instance does not know.
#[derive(Default)]
pub(super) struct Learning {
    unsaved: u32,
    /// Calls counted when it was last asked to save: a policy may learn from calls too.
    saved_calls: u64,
    saved_at: Option<Moment>,
    /// Outcomes observed since a successor was given the state. `None` when there is no swap under way.
    pub(super) replay: Option<Vec<Outcome>>,
    /// Outcomes go to the newest of the line.
    pub(super) succeeded: bool,
}

/// All routers that followed one another. Old ones hold it to find the newest; nobody is kept alive by it.
pub(super) struct Lineage {
    pub(super) newest: Mutex<Weak<Router>>,
}

impl Router {
    /// Puts a component into service: instantiates and configures it, checks what it wants, and tries it on
    /// requests nobody sent. Blocks; call it off the async threads.
    ///
    /// # Errors
    /// Any of these steps fails.
    pub fn start(
        component: Arc<Component>,
        setup: Setup,
        state: Option<SavedState>,
    ) -> Result<Arc<Self>, PolicyProblem> {
        let lineage = Arc::new(Lineage { newest: Mutex::new(Weak::new()) });
        let router = Self::make(component, setup, state, Arc::clone(&lineage), 1)?;
        *lock(&lineage.newest) = Arc::downgrade(&router);
        Ok(router)
    }

    /// Replaces `predecessor` at once: [`Succession::prepare`] and [`Succession::publish`] in one.
    ///
    /// # Errors
    /// As [`Self::start`]; or the predecessor is already replaced. It then goes on as if nothing had been.
    pub fn succeed(
        component: Arc<Component>,
        setup: Setup,
        predecessor: &Arc<Self>,
    ) -> Result<Arc<Self>, PolicyProblem> {
        Ok(Succession::prepare(component, setup, predecessor)?.publish())
    }

    pub(super) fn make(
        component: Arc<Component>,
        setup: Setup,
        state: Option<SavedState>,
        lineage: Arc<Lineage>,
        generation: u64,
    ) -> Result<Arc<Self>, PolicyProblem> {
        let deployments = setup.deployments.len();
        let budget = Budget::setup(&component, deployments);
        let call = Budget::call(&component, deployments);
        // What it logs while it is tried is kept only once.
        let trial = make_ready(&component, None, budget, &setup, state.as_ref())?;
        self_test(trial, call, &setup)?;
        let sink = component.engine().options().capture_log.then(Arc::default);
        let ready = make_ready(&component, sink.as_ref(), budget, &setup, state.as_ref())?;
        let instances = lifetime(&ready.needs).most();
        let places = setup.deployments.iter().map(|facts| facts.id.clone()).zip(0..).collect();
        let router = Self {
            recovery: Budget::recovery(&component, deployments, ready.cpu),
            component,
            setup,
            places,
            needs: ready.needs,
            generation,
            call,
            sink,
            stats: Stats::new(),
            instances: (0..instances).map(|_| Mutex::new(None)).collect(),
            saved: Mutex::new(state.filter(|_| ready.state_problem.is_none())),
            state_problem: ready.state_problem,
            learning: Mutex::default(),
            lineage,
        };
        *lock(router.first_instance()) = Some(ready.instance);
        Ok(Arc::new(router))
    }

    /// What it asked to be told.
    #[must_use]
    pub const fn needs(&self) -> &Needs {
        &self.needs
    }

    /// The component it runs.
    #[must_use]
    pub const fn component(&self) -> &Arc<Component> {
        &self.component
    }

    /// What it was configured with.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Asks for a ranking, best first, into `out` (emptied first). `signals` holds the columns of
    /// [`Needs::signals`] one after another, `features` and `attributes` one value for each asked for.
    ///
    /// # Errors
    /// The policy failed (use the built-in order), wants the request to wait, or refuses it.
    pub fn route(
        &self,
        question: &RouteRequest,
        signals: &[f32],
        features: &[f32],
        attributes: &[&str],
        out: &mut Vec<Choice>,
    ) -> Result<(), RouteError> {
        out.clear();
        let start = self.stats.call(question.now);
        let answer = self.ask(question, signals, features, attributes);
        if let Some(start) = start {
            self.stats.timed(start);
        }
        let ranking = match answer.map_err(|fault| self.failed(fault))? {
            Ok(ranking) => ranking,
            Err(wit::Refusal::Wait(millis)) => return Err(RouteError::Wait(Duration::from_millis(millis.into()))),
            Err(wit::Refusal::Reject(mut words)) => {
                cut(&mut words, REJECT_BYTES);
                return Err(RouteError::Reject(words));
            }
        };
        validate(&ranking, self.setup.deployments.len(), out).map_err(|fault| self.failed(fault).into())
    }

    fn ask(
        &self,
        question: &RouteRequest,
        signals: &[f32],
        features: &[f32],
        attributes: &[&str],
    ) -> Result<Result<wit::Ranking, wit::Refusal>, PolicyFault> {
        if self.stats.quarantined() {
            return Err(PolicyFault::Quarantined);
        }
        debug_assert_eq!(signals.len(), self.needs.signals.len() * self.setup.deployments.len(), "a whole matrix");
        let mut place = self.free_instance();
        let answer = self.with_instance(&mut place, |instance| {
            let answer = instance.route(self.call, question, signals, features, attributes);
            if self.component.engine().options().fuel.is_some() {
                self.stats.fuel(instance.fuel_used());
            }
            answer
        });
        // The answer is checked after the lock is given back.
        drop(place);
        answer
    }

    /// Tells an outcome. One told to a router that has been replaced reaches the newest of its line.
    pub fn observe(&self, outcome: &Outcome) {
        let mut learning = lock(&self.learning);
        if learning.succeeded {
            drop(learning);
            self.forward(outcome);
            return;
        }
        if outcome.deployment as usize >= self.setup.deployments.len() {
            return;
        }
        if let Some(replay) = &mut learning.replay {
            replay.push(outcome.clone());
        }
        if self.stats.quarantined() {
            return;
        }
        self.stats.outcomes.fetch_add(1, Ordering::Relaxed);
        let told =
            self.with_instance(&mut lock(self.first_instance()), |instance| instance.observe(self.call, outcome));
        if let Err(fault) = told {
            self.failed(fault);
        }
        learning.unsaved += 1;
        if learning.unsaved >= SAVE_EVERY {
            self.ask_to_save(&mut learning);
        }
    }

    /// What the policy knows now; what it saved last where it cannot be asked.
    #[must_use]
    pub fn save(&self) -> Option<SavedState> {
        let mut learning = lock(&self.learning);
        if learning.unsaved > 0 || learning.saved_calls != self.stats.calls() || lock(&self.saved).is_none() {
            self.ask_to_save(&mut learning);
        }
        lock(&self.saved).clone()
    }

    /// To be called now and then: asks the policy to save when ten seconds have passed and it did anything.
    pub fn tick(&self, now: Moment) {
        self.stats.saw(now);
        let mut learning = lock(&self.learning);
        let saved_at = *learning.saved_at.get_or_insert(now);
        let active = learning.unsaved > 0 || learning.saved_calls != self.stats.calls();
        if active && !learning.succeeded && now.since(saved_at) >= SAVE_AFTER {
            learning.saved_at = Some(now);
            self.ask_to_save(&mut learning);
        }
    }

    /// Its work so far.
    #[must_use]
    pub fn report(&self) -> RouterReport {
        let faults_by_kind = self.stats.faults();
        let quarantined = faults_by_kind[PolicyFault::Quarantined.index()];
        RouterReport {
            policy: self.component.name().clone(),
            digest: self.component.digest(),
            generation: self.generation,
            calls: self.stats.calls(),
            outcomes: self.stats.outcomes.load(Ordering::Relaxed),
            saves: self.stats.saves.load(Ordering::Relaxed),
            faults: faults_by_kind.iter().sum::<u64>() - quarantined,
            faults_by_kind,
            quarantined: self.stats.quarantined(),
            state_refused: self.state_problem.is_some(),
            times: self.stats.times(),
            memory_bytes: lock(self.first_instance()).as_ref().map_or(0, Instance::memory_bytes),
            fuel: self.component.engine().options().fuel.map(|_| self.stats.fuel_used()),
        }
    }

    /// Why it would not take the state it was offered.
    #[must_use]
    pub const fn state_problem(&self) -> Option<&PolicyProblem> {
        self.state_problem.as_ref()
    }

    /// Bytes of linear memory of its first instance; 0 while there is none.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        lock(self.first_instance()).as_ref().map_or(0, Instance::memory_bytes)
    }

    /// What it logged since the last time; nothing where the engine does not capture logs.
    #[must_use]
    pub fn take_log(&self) -> Vec<LogLine> {
        self.sink.as_ref().map(|sink| sink.take()).unwrap_or_default()
    }

    pub(super) fn learning(&self) -> MutexGuard<'_, Learning> {
        lock(&self.learning)
    }

    pub(super) const fn lineage(&self) -> &Arc<Lineage> {
        &self.lineage
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The saved state after asking for it, with the memory's lock held by the caller.
    pub(super) fn state(&self, learning: &mut Learning) -> Option<SavedState> {
        self.ask_to_save(learning);
        lock(&self.saved).clone()
    }

    /// Observes what was observed by `other`, whose deployments may stand in another order. One that is not
    /// here any more has nobody to tell.
    pub(super) fn observe_of(&self, other: &Self, outcome: &Outcome) {
        let facts = other.setup.deployments.get(outcome.deployment as usize);
        if let Some(&deployment) = facts.and_then(|facts| self.places.get(&facts.id)) {
            self.observe(&Outcome { deployment, ..outcome.clone() });
        }
    }

    fn forward(&self, outcome: &Outcome) {
        let newest = lock(&self.lineage.newest).upgrade();
        if let Some(newest) = newest {
            newest.observe_of(self, outcome);
        }
    }

    fn ask_to_save(&self, learning: &mut Learning) {
        if self.stats.quarantined() {
            return;
        }
        learning.unsaved = 0;
        learning.saved_calls = self.stats.calls();
        // Bound here, so that the place's lock is given back before another is taken.
        let saved = self.with_instance(&mut lock(self.first_instance()), |instance| instance.save(self.call));
        match saved {
            Ok(Some(state)) => {
                self.stats.saves.fetch_add(1, Ordering::Relaxed);
                *lock(&self.saved) = Some(state);
            }
            Ok(None) => {}
            Err(fault) => {
                self.failed(fault);
            }
        }
    }

    /// Calls the instance in a place, making one where there is none. One that fails is dropped.
    fn with_instance<R>(
        &self,
        place: &mut Option<Instance<Routing>>,
        call: impl FnOnce(&mut Instance<Routing>) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let instance = match place {
            Some(instance) => instance,
            None => place.insert(self.recover()?),
        };
        let result = call(instance);
        if result.is_err() {
            *place = None;
        }
        result
    }

    fn recover(&self) -> Result<Instance<Routing>, PolicyFault> {
        let state = lock(&self.saved).clone();
        let ready = make_ready(&self.component, self.sink.as_ref(), self.recovery, &self.setup, state.as_ref());
        match ready {
            Ok(ready) if ready.needs == self.needs => Ok(ready.instance),
            Ok(_) => Err(PolicyFault::Contract("it wants other signals than when it started".to_owned())),
            Err(PolicyProblem::Setup { fault, .. }) => Err(fault),
            Err(problem) => Err(PolicyFault::Contract(format!("set up again, it {problem}"))),
        }
    }

    fn failed(&self, fault: PolicyFault) -> PolicyFault {
        let last = self.stats.fault(&fault);
        if fault != PolicyFault::Quarantined {
            let (policy, digest) = (self.component.name(), self.component.digest().short());
            tracing::warn!(%policy, %digest, %fault, "policy fault");
        }
        if last {
            tracing::error!(policy = %self.component.name(), "quarantined until replaced; the built-in order applies");
        }
        fault
    }

    fn first_instance(&self) -> &Mutex<Option<Instance<Routing>>> {
        &self.instances[0]
    }

    /// The first place nobody sits in, so that little traffic needs one instance; else the wait is for the first.
    fn free_instance(&self) -> MutexGuard<'_, Option<Instance<Routing>>> {
        let free = self.instances.iter().find_map(|place| match place.try_lock() {
            Ok(place) => Some(place),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| lock(self.first_instance()))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("component", &self.component)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// A router that may learn has one memory; one that says it does not may answer on every processor at once.
fn lifetime(needs: &Needs) -> InstanceLifetime {
    if needs.pure {
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_INSTANCES);
        InstanceLifetime::SeveralKept(most)
    } else {
        InstanceLifetime::OneKept
    }
}

/// A panic elsewhere must not make a lock useless; what it guards is always whole between two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
