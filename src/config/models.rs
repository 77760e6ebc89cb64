//! What is publicly known of models: windows, bounds and prices, as data (`data/models.json`). A configuration
//! that says something itself always wins.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::catalog::{Capability, Support, Supports};
use crate::chat::ServiceTier;
use crate::money::{Factor, Factors, NanoUsd, OtherPrices, Price, Prices, Rates, SearchFee, Steps};

/// What is known of one model.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) provider: String,
    #[serde(rename = "model")]
    pub(super) name: String,
    #[serde(flatten)]
    usd: UsdPerToken,
    /// What longer prompts cost, where they cost more.
    #[serde(default)]
    above: Vec<Above>,
    /// What its maker's batch API costs.
    #[serde(default)]
    batch: Option<TierPrices>,
    /// What its maker's service tiers cost.
    #[serde(default)]
    flex: Option<TierPrices>,
    #[serde(default)]
    priority: Option<TierPrices>,
    #[serde(default)]
    ultrafast: Option<TierPrices>,
    /// By which factor its maker's fast mode, and inference in the United States alone, make it dearer.
    #[serde(default)]
    fast: Option<f64>,
    #[serde(default)]
    us: Option<f64>,
    /// What a search costs that its maker makes for a reply, and whether a reply pays for one however many there were.
    #[serde(default)]
    search: Option<f64>,
    #[serde(default)]
    search_once: bool,
    #[serde(default)]
    pub(super) max_input: Option<u32>,
    #[serde(default)]
    pub(super) max_output: Option<u32>,
    /// Whether its maker serves it by the responses API alone.
    #[serde(default)]
    pub(super) responses: bool,
    /// Whether it draws for models that ask it, and chats with nobody.
    #[serde(default)]
    images_only: bool,
    /// What it does beside text, by LiteLLM's names without `supports_`.
    #[serde(default)]
    takes: Vec<String>,
    /// What it is known not to do.
    #[serde(default)]
    lacks: Vec<String>,
}

/// The price of each kind of token.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct UsdPerToken {
    input: f64,
    output: f64,
    #[serde(default)]
    cache_read: Option<f64>,
    #[serde(default)]
    cache_write: Option<f64>,
    #[serde(default)]
    audio_input: Option<f64>,
    #[serde(default)]
    audio_cache_read: Option<f64>,
    #[serde(default)]
    audio_output: Option<f64>,
    #[serde(default)]
    image_input: Option<f64>,
    #[serde(default)]
    image_cache_read: Option<f64>,
    #[serde(default)]
    image_output: Option<f64>,
}

impl UsdPerToken {
    /// `None` where a number is none a price can be.
    fn rates(&self) -> Option<Rates> {
        let price = |usd: Option<f64>| usd.and_then(Price::from_usd_per_token);
        Some(Rates {
            input: Price::from_usd_per_token(self.input)?,
            output: Price::from_usd_per_token(self.output)?,
            cache_read: price(self.cache_read),
            cache_write: price(self.cache_write),
            // All are twice the input price, which holds where none is given; `distil_models.py` stops at one that is not.
            cache_write_1h: None,
            audio_input: price(self.audio_input),
            audio_cache_read: price(self.audio_cache_read),
            audio_output: price(self.audio_output),
            image_input: price(self.image_input),
            image_cache_read: price(self.image_cache_read),
            image_output: price(self.image_output),
        })
    }
}

/// Prices of a whole request whose input is longer than so many tokens.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Above {
    tokens: u64,
    #[serde(flatten)]
    usd: UsdPerToken,
}

/// Prices of a maker's batch API, or of a service tier.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct TierPrices {
    #[serde(flatten)]
    usd: UsdPerToken,
    #[serde(default)]
    above: Vec<Above>,
}

impl TierPrices {
    fn prices(&self) -> Option<(Rates, Steps)> {
        Some((self.usd.rates()?, steps(&self.above)?))
    }
}

fn steps(above: &[Above]) -> Option<Steps> {
    let step = |above: &Above| Some((above.tokens, above.usd.rates()?));
    above.iter().map(step).collect::<Option<Vec<_>>>().map(Steps::of)
}

impl Model {
    /// Whether it makes vectors: no model that writes does so for nothing.
    pub(super) fn makes_vectors(&self) -> bool {
        self.usd.input > 0.0 && self.usd.output <= 0.0 && self.usd.image_output.is_none()
    }

