//! The money of a request: held for all of its attempts together before anything is reserved, and counted once they are over.

use super::RequestGuard;
use crate::budgets::{BudgetId, Hold, Reached, Short};
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::added_budgets;
use crate::pipeline::admit::Together;

impl RequestGuard {
    /// These are one request for their client: budgets of those who pay hold the money for all of them before any is sent. Once one of them is
    /// refused, the others are to be dropped: they wait for it.
    pub fn pay_together<'g>(guards: impl IntoIterator<Item = &'g mut Self>) {
        let guards: Vec<&mut Self> = guards.into_iter().collect();
        if let [first, _, ..] = guards.as_slice() {
            let members = Together::members(&first.gateway, guards.len());
            guards.into_iter().zip(members).for_each(|(guard, member)| guard.together = Some(member));
        }
    }

    /// It is sent with money of its own: none of those that are asked together with it waits for it.
    pub(in crate::pipeline) fn goes_alone(&mut self) {
        if let Some(member) = self.together.take() {
            member.goes_alone();
        }
    }

    /// Takes what was held for it.
    pub(in crate::pipeline) fn take_money(&mut self, held: Hold) {
        self.money = Some(held.of(self.record.id));
    }

    /// Keeps so much of what it holds for itself. What is beside that is held for others.
    pub(in crate::pipeline) fn part_money(&mut self, own: NanoUsd) -> Option<Hold> {
        let money = self.money.as_mut()?;
        Some(money.part(NanoUsd(money.amount().0.saturating_sub(own.0))))
    }

    /// Holds so much money in these budgets for the attempt to come, beside what those before cost, until the request ends.
    ///
    /// # Errors
    /// One of them has not so much.
    pub(in crate::pipeline) fn hold_money(&mut self, budgets: &[BudgetId], amount: NanoUsd) -> Result<(), Short> {
        // Most requests have none.
        if self.money.is_none() && budgets.is_empty() {
            return Ok(());
        }
        let (now, amount) = (self.gateway.clock.now(), self.used.cost + amount);
        match &mut self.money {
            Some(held) => self.gateway.budgets.raise(now, held, amount)?,
            None => self.money = Some(self.gateway.budgets.hold(now, budgets, amount)?.of(self.record.id)),
        }
        Ok(())
    }

    /// What is held of the budgets of those who pay.
    pub(in crate::pipeline) fn held_money(&self) -> Option<NanoUsd> {
        self.money.as_ref().map(Hold::amount)
    }

    /// What its attempts so far cost, which counts when the request ends and is held until then.
    pub(in crate::pipeline) const fn pending_cost(&self) -> NanoUsd {
        self.used.cost
    }

    /// Gives back what is held beyond so much, or all of it, where nothing was begun with it.
    pub(in crate::pipeline) fn lower_money(&mut self, before: Option<NanoUsd>) {
        match (before, &mut self.money) {
            (Some(before), Some(held)) if held.amount() > before => self.gateway.budgets.lower(held, before),
            (Some(_), _) => {}
            (None, money) => {
                if let Some(money) = money.take() {
                    self.gateway.budgets.release(self.gateway.clock.now(), money);
                }
            }
        }
    }

    /// Gives back what is held for the attempts to come of a request that waits while none is under way, and tells those who wait for it; what
    /// the attempts before cost stays. Two that wait must not each wait for what the other holds.
    pub(in crate::pipeline) fn lend_money(&mut self) {
        let spent = self.used.cost;
        if let Some(held) = self.money.as_mut().filter(|held| held.amount() > spent) {
            self.gateway.budgets.lower(held, spent);
            self.gateway.capacity.notify();
        }
    }

    /// Of these it held, where budgets were added since it began.
    pub(super) fn note(&mut self, held: &[BudgetId]) {
        if self.gateway.budgets.added() != self.knew {
            self.held.extend(held);
        }
    }

    /// Counts it in budgets that were added since it began.
    pub(super) fn settle_added(&self, now: Moment) {
        let added = (self.knew, &*self.held);
        let mut reached = added_budgets::settle(&self.gateway, now, &self.record, added);
        reached.extend(self.settle_renewed(now, added));
        for reached in &reached {
            self.gateway.alarm.reached(&self.snapshot, reached);
        }
    }

    /// Counts it as another key's, where that took the place of the one that it was asked with.
    fn settle_renewed(&self, now: Moment, added: (u64, &[BudgetId])) -> Vec<Reached> {
        // Nearly always.
        if self.gateway.budgets.added() == self.knew || self.record.charged == NanoUsd::default() {
            return Vec::new();
        }
        let renewed = self.record.caller.as_ref().and_then(|key| self.snapshot.callers.keys.renewed(key));
        let Some(key) = renewed else { return Vec::new() };
        let request = (self.record.id, self.record.arrived);
        self.gateway.budgets.settle_added(now, request, added, &[(Scope::Key(key), self.record.charged)])
    }

    /// Counts what the attempts so far did cost, and gives back the rest of what was held. Tells whether anything was.
    pub(super) fn settle_money(&mut self, cost: NanoUsd) -> bool {
        let Some(money) = self.money.take() else { return false };
        self.note(money.budgets());
        let reached = self.gateway.budgets.settle(self.gateway.clock.now(), self.record.arrived, money, cost);
        for reached in &reached {
            self.gateway.alarm.reached(&self.snapshot, reached);
        }
        true
    }
}
