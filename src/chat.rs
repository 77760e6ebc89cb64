//! The canonical chat: what every client API is parsed into and every provider is spoken to from.
//!
//! The rule: nothing a client or a provider said is lost in silence. What has a meaning in more than one
//! dialect has a field here; what has not is kept in `rest`, goes back out in the dialect it came from,
//! and is reported as dropped anywhere else.

mod chunk;
mod logprobs;
mod parts;
mod path;
mod reply;
mod request;
mod usage;
mod vectors;

pub use chunk::{Chunk, Delta, PARTIAL_PICTURE};
pub use logprobs::{ScoredToken, TokenLogprob};
pub use parts::PartsOfDeltas;
pub use path::check_path;
pub use reply::{Choice, FinishReason, Reply};
pub use request::{
    ChatRequest, IN_BACKGROUND, ImageSource, Message, OutputFormat, Part, PartKind, Reasoning, Role, Tool, ToolChoice,
};
pub use usage::{ByOther, ServiceTier, Surcharges, Usage};
pub use vectors::{Vector, VectorRequest, Vectors};

/// Fields of one dialect that the canonical types do not name, in the order they came.
pub type Rest = serde_json::Map<String, serde_json::Value>;

/// Whose field names something was written in: fields without a canonical meaning go back out only in the dialect they came
/// in. A client's API and a provider's format of the same family share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dialect(&'static str);

impl Dialect {
    /// The dialect of this name; each format names its own.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}
