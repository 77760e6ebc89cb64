//! A judgement that comes late: the router that decided hears of the attempt again, with a quality.
//!
//! What it hears is what it was told when the attempt ended, but for the times, which it has counted: they are unknown. It is told to
//! whatever version of the policy decides now, which has what the one before learned, and to one that is tried beside it.

use std::sync::Arc;

use super::{Gateway, rollout};
use crate::fault::FaultKind;
use crate::policy::{Outcome, Router};
use crate::snapshot::{GroupRuntime, Snapshot};
use crate::store::Replied;

/// The router that decided a request, ready to hear what its reply was worth.
#[derive(Debug)]
pub struct Listener {
    group: Arc<GroupRuntime>,
    router: Arc<Router>,
    event: Outcome,
}

impl Listener {
    /// Whoever decided the request that got this reply.
    ///
    /// # Errors
    /// There is nobody who could learn from it, in words.
    pub fn of(snapshot: &Snapshot, replied: &Replied) -> Result<Self, String> {
        let last =
            replied.last.as_ref().ok_or("no deployment was called for this request: there is no reply to judge")?;
        let exact = snapshot.groups.get(last.group.as_str()).cloned();
        let group = exact.or_else(|| snapshot.group(&last.group).map(std::borrow::Cow::into_owned));
        let group = group.ok_or_else(|| format!("the group `{}` that served it is no more", last.group))?;
        let decided = replied.policy.as_deref().unwrap_or_default();
        let name = decided.split('@').next().unwrap_or_default();
        let router = group.router.clone().ok_or_else(|| {
            format!("no router decides for the group `{}`, so that nobody would learn from it", last.group)
        })?;
        if router.component().name().as_str() != name {
            let now = &group.policy;
            return Err(format!("`{decided}` decided it, and for the group `{}` decides `{now}` now", last.group));
        }
        let index = group.deployments.iter().position(|one| one.config.id.as_str() == last.deployment);
        let index = index.and_then(|index| u32::try_from(index).ok());
        let deployment = index.ok_or_else(|| {
            format!("the deployment `{}` that replied is no more in the group `{}`", last.deployment, last.group)
        })?;
        let narrow = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        let fault =
            last.fault.as_deref().and_then(|name| FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name));
        let event = Outcome {
            seed: replied.seed.ok_or("it was served before the gateway kept what feedback is matched by")?,
            attempt: last.number,
            deployment,
            // To a router a reply that only the parser did not take is a whole one.
            fault: fault.filter(|kind| *kind != FaultKind::Unparsed),
            input_tokens: narrow(last.input_tokens),
            output_tokens: narrow(last.output_tokens),
            cost_usd: last.cost.map_or(f64::NAN, crate::money::NanoUsd::as_usd),
            latency_ms: f32::NAN,
            ttft_ms: None,
            quality: None,
        };
        Ok(Self { group, router, event })
    }

    /// `NAME@DIGEST` of the version that hears it; `None` where the router learns nothing (`pure`) and is told nothing.
    #[must_use]
    pub fn heard_by(&self) -> Option<&str> {
        if !self.router.needs().pure {
            return Some(&self.group.policy);
        }
        let tried = self.group.rollout.as_ref().filter(|tried| !tried.candidate().needs().pure)?;
        Some(tried.policy())
    }

    /// Tells that whoever asked did not want the reply: nobody judges it, and it is known of those alone that were no good.
    pub(super) fn left(self, gateway: &Gateway, quality: f32) {
        let event = Outcome { fault: Some(FaultKind::Cancelled), ..self.event };
        Self { event, ..self }.tell(gateway, quality);
    }

    /// Tells it.
    pub fn tell(self, gateway: &Gateway, quality: f32) {
        let Self { group, router, event } = self;
        if let Some(deployment) = group.deployments.get(event.deployment as usize) {
            gateway.recorder.worth(&group.config.name, &deployment.config.id, quality);
        }
        let event = Outcome { quality: Some(quality), ..event };
        if let Some(tried) = &group.rollout {
            rollout::observe(gateway, Arc::clone(tried), event.clone());
        }
        if router.is_slow() {
            gateway.slow_policies.spawn(move || router.observe(&event));
        } else {
            router.observe(&event);
        }
    }
}
