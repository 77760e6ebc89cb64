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
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
    /// Of these, spent on reasoning.
    pub reasoning_tokens: u64,
    /// What the reply costs, where the gateway knows it and a stream's last events say so.
    #[serde(skip)]
    pub cost: Option<NanoUsd>,
    /// Fields without a canonical meaning, in the dialect of the reply they came with.
    #[serde(skip)]
    pub rest: Rest,
}

impl Usage {
    /// Adds another reply's tokens.
    pub const fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}
