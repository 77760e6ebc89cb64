//! Keys that are other ones now, for the requests that were begun with them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::virtual_key::KeyHash;

/// What took the place of which key since this process began: before, nothing that is under way was begun.
#[derive(Debug, Default)]
pub(super) struct Renewed(Mutex<HashMap<KeyHash, KeyHash>>);

impl Renewed {
    pub(super) fn note(&self, old: KeyHash, new: KeyHash) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(old, new);
        // One that is chosen again is nobody else's any more, and nothing goes round.
        all.remove(&new);
    }

    /// What the key is now, however often it was renewed.
    pub(super) fn find(&self, old: KeyHash) -> Option<KeyHash> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = *all.get(&old)?;
        while let Some(next) = all.get(&now) {
            now = *next;
        }
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_was_renewed_to_last_and_nothing_goes_round() {
        let renewed = Renewed::default();
        let [a, b, c] = ["a", "b", "c"].map(KeyHash::of);
        assert_eq!(renewed.find(a), None);
        renewed.note(a, b);
        renewed.note(b, c);
        assert_eq!((renewed.find(a), renewed.find(b), renewed.find(c)), (Some(c), Some(c), None));
        renewed.note(c, a);
        assert_eq!((renewed.find(a), renewed.find(b), renewed.find(c)), (None, Some(a), Some(a)));
    }
}
