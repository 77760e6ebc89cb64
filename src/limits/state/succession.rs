//! What becomes of what was counted where a configuration keeps a deployment's limits in another scope than the one before: a row that
//! had them alone shares them with a new one, a `quota:` is named or given up. Its provider goes on counting.
//!
//! The new scope takes the place of the old one under another name, with all that is counted and reserved there, and requests that began
//! before reserve there too. Where several come together, or one is divided, a place cannot be two scopes': what the others counted is
//! copied, and what is under way there counts as if it had been counted now, as it does after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{State, index};
use crate::id::DeploymentId;
use crate::limits::dimension::Amount;
use crate::limits::scope_usage::ScopeUsage;
use crate::limits::{LimitSpec, Scope, ScopeId};
use crate::moment::Moment;

/// Where a configuration keeps the limits of each of its deployments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places(pub(in crate::limits) BTreeMap<DeploymentId, Scope>);

impl FromIterator<(DeploymentId, Scope)> for Places {
    fn from_iter<I: IntoIterator<Item = (DeploymentId, Scope)>>(places: I) -> Self {
        Self(places.into_iter().collect())
    }
}

/// A window's length, and what counts in it.
type Counted = (Duration, Vec<(Moment, Amount)>);

impl State {
    /// Whether it is of a configuration that was in force before, by what was told then: its limits hold on for those who began under it.
    pub(super) fn is_gone(&self, spec: &LimitSpec, told_before: &[Arc<Places>]) -> bool {
        let is_old = |places: &Arc<Places>| {
            !Arc::ptr_eq(places, &self.places) && told_before.iter().any(|known| Arc::ptr_eq(known, places))
        };
        spec.places.as_ref().is_some_and(is_old)
    }

    /// Takes the places of scopes over that deployments have left. Returns of which scope's counts a copy is to be made in which other, once
    /// the limits are set.
    pub(super) fn take_over(&mut self, specs: &BTreeMap<Scope, LimitSpec>) -> Vec<(ScopeId, ScopeId)> {
        let mut told: Vec<Arc<Places>> = Vec::new();
        for places in specs.values().filter_map(|spec| spec.places.as_ref()) {
            if !told.iter().any(|one| Arc::ptr_eq(one, places)) {
                told.push(Arc::clone(places));
            }
        }
        // The others are of scopes that went before.
        let new = told.iter().find(|places| !self.told_places.iter().any(|known| Arc::ptr_eq(known, places)));
        let new = new.cloned();
        self.told_places = told;
        let Some(after) = new else { return Vec::new() };
        let before = std::mem::replace(&mut self.places, Arc::clone(&after));
        let known: BTreeSet<&Scope> = before.0.values().collect();
        let stay = after.0.values().filter(|scope| known.contains(scope));
        let mut taken: BTreeSet<ScopeId> = stay.filter_map(|scope| self.ids.get(scope).copied()).collect();
        let mut moves: BTreeMap<&Scope, BTreeSet<ScopeId>> = BTreeMap::new();
        for (deployment, to) in &after.0 {
            let from = before.0.get(deployment).filter(|from| *from != to && specs.contains_key(to));
            if let Some(id) = from.and_then(|from| self.ids.get(from)) {
                moves.entry(to).or_default().insert(*id);
            }
        }
        let mut copies = Vec::new();
        for (to, from) in moves {
            let own = self.ids.get(to).copied().filter(|_| known.contains(&to));
            let place = own.unwrap_or_else(|| self.place(to, &from, &mut taken));
            copies.extend(from.into_iter().filter(|id| *id != place).map(|id| (id, place)));
        }
        copies
    }

    /// The place that a new scope takes: the first of these that nobody has, or one of its own.
    fn place(&mut self, to: &Scope, from: &BTreeSet<ScopeId>, taken: &mut BTreeSet<ScopeId>) -> ScopeId {
        // What it was long ago is known by its id to those who began then.
        self.ids.remove(to);
        let left = from.iter().copied().find(|id| !taken.contains(id));
        if let Some(usage) = left.and_then(|place| self.scopes.get_mut(index(place))) {
            self.ids.remove(usage.name());
            usage.rename(to.clone());
        }
        self.ids.extend(left.map(|place| (to.clone(), place)));
        let place = self.id(to);
        taken.insert(place);
        place
    }

    /// Counts in the second of each pair what counts in the first.
    pub(super) fn copy(&mut self, copies: Vec<(ScopeId, ScopeId)>, now: Moment) {
        let counted: Vec<Option<Vec<Counted>>> =
            copies.iter().map(|(from, _)| self.scope(*from).map(|usage| usage.counted(now))).collect();
        for ((_, to), counted) in copies.into_iter().zip(counted) {
            if let (Some(usage), Some(counted)) = (self.scope(to), counted) {
                usage.count(now, &counted);
            }
        }
    }

    /// Where goes on what an earlier process counted in a scope, in which it kept the limits of these deployments; `None` where it did not
    /// say.
    pub(in crate::limits) fn heirs(&mut self, scope: &Scope, deployments: Option<&[String]>) -> BTreeSet<ScopeId> {
        let places = Arc::clone(&self.places);
        let mut heirs: BTreeSet<&Scope> = match (deployments, scope) {
            (Some(deployments), _) => deployments.iter().filter_map(|id| places.0.get(id.as_str())).collect(),
            (None, Scope::Deployment(id)) => places.0.get(id).into_iter().collect(),
            (None, _) => BTreeSet::new(),
        };
        if heirs.is_empty() || self.ids.contains_key(scope) {
            heirs.insert(scope);
        }
        heirs.into_iter().map(|scope| self.id(scope)).collect()
    }
}

impl ScopeUsage {
    /// What counts in each window; what is under way counts now.
    fn counted(&mut self, now: Moment) -> Vec<Counted> {
        let windows = self.meters().map(|meter| {
            // Forgets what is too old.
            meter.own_used(now);
            let mut counted: Vec<(Moment, Amount)> = meter.window().counted().collect();
            let open = meter.open().windowed();
            if !open.is_nothing() {
                counted.push((now, open));
            }
            (meter.length(), counted)
        });
        windows.collect()
    }

    /// Counts what counted elsewhere, in the window of the same length, or else of the same place.
    fn count(&mut self, now: Moment, windows: &[Counted]) {
        for (number, meter) in self.meters().enumerate() {
            let same = windows.iter().find(|(length, _)| *length == meter.length()).or_else(|| windows.get(number));
            for (at, amount) in same.into_iter().flat_map(|(_, counted)| counted) {
                meter.restore(*at, now, amount);
            }
        }
    }
}
