//! What a configuration comes to for limits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::config::Settings;
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
