//! How a provider counts what a request uses, which is data (`data/providers.json`).

use serde::Deserialize;

use super::Demand;

/// How a provider counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Counting {
    /// What counts of the output.
    pub output: OutputCounting,
    /// Input that was read from the provider's cache does not count.
    pub cache_reads_free: bool,
    /// Its replies say what they cost, in US dollars: what it bills, fees and searches included, where a price a token is a guess.
    pub tells_cost: bool,
}

/// What counts of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputCounting {
    /// The bound that the request gives, when it arrives, however short the reply is. The cautious assumption.
    #[default]
    Bound,
    /// What is made, as it is made: a bound alone costs nothing.
    Made,
}

impl Counting {
    /// What counts of a reply that used so much. `cached` of its input was read from a cache; `bound` is what counted on arrival, where
    /// the output was bounded.
    #[must_use]
    pub fn settled(self, used: Demand, cached: u64, bound: u64) -> Demand {
        let output_tokens = match self.output {
            OutputCounting::Bound => used.output_tokens.max(bound),
            OutputCounting::Made => used.output_tokens,
        };
        let free = if self.cache_reads_free { cached } else { 0 };
        Demand { input_tokens: used.input_tokens.saturating_sub(free), output_tokens, ..used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::NanoUsd;

    #[test]
    fn a_bound_counts_where_it_counts_on_arrival_and_cached_input_where_it_is_not_free() {
        let used = Demand { input_tokens: 1000, output_tokens: 50, cost: NanoUsd(7) };
        let openai = Counting::default();
        assert_eq!(openai.settled(used, 800, 400), Demand { output_tokens: 400, ..used });
        assert_eq!(openai.settled(used, 800, 0), used);
        let anthropic = Counting { output: OutputCounting::Made, cache_reads_free: true, tells_cost: false };
        assert_eq!(anthropic.settled(used, 800, 400), Demand { input_tokens: 200, ..used });
    }
}
