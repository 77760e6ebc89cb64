//! What was counted in the last window of time.
//!
//! The window is cut into 240 slices (a quarter of a second of a minute), of which only those are kept that hold something. What
//! stands in a slice counts until the slice's youngest moment is a whole window old, so that no window of any alignment sees more
//! than is counted here. The price is that an amount may count up to one slice longer than it had to.
//!
//! Amounts may stand in slices that are still to come: what a provider must have read by then.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dimension::{Amount, Bounds, PerDimension};
use crate::moment::Moment;

/// Slices per window.
const SLICES: u64 = 240;

/// When a provider forgets what it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowModel {
    /// Each amount counts for one window from when it was counted.
    #[default]
    Sliding,
    /// Each amount counts until the end of the window it falls in; windows begin at whole multiples of their length (minutes of
    /// the clock, days of UTC).
    Fixed,
    /// Amounts drain steadily, a whole limit in one window; what is counted may stand as high as the limit.
    TokenBucket,
}

/// Where a held amount counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Outside the window: nobody knows when the provider counts it.
    Open,
    /// In this slice of the window, counted from the Unix epoch.
    At(u64),
    /// Nowhere any more.
    Gone,
}

/// A window over [`Amount`]s.
#[derive(Debug)]
pub(super) struct Window {
    model: WindowModel,
    /// Nanoseconds per slice.
    slice: u64,
    /// The slice being filled. It never goes back, even if a caller's clock reading is a little older.
    newest: u64,
    /// The first moment after the newest slice, nanoseconds: until then nothing has to be moved.
    fresh_until: u64,
    /// The latest moment from which anything counts, nanoseconds: it may be still to come though its slice has begun.
    latest: u64,
    /// What the kept slices hold together.
    total: Amount,
    /// The slices that hold something, oldest first.
    slices: VecDeque<(u64, Amount)>,
    /// How fast each dimension drains: so much in one window. Of a token bucket alone.
    drain: Amount,
    /// Of a token bucket: what stood in it at the beginning of this slice, all older ones taken into account.
    base: (u64, Amount),
    /// What was forgotten, and in which slice, of the last [`REMEMBERED`].
    gone: VecDeque<(u64, Amount)>,
    /// What others used in slices that are older than it is: it is forgotten when its provider said, and was never ours.
    lent: Vec<(u64, Amount)>,
}

/// Slices that are lately: a thirtieth of the window.
const LATELY: u64 = 8;
/// Slices of which it is known what was forgotten in them: half a window.
const REMEMBERED: u64 = SLICES / 2;

impl Window {
    pub(super) fn new(length: Duration, model: WindowModel) -> Self {
        Self {
            model,
            slice: slice_of(length),
            newest: 0,
            fresh_until: 0,
            latest: 0,
            total: Amount::default(),
            slices: VecDeque::new(),
            drain: Amount::default(),
            base: (0, Amount::default()),
            gone: VecDeque::new(),
            lent: Vec::new(),
        }
    }

    /// What it drains by, where it is a token bucket: the limits.
    pub(super) fn drain_by(&mut self, bounds: &Bounds) {
        if self.model == WindowModel::TokenBucket {
            // What is unlimited needs no counting: it is empty at once.
            self.drain = PerDimension::from_fn(|dimension| bounds.limit(dimension).unwrap_or(u64::MAX));
            self.level();
        }
    }

    pub(super) const fn model(&self) -> WindowModel {
        self.model
    }

    /// What counts now. Only right after [`Window::advance`].
    pub(super) const fn total(&self) -> Amount {
        self.total
    }

    /// What was forgotten lately. A provider that still counts it began to count later than was assumed here.
    pub(super) fn gone_lately(&self) -> Amount {
        self.gone_since(self.newest.saturating_sub(LATELY))
    }

    /// What was forgotten within so long before now; `None` where that is not known any more.
    pub(super) fn gone_within(&self, now: Moment, age: Duration) -> Option<Amount> {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let since = now.as_nanos().saturating_sub(age) / self.slice;
        (self.newest.saturating_sub(since) <= REMEMBERED).then(|| self.gone_since(since))
    }

    fn gone_since(&self, slice: u64) -> Amount {
        let since = self.gone.iter().rev().take_while(|(at, _)| *at >= slice);
        since.fold(Amount::default(), |sum, (_, amount)| sum.plus(amount))
    }

    /// Forgets what is older than the window.
    #[inline]
    pub(super) fn advance(&mut self, now: Moment) {
        if now.as_nanos() >= self.fresh_until {
            self.turn(now.as_nanos() / self.slice);
        }
    }

    fn turn(&mut self, newest: u64) {
        self.newest = newest;
        self.fresh_until = newest.saturating_add(1).saturating_mul(self.slice);
        while let Some((number, amount)) = self.slices.front()
            && self.expiry(*number) <= newest
        {
            if self.model == WindowModel::TokenBucket {
                let begins = number.saturating_add(1);
                let level = self.drained(self.base.1, begins.saturating_sub(self.base.0)).plus(amount);
                self.base = (begins.max(self.base.0), level);
            } else {
                self.total = self.total.minus(amount);
            }
            let mut ours = *amount;
            self.lent.retain(|(slice, others)| {
                let stays = slice != number;
                if !stays {
                    ours = ours.minus(others);
                }
                stays
            });
            // When it could be forgotten, not when somebody looked: nobody looks at what is idle.
            self.gone.push_back((self.expiry(*number), ours));
            self.slices.pop_front();
        }
        while self.gone.front().is_some_and(|(at, _)| at + REMEMBERED < newest) {
            self.gone.pop_front();
        }
        self.level();
    }

