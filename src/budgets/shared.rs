//! Budgets that several gateways spend of: each tells its own part, and hears what the others spent and hold (`shared_limits`).
//!
//! A part only grows within its period, and is told as it stands: told twice it counts once. While nobody can be told, each gateway takes
//! its share of what was left then, or spends nothing that a budget counts.

use std::sync::Arc;

use super::{Budget, BudgetId, Budgets};
use crate::moment::Moment;
use crate::money::NanoUsd;

/// One budget and what this process spends of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetPart {
    /// Which.
    pub id: BudgetId,
    /// The same in every gateway: whose it is, its period, and when that began.
    pub name: Arc<str>,
    /// When it begins anew; `None` is never.
    pub ends: Option<Moment>,
    /// What this process spent within the period.
    pub own: NanoUsd,
    /// What its calls under way hold.
    pub held: NanoUsd,
    /// What had been spent before this process, by whomever; `None` is not known.
    pub before: Option<NanoUsd>,
}

/// What a budget is called among gateways, written once for each of its periods: parts are asked for many times a second.
#[derive(Debug, Default)]
pub(super) struct SharedName(Option<(Moment, NanoUsd, Arc<str>)>);

/// Told when a part changes.
pub type Changed = Box<dyn Fn() + Send + Sync>;

/// How things stand with other gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Others {
    /// There are none, or they are heard.
    #[default]
    Heard,
    /// Nobody hears of them: what is left is divided among so many.
    Divided(u64),
    /// Nobody hears of them, and nothing is spent meanwhile.
    Refused,
}

impl Budgets {
    /// From here on `changed` is called whenever a part has changed. A second call changes nothing.
    pub fn share(&self, changed: Changed) {
        let _before = self.changed.set(changed);
    }

    /// This process's part of every budget that bounds anything, in the order of whose they are.
    #[must_use]
    pub fn parts(&self, now: Moment) -> Vec<BudgetPart> {
        self.each(now, |id, budget| budget.spec.max.or(budget.spec.soft).map(|_| budget.part(id)))
    }

    /// What all others spent within a part's period, what was spent before any included, and what they hold.
    pub fn elsewhere(&self, now: Moment, part: &BudgetPart, spent: NanoUsd, held: NanoUsd) {
        let mut state = self.lock();
        let Some(budget) = state.get_mut(part.id) else { return };
        budget.turn(now);
        let before = budget.spent.0.saturating_sub(budget.own.0);
        if budget.name() == part.name {
            (budget.elsewhere, budget.held_elsewhere) = (NanoUsd(spent.0.saturating_sub(before)), held);
            // Whoever spends it tells. Marks that were passed without what this gateway spent since it last heard were passed by others;
            // those that took it too are told when it settles next, perhaps by two of them rather than by none.
            let spent = budget.spent;
            budget.spent.0 = spent.0.saturating_sub(budget.own.0.saturating_sub(budget.own_heard.0));
            (budget.told, budget.told_soft) = (budget.told.max(budget.mark()), budget.told_soft || budget.is_soft());
            (budget.spent, budget.own_heard) = (spent, budget.own);
        }
    }

    /// Others are not heard any more: what is left is divided among so many, or with `refuse` nothing is spent.
    pub fn divide(&self, among: u64, refuse: bool) {
        let mut state = self.lock();
        let others = if refuse { Others::Refused } else { Others::Divided(among.max(1)) };
        if std::mem::replace(&mut state.others, others) == Others::Heard {
            for budget in state.budgets.iter_mut().filter_map(|(_, budget)| budget.as_mut()) {
                budget.own_at_loss = budget.own;
                budget.held_elsewhere = NanoUsd::default();
            }
        }
    }

    /// Others are heard again.
    pub fn reunite(&self) {
        self.lock().others = Others::Heard;
    }

    /// Whether nothing that a budget counts may be spent, because others are not heard.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        self.lock().others == Others::Refused
    }

    pub(super) fn tell(&self) {
        if let Some(changed) = self.changed.get() {
            changed();
        }
    }
}

impl Budget {
    /// What is spent of it, wherever.
    pub(super) fn total(&self) -> NanoUsd {
        self.spent + self.elsewhere
    }

    /// What may be spent here: while others are not heard, a share of what was left when they were last.
    pub(super) fn bound(&self, max: NanoUsd, others: Others) -> NanoUsd {
        let Others::Divided(among) = others else { return max };
        let before = self.total().0.saturating_sub(self.own.0.saturating_sub(self.own_at_loss.0));
        NanoUsd(before.saturating_add(max.0.saturating_sub(before) / among))
    }

    fn name(&mut self) -> Arc<str> {
        let (_, base) = self.spec.counted.unwrap_or_default();
        match &self.name.0 {
            Some((since, of, name)) if (*since, *of) == (self.since, base) => Arc::clone(name),
            _ => {
                let period = self.spec.period.as_ref().map(ToString::to_string).unwrap_or_default();
                let name = format!("{}:{period}:{}:{}", self.scope.path(), self.since.as_millis(), base.0);
                let name = Arc::<str>::from(name);
                self.name.0 = Some((self.since, base, Arc::clone(&name)));
                name
            }
        }
    }

    fn part(&mut self, id: BudgetId) -> BudgetPart {
        let before = self.read.then(|| NanoUsd(self.spent.0.saturating_sub(self.own.0)));
        BudgetPart { id, name: self.name(), ends: self.resets, own: self.own, held: self.held, before }
    }
}
