//! A streamed reply, piece by piece.

use serde_json::Value;

use super::{Dialect, FinishReason, Rest, TokenLogprob, Usage};

/// The name of a [`Delta::Other`] that shows a picture before it is whole. Clients that understand it are shown it at once.
pub const PARTIAL_PICTURE: &str = "picture.partial";

/// One step of a streamed reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Which alternative it belongs to, from 0.
    pub choice: u32,
    /// What happened.
    pub delta: Delta,
    /// Fields of the provider's event without a canonical meaning, nested as they were on the wire.
    /// An event that says several things leaves them with the first.
    pub rest: Rest,
}

impl Chunk {
    /// A step of the first alternative, with nothing beside it.
    #[must_use]
    pub fn of(delta: Delta) -> Self {
        Self { choice: 0, delta, rest: Rest::new() }
    }
}

/// What a step adds.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The reply begins. Always first, once.
    Start {
        /// The provider's id of the reply.
        id: String,
        /// The upstream model that answers.
        model: String,
        /// Seconds since the Unix epoch, where the provider said.
        created: Option<u64>,
        /// The dialect that every chunk's `rest` and every [`Delta::Other`] of this reply belongs to.
        dialect: Dialect,
    },
    /// More text.
    Text(String),
    /// More of a refusal.
    Refusal(String),
    /// More thinking.
    Reasoning(String),
    /// The provider's signature under the thinking so far.
    ReasoningSignature(String),
    /// Thinking that the provider hides, whole: opaque, and wanted back.
    RedactedReasoning(String),
    /// A tool call begins.
    ToolCall {
        /// Its place among the reply's tool calls, from 0.
        index: u32,
        /// Ties the call to its result.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// More of a tool call's arguments, as JSON text.
    ToolArguments {
        /// The tool call it belongs to.
        index: u32,
        /// The text to append.
        fragment: String,
    },
    /// How likely the tokens were of what was said just before. A provider's own words for it are in the `rest` of the event, too.
    Logprobs(Vec<TokenLogprob>),
    /// The alternative is complete.
    Finish(FinishReason),
    /// Tokens so far; a later one replaces it. Boxed: it is five times as large as what most chunks are.
    Usage(Box<Usage>),
    /// An event only its own dialect understands, kept whole.
    Other {
        /// The event's name on the wire, where the dialect names events.
        event: String,
        /// Its data.
        value: Value,
    },
}

impl Delta {
    /// Whether the client has received something of the reply itself once this is sent: from here on
    /// no other deployment may take over.
    #[must_use]
    pub fn is_content(&self) -> bool {
        match self {
            Self::Start { .. } | Self::Logprobs(_) | Self::Usage(_) => false,
            Self::Other { event, .. } => event == PARTIAL_PICTURE,
            _ => true,
        }
    }

    /// Puts it behind `deltas`, as one with the last of them where it says more of the same.
    pub fn push_onto(self, deltas: &mut Vec<Self>) {
        match (deltas.last_mut(), &self) {
            (Some(Self::Text(all)), Self::Text(more))
            | (Some(Self::Reasoning(all)), Self::Reasoning(more))
            | (Some(Self::Refusal(all)), Self::Refusal(more)) => all.push_str(more),
            (
                Some(Self::ToolArguments { index: known, fragment: all }),
                Self::ToolArguments { index, fragment: more },
            ) if known == index => {
                all.push_str(more);
            }
            _ => deltas.push(self),
        }
    }
}
