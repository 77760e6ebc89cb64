//! One living instance of a component: every call under a budget, each ending in an answer or a fault. After a fault the
//! instance is dead and must be dropped; nothing here enters it again.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use super::bindings::exports::witgate::policy::lifecycle;
use super::bindings::{Policy, PolicyIndices};
use super::contract::Contract;
use super::engine::Component;
use super::fault::PolicyFault;
use super::state::SavedState;
use super::store::{HostState, LogLine, Sink};
use super::ticker::thread_cpu;
use crate::id::{GroupName, RequestId};

/// Setting up may take this many times what a call may: interpreters start slowly, and it happens once.
pub(in crate::policy) const SETUP_FACTOR: u32 = 50;
/// Bytes of an answer the host takes in besides the ranking: log lines, refusals, names of needs.
const ANSWER_BYTES: usize = 64 << 10;
/// How much longer than other calls one may take that says what the policy knows.
const SAVE_FACTOR: u32 = 5;
/// Bytes a saved state may have.
const STATE_BYTES: usize = 4 << 20;
/// Bytes of a trap's message that are kept.
const TRAP_BYTES: usize = 300;

/// What one call may use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    cpu: Duration,
    fuel: u64,
    answer_bytes: usize,
}

impl Budget {
    /// For a call whose answer may list so many choices.
    pub(in crate::policy) fn call(component: &Component, choices: usize) -> Self {
        let options = component.engine().options();
        Self {
            cpu: options.cpu_budget,
            fuel: options.fuel.unwrap_or_default(),
            // A place is 8 bytes; twice the longest valid ranking is read, so that a duplicate is named as such.
            answer_bytes: ANSWER_BYTES + 16 * choices,
        }
    }

    /// For instantiating and configuring.
    pub(in crate::policy) fn setup(component: &Component, choices: usize) -> Self {
        let call = Self::call(component, choices);
        Self { cpu: call.cpu * SETUP_FACTOR, fuel: call.fuel.saturating_mul(u64::from(SETUP_FACTOR)), ..call }
    }

    /// For setting up again while a request waits: not much more than it took the first time.
    pub(in crate::policy) fn recovery(component: &Component, choices: usize, first: Duration) -> Self {
        let (call, setup) = (Self::call(component, choices), Self::setup(component, choices));
        Self { cpu: (4 * first).clamp(call.cpu, setup.cpu), ..setup }
    }

    /// For a call over so many bytes of text: answers as long as three times as much are read, and each 64 KiB may take as
    /// long as a whole call otherwise.
    pub(in crate::policy) fn over(self, bytes: usize) -> Self {
        let times = u32::try_from(bytes >> 16).unwrap_or(u32::MAX).saturating_add(1);
        Self {
            cpu: self.cpu.saturating_mul(times),
            fuel: self.fuel.saturating_mul(u64::from(times)),
            answer_bytes: self.answer_bytes.saturating_add(bytes.saturating_mul(3)),
        }
    }

    /// For a call that may import so many bytes more than it answers.
    pub(in crate::policy) const fn with_imports(self, bytes: usize) -> Self {
        Self { answer_bytes: self.answer_bytes.saturating_add(bytes), ..self }
    }

    /// For a call that answers with a saved state: it may be megabytes, and nobody asks for it twice a second.
    pub(in crate::policy) const fn for_state(self) -> Self {
        Self {
            cpu: self.cpu.saturating_mul(SAVE_FACTOR),
            fuel: self.fuel.saturating_mul(SAVE_FACTOR as u64),
            answer_bytes: STATE_BYTES,
        }
    }
}

/// How the instances of a component live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceLifetime {
    /// One is kept: what it remembers counts.
    OneKept,
    /// As many are kept as calls meet, up to this many: each answers from its arguments alone.
    SeveralKept(usize),
    /// One is taken out for each use; so many are kept for the next, where nothing of one use is remembered at another.
    PerUse(usize),
}

impl InstanceLifetime {
    /// How many may live at once.
    pub(in crate::policy) const fn most(self) -> usize {
        match self {
            Self::OneKept | Self::PerUse(_) => 1,
            Self::SeveralKept(most) => most,
        }
    }

    /// How many wait for their next use.
    pub(in crate::policy) const fn idle(self) -> usize {
        match self {
            Self::OneKept | Self::SeveralKept(_) => 0,
            Self::PerUse(kept) => kept,
        }
    }
}

/// A living instance of a component in the role `C`.
pub struct Instance<C: Contract> {
    component: Arc<Component>,
    store: Store<HostState>,
    lifecycle: Policy,
    exports: C::Exports,
    fuel_used: u64,
}

