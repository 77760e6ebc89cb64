//! All scopes together: what the one mutex protects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dimension::Amount;
use super::meter::{Counted, Meter};
use super::reservations::{Entries, Reservations};
use super::scope_usage::ScopeUsage;
use super::window::Window;
use super::{Certainty, Decision, Excess, LimitSpec, Reservation, ReservationId, ReserveRequest, Scope, ScopeId, Wait};
use crate::moment::Moment;

mod succession;

pub use succession::Places;

#[derive(Debug, Default)]
pub(super) struct State {
    ids: BTreeMap<Scope, ScopeId>,
    /// By id. A place is given to no other scope than one that takes over from its own: an older snapshot may still name it.
    scopes: Vec<ScopeUsage>,
    reservations: Reservations,
    /// Where something changed, for whoever tells others of it.
    pub(super) touched: Option<BTreeSet<ScopeId>>,
    /// Under which name that is told, and under which it was before a restart.
    pub(super) gateway: Option<Arc<str>>,
    pub(super) predecessor: Option<String>,
    /// Where the configuration in force keeps the limits of each deployment, and all such that were told of last.
    pub(super) places: Arc<Places>,
    told_places: Vec<Arc<Places>>,
}

impl State {
    pub(super) fn apply(&mut self, specs: &BTreeMap<Scope, LimitSpec>, now: Moment) {
        let told_before = self.told_places.clone();
        let copies = self.take_over(specs);
        for (scope, spec) in specs {
            // One that went is known by its id to those who began before, and needs no name again.
            if !self.is_gone(spec, &told_before) {
                self.id(scope);
            }
        }
        if let Some(touched) = &mut self.touched {
            touched.extend(self.ids.values());
        }
        let known: Vec<_> = self.ids.iter().map(|(scope, id)| (specs.get(scope), *id)).collect();
        for (spec, id) in known {
            self.restrict(id, spec, now);
        }
        self.copy(copies, now);
    }

    /// Other limits of one scope; `None` is unlimited.
    pub(super) fn restrict(&mut self, id: ScopeId, spec: Option<&LimitSpec>, now: Moment) {
        if let Some(touched) = &mut self.touched {
            touched.extend([id]);
        }
        let Some(usage) = self.scopes.get_mut(index(id)) else { return };
        let Some(spec) = spec else { return usage.release(now) };
        let resized = usage.restrict(spec, now);
        self.move_entries(id, resized, now);
    }

    /// The provider refused what the kind of this window lets in. Says whether that is news.
    pub(super) fn contradict(&mut self, id: ScopeId, meter: u32, now: Moment) -> bool {
        let slid = self.scope(id).and_then(|usage| usage.meter(meter)?.contradict(now));
        let Some(before) = slid else { return false };
        self.move_entries(id, vec![(meter, before)], now);
        true
    }

