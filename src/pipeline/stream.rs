//! A streamed reply. Until its first content another deployment may take over, so nothing is sent before;
//! after it, a fault becomes an error event in the caller's dialect, never a quiet end.
//!
//! The client pulls: a piece of the provider's body is read when the client wants more. Dropping the stream
//! drops the provider's body with it, which ends the call at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use secrecy::SecretString;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::catalog::Deployment;
use crate::chat::{Chunk, Delta, FinishReason, Usage};
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::format::StreamEncoder;
use crate::policy::Complaint;
use crate::snapshot::DeploymentRuntime;
use crate::sse::MAX_EVENT_BYTES;
use crate::upstream::Body;

use super::call::named;
use super::decoding::Decoding;
use super::judging::ToJudge;
use super::one_call::OneCall;
use super::parser::{CallFailure, StreamParser, Unparsed};
use super::scrub::scrubbed;
use super::send_timeout::SendTimeout;
use super::{ReplyMeta, RequestContext, RequestGuard};

/// How long the end of a provider's body is awaited after the reply is whole, so that the connection can
/// be used again.
const LINGER: Duration = Duration::from_millis(20);

/// Bytes a stream may send before its first content: pings, roles and fields nobody knows, and what tools did that a provider runs
/// itself, of which a picture is one event.
const MAX_PREAMBLE: usize = MAX_EVENT_BYTES;

/// The largest reply that is held, in bytes of the provider's stream.
const MAX_HELD: usize = 64 << 20;
/// Memory that a byte of a held stream takes at most, about: its text, and what is around each piece of it.
const HELD_FACTOR: usize = 2;

/// A provider's stream, decoded as it is read, and read by the group's parser.
pub(super) struct Source {
    body: Body,
    decoder: Decoding,
    chunks: Vec<Chunk>,
    /// Bytes read so far.
    read: usize,
    /// What came since it was last reported.
    seen: Seen,
    /// Whether anything of a reply came at all.
    spoke: bool,
    parser: Option<StreamParser>,
    /// The client gets nothing before the reply is whole.
    hold: bool,
    /// Where the client wants one call and no more.
    one_call: Option<OneCall>,
    /// The text that came, while the model may still be asked again.
    text: Option<String>,
    complaint: Option<Complaint>,
    /// A slow policy reads on a thread of its own: reading must not be given up meanwhile.
    busy: Arc<AtomicBool>,
    /// Where the reply is drawn to be judged: what came of it.
    to_judge: Option<Box<ToJudge>>,
}

/// What came of a reply, as it is billed: what a tokenizer would see, in bytes and in deltas, and what the provider says was used.
#[derive(Default)]
struct Seen {
    bytes: u64,
    pieces: u64,
    usage: Option<Usage>,
    /// It ends where its bound was reached.
    truncated: bool,
}

/// A reply whose first content has come.
pub(super) struct Begun {
    source: Source,
    encoder: Box<dyn StreamEncoder>,
    deadline: Instant,
    /// How long the client may hear nothing.
    quiet: Option<Duration>,
    deployment: Arc<Deployment>,
    /// What was made to authorise the request: no words of its provider are to hold it.
    sent: Vec<SecretString>,
}

