//! A streamed reply. Until its first content another deployment may take over, so nothing is sent before;
//! after it, a fault becomes an error event in the caller's dialect, never a quiet end.
//!
//! The client pulls: a piece of the provider's body is read when the client wants more. Dropping the stream
//! drops the provider's body with it, which ends the call at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::catalog::Deployment;
use crate::chat::{Chunk, Delta};
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::format::{StreamDecoder, StreamEncoder};
use crate::snapshot::DeploymentRuntime;
use crate::upstream::Body;

use super::scrub::scrubbed;
use super::send_timeout::SendTimeout;
use super::{RequestContext, RequestGuard};

/// How long the end of a provider's body is awaited after the reply is whole, so that the connection can
/// be used again.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes a stream may send before its first content: pings, roles and fields nobody knows.
const MAX_PREAMBLE: usize = 1 << 20;

/// A provider's stream, decoded as it is read.
struct Source {
    body: Body,
    decoder: Box<dyn StreamDecoder>,
    chunks: Vec<Chunk>,
    /// Bytes read so far.
    read: usize,
}

/// A reply whose first content has come.
pub(super) struct Begun {
    source: Source,
    encoder: Box<dyn StreamEncoder>,
    deadline: Instant,
    deployment: Arc<Deployment>,
}

/// Reads until the first content.
///
/// # Errors
/// What went wrong before any content; another deployment may still serve the request.
pub(super) async fn begin(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    runtime: &DeploymentRuntime,
    body: Body,
) -> Result<Begun, AttemptFault> {
    let decoder = runtime.format.stream();
    let mut source = Source { body, decoder, chunks: Vec::new(), read: 0 };
    while !source.chunks.iter().any(|chunk| chunk.delta.is_content()) {
        if source.decoder.is_complete() {
            break;
        }
        source.read().await?;
        // The piece that brings the first content may be larger, with a picture in it.
        if source.read > MAX_PREAMBLE && !source.chunks.iter().any(|chunk| chunk.delta.is_content()) {
            let message = format!("the provider's stream had no content in its first {} KiB", MAX_PREAMBLE >> 10);
            return Err(AttemptFault::new(FaultKind::BrokenStream, message));
        }
    }
    let now = context.gateway.clock.now();
    for chunk in &mut source.chunks {
        if let Delta::Start { created, .. } = &mut chunk.delta {
            created.get_or_insert(now.as_millis() / 1000);
        }
    }
    guard.first_content();
    let encoder = guard.api().stream(&context.request);
    Ok(Begun {
        source,
        encoder,
        deadline: context.gateway.clock.instant(context.deadline),
        deployment: Arc::clone(&runtime.config),
    })
}

impl Source {
    /// Reads one piece of the body and decodes what is whole.
    async fn read(&mut self) -> Result<(), AttemptFault> {
        let Self { body, decoder, chunks, read } = self;
        if let Some(piece) = body.next().await.transpose()? {
            *read = read.saturating_add(piece.len());
            return decoder.push(&piece, chunks);
        }
        decoder.finish(chunks)?;
        if !decoder.is_complete() {
            return Err(AttemptFault::new(
                FaultKind::BrokenStream,
                "the provider's stream ended before the reply was whole",
            ));
        }
        Ok(())
    }

    /// Reads the little that may follow the reply's end, for the connection's sake.
    async fn linger(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
        let _given_up = tokio::time::timeout(LINGER, rest).await;
    }
}

impl Begun {
    pub(super) fn with(self, guard: RequestGuard, cutoff: &CancellationToken) -> ReplyStream {
        let deadline = self.deadline;
        let timer = Box::pin(tokio::time::sleep_until(deadline));
        // A token of its own: looking at it takes its lock, which other streams must not wait for.
        let cutoff = Box::pin(cutoff.child_token().cancelled_owned());
        let out = BytesMut::with_capacity(1024);
        let pump = Pump { begun: self, timer, cutoff, guard: Some(guard), out, ended: false };
        ReplyStream(SendTimeout::new(Box::pin(futures_util::stream::unfold(pump, Pump::next)), deadline))
    }
}

/// The pieces in which a large whole reply is handed over.
const PIECE: usize = 64 << 10;

/// The body of a reply: server-sent events in the caller's dialect, or a large whole reply in pieces.
pub struct ReplyStream(SendTimeout);

impl ReplyStream {
    /// A whole reply, which is recorded as such when its last piece is taken.
    pub(super) fn of_whole(body: Bytes, guard: RequestGuard, deadline: Instant) -> Self {
        let pieces = futures_util::stream::unfold((body, Some(guard)), |(mut body, mut guard)| async move {
            if body.is_empty() {
                guard.take().into_iter().for_each(RequestGuard::complete);
                return None;
            }
            let piece = body.split_to(PIECE.min(body.len()));
            Some((piece, (body, guard)))
        });
        Self(SendTimeout::new(Box::pin(pieces), deadline))
    }
}

impl Stream for ReplyStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context).map(|piece| piece.map(Ok))
    }
}

struct Pump {
    begun: Begun,
    /// The end of the request's total time: one timer for the whole stream, not one for each piece.
    timer: Pin<Box<Sleep>>,
    /// The gateway is stopping and waits no longer.
    cutoff: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Present until the ending is recorded.
    guard: Option<RequestGuard>,
    out: BytesMut,
    /// The reply is whole and its ending written.
    ended: bool,
}

impl Pump {
    /// The next piece for the client.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.ended {
            self.begun.source.linger().await;
            // The provider counts a request as under way until its body has ended; so do we.
            if let Some(guard) = self.guard.take() {
                guard.complete();
            }
            return None;
        }
        loop {
            self.encode();
            if self.begun.source.decoder.is_complete() {
                self.begun.encoder.end(&mut self.out);
                self.ended = true;
            }
            if !self.out.is_empty() {
                return Some((self.out.split().freeze(), self));
            }
            if self.ended || self.guard.is_none() {
                return None;
            }
            let fault = tokio::select! {
                biased;
                read = self.begun.source.read() => match read {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                () = self.cutoff.as_mut() => AttemptFault::new(FaultKind::Gateway, "the gateway is stopping; ask again"),
                () = self.timer.as_mut() => AttemptFault::new(FaultKind::TimedOut, "the request's total time ran out"),
            };
            self.encode();
            self.break_off(&scrubbed(fault, &self.begun.deployment));
        }
    }

    /// Turns what was decoded into the caller's events.
    fn encode(&mut self) {
        let Some(progress) = self.guard.as_mut().and_then(RequestGuard::progress) else { return };
        for chunk in self.begun.source.chunks.drain(..) {
            match &chunk.delta {
                Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) => progress.saw(text.len() as u64),
                Delta::ToolArguments { fragment, .. } => progress.saw(fragment.len() as u64),
                Delta::ToolCall { name, .. } => progress.saw(name.len() as u64),
                Delta::Usage(usage) => progress.reported(usage.clone()),
                Delta::Start { .. } | Delta::ReasoningSignature(_) | Delta::Finish(_) | Delta::Other { .. } => {}
            }
            self.begun.encoder.chunk(&chunk, &mut self.out);
        }
    }

    fn break_off(&mut self, fault: &AttemptFault) {
        let Some(guard) = self.guard.take() else { return };
        self.begun.encoder.error(&Refusal::from(fault.clone()), &guard.id().to_string(), &mut self.out);
        guard.broke(fault);
    }
}
