//! How far a batch is, for whoever looks on.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::money::NanoUsd;

/// Counts of this process.
#[derive(Debug, Default)]
pub struct Progress {
    answered: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU64,
    nano_usd: AtomicU64,
}

impl Progress {
    pub(super) fn begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A line is in flight no more; it was answered, or not, or dropped.
    pub(super) fn ended(&self, answered: Option<bool>, cost: NanoUsd) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match answered {
            Some(true) => &self.answered,
            Some(false) => &self.failed,
            None => return,
        }
        .fetch_add(1, Ordering::Relaxed);
        self.nano_usd.fetch_add(cost.0, Ordering::Relaxed);
    }

    /// Lines that were answered, that failed, and that are in flight.
    #[must_use]
    pub fn lines(&self) -> [u64; 3] {
        [&self.answered, &self.failed, &self.in_flight].map(|count| count.load(Ordering::Relaxed))
    }

    /// What the answers cost, as far as prices are known.
    #[must_use]
    pub fn cost(&self) -> NanoUsd {
        NanoUsd(self.nano_usd.load(Ordering::Relaxed))
    }
}
