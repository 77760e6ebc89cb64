//! Waiting for a limit: first come, first served within a group, bounded, woken at the exact instant.
//!
//! Nobody polls. The head of a queue sleeps until the moment the limits named, or until something under
//! way ended; those behind it wait for their turn and cannot overtake it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// The queue of one group. It survives reloads with the group's name.
#[derive(Debug)]
pub struct Queue {
    turn: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), waiting: AtomicUsize::new(0) }
    }
}

/// A place in the queue; leaving it, served or not, makes room.
#[derive(Debug)]
pub struct Place<'a> {
    queue: &'a Queue,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Queue {
    /// Whether anybody waits; a newcomer must then queue behind them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes a place, unless `capacity` places are taken.
    #[must_use]
    pub fn join(&self, capacity: usize) -> Option<Place<'_>> {
        let joined = self
            .waiting
            .try_update(Ordering::AcqRel, Ordering::Acquire, |waiting| (waiting < capacity).then_some(waiting + 1));
        joined.ok().map(|_before| Place { queue: self })
    }

    /// Waits to be the head. Places are served in the order they asked.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }
}

/// Told whenever something under way ends or limits change: heads of queues then look again.
#[derive(Debug, Default)]
pub struct CapacityNotify(Notify);

impl CapacityNotify {
    /// Capacity may have become free.
    pub fn notify(&self) {
        self.0.notify_waiters();
    }

    /// Completes at the next [`CapacityNotify::notify`]; registered from the moment it is enabled or first polled.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.notified()
    }
}
