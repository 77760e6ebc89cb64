//! Prices a token, which `litellm_params` and `model_info` may both give, in LiteLLM's names: those of any prompt, those of longer ones
//! (`…_above_200k_tokens`, whatever the number, or `tiered_pricing`), and both for the vendor's batch API (`…_batches`) and its service tiers
//! (`…_flex`, `…_priority`, `…_ultrafast`). What is cached for an hour has prices by the prompt's length alone. Beside tokens, searches cost.

use crate::config::report::Grade;
use crate::config::section::{Kind, Section};
use crate::money::{Costs, Given, GivenSteps, NanoUsd, Price};

/// How LiteLLM calls each price, that of a batch, those of service tiers, and how the longer prompts' begin.
const NAMES: [[&str; 6]; 10] = [
    [
        "input_cost_per_token",
        "input_cost_per_token_batches",
        "input_cost_per_token_flex",
        "input_cost_per_token_priority",
        "input_cost_per_token_ultrafast",
        "input_cost_per_token_above_",
    ],
    [
        "output_cost_per_token",
        "output_cost_per_token_batches",
        "output_cost_per_token_flex",
        "output_cost_per_token_priority",
        "output_cost_per_token_ultrafast",
        "output_cost_per_token_above_",
    ],
    [
        "cache_read_input_token_cost",
        "cache_read_input_token_cost_batches",
        "cache_read_input_token_cost_flex",
        "cache_read_input_token_cost_priority",
        "cache_read_input_token_cost_ultrafast",
        "cache_read_input_token_cost_above_",
    ],
    [
        "cache_creation_input_token_cost",
        "cache_creation_input_token_cost_batches",
        "cache_creation_input_token_cost_flex",
        "cache_creation_input_token_cost_priority",
        "cache_creation_input_token_cost_ultrafast",
        "cache_creation_input_token_cost_above_",
    ],
    [
        "input_cost_per_audio_token",
        "input_cost_per_audio_token_batches",
        "input_cost_per_audio_token_flex",
        "input_cost_per_audio_token_priority",
        "input_cost_per_audio_token_ultrafast",
        "input_cost_per_audio_token_above_",
    ],
    [
        "cache_read_input_audio_token_cost",
        "cache_read_input_audio_token_cost_batches",
        "cache_read_input_audio_token_cost_flex",
        "cache_read_input_audio_token_cost_priority",
        "cache_read_input_audio_token_cost_ultrafast",
        "cache_read_input_audio_token_cost_above_",
    ],
    [
        "output_cost_per_audio_token",
        "output_cost_per_audio_token_batches",
        "output_cost_per_audio_token_flex",
        "output_cost_per_audio_token_priority",
        "output_cost_per_audio_token_ultrafast",
        "output_cost_per_audio_token_above_",
    ],
    [
        "input_cost_per_image_token",
        "input_cost_per_image_token_batches",
        "input_cost_per_image_token_flex",
        "input_cost_per_image_token_priority",
        "input_cost_per_image_token_ultrafast",
        "input_cost_per_image_token_above_",
    ],
    [
        "cache_read_input_image_token_cost",
        "cache_read_input_image_token_cost_batches",
        "cache_read_input_image_token_cost_flex",
        "cache_read_input_image_token_cost_priority",
        "cache_read_input_image_token_cost_ultrafast",
        "cache_read_input_image_token_cost_above_",
    ],
    [
        "output_cost_per_image_token",
        "output_cost_per_image_token_batches",
        "output_cost_per_image_token_flex",
        "output_cost_per_image_token_priority",
        "output_cost_per_image_token_ultrafast",
        "output_cost_per_image_token_above_",
    ],
];

/// What is written to a cache that lasts for an hour, and how the longer prompts' prices of it go on behind the beginning of
/// those of all caches.
const HOUR: &str = "cache_creation_input_token_cost_above_1hr";
const HOUR_ABOVE: &str = "1hr_above_";

/// Whether a key of this name gives a price.
pub(in crate::config) fn is_price(key: &str) -> bool {
    let named = |[base, batch, flex, priority, ultrafast, above]: &[&str; 6]| {
        [base, batch, flex, priority, ultrafast].into_iter().any(|name| *name == key) || key.starts_with(*above)
    };
    ["tiered_pricing", "search_context_cost_per_query"].contains(&key) || NAMES.iter().any(named)
}

impl Given {
    /// In the order of [`NAMES`].
    const fn places(&mut self) -> [&mut Option<Price>; 10] {
        [
            &mut self.input,
            &mut self.output,
            &mut self.cache_read,
            &mut self.cache_write,
            &mut self.audio_input,
            &mut self.audio_cache_read,
            &mut self.audio_output,
            &mut self.image_input,
            &mut self.image_cache_read,
            &mut self.image_output,
        ]
    }
}

