//! What a configuration comes to for limits and breakers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::config::Settings;
use crate::health::BreakerRule;
use crate::id::DeploymentId;
use crate::limits::{LimitSpec, Scope};

/// The limits of every scope; where deployments share one, the lowest that they give.
pub(super) fn specs(settings: &Settings) -> BTreeMap<Scope, LimitSpec> {
    let deployments = settings.catalog.groups.values().flat_map(|group| &group.deployments);
    let mut specs: BTreeMap<Scope, LimitSpec> = BTreeMap::new();
    for deployment in deployments {
        match specs.entry(deployment.scope.clone()) {
            Entry::Vacant(place) => drop(place.insert(deployment.limits.clone())),
            Entry::Occupied(mut place) => place.get_mut().lower(&deployment.limits),
        }
    }
    specs.insert(Scope::Global, settings.global_limits.clone());
    specs
}

/// A deployment may stand in several groups; it is alone only where it is alone in all of them.
pub(super) fn rules(settings: &Settings) -> BTreeMap<DeploymentId, BreakerRule> {
    let breaker = &settings.breaker;
    let mut rules: BTreeMap<DeploymentId, BreakerRule> = BTreeMap::new();
    for group in settings.catalog.groups.values() {
        let alone = group.deployments.len() == 1;
        for deployment in &group.deployments {
            let rule = BreakerRule {
                allowed_fails: breaker.allowed_fails,
                cooldown: breaker.cooldown,
                disabled: breaker.disabled,
                alone,
            };
            rules.entry(deployment.id.clone()).or_insert(rule).alone &= alone;
        }
    }
    rules
}
