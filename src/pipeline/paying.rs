//! Who pays for a request: where it counts whichever deployment is called.

use crate::budgets::BudgetId;
use crate::limits::ScopeId;
use crate::snapshot::{Caller, GroupRuntime, Snapshot};

use super::auth::kept_team;

/// Scopes that every request for a group takes from: everybody's and the group's.
const COMMON: usize = 2;

/// Tags of one request that the ledger keeps beside those that count, and letters of one.
const TAGS: usize = 20;
const TAG_LETTERS: usize = 100;

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
        let mut scopes = Vec::with_capacity(1 + caller.scopes.len());
        scopes.push(group.scope);
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
        // Made while the gateway runs, and none of the configuration's.
        if let Some(team) = caller.team.as_ref().and_then(|team| kept_team(snapshot, team)) {
            scopes.extend(team.scope);
            budgets.extend(team.budgets);
        }
        budgets.extend(&group.budgets);
        Self { scopes, budgets }
    }

    /// The limits of everybody and of the group; and those of its key, its team and its tags.
    pub(super) fn parts(&self) -> (&[ScopeId], &[ScopeId]) {
        self.scopes.split_at(COMMON.min(self.scopes.len()))
    }
}

/// The tags that each request of a caller has, whatever its client says: those of its key and of the key's team.
pub(super) fn own_tags(snapshot: &Snapshot, caller: &Caller) -> Vec<String> {
    let team = caller.team.as_ref().and_then(|team| kept_team(snapshot, team));
    let of_key = caller.virtual_key.iter().flat_map(|key| key.all_tags());
    let of_team = team.iter().flat_map(|known| known.team.tags());
    of_key.chain(of_team).map(str::to_owned).collect()
}

/// The tags of a request that the ledger keeps, each once: first those that count, because the key has them or somebody bounds
/// them, whole and all of them; of what else clients say, so much.
pub(super) fn kept_tags(snapshot: &Snapshot, caller: &Caller, tags: &[String]) -> Vec<String> {
    let own = own_tags(snapshot, caller);
    in_order(tags, |tag| own.contains(tag) || snapshot.payers.tags.contains_key(tag.as_str()))
}

fn in_order(tags: &[String], counts: impl Fn(&String) -> bool) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut keep = |tag: String, most: usize| {
        if kept.len() < most && !kept.contains(&tag) {
            kept.push(tag);
        }
        kept.len()
    };
    let (counted, others): (Vec<&String>, Vec<&String>) = tags.iter().partition(|tag| counts(tag));
    let most = counted.into_iter().fold(0, |_, tag| keep(tag.clone(), usize::MAX)) + TAGS;
    for tag in others {
        let cut: String = tag.chars().take(TAG_LETTERS).collect();
        // Cut, it may be another's name.
        if cut == *tag || !counts(&cut) {
            keep(cut, most);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_keeps_every_tag_that_counts_whole_and_so_much_of_the_others() {
        let long = "b".repeat(TAG_LETTERS + 50);
        let mut tags: Vec<String> = (0..30).map(|number| format!("said-{number}")).collect();
        tags.extend(["own".to_owned(), long.clone(), "own".to_owned(), "x".repeat(500), "said-1".to_owned()]);
        let kept = in_order(&tags, |tag| *tag == "own" || *tag == long);
        assert_eq!(kept[..3], ["own".to_owned(), long, "said-0".to_owned()]);
        assert_eq!(kept.len(), 2 + TAGS);
        let cut = in_order(&["x".repeat(500), "a".into(), "a".into()], |_| false);
        assert_eq!(cut, ["x".repeat(TAG_LETTERS), "a".into()]);
        let another = "y".repeat(TAG_LETTERS);
        assert!(in_order(&["y".repeat(TAG_LETTERS + 1)], |tag| *tag == another).is_empty(), "it is not charged for it");
    }
}
