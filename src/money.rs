//! Money is an integer: nano-dollars, so that sums over millions of requests stay exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chat::{ByOther, ServiceTier, Surcharges, Usage};

mod given;

pub use given::{Costs, Given, GivenSteps};

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
    /// How much dearer all tokens are that are served in a special way, where it is known.
    pub surcharges: Factors,
    /// What it charges for searches that it makes for a reply, beside their tokens; `None` where it is unknown.
    pub search: Option<SearchFee>,
    /// Those of other models, which the model may ask within a reply; where nothing is known of one, it costs what this one does.
    pub others: Option<OtherPrices>,
}

/// What is publicly known of the prices of a model, by its name.
#[derive(Clone, Copy, Debug)]
pub struct OtherPrices(pub fn(&str) -> Option<Prices>);

/// There is one public table: prices differ by what is said of a deployment's own model.
impl PartialEq for OtherPrices {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OtherPrices {}

/// A factor of prices, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor(pub u64);

impl Factor {
    /// From a number. `None` for what is less than one, no number, or over a hundred.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked on the line above the cast"
    )]
    pub fn from_number(number: f64) -> Option<Self> {
        if !(1.0..=100.0).contains(&number) {
            return None;
        }
        Some(Self((number * 1000.0).round() as u64))
    }

    /// So many times `cost`, rounded down.
    fn times(self, cost: NanoUsd) -> NanoUsd {
        let nano = u128::from(cost.0) * u128::from(self.0) / 1000;
        NanoUsd(u64::try_from(nano).unwrap_or(u64::MAX))
    }
}

/// The factor of each of [`Surcharges`]; `None` is unknown, and counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Factors {
    /// Of the model's fast mode.
    pub fast: Option<Factor>,
    /// Of inference in the United States alone.
    pub us: Option<Factor>,
}

impl Factors {
    fn times(self, surcharges: Surcharges, cost: NanoUsd) -> NanoUsd {
        let asked = [self.fast.filter(|_| surcharges.fast), self.us.filter(|_| surcharges.us)];
        asked.into_iter().flatten().fold(cost, |cost, factor| factor.times(cost))
    }
}

/// What searches cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchFee {
    /// Each.
    pub each: NanoUsd,
    /// Whether a reply pays for one, however many there were.
    pub once: bool,
}

impl SearchFee {
    fn of(self, searches: u64) -> NanoUsd {
        NanoUsd(self.each.0.saturating_mul(if self.once { searches.min(1) } else { searches }))
    }
}

/// What a request asks for that may make its reply dearer than others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The service tiers that it may be served in, beside the usual one.
    pub tiers: &'static [ServiceTier],
    /// What makes all its tokens dearer.
    pub surcharges: Surcharges,
    /// Whether its input has recordings.
    pub audio_input: bool,
    /// Whether it wants to hear the reply.
    pub audio_output: bool,
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
    /// Input tokens of recordings; where it is not known, that of all input.
    pub audio_input: Option<Price>,
    /// Those read from the provider's cache; where it is not known, that of all that is read from it.
    pub audio_cache_read: Option<Price>,
    /// Output tokens of speech; where it is not known, that of all output.
    pub audio_output: Option<Price>,
    /// Input tokens of pictures; where it is not known, that of all input.
    pub image_input: Option<Price>,
    /// Those read from the provider's cache; where it is not known, that of all that is read from it.
    pub image_cache_read: Option<Price>,
    /// Output tokens of pictures; where it is not known, that of all output.
    pub image_output: Option<Price>,
}

impl Rates {
    /// The same prices for all input and for all output.
    #[must_use]
    pub const fn flat(input: Price, output: Price) -> Self {
        Self {
            input,
            output,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            audio_input: None,
            audio_cache_read: None,
            audio_output: None,
            image_input: None,
            image_cache_read: None,
            image_output: None,
        }
    }

