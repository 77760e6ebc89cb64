//! Money is an integer: nano-dollars, so that sums over millions of requests stay exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chat::{ServiceTier, Usage};

/// Billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// From dollars. `None` for what is negative, no number, or over a billion.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked on the line above the cast"
    )]
    pub fn from_usd(usd: f64) -> Option<Self> {
        if !(0.0..=1e9).contains(&usd) {
            return None;
        }
        Some(Self((usd * 1e9).round() as u64))
    }

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
        let (mut part, mut digits) = (part, 9);
        while part % 10 == 0 {
            (part, digits) = (part / 10, digits - 1);
        }
        write!(f, "{whole}.{part:0digits$}")
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
        const TOKENS: u64 = 1_000_000;
        // Dividing 128 bits takes a dozen times as long, and a request has a score of these.
        if let Some(product) = self.0.checked_mul(tokens) {
            return NanoUsd(product / TOKENS);
        }
        let nano = u128::from(self.0) * u128::from(tokens) / u128::from(TOKENS);
        NanoUsd(u64::try_from(nano).unwrap_or(u64::MAX))
    }
}

/// What a deployment charges. A cached price that is unknown falls back to the input price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    /// What holds for a prompt of any length, or for one that is not long.
    pub base: Rates,
    /// What holds for longer ones.
    pub long: Steps,
    /// What the provider charges where it is asked through a batch API of its own, which nothing is here: told, and never reckoned with.
    pub batch: Option<Arc<(Rates, Steps)>>,
    /// What it charges for replies of a service tier, where it says so; else what holds for all.
    pub tiers: Option<Arc<[(ServiceTier, Rates, Steps)]>>,
}

/// Prices by the length of the prompt: each holds for the whole of a request whose input is longer than so many tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps(Option<Arc<[(u64, Rates)]>>);

impl Steps {
    /// None: one price for all lengths.
    pub const NONE: Self = Self(None);

    /// These, in any order.
    #[must_use]
    pub fn of(mut steps: Vec<(u64, Rates)>) -> Self {
        steps.sort_by_key(|(above, _)| *above);
        Self((!steps.is_empty()).then(|| steps.into()))
    }

    /// Those of a prompt of so many tokens; `None` where it is not long.
    #[must_use]
    pub fn at(&self, input_tokens: u64) -> Option<&Rates> {
        self.iter().rev().find(|(above, _)| input_tokens > *above).map(|(_, rates)| rates)
    }

    /// From the shortest prompts to the longest.
    #[must_use = "nothing is done with the steps otherwise"]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(u64, Rates)> {
        self.0.iter().flat_map(|steps| steps.iter())
    }
}

/// The price of each kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Fresh input tokens.
    pub input: Price,
    /// Output tokens, reasoning included.
    pub output: Price,
    /// Input tokens read from the provider's cache.
    pub cache_read: Option<Price>,
    /// Input tokens written to the provider's cache.
    pub cache_write: Option<Price>,
    /// Those that are to stay there for an hour; where it is not known, twice the price of input, as every vendor has it.
    pub cache_write_1h: Option<Price>,
}

impl Rates {
    /// What so many tokens cost that are written to the provider's cache, of which so many are to stay for an hour.
    fn written(&self, tokens: u64, of_an_hour: u64) -> NanoUsd {
        let of_an_hour = of_an_hour.min(tokens);
        let hour = self.cache_write_1h.unwrap_or(Price(self.input.0.saturating_mul(2)));
        self.cache_write.unwrap_or(self.input).of(tokens - of_an_hour) + hour.of(of_an_hour)
    }
}

/// What a reply costs, in the parts that are priced apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Fresh input tokens.
    pub input: NanoUsd,
    /// Input tokens read from the provider's cache.
    pub cache_read: NanoUsd,
    /// Input tokens written to it.
    pub cache_write: NanoUsd,
    /// Output tokens, reasoning included.
    pub output: NanoUsd,
}

impl Bill {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> NanoUsd {
        self.input + self.cache_read + self.cache_write + self.output
    }
}

impl Prices {
    /// The same prices whatever the prompt's length, with none for cached tokens.
    #[must_use]
    pub const fn flat(input: Price, output: Price) -> Self {
        Self {
            base: Rates { input, output, cache_read: None, cache_write: None, cache_write_1h: None },
            long: Steps::NONE,
            batch: None,
            tiers: None,
        }
    }

    /// What holds for a prompt of so many tokens.
    #[must_use]
    pub fn at(&self, input_tokens: u64) -> &Rates {
        self.long.at(input_tokens).unwrap_or(&self.base)
    }

    /// The same of a reply of a service tier.
    #[must_use]
    pub fn at_tier(&self, tier: Option<ServiceTier>, input_tokens: u64) -> &Rates {
        let own = tier.and_then(|tier| self.tiers.iter().flat_map(|tiers| tiers.iter()).find(|(one, ..)| *one == tier));
        own.map_or_else(|| self.at(input_tokens), |(_, base, long)| long.at(input_tokens).unwrap_or(base))
    }

    /// What a request costs of which nothing is cached.
    #[must_use]
    pub fn of(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let rates = self.at(input_tokens);
        rates.input.of(input_tokens) + rates.output.of(output_tokens)
    }

    /// The most that one may cost which may be served in these tiers, or as all others are.
    #[must_use]
    pub fn most(&self, tiers: &[ServiceTier], input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let in_tier = |tier: &ServiceTier| {
            let rates = self.at_tier(Some(*tier), input_tokens);
            rates.input.of(input_tokens) + rates.output.of(output_tokens)
        };
        tiers.iter().map(in_tier).fold(self.of(input_tokens, output_tokens), NanoUsd::max)
    }

