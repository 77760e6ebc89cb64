//! What routers have learned, what limits have counted and which breakers are open, from one start of the gateway to the next. A router's
//! state belongs to a group, a policy's name and its settings, whatever the version: one that does not take it begins with an older one that it
//! takes, or empty, and what it did not take is kept beside. A breaker's belongs to the deployment's id, so that a restart does not send a burst
//! to what is known to be down.

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
const BREAKERS_FORM: &str = "breakers/3";
/// The form before: numbers of accounts as they are.
const BREAKERS_BEFORE: &str = "breakers/2";

/// How long what a policy learned, and what was said of its versions, is kept that no group uses.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_hours(30 * 24);

/// Under which name the state of a group's router is kept.
pub(super) fn key(group: &Group) -> String {
    let router = &group.router;
    format!("router\n{}\n{}\n{}", group.name, router.policy, router.settings)
}

/// Under which name states are kept beside that versions of a group's router did not take from one another. What settings they were learned
/// with is all the same: a version is handed what its predecessor learned with others too.
pub(super) fn beside(group: &Group) -> String {
    format!("router-beside\n{}\n{}", group.name, group.router.policy)
}

/// One open breaker.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Saved {
    until_ms: u64,
    failed_probes: u32,
}

/// What is kept of a deployment: its own breaker and that of its credential's account, whose number is a digest of the credential and is kept
/// disguised.
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
        let account = one.health.open_account();
        let account = account.and_then(|(AccountId(id), open)| Some((states.disguised(id)?, open.into())));
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
    let of_group = |group: &Group| [key(group)].into_iter().chain(states.keys_beside(&beside(group)));
    states.forget(&groups.flat_map(of_group).chain(others).collect(), since);
}

/// Breakers are as they were before a restart; those whose time is over begin with a probe.
pub fn restore_breakers(snapshot: &Snapshot) {
    let states = &snapshot.rollouts.states;
    let Some(state) = states.found(BREAKERS, "which breakers were open") else { return };
    let number = |AccountId(id): AccountId| match state.schema.as_str() {
        BREAKERS_FORM => states.disguised(id),
        BREAKERS_BEFORE => Some(id),
        _ => None,
    };
    if ![BREAKERS_FORM, BREAKERS_BEFORE].contains(&state.schema.as_str()) {
        return;
    }
    let Ok(open) = serde_json::from_slice::<BTreeMap<String, SavedBreakers>>(&state.bytes) else { return };
    for one in deployments(snapshot) {
        let Some(SavedBreakers { own, account }) = open.get(one.config.id.as_str()) else { continue };
        if let Some(own) = own {
            one.health.restore((*own).into());
        }
        if let Some((kept, open)) = account
            && let Some(of) = one.health.account().filter(|id| number(*id) == Some(*kept))
        {
            one.health.restore_account(of, (*open).into());
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
    let Some(state) = states.found(LIMITS, "what limits had counted") else { return };
    if state.schema != LIMITS_SCHEMA {
        return;
    }
    match serde_json::from_slice::<KeptLimits>(&state.bytes) {
        Ok(kept) => {
            limits.restore(now, &kept.limits);
            learned.restore(&kept.lessons);
        }
        Err(fault) => tracing::warn!(%fault, "what limits had counted could not be read, and begins anew"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::attempt::AttemptOutcome;
    use crate::clock::Clock;
    use crate::fault::{Cause, FaultKind};
    use crate::http::HttpUpstream;
    use crate::pipeline::{BlockingPool, Gateway};
    use crate::policy::EngineOptions;
    use crate::reload::{ConfigSource, PolicySource, Sources};
    use crate::rollout::StateFolder;
    use crate::start::{Assembled, Options, assemble};
    use crate::telemetry::DroppedLines;

    const CONFIG: &str = "model_list:\n\
        - {model_name: g, litellm_params: {model: openai/a, api_key: sk-one}, model_info: {id: a}}\n\
        - {model_name: g, litellm_params: {model: openai/b, api_key: sk-two}, model_info: {id: b}}\n";

    fn started(folder: &Path) -> Arc<Gateway> {
        assembled(CONFIG, PolicySource::Memory(Arc::default()), folder)
    }

    /// A gateway that keeps its state in this folder.
    pub(in crate::reload) fn assembled(config: &str, policies: PolicySource, folder: &Path) -> Arc<Gateway> {
        let sources = Sources {
            config: ConfigSource::Text(config.into()),
            policies,
            state: Some(folder.join("state")),
            ..Sources::default()
        };
        let options = Options {
            sources,
            engine: EngineOptions::default(),
            environment: Arc::new(|_| None),
            clock: Clock::starting_at(Moment::from_millis(1_000_000)),
            seed: 1,
            dropped_lines: DroppedLines::default(),
        };
        let pool = BlockingPool::on_threads(NonZeroUsize::MIN);
        let Assembled { gateway, .. } = assemble(options, Arc::new(HttpUpstream::new()), pool).unwrap();
        gateway
    }

    /// Which deployments are left alone for their credential.
    fn refused(gateway: &Gateway) -> Vec<String> {
        let snapshot = gateway.live.read();
        let refused = deployments(&snapshot).filter(|one| one.health.is_credential_refused());
        refused.map(|one| one.config.id.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_known_after_a_restart_and_its_file_tells_nothing_of_it() {
        let place = tempfile::tempdir().unwrap();
        let first = started(place.path());
        let snapshot = first.live.read();
        let one = deployments(&snapshot).next().unwrap();
        let (now, AccountId(id)) = (first.clock.now(), one.health.account().unwrap());
        let outcome = AttemptOutcome {
            fault: Some(FaultKind::Misconfigured),
            cause: Some(Cause::Credential),
            ..AttemptOutcome::default()
        };
        let _opened = one.health.begin(now).unwrap().end(now, &outcome);
        keep_states(&snapshot, true);
        drop(snapshot);
        assert_eq!(refused(&first), ["a"]);
        drop(first);

        let folder = StateFolder::open(&place.path().join("state")).unwrap();
        let kept = folder.state(BREAKERS).unwrap().unwrap();
        let told = String::from_utf8(kept.bytes.clone()).unwrap();
        assert!(!told.contains(&id.to_string()) && told.contains(&folder.disguised(id).to_string()), "{told}");
        drop(folder);
        assert_eq!(refused(&started(place.path())), ["a"]);

        // As an older version kept it.
        let folder = StateFolder::open(&place.path().join("state")).unwrap();
        let before = told.replace(&folder.disguised(id).to_string(), &id.to_string());
        let before = SavedState { schema: BREAKERS_BEFORE.to_owned(), bytes: before.into_bytes() };
        folder.keep_state(BREAKERS, &before).unwrap();
        drop(folder);
        let again = started(place.path());
        assert_eq!(refused(&again), ["a"]);
        keep_states(&again.live.read(), true);
        drop(again);
        let folder = StateFolder::open(&place.path().join("state")).unwrap();
        assert_eq!(folder.state(BREAKERS).unwrap(), Some(kept));
    }
}
