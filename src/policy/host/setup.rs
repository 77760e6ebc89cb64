//! Setting a policy up: make an instance, configure it, and start it in its role.

use std::sync::Arc;
use std::time::Duration;

use super::contract::Contract;
use super::engine::Component;
use super::instance::{Budget, Instance};
use super::problem::PolicyProblem;
use super::state::SavedState;
use super::store::Sink;
use super::ticker::thread_cpu;

/// An instance that is ready.
pub(in crate::policy) struct Ready<C: Contract> {
    pub(in crate::policy) instance: Instance<C>,
    pub(in crate::policy) needs: C::Needs,
    /// CPU time that setting up took.
    pub(super) cpu: Duration,
    /// Why it would not take the state and began empty.
    pub(in crate::policy) state_problem: Option<PolicyProblem>,
}

/// What can be told before anything of it runs.
///
/// # Errors
/// The component has another role, or the settings do not fit the schema it carries.
pub(in crate::policy) fn check<C: Contract>(component: &Component, setup: &C::Setup) -> Result<(), PolicyProblem> {
    let inspection = component.inspection();
    if !inspection.roles.contains(&C::ROLE) {
        return Err(PolicyProblem::WrongRole { found: inspection.role_names(), wanted: C::ROLE.as_str() });
    }
    let (settings, _) = C::common(setup);
    inspection.schema.as_ref().map_or(Ok(()), |schema| schema.check(settings))
}

/// Makes and configures an instance. One that will not take the state it is offered begins empty: a state is
/// worth something, an answering policy more.
pub(in crate::policy) fn make_ready<C: Contract>(
    component: &Arc<Component>,
    sink: Option<&Arc<Sink>>,
    budget: Budget,
    setup: &C::Setup,
    state: Option<&SavedState>,
) -> Result<Ready<C>, PolicyProblem> {
    let with_state = configured(component, sink, budget, setup, state);
    let (Some(state), Err(problem)) = (state, &with_state) else { return with_state };
    let (policy, schema) = (component.name(), &state.schema);
    let group = C::group(setup).map(tracing::field::display);
    tracing::warn!(group, %policy, %schema, %problem, "saved state not taken; it begins empty");
    let ready = configured(component, sink, budget, setup, None)?;
    Ok(Ready { state_problem: Some(problem.clone()), ..ready })
}

fn configured<C: Contract>(
    component: &Arc<Component>,
    sink: Option<&Arc<Sink>>,
    budget: Budget,
    setup: &C::Setup,
    state: Option<&SavedState>,
) -> Result<Ready<C>, PolicyProblem> {
    let failed = |call| move |fault| PolicyProblem::Setup { call, fault };
    let mut instance = Instance::new(component, C::group(setup), sink.cloned(), budget).map_err(failed("its start"))?;
    let (answer, cpu) = instance.configure(budget, C::common(setup), state).map_err(failed("configure"))?;
    answer.map_err(PolicyProblem::refused)?;
    let start = thread_cpu();
    let needs = C::start(&mut instance, budget, setup)?;
    let cpu = cpu + thread_cpu().saturating_sub(start);
    Ok(Ready { instance, needs, cpu, state_problem: None })
}
