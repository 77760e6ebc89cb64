//! What a simulation changes of a gateway's settings: providers become simulated ones, nothing is kept, and nobody outside is told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::catalog::{Deployment, Group, Origin, PolicyPlaces, RollOut, RouterChoice, SimulatedModel};
use crate::config::{AlertSettings, Settings};
use crate::experiment::{Expectations, spoken_as_simulated};
use crate::id::{DeploymentId, PolicyName};
use crate::limits::{Dimension, LimitSpec};
use crate::policy::Digest;
use crate::reload::Adjust;

/// The lowest limits that are known of each account at a provider.
#[derive(Debug, Default)]
pub struct ProviderLimits(BTreeMap<DeploymentId, LimitSpec>);

impl ProviderLimits {
    /// Those of several configurations.
    pub(super) fn of<'s>(settings: impl IntoIterator<Item = &'s Settings>) -> Self {
        let mut limits: BTreeMap<DeploymentId, LimitSpec> = BTreeMap::new();
        let groups = settings.into_iter().flat_map(|settings| settings.catalog.groups.values());
        for deployment in groups.flat_map(|group| &group.deployments) {
            let Some(account) = account(deployment) else { continue };
            match limits.get_mut(&account) {
                Some(known) => known.lower(&deployment.limits),
                None => _ = limits.insert(account, deployment.limits.clone()),
            }
        }
        Self(limits)
    }
}

/// What tells one account's model at a provider from any other; `None` where the provider is simulated anyway. A credential is compared
/// and never told.
fn account(deployment: &Deployment) -> Option<DeploymentId> {
    let Origin::Http(base) = &deployment.origin else { return None };
    let account = deployment.account().unwrap_or_default();
    let whole = [&**base, &account, &deployment.model].map(|part| format!("{}:{part}", part.len())).concat();
    Some(DeploymentId::from(Digest::of(whole.as_bytes()).to_string()))
}

/// The change for a contender whose groups are decided by `router`, or by their own.
pub(super) fn for_trial(
    router: Option<&PolicyName>,
    limits: &Arc<ProviderLimits>,
    expectations: &Arc<Expectations>,
) -> Adjust {
    let (router, limits, expectations) = (router.cloned(), Arc::clone(limits), Arc::clone(expectations));
    Adjust::new(move |settings| {
        settings.ledger = None;
        settings.shared_limits = None;
        settings.state_dir = None;
        settings.decisions = None;
        settings.payers.alerts = AlertSettings::default();
        // What is served on loopback alone needs no lock of policies.
        settings.server.host = Ipv4Addr::LOCALHOST.into();
        for group in settings.catalog.groups.values_mut() {
            let group = Arc::make_mut(group);
            // They read texts, of which there are none: a load counts prompts as they were sent.
            (group.builder, group.parser) = (None, None);
            group.router.roll_out = RollOut::Replace;
            if let Some(router) = &router {
                decided_by(group, router);
            }
            for deployment in &mut group.deployments {
                simulate(Arc::make_mut(deployment), &limits, &expectations);
            }
        }
    })
}

/// Another router, with the settings it has by itself; the configuration's own keeps its.
fn decided_by(group: &mut Group, router: &PolicyName) {
    if group.router.policy != *router {
        let own = group.router.clone();
        let at = Arc::new(PolicyPlaces::default());
        group.router = RouterChoice { policy: router.clone(), settings: "{}".into(), at, ..own };
    }
}

/// A provider as fast as is expected and as strict as is known.
fn simulate(deployment: &mut Deployment, limits: &ProviderLimits, expectations: &Expectations) {
    let Some(account) = account(deployment) else {
        spoken_as_simulated(deployment);
        return;
    };
    let expected = expectations.of(&deployment.model);
    let spec = limits.0.get(&account).unwrap_or(&deployment.limits);
    let model = SimulatedModel {
        ttft_ms: expected.first_token.as_secs_f64() * 1e3,
        tokens_per_second: expected.tokens_per_second,
        output_tokens: expected.output_tokens,
        window: spec.window,
        window_model: spec.model,
        rpm: spec.limits[Dimension::Requests],
        tpm: spec.limits[Dimension::Tokens],
        account: Some(account),
        ..SimulatedModel::default()
    };
    deployment.origin = Origin::Simulated(Arc::new(model));
    spoken_as_simulated(deployment);
}
