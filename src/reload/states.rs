//! What routers have learned, what limits have counted and which breakers are open, from one start of the gateway to the next. A router's
//! state belongs to a group, a policy's name and its settings, whatever the version: one that does not take it begins empty. A breaker's
//! belongs to the deployment's id, so that a restart does not send a burst to what is known to be down.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::catalog::Group;
use crate::health::{AccountId, OpenBreaker};
use crate::limits::{LearnedBook, Limits, SavedLessons, SavedLimits};
use crate::moment::Moment;
use crate::policy::SavedState;
use crate::rollout::States;
use crate::snapshot::{DeploymentRuntime, Snapshot};

/// Under which name open breakers are kept, and in which form.
const BREAKERS: &str = "breakers";
const BREAKERS_FORM: &str = "breakers/2";

/// How long what a policy learned is kept that no group uses.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(30 * 24);

/// Under which name the state of a group's router is kept.
pub(super) fn key(group: &Group) -> String {
    let router = &group.router;
    format!("router\n{}\n{}\n{}", group.name, router.policy, router.settings)
}

/// One open breaker.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Saved {
    until_ms: u64,
    failed_probes: u32,
}

/// What is kept of a deployment: its own breaker and that of its credential's account, which has a number that tells neither.
#[derive(Deserialize, Serialize)]
struct SavedBreakers {
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<Saved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<(u64, Saved)>,
}

impl From<OpenBreaker> for Saved {
    fn from(OpenBreaker { until, failed_probes }: OpenBreaker) -> Self {
        Self { until_ms: until.as_millis(), failed_probes }
    }
}

impl From<Saved> for OpenBreaker {
    fn from(Saved { until_ms, failed_probes }: Saved) -> Self {
        Self { until: Moment::from_millis(until_ms), failed_probes }
    }
}

/// Keeps what the routers in force have learned, and the breakers; `ask` has routers save now, else what they saved last is kept.
/// Blocks: it writes files.
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
    let open = |one: &DeploymentRuntime| {
        let own = one.health.open().map(Saved::from);
        let account = one.health.open_account().map(|(AccountId(id), open)| (id, open.into()));
        let is_open = own.is_some() || account.is_some();
        is_open.then(|| (one.config.id.to_string(), SavedBreakers { own, account }))
    };
    let open: BTreeMap<String, SavedBreakers> = deployments(snapshot).filter_map(open).collect();
    if let Ok(bytes) = serde_json::to_vec(&open) {
        states.keep(BREAKERS, &SavedState { schema: BREAKERS_FORM.to_owned(), bytes });
    }
}

/// Forgets what nobody has saved under for [`FORGOTTEN_AFTER`] and no group in force uses: a policy that was rolled back or taken out of the
/// configuration may come back until then.
pub(super) fn forget_old<'g>(states: &States, groups: impl Iterator<Item = &'g Group>, now: Moment) {
    let since = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis()).saturating_sub(FORGOTTEN_AFTER);
    let others = [BREAKERS, LIMITS].map(str::to_owned);
    states.forget(&groups.map(key).chain(others).collect(), since);
}

/// Breakers are as they were before a restart; those whose time is over begin with a probe.
pub fn restore_breakers(snapshot: &Snapshot) {
    let Some(state) = snapshot.rollouts.states.found(BREAKERS).filter(|state| state.schema == BREAKERS_FORM) else {
        return;
    };
    let Ok(open) = serde_json::from_slice::<BTreeMap<String, SavedBreakers>>(&state.bytes) else { return };
    for one in deployments(snapshot) {
        let Some(SavedBreakers { own, account }) = open.get(one.config.id.as_str()) else { continue };
        if let Some(own) = own {
            one.health.restore((*own).into());
        }
        if let Some((id, open)) = account {
            one.health.restore_account(AccountId(*id), (*open).into());
        }
    }
}

fn deployments(snapshot: &Snapshot) -> impl Iterator<Item = &DeploymentRuntime> {
    snapshot.groups.values().flat_map(|group| group.deployments.iter().map(AsRef::as_ref))
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
    let mut learned = BTreeMap::new();
    for (name, group) in &snapshot.groups {
        for one in &group.deployments {
            learned.insert(one.config.id.clone(), &*one.learned);
            learned.insert(LearnedBook::id_of_model(name, &one.config.model), &*one.learned_of_model);
        }
    }
    let lessons = SavedLessons::of(learned.iter().map(|(id, learned)| (id, *learned)));
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