    /// What so many fresh tokens cost, of which so many are of recordings, and so many of pictures.
    fn fresh(&self, tokens: u64, of_audio: u64, of_images: u64) -> NanoUsd {
        apart(tokens, self.input, [(of_audio, self.audio_input), (of_images, self.image_input)])
    }

    /// The same of those read from the provider's cache.
    fn read(&self, tokens: u64, of_audio: u64, of_images: u64) -> NanoUsd {
        let read = self.cache_read.unwrap_or(self.input);
        apart(tokens, read, [(of_audio, self.audio_cache_read), (of_images, self.image_cache_read)])
    }

    /// What so many tokens of output cost, of which so many are speech, and so many pictures.
    fn made(&self, tokens: u64, of_audio: u64, of_images: u64) -> NanoUsd {
        apart(tokens, self.output, [(of_audio, self.audio_output), (of_images, self.image_output)])
    }

    /// The most that so many tokens cost of what is asked for, with nothing cached. A model that has a price of pictures draws them unasked.
    fn most(&self, asked: &Asked, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let dearer = |usual: Price, own: Option<Price>, asked: bool| usual.max(own.filter(|_| asked).unwrap_or(usual));
        let input = dearer(self.input, self.audio_input, asked.audio_input);
        let output = dearer(self.output, self.audio_output, asked.audio_output);
        let output = dearer(output, self.image_output, true);
        input.of(input_tokens) + output.of(output_tokens)
    }

    /// What so many tokens cost that are written to the provider's cache, of which so many are to stay for an hour.
    fn written(&self, tokens: u64, of_an_hour: u64) -> NanoUsd {
        let of_an_hour = of_an_hour.min(tokens);
        let hour = self.cache_write_1h.unwrap_or(Price(self.input.0.saturating_mul(2)));
        self.cache_write.unwrap_or(self.input).of(tokens - of_an_hour) + hour.of(of_an_hour)
    }
}

/// What so many tokens cost, of which so many of each kind may have a price of their own.
fn apart(tokens: u64, usual: Price, kinds: [(u64, Option<Price>); 2]) -> NanoUsd {
    let mut left = tokens;
    let own: NanoUsd = kinds
        .into_iter()
        .map(|(of_kind, own)| {
            let of_kind = of_kind.min(left);
            left -= of_kind;
            own.unwrap_or(usual).of(of_kind)
        })
        .sum();
    usual.of(left) + own
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
    /// Searches that the provider made.
    pub searches: NanoUsd,
}

impl Bill {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> NanoUsd {
        self.input + self.cache_read + self.cache_write + self.output + self.searches
    }
}

impl Add for Bill {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cache_read: self.cache_read + other.cache_read,
            cache_write: self.cache_write + other.cache_write,
            output: self.output + other.output,
            searches: self.searches + other.searches,
        }
    }
}

