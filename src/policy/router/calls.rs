//! The calls of a router, and what crosses with them.

use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::exports::witgate::policy::routing as wit;
use super::bindings::{Router as Exports, RouterPre};
use super::types::{DeploymentInfo, Outcome, RouteRequest, Setup};
use crate::fault::FaultKind;
use crate::policy::host::{Budget, Contract, HostState, Instance, PolicyFault, SavedState, thread_cpu};

/// The role of a router.
pub(in crate::policy) struct Routing;

impl Contract for Routing {
    type Exports = Exports;
    type Pre = RouterPre<HostState>;

    fn bind(pre: InstancePre<HostState>) -> wasmtime::Result<Self::Pre> {
        RouterPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<HostState>) -> wasmtime::Result<Exports> {
        pre.instantiate(store)
    }
}

impl Instance<Routing> {
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
        let answer =
            self.call(budget, |exports, store| exports.witgate_policy_routing().call_configure(store, setup))?;
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
        self.call(budget, |exports, store| {
            exports.witgate_policy_routing().call_route(store, request, signals, features, attributes)
        })
    }

    /// Tells an outcome.
    pub(super) fn observe(&mut self, budget: Budget, outcome: &Outcome) -> Result<(), PolicyFault> {
        let outcome = self::outcome(outcome);
        self.call(budget, |exports, store| exports.witgate_policy_routing().call_observe(store, outcome))
    }

    /// Asks what it learned.
    pub(super) fn save(&mut self, budget: Budget) -> Result<Option<SavedState>, PolicyFault> {
        let saved =
            self.call(budget.for_state(), |exports, store| exports.witgate_policy_routing().call_save(store))?;
        Ok(saved.map(|state| SavedState { schema: state.schema, bytes: state.bytes }))
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
