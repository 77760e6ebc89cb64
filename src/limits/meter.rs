//! The limits of one scope over one length of window, and what is used of them.

use std::time::Duration;

use super::Wait;
use super::dimension::{Amount, Bounds, Dimension};
use super::window::{Placement, Window};
use crate::moment::Moment;

/// One window of one scope.
#[derive(Debug)]
pub(super) struct Meter {
    bounds: Bounds,
    length: Duration,
    window: Window,
    /// Reserved by requests whose response head has not come: outside the window, because nobody knows when the
    /// provider counts them. And the requests in flight, whether or not it came.
    open: Amount,
}

impl Meter {
    pub(super) fn new(length: Duration, bounds: Bounds) -> Self {
        Self { bounds, length, window: Window::new(length), open: Amount::default() }
    }

    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) const fn length(&self) -> Duration {
        self.length
    }

    pub(super) const fn window(&self) -> &Window {
        &self.window
    }

    /// Other limits. The window is returned as it was where its length changed.
    pub(super) fn restrict(&mut self, length: Duration, bounds: Bounds, now: Moment) -> Option<Window> {
        self.bounds = bounds;
        self.length = length;
        self.window.advance(now);
        if self.window.is(length) {
            return None;
        }
        let resized = self.window.resized(length, now);
        Some(std::mem::replace(&mut self.window, resized))
    }

    /// No limits any more.
    pub(super) fn release(&mut self, now: Moment) {
        self.bounds = Bounds::UNLIMITED;
        self.window.advance(now);
        self.window.shrink();
    }

    /// What is held and was counted within the window.
    #[inline]
    pub(super) fn used(&mut self, now: Moment) -> Amount {
        self.window.advance(now);
        self.window.total().plus(&self.open)
    }

    #[inline]
    pub(super) fn fits(&mut self, now: Moment, amount: &Amount) -> bool {
        let used = self.used(now);
        self.bounds.admit(&used, amount)
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
        if missing.is_nothing() {
            return Wait::Now;
        }
        let mut freed = Amount::default();
        for (moment, amount) in self.window.expiries() {
            freed = freed.plus(&amount);
            if freed.covers(&missing) {
                return Wait::At(moment);
            }
        }
        Wait::Unknown
    }

    #[inline]
    pub(super) fn add(&mut self, amount: &Amount) {
        self.open = self.open.plus(amount);
    }

    pub(super) fn stamp(&mut self, now: Moment, held: &Amount) -> Placement {
        self.window.advance(now);
        let counted = held.windowed();
        self.open = self.open.minus(&counted);
        self.window.add(&counted)
    }

    pub(super) fn end(&mut self, now: Moment, placement: Placement, held: &Amount, actual: &Amount) {
        self.window.advance(now);
        let actual = actual.windowed();
        match placement {
            Placement::Gone => self.open = self.open.minus(&held.under_way()),
            Placement::At(slice) => {
                self.open = self.open.minus(&held.under_way());
                self.window.edit(slice, &held.windowed(), &actual);
            }
            Placement::Open => {
                self.open = self.open.minus(held);
                if !actual.is_nothing() {
                    self.window.add(&actual);
                }
            }
        }
    }
}
