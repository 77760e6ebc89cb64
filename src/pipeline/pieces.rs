//! A body put together from the pieces it comes in. One that comes in one piece is not copied.

use bytes::{Bytes, BytesMut};

/// The pieces so far.
#[derive(Default)]
pub struct Pieces {
    announced: usize,
    first: Bytes,
    whole: BytesMut,
}

impl Pieces {
    /// Of a body that is said to have so many bytes: they are reserved at once, and take memory as they come.
    #[must_use]
    pub fn announced(bytes: usize) -> Self {
        Self { announced: bytes, ..Self::default() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len().max(self.whole.len())
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.is_empty() {
            self.first = piece;
            return;
        }
        if self.whole.is_empty() {
            self.whole.reserve(self.announced);
            self.whole.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.whole.extend_from_slice(&piece);
    }

    /// The body.
    #[must_use]
    pub fn whole(self) -> Bytes {
        if self.whole.is_empty() { self.first } else { self.whole.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_is_the_body_itself_and_several_are_joined() {
        let piece = Bytes::from(vec![b'a'; 100]);
        let mut one = Pieces::announced(100);
        one.push(Bytes::new());
        one.push(piece.clone());
        assert_eq!(one.whole().as_ptr(), piece.as_ptr());
        let mut several = Pieces::announced(3);
        for piece in ["ab", "", "c", "de"] {
            several.push(Bytes::from(piece));
        }
        assert_eq!((several.len(), &*several.whole()), (5, &b"abcde"[..]));
    }
}
