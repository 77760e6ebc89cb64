//! The limits of one scope over one length of window, and what is used of them.
//!
//! The configured limits are a ceiling; what the provider tells of its own (`wire`) holds where it is lower.

use std::time::Duration;

use super::Wait;
use super::dimension::{Amount, Bounds, Dimension};
use super::others::Others;
use super::window::{Placement, Window, WindowModel};
use crate::moment::Moment;

/// One window of one scope.
#[derive(Debug)]
pub(super) struct Meter {
    /// What holds: the lower of the two below.
    bounds: Bounds,
    configured: Bounds,
    wire: Bounds,
    length: Duration,
    /// When the provider forgets, as it is configured.
    model: WindowModel,
    /// It has refused what that lets in: it is taken to forget as slowly as any.
    contradicted: bool,
    window: Window,
    /// Reserved by requests of which nobody knows when the provider counts them: outside the window. And the requests in flight,
    /// wherever they stand.
    open: Amount,
    /// What other gateways use of it, where a store is shared with any.
    others: Option<Box<Others>>,
    /// When its provider last refused a request for what others had used.
    refused: Option<Moment>,
}

/// So many windows without such a refusal, and the others are taken to have gone.
const SELDOM: u32 = 5;

/// What is known of the moment at which a provider counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It has read it by then. Said again, the later one holds: it was sent again.
    By(Moment),
    /// It has counted it: its answer is here.
    Already,
}

