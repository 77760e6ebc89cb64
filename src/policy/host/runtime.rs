//! A policy in service, whatever its role: one component set up for one group.
//!
//! One instance behind a short lock, or several where the policy says that its answers depend on its arguments alone; those
//! are made when calls first meet. An instance that fails is dropped, and the next call makes another from the last saved
//! state. Locks are always taken in the order learning, instance, saved.

mod aside;
mod beginning;
mod fitness;
mod saving;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use tracing::field::display;

use super::call_context::CallContext;
use super::contract::Contract;
use super::engine::Component;
use super::fault::PolicyFault;
use super::instance::{Budget, Instance};
use super::lent::Idle;
use super::problem::PolicyProblem;
use super::quarantine::Probe;
use super::recorder::CallRecorder;
use super::report::PolicyReport;
use super::setup::make_ready;
use super::state::{SavedState, Untaken};
use super::stats::Stats;
use super::store::{LogLine, Sink};
use crate::id::RequestId;
use crate::moment::Moment;

/// Outcomes after which a policy is asked to save.
const SAVE_EVERY: u32 = 1000;
/// Time after which a policy that did anything is asked to save.
const SAVE_AFTER: Duration = Duration::from_secs(5);

/// A policy in service, in the role `C`.
pub struct PolicyRuntime<C: Contract> {
    component: Arc<Component>,
    setup: C::Setup,
    needs: C::Needs,
    generation: u64,
    untaken: Option<Untaken>,
    /// In which schema it saves, as far as it does.
    saves_in: Option<String>,
    call: Budget,
    recovery: Budget,
    sink: Option<Arc<Sink>>,
    stats: Stats,
    /// The first is the one that observes and saves.
    instances: Box<[Mutex<Option<Instance<C>>>]>,
    pub(super) idle: Idle<C>,
    saved: Mutex<Option<SavedState>>,
    learning: Mutex<Learning<C::Event>>,
    lineage: Arc<Lineage<C>>,
    recorder: C::Recorder,
}

/// What happened to a policy that its instance does not know.
pub(super) struct Learning<E> {
    unsaved: u32,
    /// Calls counted when it was last asked to save: a policy may learn from calls too.
    saved_calls: u64,
    saved_at: Option<Moment>,
    /// What was observed since a successor was given the state. `None` when there is no swap under way.
    pub(super) replay: Option<Vec<E>>,
    /// What is observed goes to the newest of the line.
    pub(super) succeeded: bool,
}

/// All that followed one another. Old ones hold it to find the newest; nobody is kept alive by it.
pub(super) struct Lineage<C: Contract> {
    pub(super) newest: Mutex<Weak<PolicyRuntime<C>>>,
}

impl<C: Contract> PolicyRuntime<C> {
    /// What it asked to be told.
    #[must_use]
    pub const fn needs(&self) -> &C::Needs {
        &self.needs
    }

    /// The component it runs.
    #[must_use]
    pub const fn component(&self) -> &Arc<Component> {
        &self.component
    }

    /// What it was configured with.
    #[must_use]
    pub const fn setup(&self) -> &C::Setup {
        &self.setup
    }

    /// Calls an instance, counted, timed and within the budget of a call. With the answer comes whether the call is a probe, which ends a
    /// quarantine where the answer is one that may be acted on.
    ///
    /// # Errors
    /// The call failed, or the policy is quarantined; both are counted already.
    pub(in crate::policy) fn ask<R>(
        &self,
        context: impl Into<CallContext>,
        call: impl FnOnce(&mut Instance<C>, Budget) -> Result<R, PolicyFault>,
    ) -> Result<(R, Option<Probe>), PolicyFault> {
        let context = context.into();
        self.counted(context, || {
            let probe = self.stats.admits(context)?;
            let answer = self.ask_free_instance(context.now(), |instance, budget| {
                instance.serves(context.request());
                let answer = call(instance, budget);
                instance.serves(None);
                answer
            });
            Ok((answer?, probe))
        })
    }

    /// Counts and times a call, and its fault.
    pub(super) fn counted<R>(
        &self,
        context: CallContext,
        call: impl FnOnce() -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let (now, request) = (context.now(), context.request());
        let start = self.stats.call(now);
        let answer = call();
        if start.is_some_and(|start| self.stats.timed(start)) {
            self.became_slow();
        }
        answer.map_err(|fault| self.failed_for(fault, request))
    }

