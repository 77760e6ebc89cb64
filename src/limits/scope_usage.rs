//! One scope: its limits, what is held of them and what was counted, in a meter for each length of window.

use super::dimension::{Amount, Bounds, Dimension, PerDimension};
use super::meter::{Counted, Meter};
use super::saved::SavedWindow;
use super::window::{Placement, Window};
use super::{Demand, Excess, LimitSpec, Scope, Used, Wait};
use crate::moment::Moment;

/// Larger numbers are cut: they can only come from a broken client or provider, and must not overflow a sum.
const LARGEST: u64 = 1 << 40;

/// In this order the limits of a window are looked at for one that a request exceeds as a whole.
const NAMED_FIRST: [Dimension; 6] = [
    Dimension::Tokens,
    Dimension::InputTokens,
    Dimension::OutputTokens,
    Dimension::Requests,
    Dimension::Cost,
    Dimension::InFlight,
];

/// One scope.
#[derive(Debug)]
pub(super) struct ScopeUsage {
    scope: Scope,
    /// The first window's meter: most scopes have no other, and finding it costs no step more than finding the scope.
    first: Meter,
    others: Vec<Meter>,
    /// What the process before counted in windows of lengths that no limit has yet: keys that are kept come after the configuration.
    unclaimed: Vec<SavedWindow>,
}

impl ScopeUsage {
    pub(super) fn new(scope: Scope, spec: &LimitSpec) -> Self {
        let meter = |(length, limits)| Meter::new(length, spec.model, usable(limits, spec.margin));
        let others = spec.windows().skip(1).map(meter).collect();
        Self { scope, first: meter((spec.window, &spec.limits)), others, unclaimed: Vec::new() }
    }

    /// Other limits. A window is returned as it was, with the number of its meter, where its length changed: the caller
    /// moves what stands in it.
    pub(super) fn restrict(&mut self, spec: &LimitSpec, now: Moment) -> Vec<(u32, Window)> {
        let mut resized = Vec::new();
        let mut count = 0;
        for ((length, bounds), number) in spec.windows().zip(0_u32..) {
            count += 1;
            let bounds = usable(bounds, spec.margin);
            match self.meter(number) {
                Some(meter) => {
                    let before = meter.restrict(length, spec.model, bounds, now);
                    resized.extend(before.map(|window| (number, window)));
                }
                None => self.others.push(Meter::new(length, spec.model, bounds)),
            }
        }
        for meter in self.meters().skip(count) {
            meter.release(now);
        }
        for window in std::mem::take(&mut self.unclaimed) {
            self.restore(&window, now);
        }
        resized
    }

    /// Counts what the process before has counted, now or when there is a limit over such a window.
    pub(super) fn restore(&mut self, saved: &SavedWindow, now: Moment) {
        if let Some(meter) = self.meters().find(|meter| meter.length() == saved.length()) {
            saved.restore(now, meter);
        } else if saved.is_fresh(now) {
            self.unclaimed.push(saved.clone());
        }
    }

    /// What waits for a limit of its length.
    pub(super) fn unclaimed(&self) -> impl Iterator<Item = &SavedWindow> {
        self.unclaimed.iter()
    }

    /// No limits any more. Windows keep their lengths, so that nothing is forgotten if they come back.
    pub(super) fn release(&mut self, now: Moment) {
        self.meters().for_each(|meter| meter.release(now));
    }

    pub(super) const fn name(&self) -> &Scope {
        &self.scope
    }

    /// It is another's from now on.
    pub(super) fn rename(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Whether anything is limited.
    pub(super) fn is_limited(&self) -> bool {
        self.first.is_limited() || self.others.iter().any(Meter::is_limited)
    }

    pub(super) fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// How many there are; their numbers are from 0.
    pub(super) const fn meter_count(&self) -> usize {
        1 + self.others.len()
    }

    pub(super) fn meter(&mut self, number: u32) -> Option<&mut Meter> {
        match number.checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self.others.get_mut(other as usize),
        }
    }

    /// Whether this much more fits now.
    #[inline]
    pub(super) fn fits(&mut self, now: Moment, amount: &Amount) -> bool {
        self.first.fits(now, amount) && self.others.iter_mut().all(|meter| meter.fits(now, amount))
    }