impl Prices {
    /// The same prices whatever the prompt's length, with none for cached tokens.
    #[must_use]
    pub const fn flat(input: Price, output: Price) -> Self {
        Self {
            base: Rates::flat(input, output),
            long: Steps::NONE,
            batch: None,
            tiers: None,
            surcharges: Factors { fast: None, us: None },
            search: None,
            others: None,
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

    /// The most that the tokens of one may cost which asks for this, and may be served as all others are.
    #[must_use]
    pub fn most(&self, asked: &Asked, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let at = |tier| self.at_tier(tier, input_tokens).most(asked, input_tokens, output_tokens);
        let most = asked.tiers.iter().map(|tier| at(Some(*tier))).fold(at(None), NanoUsd::max);
        self.surcharges.times(asked.surcharges, most)
    }

    /// The prices of another model; `None` where nothing is known of them.
    fn of_other(&self, other: &ByOther) -> Option<Self> {
        self.others.and_then(|OtherPrices(known)| known(&other.model))
    }

    /// The bill of a reply's usage, and of what other models did for it.
    #[must_use]
    pub fn bill(&self, usage: &Usage) -> Bill {
        let by_other = |other: &ByOther| self.of_other(other).as_ref().unwrap_or(self).own_bill(&other.usage);
        usage.by_others.iter().map(by_other).fold(self.own_bill(usage), Add::add)
    }

    fn own_bill(&self, usage: &Usage) -> Bill {
        let rates = self.at_tier(usage.tier, usage.input_tokens);
        let fresh = usage.input_tokens.saturating_sub(usage.cache_read_tokens.saturating_add(usage.cache_write_tokens));
        let fresh_audio = usage.audio_input_tokens.saturating_sub(usage.audio_cache_read_tokens);
        let fresh_images = usage.image_input_tokens.saturating_sub(usage.image_cache_read_tokens);
        let (read, read_audio) = (usage.cache_read_tokens, usage.audio_cache_read_tokens);
        let priced = |cost| self.surcharges.times(usage.surcharges, cost);
        Bill {
            input: priced(rates.fresh(fresh, fresh_audio, fresh_images)),
            cache_read: priced(rates.read(read, read_audio, usage.image_cache_read_tokens)),
            cache_write: priced(rates.written(usage.cache_write_tokens, usage.cache_write_1h_tokens)),
            output: priced(rates.made(usage.output_tokens, usage.audio_output_tokens, usage.image_output_tokens)),
            searches: self.search.map(|fee| fee.of(usage.searches)).unwrap_or_default(),
        }
    }

    /// What a reply used that has a price of its own which is not known here, with the key that tells it, where there is one.
    pub fn lacking(&self, usage: &Usage) -> impl Iterator<Item = &'static str> {
        let rates = self.at_tier(usage.tier, usage.input_tokens);
        let (asked, known) = (usage.surcharges, self.surcharges);
        let found = [
            (usage.searches > 0 && self.search.is_none(), "a fee for searches (`search_context_cost_per_query`)"),
            (
                usage.audio_input_tokens > 0 && rates.audio_input.is_none(),
                "a price of recordings beside that of text (`input_cost_per_audio_token`)",
            ),
            (
                usage.audio_output_tokens > 0 && rates.audio_output.is_none(),
                "a price of speech beside that of text (`output_cost_per_audio_token`)",
            ),
            (
                usage.image_output_tokens > 0 && rates.image_output.is_none(),
                "a price of pictures beside that of text (`output_cost_per_image_token`)",
            ),
            (
                usage.by_others.iter().any(|other| self.of_other(other).is_none()),
                "what the model costs that it asked for advice or for a picture: it is taken to cost what the model itself does",
            ),
            (asked.fast && known.fast.is_none(), "how much dearer the fast mode is"),
            (asked.us && known.us.is_none(), "how much dearer inference in the United States alone is"),
        ];
        found.into_iter().filter_map(|(is_lacking, what)| is_lacking.then_some(what))
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
                cache_read: Some(price(usd.2 * factor)),
                cache_write: Some(price(usd.3 * factor)),
                ..Rates::flat(price(usd.0 * factor), price(usd.1 * factor))
            };
            let input_tokens = fresh + read + written;
            let factors = [2.0, 1.5, 4.0];
            let long = steps.iter().copied().zip(factors.map(rates)).rev().collect();
            let prices = Prices { base: rates(1.0), long: Steps::of(long), ..Prices::flat(price(0.0), price(0.0)) };
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
        let most = ["default", "flex", "priority", "fast", "auto"].map(|asked| {
            let asked = Asked { tiers: ServiceTier::asked(asked), ..Asked::default() };
            prices.most(&asked, 100, 10).0
        });
        assert_eq!(most, [120_000, 120_000, 240_000, 240_000, 240_000]);
    }

