//! Money is an integer: nano-dollars, so that sums over millions of requests stay exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::chat::Usage;

/// Billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Dollars as a float, for display and for policies; never for sums.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "display only; 2^53 nano-dollars is nine million dollars")]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for NanoUsd {
    /// Dollars with every digit that counts: `0.00315`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// Price of one kind of token: nano-dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(pub u64);

impl Price {
    /// From dollars per token, as LiteLLM's files and price map write it.
    ///
    /// Returns `None` for a negative, non-finite or absurd (over a thousand dollars a token) price.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked on the line above the cast"
    )]
    pub fn from_usd_per_token(usd: f64) -> Option<Self> {
        if !(0.0..=1000.0).contains(&usd) {
            return None;
        }
        Some(Self((usd * 1e15).round() as u64))
    }

    /// Dollars per million tokens, for policies and for display.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "display and comparison only")]
    pub fn as_usd_per_million(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// What `tokens` cost, rounded down to a nano-dollar.
    #[must_use]
    pub fn of(self, tokens: u64) -> NanoUsd {
        let nano = u128::from(self.0) * u128::from(tokens) / 1_000_000;
        NanoUsd(u64::try_from(nano).unwrap_or(u64::MAX))
    }
}

/// What a deployment charges. A cached price that is unknown falls back to the input price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// Fresh input tokens.
    pub input: Price,
    /// Output tokens, reasoning included.
    pub output: Price,
    /// Input tokens read from the provider's cache.
    pub cache_read: Option<Price>,
    /// Input tokens written to the provider's cache.
    pub cache_write: Option<Price>,
}

impl Prices {
    /// The cost of a reply's usage.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let fresh = usage.input_tokens.saturating_sub(usage.cache_read_tokens.saturating_add(usage.cache_write_tokens));
        self.input.of(fresh)
            + self.cache_read.unwrap_or(self.input).of(usage.cache_read_tokens)
            + self.cache_write.unwrap_or(self.input).of(usage.cache_write_tokens)
            + self.output.of(usage.output_tokens)
    }
}
