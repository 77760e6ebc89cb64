//! A reply that a filter of the provider held back, where another group is there for just that: it counts as a fault about what was
//! said, as LiteLLM has it. Where no group takes over, the client reads how the reply ended. Who streams gets what was said before.

use crate::chat::{FinishReason, PartKind, Reply};
use crate::fault::{AttemptFault, Cause, FaultKind};

use super::RequestContext;

/// Whether a reply whose first alternative ended so counts as held back: not where the model `declined` in words of its own.
fn is_held_back(finish: Option<&FinishReason>, declined: bool) -> bool {
    finish.is_some_and(|finish| *finish.told(declined) == FinishReason::ContentFilter)
}

/// A whole reply.
///
/// # Errors
/// It was held back, and another group takes over.
pub(super) fn whole(context: &RequestContext<'_>, reply: &Reply) -> Result<(), AttemptFault> {
    let first = reply.choices.first();
    let declined =
        first.is_some_and(|choice| choice.parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_))));
    let held_back = first.is_none_or(|choice| is_held_back(choice.finish.as_ref(), declined));
    if context.leaves_held_back && held_back { Err(fault()) } else { Ok(()) }
}

/// A stream of which this was the end and no word had come.
///
/// # Errors
/// As [`whole`].
pub(super) fn streamed(context: &RequestContext<'_>, finish: Option<&FinishReason>) -> Result<(), AttemptFault> {
    if context.leaves_held_back && is_held_back(finish, false) { Err(fault()) } else { Ok(()) }
}

fn fault() -> AttemptFault {
    let message = "the provider's moderation held back its reply";
    let fault = AttemptFault::new(FaultKind::Rejected, message);
    AttemptFault { cause: Some(Cause::ContentPolicy), code: Some("content_filter".to_owned()), made: true, ..fault }
}
