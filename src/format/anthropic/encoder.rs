//! A streamed reply, written as named events: `message_start`, blocks one after another, `message_delta`,
//! `message_stop`.
//!
//! The start waits for what comes next, for it tells how much input was counted; the reason to stop waits
//! for the end, where it is said together with the final usage. A block ends where another begins, and
//! a call is whole before another block begins: what providers weave together waits.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use super::{error, reply, usage};
use crate::chat::{Chunk, Delta, FinishReason, Rest, Usage};
use crate::fault::Refusal;
use crate::format::StreamEncoder;
use crate::format::anthropic::DIALECT;
use crate::format::rest::nested;
use crate::format::whole_calls::WholeCalls;
use crate::format::write::Object;
use crate::money::NanoUsd;

/// The state of one stream.
#[derive(Default)]
pub(super) struct Encoder {
    /// Whether the provider speaks this dialect too, so that unknown fields go back out.
    same_dialect: bool,
    /// What `message_start` says, until it is said.
    start: Option<Start>,
    usage: Usage,
    finish: Option<FinishReason>,
    /// Unknown fields of the event that told the reason.
    finish_rest: Rest,
    refused: bool,
    next_block: u32,
    open: Option<Open>,
    /// Thinking that told nothing so far.
    blank: String,
    /// The block of each tool call.
    calls: BTreeMap<u32, u32>,
    /// Blocks stand one after another. Who speaks this dialect sends them so already.
    order: WholeCalls,
    /// The block of each block that is passed whole, by its index on the provider's wire.
    passed: BTreeMap<u64, u32>,
}

struct Start {
    id: String,
    model: String,
    rest: Rest,
}

/// The block under way.
#[derive(Clone, Copy)]
struct Open {
    index: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Thinking { signed: bool },
    Tool,
    Passed,
}

impl StreamEncoder for Encoder {
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        // The dialect knows one alternative.
        if chunk.choice != 0 {
            return;
        }
        match &chunk.delta {
            Delta::Start { id, model, dialect, .. } => {
                self.same_dialect = *dialect == DIALECT;
                self.start = Some(Start { id: id.clone(), model: model.clone(), rest: chunk.rest.clone() });
                return;
            }
            Delta::Usage(usage) => {
                self.usage.clone_from(usage);
                return;
            }
            Delta::Finish(reason) => {
                self.finish = Some(reason.clone());
                self.finish_rest.clone_from(&chunk.rest);
                return;
            }
            _ => {}
        }
        self.begin(out);
        if !self.same_dialect && self.order.holds(chunk) {
            return;
        }
        self.write(chunk, out);
        for chunk in self.order.freed() {
            self.chunk(&chunk, out);
        }
    }

    fn alive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }

    fn cost(&mut self, cost: NanoUsd) {
        self.usage.cost = Some(cost);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        for chunk in self.order.rest() {
            self.write(&chunk, out);
        }
        self.close(out);
        event("message_delta", out, |object| {
            {
                let mut delta = object.object("delta");
                let left = nested(&self.finish_rest, "delta");
                let calls = !self.calls.is_empty();
                let reason = reply::reason_with(self.finish.as_ref(), calls, self.same_dialect);
                reply::write_finish(reason, self.refused, left, self.same_dialect, &mut delta);
            }
            usage::write(&self.usage, self.same_dialect, &mut object.object("usage"));
            if self.same_dialect {
                object.rest(&self.finish_rest, &["delta"]);
            }
        });
        event("message_stop", out, |_| ());
    }

    fn error(&mut self, refusal: &Refusal, request_id: &str, out: &mut BytesMut) {
        out.put_slice(b"event: error\ndata: ");
        error::write(refusal, request_id, out);
        out.put_slice(b"\n\n");
    }
}

impl Encoder {
    fn write(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        match &chunk.delta {
            Delta::Text(text) => self.text(text, chunk, out),
            Delta::Refusal(text) => {
                self.refused = true;
                self.text(text, chunk, out);
            }
            Delta::Reasoning(text) => self.thought(text, chunk, out),
            Delta::ReasoningSignature(signature) => {
                let index = self.thinking(chunk, out);
                self.open = Some(Open { index, kind: Kind::Thinking { signed: true } });
                delta(index, "signature_delta", "signature", signature, out);
            }
            Delta::RedactedReasoning(data) => {
                let block = self.next(Kind::Passed, out);
                self.block_start(block, chunk, out, |object| {
                    object.field("type", "redacted_thinking");
                    object.field("data", data);
                });
                self.close(out);
            }
            Delta::ToolCall { index, id, name } => {
                let block = self.next(Kind::Tool, out);
                self.calls.insert(*index, block);
                self.block_start(block, chunk, out, |object| {
                    object.field("type", "tool_use");
                    object.field("id", id);
                    object.field("name", name);
                    drop(object.object("input"));
                });
            }
            Delta::ToolArguments { index, fragment } => {
                if let Some(&block) = self.calls.get(index) {
                    delta(block, "input_json_delta", "partial_json", fragment, out);
                }
            }
            Delta::Other { event, value } if self.same_dialect => self.pass(event, value, out),
            Delta::Other { .. } | Delta::Start { .. } | Delta::Logprobs(_) | Delta::Usage(_) | Delta::Finish(_) => {}
        }
    }

