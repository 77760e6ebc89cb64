//! The calls of a router, and what crosses with them.

use wasmtime::Store;
use wasmtime::component::{Instance as Linked, InstancePre};

use super::bindings::exports::witgate::policy::routing as wit;
use super::bindings::{Router as Exports, RouterIndices};
use super::needs::needs;
use super::recorder::RunRecorder;
use super::trial::trial;
use super::types::{DeploymentInfo, Needs, Outcome, RouteRequest, Setup, Traits};
use super::validate::validate;
use crate::fault::FaultKind;
use crate::id::GroupName;
use crate::moment::Moment;
use crate::policy::host::{Budget, Contract, HostState, Instance, InstanceLifetime, PolicyFault, PolicyProblem, Role};
use crate::tokens::Precision;

/// Instances of a pure router at most.
const MOST_INSTANCES: usize = 16;

/// Instances of a router that says it learns nothing: one for each processor.
pub(in crate::policy) fn most_instances() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_INSTANCES)
}

/// The role of a router.
#[derive(Debug)]
pub struct Routing;

impl Contract for Routing {
    const ROLE: Role = Role::Router;

    type Exports = Exports;
    type Indices = RouterIndices;
    type Setup = Setup;
    type Needs = Needs;
    type Event = Outcome;
    type Recorder = RunRecorder;

    fn bind(pre: &InstancePre<HostState>) -> wasmtime::Result<RouterIndices> {
        RouterIndices::new(pre)
    }

    fn load(indices: &RouterIndices, store: &mut Store<HostState>, instance: &Linked) -> wasmtime::Result<Exports> {
        indices.load(store, instance)
    }

    fn common(setup: &Setup) -> (&str, u64) {
        (&setup.settings, setup.seed)
    }

    fn group(setup: &Setup) -> Option<&GroupName> {
        setup.group.as_ref()
    }

    fn choices(setup: &Setup) -> usize {
        setup.deployments.len()
    }

    fn start(instance: &mut Instance<Self>, budget: Budget, setup: &Setup) -> Result<Needs, PolicyProblem> {
        let tags: Vec<Vec<&str>> =
            setup.deployments.iter().map(|facts| facts.tags.iter().map(String::as_str).collect()).collect();
        let deployments: Vec<_> =
            setup.deployments.iter().zip(&tags).map(|(facts, tags)| deployment(facts, tags)).collect();
        let answer =
            instance.call(budget, |exports, store| exports.witgate_policy_routing().call_start(store, &deployments));
        let answer = answer.map_err(|fault| PolicyProblem::Setup { call: "start", fault })?;
        let wanted = answer.map_err(PolicyProblem::refused)?;
        needs(&wanted, &setup.may_read)
    }

    /// Asks once knowing nothing, once with every signal at zero. It must answer with a valid ranking or a refusal.
    fn self_test(
        instance: &mut Instance<Self>,
        needs: &Needs,
        budget: Budget,
        setup: &Setup,
    ) -> Result<(), PolicyProblem> {
        let request = RouteRequest {
            id: None,
            now: Moment::default(),
            seed: setup.seed,
            input_tokens: 1000,
            input_precision: Precision::Exact,
            expected_output_tokens: 500,
            max_output_tokens: None,
            priority: 0,
            deadline_ms: None,
            traits: Traits::default(),
        };
        let cells = needs.signals.len() * setup.deployments.len();
        let features = vec![0.0; needs.features.len()];
        let attributes = vec![""; needs.attributes.len()];
        let failed = |fault: PolicyFault| PolicyProblem::Setup { call: "route", fault };
        for unknown in [f32::NAN, 0.0] {
            let signals = vec![unknown; cells];
            let answer = instance.route(budget, &request, &signals, &features, &attributes).map_err(failed)?;
            if let Ok(ranking) = answer {
                validate(&ranking, setup.deployments.len(), &mut Vec::new()).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn trial(instance: &mut Instance<Self>, needs: &Needs, budget: Budget, setup: &Setup) -> Result<(), PolicyProblem> {
        trial(instance, needs, budget, setup)
    }

    /// A router that may learn has one memory; one that says it does not may answer on every processor at once.
    fn lifetime(needs: &Needs) -> InstanceLifetime {
        if needs.pure { InstanceLifetime::SeveralKept(most_instances()) } else { InstanceLifetime::OneKept }
    }

    /// A pure one is not: its answers depend on what it is asked alone, and a call for each reply is as dear as the decision.
    fn hears(needs: &Needs) -> bool {
        !needs.pure
    }

    fn concerns(event: &Outcome, setup: &Setup) -> bool {
        (event.deployment as usize) < setup.deployments.len()
    }

    fn observe(instance: &mut Instance<Self>, budget: Budget, event: &Outcome) -> Result<(), PolicyFault> {
        let outcome = outcome(event);
        instance.call(budget, |exports, store| exports.witgate_policy_routing().call_observe(store, outcome))
    }

    /// An outcome follows its deployment's id, wherever that stands in the other list.
    fn carry(event: &Outcome, from: &Setup, to: &Setup) -> Option<Outcome> {
        let id = &from.deployments.get(event.deployment as usize)?.id;
        let place = to.deployments.iter().position(|deployment| deployment.id == *id)?;
        Some(Outcome { deployment: u32::try_from(place).ok()?, ..event.clone() })
    }
}

impl Instance<Routing> {
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
        (question.input_precision == Precision::Exact, wit::Traits::INPUT_EXACT),
        (question.input_precision == Precision::UpperBound, wit::Traits::INPUT_BOUND),
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
        // To a policy these are ends that say nothing about the deployment.
        FaultKind::Cancelled | FaultKind::Unparsed | FaultKind::Gateway => wit::Fault::Cancelled,
    }
}
