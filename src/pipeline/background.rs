//! Requests that the gateway makes itself, followed by whoever made them, who may have to stop. Those that nobody waits for are the last in
//! every queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What becomes of such a request meanwhile.
#[derive(Debug, Default)]
pub struct Followed(AtomicU8);

/// A request that is followed, and whether it is last in every queue.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) followed: Arc<Followed>,
    pub(super) is_last: bool,
}

/// A provider was sent it at some time.
const SENT: u8 = 1;
/// A provider has it now, or has answered it.
const UNDER_WAY: u8 = 2;

impl Followed {
    /// The most urgent of requests has the least priority, and this is the last.
    pub(super) const PRIORITY: i32 = i32::MAX;

    /// A call of it is about to be sent.
    pub(super) fn sending(&self) {
        self.0.store(SENT | UNDER_WAY, Ordering::Release);
    }

    /// That call has no reply.
    pub(super) fn unanswered(&self) {
        self.0.fetch_and(SENT, Ordering::AcqRel);
    }

    /// Whether any provider was ever sent it: it may have cost something.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.0.load(Ordering::Acquire) & SENT != 0
    }

    /// Whether a provider has it now, or has answered it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Acquire) & UNDER_WAY != 0
    }
}