    /// Whether every token limit stays at or below half with this much more.
    pub(super) fn at_most_half(&mut self, now: Moment, amount: &Amount) -> bool {
        self.meters().all(|meter| meter.at_most_half(now, amount))
    }

    /// When this much more fits, if nothing but time changes.
    pub(super) fn wait(&mut self, now: Moment, amount: &Amount) -> Wait {
        let waits = self.meters().map(|meter| meter.wait(now, amount));
        waits
            .max_by_key(|wait| match wait {
                Wait::Now => (0, now),
                Wait::At(moment) => (1, *moment),
                Wait::Unknown => (2, now),
                Wait::Never => (3, now),
            })
            .unwrap_or(Wait::Now)
    }

    /// The first limit that this much exceeds as a whole.
    pub(super) fn excess(&self, amount: &Amount) -> Option<Excess> {
        std::iter::once(&self.first).chain(&self.others).find_map(|meter| {
            NAMED_FIRST.into_iter().find_map(|dimension| {
                let limit = meter.bounds().limit(dimension).filter(|limit| amount[dimension] > *limit)?;
                let (scope, window) = (self.scope.clone(), meter.length());
                Some(Excess { scope, dimension, window, limit, asked: amount[dimension] })
            })
        })
    }

    /// What is used within the first window, and what is left of all.
    pub(super) fn report(&mut self, now: Moment) -> Used {
        let mut report = Used::default();
        for (number, meter) in self.meters().enumerate() {
            let used = meter.used(now);
            let left = meter.bounds().left(&used);
            if number == 0 {
                report = Used { amounts: used, free: left };
            } else {
                let tighter = |dimension| match (report.free[dimension], left[dimension]) {
                    (Some(one), Some(other)) => Some(u64::min(one, other)),
                    (one, other) => one.or(other),
                };
                report.free = PerDimension::from_fn(tighter);
            }
        }
        report
    }

    /// Adds a reserved amount. Only after it was seen to fit.
    #[inline]
    pub(super) fn add(&mut self, amount: &Amount) {
        self.first.add(amount);
        self.others.iter_mut().for_each(|meter| meter.add(amount));
    }

    /// Moves a held amount to where it counts.
    pub(super) fn stamp(
        &mut self,
        meter: u32,
        now: Moment,
        counted: Counted,
        placement: Placement,
        held: &Amount,
    ) -> Placement {
        self.meter(meter).map_or(Placement::Gone, |meter| meter.stamp(now, counted, placement, held))
    }

    /// Gives back the places of a held amount, and nothing that a window counts.
    pub(super) fn leave(&mut self, meter: u32, held: &Amount) {
        if let Some(meter) = self.meter(meter) {
            meter.leave(held);
        }
    }

    /// Ends a held amount with what was really used; nothing at all for a refund.
    pub(super) fn end(&mut self, meter: u32, now: Moment, placement: Placement, held: &Amount, actual: &Amount) {
        if let Some(meter) = self.meter(meter) {
            meter.end(now, placement, held, actual);
        }
    }
}

/// What is usable of each limit, the margin applied. In-flight is not scaled.
fn usable(limits: &PerDimension<Option<u64>>, margin: f64) -> Bounds {
    Bounds::of(&PerDimension::from_fn(|dimension| match dimension {
        Dimension::InFlight => limits[dimension],
        _ => limits[dimension].map(|limit| scaled(limit, margin)),
    }))
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

impl From<Demand> for Amount {
    /// One request with these tokens at this cost.
    fn from(demand: Demand) -> Self {
        let Demand { input_tokens, output_tokens, cost } = demand;
        let (input, output) = (input_tokens.min(LARGEST), output_tokens.min(LARGEST));
        let mut amount = Self::default();
        amount[Dimension::Requests] = 1;
        amount[Dimension::InFlight] = 1;
        amount[Dimension::Tokens] = input + output;
        amount[Dimension::InputTokens] = input;
        amount[Dimension::OutputTokens] = output;
        amount[Dimension::Cost] = cost.0.min(LARGEST);
        amount
    }
}
