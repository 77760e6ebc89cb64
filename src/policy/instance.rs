//! One living instance of a router: the five calls, each under its budget, each ending in an answer or a
//! fault. After a fault the instance is dead and must be dropped; nothing here enters it again.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap};

use super::bindings::Router as Exports;
use super::bindings::exports::witgate::policy::routing as wit;
use super::engine::Component;
use super::store::{HostState, Sink};
use super::ticker::thread_cpu;
use super::types::{DeploymentInfo, Outcome, PolicyFault, RouteRequest, SavedState, Setup};
use crate::fault::FaultKind;

/// Setting up may take this many times what a call may: interpreters start slowly, and it happens once.
const SETUP_FACTOR: u32 = 50;
/// Bytes of an answer the host takes in besides the ranking: log lines, refusals, names of needs.
const ANSWER_BYTES: usize = 64 << 10;
/// Bytes a saved state may have.
const STATE_BYTES: usize = 4 << 20;
/// Bytes of a trap's message that are kept.
const TRAP_BYTES: usize = 300;

/// What one call may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    cpu: Duration,
    fuel: u64,
    answer_bytes: usize,
}

impl Budget {
    /// For a call about this many deployments.
    pub(super) fn call(component: &Component, deployments: usize) -> Self {
        let options = component.engine().options();
        Self {
            cpu: options.cpu_budget,
            fuel: options.fuel.unwrap_or_default(),
            // A place is 8 bytes; twice the longest valid ranking is read, so that a duplicate is named as such.
            answer_bytes: ANSWER_BYTES + 16 * deployments,
        }
    }

    /// For instantiating and configuring.
    pub(super) fn setup(component: &Component, deployments: usize) -> Self {
        let call = Self::call(component, deployments);
        Self { cpu: call.cpu * SETUP_FACTOR, fuel: call.fuel.saturating_mul(u64::from(SETUP_FACTOR)), ..call }
    }

    /// For setting up again while a request waits: not much more than it took the first time.
    pub(super) fn recovery(component: &Component, deployments: usize, first: Duration) -> Self {
        let (call, setup) = (Self::call(component, deployments), Self::setup(component, deployments));
        Self { cpu: (4 * first).clamp(call.cpu, setup.cpu), ..setup }
    }

    const fn for_state(self) -> Self {
        Self { answer_bytes: STATE_BYTES, ..self }
    }
}

/// A living instance.
pub(super) struct Instance {
    component: Arc<Component>,
    store: Store<HostState>,
    exports: Exports,
    fuel_used: u64,
}

impl Instance {
    /// Makes an instance; its start functions run under the budget.
    pub(super) fn new(
        component: &Arc<Component>,
        sink: Option<Arc<Sink>>,
        budget: Budget,
    ) -> Result<Self, PolicyFault> {
        let engine = component.engine();
        let state = HostState::new(component.name().clone(), sink, engine.options().memory_bytes);
        let mut store = Store::new(engine.wasm(), state);
        store.limiter(|state| state);
        if engine.ticker().is_some() {
            store.epoch_deadline_callback(|mut store| Ok(store.data_mut().beat()));
        }
        let exports = bounded(component, &mut store, budget, |store| component.pre().instantiate(store))?;
        Ok(Self { component: Arc::clone(component), store, exports, fuel_used: 0 })
    }

    /// Configures it. `Ok(Err(_))` is the policy's own refusal, after which the instance is still alive.
    /// Also tells the CPU time it took.
    pub(super) fn configure(
        &mut self,
        budget: Budget,
        setup: &Setup,
        state: Option<&SavedState>,
    ) -> Result<(Result<wit::Needs, String>, Duration), PolicyFault> {
        let tags: Vec<Vec<&str>> =
            setup.deployments.iter().map(|facts| facts.tags.iter().map(String::as_str).collect()).collect();
        let deployments: Vec<_> =
            setup.deployments.iter().zip(&tags).map(|(facts, tags)| deployment(facts, tags)).collect();
        let setup = wit::Setup {
            settings: &setup.settings,
            deployments: &deployments,
            seed: setup.seed,
            state: state.map(|state| wit::SavedStateParam { schema: &state.schema, bytes: &state.bytes }),
        };
        let start = thread_cpu();
        let answer = self.call(budget, |exports, store| exports.call_configure(store, setup))?;
        Ok((answer, thread_cpu().saturating_sub(start)))
    }

