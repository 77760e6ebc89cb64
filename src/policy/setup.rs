//! What builders and parsers are configured with: neither knows deployments, both are told texts.

use std::sync::Arc;

use crate::id::GroupName;
use crate::signal::Grants;

/// What a prompt builder or a response parser is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySetup {
    /// The group it works for; `None` where it is tried alone.
    pub group: Option<GroupName>,
    /// The policy's settings, a JSON object as text.
    pub settings: Arc<str>,
    /// The model whose way of counting tokens counts.
    pub model: Arc<str>,
    /// The policy's own seed.
    pub seed: u64,
    /// What the operator lets it read of a request.
    pub may_read: Grants,
}
