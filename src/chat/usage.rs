//! Tokens as providers bill them, in one way of counting.

use serde::{Deserialize, Serialize};

use super::Rest;
use crate::money::NanoUsd;

/// Tokens of one reply. `input_tokens` is all of the input: what was fresh, what was read from the
/// provider's cache and what was written to it. (OpenAI counts so; Anthropic reports the three apart.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens.
    pub input_tokens: u64,
    /// Of these, read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Of these, written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Of those written, what is to stay there for an hour: it is dearer than the usual five minutes.
    #[serde(skip)]
    pub cache_write_1h_tokens: u64,
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
    /// Of these, spent on reasoning.
    pub reasoning_tokens: u64,
    /// Of the input tokens, those of recordings, whether they were fresh or cached.
    #[serde(skip)]
    pub audio_input_tokens: u64,
    /// Of these, read from the provider's cache.
    #[serde(skip)]
    pub audio_cache_read_tokens: u64,
    /// Of the output tokens, those of speech.
    #[serde(skip)]
    pub audio_output_tokens: u64,
    /// Of the input tokens, those of pictures, where the provider tells and bills them apart.
    #[serde(skip)]
    pub image_input_tokens: u64,
    /// Of these, read from the provider's cache.
    #[serde(skip)]
    pub image_cache_read_tokens: u64,
    /// Of the output tokens, those of pictures.
    #[serde(skip)]
    pub image_output_tokens: u64,
    /// Searches that the provider made for it and takes a fee for.
    #[serde(skip)]
    pub searches: u64,
    /// What other models used for the reply: in none of the counts above.
    #[serde(skip)]
    pub by_others: Vec<ByOther>,
    /// How soon it was served, where the provider says another way than the usual one: prices hang on it.
    #[serde(skip)]
    pub tier: Option<ServiceTier>,
    /// What else it was served with that costs more, where the provider says so.
    #[serde(skip)]
    pub surcharges: Surcharges,
    /// What the provider says that the reply costs.
    #[serde(skip)]
    pub told_cost: Option<NanoUsd>,
    /// What the reply costs, where the gateway knows it and a stream's last events say so.
    #[serde(skip)]
    pub cost: Option<NanoUsd>,
    /// Fields without a canonical meaning, in the dialect of the reply they came with.
    #[serde(skip)]
    pub rest: Rest,
}

/// What another model used that the one which replies had asked within the request: for advice, or for a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ByOther {
    /// Its name, as the provider tells it; empty where it tells none.
    pub model: String,
    /// Its tokens.
    pub usage: Usage,
}

/// A service tier that has prices of its own: what is served when there is room, and what is served sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceTier {
    /// Served when there is room.
    Flex,
    /// Served first. OpenAI calls it fast, too.
    Priority,
    /// Served by the fastest machines.
    Ultrafast,
}

impl ServiceTier {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Flex, Self::Priority, Self::Ultrafast];

    /// The tier that a provider, a client or a price names so. Others have the usual prices.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "flex" => Some(Self::Flex),
            "priority" | "fast" => Some(Self::Priority),
            "ultrafast" => Some(Self::Ultrafast),
            _ => None,
        }
    }

    /// The tiers that a request may be served in which asks for one so, beside the usual one.
    #[must_use]
    pub fn asked(word: &str) -> &'static [Self] {
        match word {
            "flex" => &[Self::Flex],
            "priority" | "fast" => &[Self::Priority],
            "ultrafast" => &[Self::Ultrafast],
            // Its account decides, and what it bought. The third is for those who ask for it.
            "auto" => &[Self::Flex, Self::Priority],
            _ => &[],
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Ultrafast => "ultrafast",
        }
    }
}

/// What makes all tokens of a reply dearer by a factor, beside its service tier: Anthropic's `speed` and `inference_geo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surcharges {
    /// The model's fast mode.
    pub fast: bool,
    /// Inference in the United States alone.
    pub us: bool,
}

impl Surcharges {
    /// What these words mean, in a request or in a reply.
    #[must_use]
    pub fn named(speed: Option<&str>, inference_geo: Option<&str>) -> Self {
        Self { fast: speed == Some("fast"), us: inference_geo.is_some_and(|place| place.eq_ignore_ascii_case("us")) }
    }

    /// What either of two has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { fast: self.fast || other.fast, us: self.us || other.us }
    }
}

impl Usage {
    /// What is counted and billed of it, without the fields that only a reply in its own dialect has a use for.
    #[must_use]
    pub fn counted(&self) -> Self {
        Self { by_others: self.by_others.clone(), rest: Rest::new(), ..*self }
    }

    /// Adds another reply's tokens.
    pub const fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.cache_write_1h_tokens = self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.audio_input_tokens = self.audio_input_tokens.saturating_add(other.audio_input_tokens);
        self.audio_cache_read_tokens = self.audio_cache_read_tokens.saturating_add(other.audio_cache_read_tokens);
        self.audio_output_tokens = self.audio_output_tokens.saturating_add(other.audio_output_tokens);
        self.image_input_tokens = self.image_input_tokens.saturating_add(other.image_input_tokens);
        self.image_cache_read_tokens = self.image_cache_read_tokens.saturating_add(other.image_cache_read_tokens);
        self.image_output_tokens = self.image_output_tokens.saturating_add(other.image_output_tokens);
        self.searches = self.searches.saturating_add(other.searches);
    }
}
