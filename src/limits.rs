//! Limits that hold: nothing is spent before it is reserved.
//!
//! One reservation is one step over the shared scopes (all must grant) and the ranked candidates (the first
//! that grants is taken). A reservation counts until one window after the provider must have counted it; once it is settled, what was
//! really used counts in its place.
//!
//! Nobody outside a provider knows when it counts a request: at any moment between our sending and its response
//! head. So a reservation counts without an end until it is sent, and for a whole window from when the provider must have read it: a
//! slack after its last byte ([`Limits::sent`]), and never later than the response head. No window of any alignment can see more than the limit, wherever in between each request was counted. What settles
//! before any of that counts from its settling. What settles above its reservation counts in full: it
//! was used, and makes the next ones wait.
//!
//! Configured limits are a ceiling. What a provider tells of its own limits and of what it has counted (`wire`) holds where it is
//! lower, or where it has counted more than we know of: then others use the same account.
//!
//! All scopes stand behind one mutex that is held for one look or one reservation, never across an await. Scopes are
//! resolved to a [`ScopeId`] once per snapshot, so that a request hashes and compares no names. Measured on two busy
//! cores: a request's whole cycle (reserve, answered, settle, with two shared scopes) takes 0.15 µs with up to 10
//! candidates and 0.45 µs with 100 of which 99 are full; reading usage and wait takes 20 ns per deployment. A scope takes 56 bytes for
//! each quarter of a second of its window in which it counted something; one that no configuration names any more, about 200 bytes
//! once it is idle.

mod counting;
mod dimension;
mod learned;
mod meter;
mod others;
mod reservations;
mod saved;
mod scope_usage;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod window;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::id::{DeploymentId, GroupName, KeyId, ProviderName, TeamId};
use crate::moment::Moment;
use crate::money::NanoUsd;

use meter::Counted;
use reservations::Entries;

pub use counting::{Counting, OutputCounting};
pub use dimension::{Dimension, PerDimension};
pub use learned::{Expected, Learned, LearnedBook, Observation, SavedLessons};
pub use others::{OthersCounted, OthersPart, OwnPart};
pub use saved::SavedLimits;
pub use state::Places;
pub use store::{Certainty, LimitStore, ReservationId, ReserveRequest, Reserving};
pub use window::WindowModel;
pub use wire::{LimitReport, News, Told};

/// Who a limit applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything that passes through this gateway.
    Global,
    /// One caller.
    Key(KeyId),
    /// All callers of a team.
    Team(TeamId),
    /// Every request with this tag.
    Tag(Arc<str>),
    /// One provider, whichever deployment is called.
    Provider(ProviderName),
    /// One group of deployments.
    Group(GroupName),
    /// One deployment.
    Deployment(DeploymentId),
    /// What several deployments share: one account's limits of one model.
    Quota(Arc<str>),
}

/// The limits of one scope, over one window or several: all of them hold.
#[derive(Clone, PartialEq)]
pub struct LimitSpec {
    /// What may be used within `window`, and under way at once; `None` is unlimited.
    pub limits: PerDimension<Option<u64>>,
    /// The window's length; LiteLLM's `token_usage_window`. Limits are per window, whatever its length.
    pub window: Duration,
    /// Other windows with limits of their own, such as a day beside the minute.
    pub others: Vec<(Duration, PerDimension<Option<u64>>)>,
    /// The share of each limit that is used, above 0 to 1. In-flight is not scaled.
    pub margin: f64,
    /// When the provider forgets what it counted.
    pub model: WindowModel,
    /// Of deployments: where their configuration keeps each one's limits. It is one for all that were read together, and another for what was
    /// read at another time, so that a scope is known by it that takes over what others counted.
    pub places: Option<Arc<Places>>,
}

impl fmt::Debug for LimitSpec {
    /// Nothing of other deployments: one is the same though a row beside it changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, window, others, margin, model, places: _ } = self;
        f.debug_struct("LimitSpec")
            .field("limits", limits)
            .field("window", window)
            .field("others", others)
            .field("margin", margin)
            .field("model", model)
            .finish()
    }
}

