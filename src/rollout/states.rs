//! What policies have learned, written to the folder of state only where it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::folder::StateFolder;
use crate::policy::{Digest, SavedState};

/// States that are kept beside the last one under one key, each in a schema of its own.
const BESIDE: usize = 3;
/// The form of the list of them.
const BESIDE_FORM: &str = "beside/1";

/// A state that is kept beside the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// In which schema.
    pub schema: String,
    /// The version that saved it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Digest>,
}

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

    /// What is kept beside under `key`, the newest first.
    #[must_use]
    pub fn beside(&self, key: &str) -> Vec<Beside> {
        let list = self.found(key, "what policies had learned before their last state");
        let list = list.filter(|list| list.schema == BESIDE_FORM);
        list.and_then(|list| serde_json::from_slice(&list.bytes).ok()).unwrap_or_default()
    }

    /// The states themselves, the newest first.
    #[must_use]
    pub fn found_beside(&self, key: &str) -> Vec<SavedState> {
        let found = |one: Beside| self.found(&in_schema(key, &one.schema), "what a policy had learned before");
        self.beside(key).into_iter().filter_map(found).collect()
    }

    /// The keys under which states are kept beside under this one, and it.
    #[must_use]
    pub fn keys_beside(&self, key: &str) -> Vec<String> {
        let states = self.beside(key).into_iter().map(|one| in_schema(key, &one.schema));
        [key.to_owned()].into_iter().chain(states).collect()
    }

    /// Keeps a state beside, which takes the place of one in its schema. Of more than a few the oldest is forgotten.
    pub fn keep_beside(&self, key: &str, state: &SavedState, by: Option<Digest>) {
        let Some(folder) = lock(&self.folder).clone() else { return };
        let others = self.beside(key).into_iter().filter(|one| one.schema != state.schema);
        let mut list: Vec<Beside> = [Beside { schema: state.schema.clone(), by }].into_iter().chain(others).collect();
        for forgotten in list.split_off(list.len().min(BESIDE)) {
            let forgotten = in_schema(key, &forgotten.schema);
            lock(&self.known).remove(&forgotten);
            folder.remove_state(&forgotten);
        }
        self.keep(&in_schema(key, &state.schema), state);
        if let Ok(bytes) = serde_json::to_vec(&list) {
            self.keep(key, &SavedState { schema: BESIDE_FORM.to_owned(), bytes });
        }
    }
}

/// Under which key a state in this schema is kept beside.
fn in_schema(key: &str, schema: &str) -> String {
    format!("{key}\n{schema}")
}

fn digest(state: &SavedState) -> Digest {
    Digest::of(&[state.schema.as_bytes(), &[0], &state.bytes].concat())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn state(schema: &str, byte: u8) -> SavedState {
        SavedState { schema: schema.to_owned(), bytes: vec![byte] }
    }

    #[test]
    fn a_few_states_are_kept_beside_each_in_a_schema_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let (path, by) = (place.path().join("state"), Digest::of(b"version"));
        let states = States::default();
        states.keep_beside("p", &state("a", 1), None);
        assert!(states.found_beside("p").is_empty(), "nowhere");
        let open = || Arc::new(StateFolder::open(&path).unwrap());
        states.keep_in(open());
        for (schema, byte) in [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("d", 5)] {
            states.keep_beside("p", &state(schema, byte), Some(by));
        }
        states.keep_beside("q", &state("a", 9), None);
        let expected = [state("d", 5), state("a", 4), state("c", 3)];
        assert_eq!((states.found_beside("p"), states.found_beside("q")), (expected.to_vec(), vec![state("a", 9)]));
        drop(states);
        let states = States::default();
        states.keep_in(open());
        assert_eq!(states.found_beside("p"), expected);
        assert_eq!(states.beside("p").first(), Some(&Beside { schema: "d".to_owned(), by: Some(by) }));
        assert_eq!(states.found("p\nb", ""), None, "the oldest is forgotten");
        // What was forgotten may be kept again.
        states.keep_beside("p", &state("b", 2), None);
        assert_eq!(states.found_beside("p"), [state("b", 2), state("d", 5), state("a", 4)]);
        // They are forgotten as all else is, once nobody has them.
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        states.forget(&states.keys_beside("p").into_iter().collect(), later);
        assert_eq!(states.found_beside("p").len(), 3);
        states.forget(&BTreeSet::new(), later);
        assert!(states.found_beside("p").is_empty());
    }
}