impl<C: Contract> Instance<C> {
    /// Makes an instance; its start functions run under the budget.
    pub(in crate::policy) fn new(
        component: &Arc<Component>,
        group: Option<&GroupName>,
        sink: Option<Arc<Sink>>,
        budget: Budget,
    ) -> Result<Self, PolicyFault> {
        let engine = component.engine();
        let state = HostState::new(
            component.name().clone(),
            group.cloned(),
            sink,
            Arc::clone(component.log_rate()),
            engine.options().memory_bytes,
        );
        let mut store = Store::new(engine.wasm(), state);
        store.limiter(|state| state);
        if engine.ticker().is_some() {
            store.epoch_deadline_callback(|mut store| Ok(store.data_mut().beat()));
        }
        let (lifecycle, exports) = bounded(component, &mut store, budget, |store| {
            let pre = component.pre();
            let linked = pre.instantiate(&mut *store)?;
            let lifecycle = PolicyIndices::new(pre)?.load(&mut *store, &linked)?;
            Ok((lifecycle, C::load(&C::bind(pre)?, store, &linked)?))
        })?;
        Ok(Self { component: Arc::clone(component), store, lifecycle, exports, fuel_used: 0 })
    }

    /// Configures it. `Ok(Err(_))` is the policy's own refusal, after which the instance is still alive. Also tells the CPU
    /// time it took.
    pub(super) fn configure(
        &mut self,
        budget: Budget,
        (settings, seed): (&str, u64),
        state: Option<&SavedState>,
    ) -> Result<(Result<(), String>, Duration), PolicyFault> {
        let state = state.map(|state| lifecycle::SavedStateParam { schema: &state.schema, bytes: &state.bytes });
        let (component, store, policy) = (&self.component, &mut self.store, &self.lifecycle);
        let start = thread_cpu();
        let answer = bounded(component, store, budget, |store| {
            policy.witgate_policy_lifecycle().call_configure(store, lifecycle::Setup { settings, seed, state })
        })?;
        Ok((answer, thread_cpu().saturating_sub(start)))
    }

    /// Asks what it learned.
    pub(in crate::policy) fn save(&mut self, budget: Budget) -> Result<Option<SavedState>, PolicyFault> {
        let (component, store, policy) = (&self.component, &mut self.store, &self.lifecycle);
        let saved =
            bounded(component, store, budget.for_state(), |store| policy.witgate_policy_lifecycle().call_save(store))?;
        Ok(saved.map(|state| SavedState { schema: state.schema, bytes: state.bytes }))
    }

    /// Fuel the last call used; 0 where CPU time bounds the calls.
    pub(in crate::policy) const fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Bytes of linear memory it has.
    pub(in crate::policy) fn memory_bytes(&self) -> usize {
        self.store.data().memory_used()
    }

    /// Counts tokens as `model` does from now on.
    pub(in crate::policy) fn count_as(&mut self, model: &Arc<str>) {
        self.store.data_mut().count_as(model);
    }

    /// What it logs from now on belongs to this request, or to none.
    pub(in crate::policy) fn serves(&mut self, request: Option<RequestId>) {
        self.store.data_mut().serves(request);
    }

    /// What it logs from now on is kept, until it is taken.
    pub(in crate::policy) fn listen(&mut self) {
        self.store.data_mut().listen();
    }

    /// What it logged since.
    pub(in crate::policy) fn heard(&mut self) -> Vec<LogLine> {
        self.store.data_mut().heard()
    }

    /// Calls one of its exports within `budget`.
    pub(in crate::policy) fn call<R>(
        &mut self,
        budget: Budget,
        call: impl FnOnce(&C::Exports, &mut Store<HostState>) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFault> {
        let exports = &self.exports;
        let result = bounded(&self.component, &mut self.store, budget, |store| call(exports, store));
        if self.component.engine().options().fuel.is_some() {
            self.fuel_used = budget.fuel.saturating_sub(self.store.get_fuel().unwrap_or_default());
        }
        result
    }
}

/// Runs `call` within `budget` and says what kind of end it came to.
fn bounded<R>(
    component: &Component,
    store: &mut Store<HostState>,
    budget: Budget,
    call: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<R>,
) -> Result<R, PolicyFault> {
    store.data_mut().begin(budget.cpu);
    store.set_hostcall_fuel(budget.answer_bytes);
    let ticking = component.engine().ticker().map(super::ticker::Ticker::enter);
    let ready = if ticking.is_some() {
        store.set_epoch_deadline(1);
        Ok(())
    } else {
        store.set_fuel(budget.fuel)
    };
    let result = ready.and_then(|()| call(store));
    drop(ticking);
    result.map_err(|error| classify(&error, store.data().refused_space()))
}

fn classify(error: &wasmtime::Error, refused_space: bool) -> PolicyFault {
    // No slot of the pool, or no address space or mapping from the system.
    let refused_by_system =
        |cause: &(dyn StdError + 'static)| cause.is::<io::Error>() || cause.is::<rustix::io::Errno>();
    if error.is::<PoolConcurrencyLimitError>() || error.chain().any(refused_by_system) {
        return PolicyFault::NoInstance;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt | Trap::OutOfFuel) => PolicyFault::CpuBudget,
        Some(Trap::StackOverflow) => PolicyFault::StackOverflow,
        // Guests answer a refused allocation with a trap of their own.
        _ if refused_space => PolicyFault::Memory,
        _ => {
            let mut words = error.root_cause().to_string();
            super::store::cut(&mut words, TRAP_BYTES);
            PolicyFault::Trap(words)
        }
    }
}
