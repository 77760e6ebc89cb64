//! Prompt builders: what is asked of a component in this role, and what of its answers counts.
//!
//! A builder rearranges, rewords and adds; what it cannot read (pictures, signatures, fields nobody knows) it can only keep,
//! move or leave out.

mod apply;
mod bindings;
mod calls;

use std::sync::Arc;

use super::host::{CallContext, Lent, PolicyFault, PolicyRuntime, cut};
use crate::chat::Message;
use crate::id::RequestId;
use crate::moment::Moment;

pub(super) use calls::MOST_IDLE;
pub use calls::{BuilderNeeds, Building};

use bindings::exports::witgate::policy::prompting as wit;

/// Bytes of a refusal's words that are kept.
const REFUSAL_BYTES: usize = 1024;
/// Bytes that a call may have counted, over and over.
const COUNTED_BYTES: usize = 8 << 20;
/// What a part takes beside its words, in bytes of text.
const AROUND_PART: usize = 64;

/// A prompt builder in service.
pub type PromptBuilder = PolicyRuntime<Building>;

/// What a prompt is built from, besides the messages.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildRequest {
    /// The request it is for, which the policy is not told; `None` for one that is not served.
    pub id: Option<RequestId>,
    /// The time.
    pub now: Moment,
    /// The request's seed.
    pub seed: u64,
    /// The client's variables, a JSON object as text.
    pub variables: String,
    /// The client's items, each as JSON text.
    pub items: Vec<String>,
    /// Tokens the prompt may have; `None` where no model's size is known.
    pub budget: Option<u32>,
    /// One for each attribute it asked for.
    pub attributes: Vec<String>,
}

/// What was built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuiltPrompt {
    /// The messages.
    pub messages: Vec<Message>,
    /// The items that are in them, by index.
    pub items: Vec<u32>,
    /// For the response parser of the same group alone.
    pub note: Option<Arc<str>>,
}

/// Why there is no prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The policy failed.
    Fault(PolicyFault),
    /// It refuses the request: its words.
    Refused(String),
}

impl From<PolicyFault> for BuildError {
    fn from(fault: PolicyFault) -> Self {
        Self::Fault(fault)
    }
}

impl PolicyRuntime<Building> {
    /// Builds a prompt from `messages`, which are moved into it part by part.
    ///
    /// # Errors
    /// The policy failed or refuses the request.
    pub fn build(self: &Arc<Self>, request: &BuildRequest, messages: Vec<Message>) -> Result<BuiltPrompt, BuildError> {
        let parts = apply::parts(&messages);
        let length = length(request, &parts);
        let mut lent = Lent::of(self, CallContext::new(request.now, request.id))?;
        let answer = lent.call(request.now, |instance, budget| {
            instance.build(budget.over(length).with_imports(COUNTED_BYTES), request, &messages, &parts)
        })?;
        drop(parts);
        match answer {
            Ok(prompt) => {
                let built = apply::apply(prompt, messages, request.items.len())
                    .map_err(|why| self.failed_for(why, request.id))?;
                // One that answers nonsense is not asked again: it may be in any state.
                lent.give_back();
                Ok(built)
            }
            Err(words) => {
                lent.give_back();
                self.refused();
                Err(refusal(words))
            }
        }
    }

    /// The same for somebody who only asks what would be built: an instance of its own builds it, nothing is counted, and no fault leads
    /// to quarantine.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn explain(&self, request: &BuildRequest, messages: Vec<Message>) -> Result<BuiltPrompt, BuildError> {
        let parts = apply::parts(&messages);
        let length = length(request, &parts);
        let answer = self.ask_aside(|instance, budget| {
            instance.build(budget.over(length).with_imports(COUNTED_BYTES), request, &messages, &parts)
        })?;
        drop(parts);
        let prompt = answer.map_err(refusal)?;
        Ok(apply::apply(prompt, messages, request.items.len())?)
    }
}

/// Bytes of text that a call is over.
fn length(request: &BuildRequest, parts: &[Vec<wit::Part<'_>>]) -> usize {
    parts.iter().flatten().map(|part| part.text.len() + AROUND_PART).sum::<usize>()
        + request.variables.len()
        + request.items.iter().map(String::len).sum::<usize>()
}

fn refusal(mut words: String) -> BuildError {
    cut(&mut words, REFUSAL_BYTES);
    BuildError::Refused(words)
}
