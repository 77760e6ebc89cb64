//! Providers: a wire format spoken by a component. It writes and reads bodies; origin, credential, framing, and what a status
//! means are the host's.
//!
//! A component that fails costs its attempt and nothing else: another deployment may serve the request.

mod bindings;
mod calls;
mod format;
mod stream;

use std::sync::Arc;

use super::host::PolicyRuntime;
use crate::id::GroupName;

pub(super) use calls::MOST_IDLE;
pub use calls::{ProviderNeeds, Providing};
pub use format::ComponentFormat;

use bindings::exports::witgate::policy::providing as wit;

/// A provider's format in service.
pub type ProviderPolicy = PolicyRuntime<Providing>;

/// What it is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSetup {
    /// The group it works for; `None` where it is tried alone.
    pub group: Option<GroupName>,
    /// The policy's settings, a JSON object as text.
    pub settings: Arc<str>,
    /// The model of the deployment it speaks for.
    pub model: Arc<str>,
    /// The policy's own seed.
    pub seed: u64,
}
