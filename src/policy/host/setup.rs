//! Setting a policy up: make an instance, configure it, and start it in its role.

use std::sync::Arc;
use std::time::Duration;

use super::contract::Contract;
use super::engine::Component;
use super::instance::{Budget, Instance};
use super::problem::PolicyProblem;
use super::state::{SavedState, Untaken};
use super::store::Sink;
use super::ticker::thread_cpu;

/// An instance that is ready.
pub(in crate::policy) struct Ready<C: Contract> {
    pub(in crate::policy) instance: Instance<C>,
    pub(in crate::policy) needs: C::Needs,
    /// CPU time that setting up took.
    pub(super) cpu: Duration,
    /// The place of the state that it took, among those it was offered.
    pub(super) taken: Option<usize>,
    /// The first state that it was offered, where it did not take it.
    pub(in crate::policy) untaken: Option<Untaken>,
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

/// Makes and configures an instance. It begins with the first of these states that it takes, and empty where it takes none: a state is worth
/// something, an answering policy more.
pub(in crate::policy) fn make_ready<C: Contract>(
    component: &Arc<Component>,
    sink: Option<&Arc<Sink>>,
    budget: Budget,
    setup: &C::Setup,
    states: &[SavedState],
) -> Result<Ready<C>, PolicyProblem> {
    let mut untaken = None;
    for (at, state) in states.iter().enumerate() {
        let problem = match configured::<C>(component, sink, budget, setup, Some(state)) {
            // Who has nothing else to begin with need not be asked twice.
            Ok(ready) if states.len() == 1 || !leaves_out::<C>(component, budget, setup, state) => {
                return Ok(Ready { taken: Some(at), untaken, ..ready });
            }
            Ok(_) => PolicyProblem::StateLeftOut,
            Err(problem) => problem,
        };
        untaken = untaken.or_else(|| Some(Untaken { schema: state.schema.clone(), problem }));
    }
    let ready = configured(component, sink, budget, setup, None)?;
    Ok(Ready { untaken, ..ready })
}

/// Whether a policy says nothing against a state and leaves it out: with it, it saves what it saves without one, in a schema that is another.
pub(super) fn leaves_out<C: Contract>(
    component: &Arc<Component>,
    budget: Budget,
    setup: &C::Setup,
    state: &SavedState,
) -> bool {
    let with = first_save::<C>(component, budget, setup, Some(state));
    with.as_ref().is_some_and(|with| with.schema != state.schema)
        && with == first_save::<C>(component, budget, setup, None)
}

/// What a policy saves that was just configured, where it can be asked.
pub(super) fn first_save<C: Contract>(
    component: &Arc<Component>,
    budget: Budget,
    setup: &C::Setup,
    state: Option<&SavedState>,
) -> Option<SavedState> {
    // Apart from what is kept: it would be told twice.
    let said: Arc<Sink> = Arc::default();
    let mut ready = configured::<C>(component, Some(&said), budget, setup, state).ok()?;
    ready.instance.save(budget).ok().flatten()
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
    Ok(Ready { instance, needs, cpu, taken: None, untaken: None })
}
