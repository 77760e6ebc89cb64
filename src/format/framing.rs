//! How the pieces of a streamed reply are told apart in the bytes of a body, apart from what they mean.
//!
//! A format names its framing where it makes its [`StreamDecoder`]; whoever reads the body pushes bytes and takes chunks, and
//! never asks which framing it was. Another one (JSON lines) is another type here.

use super::StreamDecoder;
use crate::chat::Chunk;
use crate::fault::{AttemptFault, FaultKind};
use crate::sse::SseDecoder;

mod event_stream;

pub(super) use event_stream::EventStream;

/// What one format makes of the events of a stream.
pub(super) trait EventDecoder: Send {
    /// Reads one event and appends what it means.
    ///
    /// # Errors
    /// What the provider reports inside the stream, or `BrokenStream` where the event is not of this format.
    fn event(&mut self, name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault>;

    /// Reads an exception, where the framing tells one from an event.
    ///
    /// # Errors
    /// Always what the provider reports.
    fn exception(&mut self, name: &str, data: &str) -> Result<(), AttemptFault> {
        Err(AttemptFault::new(FaultKind::Unavailable, format!("{name}: {data}")))
    }

    /// The body has ended: a reply that is whole but for a terminator some servers never send is complete. Appends what was held back
    /// until then.
    fn end(&mut self, _out: &mut Vec<Chunk>) {}

    /// Whether the format's terminator has been read.
    fn is_complete(&self) -> bool;
}

/// Server-sent events.
#[derive(Default)]
pub(super) struct ServerSentEvents<D> {
    events: SseDecoder,
    decoder: D,
}

impl<D: EventDecoder> ServerSentEvents<D> {
    fn drain(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        while let Some(event) = self.events.next_event()? {
            self.decoder.event(event.name, event.data, out)?;
        }
        Ok(())
    }
}

impl<D: EventDecoder> StreamDecoder for ServerSentEvents<D> {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        self.events.push(bytes);
        self.drain(out)
    }

    fn finish(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        self.events.finish();
        self.drain(out)?;
        self.decoder.end(out);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }
}
