//! A look at runs from elsewhere, while they go on or lie still.

use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Answer;
use super::execute::{LOCK, SHARED, STATE};
use crate::money::NanoUsd;
use crate::store::{ItemState, ItemStore, Items as _, KeptItem};

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
    /// What was paid, for answers and for nothing.
    pub cost: NanoUsd,
}

/// A folder of one of several workers, who meet in a server that knows the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMark {
    /// The folder.
    pub folder: PathBuf,
    /// The run, as the server knows it.
    pub run: String,
    /// The configuration that names the server.
    pub config: Option<PathBuf>,
}

/// Every run in a folder and those below it: those of one process, and those of workers.
#[must_use]
pub fn look(folder: &Path) -> (Vec<Look>, Vec<SharedMark>) {
    let mut found = (Vec::new(), Vec::new());
    search(folder, DEEPEST, &mut found);
    found
}

fn search(folder: &Path, deeper: u32, found: &mut (Vec<Look>, Vec<SharedMark>)) {
    if folder.join(STATE).is_file() {
        found.0.extend(one(folder));
        return;
    }
    if let Ok(mark) = std::fs::read_to_string(folder.join(SHARED)) {
        let mut lines = mark.lines().filter(|line| !line.is_empty());
        if let Some(run) = lines.next() {
            let (run, config) = (run.to_owned(), lines.next().map(PathBuf::from));
            found.1.push(SharedMark { folder: folder.to_owned(), run, config });
        }
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
    let lock = std::fs::File::open(folder.join(LOCK)).ok();
    let goes_on = lock.is_some_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err());
    let name = store.about("name").ok().flatten().unwrap_or_default();
    let mut seen = Look {
        folder: folder.to_owned(),
        name,
        goes_on,
        items: 0,
        answered: 0,
        failed: 0,
        sent: 0,
        cost: NanoUsd::default(),
    };
    let mut count = |item: KeptItem| {
        seen.items += 1;
        seen.answered += usize::from(item.state == ItemState::Answered);
        seen.failed += usize::from(item.state == ItemState::Failed);
        seen.sent += usize::from(item.state == ItemState::Sent);
        if item.state == ItemState::Answered {
            let answer = item.outcome.as_deref().and_then(|text| serde_json::from_str::<Answer>(text).ok());
            seen.cost += answer.and_then(|answer| answer.cost_nano_usd).unwrap_or_default();
        }
        Ok(())
    };
    store.each(&mut count).ok()?;
    seen.cost = seen.cost.max(store.paid().ok()?);
    Some(seen)
}
