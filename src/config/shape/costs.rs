//! Prices a token, which `litellm_params` and `model_info` may both give, in LiteLLM's names: those of any prompt, those of longer ones
//! (`…_above_200k_tokens`, whatever the number), and both for the vendor's batch API (`…_batches`).

use std::collections::BTreeMap;

use crate::config::report::Grade;
use crate::config::section::Section;
use crate::money::{Price, Rates};

/// The prices that are given of one length of prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::config) struct Given {
    pub(in crate::config) input: Option<Price>,
    pub(in crate::config) output: Option<Price>,
    pub(in crate::config) cache_read: Option<Price>,
    pub(in crate::config) cache_write: Option<Price>,
}

/// The same by the thousands of tokens that a prompt must exceed.
pub(in crate::config) type Steps = BTreeMap<u64, Given>;

/// What is given.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Costs {
    pub(in crate::config) base: Given,
    pub(in crate::config) above: Steps,
    pub(in crate::config) batch: Given,
    pub(in crate::config) batch_above: Steps,
}

/// How LiteLLM calls each price, that of a batch, and how the longer prompts' begin.
const NAMES: [[&str; 3]; 4] = [
    ["input_cost_per_token", "input_cost_per_token_batches", "input_cost_per_token_above_"],
    ["output_cost_per_token", "output_cost_per_token_batches", "output_cost_per_token_above_"],
    ["cache_read_input_token_cost", "cache_read_input_token_cost_batches", "cache_read_input_token_cost_above_"],
    [
        "cache_creation_input_token_cost",
        "cache_creation_input_token_cost_batches",
        "cache_creation_input_token_cost_above_",
    ],
];

impl Given {
    /// In the order of [`NAMES`].
    const fn places(&mut self) -> [&mut Option<Price>; 4] {
        [&mut self.input, &mut self.output, &mut self.cache_read, &mut self.cache_write]
    }

    pub(in crate::config) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What it does not say is as in another.
    pub(in crate::config) fn or(self, other: Self) -> Self {
        Self {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            cache_read: self.cache_read.or(other.cache_read),
            cache_write: self.cache_write.or(other.cache_write),
        }
    }

    /// What it does not say is as below it.
    pub(in crate::config) fn over(self, below: &Rates) -> Rates {
        Rates {
            input: self.input.unwrap_or(below.input),
            output: self.output.unwrap_or(below.output),
            cache_read: self.cache_read.or(below.cache_read),
            cache_write: self.cache_write.or(below.cache_write),
        }
    }
}

impl Costs {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut read = Self::default();
        for (place, [base, batch, above]) in NAMES.into_iter().enumerate() {
            *read.base.places()[place] = section.amount(base).and_then(|usd| price(section, base, usd));
            *read.batch.places()[place] = section.amount(batch).and_then(|usd| price(section, batch, usd));
            for (ending, usd) in section.amounts(above) {
                let key = format!("{above}{ending}");
                let (ending, steps) = match ending.strip_suffix("_batches") {
                    Some(ending) => (ending, &mut read.batch_above),
                    None => (ending, &mut read.above),
                };
                // Others are about how long a cache lasts, or about a service tier.
                let thousands = ending.strip_suffix("k_tokens").and_then(|thousands| thousands.parse::<u64>().ok());
                if let Some(thousands) = thousands.filter(|thousands| (1..1_000_000).contains(thousands)) {
                    section.places.downgrade(&key, Grade::Exact, "");
                    *steps.entry(thousands).or_default().places()[place] = price(section, &key, usd);
                }
            }
        }
        read
    }

    /// What it does not say is as in another; steps are of one of them alone.
    pub(in crate::config) fn or(&self, other: &Self) -> Self {
        let steps = |own: &Steps, other: &Steps| if own.is_empty() { other.clone() } else { own.clone() };
        Self {
            base: self.base.or(other.base),
            above: steps(&self.above, &other.above),
            batch: self.batch.or(other.batch),
            batch_above: steps(&self.batch_above, &other.batch_above),
        }
    }
}

fn price(section: &Section<'_, '_>, key: &str, usd: f64) -> Option<Price> {
    let price = Price::from_usd_per_token(usd);
    if price.is_none() {
        let hint = "dollars per token: 0.0000025 is $2.50 per million";
        section.places.error_at(key, format!("`{key}` is over a thousand dollars a token"), hint);
    }
    price
}
