//! The teams that are kept, in memory. A team of the configuration stands above a kept one of the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::budgets::{BudgetId, Budgets, Change};
use crate::id::TeamId;
use crate::limits::{LimitSpec, Limits, Scope, ScopeId};
use crate::moment::Moment;
use crate::virtual_key::KeptTeam;

/// A kept team with its limits and its budget in force.
#[derive(Clone, Debug)]
pub struct KnownTeam {
    /// What it may do.
    pub team: Arc<KeptTeam>,
    /// Its limits, where it has any.
    pub scope: Option<ScopeId>,
    /// Its budget.
    pub budgets: Vec<BudgetId>,
}

type Known = BTreeMap<TeamId, KnownTeam>;

#[derive(Debug, Default)]
struct Sources {
    configured: BTreeSet<TeamId>,
    kept: BTreeMap<TeamId, Arc<KeptTeam>>,
}

/// Every kept team.
#[derive(Debug)]
pub struct TeamBook {
    /// Those in force: read without a lock.
    known: ArcSwap<Known>,
    /// Held by whoever changes teams.
    sources: Mutex<Sources>,
    limits: Arc<Limits>,
    budgets: Arc<Budgets>,
}

impl TeamBook {
    pub(super) fn new(limits: Arc<Limits>, budgets: Arc<Budgets>) -> Self {
        Self { known: ArcSwap::default(), sources: Mutex::default(), limits, budgets }
    }

    /// The kept team of this name, unless the configuration has one.
    #[must_use]
    pub fn get(&self, id: &TeamId) -> Option<KnownTeam> {
        self.known.load().get(id).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<KnownTeam> {
        self.known.load().values().cloned().collect()
    }

    /// The teams that the configuration has from now on; [`TeamBook::renew`] puts it in force. Returns the limits of the kept ones that
    /// are none of these.
    pub(super) fn configure(&self, configured: BTreeSet<TeamId>) -> Vec<(Scope, LimitSpec)> {
        let mut sources = self.lock();
        sources.configured = configured;
        sources.in_force().filter_map(|team| Some((team.scope(), team.allowance.limits()?))).collect()
    }

    /// Puts those in force that are kept. Blocks: spend may be read.
    pub(super) fn renew(&self, now: Moment) {
        let (change, sources) = (self.budgets.change(), self.lock());
        let known = sources.in_force().map(|team| (team.team_id(), self.known(&change, now, team)));
        let known = Arc::new(known.collect());
        change.read();
        self.known.store(known);
    }

    /// The teams that are kept are these. Says whether they are other than they were. Blocks, as renewing them does.
    pub(super) fn load(&self, now: impl Fn() -> Moment, kept: Vec<KeptTeam>) -> bool {
        let kept: BTreeMap<_, _> = kept.into_iter().map(|team| (team.team_id(), Arc::new(team))).collect();
        let before = {
            let mut sources = self.lock();
            if sources.kept == kept {
                return false;
            }
            std::mem::replace(&mut sources.kept, kept.clone())
        };
        let now = now();
        self.renew(now);
        for gone in before.keys().filter(|id| !kept.contains_key(*id)) {
            self.remove(now, gone);
        }
        true
    }

    /// A kept team is new, or other than it was. Blocks, as renewing them does.
    pub fn put(&self, now: Moment, team: KeptTeam) {
        let (change, mut sources) = (self.budgets.change(), self.lock());
        let (id, team) = (team.team_id(), Arc::new(team));
        sources.kept.insert(id.clone(), Arc::clone(&team));
        if sources.configured.contains(&id) {
            return;
        }
        let mut known = Known::clone(&self.known.load());
        known.insert(id, self.known(&change, now, &team));
        change.read();
        self.known.store(Arc::new(known));
    }

    /// A kept team is no more.
    pub fn remove(&self, now: Moment, id: &TeamId) {
        let mut sources = self.lock();
        sources.kept.remove(id);
        if sources.configured.contains(id) {
            return;
        }
        let mut known = Known::clone(&self.known.load());
        known.remove(id);
        self.known.store(Arc::new(known));
        let scope = Scope::Team(id.clone());
        self.budgets.set(now, &scope, &[]);
        self.limits.restrict(&scope, None, now);
    }

    fn known(&self, change: &Change<'_>, now: Moment, team: &Arc<KeptTeam>) -> KnownTeam {
        let scope = team.scope();
        let limits = team.allowance.limits();
        let had = self.get(&team.team_id()).is_some_and(|before| before.scope.is_some());
        let restricted = (limits.is_some() || had).then(|| self.limits.restrict(&scope, limits.as_ref(), now));
        KnownTeam {
            team: Arc::clone(team),
            scope: restricted.filter(|_| limits.is_some()),
            budgets: change.set(now, &scope, &[team.budget()]),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    fn in_force(&self) -> impl Iterator<Item = &Arc<KeptTeam>> {
        self.kept.iter().filter(|(id, _)| !self.configured.contains(*id)).map(|(_, team)| team)
    }
}