    /// What stands in a token bucket, reckoned anew: what drained away cannot be given back a second time.
    fn level(&mut self) {
        if self.model == WindowModel::TokenBucket {
            self.total = self.level_at(self.newest);
        }
    }

    fn level_at(&self, slice: u64) -> Amount {
        let (mut at, mut level) = self.base;
        for (number, amount) in &self.slices {
            // From the end of its slice on: at its beginning it may not have been there.
            let reached = number.saturating_add(1).min(slice).max(at);
            level = self.drained(level, reached - at).plus(amount);
            at = reached;
        }
        self.drained(level, slice.saturating_sub(at))
    }

    fn drained(&self, level: Amount, slices: u64) -> Amount {
        let gone = |dimension| {
            let share = u128::from(self.drain[dimension]) * u128::from(slices) / u128::from(SLICES);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        if slices == 0 { level } else { level.minus(&PerDimension::from_fn(gone)) }
    }

    /// Counts an amount from this moment on, or from now where that is past, and says where it stands.
    pub(super) fn add(&mut self, at: Moment, amount: &Amount) -> Placement {
        // Nearly always it is the slice being filled, which no division has to find.
        let number = if at.as_nanos() < self.fresh_until { self.newest } else { at.as_nanos() / self.slice };
        self.counts_from(at);
        self.insert(number, amount);
        Placement::At(number)
    }

    /// Something in it may not count before this moment.
    #[inline]
    pub(super) fn counts_from(&mut self, at: Moment) {
        self.latest = self.latest.max(at.as_nanos());
    }

    /// Counts what others used until this moment, or for a window where that is sooner. Only a window that slides can be told when: what
    /// forgets otherwise does so at its own time.
    pub(super) fn add_until(&mut self, now: Moment, until: Moment, amount: &Amount) {
        // The slice that counts no more with the first one that begins at that moment or after it.
        let number = until.as_nanos().div_ceil(self.slice).saturating_sub(SLICES + 1);
        if self.model != WindowModel::Sliding || number >= self.newest {
            self.add(now, amount);
        } else if self.expiry(number) > self.newest {
            self.insert(number, amount);
            match self.lent.iter_mut().find(|(slice, _)| *slice == number) {
                Some((_, others)) => *others = others.plus(amount),
                None => self.lent.push((number, *amount)),
            }
        }
    }

    fn insert(&mut self, number: u64, amount: &Amount) {
        match self.slices.back_mut() {
            // Nearly everything is counted in the youngest slice: it is not looked for among the others.
            Some((youngest, held)) if *youngest == number => *held = held.plus(amount),
            Some((youngest, _)) if *youngest > number => self.insert_among(number, amount),
            _ => self.slices.push_back((number, *amount)),
        }
        self.total = self.total.plus(amount);
        self.level();
    }

    fn insert_among(&mut self, number: u64, amount: &Amount) {
        let place = self.slices.partition_point(|(other, _)| *other < number);
        match self.slices.get_mut(place) {
            Some((other, held)) if *other == number => *held = held.plus(amount),
            _ => self.slices.insert(place, (number, *amount)),
        }
    }

    /// Where a slice stands; the youngest ones are found first.
    fn place(&self, slice: u64) -> Option<usize> {
        let last = self.slices.len().checked_sub(1)?;
        if self.slices[last].0 == slice {
            return Some(last);
        }
        self.slices.binary_search_by_key(&slice, |(number, _)| *number).ok()
    }

    /// Replaces an amount in the slice it was added to, unless that counts no more.
    pub(super) fn edit(&mut self, slice: u64, held: &Amount, actual: &Amount) {
        let Some(place) = self.place(slice) else { return };
        let Some((_, amount)) = self.slices.get_mut(place) else { return };
        amount.replace(held, actual);
        self.total.replace(held, actual);
        self.level();
    }

    /// Whether a slice is still to come, at `now` or later.
    pub(super) fn is_ahead(&self, slice: u64) -> bool {
        slice > self.newest
    }

    /// Whether `at` lies behind this slice.
    pub(super) fn is_after(&self, at: Moment, slice: u64) -> bool {
        at.as_nanos() >= slice.saturating_add(1).saturating_mul(self.slice)
    }

    /// The first moment at which `missing` has come free; `None` where time alone does not do it.
    pub(super) fn free_at(&self, missing: &Amount) -> Option<Moment> {
        if self.model == WindowModel::TokenBucket {
            let wanted = self.total.minus(missing);
            let enough = |ahead: &u64| wanted.covers(&self.level_at(self.newest + ahead));
            // What drains does so in a window, counted from the last amount that is still to come.
            let last = self.slices.back().map_or(0, |(number, _)| number.saturating_sub(self.newest));
            let (mut low, mut high) = (0, last + 2 * SLICES);
            if !self.total.covers(missing) || !enough(&high) {
                return None;
            }
            while low < high {
                let middle = u64::midpoint(low, high);
                if enough(&middle) { high = middle } else { low = middle + 1 }
            }
            return Some(self.start(self.newest + high));
        }
        let mut freed = Amount::default();
        self.slices.iter().find_map(|(number, amount)| {
            freed = freed.plus(amount);
            freed.covers(missing).then(|| self.start(self.expiry(*number)))
        })
    }

    /// When each amount counts no more.
    pub(super) fn expiries(&self) -> impl Iterator<Item = (Moment, Amount)> + '_ {
        self.slices.iter().map(|(number, amount)| (self.start(self.expiry(*number)), *amount))
    }

