//! Waiting for a limit: in order, packed, fair, bounded, woken at the exact instant.
//!
//! - *Order.* Lower priorities first. Within a priority callers share in tokens: each request is placed where its caller's earlier
//!   ones end, beginning with what was last served (start-time fair queueing), so that a caller with four requests does not wait for
//!   another's 256. Requests of one caller keep their order of arrival. Who could not wait any longer and comes back with the same
//!   request as soon as it was told to has its place still.
//! - *Packing.* Of the first 16 of a priority that want the same limits, the subset that uses most of what is free starts: first of
//!   those whose callers took less within the last minute, then of all. Who was often overtaken, and who is large, is worth a little more. Nobody is
//!   overtaken more than 24 times, or more than once by callers who were served more: then nobody behind starts before, where it can
//!   start first. Strict order (`strict`) starts none before the one in front.
//! - *Waking.* Nobody polls. One of those who wait attends for all: it sleeps until the moment that limits, breakers or budgets name, or until something
//!   ends or arrives, and calls those whose turn it is; each reserves for itself. When it leaves, another attends.
//!
//! Groups whose deployments share limits share a queue.

mod forecast;
mod kept;
mod line;
mod packing;
mod shares;
#[cfg(test)]
mod tests;
mod waiter;
mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use crate::clock::Clock;
use crate::health::Admission;
use crate::id::KeyId;
use crate::limits::{LimitStore, Limits, ScopeId};
use crate::moment::Moment;

use kept::{Asks, Kept, KeptPlaces};
use line::{Line, is_chosen};
use shares::Shares;
use waiter::Waiter;

pub use want::{Candidate, Want};

/// How many of those who want the same limits are looked at together.
const PACKED: usize = 16;
/// How often a request may be overtaken.
const MOST_OVERTAKEN: u32 = 24;
/// Against the square of how often it was overtaken, that what is free is filled: who may hardly be overtaken any more is worth a
/// twenty-eighth more than it takes, and is served where it fits before it must be first, which keeps all behind it waiting.
const WELL_PACKED: u64 = 16_384;
/// The largest of those that are looked at together is worth a fourteenth more than it takes, and smaller ones less more: small ones fit
/// later too. Of ten sets of 188 requests over one to four keys, an eighth less was left free.
const LARGE: u64 = WELL_PACKED / 14;
/// As so much counts being overtaken by a caller who was served more: packing must not undo what each one's share is.
const BY_THE_RICH: u32 = 24;
/// So much more a request is worth whose caller took less than others: more than all that could be packed beside it.
const POOR: u64 = 32;
/// Those behind so many are not looked at: enough to fill every limit.
const LOOKED_AT: usize = 4096;
/// No moment at all: what is waited for depends on requests under way.
const WHEN_SOMETHING_ENDS: Moment = Moment::from_nanos(u64::MAX);
/// How often those who operate it are told that requests wait.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The queue of one group, or of several that share limits. It survives reloads with its name.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// Held by whoever attends.
    attendant: Semaphore,
    /// Somebody came, left or could not start.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they are served.
    waiting: Vec<Waiter>,
    /// Those who count among the waiting and wait for something else.
    standing: usize,
    next: u64,
    /// What was served last: where callers who waited for nothing begin.
    served: u64,
    /// Where each caller's last request ends.
    ends: BTreeMap<KeyId, u64>,
    /// Tokens that each caller's requests took within the last minute.
    took: Shares,
    /// Places of those who may come back.
    kept: KeptPlaces,
    next_start: Option<Moment>,
    told: Option<Moment>,
}

/// What a newcomer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Somebody waits: it must queue with them.
    pub waited_for: bool,
    /// Places are kept for some who were sent away; it may be one of them.
    pub keeps: bool,
}

