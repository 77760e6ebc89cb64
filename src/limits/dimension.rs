//! What is counted and limited, and arrays with a place for each of it.

use std::fmt;
use std::ops::{Index, IndexMut};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Requests per window (`rpm`).
    Requests,
    /// Tokens per window, input and output together (`tpm`).
    Tokens,
    /// Input tokens per window (`itpm`).
    InputTokens,
    /// Output tokens per window (`otpm`).
    OutputTokens,
    /// Billionths of a US dollar per window.
    Cost,
    /// Requests under way at once (`max_parallel_requests`). No window forgets it: it ends with its request.
    InFlight,
}

/// How many dimensions there are.
const COUNT: usize = 6;

impl Dimension {
    /// Every dimension, in the order of its place.
    pub const ALL: [Self; COUNT] =
        [Self::Requests, Self::Tokens, Self::InputTokens, Self::OutputTokens, Self::Cost, Self::InFlight];
    /// Those that count tokens.
    pub const TOKENS: [Self; 3] = [Self::Tokens, Self::InputTokens, Self::OutputTokens];
}

/// A value for each dimension.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PerDimension<T>([T; COUNT]);

impl<T> PerDimension<T> {
    /// Made from a value for each.
    pub fn from_fn(mut make: impl FnMut(Dimension) -> T) -> Self {
        Self(std::array::from_fn(|place| make(Dimension::ALL[place])))
    }
}

impl<T: fmt::Debug + Default + PartialEq> fmt::Debug for PerDimension<T> {
    /// Those that say something, by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = Dimension::ALL.into_iter().zip(&self.0).filter(|(_, value)| **value != T::default());
        f.debug_map().entries(told).finish()
    }
}

impl<T> Index<Dimension> for PerDimension<T> {
    type Output = T;

    #[inline]
    fn index(&self, dimension: Dimension) -> &T {
        &self.0[dimension as usize]
    }
}

impl<T> IndexMut<Dimension> for PerDimension<T> {
    #[inline]
    fn index_mut(&mut self, dimension: Dimension) -> &mut T {
        &mut self.0[dimension as usize]
    }
}

/// Something counted.
pub(super) type Amount = PerDimension<u64>;

/// What may be counted. Unlimited is the largest number, which nothing exceeds: comparing needs no case of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds(Amount);

// Plain loops over the places: what is reckoned for every scope of every request becomes a few instructions in a row, where chains of
// iterators became calls.
impl Amount {
    #[inline]
    pub(super) fn plus(mut self, other: &Self) -> Self {
        for place in 0..COUNT {
            self.0[place] = self.0[place].saturating_add(other.0[place]);
        }
        self
    }

    #[inline]
    pub(super) fn minus(mut self, other: &Self) -> Self {
        for place in 0..COUNT {
            self.0[place] = self.0[place].saturating_sub(other.0[place]);
        }
        self
    }

    /// The part that a window counts: all but what is under way.
    #[inline]
    pub(super) fn windowed(mut self) -> Self {
        self[Dimension::InFlight] = 0;
        self
    }

    /// Takes the other part of an amount away.
    #[inline]
    pub(super) fn less_under_way(&mut self, held: &Self) {
        let under_way = &mut self[Dimension::InFlight];
        *under_way = under_way.saturating_sub(held[Dimension::InFlight]);
    }

    /// Puts another amount in the place of one.
    #[inline]
    pub(super) fn replace(&mut self, held: &Self, actual: &Self) {
        for place in 0..COUNT {
            self.0[place] = self.0[place].saturating_sub(held.0[place]).saturating_add(actual.0[place]);
        }
    }

    /// Whether it is at least as much in every dimension.
    #[inline]
    pub(super) fn covers(&self, other: &Self) -> bool {
        (0..COUNT).all(|place| self.0[place] >= other.0[place])
    }

    #[inline]
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Bounds {
    pub(super) const UNLIMITED: Self = Self(PerDimension([u64::MAX; COUNT]));

    pub(super) fn of(limits: &PerDimension<Option<u64>>) -> Self {
        Self(PerDimension::from_fn(|dimension| limits[dimension].unwrap_or(u64::MAX)))
    }

    /// Whether this much more fits beside what is used. (No early end: six comparisons cost less than a branch that is
    /// guessed wrong.)
    #[inline]
    pub(super) fn admit(&self, used: &Amount, amount: &Amount) -> bool {
        let mut fits = true;
        for place in 0..COUNT {
            fits &= used.0[place].saturating_add(amount.0[place]) <= self.0.0[place];
        }
        fits
    }

    /// The lower of both limits in each dimension.
    pub(super) fn lower(&self, other: &Self) -> Self {
        Self(PerDimension::from_fn(|dimension| self.0[dimension].min(other.0[dimension])))
    }

    /// Another limit of one dimension.
    pub(super) fn set(&mut self, dimension: Dimension, limit: u64) {
        self.0[dimension] = limit;
    }

    /// How much must come free before this much more fits.
    pub(super) fn missing(&self, used: &Amount, amount: &Amount) -> Amount {
        used.plus(amount).minus(&self.0)
    }

    /// The limit, where there is one.
    pub(super) fn limit(&self, dimension: Dimension) -> Option<u64> {
        Some(self.0[dimension]).filter(|limit| *limit != u64::MAX)
    }

    /// What is left of each limit.
    pub(super) fn left(&self, used: &Amount) -> PerDimension<Option<u64>> {
        PerDimension::from_fn(|dimension| Some(self.limit(dimension)?.saturating_sub(used[dimension])))
    }
}
