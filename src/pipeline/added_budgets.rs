//! Budgets that a reload, or somebody who changed a key, added while a request was under way.
//!
//! The rule: it counts in them as if the gateway had started after it: in those of everybody and everything that its record names. Nothing was held of
//! them for it, so that as many calls as were under way may go beyond one that is new.

use super::Gateway;
use crate::budgets::{BudgetId, Reached};
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::record::Record;

/// Counts the request of `record` in those that were added since there were `knew` and of which it did not hold. Returns what is to be told.
pub(super) fn settle(
    gateway: &Gateway,
    now: Moment,
    record: &Record,
    (knew, held): (u64, &[BudgetId]),
) -> Vec<Reached> {
    // Nearly always.
    if gateway.budgets.added() == knew || record.charged == NanoUsd::default() {
        return Vec::new();
    }
    gateway.budgets.settle_added(now, (record.id, record.arrived), (knew, held), &charged(record))
}

/// Whom it was charged to, as a ledger that is read has it.
fn charged(record: &Record) -> Vec<(Scope, NanoUsd)> {
    let whole = std::iter::once(Scope::Global)
        .chain(record.caller.clone().map(Scope::Key))
        .chain(record.team.clone().map(Scope::Team))
        .chain(record.tags.iter().map(|tag| Scope::Tag(tag.as_str().into())));
    let attempts = record.attempts.iter().flat_map(|attempt| {
        let scopes = [
            Scope::Group(attempt.group.clone()),
            Scope::Provider(attempt.provider.clone()),
            Scope::Deployment(attempt.deployment.clone()),
        ];
        scopes.map(|scope| (scope, attempt.charged))
    });
    whole.map(|scope| (scope, record.charged)).chain(attempts).collect()
}
