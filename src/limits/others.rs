//! What other gateways use of the same limits, as a store that all of them share told it last (`shared_limits`).
//!
//! It stands beside what this process uses itself and is never mixed with it: each gateway tells the store its own part alone, as it
//! stands, so that a part that is told twice counts once. While the store is out of reach each takes its share of every limit beside what
//! the others are known to have used.

use std::time::Duration;

use super::dimension::{Amount, Bounds, Dimension, PerDimension};
use super::meter::Meter;
use super::window::{Window, WindowModel};
use super::{Decision, Limits, ReserveRequest, Scope, ScopeId};
use crate::moment::Moment;

/// What others use in one window.
#[derive(Debug)]
pub(super) struct Others {
    pub(super) window: Window,
    pub(super) open: Amount,
    /// Among how many gateways the limit is divided; 1: the store decides.
    among: u64,
}

/// One window of one scope and what this process uses in it.
#[derive(Clone, Debug)]
pub struct OwnPart {
    /// Whose.
    pub scope: ScopeId,
    /// Which of the scope's windows.
    pub meter: u32,
    /// The same in every gateway: the scope's kind and name, the length, the kind of window.
    pub name: String,
    /// The window's length.
    pub length: Duration,
    /// Whether all of it is forgotten at whole multiples of its length. (A token bucket is shared as a sliding window, which admits less.)
    pub fixed: bool,
    /// The limits that hold.
    pub limits: PerDimension<Option<u64>>,
    /// Reserved by requests of which nobody knows when the provider counts them, and requests under way.
    pub open: PerDimension<u64>,
    /// What counts, and the youngest moment of its slice; empty where it was not asked for.
    pub counted: Vec<(Moment, PerDimension<u64>)>,
}

/// What others use in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct OthersPart {
    /// Reserved by requests of which nobody knows when the provider counts them, and requests under way.
    pub open: PerDimension<u64>,
    /// What counts.
    pub counted: OthersCounted,
}

/// What counts of others.
#[derive(Clone, Debug, PartialEq)]
pub enum OthersCounted {
    /// All together: what came since the last look is taken to be new.
    Total(PerDimension<u64>),
    /// Each amount, and since when.
    Since(Vec<(Moment, PerDimension<u64>)>),
}

impl Others {
    pub(super) fn new(length: Duration, model: WindowModel) -> Self {
        let model = if model == WindowModel::TokenBucket { WindowModel::Sliding } else { model };
        Self { window: Window::new(length, model), open: Amount::default(), among: 1 }
    }

    pub(super) fn used(&mut self, now: Moment) -> Amount {
        self.window.advance(now);
        self.window.total().plus(&self.open)
    }

    /// What must come free of this process's own part before it fits into its share.
    pub(super) fn missing(&self, bounds: &Bounds, own: &Amount, amount: &Amount) -> Amount {
        // One that is larger than a share would never start: it may where nothing else of ours counts.
        if self.among <= 1 || own.is_nothing() {
            Amount::default()
        } else {
            bounds.shared(self.among).missing(own, amount)
        }
    }

    fn set(&mut self, now: Moment, part: &OthersPart) -> bool {
        self.window.advance(now);
        let before = self.window.total().plus(&self.open);
        self.open = part.open;
        match &part.counted {
            OthersCounted::Total(total) => {
                let known = self.window.total();
                self.window.reduce(&known.minus(total));
                let new = total.minus(&known).windowed();
                if !new.is_nothing() {
                    self.window.add(now, &new);
                }
            }
            OthersCounted::Since(counted) => {
                self.window.reduce(&self.window.total());
                for (at, amount) in counted {
                    self.window.restore(*at, now, &amount.windowed());
                }
            }
        }
        before != self.window.total().plus(&self.open)
    }

    /// Nobody tells of the others any more: what is under way there counts from now on.
    fn cut_off(&mut self, now: Moment, among: u64) {
        self.among = among;
        self.window.advance(now);
        let open = std::mem::take(&mut self.open).windowed();
        if !open.is_nothing() {
            self.window.add(now, &open);
        }
    }
}

impl Meter {
    /// Whether it limits anything.
    pub(super) fn is_limited(&self) -> bool {
        *self.bounds() != Bounds::UNLIMITED
    }

