//! What a group's router may begin with beside what its predecessor knows, and what becomes of a state that a new version does not go on
//! from: it is kept beside, for the versions that take it.

use std::sync::Arc;

use super::policies::PolicyChange;
use super::states::{beside, key};
use crate::catalog::Group;
use crate::policy::{Contract, Digest, Offers, Router, SavedState, Untaken};
use crate::rollout::States;
use crate::snapshot::GroupRuntime;

/// What the router of a group knew before.
#[derive(Clone, Copy)]
pub(super) struct Learned<'a> {
    states: &'a States,
    group: &'a Group,
}

impl<'a> Learned<'a> {
    pub(super) const fn new(states: &'a States, group: &'a Group) -> Self {
        Self { states, group }
    }

    /// What was saved last under the policy's name and settings.
    fn own(&self) -> Option<SavedState> {
        let Group { name, router, .. } = self.group;
        let what = format!("what the router `{}` of the group `{name}` had learned", router.policy);
        self.states.found(&key(self.group), &what)
    }

    /// What it may begin with; with what was saved last where it follows no version of its own.
    pub(super) fn offers(&self, follows_none: bool, gone_back_to: bool) -> Offers {
        let own = if follows_none { self.own() } else { None };
        Offers { own, kept: self.states.found_beside(&beside(self.group)), gone_back_to }
    }

    /// Keeps what the router of `before` knows, where the next one does not go on from it. `left` is the version that was in force
    /// before this build, where that is known.
    pub(super) fn keep(&self, before: Option<&GroupRuntime>, next: &Arc<Router>, left: Option<Digest>) {
        let in_charge = before.and_then(|before| Some((&before.config, before.router.as_ref()?)));
        let Some((config, router)) = in_charge else {
            self.keep_saved(next, left);
            return;
        };
        if Arc::ptr_eq(router, next) {
            return;
        }
        let state = router.save();
        if config.router.policy != self.group.router.policy {
            // It has just been asked, and may decide again one day.
            if let Some(state) = &state {
                self.states.keep(&key(config), state);
            }
            self.keep_saved(next, None);
        } else if let Some(state) = state.filter(|state| !next.goes_on_in(&state.schema)) {
            // Where the process ends before the next one has saved, it is this that is found, and not what was saved some seconds ago.
            self.states.keep(&key(config), &state);
            self.states.keep_beside(&beside(self.group), &state, Some(router.component().digest()));
        }
    }

    /// The same for what was saved last by a version that no longer runs, which the next one was offered.
    fn keep_saved(&self, next: &Arc<Router>, by: Option<Digest>) {
        let goes_on = next.last_saved().is_none_or(|state| next.goes_on_in(&state.schema));
        if goes_on && next.untaken().is_none() {
            return;
        }
        let beside = beside(self.group);
        // At each start before the next one has saved it is the same.
        if let Some(state) = self.own().filter(|state| !self.states.found_beside(&beside).contains(state)) {
            self.states.keep_beside(&beside, &state, by);
        }
    }

    /// Where a state is left that the version in force does not take.
    pub(super) fn rest(&self) -> &'static str {
        if self.states.are_kept() {
            "it is kept for the versions that take it"
        } else {
            "it is lost, because the gateway has no folder for state"
        }
    }

    /// The version that saved what is kept in this schema, where that is known.
    fn saver(&self, schema: &str) -> Option<Digest> {
        self.states.beside(&beside(self.group)).into_iter().find(|one| one.schema == schema)?.by
    }
}

/// Tells that a policy which was prepared did not take what it was offered first, where that is left (`rest`), and what it begins with.
pub(super) fn tell_untaken<C: Contract<Setup: PartialEq>>(
    group: &Group,
    change: &PolicyChange<C>,
    learned: Option<Learned<'_>>,
    rest: &str,
) {
    let policy = change.policy();
    let Some(Untaken { schema, problem }) = policy.untaken().filter(|_| !change.is_kept()) else { return };
    let begins = policy.last_saved().map_or_else(
        || "empty".to_owned(),
        |SavedState { schema, .. }| {
            let saver = learned.and_then(|learned| learned.saver(&schema));
            let who = saver.map_or_else(|| "an older version".to_owned(), |one| format!("version {}", one.short()));
            format!("with what {who} knew (schema {schema})")
        },
    );
    let (group, role, component) = (&group.name, C::ROLE.as_str(), policy.component());
    let (policy, digest) = (component.name(), component.digest().short());
    tracing::warn!(%group, role, %policy, %digest, %schema, %problem, "saved state not taken: {rest}; the policy begins {begins}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::super::states::tests::assembled;
    use super::*;
    use crate::captured_log::CapturedLog;
    use crate::pipeline::Gateway;
    use crate::reload::{PolicySource, keep_states};

    const CONFIG: &str = "model_list: [{model_name: g, litellm_params: {model: simulated/m}}]\n\
        witgate: {routers: {g: {policy: p}}}\n";

    const COUNTING: &[u8] = include_bytes!("../../tests/fixtures/policies/counting-a.wasm");
    /// It refuses what the other has saved.
    const LATENCY_BASED: &[u8] = include_bytes!("../../policies/latency-based.wasm");

    /// A gateway whose policy is this component, and which keeps its state in this folder.
    fn started(folder: &Path, component: &[u8]) -> Arc<Gateway> {
        let policies = Arc::new([("p".into(), component.to_vec())].into());
        assembled(CONFIG, PolicySource::Memory(policies), folder)
    }

    #[tokio::test(start_paused = true)]
    async fn that_a_state_is_not_taken_is_said_once_with_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        let first = started(place.path(), COUNTING);
        keep_states(&first.live.read(), true);
        drop(first);
        for _ in 0..2 {
            let (log, subscriber) = CapturedLog::begin();
            let guard = tracing::subscriber::set_default(subscriber);
            let second = started(place.path(), LATENCY_BASED);
            drop(guard);
            let all = log.lines();
            let said =
                |line: &Value| line["message"].as_str().is_some_and(|said| said.starts_with("saved state not taken"));
            let lines: Vec<&Value> = all.iter().filter(|line| said(line)).collect();
            assert_eq!(lines.len(), 1, "{all:?}");
            let rest = "it is kept for the versions that take it; the policy begins empty";
            assert_eq!(lines[0]["message"], format!("saved state not taken: {rest}"));
            assert_eq!((&lines[0]["group"], &lines[0]["schema"]), (&"g".into(), &"count".into()));
            // Nobody has asked the new version yet, so that the next start finds the same.
            let snapshot = second.live.read();
            let (states, key) = (&snapshot.rollouts.states, beside(&snapshot.groups["g"].config));
            let kept: Vec<String> = states.found_beside(&key).into_iter().map(|state| state.schema).collect();
            assert_eq!(kept, ["count"]);
            assert_eq!(states.beside(&key)[0].by, Some(Digest::of(COUNTING)));
        }
    }
}