    /// Asks for a ranking.
    pub(super) fn route(
        &mut self,
        budget: Budget,
        question: &RouteRequest,
        signals: &[f32],
        features: &[f32],
        attributes: &[&str],
    ) -> Result<Result<wit::Ranking, wit::Refusal>, PolicyFault> {
        let request = request(question);
        self.call(budget, |exports, store| exports.call_route(store, request, signals, features, attributes))
    }

    /// Tells an outcome.
    pub(super) fn observe(&mut self, budget: Budget, outcome: &Outcome) -> Result<(), PolicyFault> {
        let outcome = self::outcome(outcome);
        self.call(budget, |exports, store| exports.call_observe(store, outcome))
    }

    /// Asks what it learned.
    pub(super) fn save(&mut self, budget: Budget) -> Result<Option<SavedState>, PolicyFault> {
        let saved = self.call(budget.for_state(), |exports, store| exports.call_save(store))?;
        Ok(saved.map(|state| SavedState { schema: state.schema, bytes: state.bytes }))
    }

    /// Fuel the last call used; 0 where CPU time bounds the calls.
    pub(super) const fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Bytes of linear memory it has.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory_used()
    }

    fn call<R>(
        &mut self,
        budget: Budget,
        call: impl FnOnce(&wit::Guest, &mut Store<HostState>) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFault> {
        let exports = self.exports.witgate_policy_routing();
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

fn deployment<'a>(facts: &'a DeploymentInfo, tags: &'a [&'a str]) -> wit::Deployment<'a> {
    wit::Deployment {
        id: facts.id.as_str(),
        provider: &facts.provider,
        model: &facts.model,
        tags,
        weight: facts.weight,
        order: facts.order,
        input_price: facts.input_price,
        output_price: facts.output_price,
        context_window: facts.context_window,
        rpm: facts.rpm,
        tpm: facts.tpm,
        itpm: facts.itpm,
        otpm: facts.otpm,
    }
}

fn request(question: &RouteRequest) -> wit::Request {
    let traits = question.traits;
    let flags = [
        (traits.streaming, wit::Traits::STREAMING),
        (traits.tools, wit::Traits::TOOLS),
        (traits.images, wit::Traits::IMAGES),
        (traits.json, wit::Traits::JSON),
    ];
    wit::Request {
        now_ms: question.now.as_millis(),
        seed: question.seed,
        input_tokens: question.input_tokens,
        expected_output_tokens: question.expected_output_tokens,
        max_output_tokens: question.max_output_tokens,
        priority: question.priority,
        deadline_ms: question.deadline_ms,
        traits: flags.into_iter().filter(|(set, _)| *set).fold(wit::Traits::empty(), |all, (_, flag)| all | flag),
    }
}

fn outcome(outcome: &Outcome) -> wit::Outcome {
    wit::Outcome {
        seed: outcome.seed,
        attempt: outcome.attempt,
        deployment: outcome.deployment,
        fault: outcome.fault.map(fault),
        input_tokens: outcome.input_tokens,
        output_tokens: outcome.output_tokens,
        cost_usd: outcome.cost_usd,
        latency_ms: outcome.latency_ms,
        ttft_ms: outcome.ttft_ms,
        quality: outcome.quality,
    }
}

/// A wrong credential is the operator's business; to a policy the deployment just cannot serve.
const fn fault(kind: FaultKind) -> wit::Fault {
    match kind {
        FaultKind::RateLimited => wit::Fault::RateLimited,
        FaultKind::Unavailable | FaultKind::Misconfigured => wit::Fault::Unavailable,
        FaultKind::TimedOut => wit::Fault::TimedOut,
        FaultKind::Rejected => wit::Fault::Rejected,
        FaultKind::BrokenStream => wit::Fault::BrokenStream,
        FaultKind::Cancelled => wit::Fault::Cancelled,
    }
}
