//! Setting a router up: make an instance, configure it, check what it wants, and try it on requests nobody
//! sent before any real one reaches it.

use std::sync::Arc;
use std::time::Duration;

use super::bindings::exports::witgate::policy::routing as wit;
use super::calls::Routing;
use super::types::{Needs, RouteRequest, Setup, Traits};
use super::validate::validate;
use crate::moment::Moment;
use crate::policy::host::{Budget, Component, Instance, PolicyFault, PolicyProblem, SavedState, Sink};
use crate::signal::{Feature, Signal};

/// Columns, features or attributes a policy may ask for: each costs something on every request.
const MOST_NEEDS: usize = 32;

/// An instance that is ready.
pub(in crate::policy) struct Ready {
    pub(in crate::policy) instance: Instance<Routing>,
    pub(in crate::policy) needs: Needs,
    /// CPU time `configure` took.
    pub(in crate::policy) cpu: Duration,
    /// Why it would not take the state and began empty.
    pub(in crate::policy) state_problem: Option<PolicyProblem>,
}

/// Makes and configures an instance. One that will not take the state it is offered begins empty: a state is
/// worth something, an answering router more.
pub(in crate::policy) fn make_ready(
    component: &Arc<Component>,
    sink: Option<&Arc<Sink>>,
    budget: Budget,
    setup: &Setup,
    state: Option<&SavedState>,
) -> Result<Ready, PolicyProblem> {
    let with_state = configured(component, sink, budget, setup, state);
    let (Some(state), Err(problem)) = (state, &with_state) else { return with_state };
    let (policy, schema) = (component.name(), &state.schema);
    tracing::warn!(%policy, %schema, %problem, "saved state not taken; it begins empty");
    let ready = configured(component, sink, budget, setup, None)?;
    Ok(Ready { state_problem: Some(problem.clone()), ..ready })
}

fn configured(
    component: &Arc<Component>,
    sink: Option<&Arc<Sink>>,
    budget: Budget,
    setup: &Setup,
    state: Option<&SavedState>,
) -> Result<Ready, PolicyProblem> {
    let failed = |call| move |fault| PolicyProblem::Setup { call, fault };
    let mut instance = Instance::new(component, sink.cloned(), budget).map_err(failed("its start"))?;
    let (answer, cpu) = instance.configure(budget, setup, state).map_err(failed("configure"))?;
    let needs = answer.map_err(PolicyProblem::Configure).and_then(needs)?;
    Ok(Ready { instance, needs, cpu, state_problem: None })
}

fn needs(wanted: wit::Needs) -> Result<Needs, PolicyProblem> {
    let counts =
        [("signal", wanted.signals.len()), ("feature", wanted.features.len()), ("attribute", wanted.attributes.len())];
    if let Some((kind, asked)) = counts.into_iter().find(|(_, asked)| *asked > MOST_NEEDS) {
        return Err(PolicyProblem::TooManyNeeds { kind, asked, limit: MOST_NEEDS });
    }
    let unknown = |kind, name: &String, known: Vec<&str>| PolicyProblem::UnknownNeed {
        kind,
        name: name.clone(),
        known: known.join(", "),
    };
    let signal = |name: &String| {
        Signal::parse(name).ok_or_else(|| unknown("signal", name, Signal::ALL.map(Signal::as_str).to_vec()))
    };
    let feature = |name: &String| {
        Feature::parse(name).ok_or_else(|| unknown("feature", name, Feature::ALL.map(Feature::as_str).to_vec()))
    };
    Ok(Needs {
        signals: wanted.signals.iter().map(signal).collect::<Result<_, _>>()?,
        features: wanted.features.iter().map(feature).collect::<Result<_, _>>()?,
        attributes: wanted.attributes,
        exact_tokens: wanted.exact_tokens,
        pure: wanted.pure,
    })
}

/// Asks an instance that is thrown away afterwards: once knowing nothing, once with every signal at zero. It
/// must answer with a valid ranking or a refusal.
pub(in crate::policy) fn self_test(mut ready: Ready, budget: Budget, setup: &Setup) -> Result<(), PolicyProblem> {
    let question = RouteRequest {
        now: Moment::default(),
        seed: setup.seed,
        input_tokens: 1000,
        expected_output_tokens: 500,
        max_output_tokens: None,
        priority: 0,
        deadline_ms: None,
        traits: Traits::default(),
    };
    let cells = ready.needs.signals.len() * setup.deployments.len();
    let features = vec![0.0; ready.needs.features.len()];
    let attributes = vec![""; ready.needs.attributes.len()];
    let failed = |fault: PolicyFault| PolicyProblem::Setup { call: "route", fault };
    for unknown in [f32::NAN, 0.0] {
        let signals = vec![unknown; cells];
        let answer = ready.instance.route(budget, &question, &signals, &features, &attributes).map_err(failed)?;
        if let Ok(ranking) = answer {
            validate(&ranking, setup.deployments.len(), &mut Vec::new()).map_err(failed)?;
        }
    }
    Ok(())
}
