//! A streamed reply read by a component: the host tells its pieces apart, one instance reads them.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use super::format::{DIALECT, told};
use super::{ProviderPolicy, Providing, wit};
use crate::chat::{Chunk, Delta, FinishReason, Usage};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::StreamDecoder;
use crate::moment::Moment;
use crate::policy::host::{CallContext, Instance, Lent, PolicyFault};
use crate::sse::SseDecoder;

/// The longest line that is read, in bytes.
const LINE_BYTES: usize = 16 << 20;

/// The reader of one stream.
pub(super) struct ComponentStream {
    pieces: Pieces,
    reader: Result<Reader, PolicyFault>,
    /// The component said that the reply is whole.
    complete: bool,
    ended: bool,
}

struct Reader {
    lent: Option<Lent<Providing>>,
    decoder: ResourceAny,
    began: Moment,
}

/// How a body is cut.
enum Pieces {
    Events(SseDecoder),
    Lines(Vec<u8>),
    Bytes,
}

impl ComponentStream {
    pub(super) fn begin(policy: &Arc<ProviderPolicy>, call: CallContext) -> Self {
        let pieces = match policy.needs().framing {
            wit::Framing::ServerSentEvents => Pieces::Events(SseDecoder::new()),
            wit::Framing::Lines => Pieces::Lines(Vec::new()),
            wit::Framing::Bytes => Pieces::Bytes,
        };
        let reader = Lent::of(policy, call).and_then(|mut lent| {
            let decoder = lent.call(call.now(), Instance::open)?;
            Ok(Reader { lent: Some(lent), decoder, began: call.now() })
        });
        Self { pieces, reader, complete: false, ended: false }
    }

    /// Hands on whatever is whole.
    fn drain(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let Self { pieces, reader, complete, .. } = self;
        let reader = reader.as_mut().map_err(|fault| failed(fault))?;
        match pieces {
            Pieces::Events(events) => {
                while let Some(event) = events.next_event()? {
                    reader.piece(event.name, event.data.as_bytes(), complete, out)?;
                }
            }
            Pieces::Lines(held) => {
                while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = held.drain(..=end).collect();
                    let line = line.trim_ascii();
                    if !line.is_empty() {
                        reader.piece("", line, complete, out)?;
                    }
                }
                if held.len() > LINE_BYTES {
                    let message = format!("a line of the provider's stream has more than {} MiB", LINE_BYTES >> 20);
                    return Err(AttemptFault::new(FaultKind::BrokenStream, message));
                }
            }
            Pieces::Bytes => {}
        }
        if self.complete
            && !std::mem::replace(&mut self.ended, true)
            && let Ok(reader) = &mut self.reader
        {
            reader.give_back();
        }
        Ok(())
    }
}

impl Reader {
    fn piece(
        &mut self,
        name: &str,
        data: &[u8],
        complete: &mut bool,
        out: &mut Vec<Chunk>,
    ) -> Result<(), AttemptFault> {
        if *complete {
            return Ok(());
        }
        let Self { lent: Some(lent), decoder, began } = self else { return Ok(()) };
        let (now, decoder) = (newest(lent.policy(), *began), *decoder);
        let answer = lent.call(now, |instance, budget| instance.push(budget, decoder, name, data));
        let events = answer.map_err(|fault| failed(&fault))?;
        for event in events.map_err(|fault| told(FaultKind::BrokenStream, fault))? {
            match chunk(event) {
                Some(chunk) => out.push(chunk),
                None => *complete = true,
            }
        }
        Ok(())
    }

    /// The stream is read: another may follow.
    fn give_back(&mut self) {
        let Some(mut lent) = self.lent.take() else { return };
        let (now, decoder) = (newest(lent.policy(), self.began), self.decoder);
        if lent.call(now, |instance, budget| instance.close(budget, decoder)).is_ok() {
            lent.give_back();
        }
    }
}

/// Pieces come without a time: theirs is that of the newest call, of this stream or another.
fn newest(policy: &ProviderPolicy, began: Moment) -> Moment {
    policy.last_seen().max(began)
}

impl StreamDecoder for ComponentStream {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        match &mut self.pieces {
            Pieces::Events(events) => events.push(bytes),
            Pieces::Lines(held) => held.extend_from_slice(bytes),
            Pieces::Bytes => {
                let reader = self.reader.as_mut().map_err(|fault| failed(fault))?;
                reader.piece("", bytes, &mut self.complete, out)?;
            }
        }
        self.drain(out)
    }

    fn finish(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        match &mut self.pieces {
            Pieces::Events(events) => events.finish(),
            Pieces::Lines(held) => held.push(b'\n'),
            Pieces::Bytes => {}
        }
        self.drain(out)
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

fn failed(fault: &PolicyFault) -> AttemptFault {
    AttemptFault::new(FaultKind::BrokenStream, format!("the provider policy that reads the stream {fault}"))
}

/// An event as a step of a reply; `None` is the end.
pub(super) fn chunk(event: wit::Event) -> Option<Chunk> {
    let delta = match event {
        wit::Event::Beginning(wit::Beginning { id, model }) => {
            Delta::Start { id, model, created: None, dialect: DIALECT }
        }
        wit::Event::Text(text) => Delta::Text(text),
        wit::Event::Reasoning(text) => Delta::Reasoning(text),
        wit::Event::Refusal(text) => Delta::Refusal(text),
        wit::Event::ToolCall(wit::ToolCall { index, id, name }) => Delta::ToolCall { index, id, name },
        wit::Event::ToolArguments(wit::ToolArguments { index, fragment }) => Delta::ToolArguments { index, fragment },
        wit::Event::Finish(reason) => Delta::Finish(finish(reason)),
        wit::Event::Usage(usage) => Delta::Usage(Box::new(Usage {
            input_tokens: usage.input_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            output_tokens: usage.output_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            ..Usage::default()
        })),
        wit::Event::End => return None,
    };
    Some(Chunk::of(delta))
}

fn finish(reason: wit::Finish) -> FinishReason {
    match reason {
        wit::Finish::Stop => FinishReason::Stop,
        wit::Finish::Length => FinishReason::Length,
        wit::Finish::ToolCalls => FinishReason::ToolCalls,
        wit::Finish::ContentFilter => FinishReason::ContentFilter,
        wit::Finish::Refusal => FinishReason::Refusal,
        wit::Finish::Other => FinishReason::Other("other".to_owned()),
    }
}
