//! The budgets of groups, deployments and providers.

use crate::budgets::{BudgetId, Budgets};
use crate::catalog::Deployment;
use crate::config::PayerSettings;
use crate::id::GroupName;
use crate::limits::Scope;
use crate::moment::Moment;

/// What may be spent in a group.
pub(super) fn of_group(budgets: &Budgets, spending: &PayerSettings, group: &GroupName, now: Moment) -> Vec<BudgetId> {
    let specs = spending.groups.get(group).map_or(&[][..], |spec| &spec.budgets);
    budgets.set(now, &Scope::Group(group.clone()), specs)
}

/// What may be spent at a deployment, and at its provider.
pub(super) fn of_deployment(
    budgets: &Budgets,
    spending: &PayerSettings,
    deployment: &Deployment,
    now: Moment,
) -> Vec<BudgetId> {
    let own = deployment.budget.as_slice();
    let mut ids = budgets.set(now, &Scope::Deployment(deployment.id.clone()), own);
    if let Some(of_all) = spending.providers.get(&deployment.provider) {
        ids.extend(budgets.set(now, &Scope::Provider(deployment.provider.clone()), of_all));
    }
    ids
}