    #[test]
    fn what_is_served_in_a_special_way_is_dearer_by_its_factors_and_searches_are_not() {
        let million = 1_000_000_000;
        let factor = Factor::from_number;
        assert_eq!([factor(0.9), factor(f64::NAN), factor(101.0), factor(1.1)], [None, None, None, Some(Factor(1100))]);
        let known = Prices {
            surcharges: Factors { fast: factor(2.0), us: factor(1.1) },
            search: Some(SearchFee { each: NanoUsd(10_000_000), once: false }),
            ..Prices::flat(Price(4 * million), Price(20 * million))
        };
        let unknown = Prices::flat(Price(4 * million), Price(20 * million));
        let usage = |fast, us, searches| Usage {
            input_tokens: 100_000,
            output_tokens: 10_000,
            surcharges: Surcharges { fast, us },
            searches,
            ..Usage::default()
        };
        for (used, expected) in [
            (usage(false, false, 0), 600_000_000),
            (usage(true, false, 0), 1_200_000_000),
            (usage(false, true, 0), 660_000_000),
            (usage(true, true, 5), 1_320_000_000 + 50_000_000),
        ] {
            assert_eq!((known.cost(&used), known.lacking(&used).count()), (NanoUsd(expected), 0), "{used:?}");
            assert_eq!(unknown.cost(&used), NanoUsd(600_000_000), "{used:?}");
            assert_eq!(unknown.lacking(&used).count() > 0, expected != 600_000_000, "{used:?}");
            let asked = Asked { surcharges: used.surcharges, ..Asked::default() };
            let held = known.most(&asked, 100_000, 10_000);
            assert_eq!(held + known.bill(&used).searches, NanoUsd(expected), "{used:?}");
        }
        let once = Prices { search: Some(SearchFee { each: NanoUsd(35_000_000), once: true }), ..unknown };
        let fees = [0, 1, 4].map(|searches| once.bill(&usage(false, false, searches)).searches.0);
        assert_eq!(fees, [0, 35_000_000, 35_000_000]);
    }

    #[test]
    fn what_other_models_did_has_their_prices_or_those_of_the_model_that_asked() {
        const MILLION: u64 = 1_000_000_000;
        let known = |name: &str| (name == "dearer").then(|| Prices::flat(Price(10 * MILLION), Price(50 * MILLION)));
        let own = Prices::flat(Price(MILLION), Price(5 * MILLION));
        let prices = Prices { others: Some(OtherPrices(known)), ..own.clone() };
        let other = |model: &str| ByOther {
            model: model.to_owned(),
            usage: Usage { input_tokens: 1000, output_tokens: 100, ..Usage::default() },
        };
        let usage = |by_others| Usage { input_tokens: 200, output_tokens: 40, by_others, ..Usage::default() };
        for (prices, by_others, bill, lacking) in [
            (&prices, vec![], [200_000, 200_000], 0),
            (&prices, vec![other("dearer")], [200_000 + 10_000_000, 200_000 + 5_000_000], 0),
            (&prices, vec![other("dearer"), other("")], [10_200_000 + 1_000_000, 5_200_000 + 500_000], 1),
            (&own, vec![other("dearer")], [200_000 + 1_000_000, 200_000 + 500_000], 1),
        ] {
            let used = usage(by_others);
            let told = prices.bill(&used);
            assert_eq!(([told.input.0, told.output.0], prices.lacking(&used).count()), (bill, lacking), "{used:?}");
        }
    }