/// What is told of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueReport {
    /// Requests that wait.
    pub waiting: usize,
    /// Their tokens.
    pub tokens: u64,
    /// How long the oldest of them has waited.
    pub oldest: Duration,
    /// When the next can start at the latest, if nothing but time changes; `None` where it depends on requests under way.
    pub next_start: Option<Moment>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { state: Mutex::default(), attendant: Semaphore::new(1), changed: Notify::new() }
    }
}

/// A place in the queue; leaving it, served or not, makes room.
#[derive(Debug)]
pub struct Place<'a> {
    queue: &'a Queue,
    number: u64,
    signal: Arc<Notify>,
}

/// A place of somebody who waits for something else than limits.
#[derive(Debug)]
pub struct Standing<'a>(&'a Queue);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.lock().standing -= 1;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.lock().leave(self.number);
        // What it did not take is free for others.
        self.queue.changed.notify_one();
    }
}

impl Place<'_> {
    /// Completes when it is its turn: with the scope in which there is room for it.
    pub async fn called(&self) -> ScopeId {
        loop {
            let notified = self.signal.notified();
            if let Some(scope) = self.queue.lock().find(self.number).and_then(|waiter| waiter.called) {
                return scope;
            }
            notified.await;
        }
    }

    /// Leaves, and keeps the place until then for the same request of the same caller.
    pub fn keep(&self, now: Moment, until: Moment) {
        let mut state = self.queue.lock();
        let Some(waiter) = state.find(self.number) else { return };
        let asks = waiter.is_back().then(|| Asks::of(&waiter.want));
        let kept = Kept { asks, begins: waiter.begins, came: waiter.came, overtaken: waiter.overtaken, until };
        let whose = (waiter.want.caller.clone(), waiter.want.digest);
        state.kept.keep(whose, kept, now);
    }

    /// When it can start at the earliest, as far as it is known: once those before it have taken what the limits hold, window by
    /// window. `None` where that depends on requests under way alone. Those before may leave, and what they really use may be less.
    #[must_use]
    pub fn starts(&self, limits: &Limits, now: Moment) -> Option<Moment> {
        forecast::starts(&self.queue.lock(), limits, now, self.number, false)
    }

    /// When it will start, as far as it is known: those count too who are away and will come back to a place before it.
    #[must_use]
    pub fn will_start(&self, limits: &Limits, now: Moment) -> Option<Moment> {
        forecast::starts(&self.queue.lock(), limits, now, self.number, true)
    }

    /// It could not start when it was called: others had been faster. It is called again at this moment, or when something ends.
    pub fn missed(&self, again: Option<Moment>) {
        if let Some(waiter) = self.queue.lock().find(self.number) {
            waiter.called = None;
            waiter.not_before = Some(again.unwrap_or(WHEN_SOMETHING_ENDS));
        }
        self.queue.changed.notify_one();
    }

    /// Attends for all who wait, once nobody else does, and never ends.
    ///
    /// `missed`: it was called in vain, and so much had ended when it looked; who was called in vain is not called again before
    /// more ends.
    pub async fn attend(
        &self,
        store: &dyn LimitStore,
        capacity: &CapacityNotify,
        clock: Clock,
        strict: bool,
        missed: Option<u64>,
    ) {
        let (queue, limits) = (self.queue, store.local());
        let Ok(_attending) = queue.attendant.acquire().await else { return std::future::pending().await };
        let mut look_again = store.recheck().map(|every| clock.now() + every);
        let mut known = missed;
        let mut freed = false;
        loop {
            let ended = capacity.notified();
            tokio::pin!(ended);
            // Registered before the look, so that nothing freed in between goes unheard.
            ended.as_mut().enable();
            let count = capacity.count();
            freed |= known.replace(count) != Some(count);
            let now = clock.now();
            let next = queue.lock().call(now, limits, strict, freed);
            let wake = queue.lock().tell(now, next);
            let scopes = if look_again.is_some() { queue.lock().wanted() } else { Vec::new() };
            tokio::select! {
                biased;
                () = ended => freed = true,
                () = queue.changed.notified() => freed = false,
                () = clock.sleep_until(wake) => freed = false,
                // What other gateways gave back is told by nobody.
                news = refreshed(store, &scopes, clock, look_again) => {
                    freed = news;
                    look_again = store.recheck().map(|every| clock.now() + every);
                }
            }
        }
    }
}