    /// Takes so much away, of the oldest first.
    pub(super) fn reduce(&mut self, by: &Amount) {
        let mut rest = *by;
        for (_, amount) in &mut self.slices {
            let left = amount.minus(&rest);
            let taken = amount.minus(&left);
            (rest, self.total) = (rest.minus(&taken), self.total.minus(&taken));
            *amount = left;
        }
        self.slices.retain(|(_, amount)| !amount.is_nothing());
    }

    fn start(&self, slice: u64) -> Moment {
        Moment::from_nanos(slice.saturating_mul(self.slice))
    }

    /// The slice with which an amount of this one counts no more.
    const fn expiry(&self, number: u64) -> u64 {
        match self.model {
            WindowModel::Sliding | WindowModel::TokenBucket => number.saturating_add(SLICES + 1),
            WindowModel::Fixed => (number / SLICES + 1).saturating_mul(SLICES),
        }
    }

    /// Gives the memory back if nothing counts.
    pub(super) fn shrink(&mut self) {
        if self.total.is_nothing() {
            (self.slices, self.gone, self.lent) = (VecDeque::new(), VecDeque::new(), Vec::new());
        }
    }

    /// The window at another length or of another kind, what still counts kept. Each amount moves to where the youngest moment of
    /// its slice falls: it may count longer than it had to, never shorter.
    pub(super) fn resized(&self, length: Duration, model: WindowModel, now: Moment) -> Self {
        let mut other = Self { drain: self.drain, ..Self::new(length, model) };
        other.turn(now.as_nanos() / other.slice);
        other.latest = self.slices.back().map_or(0, |(number, _)| self.youngest(*number, now));
        for (number, amount) in &self.slices {
            if let Placement::At(at) = self.moved(Placement::At(*number), &other, now) {
                other.insert(at, amount);
            }
        }
        if self.model == WindowModel::TokenBucket {
            // What has not drained yet, whatever slices are left of it.
            let rest = self.total.minus(&other.total);
            other.insert(other.newest, &rest);
        }
        other
    }

    /// Where an amount of this window stands in `other`.
    pub(super) fn moved(&self, placement: Placement, other: &Self, now: Moment) -> Placement {
        match placement {
            Placement::At(slice) if self.expiry(slice) > self.newest => {
                let slice = self.youngest(slice, now) / other.slice;
                if other.expiry(slice) > other.newest { Placement::At(slice) } else { Placement::Gone }
            }
            Placement::At(_) | Placement::Gone => Placement::Gone,
            Placement::Open => Placement::Open,
        }
    }

    /// The last moment from which anything in this slice may count, nanoseconds.
    fn youngest(&self, slice: u64, now: Moment) -> u64 {
        let last = slice.saturating_add(1).saturating_mul(self.slice).saturating_sub(1);
        if self.is_ahead(slice) { last } else { last.min(now.as_nanos().max(self.latest)) }
    }

    /// Whether the window has this length and kind.
    pub(super) fn is(&self, length: Duration, model: WindowModel) -> bool {
        self.slice == slice_of(length) && self.model == model
    }

    /// What counts and since when, oldest first, to be kept: the youngest moment of each slice; of a token bucket what stands in it.
    pub(super) fn counted(&self) -> impl Iterator<Item = (Moment, Amount)> + '_ {
        let drains = self.model == WindowModel::TokenBucket;
        let level = (drains && !self.total.is_nothing()).then_some((self.newest, self.total));
        let slices = self.slices.iter().copied().filter(move |_| !drains);
        let youngest = |(number, amount): (u64, Amount)| {
            (Moment::from_nanos(number.saturating_add(1).saturating_mul(self.slice).saturating_sub(1)), amount)
        };
        level.into_iter().chain(slices).map(youngest)
    }

    /// Counts what was counted before a restart.
    pub(super) fn restore(&mut self, at: Moment, now: Moment, amount: &Amount) {
        self.advance(now);
        let number = at.as_nanos() / self.slice;
        if self.expiry(number) <= self.newest || amount.is_nothing() {
            return;
        }
        self.counts_from(at);
        self.insert(number, amount);
    }
}

/// Nanoseconds per slice, rounded up so that the slices are never shorter than the window.
fn slice_of(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).div_ceil(SLICES).max(1)
}
