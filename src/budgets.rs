//! Money that may be spent: held before a call, counted by the bill, begun anew with each period.
//!
//! A budget belongs to a scope and lasts for a period of the calendar, or for ever. What a call may cost at most is held before it
//! is made, in all budgets it counts in or in none; when it ends, what it did cost is counted in its place. So no number of calls
//! at once can spend more than a budget has, but for a call that costs more than it was estimated at.
//!
//! A call counts in the period in which its money was held, with what it holds and with what it comes to: that is when it is made, and what
//! asked the budget is what is spent of it. Of a period that is over nothing is held and nothing counted in the next one, whenever its calls
//! end. A process that starts adds up the ledger, which knows when a request arrived: one that waited for its turn over the end of a period counts
//! in the one before from then on.
//!
//! Where what is spent leaves no room, a call is refused: a period is long. Where only what others hold stands in the way, it waits.

mod change;
mod hold;
mod period;
mod reading;
mod refused;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

pub use change::Change;
pub use hold::{Hold, Short};
pub use period::Period;
pub use reading::SpendReader;
pub use shared::{BudgetPart, Changed};

use shared::{Others, SharedName};

/// One budget, as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetSpec {
    /// What may be spent; `None` is all one wants, and only counted.
    pub max: Option<NanoUsd>,
    /// From which spend on somebody is told.
    pub soft: Option<NanoUsd>,
    /// How long it is for; `None` is for ever.
    pub period: Option<Period>,
    /// From when on is counted, and what had been spent then; `None` is from the beginning.
    pub counted: Option<(Moment, NanoUsd)>,
}

impl BudgetSpec {
    /// From when on is counted now, beginning with how much; and until when.
    fn span(&self, now: Moment) -> (Moment, NanoUsd, Option<Moment>) {
        let (from, base) = self.counted.unwrap_or_default();
        let around = self.period.as_ref().map(|period| period.around(now, from));
        match around {
            Some((began, ends)) if began > from => (began, NanoUsd::default(), Some(ends)),
            around => (from, base, around.map(|(_, ends)| ends)),
        }
    }

    /// Whether nothing can have been spent before that counts.
    fn is_new(&self, now: Moment) -> bool {
        self.counted.is_some_and(|(from, _)| from >= now)
    }
}

/// A budget of one [`Budgets`], resolved once. It stays valid over every reload that still has the budget; of one that is no more
/// nothing is held and nothing is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetId {
    place: u32,
    /// Places are used again; who means the one before finds nothing.
    generation: u32,
}

/// What a budget has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Its soft part is spent.
    Soft,
    /// 15 % are left.
    Little,
    /// 5 % are left.
    VeryLittle,
    /// It is spent.
    Spent,
    /// It has refused a call for which so much had been held, and is not spent.
    Refuses(NanoUsd),
}

/// A budget has come to a mark, for the first time in its period.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// Which mark.
    pub mark: Mark,
    /// The budget.
    pub budget: BudgetReport,
}

/// A budget at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetReport {
    /// Whose.
    pub scope: Scope,
    /// What may be spent.
    pub max: Option<NanoUsd>,
    /// From which spend on somebody is told.
    pub soft: Option<NanoUsd>,
    /// What is spent.
    pub spent: NanoUsd,
    /// What calls under way hold.
    pub held: NanoUsd,
    /// How long it is for.
    pub period: Option<Period>,
    /// When it begins anew.
    pub resets: Option<Moment>,
}