/// The reply to the client, once its first content has come.
pub(super) fn begin(
    (context, guard): (&RequestContext<'_>, &mut RequestGuard),
    runtime: &DeploymentRuntime,
    mut source: Source,
    sent: Vec<SecretString>,
    meta: &mut ReplyMeta,
) -> Begun {
    source.text = None;
    let now = context.gateway.clock.now();
    for chunk in &mut source.chunks {
        if let Delta::Start { id, model, created, .. } = &mut chunk.delta {
            created.get_or_insert(now.as_millis() / 1000);
            named((id, model), (context, guard), meta, &runtime.config);
        }
    }
    guard.first_content();
    let encoder = guard.api().stream(&context.request);
    Begun {
        source,
        encoder,
        deadline: context.gateway.clock.instant(context.deadline),
        quiet: context.snapshot.settings.server.stream_quiet,
        deployment: Arc::clone(&runtime.config),
        sent,
    }
}

impl Source {
    pub(super) fn new(
        context: &RequestContext<'_>,
        guard: &mut RequestGuard,
        runtime: &DeploymentRuntime,
        body: Body,
    ) -> Self {
        let hold = context.holds();
        let busy = Arc::<AtomicBool>::default();
        let parser = StreamParser::begin(context, guard, !hold, Arc::clone(&busy));
        Self {
            body,
            decoder: Decoding::begin(context, runtime, Arc::clone(&busy)),
            chunks: Vec::new(),
            read: 0,
            seen: Seen::default(),
            spoke: false,
            hold: hold && parser.is_some(),
            one_call: OneCall::wanted(&context.request, runtime.config.defaults.as_deref()).then(OneCall::default),
            text: parser.is_some().then(String::new),
            parser,
            complaint: None,
            busy,
            to_judge: ToJudge::drawn(context, guard),
        }
    }

    /// Reads until the first content; all of it where the reply is held.
    ///
    /// # Errors
    /// What went wrong before the client has any content; another deployment may still serve the request.
    pub(super) async fn first_content(&mut self, guard: &mut RequestGuard) -> Result<(), AttemptFault> {
        let (mut held, mut given) = (0, 0);
        while self.hold || !self.has_content() {
            if self.decoder.is_complete() {
                break;
            }
            let read = self.read().await;
            // What was held back is billed too, however this ends.
            self.report(guard);
            read?;
            // The piece that brings the first content may be larger, with a picture in it.
            if self.read > MAX_PREAMBLE && !self.spoke && !self.has_content() {
                let message = format!("the provider's stream had no content in its first {} MiB", MAX_PREAMBLE >> 20);
                return Err(AttemptFault::new(FaultKind::BrokenStream, message));
            }
            if self.read > MAX_HELD {
                let message = format!("the provider's reply is larger than {} MiB", MAX_HELD >> 20);
                return Err(AttemptFault::new(FaultKind::BrokenStream, message));
            }
            if let Some(parser) = &self.parser {
                let more = self.read - std::mem::replace(&mut held, self.read);
                // A parser may make much of little.
                let made = parser.given().saturating_sub(given);
                given += made;
                let full = |full: Refusal| AttemptFault::new(FaultKind::Gateway, full.message);
                guard.hold_memory(more.saturating_mul(HELD_FACTOR).saturating_add(made)).map_err(full)?;
            }
        }
        Ok(())
    }

    fn has_content(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.delta.is_content())
    }

    /// How a reply ended in which nothing was said.
    pub(super) fn ended_at_once(&self) -> Option<&FinishReason> {
        self.chunks.iter().filter(|_| !self.spoke).find_map(|chunk| match &chunk.delta {
            Delta::Finish(finish) => Some(finish),
            _ => None,
        })
    }

    /// What the fault that `first_content` ended with comes to.
    pub(super) fn complaint(
        self,
        fault: AttemptFault,
        scrub: impl FnOnce(AttemptFault) -> AttemptFault,
    ) -> CallFailure {
        match self.complaint {
            Some(complaint) => {
                let unparsed = Unparsed { complaint, text: self.text.unwrap_or_default() };
                CallFailure::Complaint(unparsed.scrubbed(scrub))
            }
            None => CallFailure::Fault(scrub(fault)),
        }
    }

    /// Reads one piece of the body, decodes what is whole and has the parser read it.
    async fn read(&mut self) -> Result<(), AttemptFault> {
        let before = self.chunks.len();
        let decoded = self.decode().await;
        self.count(before);
        if let Some(one_call) = &mut self.one_call {
            let new = self.chunks.split_off(before);
            self.chunks.extend(new.into_iter().filter(|chunk| one_call.passes(chunk)));
        }
        // Of a reply that breaks off here, what came before is the parser's too.
        let complete = decoded.is_ok() && self.decoder.is_complete();
        if let Some(parser) = self.parser.as_mut().filter(|_| self.complaint.is_none()) {
            // What was read before stays: only what is new is the parser's.
            let mut new = self.chunks.split_off(before);
            let read = parser.read(&mut new, complete).await;
            self.chunks.append(&mut new);
            if let Err(complaint) = read {
                let fault = AttemptFault::from(&complaint);
                self.complaint = Some(complaint);
                self.hear_out().await;
                return Err(fault);
            }
        }
        decoded
    }

    /// Providers say what was used after the reply's end: it is awaited a little, and what else comes is left out.
    async fn hear_out(&mut self) {
        let before = self.chunks.len();
        let rest = async {
            while !self.decoder.is_complete() && self.decode().await.is_ok() {
                self.count(before);
                self.chunks.truncate(before);
            }
        };
        let _given_up = tokio::time::timeout(LINGER, rest).await;
    }

    /// Tells the attempt what came, and what the parser made of it.
    fn report(&mut self, guard: &mut RequestGuard) {
        if let Some(parser) = &self.parser {
            parser.tell(guard, self.complaint.as_ref());
        }
        let Some(progress) = guard.progress() else { return };
        let Seen { bytes, pieces, usage, truncated } = std::mem::take(&mut self.seen);
        progress.saw_pieces(bytes, pieces);
        progress.truncated(truncated);
        if let Some(usage) = usage {
            progress.reported(&usage);
        }
    }

    async fn decode(&mut self) -> Result<(), AttemptFault> {
        let Self { body, decoder, chunks, read, .. } = self;
        let cut = match body.next().await {
            Some(Ok(piece)) => {
                *read = read.saturating_add(piece.len());
                return decoder.push(piece, chunks).await;
            }
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        let finished = decoder.finish(chunks).await;
        // What is cut off after the reply's end is a whole reply.
        if let Some(fault) = cut {
            return if finished.is_ok() && decoder.is_complete() { Ok(()) } else { Err(fault) };
        }
        finished?;
        if !decoder.is_complete() {
            return Err(AttemptFault::new(
                FaultKind::BrokenStream,
                "the provider's stream ended before the reply was whole",
            ));
        }
        Ok(())
    }

    /// Counts what came from the provider, whatever the parser makes of it.
    fn count(&mut self, from: usize) {
        let Self { chunks, seen, spoke, text, to_judge, .. } = self;
        for chunk in chunks.iter().skip(from) {
            let bytes = match &chunk.delta {
                Delta::Text(text) | Delta::Refusal(text) | Delta::Reasoning(text) => text.len(),
                Delta::ToolArguments { fragment, .. } => fragment.len(),
                Delta::ToolCall { name, .. } => name.len(),
                Delta::Usage(usage) => {
                    seen.usage = Some(usage.counted());
                    continue;
                }
                Delta::Finish(FinishReason::Length) => {
                    seen.truncated = true;
                    continue;
                }
                _ => continue,
            };
            (seen.bytes, seen.pieces, *spoke) = (seen.bytes + bytes as u64, seen.pieces + 1, true);
            if let (Some(reply), Delta::Text(new) | Delta::Refusal(new), 0) =
                (&mut *to_judge, &chunk.delta, chunk.choice)
            {
                reply.say(new);
            }
            if let (Some(all), Delta::Text(new)) = (&mut *text, &chunk.delta) {
                all.push_str(new);
            }
        }
    }

    /// Reads the little that may follow the reply's end, for the connection's sake.
    async fn linger(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
        let _given_up = tokio::time::timeout(LINGER, rest).await;
    }
}

impl Begun {
    pub(super) fn with(self: Box<Self>, guard: Box<RequestGuard>, cutoff: &CancellationToken) -> ReplyStream {
        let deadline = self.deadline;
        let timer = Box::pin(tokio::time::sleep_until(deadline));
        // A token of its own: looking at it takes its lock, which other streams must not wait for.
        let cutoff = Box::pin(cutoff.child_token().cancelled_owned());
        let out = BytesMut::with_capacity(1024);
        let told = Instant::now();
        let alive = self.quiet.map(|quiet| Box::pin(tokio::time::sleep_until(told + quiet)));
        let pump = Box::new(Pump { begun: self, timer, alive, told, cutoff, guard: Some(guard), out, ended: false });
        ReplyStream(SendTimeout::new(Box::pin(futures_util::stream::unfold(pump, Pump::next)), deadline))
    }
}

/// The pieces in which a large whole reply is handed over.
const PIECE: usize = 64 << 10;

/// The body of a reply: server-sent events in the caller's dialect, or a large whole reply in pieces.
pub struct ReplyStream(SendTimeout);

impl ReplyStream {
    /// A whole reply, which is recorded as such when its last piece is taken.
    pub(super) fn of_whole(body: Bytes, guard: Box<RequestGuard>, deadline: Instant) -> Self {
        let pieces = futures_util::stream::unfold((body, Some(guard)), |(mut body, mut guard)| async move {
            if body.is_empty() {
                return None;
            }
            let piece = body.split_to(PIECE.min(body.len()));
            // Whoever knows the length, as HTTP/1 does, asks for nothing behind it.
            if let Some(guard) = guard.take_if(|_| body.is_empty()) {
                guard.complete();
            }
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
    begun: Box<Begun>,
    /// The end of the request's total time: one timer for the whole stream, not one for each piece.
    timer: Pin<Box<Sleep>>,
    /// When a client that hears nothing is to be told that its reply is still waited for. It is set again only when it has
    /// run out, and not for each piece.
    alive: Option<Pin<Box<Sleep>>>,
    /// When the client was last told something.
    told: Instant,
    /// The gateway is stopping and waits no longer.
    cutoff: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Present until the ending is recorded.
    guard: Option<Box<RequestGuard>>,
    out: BytesMut,
    /// The reply is whole and its ending written.
    ended: bool,
}

/// Never, where there is no such time; and not while a policy reads elsewhere, which is soon over.
async fn run_out(timer: &mut Option<Pin<Box<Sleep>>>, busy: &AtomicBool) {
    let Some(timer) = timer else { return std::future::pending().await };
    loop {
        timer.as_mut().await;
        if !busy.load(Ordering::Relaxed) {
            return;
        }
        timer.as_mut().reset(Instant::now() + LINGER);
    }
}

impl Pump {
    /// The next piece for the client.
    async fn next(mut self: Box<Self>) -> Option<(Bytes, Box<Self>)> {
        if self.ended {
            // The provider counts a request as under way until its body has ended; so do we.
            self.begun.source.linger().await;
            return None;
        }
        loop {
            self.encode();
            if self.begun.source.decoder.is_complete() {
                self.tell_cost().await;
                self.begun.encoder.end(&mut self.out);
                self.ended = true;
            }
            if !self.out.is_empty() {
                self.told = Instant::now();
                return Some((self.out.split().freeze(), self));
            }
            if self.ended || self.guard.is_none() {
                return None;
            }
            let busy = Arc::clone(&self.begun.source.busy);
            let fault = tokio::select! {
                biased;
                read = self.begun.source.read() => match read {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                () = self.cutoff.as_mut() => AttemptFault::new(FaultKind::Gateway, "the gateway is stopping; ask again"),
                () = run_out(&mut self.alive, &busy) => {
                    self.tell_alive();
                    continue;
                }
                () = self.timer.as_mut() => AttemptFault::new(FaultKind::TimedOut, "the request's total time ran out"),
            };
            self.encode();
            let fault = scrubbed(fault, &self.begun.deployment, &self.begun.sent);
            self.break_off(&fault).await;
        }
    }

    /// Says that the reply is still waited for, if the client has heard nothing for so long.
    fn tell_alive(&mut self) {
        let (Some(alive), Some(quiet)) = (&mut self.alive, self.begun.quiet) else { return };
        let now = Instant::now();
        if now >= self.told + quiet {
            self.begun.encoder.alive(&mut self.out);
            self.told = now;
        }
        alive.as_mut().reset(self.told + quiet);
    }

    /// Turns what was decoded into the caller's events.
    fn encode(&mut self) {
        let Some(guard) = &mut self.guard else { return };
        self.begun.source.report(guard);
        for chunk in self.begun.source.chunks.drain(..) {
            self.begun.encoder.chunk(&chunk, &mut self.out);
        }
    }

    /// What the whole reply costs, as its record will have it: with what was asked before, of a reply the parser did not take.
    async fn tell_cost(&mut self) {
        let Some(guard) = &mut self.guard else { return };
        guard.count_to_bill(None).await;
        let before = guard.record.cost.unwrap_or_default();
        let prices = self.begun.deployment.prices.as_ref();
        if let Some(cost) = guard.progress().and_then(|progress| progress.cost(prices)) {
            self.begun.encoder.cost(before + cost);
        }
    }

    async fn break_off(&mut self, fault: &AttemptFault) {
        // It stays here meanwhile: a client that leaves now has its record, too.
        if let Some(guard) = &mut self.guard {
            guard.count_to_bill(Some(fault)).await;
        }
        let Some(guard) = self.guard.take() else { return };
        self.begun.encoder.error(&Refusal::from(fault.clone()), &guard.id().to_string(), &mut self.out);
        guard.broke(fault);
    }
}

impl Drop for Pump {
    /// A client that has all of the reply need not stay for what may follow it.
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take_if(|_| self.ended) {
            guard.set_to_judge(self.begun.source.to_judge.take());
            guard.complete();
        }
    }
}
