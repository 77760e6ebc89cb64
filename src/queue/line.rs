//! Who of those who want the same limits starts now.

use super::packing::{self, Item};
use super::waiter::Waiter;
use super::{BY_THE_RICH, LARGE, LOOKED_AT, MOST_OVERTAKEN, PACKED, POOR, State, WELL_PACKED};
use crate::id::KeyId;
use crate::limits::{Dimension, PerDimension, Reading, ScopeId};
use crate::moment::Moment;

/// Those who may start in one scope, in their order.
pub(super) struct Line {
    pub(super) scope: ScopeId,
    /// Their places among the waiting.
    pub(super) places: Vec<usize>,
}

impl Line {
    /// The first of one priority who want this scope, up to the first that must not be overtaken any more.
    pub(super) fn gather(state: &State, reading: &mut Reading<'_>, now: Moment, scope: ScopeId, strict: bool) -> Self {
        let mut places = Vec::with_capacity(PACKED);
        let mut priority = None;
        for (place, waiter) in state.waiting.iter().enumerate().take(LOOKED_AT) {
            let held_off = waiter.not_before.is_some_and(|until| until > now);
            if waiter.called.is_some() || held_off || !waiter.ready.contains(&scope) {
                continue;
            }
            if !waiter.has_own_room(reading) {
                continue;
            }
            if *priority.get_or_insert(waiter.want.priority) != waiter.want.priority {
                break;
            }
            places.push(place);
            if places.len() == PACKED || (waiter.overtaken >= MOST_OVERTAKEN && waiter.is_its_turn_in(scope) && !strict)
            {
                break;
            }
        }
        Self { scope, places }
    }

    /// How much those who are chosen overtake the one at this place.
    pub(super) fn overtaking(&self, state: &State, chosen: u32, at: usize) -> u32 {
        let took = |at: usize| {
            let caller = &state.waiting.get(*self.places.get(at)?)?.want.caller;
            Some(state.took.of(caller))
        };
        let behind = (at + 1..self.places.len()).filter(|behind| is_chosen(chosen, *behind));
        behind.map(|behind| if took(behind) > took(at) { BY_THE_RICH } else { 1 }).sum()
    }

    /// Who starts now, as a bit for each.
    pub(super) fn choose(&self, state: &State, reading: &mut Reading<'_>, strict: bool) -> u32 {
        let waiters: Vec<&Waiter> = self.places.iter().filter_map(|place| state.waiting.get(*place)).collect();
        let Some(first) = waiters.first() else { return 0 };
        let mut free = reading.used(self.scope).free;
        for shared in &first.want.shared {
            let other = reading.used(*shared).free;
            free = PerDimension::from_fn(|dimension| match (free[dimension], other[dimension]) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            });
        }
        // Those who were called and have not come yet.
        for waiter in state.waiting.iter().filter(|waiter| waiter.called == Some(self.scope)) {
            let Some(demand) = waiter.demand_in(self.scope) else { continue };
            free = packing::without(&free, &demand.amounts())
                .unwrap_or_else(|| PerDimension::from_fn(|dimension| free[dimension].map(|_| 0)));
        }
        let poor = if strict { Vec::new() } else { poor(state, self.scope, &waiters) };
        let by_tokens = Dimension::TOKENS.into_iter().any(|dimension| free[dimension].is_some());
        let items = waiters.iter().map(|waiter| {
            let takes = waiter.demand_in(self.scope).unwrap_or_default().amounts();
            Item { takes, worth: if by_tokens { takes[Dimension::Tokens].max(1) } else { 1 } }
        });
        let mut items: Vec<Item> = items.collect();
        let largest = items.iter().map(|item| item.worth).max().unwrap_or(1);
        for (at, (item, waiter)) in items.iter_mut().zip(&waiters).enumerate() {
            let overtaken = u64::from(waiter.overtaken.min(MOST_OVERTAKEN)).pow(2);
            let more = overtaken + LARGE.saturating_mul(item.worth) / largest;
            let poor = if poor.get(at) == Some(&true) { POOR } else { 1 };
            item.worth = item.worth.saturating_mul(poor * (WELL_PACKED + more));
        }
        if strict {
            return within_own(packing::prefix(&items, &free), &waiters, &items, reading);
        }
        loop {
            // Nothing can be worth more than what is free, full of those that count most.
            let first =
                items.iter().zip(&poor).filter(|(_, poor)| **poor).map(|(item, _)| item.takes[Dimension::Tokens]);
            let first = first.sum::<u64>();
            let most = free[Dimension::Tokens].filter(|_| by_tokens);
            let most = most.map_or(u64::MAX, |free| free.saturating_add(first.min(free).saturating_mul(POOR - 1)));
            let most = most.saturating_mul(WELL_PACKED + LARGE + u64::from(MOST_OVERTAKEN).pow(2));
            let chosen = packing::best(&items, &free, most);
            let too_often = |(at, waiter): &(usize, &&Waiter)| {
                !is_chosen(chosen, *at)
                    && waiter.is_its_turn_in(self.scope)
                    && waiter.overtaken + self.overtaking(state, chosen, *at) > MOST_OVERTAKEN
            };
            // Nobody behind one who would be overtaken too often.
            match waiters.iter().enumerate().take(items.len()).find(too_often).map(|(at, _)| at) {
                Some(at) => items.truncate(at + 1),
                None => return within_own(chosen, &waiters, &items, reading),
            }
        }
    }
}

