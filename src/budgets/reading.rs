//! What was spent before a budget was known, read out of what is kept for good; and the calls that were under way then.
//!
//! The rule: a call counts once. What arrives from `known` on counts as it ends, and is not read. What arrived before is read where it had
//! ended, and counts as it ends where it was under way. It is kept for good only after it has ended here, so that whatever ends while
//! it is being read is left out of that by its name: where the names are the same before and after, nothing was in both.

use std::fmt;

use super::{Budget, BudgetId, Budgets, Reached, State};
use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// Tells what a scope has spent since a moment and before another, without these requests; `None` where that cannot be told now.
type Sum = dyn Fn(&Scope, [Moment; 2], &[RequestId]) -> Option<NanoUsd> + Send + Sync;

/// What is kept for good, to be read.
pub struct SpendReader {
    /// Waits until all that ended so far can be read. Tells whether it can.
    pub catch_up: Box<dyn Fn() -> bool + Send + Sync>,
    /// Tells what a scope has spent since a moment and before another, without these requests; `None` where that cannot be told now.
    pub sum: Box<Sum>,
    /// Not all could be read: it is to be tried again later ([`Budgets::read_again`]).
    pub falls_short: Box<dyn Fn() + Send + Sync>,
}

impl SpendReader {
    /// One that need not be waited for.
    #[must_use]
    pub fn of(sum: impl Fn(&Scope, [Moment; 2], &[RequestId]) -> Option<NanoUsd> + Send + Sync + 'static) -> Self {
        Self { catch_up: Box::new(|| true), sum: Box::new(sum), falls_short: Box::new(|| {}) }
    }
}

impl fmt::Debug for SpendReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpendReader").finish_non_exhaustive()
    }
}

/// How often one budget is read again because calls ended meanwhile, until it is left for later.
const TRIES: usize = 16;

impl Budgets {
    /// From here on what was spent before is read; that of the budgets there are already is read now. Blocks.
    pub fn read_from(&self, reader: SpendReader) {
        if self.reader.set(reader).is_ok() {
            self.read_again();
        }
    }

    /// Reads what was not read yet, or could not be. Tells whether it all could. Blocks, unless there is nothing.
    pub fn read_again(&self) -> bool {
        let Some(reader) = self.reader.get() else { return true };
        let unread = self.lock().unread();
        if unread.is_empty() {
            return true;
        }
        // What ended before they were added is in no list of theirs: it is waited for, once for all of them, and before their lists are read, which
        // grow meanwhile.
        let mut all = (reader.catch_up)();
        if all {
            for id in unread {
                let read = self.read(reader, id);
                all &= read == Some(true);
                if read.is_none() {
                    break;
                }
            }
        }
        if !all {
            (reader.falls_short)();
        }
        all
    }

    /// What was spent before this budget was known. Tells whether that is known; `None` where it cannot be told now.
    fn read(&self, reader: &SpendReader, id: BudgetId) -> Option<bool> {
        for _ in 0..TRIES {
            let state = self.lock();
            let Some(budget) = state.get(id).filter(|budget| !budget.read) else { return Some(true) };
            let (scope, since, known) = (budget.scope.clone(), budget.since, budget.known);
            let ended = budget.ended.clone();
            drop(state);
            let spent = (reader.sum)(&scope, [since, known], &ended)?;
            let mut state = self.lock();
            // Where it has begun anew meanwhile, it is another.
            let same = |budget: &&mut Budget| !budget.read && (budget.since, budget.known) == (since, known);
            let Some(budget) = state.get_mut(id).filter(same) else { continue };
            if budget.ended.len() == ended.len() {
                budget.is_read(spent);
                state.changed(id);
                return Some(true);
            }
        }
        Some(false)
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
                    budget.spend((arrived, arrived), Some(request), *cost);
                    budget.reach(&mut reached);
                    state.changed(id);
                }
            }
        }
        drop(state);
        self.tell();
        reached
    }
}

impl State {
    fn unread(&self) -> Vec<BudgetId> {
        let all = self.ids.values().flatten();
        all.filter(|id| self.get(**id).is_some_and(|budget| !budget.read)).copied().collect()
    }
}

impl Budget {
    /// A call has ended and cost so much, for which was held at `at`.
    pub(super) fn spend(&mut self, (arrived, at): (Moment, Moment), request: Option<RequestId>, cost: NanoUsd) {
        if at < self.since {
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