    fn ask_free_instance<R>(
        &self,
        now: Moment,
        call: impl FnOnce(&mut Instance<C>, Budget) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let mut kept = self.free_instance();
        if kept.is_none() {
            match self.recover() {
                Ok(instance) => *kept = Some(instance),
                // One more cannot be had: the wait is for the first.
                Err(PolicyFault::NoInstance) => {
                    drop(kept);
                    kept = lock(self.first_instance());
                }
                Err(fault) => return Err(fault),
            }
        }
        if self.recorder.wants_checkpoint() {
            self.checkpoint(&mut kept, now);
        }
        self.with_instance(&mut kept, |instance| self.within_budget(instance, call))
    }

    /// Calls an instance within the budget of a call.
    pub(super) fn within_budget<R>(
        &self,
        instance: &mut Instance<C>,
        call: impl FnOnce(&mut Instance<C>, Budget) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let answer = call(instance, self.call);
        if self.component.engine().options().fuel.is_some() {
            self.stats.fuel(instance.fuel_used());
        }
        answer
    }

    /// Counts a fault in a call for no request, tells it and gives it back.
    pub(in crate::policy) fn failed(&self, fault: PolicyFault) -> PolicyFault {
        self.failed_for(fault, None)
    }

    /// Counts a fault in a call for `request`, tells it and gives it back.
    pub(in crate::policy) fn failed_for(&self, fault: PolicyFault, request: Option<RequestId>) -> PolicyFault {
        let last = self.stats.fault(&fault, request);
        let (id, group) = (request.map(display), C::group(&self.setup).map(display));
        let policy = self.component.name();
        if fault != PolicyFault::Quarantined {
            let digest = self.component.digest().short();
            tracing::warn!(id, group, %policy, %digest, %fault, "policy fault");
        }
        if last {
            tracing::error!(id, group, %policy, "quarantined: what applies without it applies, until it answers the one call a minute that it is given, or is replaced");
        }
        fault
    }

    /// Counts an answer that refuses a request or complains about a reply.
    pub(in crate::policy) fn refused(&self) {
        self.stats.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells what happened. What is told to one that has been replaced reaches the newest of its line.
    pub fn observe(&self, event: &C::Event) {
        let mut learning = lock(&self.learning);
        if learning.succeeded {
            drop(learning);
            self.forward(event);
            return;
        }
        if !C::concerns(event, &self.setup) {
            return;
        }
        if let Some(replay) = &mut learning.replay {
            replay.push(event.clone());
        }
        if !C::hears(&self.needs) {
            // What came of its answers is kept all the same: others are judged by it.
            self.recorder.observed(event, None);
            return;
        }
        if self.stats.quarantined() {
            return;
        }
        self.stats.outcomes.fetch_add(1, Ordering::Relaxed);
        let mut kept = lock(self.first_instance());
        let told = self.with_instance(&mut kept, |instance| C::observe(instance, self.call, event));
        self.recorder.observed(event, told.as_ref().err());
        drop(kept);
        if let Err(fault) = told {
            self.failed(fault);
        }
        learning.unsaved += 1;
        if learning.unsaved >= SAVE_EVERY {
            self.ask_to_save(&mut learning);
        }
    }

    /// The time of its callers, as far as it was told: for callers that have none.
    #[must_use]
    pub fn last_seen(&self) -> Moment {
        self.stats.last_seen()
    }

    /// Its work so far.
    #[must_use]
    pub fn report(&self) -> PolicyReport {
        let faults_by_kind = self.stats.faults();
        PolicyReport {
            policy: self.component.name().clone(),
            digest: self.component.digest(),
            generation: self.generation,
            calls: self.stats.calls(),
            outcomes: self.stats.outcomes.load(Ordering::Relaxed),
            saves: self.stats.saves.load(Ordering::Relaxed),
            faults: self.stats.own_faults(),
            faults_by_kind,
            refusals: self.stats.refusals.load(Ordering::Relaxed),
            quarantined: self.stats.quarantined(),
            next_probe: self.stats.next_probe(),
            slow: self.stats.is_slow(),
            state_refused: self.untaken.is_some(),
            times: self.stats.times(),
            histogram: self.stats.histogram(),
            memory_bytes: self.memory_bytes(),
            fuel: self.component.engine().options().fuel.map(|_| self.stats.fuel_used()),
        }
    }

    /// Faults that are its own, so far.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.stats.own_faults()
    }

