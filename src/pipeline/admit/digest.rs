//! What tells one request of a caller from another, so that it finds its place in the queue when it comes back.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};

use crate::chat::ChatRequest;

/// Tells one request of a caller from another. What it says of itself is what is asked, whoever may have built the prompt.
pub(super) fn digest(request: &ChatRequest) -> u64 {
    struct Digest(DefaultHasher);
    impl std::fmt::Write for Digest {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut digest = Digest(DefaultHasher::new());
    // Writing to a digest cannot fail.
    let _ = write!(digest, "{} {:?} {:?}", request.model, request.max_tokens, request.messages);
    digest.0.finish()
}