impl Default for LimitSpec {
    fn default() -> Self {
        Self {
            limits: PerDimension::default(),
            window: Duration::from_mins(1),
            others: Vec::new(),
            margin: 1.0,
            model: WindowModel::Sliding,
            places: None,
        }
    }
}

impl LimitSpec {
    /// The same with this limit.
    #[must_use]
    pub fn with(mut self, dimension: Dimension, limit: impl Into<Option<u64>>) -> Self {
        self.limits[dimension] = limit.into();
        self
    }

    /// Another window with these limits, where there are any: requests and tokens of every 24 hours.
    #[must_use]
    pub fn daily(requests: Option<u64>, tokens: Option<u64>) -> Vec<(Duration, PerDimension<Option<u64>>)> {
        let mut limits = PerDimension::default();
        limits[Dimension::Requests] = requests;
        limits[Dimension::Tokens] = tokens;
        requests.or(tokens).map(|_| (Duration::from_hours(24), limits)).into_iter().collect()
    }

    /// The lower of both limits in each dimension: several deployments share them. Windows that only the other has are added; the
    /// longer first window and the smaller margin hold.
    pub fn lower(&mut self, other: &Self) {
        let lower = |one: &mut PerDimension<Option<u64>>, other: &PerDimension<Option<u64>>| {
            *one = PerDimension::from_fn(|dimension| match (one[dimension], other[dimension]) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            });
        };
        self.window = self.window.max(other.window);
        self.margin = self.margin.min(other.margin);
        lower(&mut self.limits, &other.limits);
        self.places = self.places.take().or_else(|| other.places.clone());
        for (length, limits) in &other.others {
            match self.others.iter_mut().find(|(known, _)| known == length) {
                Some((_, known)) => lower(known, limits),
                None => self.others.push((*length, *limits)),
            }
        }
    }

    /// Whether tokens are limited in any window.
    #[must_use]
    pub fn limits_tokens(&self) -> bool {
        self.windows().any(|(_, limits)| Dimension::TOKENS.into_iter().any(|dimension| limits[dimension].is_some()))
    }

    /// Whether anything is limited in any window.
    #[must_use]
    pub fn limits_anything(&self) -> bool {
        self.windows().any(|(_, limits)| Dimension::ALL.into_iter().any(|dimension| limits[dimension].is_some()))
    }

    /// Every window, the first one first.
    fn windows(&self) -> impl Iterator<Item = (Duration, &PerDimension<Option<u64>>)> {
        let others = self.others.iter().map(|(length, limits)| (*length, limits));
        std::iter::once((self.window, &self.limits)).chain(others)
    }
}

/// What a request asks for: estimates before the call, real usage after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// What it costs; nothing where the price is unknown.
    pub cost: NanoUsd,
}

impl Demand {
    /// What it takes of each limit.
    #[must_use]
    pub fn amounts(self) -> PerDimension<u64> {
        self.into()
    }
}

/// A scope of one [`Limits`], resolved once. It stays valid as long as the `Limits` does, over every reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(u32);

/// A reservation under way. It is settled or refunded exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is neither settled nor refunded keeps its tokens until it expires"]
pub struct Reservation {
    id: ReservationId,
    /// Its first entry here.
    entries: Entries,
}

impl Reservation {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> ReservationId {
        self.id
    }

    /// What tells of it to whoever does not end it.
    #[must_use]
    pub const fn handle(&self) -> ReservationHandle {
        ReservationHandle { id: self.id, entries: self.entries }
    }
}

/// A reservation as it is known to those who cannot end it. After its end it tells nobody anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationHandle {
    id: ReservationId,
    entries: Entries,
}

impl ReservationHandle {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> ReservationId {
        self.id
    }
}

