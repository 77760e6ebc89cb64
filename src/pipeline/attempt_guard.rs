//! The guard of one attempt: the deployment's reservation and the breaker's admission, from the moment they are granted to the
//! one outcome that limits, health and router receive.
//!
//! It is kept by the request's guard and not by the stage that calls: a client that leaves and a request whose time is over
//! drop the stages wherever they are, and what remains must know why the attempt ended.

use std::sync::Arc;

use crate::attempt::{AttemptOutcome, AttemptProgress};
use crate::fault::{AttemptFault, FaultKind};
use crate::health::{self, Change};
use crate::id::{DeploymentId, GroupName};
use crate::limits::{Demand, Reservation};
use crate::moment::Moment;
use crate::policy::{Outcome, Router};
use crate::record::AttemptRecord;
use crate::rollout::Rollout;
use crate::snapshot::{DeploymentRuntime, GroupRuntime};

use super::{Gateway, rollout};

/// One attempt under way.
pub(super) struct AttemptGuard {
    deployment: Arc<DeploymentRuntime>,
    router: Option<Arc<Router>>,
    group: GroupName,
    /// A new version that is tried, and whether it decided this.
    rollout: Option<(Arc<Rollout>, bool)>,
    index: usize,
    reservation: Reservation,
    health: health::Attempt,
    pub(super) progress: AttemptProgress,
}

impl AttemptGuard {
    /// Begins an attempt at the group's deployment `index`, which `policy` ranked and for which a reservation was granted.
    pub(super) fn begin(
        group: &GroupRuntime,
        policy: Option<&Arc<str>>,
        index: usize,
        health: health::Attempt,
        reservation: Reservation,
        progress: AttemptProgress,
    ) -> Self {
        let deployment = Arc::clone(&group.deployments[index]);
        let rollout = group.rollout.as_ref();
        let rollout = rollout.map(|rollout| (Arc::clone(rollout), policy == Some(rollout.policy())));
        let name = group.config.name.clone();
        Self { deployment, router: group.router.clone(), group: name, rollout, index, reservation, health, progress }
    }

    /// What was reserved for it.
    pub(super) const fn estimated(&self) -> Demand {
        self.progress.estimated()
    }

    /// The provider's response head has come: it has counted the request by now.
    pub(super) fn response_head(&self, gateway: &Gateway) {
        gateway.limits.response_head(gateway.clock.now(), &self.reservation);
    }

    /// The first piece of the reply itself has come: a probe has shown what it was to show.
    pub(super) fn first_content(&mut self, gateway: &Gateway) {
        self.progress.first_content(gateway.clock.now());
        self.health.answering();
    }

    /// Ends it and reports the outcome to all but the request. `seed` and `number` say which attempt of which request it was.
    pub(super) fn end(
        self,
        gateway: &Gateway,
        seed: u64,
        number: usize,
        fault: Option<&AttemptFault>,
    ) -> (AttemptOutcome, AttemptRecord) {
        let now = gateway.clock.now();
        let config = &self.deployment.config;
        // A reply that only the parser does not take is the provider's whole reply: bad, but there.
        let unparsed = fault.is_some_and(|fault| fault.kind == FaultKind::Unparsed);
        let outcome = self.progress.end(now, fault.filter(|_| !unparsed), config.prices);
        if outcome.billing.is_sent() {
            gateway.limits.settle(now, self.reservation, outcome.demand());
        } else {
            gateway.limits.refund(now, self.reservation);
        }
        if let Some(change) = self.health.end(now, &outcome) {
            log(&config.id, change, now, fault);
        }
        if let Some(router) = self.router {
            let quality = unparsed.then_some(0.0);
            let event = Outcome { quality, ..Outcome::of_attempt(&outcome, seed, number, self.index) };
            if let Some((rollout, by_candidate)) = self.rollout {
                rollout.attempted(by_candidate, number == 0, &outcome);
                rollout::observe(gateway, rollout, event.clone());
            }
            if router.is_slow() {
                gateway.slow_policies.spawn(move || router.observe(&event));
            } else {
                router.observe(&event);
            }
        }
        let record = AttemptRecord {
            group: self.group,
            deployment: config.id.clone(),
            provider: config.provider.clone(),
            model: config.model.clone(),
            fault: if unparsed { Some(FaultKind::Unparsed) } else { outcome.fault },
            latency: outcome.latency,
            usage: outcome.usage.clone(),
            usage_refused: outcome.usage_refused,
            cost: outcome.cost,
        };
        (outcome, record)
    }
}

/// Tells an operator what is left alone, why and for how long. The provider's words are scrubbed already.
fn log(deployment: &DeploymentId, change: Change, now: Moment, fault: Option<&AttemptFault>) {
    let why = fault.map_or("", |fault| fault.message.as_str());
    match change {
        Change::Opened(until) => {
            let seconds = until.since(now).as_secs_f64();
            tracing::warn!(%deployment, seconds, why, "a deployment is left alone after failures");
        }
        Change::CredentialRefused(until) => {
            let seconds = until.since(now).as_secs_f64();
            tracing::error!(%deployment, seconds, why, "the provider does not take the credential, or its account is empty: every deployment of it is left alone");
        }
        Change::Closed => tracing::info!(%deployment, "a deployment answers again"),
    }
}
