//! What a configuration comes to for limits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

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
    let payers = &settings.payers;
    let teams = payers.teams.iter().map(|(name, team)| (Scope::Team(name.clone()), &team.payer));
    let tags = payers.tags.iter().map(|(name, payer)| (Scope::Tag(Arc::clone(name)), payer));
    let groups = payers.groups.iter().map(|(name, payer)| (Scope::Group(name.clone()), payer));
    let limited = teams.chain(tags).chain(groups).filter_map(|(scope, payer)| Some((scope, payer.limits.clone()?)));
    specs.extend(limited);
    specs.insert(Scope::Global, settings.global_limits.clone());
    specs
}