    #[test]
    fn recordings_and_speech_have_their_prices_or_those_of_text() {
        let million = 1_000_000_000;
        let text = Rates { cache_read: Some(Price(million / 10)), ..Rates::flat(Price(million), Price(5 * million)) };
        let audio = Rates { audio_input: Some(Price(3 * million)), audio_output: Some(Price(20 * million)), ..text };
        let cached = Rates { audio_cache_read: Some(Price(million)), ..audio };
        let usage = Usage {
            input_tokens: 1000,
            cache_read_tokens: 200,
            audio_input_tokens: 500,
            audio_cache_read_tokens: 100,
            output_tokens: 100,
            audio_output_tokens: 80,
            ..Usage::default()
        };
        // Fresh input, what was cached, output; and the most that as many tokens cost.
        for (base, bill, most) in [
            (text, [800_000, 20_000, 500_000], 1_500_000),
            (audio, [400_000 + 1_200_000, 20_000, 100_000 + 1_600_000], 5_000_000),
            (cached, [400_000 + 1_200_000, 10_000 + 100_000, 100_000 + 1_600_000], 5_000_000),
        ] {
            let prices = Prices { base, ..Prices::flat(Price(0), Price(0)) };
            let told = prices.bill(&usage);
            assert_eq!([told.input.0, told.cache_read.0, told.output.0], bill, "{base:?}");
            assert_eq!(prices.lacking(&usage).count(), if base == text { 2 } else { 0 });
            let asked = Asked { audio_input: true, audio_output: true, ..Asked::default() };
            assert_eq!(prices.most(&asked, 1000, 100).0, most, "{base:?}");
            assert_eq!(prices.most(&Asked::default(), 1000, 100).0, 1_500_000);
        }
        // A report of more than all of it is of all of it.
        let more = Usage { audio_input_tokens: 9000, audio_output_tokens: 9000, ..usage };
        let prices = Prices { base: audio, ..Prices::flat(Price(0), Price(0)) };
        assert_eq!([prices.bill(&more).input.0, prices.bill(&more).output.0], [2_400_000, 2_000_000]);
    }

    #[test]
    fn pictures_have_their_prices_or_those_of_text() {
        let million = 1_000_000_000;
        let text = Rates { cache_read: Some(Price(million / 10)), ..Rates::flat(Price(million), Price(5 * million)) };
        let drawn = Rates { image_output: Some(Price(30 * million)), ..text };
        let own = Rates { image_input: Some(Price(2 * million)), image_cache_read: Some(Price(million)), ..drawn };
        let usage = Usage {
            input_tokens: 1000,
            cache_read_tokens: 200,
            image_input_tokens: 500,
            image_cache_read_tokens: 100,
            output_tokens: 100,
            image_output_tokens: 80,
            ..Usage::default()
        };
        // Fresh input, what was cached, output; and the most that as many tokens cost.
        for (base, bill, most) in [
            (text, [800_000, 20_000, 500_000], 1_500_000),
            (drawn, [800_000, 20_000, 100_000 + 2_400_000], 4_000_000),
            (own, [400_000 + 800_000, 10_000 + 100_000, 100_000 + 2_400_000], 4_000_000),
        ] {
            let prices = Prices { base, ..Prices::flat(Price(0), Price(0)) };
            let told = prices.bill(&usage);
            assert_eq!([told.input.0, told.cache_read.0, told.output.0], bill, "{base:?}");
            assert_eq!(prices.lacking(&usage).count(), usize::from(base == text));
            assert_eq!(prices.most(&Asked::default(), 1000, 100).0, most, "{base:?}");
        }
        // Recordings come first where a report is of more than all of it.
        let more = Usage { audio_output_tokens: 90, ..usage };
        let prices = Prices { base: drawn, ..Prices::flat(Price(0), Price(0)) };
        assert_eq!(prices.bill(&more).output.0, 90 * 5_000 + 10 * 30_000);
    }

    #[test]
    fn a_cached_token_without_a_price_costs_what_a_fresh_one_does() {
        let prices = Prices::flat(Price(1_000_000_000), Price(2_000_000_000));
        let usage = Usage { input_tokens: 30, cache_read_tokens: 10, cache_write_tokens: 10, ..Usage::default() };
        let ten = NanoUsd(10_000);
        assert_eq!(prices.bill(&usage), Bill { input: ten, cache_read: ten, cache_write: ten, ..Bill::default() });
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
