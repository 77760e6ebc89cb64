//! Whether somebody may still ask once its request has waited: what was changed meanwhile acts on that too.
//!
//! What its key and team may do is asked anew: whether they may ask at all, and these models. The limits and budgets that it counts in are those of
//! its arrival, with the numbers that they have by then; one that its key or team had not before bounds what arrives from then on, and a budget
//! counts it when it ends.

use super::super::RequestContext;
use super::super::auth::{caller_named, check_model};
use crate::fault::Refusal;

/// Asked only of those that have waited, or were tried: of all others it was asked just before.
///
/// # Errors
/// `Unauthorized`: its key is no more, or blocked, or its time is over; or its team is blocked. `Forbidden`: it may not use the model any more. In
/// the words that it would be refused with if it arrived now.
pub(in crate::pipeline) fn still_known(context: &RequestContext<'_>) -> Result<(), Refusal> {
    let caller = &context.caller;
    // Those of the configuration's own keys are asked once.
    if caller.virtual_key.is_some() {
        let known = caller_named(context.snapshot, &caller.key, context.gateway.clock.now())?;
        for name in context.wishes.asked() {
            check_model(context.snapshot, &known, name)?;
        }
    }
    Ok(())
}
