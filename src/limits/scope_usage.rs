//! One scope: its limits, what is held of them and what was counted.

use super::reservations::Entry;
use super::window::{Amount, Placement, Window};
use super::{Demand, Dimension, Excess, Free, LimitSpec, Scope, Used, Wait};
use crate::moment::Moment;

/// Larger numbers are cut: they can only come from a broken client or provider, and must not overflow a sum.
const LARGEST: u64 = 1 << 40;

/// What is usable of each limit, margin applied. `None` is unlimited.
#[derive(Clone, Copy, Debug, Default)]
struct Usable {
    requests: Option<u64>,
    tokens: Option<u64>,
    input: Option<u64>,
    output: Option<u64>,
    in_flight: Option<u64>,
}

impl Usable {
    fn of(spec: &LimitSpec) -> Self {
        let share = |limit: Option<u64>| limit.map(|limit| scaled(limit, spec.margin));
        Self {
            requests: share(spec.requests),
            tokens: share(spec.tokens),
            input: share(spec.input_tokens),
            output: share(spec.output_tokens),
            in_flight: spec.in_flight.map(u64::from),
        }
    }
}

/// A limit with its margin, rounded down; but a limit above zero never becomes zero, which would refuse everything.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits are far below 2^52, and the product is between 0 and the limit"
)]
fn scaled(limit: u64, margin: f64) -> u64 {
    if margin >= 1.0 {
        return limit;
    }
    // A millionth against products like 0.29 × 100 = 28.999…96.
    let usable = (limit as f64 * margin.max(0.0) + 1e-6).floor() as u64;
    usable.clamp(limit.min(1), limit)
}

/// One scope.
#[derive(Debug)]
pub(super) struct ScopeUsage {
    scope: Scope,
    usable: Usable,
    window: Window,
    /// Held by requests the provider has not answered yet: outside the window, because nobody knows when the
    /// provider counts them.
    open: Amount,
    in_flight: u64,
}

impl ScopeUsage {
    pub(super) fn new(scope: Scope, spec: &LimitSpec) -> Self {
        Self {
            scope,
            usable: Usable::of(spec),
            window: Window::new(spec.window),
            open: Amount::default(),
            in_flight: 0,
        }
    }

    /// Other limits. The window is returned as it was where its length changed: the caller moves what stands in it.
    pub(super) fn restrict(&mut self, spec: &LimitSpec, now: Moment) -> Option<Window> {
        self.usable = Usable::of(spec);
        self.window.advance(now);
        if self.window.is(spec.window) {
            return None;
        }
        let resized = self.window.resized(spec.window, now);
        Some(std::mem::replace(&mut self.window, resized))
    }

    /// No limits any more. The window keeps its length, so that nothing is forgotten if they come back.
    pub(super) fn release(&mut self, now: Moment) {
        self.usable = Usable::default();
        self.window.advance(now);
        self.window.shrink();
    }

    pub(super) const fn window(&self) -> &Window {
        &self.window
    }

    /// Whether this much more may be held now.
    #[inline]
    pub(super) fn fits(&mut self, now: Moment, asked: Amount) -> bool {
        self.window.advance(now);
        let used = self.used();
        fits(self.usable.requests, used.requests, asked.requests)
            && fits(self.usable.tokens, used.tokens(), asked.tokens())
            && fits(self.usable.input, used.input, asked.input)
            && fits(self.usable.output, used.output, asked.output)
            && fits(self.usable.in_flight, self.in_flight, 1)
    }

    /// Whether every token limit stays at or below half with this much more.
    pub(super) fn at_most_half(&mut self, now: Moment, asked: Amount) -> bool {
        self.window.advance(now);
        let after = self.used().plus(asked);
        let half = |usable: Option<u64>, after: u64| usable.is_none_or(|usable| after <= usable / 2);
        half(self.usable.tokens, after.tokens())
            && half(self.usable.input, after.input)
            && half(self.usable.output, after.output)
    }

