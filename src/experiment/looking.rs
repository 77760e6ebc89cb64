//! A look at runs from elsewhere, while they go on or lie still.

use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Answer;
use super::execute::{LOCK, STATE};
use crate::money::NanoUsd;
use crate::store::{ItemState, ItemStore, Items as _};

/// Folders below the one that is looked into.
const DEEPEST: u32 = 3;

/// What is seen of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Its folder.
    pub folder: PathBuf,
    /// The experiment's name.
    pub name: String,
    /// Whether a process carries it on.
    pub goes_on: bool,
    /// Items there are.
    pub items: usize,
    /// With an answer.
    pub answered: usize,
    /// That failed.
    pub failed: usize,
    /// That were sent and have no end.
    pub sent: usize,
    /// What the answers cost.
    pub cost: NanoUsd,
}

/// Every run in a folder and those below it.
#[must_use]
pub fn look(folder: &Path) -> Vec<Look> {
    let mut found = Vec::new();
    search(folder, DEEPEST, &mut found);
    found
}

fn search(folder: &Path, deeper: u32, found: &mut Vec<Look>) {
    if folder.join(STATE).is_file() {
        found.extend(one(folder));
        return;
    }
    let Some(deeper) = deeper.checked_sub(1) else { return };
    let Ok(entries) = folder.read_dir() else { return };
    let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    below.sort();
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    below.iter().filter(|path| !hidden(path)).for_each(|path| search(path, deeper, found));
}

/// `None` where it cannot be read.
fn one(folder: &Path) -> Option<Look> {
    let store = ItemStore::open_to_read(&folder.join(STATE)).ok()?;
    let items = store.items().ok()?;
    let in_state = |state: ItemState| items.iter().filter(|item| item.state == state).count();
    let cost = items.iter().filter(|item| item.state == ItemState::Answered).filter_map(|item| {
        let answer: Answer = serde_json::from_str(item.outcome.as_deref()?).ok()?;
        answer.cost_nano_usd
    });
    let lock = std::fs::File::open(folder.join(LOCK)).ok();
    let goes_on = lock.is_some_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err());
    Some(Look {
        folder: folder.to_owned(),
        name: store.about("name").ok().flatten().unwrap_or_default(),
        goes_on,
        items: items.len(),
        answered: in_state(ItemState::Answered),
        failed: in_state(ItemState::Failed),
        sent: in_state(ItemState::Sent),
        cost: cost.sum(),
    })
}
