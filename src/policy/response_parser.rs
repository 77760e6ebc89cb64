//! Response parsers: what is asked of a component in this role, and what of its answers counts.
//!
//! One instance reads one reply. Once it fails, the rest of the reply passes as the provider sent it.

mod bindings;
mod calls;
mod pending;
mod reading;
mod whole;

use std::sync::Arc;

use super::host::PolicyRuntime;
use crate::id::RequestId;

pub(super) use calls::MOST_IDLE;
pub use calls::{ParserNeeds, Parsing};
pub use reading::{ParserWork, ReplyParser};

use bindings::exports::witgate::policy::parsing as wit;

/// A response parser in service.
pub type ResponseParser = PolicyRuntime<Parsing>;

/// What a parser is told of a reply before it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyInfo {
    /// The request it is the reply to, which the policy is not told.
    pub id: Option<RequestId>,
    /// Whether the client gets pieces as they come.
    pub streamed: bool,
    /// How often the model was asked before for this request.
    pub asked_again: u32,
    /// The JSON schema that the client wants the reply to follow, as text.
    pub schema: Option<Arc<str>>,
    /// What the group's prompt builder left.
    pub note: Option<Arc<str>>,
    /// One for each attribute it asked for.
    pub attributes: Vec<String>,
}

/// Why a reply is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The alternative complained about.
    pub choice: u32,
    /// What is wrong with it.
    pub problem: String,
    /// What to tell the model, so that it does better.
    pub repair: Option<String>,
}