#[derive(Debug)]
struct Budget {
    scope: Scope,
    spec: BudgetSpec,
    /// Whether what was spent before this process is in `spent`.
    read: bool,
    /// What arrived from then on is counted here, and is not read.
    known: Moment,
    /// What arrived before and has ended here since, until that is read.
    ended: Vec<RequestId>,
    /// Which one it was of all that were ever added.
    number: u64,
    spent: NanoUsd,
    held: NanoUsd,
    /// What of `spent` is this process's, and was when others were last heard.
    own: NanoUsd,
    own_at_loss: NanoUsd,
    /// What this process had spent when it last heard of others.
    own_heard: NanoUsd,
    /// What other gateways spent that is not in `spent`, and what they hold.
    elsewhere: NanoUsd,
    held_elsewhere: NanoUsd,
    /// What they came to between two times that they were heard, at most and lately.
    stride: NanoUsd,
    /// What was held before counts no more.
    since: Moment,
    /// What was held before is held no more: when the period before was found to be over.
    turned: Moment,
    resets: Option<Moment>,
    /// The highest mark of its maximum that was told in this period.
    told: Option<Mark>,
    /// The same of its soft part.
    told_soft: bool,
    /// Whether it was told that it refuses calls.
    told_refusal: bool,
    name: SharedName,
}

#[derive(Debug, Default)]
struct State {
    /// Each scope's budgets, one for each length of period.
    ids: BTreeMap<Scope, Vec<BudgetId>>,
    /// Each with its generation; `None` is free.
    budgets: Vec<(u32, Option<Budget>)>,
    /// Places that are free.
    free: Vec<u32>,
    /// How often somebody was told to wait for what others hold.
    turned_away: u64,
    /// How often a budget came to be where none was.
    added: u64,
    /// How many are changing budgets.
    changing: u32,
    /// Those whose part changed since parts were last asked for; none where nobody asks.
    news: BTreeSet<BudgetId>,
    is_shared: bool,
    others: Others,
}

/// Every budget, and what is spent of it.
#[derive(Default)]
pub struct Budgets {
    state: Mutex<State>,
    reader: OnceLock<SpendReader>,
    changed: OnceLock<Changed>,
    /// As the state has it, for those that only compare.
    added: AtomicU64,
    /// Of these, as many as whoever begins now is sure to find.
    in_force: AtomicU64,
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Budgets {
    /// What [`Budgets::hold`] would say; nothing is held.
    #[must_use]
    pub fn short(&self, now: Moment, budgets: &[BudgetId], amount: NanoUsd) -> Option<Short> {
        self.short_beside(now, budgets, amount, NanoUsd::default())
    }

    /// What [`Budgets::raise`] would say of so much to whoever holds `own` of each already, in this period; nothing is held.
    #[must_use]
    pub fn short_beside(&self, now: Moment, budgets: &[BudgetId], amount: NanoUsd, own: NanoUsd) -> Option<Short> {
        if budgets.is_empty() {
            return None;
        }
        self.lock().short(now, budgets, amount, (own, now))
    }

    /// How often somebody found no room that may come free: who gives back at once what nothing came of looks whether anybody saw
    /// it held.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.lock().turned_away
    }

    /// A request that arrived then has ended and cost so much: in the period in which it was held for. Returns what is to be told.
    #[expect(clippy::needless_pass_by_value, reason = "taking it is what makes a second ending impossible")]
    pub fn settle(&self, now: Moment, arrived: Moment, hold: Hold, cost: NanoUsd) -> Vec<Reached> {
        let mut reached = Vec::new();
        let budgets = hold.budgets.all();
        if budgets.is_empty() {
            return reached;
        }
        let mut state = self.lock();
        for id in budgets {
            let Some(budget) = state.get_mut(*id) else { continue };
            budget.turn(now);
            budget.give_back(hold.amount, hold.at);
            budget.spend((arrived, hold.at), hold.request, cost);
            budget.reach(&mut reached);
            state.changed(*id);
        }
        drop(state);
        self.tell();
        reached
    }

    /// Nothing came of it.
    pub fn release(&self, now: Moment, hold: Hold) {
        // What costs nothing reaches nothing that was not reached.
        let _nothing = self.settle(now, now, hold, NanoUsd::default());
    }

    /// A budget as it is now.
    #[must_use]
    pub fn report(&self, now: Moment, id: BudgetId) -> Option<BudgetReport> {
        let mut state = self.lock();
        let budget = state.get_mut(id)?;
        budget.turn(now);
        Some(budget.report())
    }

