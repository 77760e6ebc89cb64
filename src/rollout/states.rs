//! What policies have learned, written to the folder of state only where it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::folder::StateFolder;
use crate::policy::{Digest, SavedState};

/// What policies have learned, where that outlives the process.
#[derive(Debug, Default)]
pub struct States {
    folder: Mutex<Option<Arc<StateFolder>>>,
    /// Digests of what was written or read last.
    known: Mutex<BTreeMap<String, Digest>>,
}

impl States {
    /// From now on states are kept in this folder.
    pub fn keep_in(&self, folder: Arc<StateFolder>) {
        *lock(&self.folder) = Some(folder);
    }

    /// Whether states outlive the process.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        lock(&self.folder).is_some()
    }

    /// The number that stands for this one in what is kept; `None` where nothing is.
    #[must_use]
    pub fn disguised(&self, number: u64) -> Option<u64> {
        lock(&self.folder).as_ref().map(|folder| folder.disguised(number))
    }

    /// What is kept under `key`, where it is there and whole; what is damaged is told, with `what` is forgotten by it.
    #[must_use]
    pub fn found(&self, key: &str, what: &str) -> Option<SavedState> {
        let folder = lock(&self.folder).clone()?;
        match folder.state(key) {
            Ok(state) => {
                let state = state?;
                lock(&self.known).insert(key.to_owned(), digest(&state));
                Some(state)
            }
            Err(problem) => {
                tracing::warn!("{problem}; {what} is forgotten");
                None
            }
        }
    }

    /// Removes what was learned under other keys than these and was written before `since`.
    pub fn forget(&self, keys: &BTreeSet<String>, since: SystemTime) {
        let Some(folder) = lock(&self.folder).clone() else { return };
        lock(&self.known).retain(|key, _| keys.contains(key));
        folder.forget_states(keys, since);
    }

    /// Keeps what was learned under `key`, where it is not kept already.
    pub fn keep(&self, key: &str, state: &SavedState) {
        let Some(folder) = lock(&self.folder).clone() else { return };
        let digest = digest(state);
        if lock(&self.known).get(key) == Some(&digest) {
            return;
        }
        match folder.keep_state(key, state) {
            Ok(()) => drop(lock(&self.known).insert(key.to_owned(), digest)),
            Err(fault) => {
                let folder = folder.path().display();
                tracing::warn!(%folder, %fault, "what a policy has learned could not be kept");
            }
        }
    }
}

fn digest(state: &SavedState) -> Digest {
    Digest::of(&[state.schema.as_bytes(), &[0], &state.bytes].concat())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
