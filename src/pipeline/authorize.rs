//! With which key a request is sent: its deployment's, or the one that a newer configuration has for it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use crate::fault::{AttemptFault, FaultKind};
use crate::id::DeploymentId;
use crate::moment::Moment;
use crate::snapshot::DeploymentRuntime;
use crate::upstream::UpstreamRequest;

use super::RequestContext;

/// Authorises a request. What must be fetched for it is waited for no longer than for the reply. What was made for it, or is not of
/// its own configuration, is put into `secrets`.
///
/// # Errors
/// It could not be authorised, in time or at all: nothing was sent.
pub(super) async fn authorize(
    context: &RequestContext<'_>,
    runtime: &Arc<DeploymentRuntime>,
    outgoing: &mut UpstreamRequest,
    (now, deadline, limit): (Moment, Instant, Duration),
    secrets: &mut Vec<SecretString>,
) -> Result<(), AttemptFault> {
    let newer = newer(context, runtime);
    let authorization = &newer.as_ref().unwrap_or(runtime).authorization;
    let applied = authorization.apply(outgoing, now);
    if authorization.is_made() {
        let late = || {
            let message = format!("what authorises the request was not there after {} s", limit.as_secs_f64());
            AttemptFault::new(FaultKind::TimedOut, message)
        };
        tokio::time::timeout_at(deadline, applied).await.unwrap_or_else(|_elapsed| Err(late()))?;
    } else {
        applied.await?;
    }
    if authorization.is_made() || newer.is_some() {
        *secrets = outgoing.secrets();
    }
    Ok(())
}

/// The same deployment of a configuration that came while the request waited, where its key is another one: the old one may be good no more, and
/// its refusal would be taken for the new one's.
fn newer(context: &RequestContext<'_>, runtime: &DeploymentRuntime) -> Option<Arc<DeploymentRuntime>> {
    let live = context.gateway.live.other_than(context.snapshot)?;
    let (before, after) = (&context.group.deployments, &live.groups.get(&context.group.config.name)?.deployments);
    let own = &runtime.config;
    let stays = |id: &DeploymentId, among: &[Arc<DeploymentRuntime>]| among.iter().any(|one| one.config.id == *id);
    let is_alike = |one: &&Arc<DeploymentRuntime>| {
        let one = &one.config;
        (&one.origin, &one.model, &one.api_version) == (&own.origin, &own.model, &own.api_version)
            && one.format.name() == own.format.name()
    };
    let mut alike = after.iter().filter(is_alike);
    let found = if stays(&own.id, after) {
        alike.find(|one| one.config.id == own.id)?
    } else {
        // An id that nobody gave is another one where the key is: of several that changed, each is followed by the one in its place.
        let gone = before.iter().filter(|one| is_alike(one) && !stays(&one.config.id, after));
        let place = gone.take_while(|one| one.config.id != own.id).count();
        alike.filter(|one| !stays(&one.config.id, before)).nth(place)?
    };
    (found.config.account() != own.account()).then(|| Arc::clone(found))
}
