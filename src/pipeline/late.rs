//! A stream whose client is told that it is still waited for before anything of the reply is there.
//!
//! Proxies and clients give a silent connection up after some time. So once nothing has come for as long as a client may hear
//! nothing, the head is sent and signs of life follow, while the stages go on as before: other deployments and groups may
//! still take over. What is lost is the status: a refusal that comes later is an event of the stream.
//!
//! The stages go on in a task of their own: a client that does not read would hold up whoever waits behind it otherwise, and no
//! time would run out. One that leaves ends the task.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::fault::{Refusal, RefusalKind};
use crate::format::StreamEncoder;

use super::{ReplyStream, Served};

/// What is still to come of a request.
pub(super) type Rest = BoxFuture<'static, Result<Served, Refusal>>;

/// The body of such a stream.
pub struct LateStream(Pin<Box<dyn Stream<Item = Bytes> + Send>>);

enum State {
    /// Nothing is there yet; `due` says that a sign of life is to be sent before it is waited on.
    Waiting {
        rest: AbortOnDropHandle<Result<Served, Refusal>>,
        due: bool,
    },
    /// The reply as it comes.
    Streaming(Box<ReplyStream>),
    Over,
}

struct Late {
    state: State,
    encoder: Box<dyn StreamEncoder>,
    /// How long the client may hear nothing.
    quiet: Duration,
    /// The request's id, for an error.
    id: String,
    /// The gateway is stopping and waits no longer.
    cutoff: CancellationToken,
}

impl LateStream {
    pub(super) fn new(
        rest: Rest,
        encoder: Box<dyn StreamEncoder>,
        quiet: Duration,
        id: String,
        cutoff: CancellationToken,
    ) -> Self {
        let rest = AbortOnDropHandle::new(tokio::spawn(rest));
        let late = Late { state: State::Waiting { rest, due: true }, encoder, quiet, id, cutoff };
        Self(Box::pin(futures_util::stream::unfold(late, Late::next)))
    }
}

impl Stream for LateStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context).map(|piece| piece.map(Ok))
    }
}

impl Late {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            match &mut self.state {
                State::Over => return None,
                State::Streaming(stream) => {
                    let Ok(piece) = stream.next().await?;
                    return Some((piece, self));
                }
                State::Waiting { due, .. } if *due => {
                    *due = false;
                    let mut sign = BytesMut::new();
                    self.encoder.alive(&mut sign);
                    return Some((sign.freeze(), self));
                }
                State::Waiting { rest, due } => {
                    let answer = tokio::select! {
                        biased;
                        answer = rest => Some(answer),
                        () = self.cutoff.cancelled() => {
                            let why = "the gateway is stopping; ask again";
                            return Some(self.refused(&Refusal::new(RefusalKind::Unavailable, why)));
                        }
                        () = tokio::time::sleep(self.quiet) => None,
                    };
                    match answer {
                        None => *due = true,
                        Some(Ok(Ok(Served::Streamed { stream, meta }))) => {
                            self.state = State::Streaming(stream);
                            // The head is out, which would have told.
                            if let Some(dropped) = meta.dropped_told() {
                                let mut told = BytesMut::new();
                                self.encoder.remark(&format!("x-witgate-dropped: {dropped}"), &mut told);
                                return Some((told.freeze(), self));
                            }
                        }
                        // No stage makes another of a request for a stream.
                        Some(Ok(Ok(Served::Whole { .. } | Served::Large { .. } | Served::Late { .. }))) => {
                            self.state = State::Over;
                        }
                        Some(Ok(Err(refusal))) => return Some(self.refused(&refusal)),
                        // It panicked, which is logged where it happened.
                        Some(Err(_)) => {
                            let why = "the request could not be served";
                            return Some(self.refused(&Refusal::new(RefusalKind::Internal, why)));
                        }
                    }
                }
            }
        }
    }

    /// The end of the stream, where no reply came.
    fn refused(mut self, refusal: &Refusal) -> (Bytes, Self) {
        self.state = State::Over;
        let mut told = BytesMut::new();
        self.encoder.error(refusal, &self.id, &mut told);
        (told.freeze(), self)
    }
}
