//! Whether somebody may still ask once its request has waited: what was changed meanwhile acts on that too.

use super::super::RequestContext;
use super::super::auth::caller_named;
use crate::fault::Refusal;

/// Asked only of those that have waited: of all others it was asked just before.
///
/// # Errors
/// `Unauthorized`: its key is no more, or blocked, or its time is over; or its team is blocked. In the words of authentication.
pub(super) fn still_known(context: &RequestContext<'_>) -> Result<(), Refusal> {
    let caller = &context.caller;
    // Those of the configuration's own keys are asked once.
    if caller.virtual_key.is_some() {
        caller_named(context.snapshot, &caller.key, context.gateway.clock.now())?;
    }
    Ok(())
}