impl Meter {
    pub(super) fn new(length: Duration, model: WindowModel, configured: Bounds) -> Self {
        let mut window = Window::new(length, model);
        window.drain_by(&configured);
        let (wire, open) = (Bounds::UNLIMITED, Amount::default());
        Self {
            bounds: configured,
            configured,
            wire,
            length,
            model,
            contradicted: false,
            window,
            open,
            others: None,
            refused: None,
        }
    }

    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) const fn configured(&self) -> &Bounds {
        &self.configured
    }

    /// What the provider told.
    pub(super) const fn wire(&self) -> &Bounds {
        &self.wire
    }

    /// Whether the provider has shown that it forgets later than is configured.
    pub(super) const fn is_contradicted(&self) -> bool {
        self.contradicted
    }

    pub(super) const fn length(&self) -> Duration {
        self.length
    }

    pub(super) const fn window(&self) -> &Window {
        &self.window
    }

    pub(super) const fn open(&self) -> &Amount {
        &self.open
    }

    fn bound(&mut self) {
        self.bounds = self.configured.lower(&self.wire);
        self.window.drain_by(&self.bounds);
    }

    /// Other limits. The window is returned as it was where its length or kind changed.
    pub(super) fn restrict(
        &mut self,
        length: Duration,
        model: WindowModel,
        configured: Bounds,
        now: Moment,
    ) -> Option<Window> {
        self.configured = configured;
        self.contradicted &= (self.length, self.model) == (length, model);
        (self.length, self.model) = (length, model);
        let model = if self.contradicted { WindowModel::Sliding } else { model };
        self.window.advance(now);
        let before = (!self.window.is(length, model)).then(|| {
            let resized = self.window.resized(length, model, now);
            if let Some(others) = &mut self.others {
                others.window = others.window.resized(length, others.window.model(), now);
            }
            std::mem::replace(&mut self.window, resized)
        });
        self.bound();
        before
    }

    /// The provider refused what the configured kind of window lets in. From here on its window slides, which lets in nothing that
    /// another kind would not; it is returned as it was, unless it slides already.
    pub(super) fn contradict(&mut self, now: Moment) -> Option<Window> {
        if self.window.model() == WindowModel::Sliding {
            return None;
        }
        self.contradicted = true;
        self.restrict(self.length, self.model, self.configured, now)
    }

    /// No configured limits any more.
    pub(super) fn release(&mut self, now: Moment) {
        self.configured = Bounds::UNLIMITED;
        self.bound();
        self.window.advance(now);
        self.window.shrink();
    }

    /// The provider tells its limit of a dimension.
    pub(super) fn told(&mut self, dimension: Dimension, limit: u64) {
        if self.wire.limit(dimension) != Some(limit) {
            self.wire.set(dimension, limit);
            self.bound();
        }
    }

    /// Its provider refuses a request for what others have used. Says whether that is the first time in a while.
    pub(super) fn is_refused_seldom(&mut self, now: Moment) -> bool {
        let before = self.refused.replace(now);
        before.is_none_or(|before| now.since(before) > self.length * SELDOM)
    }

    /// The provider has counted so much more than we know of: others use the same account. It counts until the provider said that it
    /// would be gone, and no longer than a window, as if it had just been used.
    pub(super) fn used_by_others(&mut self, now: Moment, dimension: Dimension, amount: u64, gone_in: Option<Duration>) {
        self.window.advance(now);
        let mut others = Amount::default();
        others[dimension] = amount;
        if let Some(gone_in) = gone_in.filter(|gone_in| *gone_in < self.length) {
            self.window.add_until(now, now + gone_in, &others);
        } else {
            self.window.add(now, &others);
        }
    }

    /// What is held and was counted within the window.
    #[inline]
    pub(super) fn used(&mut self, now: Moment) -> Amount {
        let own = self.own_used(now);
        match &mut self.others {
            None => own,
            Some(others) => own.plus(&others.used(now)),
        }
    }

    /// The same by this process alone.
    #[inline]
    pub(super) fn own_used(&mut self, now: Moment) -> Amount {
        self.window.advance(now);
        self.window.total().plus(&self.open)
    }

    /// What others use of it.
    pub(super) fn others(&mut self) -> &mut Others {
        self.others.get_or_insert_with(|| Box::new(Others::new(self.length, self.window.model())))
    }

    pub(super) const fn has_others(&self) -> bool {
        self.others.is_some()
    }

    /// What must come free of this process's own part first.
    fn missing_of_share(&mut self, now: Moment, amount: &Amount) -> Amount {
        let own = self.own_used(now);
        self.others.as_ref().map_or_else(Amount::default, |others| others.missing(&self.bounds, &own, amount))
    }

    #[inline]
    pub(super) fn fits(&mut self, now: Moment, amount: &Amount) -> bool {
        if self.others.is_none() {
            // Nearly always.
            let used = self.own_used(now);
            return self.bounds.admit(&used, amount);
        }
        let used = self.used(now);
        self.bounds.admit(&used, amount) && self.missing_of_share(now, amount).is_nothing()
    }

    pub(super) fn at_most_half(&mut self, now: Moment, amount: &Amount) -> bool {
        let after = self.used(now).plus(amount);
        Dimension::TOKENS
            .into_iter()
            .all(|dimension| self.bounds.limit(dimension).is_none_or(|limit| after[dimension] <= limit / 2))
    }

    pub(super) fn wait(&mut self, now: Moment, amount: &Amount) -> Wait {
        if !self.bounds.admit(&Amount::default(), amount) {
            return Wait::Never;
        }
        let used = self.used(now);
        let missing = self.bounds.missing(&used, amount);
        if self.others.is_some() {
            return self.wait_beside_others(now, &missing, amount);
        }
        if missing.is_nothing() {
            return Wait::Now;
        }
        self.window.free_at(&missing).map_or(Wait::Unknown, Wait::At)
    }

    fn wait_beside_others(&mut self, now: Moment, missing: &Amount, amount: &Amount) -> Wait {
        let of_share = self.missing_of_share(now, amount);
        let free = |missing: &Amount, windows: &[&Window]| {
            if missing.is_nothing() {
                return Some(now);
            }
            let mut expiries: Vec<_> = windows.iter().flat_map(|window| window.expiries()).collect();
            expiries.sort_by_key(|(moment, _)| *moment);
            let mut freed = Amount::default();
            expiries.into_iter().find_map(|(moment, amount)| {
                freed = freed.plus(&amount);
                freed.covers(missing).then_some(moment)
            })
        };
        let others = self.others.as_ref().map(|others| &others.window);
        let windows: Vec<&Window> = std::iter::once(&self.window).chain(others).collect();
        match (free(missing, &windows), free(&of_share, &windows[..1])) {
            (Some(one), Some(other)) if one.max(other) <= now => Wait::Now,
            (Some(one), Some(other)) => Wait::At(one.max(other)),
            _ => Wait::Unknown,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, amount: &Amount) {
        self.open = self.open.plus(amount);
    }

    /// Moves a held amount to where it counts.
    pub(super) fn stamp(&mut self, now: Moment, counted: Counted, placement: Placement, held: &Amount) -> Placement {
        self.window.advance(now);
        let at = match counted {
            Counted::By(at) => at,
            Counted::Already => now,
        };
        match placement {
            Placement::Open => self.open = self.open.minus(&held.windowed()),
            Placement::At(slice) => {
                let moves = match counted {
                    Counted::By(at) => self.window.is_after(at, slice),
                    Counted::Already => self.window.is_ahead(slice),
                };
                if !moves {
                    self.window.counts_from(at);
                    return placement;
                }
                self.window.edit(slice, &held.windowed(), &Amount::default());
            }
            // It expired, and is sent again: a request that takes longer than its window.
            Placement::Gone if counted == Counted::Already => return Placement::Gone,
            Placement::Gone => {}
        }
        self.window.add(at, &held.windowed())
    }

    /// Gives back the places of a held amount, which no window counts.
    pub(super) fn leave(&mut self, held: &Amount) {
        self.open.less_under_way(held);
    }

    pub(super) fn end(&mut self, now: Moment, placement: Placement, held: &Amount, actual: &Amount) {
        self.window.advance(now);
        let actual = actual.windowed();
        match placement {
            Placement::Gone => self.open.less_under_way(held),
            Placement::At(slice) if self.window.is_ahead(slice) => {
                self.open.less_under_way(held);
                self.window.edit(slice, &held.windowed(), &Amount::default());
                if !actual.is_nothing() {
                    self.window.add(now, &actual);
                }
            }
            Placement::At(slice) => {
                self.open.less_under_way(held);
                self.window.edit(slice, &held.windowed(), &actual);
            }
            Placement::Open => {
                self.open = self.open.minus(held);
                if !actual.is_nothing() {
                    self.window.add(now, &actual);
                }
            }
        }
    }

    /// Counts what was counted before a restart.
    pub(super) fn restore(&mut self, at: Moment, now: Moment, amount: &Amount) {
        self.window.restore(at, now, &amount.windowed());
    }
}
