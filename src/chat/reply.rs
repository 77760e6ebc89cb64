//! A whole reply.

use super::{Dialect, Part, Rest, TokenLogprob, Usage};

/// What a provider answered to a request that was not streamed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The provider's id of the reply.
    pub id: String,
    /// The upstream model that answered, as the provider names it.
    pub model: String,
    /// Seconds since the Unix epoch, where the provider said.
    pub created: Option<u64>,
    /// The alternatives; one unless the client asked for more.
    pub choices: Vec<Choice>,
    /// Tokens as the provider counted them.
    pub usage: Option<Usage>,
    /// The dialect `rest` belongs to.
    pub dialect: Dialect,
    /// Fields without a canonical meaning.
    pub rest: Rest,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its place, from 0.
    pub index: u32,
    /// What the assistant said.
    pub parts: Vec<Part>,
    /// Why it ended; `None` where the provider did not say.
    pub finish: Option<FinishReason>,
    /// How likely its tokens were; empty where nobody asked, or the provider does not tell. A provider's own words for it are in `rest`, too.
    pub logprobs: Vec<TokenLogprob>,
    /// Fields of the choice without a canonical meaning.
    pub rest: Rest,
    /// Fields of the message inside it (annotations …) without a canonical meaning.
    pub message_rest: Rest,
}

/// Why a reply ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// One of the client's stop texts was reached; the text where the provider tells it.
    StopSequence(Option<String>),
    /// The output bound was reached.
    Length,
    /// The model waits for tool results.
    ToolCalls,
    /// A filter of the provider cut the reply.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// A reason only its own dialect understands.
    Other(String),
}

impl FinishReason {
    /// The same as APIs tell it that have no reason of that name: a refusal is told by its words, and one without any as what a filter
    /// held back.
    #[must_use]
    pub fn told(&self, in_words: bool) -> &Self {
        if *self == Self::Refusal && !in_words { &Self::ContentFilter } else { self }
    }
}