/// Looks at `at` for what others gave back; never where there are none.
async fn refreshed(store: &dyn LimitStore, scopes: &[ScopeId], clock: Clock, at: Option<Moment>) -> bool {
    let Some(at) = at else { return std::future::pending().await };
    clock.sleep_until(at).await;
    store.refresh(scopes).await
}

impl Queue {
    /// What a newcomer has to know.
    #[must_use]
    pub fn look(&self, now: Moment) -> Look {
        let mut state = self.lock();
        Look { waited_for: !state.waiting.is_empty(), keeps: state.kept.any(now) }
    }

    /// The request came back and waits for nothing any more: its place is nobody's.
    pub fn give_up(&self, caller: &KeyId, digest: u64, now: Moment) {
        self.lock().kept.take(now, caller, digest);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.standing
    }

    /// Takes a place, unless `capacity` places are taken.
    #[must_use]
    pub fn join(&self, capacity: usize, want: Want, now: Moment) -> Option<Place<'_>> {
        let mut state = self.lock();
        if state.waiting.len() + state.standing >= capacity || state.is_crowded_by(&want, capacity) {
            return None;
        }
        let signal = Arc::new(Notify::new());
        let number = state.join(want, now, Arc::clone(&signal));
        drop(state);
        self.changed.notify_one();
        Some(Place { queue: self, number, signal })
    }

    /// A place that is kept for the request of somebody who did not even wait: it was known to come too late.
    pub fn keep(&self, caller: &KeyId, digest: u64, now: Moment, until: Moment) {
        let mut state = self.lock();
        // It may have been sent away before.
        let kept = state.kept.take(now, caller, digest).unwrap_or_else(|| {
            let begins = state.ends.get(caller).copied().unwrap_or(0).max(state.served);
            Kept { asks: None, begins, came: state.number(), overtaken: 0, until }
        });
        state.kept.keep((caller.clone(), digest), Kept { until, ..kept }, now);
    }

    /// Counts among those who wait, unless `capacity` places are taken.
    #[must_use]
    pub fn stand(&self, capacity: usize) -> Option<Standing<'_>> {
        let mut state = self.lock();
        if state.waiting.len() + state.standing >= capacity {
            return None;
        }
        state.standing += 1;
        Some(Standing(self))
    }

    /// How long it is until one of those who wait starts and leaves its place to another.
    #[must_use]
    pub fn next_place(&self, now: Moment) -> Duration {
        let next = self.lock().next_start;
        next.map_or(Duration::ZERO, |next| next.since(now)).max(Duration::from_secs(1))
    }

    /// A request started without waiting, and takes so many tokens: its caller's next one comes after those of others.
    pub fn passed(&self, now: Moment, caller: &KeyId, tokens: u64) {
        self.lock().took.took(now, caller, tokens);
    }

    /// Who waits, and how long.
    #[must_use]
    pub fn report(&self, now: Moment) -> QueueReport {
        self.lock().report(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, number: u64) -> Option<&mut Waiter> {
        self.waiting.iter_mut().find(|waiter| waiter.number == number)
    }

    fn join(&mut self, want: Want, since: Moment, signal: Arc<Notify>) -> u64 {
        let kept = self.kept.take(since, &want.caller, want.digest);
        let number = self.number();
        // Whoever comes back comes before those who came after it.
        let came = kept.as_ref().map_or(number, |kept| kept.came);
        let begins = kept.as_ref().map_or_else(
            || self.ends.get(&want.caller).copied().unwrap_or(0).max(self.served),
            // Where it was, and its caller's others behind it are where they are.
            |kept| kept.begins,
        );
        let ends = self.ends.entry(want.caller.clone()).or_default();
        *ends = (*ends).max(begins.saturating_add(want.size().max(1)));
        let key = (want.priority, begins, came);
        let place = self.waiting.partition_point(|one| (one.want.priority, one.begins, one.came) < key);
        let overtaken = kept.map_or(0, |kept| kept.overtaken);
        let (turn, ready, called, called_at, not_before) = (None, Vec::new(), None, since, None);
        let waiter =
            Waiter { number, came, want, since, begins, overtaken, turn, ready, called, called_at, not_before, signal };
        self.waiting.insert(place, waiter);
        number
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Whether somebody with limits of its own has half of the places already: it must not keep all others out.
    fn is_crowded_by(&self, want: &Want, capacity: usize) -> bool {
        let same = |waiter: &&Waiter| waiter.want.caller == want.caller;
        !want.own.is_empty() && self.waiting.iter().filter(same).count() >= capacity.div_ceil(2)
    }

    fn leave(&mut self, number: u64) {
        let Some(place) = self.waiting.iter().position(|waiter| waiter.number == number) else { return };
        let waiter = self.waiting.remove(place);
        if waiter.called.is_some() {
            self.served = self.served.max(waiter.begins);
            self.took.took(waiter.called_at, &waiter.want.caller, waiter.want.size());
        }
        if self.waiting.is_empty() {
            // Nobody has to wait for what was used while there was enough.
            (self.served, self.next_start, self.told) = (0, None, None);
            self.ends.clear();
            self.kept.begin_anew();
        }
    }

    /// Calls those whose turn it is. Returns when to look again, if nothing but time changes.
    fn call(&mut self, now: Moment, limits: &Limits, strict: bool, freed: bool) -> Option<Moment> {
        let held_off = |waiter: &Waiter| waiter.not_before.is_some_and(|until| until > now);
        if freed {
            self.waiting.iter_mut().for_each(|waiter| waiter.not_before = None);
        }
        let again = self.waiting.iter().filter(|waiter| held_off(waiter)).filter_map(|waiter| waiter.not_before);
        let mut next = again.filter(|again| *again < WHEN_SOMETHING_ENDS).min();
        self.took.forget(now);
        // Breakers and budgets have locks of their own, which are not taken under the limits'.
        for waiter in self.waiting.iter_mut().take(LOOKED_AT).filter(|waiter| waiter.called.is_none()) {
            let is_ready = |one: &&Candidate| {
                let Err(until) = one.may_start(now) else { return true };
                next = next.into_iter().chain(until).min();
                false
            };
            let ready = waiter.want.candidates.iter().filter(is_ready).map(|one| one.scope);
            waiter.ready = ready.collect();
        }
        limits.read(now, |reading| {
            for waiter in self.waiting.iter_mut().filter(|waiter| waiter.overtaken > 0 && waiter.ready.len() > 1) {
                let starts = waiter.ready.iter().map(|scope| (waiter.starts(reading, now, *scope), *scope));
                let known = starts.filter_map(|(start, scope)| Some((start?, scope)));
                waiter.turn = known.min_by_key(|(start, _)| *start).map(|(_, scope)| scope);
            }
            for scope in self.scopes() {
                let found = Line::gather(self, reading, now, scope, strict);
                let chosen = found.choose(self, reading, strict);
                self.start(&found, chosen, now);
                let waits = found.places.iter().filter_map(|place| self.waiting.get(*place));
                let waits = waits.filter(|waiter| waiter.called.is_none());
                next = waits.filter_map(|waiter| waiter.start(reading, now, scope)).chain(next).min();
            }
            // Those who wait for limits of their own stand in no line.
            for waiter in self.waiting.iter().filter(|waiter| waiter.called.is_none() && !waiter.want.own.is_empty()) {
                let starts = waiter.want.candidates.iter().filter_map(|one| waiter.start(reading, now, one.scope));
                next = starts.chain(next).min();
            }
            for waiter in self.waiting.iter_mut().filter(|waiter| waiter.called.is_none() && !held_off(waiter)) {
                if waiter.is_hopeless(reading) {
                    // It finds out itself why, and says so.
                    waiter.call(waiter.want.candidates.first().map(|one| one.scope), now);
                }
            }
        });
        self.next_start = next;
        next
    }

    /// The scopes that are waited for, in the order of those who wait.
    fn scopes(&self) -> Vec<ScopeId> {
        let mut scopes = Vec::new();
        for scope in self.waiting.iter().take(LOOKED_AT).flat_map(|waiter| &waiter.ready) {
            if !scopes.contains(scope) {
                scopes.push(*scope);
            }
        }
        scopes
    }

    /// Every scope in which one of those who wait must have room.
    fn wanted(&self) -> Vec<ScopeId> {
        let wants = self.waiting.iter().take(LOOKED_AT).map(|waiter| &waiter.want);
        let scopes = wants.flat_map(|want| {
            want.candidates.iter().map(|one| one.scope).chain(want.shared.iter().chain(&want.own).copied())
        });
        scopes.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Those who were chosen are called; those before them were overtaken.
    fn start(&mut self, line: &Line, chosen: u32, now: Moment) {
        let passed: Vec<u32> = (0..line.places.len()).map(|at| line.overtaking(self, chosen, at)).collect();
        for ((at, place), passed) in line.places.iter().enumerate().zip(passed) {
            let Some(waiter) = self.waiting.get_mut(*place) else { continue };
            if is_chosen(chosen, at) {
                waiter.call(Some(line.scope), now);
            } else if waiter.is_its_turn_in(line.scope) {
                waiter.overtaken += passed;
            }
        }
    }

    fn report(&self, now: Moment) -> QueueReport {
        let oldest = self.waiting.iter().map(|waiter| waiter.since).min();
        QueueReport {
            waiting: self.waiting.len() + self.standing,
            tokens: self.waiting.iter().map(|waiter| waiter.want.size()).sum(),
            oldest: oldest.map_or(Duration::ZERO, |since| now.since(since)),
            next_start: self.next_start,
        }
    }

    /// Every ten seconds a line for whoever operates it; returns when to wake at the latest.
    fn tell(&mut self, now: Moment, next: Option<Moment>) -> Moment {
        let told = *self.told.get_or_insert(now);
        let mut due = told + TELL_EVERY;
        if due <= now {
            self.told = Some(now);
            due = now + TELL_EVERY;
            let QueueReport { waiting, tokens, oldest, next_start } = self.report(now);
            let groups: BTreeSet<&str> = self.waiting.iter().map(|waiter| waiter.want.group.as_str()).collect();
            let next_start_s = next_start.map(|moment| moment.since(now).as_secs_f64());
            tracing::info!(
                ?groups,
                waiting,
                tokens,
                oldest_s = oldest.as_secs_f64(),
                next_start_s,
                "requests wait for a limit"
            );
        }
        next.map_or(due, |next| next.min(due))
    }
}

impl Candidate {
    /// Whether its breaker and budgets let it start now; else when they may, where time alone brings that.
    fn may_start(&self, now: Moment) -> Result<(), Option<Moment>> {
        match self.health.admission(now) {
            Admission::No { until } => Err(Some(until)),
            Admission::Yes | Admission::Probe => (self.affordable)(now),
        }
    }
}

/// Told whenever something under way ends or limits change: whoever attends a queue then looks again.
#[derive(Debug, Default)]
pub struct CapacityNotify(Notify, AtomicU64);

impl CapacityNotify {
    /// Capacity may have become free.
    pub fn notify(&self) {
        self.1.fetch_add(1, Ordering::Release);
        self.0.notify_waiters();
    }

    /// How often it may have.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.1.load(Ordering::Acquire)
    }

    /// Completes at the next [`CapacityNotify::notify`]; registered from the moment it is enabled or first polled.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.notified()
    }
}
