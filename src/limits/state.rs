//! All scopes together: what the one mutex protects.

use std::collections::BTreeMap;

use super::reservations::Reservations;
use super::scope_usage::ScopeUsage;
use super::window::{Amount, Placement};
use super::{Decision, Demand, Excess, LimitSpec, Reservation, Scope, ScopeId, Wait};
use crate::moment::Moment;

#[derive(Debug, Default)]
pub(super) struct State {
    ids: BTreeMap<Scope, ScopeId>,
    /// By id. A place is never given to another scope: an older snapshot may still name it.
    scopes: Vec<ScopeUsage>,
    reservations: Reservations,
}

impl State {
    pub(super) fn apply(&mut self, specs: &BTreeMap<Scope, LimitSpec>, now: Moment) {
        for scope in specs.keys() {
            self.id(scope);
        }
        for (scope, id) in &self.ids {
            let Some(account) = self.scopes.get_mut(index(*id)) else { continue };
            let Some(spec) = specs.get(scope) else {
                account.release(now);
                continue;
            };
            if let Some(before) = account.restrict(spec, now) {
                for entry in self.reservations.of(*id) {
                    entry.placement = before.moved(entry.placement, account.window(), now);
                }
            }
        }
    }

    pub(super) fn id(&mut self, scope: &Scope) -> ScopeId {
        if let Some(id) = self.ids.get(scope) {
            return *id;
        }
        let id = ScopeId(u32::try_from(self.scopes.len()).unwrap_or(u32::MAX));
        self.scopes.push(ScopeUsage::new(scope.clone(), &LimitSpec::default()));
        self.ids.insert(scope.clone(), id);
        id
    }

    /// `None` only for an id of another `Limits`.
    #[inline]
    pub(super) fn scope(&mut self, id: ScopeId) -> Option<&mut ScopeUsage> {
        self.scopes.get_mut(index(id))
    }

    #[inline]
    fn fits(&mut self, now: Moment, id: ScopeId, asked: Amount) -> bool {
        self.scope(id).is_none_or(|account| account.fits(now, asked))
    }

    pub(super) fn at_most_half(&mut self, now: Moment, scopes: &[ScopeId], asked: Amount) -> bool {
        scopes.iter().all(|id| self.scope(*id).is_none_or(|account| account.at_most_half(now, asked)))
    }

    pub(super) fn reserve(
        &mut self,
        now: Moment,
        shared: &[ScopeId],
        shared_asked: Amount,
        candidates: &[(ScopeId, Demand)],
    ) -> Decision {
        let mut granted = None;
        if shared.iter().all(|id| self.fits(now, *id, shared_asked)) {
            granted = candidates.iter().position(|(id, demand)| self.fits(now, *id, (*demand).into()));
        }
        let Some((index, (own, demand))) = granted.and_then(|at| Some((at, *candidates.get(at)?))) else {
            return self.refuse(now, shared, shared_asked, candidates);
        };
        let once = shared.iter().enumerate().filter(|(at, id)| !shared[..*at].contains(id)).map(|(_, id)| *id);
        let shared = (!shared.is_empty()).then(|| self.hold(once, shared_asked));
        let own = self.hold(std::iter::once(own), demand.into());
        Decision::Granted { index, shared, own }
    }

    fn hold(&mut self, scopes: impl Iterator<Item = ScopeId> + Clone, amount: Amount) -> Reservation {
        for id in scopes.clone() {
            if let Some(account) = self.scope(id) {
                account.hold(amount);
            }
        }
        self.reservations.open(scopes, amount)
    }

    /// Says when, or why never. Whatever can never be held anywhere is never; else the moment at which all shared
    /// scopes and one of the candidates have room.
    fn refuse(
        &mut self,
        now: Moment,
        shared: &[ScopeId],
        shared_asked: Amount,
        candidates: &[(ScopeId, Demand)],
    ) -> Decision {
        if let Some(excess) = shared.iter().find_map(|id| self.scope(*id)?.excess(shared_asked)) {
            return Decision::Never(excess);
        }
        let mut earliest = None;
        let mut largest: Option<Excess> = None;
        let mut hopeless = !candidates.is_empty();
        for (id, demand) in candidates {
            let asked = Amount::from(*demand);
            let Some(account) = self.scope(*id) else { continue };
            match account.wait(now, asked) {
                Wait::Never => {
                    let excess = account.excess(asked);
                    if largest.as_ref().is_none_or(|largest| excess.as_ref().is_some_and(|e| e.limit > largest.limit)) {
                        largest = excess;
                    }
                    continue;
                }
                Wait::Now => earliest = Some(now),
                Wait::At(moment) => earliest = Some(earliest.map_or(moment, |other: Moment| other.min(moment))),
                Wait::Unknown => {}
            }
            hopeless = false;
        }
        if let Some(excess) = largest.filter(|_| hopeless) {
            return Decision::Never(excess);
        }
        for id in shared {
            let wait = self.scope(*id).map_or(Wait::Now, |account| account.wait(now, shared_asked));
            earliest = match wait {
                Wait::Now => earliest,
                Wait::At(moment) => earliest.map(|other| other.max(moment)),
                Wait::Unknown | Wait::Never => None,
            };
        }
        Decision::Until(earliest)
    }

    pub(super) fn answered(&mut self, now: Moment, hold: &Reservation) {
        let scopes = &mut self.scopes;
        self.reservations.each(hold, |entry| {
            if entry.placement == Placement::Open
                && let Some(account) = scopes.get_mut(index(entry.scope))
            {
                entry.placement = account.stamp(now, entry.amount);
            }
        });
    }

    pub(super) fn end(&mut self, now: Moment, hold: Reservation, actual: Amount) {
        let scopes = &mut self.scopes;
        self.reservations.close(hold, |entry| {
            if let Some(account) = scopes.get_mut(index(entry.scope)) {
                account.end(now, &entry, actual);
            }
        });
    }

    /// Reservations under way.
    #[cfg(test)]
    pub(super) fn open_reservations(&self) -> usize {
        self.reservations.open_entries()
    }
}

const fn index(id: ScopeId) -> usize {
    id.0 as usize
}
