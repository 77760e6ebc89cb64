//! What has happened to the versions of policies: one line each, the newest last, bounded.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::policy::Digest;

/// Lines that are kept.
pub(super) const KEPT: usize = 5_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The generation of the configuration it came with.
    pub generation: u64,
    /// Whose policy.
    pub group: String,
    /// In which role.
    pub role: String,
    /// The policy's name.
    pub policy: String,
    /// The version in force before, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// The version it is about.
    pub digest: Digest,
    /// What happened: start, replace, shadow, canary, promote, rollback.
    pub how: String,
    /// Whose doing it was: file, configuration, rule, operator.
    pub by: String,
    /// What came of it, or why it happened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// Whether the version that was left by it is what the folder holds, and waits until the file changes or somebody promotes it. It is
    /// found out when somebody asks, and not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// A version that the folder holds and nobody tries, because another was put in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Whose policy.
    pub group: String,
    /// In which role.
    pub role: String,
    /// The policy's name.
    pub policy: String,
    /// The version.
    pub digest: Digest,
}

impl Change {
    /// The version that was left by it.
    fn left(&self) -> Option<Waiting> {
        let Self { group, role, policy, from, .. } = self;
        let digest = (*from)?;
        Some(Waiting { group: group.clone(), role: role.clone(), policy: policy.clone(), digest })
    }
}

/// Generations that are remembered.
const GENERATIONS: usize = 200;

/// What one generation of configuration and policies changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// When it was put in force, milliseconds since 1970.
    pub at_ms: u64,
    /// What it has that the one before had not, one line each.
    pub changed: Vec<String>,
}

/// The last generations, as far as they are remembered; the first one of a process has none before it.
#[derive(Debug, Default)]
pub struct Generations(Mutex<VecDeque<Generation>>);

impl Generations {
    /// All that are remembered, the newest last.
    #[must_use]
    pub fn all(&self) -> Vec<Generation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What this one changed, if it is remembered.
    #[must_use]
    pub fn changed(&self, generation: u64) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rfind(|one| one.generation == generation).map_or_else(Vec::new, |one| one.changed.clone())
    }

    /// Remembers one.
    pub fn add(&self, generation: Generation) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(generation);
        let surplus = all.len().saturating_sub(GENERATIONS);
        all.drain(..surplus);
    }
}

/// What has happened, as far as it is remembered.
#[derive(Debug, Default)]
pub struct History {
    changes: Mutex<VecDeque<Change>>,
    waiting: Mutex<BTreeSet<Waiting>>,
}

impl History {
    /// Of one group, or of all; the newest last.
    #[must_use]
    pub fn of(&self, group: Option<&str>) -> Vec<Change> {
        let mut all: Vec<Change> = {
            let all = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter(|change| group.is_none_or(|group| change.group == group)).cloned().collect()
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for change in all.iter_mut().rev().filter(|change| matches!(change.how.as_str(), "rollback" | "promote")) {
            if waiting.is_empty() {
                break;
            }
            // The last time that it was left is what tells why it waits.
            change.waits = change.left().is_some_and(|left| waiting.remove(&left));
        }
        all
    }

    /// From now on these wait.
    pub fn wait(&self, waiting: BTreeSet<Waiting>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    /// Remembers what happened.
    pub fn add(&self, changes: impl IntoIterator<Item = Change>) {
        let mut all = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(changes);
        let surplus = all.len().saturating_sub(KEPT);
        all.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(how: &str, group: &str, from: &str) -> Change {
        Change {
            at_ms: 1,
            generation: 1,
            group: group.to_owned(),
            role: "router".to_owned(),
            policy: "p".to_owned(),
            from: Some(Digest::of(from.as_bytes())),
            digest: Digest::of(b"live"),
            how: how.to_owned(),
            by: "rule".to_owned(),
            result: String::new(),
            waits: false,
        }
    }

    #[test]
    fn the_last_change_that_left_what_waits_tells_of_it() {
        let history = History::default();
        let rolled_back = change("rollback", "g", "bad");
        history.add([
            rolled_back.clone(),
            change("canary", "g", "bad"),
            rolled_back.clone(),
            change("rollback", "h", "bad"),
            change("rollback", "g", "other"),
        ]);
        let waits = || history.of(None).iter().map(|change| change.waits).collect::<Vec<_>>();
        assert_eq!(waits(), [false; 5]);
        history.wait(rolled_back.left().into_iter().collect());
        assert_eq!(waits(), [false, false, true, false, false]);
        // What is kept says nothing of it.
        assert!(!serde_json::to_string(&rolled_back).unwrap().contains("waits"));
        history.wait(BTreeSet::new());
        assert_eq!(waits(), [false; 5]);
    }
}
