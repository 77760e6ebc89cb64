//! The budgets of groups, judges, deployments and providers.

use crate::budgets::{BudgetId, Change};
use crate::catalog::{Deployment, EmbeddingChoice, Group, JudgeChoice};
use crate::config::PayerSettings;
use crate::id::GroupName;
use crate::limits::{Scope, ScopeId};
use crate::moment::Moment;
use crate::snapshot::Caller;

/// What may be spent in a group.
pub(super) fn of_group(change: &Change<'_>, spending: &PayerSettings, group: &GroupName, now: Moment) -> Vec<BudgetId> {
    let specs = spending.groups.get(group).map_or(&[][..], |spec| &spec.budgets);
    change.set(now, &Scope::Group(group.clone()), specs)
}

/// Who pays where the replies of a group are judged. One that is judged no more has no budget.
pub(super) fn of_judge(change: &Change<'_>, group: &Group, global: ScopeId, now: Moment) -> Option<Caller> {
    let key = JudgeChoice::account(&group.name);
    let specs: Vec<_> = group.judge.iter().map(JudgeChoice::budget).collect();
    let ids = change.set(now, &Scope::Key(key.clone()), &specs);
    group.judge.as_ref().map(|_| Caller::own(key, global, ids))
}

/// Who pays for the vectors of a group's questions. One that has no source of them has no budget.
pub(super) fn of_embedding(change: &Change<'_>, group: &Group, global: ScopeId, now: Moment) -> Caller {
    let key = EmbeddingChoice::account(&group.name);
    let specs: Vec<_> = group.embedding.iter().filter_map(EmbeddingChoice::budget).collect();
    let ids = change.set(now, &Scope::Key(key.clone()), &specs);
    Caller::own(key, global, ids)
}

/// What may be spent at a deployment, and at its provider.
pub(super) fn of_deployment(
    change: &Change<'_>,
    spending: &PayerSettings,
    deployment: &Deployment,
    now: Moment,
) -> Vec<BudgetId> {
    let own = deployment.budget.as_slice();
    let mut ids = change.set(now, &Scope::Deployment(deployment.id.clone()), own);
    if let Some(of_all) = spending.providers.get(&deployment.provider) {
        ids.extend(change.set(now, &Scope::Provider(deployment.provider.clone()), of_all));
    }
    ids
}
