//! Which groups wait in one queue: those whose deployments share limits, directly or through others, and all of them where one limit is
//! over all. Else two groups on one quota would take from each other what either waits for.

use std::collections::BTreeMap;

use crate::catalog::Group;
use crate::id::GroupName;
use crate::limits::Scope;

/// The name of each group's queue: the first group's of those that share it. `together`: a limit is over all of them.
pub(super) fn queues<'a>(groups: impl Iterator<Item = &'a Group>, together: bool) -> BTreeMap<GroupName, GroupName> {
    let mut queues: BTreeMap<GroupName, GroupName> = BTreeMap::new();
    let mut first: BTreeMap<&Scope, GroupName> = BTreeMap::new();
    for group in groups {
        queues.insert(group.name.clone(), group.name.clone());
        for deployment in &group.deployments {
            let Some(other) = first.get(&deployment.scope) else {
                first.insert(&deployment.scope, group.name.clone());
                continue;
            };
            let (one, other) = (queues.get(&group.name).cloned(), queues.get(other).cloned());
            let (Some(one), Some(other)) = (one, other) else { continue };
            let joined = one.clone().min(other.clone());
            queues.values_mut().filter(|name| **name == one || **name == other).for_each(|name| *name = joined.clone());
        }
    }
    if together && let Some(first) = queues.keys().next().cloned() {
        for name in queues.values_mut() {
            name.clone_from(&first);
        }
    }
    queues
}