    /// All of them as they are now, in the order of whose they are.
    #[must_use]
    pub fn reports(&self, now: Moment) -> Vec<BudgetReport> {
        let mut state = self.lock();
        let all: Vec<BudgetId> = state.ids.values().flatten().copied().collect();
        let told = all.into_iter().filter_map(|id| {
            let budget = state.get_mut(id)?;
            budget.turn(now);
            Some(budget.report())
        });
        told.collect()
    }

    /// A panic elsewhere leaves sums that are at worst too large, so the state is used on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn get(&self, id: BudgetId) -> Option<&Budget> {
        let (generation, budget) = self.budgets.get(id.place as usize)?;
        budget.as_ref().filter(|_| *generation == id.generation)
    }

    fn get_mut(&mut self, id: BudgetId) -> Option<&mut Budget> {
        let (generation, budget) = self.budgets.get_mut(id.place as usize)?;
        budget.as_mut().filter(|_| *generation == id.generation)
    }

    fn set(&mut self, now: Moment, scope: &Scope, specs: &[BudgetSpec]) -> Vec<BudgetId> {
        let mut before = self.ids.remove(scope).unwrap_or_default();
        let same = |spec: &BudgetSpec| {
            let place = before.iter().position(|id| self.get(*id).is_some_and(|one| one.spec.period == spec.period));
            place.map(|place| before.remove(place))
        };
        let same: Vec<Option<BudgetId>> = specs.iter().map(same).collect();
        let mut left = before.into_iter();
        let mut ids: Vec<BudgetId> = Vec::new();
        for (spec, same) in specs.iter().zip(same) {
            let id = same.or_else(|| left.next());
            let id = id.unwrap_or_else(|| self.add(Budget::new(scope.clone(), spec.clone(), now)));
            if let Some(budget) = self.get_mut(id) {
                if same.is_some() { budget.restrict(spec, now) } else { budget.succeed(spec, now) }
            }
            self.changed(id);
            ids.push(id);
        }
        for gone in left {
            self.forget(gone);
        }
        if !ids.is_empty() {
            self.ids.insert(scope.clone(), ids.clone());
        }
        ids
    }

    fn add(&mut self, budget: Budget) -> BudgetId {
        self.added += 1;
        let budget = Budget { number: self.added, ..budget };
        let place = self.free.pop().unwrap_or_else(|| {
            self.budgets.push((0, None));
            u32::try_from(self.budgets.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.budgets.get_mut(place as usize).map_or(0, |(generation, free)| {
            *free = Some(budget);
            *generation
        });
        BudgetId { place, generation }
    }

    fn forget(&mut self, id: BudgetId) {
        if self.get(id).is_some()
            && let Some((generation, budget)) = self.budgets.get_mut(id.place as usize)
        {
            (*generation, *budget) = (generation.wrapping_add(1), None);
            self.free.push(id.place);
        }
    }

    /// `own` is held already, since then.
    fn short(&mut self, now: Moment, budgets: &[BudgetId], amount: NanoUsd, own: (NanoUsd, Moment)) -> Option<Short> {
        let (mut waits, others) = (None, self.others);
        for id in budgets {
            let Some(budget) = self.get_mut(*id) else { continue };
            budget.turn(now);
            match budget.short(amount, budget.holds(own.0, own.1), others) {
                Some(short) if short.may_wait() => waits = waits.or(Some(short)),
                Some(short) => return Some(short),
                None => {}
            }
        }
        self.turned_away += u64::from(waits.is_some());
        waits
    }
}

impl Budget {
    fn new(scope: Scope, spec: BudgetSpec, now: Moment) -> Self {
        let (since, spent, resets) = spec.span(now);
        let (none, read) = (NanoUsd::default(), spec.is_new(now));
        Self {
            scope,
            spec,
            read,
            known: now,
            ended: Vec::new(),
            number: 0,
            spent,
            held: none,
            own: none,
            own_at_loss: none,
            own_heard: none,
            elsewhere: none,
            held_elsewhere: none,
            stride: none,
            since,
            turned: Moment::default(),
            resets,
            told: None,
            told_soft: false,
            told_refusal: false,
            name: SharedName::default(),
        }
    }

    /// Another maximum, or another beginning, which is read anew.
    fn restrict(&mut self, spec: &BudgetSpec, now: Moment) {
        self.turn(now);
        if spec.counted != self.spec.counted {
            let (since, spent, resets) = spec.span(now);
            if since != self.since || spent > NanoUsd::default() {
                (self.since, self.spent, self.resets) = (since, spent, resets);
                self.begin();
                (self.read, self.known, self.ended) = (spec.is_new(now), now, Vec::new());
            }
        }
        self.spec = spec.clone();
        // What a new maximum makes of it is told when more is spent.
        self.told = self.told.min(self.mark());
        self.told_soft &= self.is_soft();
        self.told_refusal = false;
    }

    /// Another period: nothing is left of the one before but what calls under way hold.
    fn succeed(&mut self, spec: &BudgetSpec, now: Moment) {
        let (held, number, turned) = (self.held, self.number, self.turned);
        *self = Self { number, held, turned, ..Self::new(self.scope.clone(), spec.clone(), now) };
    }

    /// A period that is over is forgotten.
    fn turn(&mut self, now: Moment) {
        if self.resets.is_some_and(|resets| resets <= now) {
            (self.since, self.spent, self.resets) = self.spec.span(now);
            self.begin();
            // What calls under way hold is of the period that is over.
            (self.held, self.held_elsewhere, self.turned) = (NanoUsd::default(), NanoUsd::default(), now);
            // Nothing of it was spent before.
            (self.told, self.told_soft, self.told_refusal) = (None, false, false);
            (self.read, self.ended) = (true, Vec::new());
        }
    }

    /// Nobody has spent anything since.
    fn begin(&mut self) {
        (self.own, self.own_at_loss, self.own_heard, self.elsewhere) = Default::default();
    }

    /// Whether it has no room for so much, of which whoever asks holds `own` already.
    fn short(&self, asked: NanoUsd, own: NanoUsd, others: Others) -> Option<Short> {
        let (max, spent) = (self.bound(self.spec.max?, others), self.total());
        let held = NanoUsd((self.held + self.held_elsewhere).0.saturating_sub(own.0));
        // Who has nothing left is refused also what costs nothing.
        let fits = spent < max && spent + held + asked <= max;
        (!fits).then(|| Short { scope: self.scope.clone(), max, spent, held, asked, resets: self.resets })
    }

    /// The highest mark of its maximum that it has come to.
    fn mark(&self) -> Option<Mark> {
        let (max, spent) = (self.spec.max?, self.total());
        let share = |percent: u128| u128::from(spent.0) * 100 >= u128::from(max.0) * percent;
        // Nearly always: it is asked of every call that ends.
        if !share(85) {
            return None;
        }
        match spent {
            spent if spent >= max => Some(Mark::Spent),
            _ if share(95) => Some(Mark::VeryLittle),
            _ => Some(Mark::Little),
        }
    }

    fn is_soft(&self) -> bool {
        self.spec.soft.is_some_and(|soft| self.total() >= soft)
    }

    /// The marks it has come to and that were not told.
    fn reach(&mut self, reached: &mut Vec<Reached>) {
        let (is_soft, mark) = (self.is_soft(), self.mark());
        if !is_soft && mark.is_none() {
            return;
        }
        let soft = (is_soft && !std::mem::replace(&mut self.told_soft, true)).then_some(Mark::Soft);
        let mark = mark.filter(|mark| self.told.is_none_or(|told| told < *mark));
        self.told = mark.or(self.told);
        for mark in soft.into_iter().chain(mark) {
            reached.push(Reached { mark, budget: self.report() });
        }
    }

    fn report(&self) -> BudgetReport {
        BudgetReport {
            scope: self.scope.clone(),
            max: self.spec.max,
            soft: self.spec.soft,
            spent: self.total(),
            held: self.held + self.held_elsewhere,
            period: self.spec.period.clone(),
            resets: self.resets,
        }
    }
}
