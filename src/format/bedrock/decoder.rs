//! A streamed reply, read event by event.

use std::collections::BTreeMap;

use super::{error, reply};
use crate::chat::{Chunk, Delta, Usage};
use crate::fault::AttemptFault;
use crate::format::bedrock::DIALECT;
use crate::format::framing::EventDecoder;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// The state of one stream.
#[derive(Default)]
pub(super) struct Decoder {
    reached: Reached,
    /// The message has ended; what was used is still to come.
    stopped: bool,
    done: bool,
    /// Why it is no reply, until it is told what it cost.
    malformed: Option<AttemptFault>,
    /// The tool calls, by the index of their block.
    calls: BTreeMap<u32, Call>,
}

/// How far the reply has come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reached {
    #[default]
    Nothing,
    Beginning,
    Content,
}

struct Call {
    /// Its place among the calls.
    index: u32,
    /// No arguments have come.
    empty: bool,
}

impl EventDecoder for Decoder {
    fn event(&mut self, name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        if self.done {
            return Ok(());
        }
        if self.reached == Reached::Nothing {
            self.reached = Reached::Beginning;
            let (id, model) = (String::new(), String::new());
            out.push(Chunk::of(Delta::Start { id, model, created: None, dialect: DIALECT }));
        }
        let value = reply_body(data.as_bytes())?;
        let before = out.len();
        self.read(name, value, out).map_err(Mismatch::into_fault)?;
        if out.iter().skip(before).any(|chunk| chunk.delta.is_content() && !is_thought(&chunk.delta)) {
            self.reached = Reached::Content;
        }
        let Some(fault) = self.malformed.take_if(|_| self.done) else { return Ok(()) };
        let used = out.iter().rev().find_map(|chunk| match &chunk.delta {
            Delta::Usage(usage) => Some(usage.clone()),
            _ => None,
        });
        Err(AttemptFault { used, ..fault })
    }

    fn exception(&mut self, name: &str, data: &str) -> Result<(), AttemptFault> {
        Err(error::inside_stream(name, data))
    }

    /// What was used is told last; a reply is whole without it.
    fn end(&mut self, _out: &mut Vec<Chunk>) {
        self.done |= self.stopped && self.malformed.is_none();
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

/// Whether it is of what the model thought, in which nothing is said yet.
const fn is_thought(delta: &Delta) -> bool {
    matches!(delta, Delta::Reasoning(_) | Delta::ReasoningSignature(_) | Delta::RedactedReasoning(_))
}

impl Decoder {
    fn read(&mut self, name: &str, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let mut fields = Fields::of(value, &Path::Root)?;
        let block = fields.whole("contentBlockIndex")?.unwrap_or(0);
        match name {
            "contentBlockStart" => {
                if let Some(start) = fields.take("start") {
                    self.begin(block, start, out)?;
                }
            }
            "contentBlockDelta" => {
                if let Some(delta) = fields.take("delta") {
                    self.delta(block, delta, out)?;
                }
            }
            "messageStop" => {
                self.stopped = true;
                let reason = fields.word("stopReason")?.map(|word| reply::finish(&word));
                self.malformed =
                    reason.as_ref().filter(|_| self.reached != Reached::Content).and_then(reply::malformed);
                let told = reason.filter(|_| self.malformed.is_none());
                out.extend(told.map(|reason| Chunk::of(Delta::Finish(reason))));
            }
            "metadata" => {
                let tier = reply::tier(fields.peek("serviceTier"));
                if let Some(usage) = fields.take("usage") {
                    out.push(Chunk::of(Delta::Usage(Box::new(Usage { tier, ..reply::usage(usage)? }))));
                }
                self.done = self.stopped;
            }
            "contentBlockStop" => self.close(block, out),
            // `messageStart` says nothing that is not known.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, block: u32, start: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let path = Path::Root.key("start");
        let mut start = Fields::of(start, &path)?;
        let Some(call) = start.take("toolUse") else { return Ok(()) };
        let path = path.key("toolUse");
        let mut call = Fields::of(call, &path)?;
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.insert(block, Call { index, empty: true });
        let (id, name) = (call.need_text("toolUseId")?, call.need_text("name")?);
        out.push(Chunk::of(Delta::ToolCall { index, id, name }));
        Ok(())
    }

    /// A call of a tool that takes nothing: in JSON, nothing is `{}`.
    fn close(&mut self, block: u32, out: &mut Vec<Chunk>) {
        if let Some(call) = self.calls.get_mut(&block).filter(|call| call.empty) {
            call.empty = false;
            out.push(Chunk::of(Delta::ToolArguments { index: call.index, fragment: "{}".to_owned() }));
        }
    }

    fn delta(&mut self, block: u32, delta: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let path = Path::Root.key("delta");
        let mut delta = Fields::of(delta, &path)?;
        if let Some(text) = delta.text("text")?.filter(|text| !text.is_empty()) {
            out.push(Chunk::of(Delta::Text(text)));
        }
        if let Some(call) = delta.take("toolUse") {
            let path = path.key("toolUse");
            let fragment = Fields::of(call, &path)?.text("input")?.filter(|text| !text.is_empty());
            if let (Some(fragment), Some(call)) = (fragment, self.calls.get_mut(&block)) {
                call.empty = false;
                out.push(Chunk::of(Delta::ToolArguments { index: call.index, fragment }));
            }
        }
        if let Some(thinking) = delta.take("reasoningContent") {
            let path = path.key("reasoningContent");
            let mut thinking = Fields::of(thinking, &path)?;
            if let Some(text) = thinking.text("text")?.filter(|text| !text.is_empty()) {
                out.push(Chunk::of(Delta::Reasoning(text)));
            }
            if let Some(signature) = thinking.text("signature")?.filter(|text| !text.is_empty()) {
                out.push(Chunk::of(Delta::ReasoningSignature(signature)));
            }
            if let Some(data) = thinking.text("redactedContent")?.filter(|data| !data.is_empty()) {
                out.push(Chunk::of(Delta::RedactedReasoning(data)));
            }
        }
        Ok(())
    }
}