    /// Says `message_start`, if it was not said yet.
    fn begin(&mut self, out: &mut BytesMut) {
        let Some(start) = self.start.take() else { return };
        event("message_start", out, |object| {
            let mut message = object.object("message");
            message.field("id", &start.id);
            message.field("type", "message");
            message.field("role", "assistant");
            message.field("model", &start.model);
            drop(message.array("content"));
            message.field("stop_reason", &());
            message.field("stop_sequence", &());
            usage::write(&self.usage, self.same_dialect, &mut message.object("usage"));
            if let Some(left) = nested(&start.rest, "message").filter(|_| self.same_dialect) {
                message.rest(left, &[]);
            }
        });
    }

    fn text(&mut self, text: &str, chunk: &Chunk, out: &mut BytesMut) {
        let index = if let Some(Open { index, kind: Kind::Text }) = self.open {
            index
        } else {
            let index = self.next(Kind::Text, out);
            self.block_start(index, chunk, out, |object| {
                object.field("type", "text");
                object.field("text", "");
            });
            index
        };
        delta(index, "text_delta", "text", text, out);
    }

    /// Says what was thought. Of a block that would begin without a visible sign the beginning waits: models that do not think after all
    /// tell no more of it.
    fn thought(&mut self, text: &str, chunk: &Chunk, out: &mut BytesMut) {
        let is_begun = matches!(self.open, Some(Open { kind: Kind::Thinking { signed: false }, .. }));
        if !is_begun && !self.same_dialect && text.trim().is_empty() {
            return self.blank.push_str(text);
        }
        let mut all = std::mem::take(&mut self.blank);
        let index = self.thinking(chunk, out);
        if !all.is_empty() {
            all.push_str(text);
        }
        delta(index, "thinking_delta", "thinking", if all.is_empty() { text } else { &all }, out);
    }

    /// The thinking block under way. What comes after a signature is another one.
    fn thinking(&mut self, chunk: &Chunk, out: &mut BytesMut) -> u32 {
        if let Some(Open { index, kind: Kind::Thinking { signed: false } }) = self.open {
            return index;
        }
        let index = self.next(Kind::Thinking { signed: false }, out);
        self.block_start(index, chunk, out, |object| {
            object.field("type", "thinking");
            object.field("thinking", "");
            object.field("signature", "");
        });
        index
    }

    /// Passes an event of a block (or of a kind) that only this dialect knows, under the block's index here.
    fn pass(&mut self, name: &str, value: &Value, out: &mut BytesMut) {
        let Some(fields) = value.as_object() else { return };
        // The name is a line of the stream: what could end the line, or is no name, is not passed.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return;
        }
        let wire = value.get("index").and_then(Value::as_u64);
        let index = match (name, wire) {
            ("content_block_start", Some(wire)) => {
                let index = self.next(Kind::Passed, out);
                self.passed.insert(wire, index);
                Some(index)
            }
            // The end of a block that was taken apart: what follows is another of its kind.
            ("content_block_stop", Some(wire)) => match self.passed.remove(&wire) {
                Some(index) if self.open.is_some_and(|open| open.index == index) => return self.close(out),
                Some(index) => Some(index),
                None => return self.close(out),
            },
            // A citation belongs to a text that was taken apart.
            ("content_block_delta", Some(wire)) => {
                let index = self.passed.get(&wire).copied().or(self.open.map(|open| open.index));
                if index.is_none() {
                    return;
                }
                index
            }
            _ => None,
        };
        event(name, out, |object| {
            object.optional("index", index);
            object.rest(fields, if index.is_some() { &["type", "index"] } else { &["type"] });
        });
    }

    /// Ends the block under way and gives the next one its index.
    fn next(&mut self, kind: Kind, out: &mut BytesMut) -> u32 {
        self.close(out);
        self.blank.clear();
        let index = self.next_block;
        self.next_block = self.next_block.saturating_add(1);
        self.open = Some(Open { index, kind });
        index
    }

    fn close(&mut self, out: &mut BytesMut) {
        if let Some(open) = self.open.take() {
            event("content_block_stop", out, |object| object.field("index", &open.index));
        }
    }

    fn block_start(&self, index: u32, chunk: &Chunk, out: &mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
        event("content_block_start", out, |object| {
            object.field("index", &index);
            let mut block = object.object("content_block");
            fill(&mut block);
            if let Some(left) = nested(&chunk.rest, "content_block").filter(|_| self.same_dialect) {
                block.rest(left, &[]);
            }
        });
    }
}

fn delta(index: u32, kind: &str, name: &str, text: &str, out: &mut BytesMut) {
    event("content_block_delta", out, |object| {
        object.field("index", &index);
        let mut delta = object.object("delta");
        delta.field("type", kind);
        delta.field(name, text);
    });
}

/// Writes one event; its name is in its data, too.
fn event(name: &str, out: &mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    {
        let mut object = Object::open(out);
        object.field("type", name);
        fill(&mut object);
    }
    out.put_slice(b"\n\n");
}
