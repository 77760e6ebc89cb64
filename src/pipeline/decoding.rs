//! Reads a provider's stream. A provider component that is slow works on the pool of slow policies, never on a thread that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{BlockingPool, RequestContext};
use crate::chat::{Chunk, Delta};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{MaybeWhole, ProviderFormat as _, StreamDecoder, ToolNames};
use crate::snapshot::{DeploymentRuntime, SpokenFormat};

/// A stream's decoder, and where it works if not here.
pub(super) struct Decoding {
    /// Absent while it works elsewhere, and for good where that thread ended.
    decoder: Option<Box<dyn StreamDecoder>>,
    slow: Option<BlockingPool>,
    busy: Arc<AtomicBool>,
    /// Names of tools that the provider may have been told in letters that it takes.
    tool_names: Option<ToolNames>,
    /// Whether the reply has begun.
    began: bool,
}

impl Decoding {
    /// `busy` is so while it works elsewhere: then nobody may give up waiting for it but for good.
    pub(super) fn begin(context: &RequestContext<'_>, runtime: &DeploymentRuntime, busy: Arc<AtomicBool>) -> Self {
        let format = runtime.format.serving(context.id, context.gateway.clock.now());
        let slow = format.is_slow().then(|| context.gateway.slow_policies.clone());
        let decoder: Box<dyn StreamDecoder> = match &format {
            SpokenFormat::Native(native) => Box::new(MaybeWhole::new(*native)),
            SpokenFormat::Component(component) => component.stream(),
        };
        Self { decoder: Some(decoder), slow, busy, tool_names: ToolNames::of(&context.request), began: false }
    }

    /// Whether the reply is whole.
    pub(super) fn is_complete(&self) -> bool {
        self.decoder.as_ref().is_some_and(|decoder| decoder.is_complete())
    }

    /// Takes in the next piece and appends what is whole.
    ///
    /// # Errors
    /// As [`StreamDecoder::push`], and where it ends without having begun.
    pub(super) async fn push(&mut self, piece: Bytes, chunks: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let before = chunks.len();
        let read = match (&mut self.decoder, &self.slow) {
            (Some(decoder), None) => decoder.push(&piece, chunks),
            _ => self.apart(chunks, move |decoder, new| decoder.push(&piece, new)).await,
        };
        self.restore_names(chunks, before);
        read.and_then(|()| self.begun(chunks, before))
    }

    /// Takes in the end of the body.
    ///
    /// # Errors
    /// As [`StreamDecoder::finish`], and where it ended without having begun.
    pub(super) async fn finish(&mut self, chunks: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let before = chunks.len();
        let read = match (&mut self.decoder, &self.slow) {
            (Some(decoder), None) => decoder.finish(chunks),
            _ => self.apart(chunks, |decoder, new| decoder.finish(new)).await,
        };
        self.restore_names(chunks, before);
        read.and_then(|()| self.begun(chunks, before))
    }

    /// A stream that says nothing but its end is no reply, and clients take no end of what never began.
    fn begun(&mut self, chunks: &[Chunk], from: usize) -> Result<(), AttemptFault> {
        let begins = |chunk: &Chunk| matches!(chunk.delta, Delta::Start { .. });
        self.began = self.began || chunks.iter().skip(from).any(begins);
        if self.began || !self.is_complete() {
            return Ok(());
        }
        Err(AttemptFault::new(FaultKind::BrokenStream, "the provider's stream ended before the reply began"))
    }

    fn restore_names(&self, chunks: &mut [Chunk], from: usize) {
        if let (Some(names), Some(new)) = (&self.tool_names, chunks.get_mut(from..)) {
            names.restore_in(new);
        }
    }

    async fn apart(
        &mut self,
        chunks: &mut Vec<Chunk>,
        work: impl FnOnce(&mut dyn StreamDecoder, &mut Vec<Chunk>) -> Result<(), AttemptFault> + Send + 'static,
    ) -> Result<(), AttemptFault> {
        let ended = || AttemptFault::new(FaultKind::BrokenStream, "the provider's stream could not be read");
        let (Some(mut decoder), Some(pool)) = (self.decoder.take(), &self.slow) else { return Err(ended()) };
        let done = pool.run(move || {
            let mut new = Vec::new();
            let read = work(&mut *decoder, &mut new);
            (decoder, new, read)
        });
        self.busy.store(true, Ordering::Relaxed);
        let done = done.await;
        self.busy.store(false, Ordering::Relaxed);
        let (decoder, mut new, read) = done.ok_or_else(ended)?;
        self.decoder = Some(decoder);
        chunks.append(&mut new);
        read
    }
}
