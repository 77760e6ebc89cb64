//! What was spent before a budget was known, read out of what is kept for good; and the calls that were under way then.
//!
//! The rule: a call counts once. What arrives from `known` on counts as it ends, and is not read. What arrived before is read where it had
//! ended, and counts as it ends where it was under way. It is kept for good only after it has ended here, so that whatever ends while
//! it is being read is left out of that by its name: where the names are the same before and after, nothing was in both.

use std::sync::atomic::Ordering;

use super::{Budget, BudgetId, Budgets, Reached};
use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// Tells what a scope has spent since a moment and before another, out of what is kept for good, without these requests; `None` where
/// that cannot be told now.
pub type SpendReader = Box<dyn Fn(&Scope, [Moment; 2], &[RequestId]) -> Option<NanoUsd> + Send + Sync>;

/// How often it is read again because calls ended meanwhile; the last time counts, whatever ended.
const TRIES: usize = 16;

impl Budgets {
    /// From here on what was spent before is read; that of the budgets there are already is read now. Blocks.
    pub fn read_from(&self, reader: SpendReader) {
        if self.reader.set(reader).is_err() {
            return;
        }
        self.read_again();
    }

    /// Reads what could not be read before. Tells whether it all could. Blocks.
    pub fn read_again(&self) -> bool {
        let all: Vec<BudgetId> = self.lock().ids.values().flatten().copied().collect();
        for id in all {
            self.read(id);
        }
        self.lock().budgets.iter().all(|(_, budget)| budget.as_ref().is_none_or(|budget| budget.read))
    }

    /// What was spent before this budget was known. A second call changes nothing.
    pub(super) fn read(&self, id: BudgetId) {
        let Some(reader) = self.reader.get() else { return };
        for tried in 1..=TRIES {
            let state = self.lock();
            let Some(budget) = state.get(id).filter(|budget| !budget.read) else { return };
            let (scope, since, known) = (budget.scope.clone(), budget.since, budget.known);
            let ended = budget.ended.clone();
            drop(state);
            let Some(spent) = reader(&scope, [since, known], &ended) else { return };
            let mut state = self.lock();
            // Where it has begun anew meanwhile, it is another.
            let same = |budget: &&mut Budget| !budget.read && (budget.since, budget.known) == (since, known);
            let Some(budget) = state.get_mut(id).filter(same) else { return };
            if budget.ended.len() == ended.len() || tried == TRIES {
                budget.is_read(spent);
                return;
            }
        }
    }

    /// How often a budget came to be where none was. Whoever began when it was as many holds of all that it counts in.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.added.load(Ordering::Acquire)
    }

    /// A request that arrived then has ended. What it was charged counts in those budgets of these scopes that were added since there
    /// were `knew` and of which it did not hold: as a start would find it in what is kept for good.
    pub fn settle_added(
        &self,
        now: Moment,
        (request, arrived): (RequestId, Moment),
        (knew, held): (u64, &[BudgetId]),
        charged: &[(Scope, NanoUsd)],
    ) -> Vec<Reached> {
        let mut reached = Vec::new();
        let mut state = self.lock();
        for (scope, cost) in charged {
            for id in state.ids.get(scope).cloned().unwrap_or_default() {
                let Some(budget) = state.get_mut(id).filter(|budget| budget.number > knew) else { continue };
                if !held.contains(&id) {
                    budget.turn(now);
                    budget.spend(arrived, Some(request), *cost);
                    budget.reach(&mut reached);
                }
            }
        }
        drop(state);
        self.tell();
        reached
    }
}

impl Budget {
    /// A call has ended and cost so much.
    pub(super) fn spend(&mut self, arrived: Moment, request: Option<RequestId>, cost: NanoUsd) {
        if arrived < self.since {
            return;
        }
        self.spent += cost;
        self.own += cost;
        if !self.read && arrived < self.known && cost > NanoUsd::default() {
            self.ended.extend(request);
        }
    }

    fn is_read(&mut self, spent: NanoUsd) {
        self.spent += spent;
        (self.read, self.ended) = (true, Vec::new());
        // What was told before a restart is not told again.
        (self.told, self.told_soft) = (self.mark(), self.is_soft());
    }
}