/// The answer to a reservation.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Reserved.
    Granted {
        /// Which candidate.
        index: usize,
        /// The part in the shared scopes, for the whole request. `None` on a retry.
        shared: Option<Reservation>,
        /// The part in the candidate's own scope, for this attempt.
        own: Reservation,
    },
    /// Not now. The earliest moment at which a bucket that is known to expire frees enough; `None` where
    /// it depends on requests still under way.
    Until(Option<Moment>),
    /// Not ever, at any candidate: larger than a whole limit.
    Never(Excess),
    /// It depends on how many tokens the request really has. Nothing is reserved.
    CountFirst,
    /// The store that several gateways share does not answer, and nothing is to be sent without it.
    Unreachable,
}

/// A request larger than a whole limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Whose limit.
    pub scope: Scope,
    /// Which limit.
    pub dimension: Dimension,
    /// The window it is for.
    pub window: Duration,
    /// What is usable of it, margin applied.
    pub limit: u64,
    /// What the request asks for.
    pub asked: u64,
}

/// When something may be held in one scope, if nothing but time changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// At once.
    Now,
    /// From this moment on, and not before.
    At(Moment),
    /// It depends on requests under way.
    Unknown,
    /// It is larger than a whole limit.
    Never,
}

/// What is held and was counted in one scope within its first window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By dimension; under way is what was reserved and neither left, settled nor refunded.
    pub amounts: PerDimension<u64>,
    /// What may still be held of each limit, margin applied, the tightest window counting. `None` is unlimited.
    pub free: PerDimension<Option<u64>>,
}

impl Index<Dimension> for Used {
    type Output = u64;

    fn index(&self, dimension: Dimension) -> &u64 {
        &self.amounts[dimension]
    }
}

impl Used {
    /// Tokens that may still be held, the tightest token limit counting. `None` is unlimited.
    #[must_use]
    pub fn tightest_tokens(&self) -> Option<u64> {
        Dimension::TOKENS.into_iter().filter_map(|dimension| self.free[dimension]).min()
    }
}

/// The limits of every scope, and what is used of them.
#[derive(Debug)]
pub struct Limits {
    state: Mutex<state::State>,
}

impl Limits {
    /// Limits under which nothing was used yet.
    #[must_use]
    pub fn new(specs: &BTreeMap<Scope, LimitSpec>) -> Self {
        let limits = Self { state: Mutex::default() };
        limits.apply(specs, Moment::default());
        limits
    }

    /// Other limits, as after a reload. Usage and reservations stay. Where a window's length changed, what still counted
    /// goes on counting; a longer window begins with what the shorter one still knew. What a deployment's scope counted goes on
    /// counting where its limits are kept from now on ([`LimitSpec::places`]). A scope without a spec is
    /// unlimited from now on, and its memory is given back once it is idle.
    pub fn apply(&self, specs: &BTreeMap<Scope, LimitSpec>, now: Moment) {
        self.lock().apply(specs, now);
    }

    /// Other limits of one scope, all others as they are; `None` is unlimited.
    pub fn restrict(&self, scope: &Scope, spec: Option<&LimitSpec>, now: Moment) -> ScopeId {
        let mut state = self.lock();
        let id = state.id(scope);
        state.restrict(id, spec, now);
        id
    }

    /// The handle of a scope. One that no spec names is unlimited, and counted all the same.
    pub fn id(&self, scope: &Scope) -> ScopeId {
        self.lock().id(scope)
    }

    /// Whose a handle is; `None` for one of another `Limits`.
    #[must_use]
    pub fn name(&self, scope: ScopeId) -> Option<Scope> {
        self.lock().scope(scope).map(|usage| usage.name().clone())
    }

    /// Reserves in one step: in all of the shared scopes and at the first candidate that grants; or nowhere.
    ///
    /// With an upper bound in the place of a count the answer may be [`Decision::CountFirst`]: below half of every token
    /// limit nothing is gained by counting.
    ///
    /// With no candidate at all the answer is `Until(None)`. A moment in `Until` is exact as long as nothing but time
    /// changes: ask again after every [`Limits::response_head`], [`Limits::leave`], [`Limits::settle`] and [`Limits::refund`].
    pub fn reserve(&self, now: Moment, request: &ReserveRequest<'_>) -> Decision {
        self.lock().reserve(now, request)
    }

