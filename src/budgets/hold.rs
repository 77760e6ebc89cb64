//! What is held of budgets for one call, and what is told where there is no room.

use super::{Budget, BudgetId, Budgets};
use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// Money that is held. It is settled or released exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is neither settled nor released is held for ever"]
pub struct Hold {
    pub(super) budgets: Ids,
    pub(super) amount: NanoUsd,
    /// When it was held, and raised last: then all of it is held anew where a period was over.
    pub(super) at: Moment,
    /// Which request's it is, as what is kept for good calls it.
    pub(super) request: Option<RequestId>,
}

/// Budgets that a request counts in. Most requests have few, which cost no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Few { count: u8, ids: [BudgetId; FEW] },
    Many(Vec<BudgetId>),
}

const FEW: usize = 6;

impl Ids {
    pub(super) fn of(ids: &[BudgetId]) -> Self {
        let none = BudgetId { place: u32::MAX, generation: 0 };
        match u8::try_from(ids.len()) {
            Ok(count) if ids.len() <= FEW => {
                let mut few = [none; FEW];
                few[..ids.len()].copy_from_slice(ids);
                Self::Few { count, ids: few }
            }
            _ => Self::Many(ids.to_vec()),
        }
    }

    pub(super) fn all(&self) -> &[BudgetId] {
        match self {
            Self::Few { count, ids } => ids.get(..usize::from(*count)).unwrap_or_default(),
            Self::Many(ids) => ids,
        }
    }
}

impl Hold {
    /// It is this request's.
    pub fn of(self, request: RequestId) -> Self {
        Self { request: Some(request), ..self }
    }

    /// So much of it, or all that there is, as a hold of its own; the rest stays.
    pub fn part(&mut self, amount: NanoUsd) -> Self {
        let amount = amount.min(self.amount);
        self.amount = NanoUsd(self.amount.0 - amount.0);
        Self { budgets: self.budgets.clone(), amount, at: self.at, request: None }
    }

    /// What it is held of.
    #[must_use]
    pub fn budgets(&self) -> &[BudgetId] {
        self.budgets.all()
    }

    /// How much of each.
    #[must_use]
    pub const fn amount(&self) -> NanoUsd {
        self.amount
    }
}

impl Budgets {
    /// Holds so much in all of these budgets, or in none.
    ///
    /// # Errors
    /// The first that has no room; one that waiting does not help before one that it may.
    pub fn hold(&self, now: Moment, budgets: &[BudgetId], amount: NanoUsd) -> Result<Hold, Short> {
        if budgets.is_empty() {
            return Ok(Hold { budgets: Ids::of(&[]), amount, at: now, request: None });
        }
        let at = self.hold_beside(now, budgets, amount, (NanoUsd::default(), now))?;
        Ok(Hold { budgets: Ids::of(budgets), amount, at, request: None })
    }

    /// Holds so much in the place of less, in all of its budgets or in none.
    ///
    /// # Errors
    /// As [`Budgets::hold`], of all of it.
    pub fn raise(&self, now: Moment, hold: &mut Hold, amount: NanoUsd) -> Result<(), Short> {
        if amount <= hold.amount {
            return Ok(());
        }
        hold.at = self.hold_beside(now, hold.budgets.all(), amount, (hold.amount, hold.at))?;
        hold.amount = amount;
        Ok(())
    }

    /// Holds what `amount` is more than `own`, which whoever asks holds of each since then. Returns when it is held.
    fn hold_beside(
        &self,
        now: Moment,
        budgets: &[BudgetId],
        amount: NanoUsd,
        own: (NanoUsd, Moment),
    ) -> Result<Moment, Short> {
        let mut state = self.lock();
        // Who read the clock before somebody else found a period over holds of the next one.
        let now = budgets.iter().filter_map(|id| state.get(*id)).fold(now, |now, budget| now.max(budget.turned));
        if let Some(short) = state.short(now, budgets, amount, own) {
            return Err(short);
        }
        for id in budgets {
            if let Some(budget) = state.get_mut(*id) {
                let own = budget.holds(own.0, own.1);
                budget.held += NanoUsd(amount.0.saturating_sub(own.0));
                state.changed(*id);
            }
        }
        drop(state);
        self.tell();
        Ok(now)
    }

    /// Holds so much less: gives back the rest of it.
    pub fn lower(&self, hold: &mut Hold, amount: NanoUsd) {
        let less = NanoUsd(hold.amount.0.saturating_sub(amount.0));
        let mut state = self.lock();
        for id in hold.budgets.all() {
            if let Some(budget) = state.get_mut(*id) {
                budget.give_back(less, hold.at);
                state.changed(*id);
            }
        }
        drop(state);
        hold.amount = NanoUsd(hold.amount.0 - less.0);
        self.tell();
    }
}

impl Budget {
    /// What is left here of so much that was held then: all, or nothing where the period is over.
    pub(super) fn holds(&self, amount: NanoUsd, at: Moment) -> NanoUsd {
        if at < self.turned { NanoUsd::default() } else { amount }
    }

    /// Holds less by so much that was held then.
    pub(super) fn give_back(&mut self, amount: NanoUsd, at: Moment) {
        self.held = NanoUsd(self.held.0.saturating_sub(self.holds(amount, at).0));
    }
}

/// A budget that has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Whose.
    pub scope: Scope,
    /// What may be spent.
    pub max: NanoUsd,
    /// What is.
    pub spent: NanoUsd,
    /// What other calls under way hold.
    pub held: NanoUsd,
    /// What was asked for, with what whoever asks holds already.
    pub asked: NanoUsd,
    /// When it begins anew; `None` is never.
    pub resets: Option<Moment>,
}

impl Short {
    /// What is left of it.
    #[must_use]
    pub const fn left(&self) -> NanoUsd {
        NanoUsd(self.max.0.saturating_sub(self.spent.0))
    }

    /// Whether there is room once the other calls under way have ended, if they cost nothing.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.spent < self.max && self.spent + self.asked <= self.max
    }
}
