//! Budgets that several gateways spend of: each tells its own part, and hears what the others spent and hold (`shared_limits`).
//!
//! Far from a budget's end nobody is waited for, and where there are no others nobody ever is. Close to it whoever holds money tells that first, and
//! hears what others hold: of two that hold the last of it, the one that told later sees the other's, and gives its own back.
//!
//! A part only grows within its period, and is told as it stands: told twice it counts once. While nobody can be told, each gateway takes
//! its share of what was left then, or spends nothing that a budget counts.

use std::ops::Range;
use std::sync::Arc;

use super::{Budget, BudgetId, Budgets, Short, State};
use crate::moment::Moment;
use crate::money::NanoUsd;

/// A budget is close to its end where less is left than so many calls like the one that is held for, or than one part of so many of it,
/// or than twice what others came to between two times that they were heard. A call is held for with the most that it may cost, which is many
/// times what most do.
const CALLS: u64 = 2;
const SHARE: u64 = 20;
/// By what part of itself that is less each time they come to less.
const SLOWER: u64 = 8;

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
    /// There are none.
    #[default]
    None,
    /// They are heard.
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
        self.lock().is_shared = true;
    }

    /// This process's part of each budget that bounds anything: of those that changed since this was last asked, and of all in these places.
    #[must_use]
    pub fn parts(&self, now: Moment, places: Range<usize>) -> Vec<BudgetPart> {
        let mut state = self.lock();
        let mut ids = std::mem::take(&mut state.news);
        ids.extend(state.at(places));
        let part = |id| {
            let budget = state.get_mut(id).filter(|budget| budget.spec.max.or(budget.spec.soft).is_some())?;
            budget.turn(now);
            Some(budget.part(id))
        };
        ids.into_iter().filter_map(part).collect()
    }

    /// How many places there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.lock().budgets.len()
    }

    /// Whether this budget is there still.
    #[must_use]
    pub fn has(&self, id: BudgetId) -> bool {
        self.lock().get(id).is_some()
    }

    /// What all others spent within a part's period, what was spent before any included, and what they hold. Tells whether that is news.
    pub fn elsewhere(&self, now: Moment, part: &BudgetPart, spent: NanoUsd, held: NanoUsd) -> bool {
        let mut state = self.lock();
        let Some(budget) = state.get_mut(part.id) else { return false };
        budget.turn(now);
        let before = budget.spent.0.saturating_sub(budget.own.0);
        let known = (budget.elsewhere, budget.held_elsewhere);
        if budget.name() == part.name {
            (budget.elsewhere, budget.held_elsewhere) = (NanoUsd(spent.0.saturating_sub(before)), held);
            // Whoever spends it tells. Marks that were passed without what this gateway spent since it last heard were passed by others;
            // those that took it too are told when it settles next, perhaps by two of them rather than by none.
            let spent = budget.spent;
            budget.spent.0 = spent.0.saturating_sub(budget.own.0.saturating_sub(budget.own_heard.0));
            (budget.told, budget.told_soft) = (budget.told.max(budget.mark()), budget.told_soft || budget.is_soft());
            (budget.spent, budget.own_heard) = (spent, budget.own);
            let [was, is] = [known, (budget.elsewhere, budget.held_elsewhere)].map(|(spent, held)| spent.0 + held.0);
            budget.stride = NanoUsd(is.saturating_sub(was).max(budget.stride.0 - budget.stride.0 / SLOWER));
        }
        known != (budget.elsewhere, budget.held_elsewhere)
    }

    /// Whether so little is left of one of these, in which so much is held, that what others began since they were heard may be more.
    #[must_use]
    pub fn is_close(&self, budgets: &[BudgetId], amount: NanoUsd) -> bool {
        if self.changed.get().is_none() || budgets.is_empty() {
            return false;
        }
        let state = self.lock();
        let close = |budget: &Budget| {
            let Some(max) = budget.spec.max else { return false };
            let left = max.0.saturating_sub((budget.total() + budget.held + budget.held_elsewhere).0);
            left < amount.0.saturating_mul(CALLS).max(max.0 / SHARE).max(budget.stride.0.saturating_mul(2))
        };
        state.others == Others::Heard && budgets.iter().filter_map(|id| state.get(*id)).any(close)
    }

    /// The first of these in which more is held than there is, so much of that by whoever asks: others held it first.
    #[must_use]
    pub fn exceeded(&self, now: Moment, budgets: &[BudgetId], amount: NanoUsd) -> Option<Short> {
        let mut state = self.lock();
        let others = state.others;
        budgets.iter().find_map(|id| {
            let budget = state.get_mut(*id)?;
            budget.turn(now);
            let (max, spent) = (budget.bound(budget.spec.max?, others), budget.total());
            let held = budget.held + budget.held_elsewhere;
            (spent + held > max).then(|| Short {
                scope: budget.scope.clone(),
                max,
                spent,
                held: NanoUsd(held.0.saturating_sub(amount.0)),
                asked: amount,
                resets: budget.resets,
            })
        })
    }

    /// Others are not heard any more: what is left is divided among so many, or with `refuse` nothing is spent.
    pub fn divide(&self, among: u64, refuse: bool) {
        let mut state = self.lock();
        let others = if refuse { Others::Refused } else { Others::Divided(among.max(1)) };
        if matches!(std::mem::replace(&mut state.others, others), Others::None | Others::Heard) {
            for budget in state.budgets.iter_mut().filter_map(|(_, budget)| budget.as_mut()) {
                budget.own_at_loss = budget.own;
                budget.held_elsewhere = NanoUsd::default();
            }
        }
    }

    /// So many gateways are heard, this one among them.
    pub fn are_heard(&self, gateways: u64) {
        self.lock().others = if gateways > 1 { Others::Heard } else { Others::None };
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

impl State {
    /// Something of this budget's part has changed.
    #[inline]
    pub(super) fn changed(&mut self, id: BudgetId) {
        if self.is_shared {
            self.news.insert(id);
        }
    }

    /// Those in these places.
    fn at(&self, places: Range<usize>) -> impl Iterator<Item = BudgetId> {
        let numbered = (0u32..).zip(&self.budgets).skip(places.start).take(places.len());
        numbered.map(|(place, (generation, _))| BudgetId { place, generation: *generation })
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
