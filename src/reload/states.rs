//! What routers have learned, from one start of the gateway to the next. A state belongs to a group, a policy's name and its
//! settings, whatever the version: one that does not take it begins empty.

use crate::catalog::Group;
use crate::snapshot::Snapshot;

/// Under which name the state of a group's router is kept.
pub(super) fn key(group: &Group) -> String {
    let router = &group.router;
    format!("router\n{}\n{}\n{}", group.name, router.policy, router.settings)
}

/// Keeps what the routers in force have learned; `ask` has them save now, else what they saved last is kept. Blocks: it
/// writes files.
pub fn keep_states(snapshot: &Snapshot, ask: bool) {
    let states = &snapshot.rollouts.states;
    if !states.are_kept() {
        return;
    }
    for group in snapshot.groups.values() {
        let Some(router) = &group.router else { continue };
        let state = if ask { router.save() } else { router.last_saved() };
        if let Some(state) = state {
            states.keep(&key(&group.config), &state);
        }
    }
}