    fn own_part(&mut self, now: Moment, scope: (&Scope, ScopeId), number: u32, counted: bool) -> OwnPart {
        self.own_used(now);
        let (kind, name) = super::saved::written(scope.0);
        let fixed = self.window().model() == WindowModel::Fixed;
        OwnPart {
            scope: scope.1,
            meter: number,
            name: format!("{kind}:{name}:{}{}", self.length().as_nanos(), if fixed { ":fixed" } else { "" }),
            length: self.length(),
            fixed,
            limits: PerDimension::from_fn(|dimension| self.bounds().limit(dimension)),
            open: *self.open(),
            counted: if counted { self.window().counted().collect() } else { Vec::new() },
        }
    }
}

impl Bounds {
    /// One share of many; never nothing, which would refuse everything.
    fn shared(&self, among: u64) -> Self {
        Self::of(&PerDimension::from_fn(|dimension: Dimension| {
            self.limit(dimension).map(|limit| (limit / among).max(limit.min(1)))
        }))
    }
}

impl Limits {
    /// From now on scopes in which something changes are remembered, for whoever tells others of it. `gateway` is the name under which that
    /// is told: it is saved with what was counted.
    pub fn share(&self, gateway: &str) {
        let mut state = self.lock();
        state.touched = Some(state.named().map(|(_, id)| id).collect());
        state.gateway = Some(gateway.into());
    }

    /// The name of the process that saved what this one began with.
    #[must_use]
    pub fn predecessor(&self) -> Option<String> {
        self.lock().predecessor.clone()
    }

    /// The scopes in which something changed since this was asked last.
    pub fn take_touched(&self) -> Vec<ScopeId> {
        let mut state = self.lock();
        state.touched.as_mut().map(|touched| std::mem::take(touched).into_iter().collect()).unwrap_or_default()
    }

    /// Every scope.
    #[must_use]
    pub fn scopes(&self) -> Vec<ScopeId> {
        self.lock().named().map(|(_, id)| id).collect()
    }

    /// Whether any limit could keep this request from starting.
    #[must_use]
    pub fn limit_any(&self, request: &ReserveRequest<'_>) -> bool {
        let mut state = self.lock();
        let candidates = request.candidates.iter().map(|(id, _)| id);
        request.shared.iter().chain(candidates).any(|id| state.scope(*id).is_some_and(|usage| usage.is_limited()))
    }

    /// What this process uses of these scopes, as far as they are limited; with `counted` slice by slice.
    #[must_use]
    pub fn own_parts(&self, now: Moment, scopes: &[ScopeId], counted: bool) -> Vec<OwnPart> {
        let mut state = self.lock();
        let mut parts = Vec::new();
        for id in scopes {
            let Some(usage) = state.scope(*id) else { continue };
            let scope = usage.name().clone();
            for (number, meter) in (0_u32..).zip(usage.meters()).filter(|(_, meter)| meter.is_limited()) {
                parts.push(meter.own_part(now, (&scope, *id), number, counted));
            }
        }
        parts
    }

    /// What others use of one window of a scope. Returns whether that is news.
    pub fn others_use(&self, now: Moment, scope: ScopeId, meter: u32, part: &OthersPart) -> bool {
        let mut state = self.lock();
        let meter = state.scope(scope).and_then(|usage| usage.meter(meter));
        meter.is_some_and(|meter| meter.others().set(now, part))
    }

    /// The store is out of reach: every limit is divided among so many gateways.
    pub fn divide(&self, now: Moment, among: u64) {
        self.lock().each_meter(|meter| {
            if among > 1 || meter.has_others() {
                meter.others().cut_off(now, among);
            }
        });
    }

    /// The store decides again.
    pub fn reunite(&self) {
        self.lock().each_meter(|meter| {
            if meter.has_others() {
                meter.others().among = 1;
            }
        });
    }

    /// Reserves what the store has granted at the candidate `index`, whatever is thought here of what is free.
    pub fn hold(&self, request: &ReserveRequest<'_>, index: usize) -> Decision {
        self.lock().hold(request, index)
    }

    /// Why, and until when, the store cannot have granted a request, as far as it is known here.
    #[must_use]
    pub fn refusal(&self, now: Moment, request: &ReserveRequest<'_>) -> Decision {
        self.lock().refuse(now, request)
    }

    /// Whether every token limit would stay at or below half, as far as it is known here.
    #[must_use]
    pub fn at_most_half(&self, now: Moment, request: &ReserveRequest<'_>) -> bool {
        self.lock().at_most_half(now, request, request.candidates.len())
    }
}