    /// Its last byte was sent, and the provider must have read it `by` then: from there one window runs. Of a request that is sent
    /// again the later moment holds. One that ended already is passed over.
    pub fn sent(&self, now: Moment, reservation: ReservationHandle, by: Moment) {
        self.lock().counted(now, reservation.entries, Counted::By(by));
    }

    /// The head of the provider's response arrived: from here one window runs at the latest. A second call changes nothing.
    pub fn response_head(&self, now: Moment, reservation: &Reservation) {
        self.lock().counted(now, reservation.entries, Counted::Already);
    }

    /// [`Limits::sent`] of all that one request holds, under one lock.
    pub fn sent_together(&self, now: Moment, reservations: &[ReservationHandle], by: Moment) {
        let mut state = self.lock();
        for reservation in reservations {
            state.counted(now, reservation.entries, Counted::By(by));
        }
    }

    /// [`Limits::response_head`] of all that one request holds, under one lock.
    pub fn response_heads(&self, now: Moment, reservations: &[&Reservation]) {
        let mut state = self.lock();
        for reservation in reservations {
            state.counted(now, reservation.entries, Counted::Already);
        }
    }

    /// Nothing is under way of all that one request holds, and what it used is not known yet: its places of
    /// [`Dimension::InFlight`] are free at once, and all else stays reserved until it ends. A second call changes nothing.
    pub fn leave(&self, reservations: &[&Reservation]) {
        let mut state = self.lock();
        for reservation in reservations {
            state.leave(reservation.entries);
        }
    }

    /// Ends a reservation with what was really used; it counts where the reservation stood.
    #[expect(clippy::needless_pass_by_value, reason = "taking it is what makes a second ending impossible")]
    pub fn settle(&self, now: Moment, reservation: Reservation, actual: Demand) {
        self.lock().end(now, reservation.entries, actual.into());
    }

    /// Ends a reservation as if it had never been: the request was never sent, or the provider refused it.
    #[expect(clippy::needless_pass_by_value, reason = "taking it is what makes a second ending impossible")]
    pub fn refund(&self, now: Moment, reservation: Reservation) {
        self.lock().end(now, reservation.entries, PerDimension::default());
    }

    /// What is used of a scope.
    #[must_use]
    pub fn used(&self, now: Moment, scope: ScopeId) -> Used {
        self.read(now, |reading| reading.used(scope))
    }

    /// When this demand may be held in a scope.
    #[must_use]
    pub fn wait(&self, now: Moment, scope: ScopeId, demand: Demand) -> Wait {
        self.read(now, |reading| reading.wait(scope, demand))
    }

    /// Reads many scopes at one moment under one lock.
    pub fn read<R>(&self, now: Moment, look: impl FnOnce(&mut Reading<'_>) -> R) -> R {
        look(&mut Reading { state: self.lock(), now })
    }

    /// A panic elsewhere leaves sums that are at worst too large, so the state is used on.
    fn lock(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of all scopes at one moment.
pub struct Reading<'a> {
    state: MutexGuard<'a, state::State>,
    now: Moment,
}

impl Reading<'_> {
    /// What is used of a scope.
    #[must_use]
    pub fn used(&mut self, scope: ScopeId) -> Used {
        let now = self.now;
        self.state.scope(scope).map(|usage| usage.report(now)).unwrap_or_default()
    }

    /// When this demand may be held in a scope.
    #[must_use]
    pub fn wait(&mut self, scope: ScopeId, demand: Demand) -> Wait {
        let now = self.now;
        self.state.scope(scope).map_or(Wait::Now, |usage| usage.wait(now, &demand.into()))
    }
}
