//! A router's calls made once more, one after another, with no gateway around them.
//!
//! One instance, dropped where the recorded one was and made again from what it saved last, as in service. What happened to it
//! from outside (its CPU time was up, it was quarantined) is not repeated but told: [`Rerun::lose`].

use std::sync::Arc;

use super::calls::Routing;
use super::judge;
use super::recorder::Decision;
use super::types::{Choice, Needs, Outcome, RouteError, Setup};
use crate::policy::host::{Budget, Component, Instance, PolicyFault, PolicyProblem, SavedState, check, make_ready};

/// A router under way once more.
pub struct Rerun {
    component: Arc<Component>,
    setup: Setup,
    needs: Needs,
    saved: Option<SavedState>,
    instance: Option<Instance<Routing>>,
    state_problem: Option<PolicyProblem>,
}

impl Rerun {
    /// A router that begins with what the recorded one knew.
    ///
    /// # Errors
    /// It is no router, or cannot be set up.
    pub fn start(component: Arc<Component>, setup: Setup, state: Option<SavedState>) -> Result<Self, PolicyProblem> {
        check::<Routing>(&component, &setup)?;
        let budget = Budget::setup(&component, setup.deployments.len());
        let ready = make_ready::<Routing>(&component, None, budget, &setup, state.as_slice())?;
        let saved = state.filter(|_| ready.untaken.is_none());
        Ok(Self {
            component,
            setup,
            needs: ready.needs,
            saved,
            instance: Some(ready.instance),
            state_problem: ready.untaken.map(|untaken| untaken.problem),
        })
    }

    /// What it asked to be told.
    #[must_use]
    pub const fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Why it would not take the state and began empty.
    #[must_use]
    pub const fn state_problem(&self) -> Option<&PolicyProblem> {
        self.state_problem.as_ref()
    }

    /// Asks what the recorded one was asked; its answer.
    ///
    /// # Errors
    /// It gives no ranking.
    pub fn route(&mut self, question: &Decision) -> Result<Vec<Choice>, RouteError> {
        let deployments = self.setup.deployments.len();
        let attributes: Vec<&str> = question.attributes.iter().map(String::as_str).collect();
        let Decision { request, signals, features, .. } = question;
        let mut ranking = Vec::new();
        let answer = self.call(|instance, budget| instance.route(budget, request, signals, features, &attributes))?;
        judge(answer, deployments, &mut ranking).map(|()| ranking)
    }

    /// Tells an outcome.
    ///
    /// # Errors
    /// The call failed.
    pub fn observe(&mut self, outcome: &Outcome) -> Result<(), PolicyFault> {
        self.call(|instance, budget| <Routing as crate::policy::host::Contract>::observe(instance, budget, outcome))
    }

    /// Asks it to save.
    ///
    /// # Errors
    /// The call failed.
    pub fn save(&mut self) -> Result<Option<SavedState>, PolicyFault> {
        let saved = self.call(Instance::save)?;
        if saved.is_some() {
            self.saved.clone_from(&saved);
        }
        Ok(saved)
    }

    /// The recorded instance was lost here: so is this one.
    pub fn lose(&mut self) {
        self.instance = None;
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&mut Instance<Routing>, Budget) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let choices = self.setup.deployments.len();
        let instance = if let Some(instance) = &mut self.instance {
            instance
        } else {
            let budget = Budget::setup(&self.component, choices);
            let ready = make_ready::<Routing>(&self.component, None, budget, &self.setup, self.saved.as_slice());
            let ready = ready.map_err(|problem| match problem {
                PolicyProblem::Setup { fault, .. } => fault,
                problem => PolicyFault::Contract(format!("set up again, it {problem}")),
            });
            self.instance.insert(ready?.instance)
        };
        let answer = call(instance, Budget::call(&self.component, choices));
        if answer.is_err() {
            self.instance = None;
        }
        answer
    }
}
