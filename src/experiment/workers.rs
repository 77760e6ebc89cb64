//! A run that several workers carry out together: each takes some of what nobody holds whenever it has too little to do, and says again
//! and again that it is there. One that cannot say so any more sends nothing further, since others will take what it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Call, Experiment, Progress};
use crate::id::GroupName;
use crate::store::SharedItems;

/// How often it says so, at least, and looks whether there is more to take.
const SAID_EVERY: Duration = Duration::from_secs(2);
/// Items that are taken at once.
const SLICE: usize = 16;
/// The same where several make a call: the last call of a slice is not full.
const SLICE_OF_BATCHES: usize = 128;

/// What one worker takes.
pub(super) struct Taking<'a> {
    items: &'a SharedItems,
    experiment: &'a Experiment,
    progress: Arc<Progress>,
    places: HashMap<&'a str, usize>,
    /// What it took. What the server gave it and it never heard of is not among these, and others take it when its lease ends.
    held: Vec<String>,
    /// Models of which there was nothing to take when last it was looked.
    dry: BTreeSet<GroupName>,
    /// When it has said last that it is there, and when it does so next.
    said: Instant,
    next: Instant,
    /// Whether items of the run have no end.
    open: bool,
}

impl<'a> Taking<'a> {
    pub(super) fn new(items: &'a SharedItems, experiment: &'a Experiment, progress: Arc<Progress>) -> Self {
        let places = experiment.items.iter().zip(0..).map(|(item, place)| (item.id.as_str(), place)).collect();
        let now = Instant::now();
        Self {
            items,
            experiment,
            progress,
            places,
            held: Vec::new(),
            dry: BTreeSet::new(),
            said: now,
            next: now,
            open: true,
        }
    }

    /// When it is to say that it is there.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Whether every item of the run has its end.
    pub(super) const fn is_over(&self) -> bool {
        !self.open
    }

    /// Takes as much as there is room for.
    pub(super) fn fill(
        &mut self,
        waiting: &mut BTreeMap<GroupName, VecDeque<Call>>,
        in_flight: &BTreeMap<GroupName, usize>,
    ) {
        let most = self.experiment.file.concurrency as usize;
        let batched = self.experiment.file.batch.is_some();
        for model in self.experiment.models() {
            let queue = waiting.entry(model.clone()).or_default();
            let begun = in_flight.get(model).copied().unwrap_or_default();
            while queue.len() + begun < most && !self.dry.contains(model) {
                let room = most - begun - queue.len();
                let wanted = if batched { SLICE_OF_BATCHES } else { SLICE.min(room) };
                // Who cannot take hears why when he says that he is there.
                let taken = self.items.take(model.as_str(), wanted).unwrap_or_default();
                self.held.extend(taken.iter().cloned());
                let taken: Vec<usize> = taken.iter().filter_map(|id| self.places.get(id.as_str()).copied()).collect();
                if taken.is_empty() {
                    self.dry.insert(model.clone());
                }
                queue.extend(self.experiment.calls(taken.into_iter()).into_values().flatten());
            }
        }
    }

    /// Says that it is there, and hears how far the others are. An error: it could not for so long that others may take over.
    pub(super) fn say(&mut self) -> Result<(), String> {
        let now = Instant::now();
        self.next = now + SAID_EVERY.min(self.items.lease() / 4);
        if now.duration_since(self.said) >= self.items.lease() {
            return Err(
                "stopped: for a whole lease this worker did not say that it is there, and others may hold what it took"
                    .to_owned(),
            );
        }
        self.dry.clear();
        match self.items.renew(&self.held) {
            Ok(counts) => {
                (self.said, self.open) = (now, counts.open > 0);
                for (model, answered, failed) in counts.ended {
                    self.progress.update(&GroupName::from(model.as_str()), |model| {
                        (model.answered, model.failed) = (answered, failed);
                    });
                }
                Ok(())
            }
            Err(why) if now.duration_since(self.said) > self.items.lease() / 2 => {
                Err(format!("stopped, since others may take over what this worker holds: {why}"))
            }
            Err(why) => {
                tracing::warn!(why, "this worker cannot renew its lease; it tries again");
                Ok(())
            }
        }
    }
}