    /// What is reserved in windows that were these stands in the new ones.
    fn move_entries(&mut self, id: ScopeId, resized: Vec<(u32, Window)>, now: Moment) {
        for (meter, before) in resized {
            let Some(after) = self.scopes.get_mut(index(id)).and_then(|usage| usage.meter(meter)) else { continue };
            for entry in self.reservations.of(id).filter(|entry| entry.meter == meter) {
                entry.placement = before.moved(entry.placement, after.window(), now);
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

    pub(super) fn each_meter(&mut self, act: impl FnMut(&mut Meter)) {
        self.scopes.iter_mut().flat_map(ScopeUsage::meters).for_each(act);
    }

    /// Every scope by name.
    pub(super) fn named(&self) -> impl Iterator<Item = (Scope, ScopeId)> + use<'_> {
        self.ids.iter().map(|(scope, id)| (scope.clone(), *id))
    }

    /// `None` only for an id of another `Limits`.
    #[inline]
    pub(super) fn scope(&mut self, id: ScopeId) -> Option<&mut ScopeUsage> {
        self.scopes.get_mut(index(id))
    }

    #[inline]
    fn fits(&mut self, now: Moment, id: ScopeId, amount: &Amount) -> bool {
        self.scope(id).is_none_or(|usage| usage.fits(now, amount))
    }

    /// Whether every token limit would stay at or below half, in the shared scopes and at the first so many candidates.
    pub(super) fn at_most_half(&mut self, now: Moment, request: &ReserveRequest<'_>, candidates: usize) -> bool {
        let mut fits =
            |id: ScopeId, amount: &Amount| self.scope(id).is_none_or(|usage| usage.at_most_half(now, amount));
        let shared_amount = Amount::from(request.shared_demand);
        // Rows of one account stand behind one another, and ask the same.
        let asked = |at: usize| at > 0 && request.candidates[at - 1] == request.candidates[at];
        request.shared.iter().all(|id| fits(*id, &shared_amount))
            && request
                .candidates
                .iter()
                .take(candidates)
                .enumerate()
                .all(|(at, (id, demand))| asked(at) || fits(*id, &Amount::from(*demand)))
    }

    pub(super) fn reserve(&mut self, now: Moment, request: &ReserveRequest<'_>) -> Decision {
        let (shared, candidates) = (request.shared, request.candidates);
        let shared_amount = Amount::from(request.shared_demand);
        let mut granted = None;
        if shared.iter().all(|id| self.fits(now, *id, &shared_amount)) {
            granted = candidates.iter().position(|(id, demand)| self.fits(now, *id, &Amount::from(*demand)));
        }
        // Those after the one that grants decide nothing.
        let asked = granted.map_or(candidates.len(), |index| index + 1);
        if request.certainty == Certainty::UpperBound && !self.at_most_half(now, request, asked) {
            return Decision::CountFirst;
        }
        match granted {
            Some(index) => self.hold(request, index),
            None => self.refuse(now, request),
        }
    }

    /// Reserves at a candidate that is known to have room.
    pub(super) fn hold(&mut self, request: &ReserveRequest<'_>, index: usize) -> Decision {
        let shared = request.shared;
        let Some((own, demand)) = request.candidates.get(index).copied() else { return Decision::Until(None) };
        let shared_amount = Amount::from(request.shared_demand);
        let id = |attempt| ReservationId { request: request.request, attempt };
        let once = shared.iter().enumerate().filter(|(at, id)| !shared[..*at].contains(id)).map(|(_, id)| *id);
        let shared = (!shared.is_empty()).then(|| Reservation { id: id(None), entries: self.add(once, shared_amount) });
        let entries = self.add(std::iter::once(own), demand.into());
        Decision::Granted { index, shared, own: Reservation { id: id(Some(request.attempt)), entries } }
    }

    fn add(&mut self, scopes: impl Iterator<Item = ScopeId>, amount: Amount) -> Entries {
        let Self { scopes: all, reservations, touched, .. } = self;
        let mut entries = Entries::NONE;
        for id in scopes {
            touch(touched, id);
            let Some(usage) = all.get_mut(index(id)) else { continue };
            usage.add(&amount);
            for meter in (0_u32..).take(usage.meter_count()) {
                entries = reservations.open(id, meter, amount, entries);
            }
        }
        entries
    }

    /// Says when, or why never. Whatever can never be held anywhere is never; else the moment at which all shared
    /// scopes and one of the candidates have room.
    pub(super) fn refuse(&mut self, now: Moment, request: &ReserveRequest<'_>) -> Decision {
        let (shared, candidates) = (request.shared, request.candidates);
        let shared_amount = Amount::from(request.shared_demand);
        if let Some(excess) = shared.iter().find_map(|id| self.scope(*id)?.excess(&shared_amount)) {
            return Decision::Never(excess);
        }
        let mut earliest = None;
        let mut largest: Option<Excess> = None;
        let mut hopeless = !candidates.is_empty();
        for (id, demand) in candidates {
            let amount = Amount::from(*demand);
            let Some(usage) = self.scope(*id) else { continue };
            match usage.wait(now, &amount) {
                Wait::Never => {
                    let excess = usage.excess(&amount);
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
            let wait = self.scope(*id).map_or(Wait::Now, |usage| usage.wait(now, &shared_amount));
            earliest = match wait {
                Wait::Now => earliest,
                Wait::At(moment) => earliest.map(|other| other.max(moment)),
                Wait::Unknown | Wait::Never => None,
            };
        }
        Decision::Until(earliest)
    }

    /// What is known of when the provider counts it.
    pub(super) fn counted(&mut self, now: Moment, reservation: Entries, counted: Counted) {
        let Self { scopes, touched, .. } = self;
        self.reservations.each(reservation, |entry| {
            touch(touched, entry.scope);
            if let Some(usage) = scopes.get_mut(index(entry.scope)) {
                entry.placement = usage.stamp(entry.meter, now, counted, entry.placement, &entry.amount);
            }
        });
    }

    /// It is under way no more and not yet ended: what it keeps is without its places, so that its end gives back none.
    pub(super) fn leave(&mut self, reservation: Entries) {
        let Self { scopes, touched, .. } = self;
        self.reservations.each(reservation, |entry| {
            touch(touched, entry.scope);
            if let Some(usage) = scopes.get_mut(index(entry.scope)) {
                usage.leave(entry.meter, &entry.amount);
            }
            entry.amount = entry.amount.windowed();
        });
    }

    pub(super) fn end(&mut self, now: Moment, reservation: Entries, actual: Amount) {
        let Self { scopes, touched, .. } = self;
        self.reservations.close(reservation, |entry| {
            touch(touched, entry.scope);
            if let Some(usage) = scopes.get_mut(index(entry.scope)) {
                usage.end(entry.meter, now, entry.placement, &entry.amount, &actual);
            }
        });
    }

    /// Reservations under way.
    #[cfg(test)]
    pub(super) fn open_reservations(&self) -> usize {
        self.reservations.open_entries()
    }
}

fn touch(touched: &mut Option<BTreeSet<ScopeId>>, id: ScopeId) {
    if let Some(touched) = touched {
        touched.insert(id);
    }
}

const fn index(id: ScopeId) -> usize {
    id.0 as usize
}