    /// When this much more may be held, if nothing but time changes.
    pub(super) fn wait(&mut self, now: Moment, asked: Amount) -> Wait {
        if self.excess(asked).is_some() {
            return Wait::Never;
        }
        self.window.advance(now);
        let used = self.used();
        let missing = |usable: Option<u64>, used: u64, asked: u64| {
            usable.map_or(0, |usable| used.saturating_add(asked).saturating_sub(usable))
        };
        if missing(self.usable.in_flight, self.in_flight, 1) > 0 {
            return Wait::Unknown;
        }
        let requests = missing(self.usable.requests, used.requests, asked.requests);
        let tokens = missing(self.usable.tokens, used.tokens(), asked.tokens());
        let input = missing(self.usable.input, used.input, asked.input);
        let output = missing(self.usable.output, used.output, asked.output);
        if requests == 0 && tokens == 0 && input == 0 && output == 0 {
            return Wait::Now;
        }
        let mut freed = Amount::default();
        for (moment, amount) in self.window.expiries() {
            freed = freed.plus(amount);
            if freed.requests >= requests && freed.tokens() >= tokens && freed.input >= input && freed.output >= output
            {
                return Wait::At(moment);
            }
        }
        Wait::Unknown
    }

    /// The first limit that this much exceeds as a whole.
    pub(super) fn excess(&self, asked: Amount) -> Option<Excess> {
        let usable = &self.usable;
        [
            (Dimension::Tokens, usable.tokens, asked.tokens()),
            (Dimension::InputTokens, usable.input, asked.input),
            (Dimension::OutputTokens, usable.output, asked.output),
            (Dimension::Requests, usable.requests, asked.requests),
            (Dimension::InFlight, usable.in_flight, 1),
        ]
        .into_iter()
        .find_map(|(dimension, limit, asked)| {
            let limit = limit.filter(|limit| asked > *limit)?;
            Some(Excess { scope: self.scope.clone(), dimension, limit, asked })
        })
    }

    pub(super) fn report(&mut self, now: Moment) -> Used {
        self.window.advance(now);
        let used = self.used();
        let left = |usable: Option<u64>, used: u64| usable.map(|usable| usable.saturating_sub(used));
        Used {
            requests: used.requests,
            tokens: used.tokens(),
            input_tokens: used.input,
            output_tokens: used.output,
            in_flight: self.in_flight,
            free: Free {
                requests: left(self.usable.requests, used.requests),
                tokens: left(self.usable.tokens, used.tokens()),
                input_tokens: left(self.usable.input, used.input),
                output_tokens: left(self.usable.output, used.output),
                in_flight: left(self.usable.in_flight, self.in_flight),
            },
        }
    }

    const fn used(&self) -> Amount {
        self.window.total().plus(self.open)
    }

    /// Holds an amount. Only after it was seen to fit.
    #[inline]
    pub(super) fn hold(&mut self, amount: Amount) {
        self.open = self.open.plus(amount);
        self.in_flight += 1;
    }

    /// Moves a held amount into the window: it counts from now on.
    pub(super) fn stamp(&mut self, now: Moment, held: Amount) -> Placement {
        self.window.advance(now);
        self.open = self.open.minus(held);
        self.window.add(held)
    }

    /// Ends a hold with what it really used; nothing at all for a refund.
    pub(super) fn end(&mut self, now: Moment, entry: &Entry, actual: Amount) {
        self.window.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        match entry.placement {
            Placement::Gone => {}
            Placement::At(slice) => self.window.edit(slice, entry.amount, actual),
            Placement::Open => {
                self.open = self.open.minus(entry.amount);
                if actual != Amount::default() {
                    self.window.add(actual);
                }
            }
        }
    }
}

#[inline]
fn fits(usable: Option<u64>, used: u64, asked: u64) -> bool {
    usable.is_none_or(|usable| used.saturating_add(asked) <= usable)
}

impl From<Demand> for Amount {
    /// One request with these tokens.
    fn from(demand: Demand) -> Self {
        Self { requests: 1, input: demand.input_tokens.min(LARGEST), output: demand.output_tokens.min(LARGEST) }
    }
}
