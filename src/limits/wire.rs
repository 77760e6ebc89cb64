//! What providers tell of their limits, in headers and in the words of a 429.
//!
//! A limit that is lower than the configured one takes its place until another is told. What was counted there beyond what is
//! known here was used by somebody else of the same account, and counts here until the provider says that it is gone, and for one window
//! at most. The reverse is no news: we hold a request before a provider has counted it, and a little longer. A refusal that a fixed window
//! or a token bucket does not explain ends it: the window slides from then on. What is told with an answer is as old as the answer took:
//! what was forgotten here meanwhile was ours, and of an answer that took too long nobody knows any more what was.
//!
//! *When it is gone.* A provider says when all of a limit is there again (`reset`), or when what it refused fits (`again`): the sooner one
//! holds. At the second some of it may count there still. All of it is let go here all the same, since what must be gone by then is only
//! told in the provider's count of the request: where ours is larger, the request would wait for the rest of a window though it was told
//! a time. Others who go on using the account make that one refusal after another, so a refusal is believed in this once in a while: who
//! was refused within the last windows for what others used waits for the whole window.

use std::time::Duration;

use super::dimension::{Dimension, PerDimension};
use super::meter::Meter;
use super::scope_usage::ScopeUsage;
use super::{Limits, ScopeId};
use crate::moment::Moment;

/// What a provider tells of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which limit.
    pub dimension: Dimension,
    /// The length of its window, where that is told.
    pub window: Option<Duration>,
    /// How much there is in a window.
    pub limit: Option<u64>,
    /// How much was counted of it.
    pub used: Option<u64>,
    /// Until all of it is free again.
    pub reset: Option<Duration>,
    /// Of a refusal: until what was refused fits.
    pub again: Option<Duration>,
    /// How old it is: a provider counts when a request arrives, and tells of it with its answer.
    pub age: Duration,
}

impl Told {
    /// Whether it is told of a window of this length. A limit of a longer one is another limit, though little may be left of its time.
    fn is_of(&self, length: Duration) -> bool {
        match self.window {
            Some(window) => window <= length * 2 && length <= window * 2,
            None => self.reset.is_none_or(|reset| reset <= length * 2),
        }
    }

    /// Until what others have used counts no more, as far as it is told.
    fn gone_in(&self) -> Option<Duration> {
        self.reset.into_iter().chain(self.again).min()
    }
}

/// What an answer told that was not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct News {
    /// What the provider counts beyond what is known here.
    pub others: PerDimension<u64>,
    /// It may well be ours: just so much was forgotten here a moment before.
    pub forgotten_early: bool,
    /// It forgets otherwise than it is configured to, and is taken to forget as slowly as any from here on.
    pub slides: bool,
}

/// The limits of one scope as metrics tell them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitReport {
    /// The window's length.
    pub window: Duration,
    /// What is held and was counted in it.
    pub used: PerDimension<u64>,
    /// The configured limits, margin applied.
    pub configured: PerDimension<Option<u64>>,
    /// The limits that hold: the configured ones, or lower ones that the provider told.
    pub limits: PerDimension<Option<u64>>,
}

impl Limits {
    /// Takes what a provider told with an answer. `refused`: it is why it refused a request, so that the smallest difference tells.
    pub fn told(&self, now: Moment, scope: ScopeId, told: &[Told], refused: bool) -> News {
        let mut state = self.lock();
        let mut news = News::default();
        for told in told {
            let Some(usage) = state.scope(scope) else { return news };
            let meter = (0_u32..).zip(usage.meters()).find(|(_, meter)| told.is_of(meter.length()));
            let Some((number, meter)) = meter else { continue };
            let Some(limit) = told.limit.filter(|limit| *limit > 0) else { continue };
            meter.told(told.dimension, limit);
            let used = meter.used(now)[told.dimension];
            // A refusal comes at once, and what was just forgotten is what it may be about.
            let gone = if refused {
                Some(0)
            } else {
                meter.window().gone_within(now, told.age).map(|gone| gone[told.dimension])
            };
            let Some(gone) = gone else { continue };
            let known = used.saturating_add(gone);
            let unknown = told.used.unwrap_or(0).min(limit).saturating_sub(known);
            // Roundings and what is on its way between the two.
            let tolerance = if refused { 0 } else { limit / 50 };
            if unknown <= tolerance {
                continue;
            }
            news.forgotten_early |= refused && unknown <= meter.window().gone_lately()[told.dimension];
            news.others[told.dimension] += unknown;
            // Before it is counted: only a window that slides forgets it when it was told to.
            news.slides |= refused && state.contradict(scope, number, now);
            if let Some(meter) = state.scope(scope).and_then(|usage| usage.meter(number)) {
                let believed = !refused || meter.is_refused_seldom(now);
                meter.used_by_others(now, told.dimension, unknown, told.gone_in().filter(|_| believed));
            }
        }
        if let Some(touched) = state.touched.as_mut().filter(|_| news != News::default()) {
            touched.insert(scope);
        }
        news
    }

    /// Whether what a provider told is of a window that is counted here: else nobody here knows when there is room again.
    #[must_use]
    pub fn counts(&self, scope: ScopeId, told: &Told) -> bool {
        let mut state = self.lock();
        let mut meters = state.scope(scope).into_iter().flat_map(ScopeUsage::meters);
        told.limit.is_some_and(|limit| limit > 0) && meters.any(|meter| told.is_of(meter.length()))
    }

    /// The limits of a scope and what is used of them, for metrics.
    #[must_use]
    pub fn report(&self, now: Moment, scope: ScopeId) -> LimitReport {
        let mut state = self.lock();
        let meter = state.scope(scope).and_then(|usage| usage.meters().next());
        meter.map_or_else(LimitReport::default, |meter| meter.told_limits(now))
    }

    /// The same of each of its windows, in the order of their configuration.
    #[must_use]
    pub fn reports(&self, now: Moment, scope: ScopeId) -> Vec<LimitReport> {
        let mut state = self.lock();
        let meters = state.scope(scope).into_iter().flat_map(ScopeUsage::meters);
        meters.map(|meter| meter.told_limits(now)).collect()
    }
}

impl Meter {
    fn told_limits(&mut self, now: Moment) -> LimitReport {
        LimitReport {
            window: self.length(),
            used: self.used(now),
            configured: PerDimension::from_fn(|dimension| self.configured().limit(dimension)),
            limits: PerDimension::from_fn(|dimension| self.bounds().limit(dimension)),
        }
    }
}
