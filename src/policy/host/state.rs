//! What a policy learned, as it is kept for it.

use serde::{Deserialize, Serialize};

/// What a policy learned, in a shape only it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// The policy's name for the shape of `bytes`.
    pub schema: String,
    /// The state.
    pub bytes: Vec<u8>,
}
