//! What is held of budgets for one call, and what is told where there is no room.

use super::BudgetId;
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
        Self { budgets: self.budgets.clone(), amount, request: None }
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