    /// What is known of it beside text. Of a row that tells nothing of the kind, nothing is.
    pub(super) fn supports(&self) -> Supports {
        let tells = !self.takes.is_empty() || !self.lacks.is_empty();
        Capability::ALL.into_iter().filter(|_| tells).fold(Supports::default(), |known, capability| {
            let named = self.takes.iter().any(|name| capability.key().strip_prefix("supports_") == Some(name));
            // Models learn, and tables lag behind: only a configuration denies.
            known.with(capability, if named { Support::Yes } else { Support::Unlisted })
        })
    }

    /// Its prices; `None` where a number of the table is none a price can be.
    pub(super) fn prices(&self) -> Option<Prices> {
        let base = self.usd.rates()?;
        let batch = match &self.batch {
            Some(batch) => Some(batch.prices()?.into()),
            None => None,
        };
        let tiers = ServiceTier::ALL.into_iter().zip([&self.flex, &self.priority, &self.ultrafast]);
        let tiers = tiers.filter_map(|(tier, prices)| Some((tier, prices.as_ref()?)));
        let tiers = tiers.map(|(tier, prices)| prices.prices().map(|(rates, steps)| (tier, rates, steps)));
        let tiers = tiers.collect::<Option<Vec<_>>>()?;
        let tiers = (!tiers.is_empty()).then(|| tiers.into());
        let factor = |number: Option<f64>| number.and_then(Factor::from_number);
        let surcharges = Factors { fast: factor(self.fast), us: factor(self.us) };
        let search = self.search.and_then(NanoUsd::from_usd).map(|each| SearchFee { each, once: self.search_once });
        Some(Prices { base, long: steps(&self.above)?, batch, tiers, surcharges, search, others: Some(OTHERS) })
    }
}

/// What is known of the prices of any model.
pub(super) const OTHERS: OtherPrices = OtherPrices(prices_of);

/// What is known of the prices of a model, by its name alone or as `provider/name`.
#[must_use]
pub fn prices_of(name: &str) -> Option<Prices> {
    named(name).and_then(Model::prices)
}

/// The version of a provider's API that a generation of its models is spoken to in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiVersion {
    provider: String,
    /// How the models' names begin.
    prefix: String,
    version: String,
}

#[derive(Debug, Default, Deserialize)]
struct ApiVersions {
    by_prefix: Vec<ApiVersion>,
}

#[derive(Debug, Default, Deserialize)]
struct Table {
    offered: BTreeMap<String, Vec<String>>,
    api_versions: ApiVersions,
    models: Vec<Model>,
}

/// A table that could not be read is empty; a test reads it.
static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/models.json")).unwrap_or_default());

/// A model's name as its maker writes it: clouds put its date, or what stands for the newest, behind an `@`.
pub(super) fn plain(model: &str) -> Cow<'_, str> {
    match model.split_once('@') {
        Some((name, "default" | "latest")) => Cow::Borrowed(name),
        Some((name, date)) => Cow::Owned(format!("{name}-{date}")),
        None => Cow::Borrowed(model),
    }
}

/// How the names of OpenAI's tuned models begin.
const TUNED: &str = "ft:";

/// How makers write a model's date behind its name, with zeros for digits: as OpenAI does, and Anthropic.
const DATES: [&str; 2] = ["-2000-00-00", "-20000000"];

/// The names that a model may be known by, its own first: of one that was tuned, that of what such models are made of
/// (`ft:BASE:ORGANIZATION:SUFFIX:ID`); of one with a date, that without.
fn known_by(model: &str) -> impl Iterator<Item = &str> {
    let base = model.strip_prefix(TUNED).and_then(|tuned| tuned.split_once(':'));
    let base = base.and_then(|(base, _)| model.get(..TUNED.len() + base.len()));
    [Some(model), base, undated(base.unwrap_or(model))].into_iter().flatten()
}

fn undated(model: &str) -> Option<&str> {
    DATES.iter().find_map(|shape| {
        let (name, date) = model.split_at_checked(model.len().checked_sub(shape.len())?)?;
        let fits = |(has, wants): (u8, u8)| if wants == b'-' { has == b'-' } else { has.is_ascii_digit() };
        (date.starts_with("-20") && date.bytes().zip(shape.bytes()).all(fits)).then_some(name)
    })
}

