//! What the folder of state does not have yet. What cannot be written, because a disk is full, say, is written with the next build: a
//! version that was rolled back must not be in force again at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::RolloutDraft;
use crate::policy::Digest;
use crate::rollout::{Change, History, Standing, StateFolder};

/// What is to be written.
#[derive(Default)]
pub(super) struct Unkept {
    is_any: bool,
    changes: Vec<Change>,
    bytes: BTreeMap<Digest, Vec<u8>>,
}

impl Unkept {
    /// Takes what a build changed; `moved` says whether versions stand elsewhere.
    pub(super) fn add(&mut self, draft: &mut RolloutDraft, moved: bool) {
        self.is_any |= moved || !draft.changes.is_empty();
        self.changes.append(&mut draft.changes);
        self.bytes.append(&mut draft.bytes);
    }

    /// Writes it, and then has nothing more to write.
    ///
    /// # Errors
    /// It cannot be written, and stays.
    pub(super) fn write(
        &mut self,
        folder: &StateFolder,
        standings: &BTreeMap<String, Standing>,
        history: &History,
    ) -> io::Result<()> {
        if !self.is_any {
            return Ok(());
        }
        let used = |standing: &Standing| {
            [Some(standing.live), standing.previous, standing.asked.map(|asked| asked.digest)].into_iter().flatten()
        };
        let mut in_use: BTreeSet<Digest> = standings.values().flat_map(used).collect();
        if let Err(fault) = self.put(folder, standings) {
            // However long that lasts: what nobody uses any more is not held for it. What the policies' folder has is there.
            self.bytes.retain(|digest, _| in_use.contains(digest));
            return Err(fault);
        }
        in_use.extend(self.bytes.keys());
        folder.prune(&in_use, &history.of(None));
        *self = Self::default();
        Ok(())
    }

    fn put(&self, folder: &StateFolder, standings: &BTreeMap<String, Standing>) -> io::Result<()> {
        for (digest, bytes) in &self.bytes {
            folder.keep(*digest, bytes)?;
        }
        folder.keep_standings(standings)?;
        folder.add_history(&self.changes)
    }
}
