//! Whether somebody may still ask once its request has waited: what was changed meanwhile acts on that too.

use super::super::RequestContext;
use super::super::auth::{caller_named, kept_team};
use crate::fault::{Refusal, RefusalKind};

/// Asked only of those that have waited: of all others it was asked just before.
///
/// # Errors
/// `Unauthorized`: its key is no more, or blocked, or its time is over; or its team is blocked. In the words of authentication.
pub(super) fn still_known(context: &RequestContext<'_>) -> Result<(), Refusal> {
    let (snapshot, caller) = (context.snapshot, &context.caller);
    // Those of the configuration's own keys are asked once.
    if caller.virtual_key.is_none() {
        return Ok(());
    }
    let caller = caller_named(snapshot, &caller.key, context.gateway.clock.now())?;
    let team = caller.team.as_ref().and_then(|team| kept_team(snapshot, team));
    if team.is_none_or(|known| !known.team.blocked) {
        return Ok(());
    }
    let message = "the team of this API key is blocked; whoever operates the gateway can unblock it";
    let mut refusal = Refusal::new(RefusalKind::Unauthorized, message);
    refusal.code = Some("team_blocked".to_owned());
    Err(refusal)
}
