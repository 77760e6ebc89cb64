//! Requests that the gateway makes itself, followed by whoever made them, who may have to stop. Those that nobody waits for are the last in
//! every queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// What becomes of such a request meanwhile.
#[derive(Debug, Default)]
pub struct Followed {
    how_far: AtomicU8,
    unanswered: Notify,
}

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
/// Its reply is to be streamed.
const STREAMED: u8 = 4;

impl Followed {
    /// The most urgent of requests has the least priority, and this is the last.
    pub(super) const PRIORITY: i32 = i32::MAX;

    /// A call of it is about to be sent, whose reply is to be `streamed` or whole.
    pub(super) fn sending(&self, streamed: bool) {
        let how = if streamed { STREAMED } else { 0 };
        self.how_far.store(SENT | UNDER_WAY | how, Ordering::Release);
    }

    /// That call has no reply.
    pub(super) fn unanswered(&self) {
        self.how_far.fetch_and(!UNDER_WAY, Ordering::AcqRel);
        self.unanswered.notify_waiters();
    }

    /// Whether any provider was ever sent it: it may have cost something.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.how_far.load(Ordering::Acquire) & SENT != 0
    }

    /// Whether a provider has it now, or has answered it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.how_far.load(Ordering::Acquire) & UNDER_WAY != 0
    }

    /// Whether what a provider was sent of it is to be streamed: whoever gives it up then pays for no more than it has begun to say.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        self.how_far.load(Ordering::Acquire) & STREAMED != 0
    }

    /// Waits until no provider has it; for ever where one has answered it.
    pub async fn comes_back(&self) {
        loop {
            let unanswered = self.unanswered.notified();
            if !self.is_under_way() {
                return;
            }
            unanswered.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_request_comes_back_when_its_provider_has_no_reply() {
        let followed = Followed::default();
        followed.comes_back().await;
        followed.sending(false);
        {
            let mut back = pin!(followed.comes_back());
            assert!(futures_util::poll!(&mut back).is_pending());
            followed.unanswered();
            assert!(futures_util::poll!(&mut back).is_ready());
        }
        // Sent again before anybody looked.
        followed.sending(false);
        let mut back = pin!(followed.comes_back());
        assert!(futures_util::poll!(&mut back).is_pending());
        followed.unanswered();
        followed.sending(true);
        assert!(futures_util::poll!(&mut back).is_pending());
        assert!(followed.is_streamed() && followed.is_under_way());
        followed.unanswered();
        assert!(followed.was_sent() && !followed.is_under_way());
    }
}