/// A provider's model.
pub(super) fn of_provider(provider: &str, model: &str) -> Option<&'static Model> {
    let of = |name: &str| TABLE.models.iter().find(|row| row.provider == provider && row.name == name);
    known_by(&plain(model)).find_map(of)
}

/// The names of a provider's models that chat or make vectors.
pub(super) fn names_of(provider: &str) -> impl Iterator<Item = &'static str> {
    let is_one = move |row: &&Model| row.provider == provider && !row.images_only;
    TABLE.models.iter().filter(is_one).map(|row| row.name.as_str())
}

/// A model by its name alone, or as `provider/name`.
pub(super) fn named(name: &str) -> Option<&'static Model> {
    let by_both = name.split_once('/').and_then(|(provider, model)| of_provider(provider, model));
    by_both.or_else(|| known_by(name).find_map(|name| TABLE.models.iter().find(|row| row.name == name)))
}

/// The version of the provider's API this model needs; `None` is the newest its format knows.
pub(super) fn api_version(provider: &str, model: &str) -> Option<&'static str> {
    let model = plain(model);
    let mut rows = TABLE.api_versions.by_prefix.iter();
    rows.find(|row| row.provider == provider && model.starts_with(&row.prefix)).map(|row| row.version.as_str())
}

/// The models a provider is served with where no configuration names any.
pub(super) fn offered(provider: &str) -> &'static [String] {
    TABLE.offered.get(provider).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{ByOther, Surcharges, Usage};

    #[test]
    fn every_row_is_read_and_makes_sense() {
        let table: Table = serde_json::from_str(include_str!("../../data/models.json")).expect("the table is JSON");
        assert!(table.models.len() > 700);
        let mut seen = std::collections::BTreeSet::new();
        for row in &table.models {
            let name = format!("{}/{}", row.provider, row.name);
            let prices = row.prices().unwrap_or_else(|| panic!("prices of {name}"));
            // Embeddings have no output.
            assert!(row.usd.output >= row.usd.input || row.usd.output == 0.0, "output is cheaper than input: {name}");
            for rates in std::iter::once(&prices.base).chain(prices.long.iter().map(|(_, rates)| rates)) {
                assert!(
                    rates.cache_read.is_none_or(|price| price <= rates.input),
                    "reading a cache costs more: {name}"
                );
            }
            let shorter = std::iter::once(&prices.base).chain(prices.long.iter().map(|(_, rates)| rates));
            let dearer =
                |(before, (above, long)): (&Rates, &(u64, Rates))| *above >= 32_000 && long.input >= before.input;
            assert!(shorter.zip(prices.long.iter()).all(dearer), "a long prompt costs less: {name}");
            let cheaper =
                |(rates, _): &(Rates, Steps)| rates.input <= prices.base.input && rates.output <= prices.base.output;
            assert!(prices.batch.as_deref().is_none_or(cheaper), "a batch costs more: {name}");
            for (tier, rates, long) in prices.tiers.iter().flat_map(|tiers| tiers.iter()) {
                let orders = |tier_price: Price, usual: Price| match tier {
                    ServiceTier::Flex => tier_price <= usual,
                    ServiceTier::Priority | ServiceTier::Ultrafast => tier_price >= usual,
                };
                let fits =
                    |own: &Rates, usual: &Rates| orders(own.input, usual.input) && orders(own.output, usual.output);
                assert!(fits(rates, &prices.base), "{} of {name}", tier.as_str());
                assert!(long.iter().all(|(above, own)| fits(own, prices.at(above + 1))), "{} of {name}", tier.as_str());
            }
            let surcharges = [(row.fast, prices.surcharges.fast), (row.us, prices.surcharges.us)];
            assert!(surcharges.iter().all(|(told, read)| told.is_some() == read.is_some()), "surcharges of {name}");
            assert!(row.search.is_some() == prices.search.is_some(), "searches of {name}");
            assert!(row.search.is_none_or(|usd| (0.001..0.1).contains(&usd)), "searches of {name}");
            let of_text = [prices.base.input, prices.base.output];
            let of_audio = [prices.base.audio_input, prices.base.audio_output];
            let dearer = |(text, audio): (Price, Option<Price>)| audio.is_none_or(|audio| audio.0 * 2 >= text.0);
            assert!(of_text.into_iter().zip(of_audio).all(dearer), "recordings of {name}");
            let of_images = prices.base.image_output;
            assert!(of_images.is_none_or(|drawn| drawn > prices.base.output), "pictures of {name}");
            assert!(!row.images_only || (of_images.is_some() && !row.makes_vectors()), "pictures of {name}");
            assert!(row.max_input.is_none_or(|tokens| tokens >= 100), "context of {name}");
            assert!(row.max_output.is_none_or(|tokens| tokens > 0), "output of {name}");
            assert!(seen.insert(name.clone()), "twice: {name}");
        }
    }

    #[test]
    fn a_generation_of_models_has_its_version_of_the_api() {
        let sampling =
            ["claude-3-5-haiku-20241022", "claude-sonnet-4-5", "claude-opus-4-6", "claude-haiku-4-5-20251001"];
        assert!(sampling.iter().all(|model| api_version("anthropic", model) == Some("2023-06-01")));
        let newer = ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-haiku-5-5", "claude-fable-5"];
        assert!(newer.iter().all(|model| api_version("anthropic", model).is_none()));
        assert_eq!(api_version("openai", "claude-3"), None);
        assert_eq!(api_version("anthropic", "claude-opus-4@20250514"), Some("2023-06-01"));
        assert_eq!(api_version("anthropic", "claude-opus-5-5@default"), None);
    }

    #[test]
    fn tuned_and_dated_models_are_known_by_what_they_are_made_of() {
        let name = |provider: &str, model: &str| of_provider(provider, model).map(|row| row.name.as_str());
        let tuned = "ft:gpt-4o-mini-2024-07-18";
        for suffix in ["", ":org::x", ":org:suffix:x", ":org:suffix:x:ckpt-step-100"] {
            assert_eq!(name("openai", &format!("{tuned}{suffix}")), Some(tuned), "{suffix}");
            assert_eq!(named(&format!("openai/{tuned}{suffix}")).map(|row| row.name.as_str()), Some(tuned));
        }
        assert_eq!(name("openai", "ft:of-nothing:org::x"), None);
        assert_eq!(name("openai", "gpt-4o-2024-05-13"), Some("gpt-4o-2024-05-13"), "its own prices first");
        assert_eq!(name("openai", "gpt-4o-2099-01-01"), Some("gpt-4o"));
        assert_eq!(named("gpt-6.1-sol-2026-11-30").map(|row| row.name.as_str()), Some("gpt-6.1-sol"));
        for model in ["claude-opus-5-5-20261101", "claude-opus-5-5@20261101"] {
            assert_eq!(name("anthropic", model), Some("claude-opus-5-5"));
        }
        for other in ["gpt-4o-1999-01-01", "gpt-4o-2099-01", "gpt-4o-2099-1-011", "-2099-01-01", "é"] {
            assert_eq!(name("openai", other), None, "{other}");
        }
    }

    #[test]
    fn models_that_draw_for_others_are_priced_and_named_to_nobody() {
        assert!(of_provider("openai", "gpt-image-2").is_some_and(|model| model.prices().is_some()));
        assert!(names_of("openai").all(|name| !name.contains("-image")));
        assert!(names_of("gemini").any(|name| name == "gemini-2.5-flash-image"), "it chats, too");
    }

    #[test]
    fn what_is_offered_is_known() {
        for provider in ["openai", "anthropic"] {
            assert!(!offered(provider).is_empty());
            for model in offered(provider) {
                assert!(of_provider(provider, model).is_some(), "{provider}/{model}");
            }
        }
    }

    #[test]
    fn steps_and_batches_are_those_of_the_vendors() {
        let of = |name: &str| named(name).and_then(Model::prices).unwrap_or_else(|| panic!("{name}"));
        let per_million = |price: Price| price.0 / 1_000_000;
        // dashscope.console.aliyun.com: up to 32k, 128k, 256k and 1M tokens.
        let qwen = of("dashscope/qwen3-coder-plus");
        let input = [1, 32_001, 128_001, 256_001].map(|tokens| per_million(qwen.at(tokens).input));
        assert_eq!(input, [1_000, 1_800, 3_000, 6_000]);
        let gemini = of("gemini/gemini-2.5-pro");
        assert_eq!(gemini.at(200_001).cache_read.map(per_million), Some(250));
        let tier = |tier, tokens| gemini.at_tier(Some(tier), tokens);
        assert_eq!(per_million(tier(ServiceTier::Flex, 200_000).input), 625);
        assert_eq!(per_million(tier(ServiceTier::Priority, 200_001).output), 27_000);
        let (batch, long) = gemini.batch.as_deref().expect("half price");
        assert_eq!((per_million(batch.input), per_million(batch.output)), (625, 5_000));
        assert_eq!(
            long.iter().map(|(above, rates)| (*above, per_million(rates.input))).collect::<Vec<_>>(),
            [(200_000, 1_250)]
        );
        assert!(
            named("anthropic/claude-haiku-4-5").and_then(Model::prices).is_some_and(|prices| prices.batch.is_some())
        );
    }

    /// Against LiteLLM's `completion_cost`, but for the search of a model of which its map says nothing.
    #[test]
    fn what_a_reply_was_served_with_and_searched_for_is_in_its_bill() {
        let cost = |name: &str, usage: Usage| named(name).and_then(Model::prices).expect("prices").cost(&usage).0;
        let long = Usage { input_tokens: 100_000, output_tokens: 10_000, ..Usage::default() };
        let tier = |word| Usage { tier: ServiceTier::named(word), ..long.clone() };
        let sol = ["default", "priority", "fast", "ultrafast"].map(|word| cost("openai/gpt-6.1-sol", tier(word)));
        assert_eq!(sol, [300_000_000, 600_000_000, 600_000_000, 1_800_000_000]);
        let opus = |fast, us| Usage { surcharges: Surcharges { fast, us }, ..long.clone() };
        let opus = [opus(false, false), opus(true, false), opus(false, true)];
        assert_eq!(
            opus.map(|usage| cost("anthropic/claude-opus-5-5", usage)),
            [600_000_000, 1_200_000_000, 660_000_000]
        );
        let searched = Usage { input_tokens: 1000, output_tokens: 700, searches: 5, ..Usage::default() };
        assert_eq!(cost("anthropic/claude-haiku-4-5", searched.clone()), 54_500_000);
        assert_eq!(cost("gemini/gemini-2.5-flash", searched.clone()), 300_000 + 1_750_000 + 35_000_000);
        assert_eq!(cost("gemini/gemini-3.5-flash", searched), 1_500_000 + 6_300_000 + 70_000_000);
        let heard = Usage { input_tokens: 100_000, audio_input_tokens: 99_000, output_tokens: 50, ..Usage::default() };
        assert_eq!(cost("gemini/gemini-2.5-flash", heard), 99_000_000 + 300_000 + 125_000);
        let other = |model: &str, usage: &Usage| vec![ByOther { model: model.to_owned(), usage: usage.clone() }];
        let advised = Usage { by_others: other("claude-opus-4-6", &long), ..long.clone() };
        assert_eq!(cost("anthropic/claude-haiku-4-5", advised), 150_000_000 + 750_000_000);
        let drawn = Usage { output_tokens: 1300, image_output_tokens: 1290, ..Usage::default() };
        assert_eq!(cost("gemini/gemini-2.5-flash-image", drawn), 25_000 + 38_700_000);
        let by_tool = Usage {
            input_tokens: 1100,
            image_input_tokens: 1000,
            output_tokens: 4160,
            image_output_tokens: 4160,
            ..Usage::default()
        };
        let asked = Usage { by_others: other("gpt-image-1", &by_tool), ..Usage::default() };
        assert_eq!(cost("openai/gpt-5", asked), 500_000 + 10_000_000 + 166_400_000);
        let spoken = Usage { output_tokens: 1000, audio_output_tokens: 800, ..Usage::default() };
        assert_eq!(cost("openai/gpt-audio", spoken), 2_000_000 + 51_200_000);
    }

    #[test]
    fn prices_are_per_million_tokens_in_nano_dollars() {
        let model = named("anthropic/claude-haiku-4-5").expect("a known model");
        let prices = model.prices().expect("prices");
        assert_eq!((prices.base.input.0, prices.base.output.0), (1_000_000_000, 5_000_000_000));
        assert_eq!(named("claude-haiku-4-5"), Some(model));
        assert_eq!(model.max_input, Some(200_000));
        let dated = of_provider("anthropic", "claude-haiku-4-5@20251001");
        assert!(dated.is_some_and(|dated| dated.prices() == model.prices()));
    }
}
