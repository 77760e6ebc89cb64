//! The canonical chat: what every face is parsed into and every provider is spoken to from.
//!
//! The rule: nothing a client or a provider said is lost in silence. What has a meaning in more than one
//! dialect has a field here; what has not is kept in `rest`, goes back out in the dialect it came from,
//! and is reported as dropped anywhere else.

mod chunk;
mod reply;
mod request;
mod usage;

pub use chunk::{Chunk, Delta};
pub use reply::{Choice, FinishReason, Reply};
pub use request::{ChatRequest, ImageSource, Message, OutputFormat, Part, PartKind, Reasoning, Role, Tool, ToolChoice};
pub use usage::Usage;

/// Fields of one dialect that the canonical types do not name, in the order they came.
pub type Rest = serde_json::Map<String, serde_json::Value>;

/// The wire formats spoken here, as a face and as a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialectName {
    /// OpenAI chat completions, and all that imitate it.
    Openai,
    /// Anthropic messages.
    Anthropic,
}

impl DialectName {
    /// The name used in headers, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}
