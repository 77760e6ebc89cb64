//! How far an experiment is, model by model, for whoever looks in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::GroupName;
use crate::money::NanoUsd;

/// How far all of it is.
#[derive(Debug, Default)]
pub struct Progress {
    models: Mutex<BTreeMap<GroupName, ModelProgress>>,
    /// Billionths of a dollar.
    for_nothing: AtomicU64,
}

/// How far one model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelProgress {
    /// Items there are.
    pub items: usize,
    /// Those with a result.
    pub answered: usize,
    /// Those that failed.
    pub failed: usize,
    /// Calls that have begun and not ended, those that wait for a limit among them.
    pub in_flight: usize,
    /// Of them, those that were sent and are not answered yet.
    pub sent: usize,
    /// Items with a result of this process.
    pub answered_here: usize,
    /// Tokens used, by calls of this process.
    pub tokens: u64,
    /// What is spent, by all calls.
    pub cost: NanoUsd,
}

impl ModelProgress {
    /// Items that are still to be answered.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.items.saturating_sub(self.answered + self.failed)
    }
}

impl Progress {
    /// Changes what is known of a model.
    pub fn update(&self, model: &GroupName, change: impl FnOnce(&mut ModelProgress)) {
        change(self.lock().entry(model.clone()).or_default());
    }

    /// How far each model is.
    #[must_use]
    pub fn models(&self) -> BTreeMap<GroupName, ModelProgress> {
        self.lock().clone()
    }

    /// So much was spent before for replies that came to nothing, of which no item tells.
    pub(super) fn set_for_nothing(&self, cost: NanoUsd) {
        self.for_nothing.store(cost.0, Ordering::Relaxed);
    }

    /// What was spent before for replies that came to nothing.
    #[must_use]
    pub fn for_nothing(&self) -> NanoUsd {
        NanoUsd(self.for_nothing.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupName, ModelProgress>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
