//! Who pays for a request: where it counts whichever deployment is called.

use crate::budgets::BudgetId;
use crate::limits::ScopeId;
use crate::snapshot::{Caller, GroupRuntime, Snapshot};

/// Scopes that every request for a group takes from: everybody's and the group's.
const COMMON: usize = 2;

/// The limits and budgets that a request takes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Paying {
    /// All limits: first those of everybody and of the group, then its own.
    pub(super) scopes: Vec<ScopeId>,
    pub(super) budgets: Vec<BudgetId>,
}

impl Paying {
    /// Of a request of `caller` with `tags` in `group`.
    pub(super) fn of(snapshot: &Snapshot, caller: &Caller, tags: &[String], group: &GroupRuntime) -> Self {
        let payers = &snapshot.payers;
        let mut scopes = vec![group.scope];
        scopes.extend(&caller.scopes);
        let mut budgets = payers.global.clone();
        budgets.extend(&caller.budgets);
        let team = caller.team.as_ref().and_then(|team| payers.teams.get(team)).map(|team| &team.payer);
        // Most gateways have none, and most requests no tag.
        let tags = tags.iter().filter(|_| !payers.tags.is_empty()).filter_map(|tag| payers.tags.get(tag.as_str()));
        for payer in team.into_iter().chain(tags) {
            scopes.extend(payer.scope);
            budgets.extend(payer.budgets.iter().filter(|id| !budgets.contains(id)).copied().collect::<Vec<_>>());
        }
        budgets.extend(&group.budgets);
        Self { scopes, budgets }
    }

    /// The limits of everybody and of the group; and those of its key, its team and its tags.
    pub(super) fn parts(&self) -> (&[ScopeId], &[ScopeId]) {
        self.scopes.split_at(COMMON.min(self.scopes.len()))
    }
}
