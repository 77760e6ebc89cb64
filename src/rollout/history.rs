//! What has happened to the versions of policies: one line each, the newest last, bounded.

use std::collections::VecDeque;
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
pub struct History(Mutex<VecDeque<Change>>);

impl History {
    /// Of one group, or of all; the newest last.
    #[must_use]
    pub fn of(&self, group: Option<&str>) -> Vec<Change> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|change| group.is_none_or(|group| change.group == group)).cloned().collect()
    }

    /// Remembers what happened.
    pub fn add(&self, changes: impl IntoIterator<Item = Change>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(changes);
        let surplus = all.len().saturating_sub(KEPT);
        all.drain(..surplus);
    }
}