    /// The bill of a reply's usage.
    #[must_use]
    pub fn bill(&self, usage: &Usage) -> Bill {
        let rates = self.at_tier(usage.tier, usage.input_tokens);
        let fresh = usage.input_tokens.saturating_sub(usage.cache_read_tokens.saturating_add(usage.cache_write_tokens));
        Bill {
            input: rates.input.of(fresh),
            cache_read: rates.cache_read.unwrap_or(rates.input).of(usage.cache_read_tokens),
            cache_write: rates.written(usage.cache_write_tokens, usage.cache_write_1h_tokens),
            output: rates.output.of(usage.output_tokens),
        }
    }

    /// The cost of a reply's usage.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        self.bill(usage).total()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the bill in dollars as a provider reckons it: each kind of token times its price, the long prices for all
        /// of a long prompt.
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "the exact bill is reckoned in floats on purpose")]
        fn a_bill_is_within_a_hundredth_of_the_exact_one(
            tokens in (1u64..400_000, 0u64..400_000, 0u64..400_000, 0u64..100_000),
            usd in (1e-8..2e-4f64, 1e-8..2e-4f64, 1e-9..2e-4f64, 1e-8..2e-4f64),
            steps in proptest::collection::btree_set(1_000u64..400_000, 0..4),
        ) {
            let (fresh, read, written, output) = tokens;
            let price = |usd| Price::from_usd_per_token(usd).unwrap();
            let rates = |factor: f64| Rates {
                input: price(usd.0 * factor),
                output: price(usd.1 * factor),
                cache_read: Some(price(usd.2 * factor)),
                cache_write: Some(price(usd.3 * factor)),
                cache_write_1h: None,
            };
            let input_tokens = fresh + read + written;
            let factors = [2.0, 1.5, 4.0];
            let long = steps.iter().copied().zip(factors.map(rates)).rev().collect();
            let prices = Prices { base: rates(1.0), long: Steps::of(long), batch: None, tiers: None };
            let usage = Usage {
                input_tokens,
                cache_read_tokens: read,
                cache_write_tokens: written,
                output_tokens: output,
                reasoning_tokens: output / 2,
                ..Usage::default()
            };
            let passed = steps.iter().filter(|above| input_tokens > **above).count();
            let factor = passed.checked_sub(1).map_or(1.0, |last| factors[last]);
            let exact = factor
                * (fresh as f64 * usd.0 + output as f64 * usd.1 + read as f64 * usd.2 + written as f64 * usd.3);
            let billed = prices.cost(&usage).as_usd();
            // Four parts are rounded down to a nano-dollar each.
            prop_assert!((billed - exact).abs() <= exact * 0.001 + 4e-9, "{billed} for {exact}");
        }
    }

    #[test]
    fn a_reply_of_a_service_tier_has_its_prices_and_one_without_the_usual_ones() {
        let rates = |input, output| Prices::flat(Price(input), Price(output)).base;
        let million = 1_000_000_000;
        let long = Steps::of(vec![(100, rates(20 * million, 40 * million))]);
        let tiers = vec![(ServiceTier::Priority, rates(2 * million, 4 * million), long)];
        let prices = Prices { tiers: Some(tiers.into()), ..Prices::flat(Price(million), Price(2 * million)) };
        let cost =
            |tier, input_tokens| prices.cost(&Usage { input_tokens, output_tokens: 10, tier, ..Usage::default() }).0;
        assert_eq!([cost(None, 100), cost(Some(ServiceTier::Flex), 100)], [120_000, 120_000]);
        assert_eq!(
            [cost(Some(ServiceTier::Priority), 100), cost(Some(ServiceTier::Priority), 101)],
            [240_000, 2_420_000]
        );
        let most =
            ["default", "flex", "priority", "auto"].map(|asked| prices.most(ServiceTier::asked(asked), 100, 10).0);
        assert_eq!(most, [120_000, 120_000, 240_000, 240_000]);
    }

    #[test]
    fn a_cached_token_without_a_price_costs_what_a_fresh_one_does() {
        let prices = Prices::flat(Price(1_000_000_000), Price(2_000_000_000));
        let usage = Usage { input_tokens: 30, cache_read_tokens: 10, cache_write_tokens: 10, ..Usage::default() };
        let ten = NanoUsd(10_000);
        assert_eq!(prices.bill(&usage), Bill { input: ten, cache_read: ten, cache_write: ten, output: NanoUsd(0) });
    }

    #[test]
    fn what_is_cached_for_an_hour_has_its_own_price_or_twice_that_of_input() {
        let million = 1_000_000_000;
        let flat = Prices::flat(Price(million), Price(5 * million));
        let of_five_minutes = Rates { cache_write: Some(Price(1_250_000_000)), ..flat.base };
        let of_an_hour = Rates { cache_write_1h: Some(Price(3 * million)), ..of_five_minutes };
        for (base, hour, expected) in [
            (flat.base, 0, 100_000),
            (flat.base, 40, 60_000 + 80_000),
            (of_five_minutes, 0, 125_000),
            (of_five_minutes, 40, 75_000 + 80_000),
            (of_five_minutes, 1000, 200_000),
            (of_an_hour, 40, 75_000 + 120_000),
        ] {
            let prices = Prices { base, ..flat.clone() };
            let usage =
                Usage { input_tokens: 100, cache_write_tokens: 100, cache_write_1h_tokens: hour, ..Usage::default() };
            assert_eq!(prices.bill(&usage).cache_write, NanoUsd(expected), "{hour} of 100 at {base:?}");
            assert_eq!(prices.cost(&usage), NanoUsd(expected));
        }
    }
}
