//! How far an experiment is, model by model, for whoever looks in.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::GroupName;
use crate::money::NanoUsd;

/// How far all of it is.
#[derive(Debug, Default)]
pub struct Progress(Mutex<BTreeMap<GroupName, ModelProgress>>);

/// How far one model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelProgress {
    /// Items there are.
    pub items: usize,
    /// Those with a result.
    pub answered: usize,
    /// Those that failed.
    pub failed: usize,
    /// Calls in hand.
    pub in_hand: usize,
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupName, ModelProgress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
