//! What is known of one deployment: how good its answers were, how long they took, what they cost. All of it forgets.

use crate::linear::{Linear, Prior, Question};

/// A mean that forgets: what it counts fades as its deployment's memory does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    pub(crate) mean: f32,
    pub(crate) count: f32,
}

impl Mean {
    pub(crate) fn learn(&mut self, value: f32, weight: f32) {
        if value.is_finite() && weight > 0.0 {
            self.count += weight;
            self.mean += (value - self.mean) * weight / self.count;
        }
    }

    /// `None` where nothing was seen.
    pub(crate) fn known(self) -> Option<f32> {
        (self.count > 0.0).then_some(self.mean)
    }
}

/// One deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arm {
    pub(crate) prior: Prior,
    /// Quality without regard to the question.
    pub(crate) quality: Mean,
    /// Quality by the question.
    pub(crate) linear: Linear,
    /// The logarithm of what a reply cost over what it was expected to.
    pub(crate) cost_ratio: Mean,
    /// The logarithm of what a reply cost, US dollars.
    pub(crate) cost: Mean,
    /// The logarithm of what a reply took, milliseconds.
    pub(crate) latency: Mean,
    /// By how much its last few replies, and its last many, were better or worse than it was believed.
    pub(crate) surprises: [Mean; WINDOWS.len()],
    /// By how much its last replies were better, since one that was worse.
    pub(crate) better: Mean,
    /// The square of such a difference, of many: how much its replies vary.
    pub(crate) variance: Mean,
    /// The group's count of decisions when it last learned.
    pub(crate) at: u64,
}

/// The logarithmic means change faster than qualities do: they are about the last so many replies.
const LATELY: f32 = 50.0;
/// Replies that a change shows in: a great one in few, which matters where a deployment is hardly ever tried; a small one in many.
pub(crate) const WINDOWS: [f32; 2] = [5.0, 20.0];
/// So many at least.
const FEWEST: f32 = 4.0;
/// So far they must be off on average, all the more the fewer they are: three times what chance makes of qualities that vary by this.
pub(crate) const VARY: f32 = 0.3;
/// Of one that turns good: so many in a row, and so many times what chance makes of them, as much as they do vary. A deployment that was left is
/// tried now and then alone, and what is better than it was believed has no long tail: it is learned sooner than what is worse.
const FEWEST_BETTER: f32 = 3.0;
const DEVIATIONS: f32 = 3.5;
/// Qualities are believed to vary by [`VARY`] for so many replies,
const VARY_COUNTS: f32 = 10.0;
/// at least by this,
const VARY_LEAST: f32 = 0.1;
/// and by what the last so many say, of which a single one counts at most so much.
const VARY_LATELY: f32 = 100.0;
const VARY_MOST: f32 = 0.25;
/// What then remains of what it had learned.
const REMAINS: f32 = 0.02;

impl Arm {
    pub(crate) fn new(width: usize, prior: Prior, at: u64) -> Self {
        Self {
            prior,
            quality: Mean::default(),
            linear: Linear::new(width, prior),
            cost_ratio: Mean::default(),
            cost: Mean::default(),
            latency: Mean::default(),
            surprises: Default::default(),
            better: Mean::default(),
            variance: Mean { mean: VARY * VARY, count: VARY_COUNTS },
            at,
        }
    }

    /// What it remembers, as a share, at the group's decision `now`.
    pub(crate) fn kept(&self, memory: f32, now: u64) -> f32 {
        let passed = i32::try_from(now.saturating_sub(self.at)).unwrap_or(i32::MAX);
        memory.powi(passed)
    }

    /// A reply's quality. `question` is `None` where it is not remembered any more.
    pub(crate) fn learn(&mut self, question: Option<&Question>, quality: f32, weight: f32, memory: f32, now: u64) {
        let kept = self.kept(memory, now);
        self.at = self.at.max(now);
        self.quality.count *= kept;
        self.linear.fade(kept, self.prior);
        if weight >= 1.0 && self.quality.count > 1.0 {
            self.notice_change(question.map_or(self.quality.mean, |question| self.linear.mean(question)), quality);
        }
        self.quality.learn(quality, weight);
        if let Some(question) = question {
            self.linear.learn(question, quality, weight);
        }
    }

    /// A deployment that has become another one is learned anew: what it was tells nothing of what it is. One that has become better begins
    /// where its last replies are, or many tries would pass, of few, until it were believed.
    fn notice_change(&mut self, believed: f32, quality: f32) {
        let surprise = quality - believed;
        let mut changed = false;
        for (off, window) in self.surprises.iter_mut().zip(WINDOWS) {
            off.count = off.count.min(window - 1.0);
            off.learn(surprise, 1.0);
            changed |= off.count >= FEWEST && off.mean.abs() > 3.0 * VARY / off.count.sqrt();
        }
        let better = self.is_better(surprise);
        if changed || better.is_some() {
            self.linear.fade(REMAINS, self.prior);
            self.quality.count *= REMAINS;
            self.surprises = Default::default();
            self.better = Mean::default();
        }
        if let Some(shift) = better {
            self.linear.shift((believed + shift).min(1.0) - believed);
            self.quality.mean = (self.quality.mean + shift).min(1.0);
        }
    }

    /// By how much it has become better, where it has.
    fn is_better(&mut self, surprise: f32) -> Option<f32> {
        let deviation = self.variance.mean.sqrt().max(VARY_LEAST);
        self.variance.count = self.variance.count.min(VARY_LATELY);
        self.variance.learn((surprise * surprise).min(VARY_MOST), 1.0);
        if self.better.mean + surprise < 0.0 || surprise < -deviation {
            self.better = Mean::default();
            return None;
        }
        self.better.count = self.better.count.min(WINDOWS[0] - 1.0);
        self.better.learn(surprise, 1.0);
        let Mean { mean, count } = self.better;
        (count >= FEWEST_BETTER && mean > DEVIATIONS * deviation / count.sqrt()).then_some(mean)
    }

    /// What a reply cost and took; `expected` and `cost` are NaN where unknown.
    pub(crate) fn took(&mut self, expected: f32, cost: f32, latency_ms: f32) {
        for (mean, value) in [
            (&mut self.cost_ratio, (cost / expected).ln()),
            (&mut self.cost, cost.ln()),
            (&mut self.latency, latency_ms.ln()),
        ] {
            mean.count = mean.count.min(LATELY);
            mean.learn(value, 1.0);
        }
    }

    /// The logarithm of what a reply is going to cost, US dollars; `None` where nobody knows.
    pub(crate) fn expected_ln_cost(&self, told: f32) -> Option<f32> {
        if told.is_finite() && told >= 0.0 {
            return Some(told.ln() + self.cost_ratio.known().unwrap_or(0.0));
        }
        self.cost.known()
    }
}
