//! What was counted in the last window of time.
//!
//! The window is cut into 60 slices and 61 are kept: a slice counts until its youngest moment is a whole
//! window old, so that no window of any alignment sees more than is counted here. The price is that an
//! amount may count up to one slice (a second of a minute) longer than it had to.

use std::time::Duration;

use super::dimension::Amount;
use crate::moment::Moment;

/// Slices per window.
const SLICES: u64 = 60;
/// Slices kept: those of the window, and the one that is still being filled.
const KEPT: usize = 61;

/// Where a held amount counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Outside the window: the provider has not answered.
    Open,
    /// In this slice of the window, counted from the Unix epoch.
    At(u64),
    /// Nowhere any more.
    Gone,
}

/// A sliding window over [`Amount`]s.
#[derive(Debug)]
pub(super) struct Window {
    /// Nanoseconds per slice.
    slice: u64,
    /// The slice being filled. It never goes back, even if a caller's clock reading is a little older.
    newest: u64,
    /// The first moment after the newest slice, nanoseconds: until then nothing has to be moved.
    fresh_until: u64,
    /// What the kept slices hold together.
    total: Amount,
    /// Slice `n` stands at `n % KEPT`. `None` while nothing was counted.
    slices: Option<Box<[Amount; KEPT]>>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self { slice: slice_of(length), newest: 0, fresh_until: 0, total: Amount::default(), slices: None }
    }

    /// What counts now. Only right after [`Window::advance`].
    pub(super) const fn total(&self) -> Amount {
        self.total
    }

    /// Forgets what is older than the window.
    #[inline]
    pub(super) fn advance(&mut self, now: Moment) {
        if now.as_nanos() >= self.fresh_until {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Moment) {
        let newest = now.as_nanos() / self.slice;
        if self.total.is_nothing() {
            // All slices are empty already.
        } else if newest - self.newest >= KEPT as u64 {
            self.clear();
        } else if let Some(slices) = &mut self.slices {
            for number in self.newest + 1..=newest {
                let gone = std::mem::take(&mut slices[place(number)]);
                self.total = self.total.minus(&gone);
            }
        }
        self.newest = newest;
        self.fresh_until = newest.saturating_add(1).saturating_mul(self.slice);
    }

    fn clear(&mut self) {
        self.total = Amount::default();
        if let Some(slices) = &mut self.slices {
            slices.fill(Amount::default());
        }
    }

    /// Counts an amount from now on, and says where it stands.
    pub(super) fn add(&mut self, amount: &Amount) -> Placement {
        let slices = self.slices.get_or_insert_with(|| Box::new([Amount::default(); KEPT]));
        let at = place(self.newest);
        slices[at] = slices[at].plus(amount);
        self.total = self.total.plus(amount);
        Placement::At(self.newest)
    }

    /// Replaces an amount in the slice it was added to, unless that counts no more.
    pub(super) fn edit(&mut self, slice: u64, held: &Amount, actual: &Amount) {
        if !self.counts(slice) {
            return;
        }
        if let Some(slices) = &mut self.slices {
            let slice = &mut slices[place(slice)];
            *slice = slice.minus(held).plus(actual);
            self.total = self.total.minus(held).plus(actual);
        }
    }

    /// The slices that hold something, oldest first: the moment from which each counts no more, and what it holds.
    pub(super) fn expiries(&self) -> impl Iterator<Item = (Moment, Amount)> + '_ {
        let oldest = self.newest.saturating_sub(KEPT as u64 - 1);
        self.slices.iter().flat_map(move |slices| {
            (oldest..=self.newest).filter_map(move |number| {
                let amount = slices[place(number)];
                (!amount.is_nothing()).then(|| (self.expiry(number), amount))
            })
        })
    }

    fn expiry(&self, number: u64) -> Moment {
        Moment::from_nanos(number.saturating_add(KEPT as u64).saturating_mul(self.slice))
    }

    /// Gives the memory back if nothing counts.
    pub(super) fn shrink(&mut self) {
        if self.total.is_nothing() {
            self.slices = None;
        }
    }

    /// The window at another length, what still counts kept. Each amount moves to where the youngest moment of its
    /// slice falls: it may count longer than it had to, never shorter.
    pub(super) fn resized(&self, length: Duration, now: Moment) -> Self {
        let mut other = Self::new(length);
        other.advance(now);
        let Some(old) = &self.slices else { return other };
        for number in self.newest.saturating_sub(KEPT as u64 - 1)..=self.newest {
            let amount = old[place(number)];
            let Placement::At(at) = self.moved(Placement::At(number), &other, now) else { continue };
            if amount.is_nothing() {
                continue;
            }
            let slices = other.slices.get_or_insert_with(|| Box::new([Amount::default(); KEPT]));
            slices[place(at)] = slices[place(at)].plus(&amount);
            other.total = other.total.plus(&amount);
        }
        other
    }

    /// Where an amount of this window stands in `other`.
    pub(super) fn moved(&self, placement: Placement, other: &Self, now: Moment) -> Placement {
        match placement {
            Placement::At(slice) if self.counts(slice) => {
                let youngest = slice.saturating_add(1).saturating_mul(self.slice).saturating_sub(1).min(now.as_nanos());
                let slice = (youngest / other.slice).min(other.newest);
                if other.counts(slice) { Placement::At(slice) } else { Placement::Gone }
            }
            Placement::At(_) | Placement::Gone => Placement::Gone,
            Placement::Open => Placement::Open,
        }
    }

    const fn counts(&self, slice: u64) -> bool {
        self.newest.saturating_sub(slice) < KEPT as u64
    }

    /// Whether the window has this length.
    pub(super) fn is(&self, length: Duration) -> bool {
        self.slice == slice_of(length)
    }
}

/// Nanoseconds per slice, rounded up so that the slices are never shorter than the window.
fn slice_of(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).div_ceil(SLICES).max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below 61")]
const fn place(number: u64) -> usize {
    (number % KEPT as u64) as usize
}
