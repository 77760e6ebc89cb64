//! The body of a request on its way: whole, and telling when its last byte was handed to the connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::upstream::Sent;

/// What is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: Full<Bytes>,
    sent: Sent,
}

impl Outgoing {
    /// A body that tells `sent`.
    pub(super) fn new(body: Bytes, sent: Sent) -> Self {
        Self { body: Full::new(body), sent }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if matches!(frame, Poll::Ready(Some(_))) {
            this.sent.tell();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
