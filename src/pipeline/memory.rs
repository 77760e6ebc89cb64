//! The memory that requests under way may hold together. A request takes from it before bytes are kept (its body, what reading
//! the body will make of it, a provider's reply) and gives all of it back when it ends, however it ends.
//!
//! It is a bound on what clients and providers can make the gateway hold, not an exact account: small things are not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fault::{Refusal, RefusalKind};

/// Bodies up to this size are not examined for what their tree will take.
const SMALL: usize = 16 << 10;
/// Bytes that one value of a body takes while it is read and kept.
const BYTES_PER_VALUE: usize = 160;

/// What all requests hold at the moment.
#[derive(Debug, Default)]
pub struct MemoryBudget {
    held: AtomicUsize,
}

impl MemoryBudget {
    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// One request's part of it. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct HeldMemory {
    budget: Arc<MemoryBudget>,
    limit: usize,
    bytes: usize,
}

impl HeldMemory {
    /// Nothing yet. All requests together may hold `limit` bytes.
    pub(super) const fn new(budget: Arc<MemoryBudget>, limit: usize) -> Self {
        Self { budget, limit, bytes: 0 }
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// `Unavailable` where that would be more than all requests may hold together. Nothing is taken then.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
            let message = format!(
                "the requests under way hold as much memory as they may ({} MiB); try again shortly, or raise `witgate.server.max_memory_mb`",
                self.limit >> 20
            );
            return Err(Refusal::new(RefusalKind::Unavailable, message).after(Duration::from_secs(1)));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that reading a body as JSON will take beside the body itself: no less for any body, and about as much again for one of
/// prose.
pub(super) fn tree_bytes(body: &[u8]) -> usize {
    if body.len() <= SMALL {
        return 0;
    }
    body.len().saturating_add(count_values(body).saturating_mul(BYTES_PER_VALUE))
}

/// About how many values there are: what separates and opens them, outside of texts.
fn count_values(mut body: &[u8]) -> usize {
    let mut values = 0;
    while let Some(quote) = memchr::memchr(b'"', body) {
        values += body[..quote].iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
        body = &body[quote + 1..];
        loop {
            let Some(end) = memchr::memchr2(b'"', b'\\', body) else { return values };
            let escaped = body[end] == b'\\';
            body = body.get(end + 1 + usize::from(escaped)..).unwrap_or_default();
            if !escaped {
                break;
            }
        }
    }
    values + body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_over_all_and_given_back() {
        let budget = Arc::new(MemoryBudget::default());
        let held = || HeldMemory::new(Arc::clone(&budget), 100);
        let (mut one, mut other) = (held(), held());
        assert!(one.take(60).is_ok());
        assert_eq!(other.take(41).map_err(|refusal| refusal.kind), Err(RefusalKind::Unavailable));
        assert!(other.take(40).is_ok());
        assert_eq!(budget.held(), 100);
        drop(one);
        assert_eq!(budget.held(), 40);
        assert!(other.take(usize::MAX).is_err(), "an absurd number is refused, not wrapped");
        drop(other);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_body_of_many_values_takes_much_more_than_one_of_prose() {
        let prose = format!("{{\"text\": \"{}\"}}", "words, [and] \\\"more, words\\\" \\\\".repeat(2000));
        let values = format!("[{}0]", "0,".repeat(20_000));
        assert_eq!(tree_bytes(prose.as_bytes()), prose.len() + BYTES_PER_VALUE);
        assert!(tree_bytes(values.as_bytes()) > 70 * values.len());
        assert_eq!(tree_bytes(b"{}"), 0);
    }
}
