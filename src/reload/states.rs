//! What routers have learned and what limits have counted, from one start of the gateway to the next. A router's state belongs to a
//! group, a policy's name and its settings, whatever the version: one that does not take it begins empty.

use serde::{Deserialize, Serialize};

use crate::catalog::Group;
use crate::limits::{LearnedBook, Limits, SavedLessons, SavedLimits};
use crate::moment::Moment;
use crate::policy::SavedState;
use crate::rollout::States;
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

/// Under which name, and in which form, the limits' state is kept.
const LIMITS: &str = "limits";
const LIMITS_SCHEMA: &str = "witgate-limits-1";

/// What limits have counted, and what replies have taught about them.
#[derive(Default, Serialize, Deserialize)]
struct KeptLimits {
    limits: SavedLimits,
    lessons: SavedLessons,
}

/// Keeps what limits have counted, and what the replies of the deployments in force have taught: a restart sends nothing that the
/// minute before forbids. Blocks: it writes a file.
pub fn keep_limits(snapshot: &Snapshot, limits: &Limits, now: Moment) {
    let states = &snapshot.rollouts.states;
    if !states.are_kept() {
        return;
    }
    let deployments = snapshot.groups.values().flat_map(|group| &group.deployments);
    let lessons = SavedLessons::of(deployments.map(|one| (&one.config.id, &*one.learned)));
    let kept = KeptLimits { limits: limits.save(now), lessons };
    if kept.limits.is_empty() && kept.lessons.is_empty() {
        return;
    }
    match serde_json::to_vec(&kept) {
        Ok(bytes) => states.keep(LIMITS, &SavedState { schema: LIMITS_SCHEMA.to_owned(), bytes }),
        Err(fault) => tracing::warn!(%fault, "what limits have counted could not be written"),
    }
}

/// Takes up what an earlier process has counted and learned.
pub(super) fn restore_limits(states: &States, limits: &Limits, learned: &LearnedBook, now: Moment) {
    let Some(state) = states.found(LIMITS).filter(|state| state.schema == LIMITS_SCHEMA) else { return };
    match serde_json::from_slice::<KeptLimits>(&state.bytes) {
        Ok(kept) => {
            limits.restore(now, &kept.limits);
            learned.restore(&kept.lessons);
        }
        Err(fault) => tracing::warn!(%fault, "what limits had counted could not be read, and begins anew"),
    }
}