    /// What it saved last, without asking it.
    #[must_use]
    pub fn last_saved(&self) -> Option<SavedState> {
        lock(&self.saved).clone()
    }

    /// The state that it was offered first, where it did not take it.
    #[must_use]
    pub const fn untaken(&self) -> Option<&Untaken> {
        self.untaken.as_ref()
    }

    /// Whether it took what it was offered and saves in this schema: what it saves then takes the place of what was known in it before.
    #[must_use]
    pub fn goes_on_in(&self, schema: &str) -> bool {
        self.untaken.is_none() && self.saves_in.as_deref() == Some(schema)
    }

    /// Bytes of linear memory of its first instance, or of the largest that waits for its next use; 0 while there is none.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        lock(self.first_instance()).as_ref().map_or(0, Instance::memory_bytes).max(self.idle.memory_bytes())
    }

    /// What it logged since the last time; nothing where the engine does not capture logs.
    #[must_use]
    pub fn take_log(&self) -> Vec<LogLine> {
        self.sink.as_ref().map(|sink| sink.take()).unwrap_or_default()
    }

    pub(super) fn learning(&self) -> MutexGuard<'_, Learning<C::Event>> {
        lock(&self.learning)
    }

    pub(super) const fn lineage(&self) -> &Arc<Lineage<C>> {
        &self.lineage
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Observes what was observed by `other`, which was set up differently.
    pub(super) fn observe_of(&self, other: &Self, event: &C::Event) {
        if let Some(event) = C::carry(event, &other.setup, &self.setup) {
            self.observe(&event);
        }
    }

    fn forward(&self, event: &C::Event) {
        let newest = lock(&self.lineage.newest).upgrade();
        if let Some(newest) = newest {
            newest.observe_of(self, event);
        }
    }

    pub(in crate::policy) const fn recorder(&self) -> &C::Recorder {
        &self.recorder
    }

    /// Calls an instance, making it where there is none. One that fails is dropped.
    fn with_instance<R>(
        &self,
        kept: &mut Option<Instance<C>>,
        call: impl FnOnce(&mut Instance<C>) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let instance = match kept {
            Some(instance) => instance,
            None => kept.insert(self.recover()?),
        };
        let result = call(instance);
        if result.is_err() {
            *kept = None;
        }
        result
    }

    pub(super) fn recover(&self) -> Result<Instance<C>, PolicyFault> {
        let state = lock(&self.saved).clone();
        let (sink, budget) = (self.sink.as_ref(), self.recovery);
        match make_ready::<C>(&self.component, sink, budget, &self.setup, state.as_slice()) {
            Ok(ready) if ready.needs == self.needs => {
                if let Some(Untaken { schema, problem }) = &ready.untaken {
                    let (group, policy) = (C::group(&self.setup).map(display), self.component.name());
                    tracing::warn!(group, %policy, %schema, %problem, "its own state not taken; it begins empty");
                }
                Ok(ready.instance)
            }
            Ok(_) => Err(PolicyFault::Contract("it wants something else than when it started".to_owned())),
            Err(PolicyProblem::Setup { fault, .. }) => Err(fault),
            Err(problem) => Err(PolicyFault::Contract(format!("set up again, it {problem}"))),
        }
    }

    fn first_instance(&self) -> &Mutex<Option<Instance<C>>> {
        &self.instances[0]
    }

    /// The first that nobody calls, so that little traffic needs one; else the wait is for the first.
    fn free_instance(&self) -> MutexGuard<'_, Option<Instance<C>>> {
        let free = self.instances.iter().find_map(|kept| match kept.try_lock() {
            Ok(kept) => Some(kept),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| lock(self.first_instance()))
    }
}

impl<C: Contract> fmt::Debug for PolicyRuntime<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyRuntime")
            .field("component", &self.component)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl<E> Default for Learning<E> {
    fn default() -> Self {
        Self { unsaved: 0, saved_calls: 0, saved_at: None, replay: None, succeeded: false }
    }
}

/// A panic elsewhere must not make a lock useless; what it guards is always whole between two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
