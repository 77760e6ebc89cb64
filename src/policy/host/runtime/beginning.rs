//! How a policy comes into service: what it may begin with is offered to it, it is tried where nobody needs it, and only then is it made.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::{Lineage, PolicyRuntime, lock};
use crate::policy::host::contract::Contract;
use crate::policy::host::engine::Component;
use crate::policy::host::instance::Budget;
use crate::policy::host::lent::Idle;
use crate::policy::host::problem::PolicyProblem;
use crate::policy::host::recorder::CallRecorder;
use crate::policy::host::setup::{check, first_save, leaves_out, make_ready};
use crate::policy::host::state::{Offers, SavedState, Untaken};
use crate::policy::host::stats::Stats;
use crate::policy::host::store::Sink;
use crate::policy::host::succession::Succession;
use crate::policy::host::ticker::thread_cpu;

/// What was found out about a policy that was tried.
struct Tried {
    /// CPU time that its self-test took.
    time: Duration,
    /// The place of the state that it took, among those it was offered.
    taken: Option<usize>,
    untaken: Option<Untaken>,
    saves_in: Option<String>,
}

impl<C: Contract> PolicyRuntime<C> {
    /// Puts a component into service: instantiates and configures it, checks what it wants, and tries it on
    /// requests nobody sent. Blocks; call it off the async threads.
    ///
    /// # Errors
    /// Any of these steps fails.
    pub fn start(
        component: Arc<Component>,
        setup: C::Setup,
        state: Option<SavedState>,
    ) -> Result<Arc<Self>, PolicyProblem> {
        Self::start_from(component, setup, Offers { own: state, ..Offers::default() })
    }

    /// The same with all that it may begin with.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_from(component: Arc<Component>, setup: C::Setup, offers: Offers) -> Result<Arc<Self>, PolicyProblem> {
        let lineage = Arc::new(Lineage { newest: Mutex::new(Weak::new()) });
        let runtime = Self::make(component, setup, offers, Arc::clone(&lineage), 1)?;
        *lock(&lineage.newest) = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    /// Replaces `predecessor` at once: [`Succession::prepare`] and [`Succession::publish`] in one.
    ///
    /// # Errors
    /// As [`Self::start`]; or the predecessor is already replaced. It then goes on as if nothing had been.
    pub fn succeed(
        component: Arc<Component>,
        setup: C::Setup,
        predecessor: &Arc<Self>,
    ) -> Result<Arc<Self>, PolicyProblem> {
        Ok(Succession::prepare(component, setup, predecessor, Offers::default())?.publish())
    }

    pub(in crate::policy::host) fn make(
        component: Arc<Component>,
        setup: C::Setup,
        offers: Offers,
        lineage: Arc<Lineage<C>>,
        generation: u64,
    ) -> Result<Arc<Self>, PolicyProblem> {
        check::<C>(&component, &setup)?;
        let choices = C::choices(&setup);
        let budget = Budget::setup(&component, choices);
        let call = Budget::call(&component, choices);
        let saves_in = || first_save::<C>(&component, budget, &setup, None).map(|state| state.schema);
        let states = offers.in_order(saves_in);
        let tried = Self::tried(&component, &setup, &states, budget, call)?;
        let counters = Stats::new();
        // It made two calls.
        for _ in 0..2 {
            let _becomes_slow = counters.weigh(tried.time / 2);
        }
        let state = tried.taken.and_then(|at| states.into_iter().nth(at));
        let sink = component.engine().options().capture_log.then(Arc::default);
        let ready = make_ready::<C>(&component, sink.as_ref(), budget, &setup, state.as_slice())?;
        let lifetime = C::lifetime(&ready.needs);
        let idle = Idle::new(component.engine(), lifetime.idle(), ready.instance.memory_bytes());
        let runtime = Self {
            recovery: Budget::recovery(&component, choices, ready.cpu),
            recorder: C::Recorder::new(&component, &setup, &ready.needs),
            component,
            setup,
            needs: ready.needs,
            generation,
            call,
            sink,
            stats: counters,
            instances: (0..lifetime.most()).map(|_| Mutex::new(None)).collect(),
            idle,
            saved: Mutex::new(state.filter(|_| ready.taken.is_some())),
            untaken: tried.untaken.or(ready.untaken),
            saves_in: tried.saves_in,
            learning: Mutex::default(),
            lineage,
        };
        *lock(runtime.first_instance()) = Some(ready.instance);
        Ok(Arc::new(runtime))
    }

    /// Tries an instance that nobody will use.
    ///
    /// # Errors
    /// How it failed, with its own last words: a guest that panics says why in its log and then traps.
    fn tried(
        component: &Arc<Component>,
        setup: &C::Setup,
        states: &[SavedState],
        budget: Budget,
        call: Budget,
    ) -> Result<Tried, PolicyProblem> {
        // Apart from what is kept: it would be told twice.
        let said: Arc<Sink> = Arc::default();
        let tried = || {
            let mut trial = make_ready::<C>(component, Some(&said), budget, setup, states)?;
            // Up to here it said something about its states alone.
            trial.untaken = trial.untaken.map(|untaken| untaken.in_its_words(&said.take()));
            let before = thread_cpu();
            C::self_test(&mut trial.instance, &trial.needs, call, setup)?;
            let time = thread_cpu().saturating_sub(before);
            C::trial(&mut trial.instance, &trial.needs, call, setup)?;
            // After all that, as it is in service: one that cannot be asked what it knows fails there every few seconds.
            let saved = trial.instance.save(call);
            let saved = saved.map_err(|fault| PolicyProblem::Trial { what: "`save`", fault })?;
            let saves_in = saved.map(|state| state.schema);
            let (mut taken, mut untaken) = (trial.taken, trial.untaken);
            // One that was offered alone was not compared; only where it may have been left out is it worth two more set-ups.
            if let ([state], Some(_), Some(schema)) = (states, taken, &saves_in)
                && *schema != state.schema
                && leaves_out::<C>(component, budget, setup, state)
            {
                (taken, untaken) = (None, Some(Untaken::left_out(state)));
            }
            Ok(Tried { time, taken, untaken, saves_in })
        };
        tried().map_err(|problem: PolicyProblem| problem.in_its_words(&said.take()))
    }
}