/// Which of them have a caller who took less within the last minute than another of them, even with this one and those before it.
fn poor(state: &State, scope: ScopeId, waiters: &[&Waiter]) -> Vec<bool> {
    let took = |waiter: &&Waiter| state.took.of(&waiter.want.caller);
    let (least, most) = (waiters.iter().map(took).min(), waiters.iter().map(took).max().unwrap_or(0));
    if least == Some(most) {
        return Vec::new();
    }
    let mut so_far: Vec<(&KeyId, u64)> = Vec::new();
    let mut poor = Vec::with_capacity(waiters.len());
    for waiter in waiters {
        let caller = &waiter.want.caller;
        let size = waiter.demand_in(scope).map_or(0, |demand| demand.amounts()[Dimension::Tokens]);
        let known = so_far.iter_mut().find(|(known, _)| *known == caller);
        let before = known.as_ref().map_or_else(|| took(waiter), |(_, sum)| *sum);
        let sum = before.saturating_add(size);
        match known {
            Some((_, known)) => *known = sum,
            None => so_far.push((caller, sum)),
        }
        poor.push(sum <= most);
    }
    poor
}

/// Of those chosen, the ones that fit together into the limits of which the others know nothing.
fn within_own(mut chosen: u32, waiters: &[&Waiter], items: &[Item], reading: &mut Reading<'_>) -> u32 {
    let mut free: Vec<(ScopeId, PerDimension<Option<u64>>)> = Vec::new();
    for (at, (waiter, item)) in waiters.iter().zip(items).enumerate() {
        if !is_chosen(chosen, at) || waiter.want.own.is_empty() {
            continue;
        }
        for scope in &waiter.want.own {
            if !free.iter().any(|(known, _)| known == scope) {
                free.push((*scope, reading.used(*scope).free));
            }
        }
        let own = || waiter.want.own.iter();
        let left = |scope: &ScopeId| {
            let (_, free) = free.iter().find(|(known, _)| known == scope)?;
            Some((*scope, packing::without(free, &item.takes)?))
        };
        match own().map(left).collect::<Option<Vec<_>>>() {
            Some(left) => {
                free.retain(|(scope, _)| !waiter.want.own.contains(scope));
                free.extend(left);
            }
            None => chosen &= !(1 << at),
        }
    }
    chosen
}

pub(super) fn is_chosen(chosen: u32, at: usize) -> bool {
    u32::try_from(at).is_ok_and(|at| chosen.checked_shr(at).is_some_and(|behind| behind & 1 == 1))
}
