//! What has happened to the versions of policies: one line each, the newest last, bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::policy::{Digest, Role};

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
    /// Whether it happened before the gateway was started last: its generation is one of that time, which began at 1, too. It is found out
    /// when somebody asks, and not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier: bool,
}

/// A version that the folder holds and nobody tries, because another was put in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// A component that some group names and that is being compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compiling {
    /// The policy's name.
    pub policy: String,
    /// The version.
    pub digest: Digest,
    /// Whether what is in force decides until then. Else the configuration that names it waits.
    pub goes_on: bool,
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
    changes: Mutex<Changes>,
    waiting: Mutex<BTreeSet<Waiting>>,
}

#[derive(Debug, Default)]
struct Changes {
    all: VecDeque<Change>,
    /// How many of them happened in processes before this one, whose generations are others.
    earlier: usize,
}

impl Changes {
    fn add(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.all.extend(changes);
        let surplus = self.all.len().saturating_sub(KEPT);
        self.all.drain(..surplus);
        self.earlier = self.earlier.saturating_sub(surplus);
    }
}

/// In which generations of this process versions came into force, or began to be tried.
#[derive(Debug, Default)]
pub struct Begun(BTreeMap<(String, String, String, Digest), u64>);

impl Begun {
    /// By what has happened in this process, the newest last.
    fn by<'c>(changes: impl Iterator<Item = &'c Change>) -> Self {
        let (mut begun, mut in_force) = (BTreeMap::new(), BTreeMap::new());
        for change in changes {
            let Change { generation, group, role, policy, from, digest, how, .. } = change;
            // Deployments of a group may be spoken to by several policies; in the other roles one takes the place of another.
            let name = if role == Role::Provider.as_str() { policy.as_str() } else { "" };
            let place = (group.as_str(), role.as_str(), name);
            let begins = if matches!(how.as_str(), "shadow" | "canary") {
                if let Some(beside) = from {
                    in_force.entry(place).or_insert((policy.as_str(), *beside));
                }
                true
            } else {
                // Of a version that was tried and is given up, the one that stays in force is told.
                let version = (policy.as_str(), *digest);
                in_force.insert(place, version) != Some(version)
            };
            if begins {
                begun.insert((group.clone(), role.clone(), policy.clone(), *digest), *generation);
            }
        }
        Self(begun)
    }

    /// Of a version of a group's policy; that of the start where nothing has happened to it since.
    #[must_use]
    pub fn of(&self, group: &str, role: Role, policy: &str, digest: Digest) -> u64 {
        let version = (group.to_owned(), role.as_str().to_owned(), policy.to_owned(), digest);
        self.0.get(&version).copied().unwrap_or(1)
    }
}

impl History {
    /// Of one group, or of all; the newest last.
    #[must_use]
    pub fn of(&self, group: Option<&str>) -> Vec<Change> {
        let mut all: Vec<Change> = {
            let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let all = changes.all.iter().enumerate();
            let wanted = all.filter(|(_, change)| group.is_none_or(|group| change.group == group));
            wanted.map(|(at, change)| Change { earlier: at < changes.earlier, ..change.clone() }).collect()
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

    /// What waits in one group, or in all.
    #[must_use]
    pub fn waiting(&self, group: Option<&str>) -> Vec<Waiting> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().filter(|waiting| group.is_none_or(|group| waiting.group == group)).cloned().collect()
    }

    /// From now on these wait.
    pub fn wait(&self, waiting: BTreeSet<Waiting>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    /// Remembers what happened.
    pub fn add(&self, changes: impl IntoIterator<Item = Change>) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).add(changes);
    }

    /// Remembers what had happened before this process began.
    pub fn recall(&self, earlier: impl IntoIterator<Item = Change>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.add(earlier);
        changes.earlier = changes.all.len();
    }

    /// When versions came into force, or began to be tried, as far as it is remembered.
    #[must_use]
    pub fn begun(&self) -> Begun {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        Begun::by(changes.all.iter().skip(changes.earlier))
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
            earlier: false,
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

    /// It never was in force: who was asked to put another there left nothing that tells of it.
    #[test]
    fn what_waits_is_told_though_no_change_left_it() {
        let history = History::default();
        history.add([change("canary", "g", "live"), change("rollback", "g", "live")]);
        let waiting = change("rollback", "g", "tried").left();
        history.wait(waiting.iter().cloned().collect());
        assert!(history.of(None).iter().all(|change| !change.waits));
        let waiting = Vec::from_iter(waiting);
        assert_eq!((&history.waiting(None), &history.waiting(Some("g"))), (&waiting, &waiting));
        assert!(history.waiting(Some("h")).is_empty());
    }

    /// Each process counts its generations from 1 on.
    #[test]
    fn what_happened_before_the_last_start_is_marked() {
        let history = History::default();
        history.recall([change("start", "g", "a"), change("replace", "h", "a"), change("replace", "g", "a")]);
        history.add([change("replace", "g", "b")]);
        let earlier = |group| history.of(group).iter().map(|change| change.earlier).collect::<Vec<_>>();
        assert_eq!((earlier(None), earlier(Some("g"))), (vec![true, true, true, false], vec![true, true, false]));
        // What is kept says nothing of it.
        assert!(!serde_json::to_string(&change("start", "g", "a")).unwrap().contains("earlier"));
        // The oldest are forgotten first.
        history.add((0..KEPT - 2).map(|_| change("replace", "g", "c")));
        assert_eq!(history.of(None).iter().filter(|change| change.earlier).count(), 1);
    }

    #[test]
    fn a_version_began_in_a_generation_of_this_process() {
        let digest = |name: &str| Digest::of(name.as_bytes());
        let change = |generation, how: &str, policy: &str, from: &str, to: &str| Change {
            generation,
            policy: policy.to_owned(),
            digest: digest(to),
            ..change(how, "g", from)
        };
        let history = History::default();
        history.recall([change(7, "replace", "p", "o", "a"), change(8, "replace", "p", "a", "b")]);
        let began = |policy: &str, name: &str| history.begun().of("g", Role::Router, policy, digest(name));
        assert_eq!((began("p", "a"), began("p", "b")), (1, 1), "generations of another process");
        history.add([change(2, "canary", "p", "b", "c"), change(3, "rollback", "p", "c", "b")]);
        assert_eq!((began("p", "c"), began("p", "b")), (2, 1), "what stays in force was in force before");
        history.add([change(4, "shadow", "p", "b", "c"), change(5, "promote", "p", "b", "c")]);
        assert_eq!(began("p", "c"), 5);
        history.add([change(6, "rollback", "p", "c", "b")]);
        assert_eq!(began("p", "b"), 6);
        // Another policy has the place for a while.
        history.add([change(7, "replace", "q", "b", "x"), change(8, "replace", "p", "x", "b")]);
        assert_eq!((began("q", "x"), began("p", "b")), (7, 8));
        assert_eq!(history.begun().of("h", Role::Router, "p", digest("b")), 1);
    }
}
