//! Budgets that come to be, change and go, and from when on requests are sure to find them.
//!
//! The rule: whoever changes budgets says so first ([`Budgets::change`]) and puts their ids where requests find them before it is over. A request that
//! began meanwhile may not have found those that were added: it counts in them when it ends.

use std::sync::atomic::Ordering;

use super::{BudgetId, BudgetSpec, Budgets};
use crate::limits::Scope;
use crate::moment::Moment;

/// Budgets are being changed. Those that are added are in force when this is dropped, and nobody else is changing any.
#[derive(Debug)]
#[must_use = "budgets that are added are in force when it is dropped"]
pub struct Change<'b>(&'b Budgets);

impl Budgets {
    /// Begins to change budgets.
    pub fn change(&self) -> Change<'_> {
        self.lock().changing += 1;
        Change(self)
    }

    /// A change of one scope's budgets alone, all of it. Blocks where spend is to be read.
    pub fn set(&self, now: Moment, scope: &Scope, specs: &[BudgetSpec]) -> Vec<BudgetId> {
        let change = self.change();
        let ids = change.set(now, scope, specs);
        if !ids.is_empty() {
            change.read();
        }
        ids
    }

    /// How often a budget came to be where none was.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.added.load(Ordering::Acquire)
    }

    /// As many of these as whoever begins now is sure to find: it holds of all of them that it counts in.
    #[must_use]
    pub fn in_force(&self) -> u64 {
        self.in_force.load(Ordering::Acquire)
    }
}

impl Change<'_> {
    /// The budgets of a scope are these from now on. One that it had already, for the same length of time, goes on with what is
    /// spent; of others it is read ([`Change::read`]). One for another length of time takes the place of one that is no more: what calls under
    /// way hold of that is held of it, and what they come to counts in it. Those without a successor are forgotten.
    #[must_use]
    pub fn set(&self, now: Moment, scope: &Scope, specs: &[BudgetSpec]) -> Vec<BudgetId> {
        let mut state = self.0.lock();
        let ids = state.set(now, scope, specs);
        self.0.added.store(state.added, Ordering::Release);
        drop(state);
        // What others spend of them is to be heard.
        self.0.tell();
        ids
    }

    /// Reads what was spent before of all that were added or changed, together. Blocks, unless there are none.
    pub fn read(&self) {
        self.0.read_again();
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.changing = state.changing.saturating_sub(1);
        if state.changing == 0 {
            self.0.in_force.store(state.added, Ordering::Release);
        }
    }
}