impl Costs {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut read = Self { search: search(section), ..Self::default() };
        read.base.cache_write_1h = section.amount(HOUR).and_then(|usd| price(section, HOUR, usd));
        for (place, [base, batch, flex, priority, ultrafast, above]) in NAMES.into_iter().enumerate() {
            let Self { base: of_all, batch: of_batches, tiers, .. } = &mut read;
            let of_tiers = tiers.iter_mut().map(|(of_tier, _)| of_tier).zip([flex, priority, ultrafast]);
            for (given, key) in [(of_all, base), (of_batches, batch)].into_iter().chain(of_tiers) {
                *given.places()[place] = section.amount(key).and_then(|usd| price(section, key, usd));
            }
            for (ending, usd) in section.amounts(above) {
                let key = format!("{above}{ending}");
                let of_an_hour = ending.strip_prefix(HOUR_ABOVE);
                let Some((thousands, whose)) = of_an_hour.unwrap_or(ending).split_once("k_tokens") else { continue };
                let steps = match whose {
                    "" => &mut read.above,
                    _ if of_an_hour.is_some() => continue,
                    "_batches" => &mut read.batch_above,
                    "_flex" => &mut read.tiers[0].1,
                    "_priority" => &mut read.tiers[1].1,
                    "_ultrafast" => &mut read.tiers[2].1,
                    _ => continue,
                };
                if let Some(thousands) =
                    thousands.parse::<u64>().ok().filter(|thousands| (1..1_000_000).contains(thousands))
                {
                    section.places.downgrade(&key, Grade::Exact, "");
                    let (told, step) = (price(section, &key, usd), steps.entry(thousands * 1000).or_default());
                    if of_an_hour.is_some() {
                        step.cache_write_1h = told;
                    } else {
                        *step.places()[place] = told;
                    }
                }
            }
        }
        // What is said by a key of its own is said of that alone.
        for (from, given) in tiers(section) {
            if from == 0 {
                read.base = read.base.or(given);
            } else {
                let step = read.above.entry(from).or_default();
                *step = step.or(given);
            }
        }
        read
    }
}

/// `search_context_cost_per_query`: what a search costs, by how much of the pages it reads. What it was asked for no reply tells.
fn search(section: &mut Section<'_, '_>) -> Option<NanoUsd> {
    const KEY: &str = "search_context_size_medium";
    let mut sizes = section.inner("search_context_cost_per_query", "search_context_cost_per_query");
    let each = sizes.amount(KEY).and_then(|usd| {
        let each = NanoUsd::from_usd(usd);
        if each.is_none() {
            sizes.places.error_at(KEY, format!("`{KEY}` is over a billion dollars"), "dollars per search: 0.01");
        }
        each
    });
    sizes.finish();
    each
}

/// `tiered_pricing`: a list of prices, each with the `range` of tokens that prompts have for which it holds. Of a range only where it begins
/// counts: the next one ends it.
fn tiers(section: &mut Section<'_, '_>) -> GivenSteps {
    let mut steps = GivenSteps::new();
    let Some(node) = section.descend("tiered_pricing", Kind::Sections("tiered_pricing")) else { return steps };
    let (reader, path) = (section.reader(), section.places.path_of("tiered_pricing"));
    for (number, node) in reader.list(node, &path).iter().enumerate() {
        let mut tier = reader.section(node, "tiered_pricing", &format!("{path}[{number}]"));
        let range = tier.get("range", Kind::List).map(|range| reader.list(range, "range")).unwrap_or_default();
        let from = range.first().and_then(|from| reader.ranged(from, "range", "tokens, from 0", |from| from >= 0.0));
        let mut given = Given::default();
        for (place, [key, ..]) in NAMES.into_iter().enumerate() {
            *given.places()[place] = tier.amount(key).and_then(|usd| price(&tier, key, usd));
        }
        match from {
            Some(from) if !given.is_nothing() => {
                steps.insert(tokens(from), given);
            }
            _ => {
                let hint = "{range: [0, 32000], input_cost_per_token: 1e-6, output_cost_per_token: 5e-6} holds for prompts up to 32,000 tokens";
                tier.places.error_at("range", "prices of a range need the `range` and a price", hint);
            }
        }
        tier.finish();
    }
    steps
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number from 0; what is too large becomes the largest"
)]
const fn tokens(number: f64) -> u64 {
    number as u64
}

fn price(section: &Section<'_, '_>, key: &str, usd: f64) -> Option<Price> {
    let price = Price::from_usd_per_token(usd);
    if price.is_none() {
        let hint = "dollars per token: 0.0000025 is $2.50 per million";
        section.places.error_at(key, format!("`{key}` is over a thousand dollars a token"), hint);
    }
    price
}
