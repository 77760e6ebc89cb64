//! A streamed reply, read event by event.
//!
//! Blocks of the kinds every dialect knows become deltas; all others pass whole as [`Delta::Other`]. Two
//! texts in a row (or two thoughts) are told apart by the end of the first, passed as [`Delta::Other`] too.
//! Unknown fields go with the first chunk of their event, nested as on the wire; a null says nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{error, reply, usage};
use crate::chat::{Chunk, Delta, Rest};
use crate::fault::AttemptFault;
use crate::format::anthropic::DIALECT;
use crate::format::framing::EventDecoder;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// The state of one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    /// The wire's usage so far. Counts are totals: a later one replaces, what it leaves out stays.
    usage: Rest,
    /// Blocks under way, by their index on the wire.
    blocks: BTreeMap<u32, Block>,
    /// The last text or thinking block, whose successor of the same kind must be told from it.
    last: Option<(u32, Block)>,
    calls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Block {
    Text,
    Thinking,
    Tool {
        index: u32,
        empty: bool,
    },
    /// Hidden thinking: whole as it begins.
    Redacted,
    Other,
}

impl EventDecoder for Decoder {
    fn event(&mut self, name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if let Some(delta) = self.piece(data) {
            out.push(Chunk::of(delta));
            return Ok(());
        }
        let value = reply_body(data.as_bytes())?;
        // The event's name is in its data, too; some proxies leave one of them out.
        let kind = value.get("type").and_then(Json::as_str).unwrap_or(name).to_owned();
        match kind.as_str() {
            "ping" => Ok(()),
            "error" => Err(error::read_inside_stream(&value)),
            "message_stop" => {
                self.done = true;
                Ok(())
            }
            "message_start" => self.start(value, out).map_err(Mismatch::into_fault),
            _ if !self.started => {
                let problem = format!("`{kind}` before `message_start`");
                Err(Mismatch::new(&Path::Root, problem).into_fault())
            }
            "content_block_start" => self.block_start(value, out).map_err(Mismatch::into_fault),
            "content_block_delta" => self.block_delta(value, out).map_err(Mismatch::into_fault),
            "content_block_stop" => self.block_stop(value, out).map_err(Mismatch::into_fault),
            "message_delta" => self.message_delta(value, out).map_err(Mismatch::into_fault),
            _ => {
                other(&kind, value, out);
                Ok(())
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

/// The event most streams consist of: a piece of text, of thinking or of a call's arguments, and nothing
/// beside it. Reading it costs a fraction of the general way, which takes everything else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PieceEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    index: u32,
    delta: PieceDelta,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "type")]
enum PieceDelta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "input_json_delta")]
    Arguments { partial_json: String },
}

impl Decoder {
    /// The delta of such an event, where it belongs to a block of its kind; `None` for any other.
    fn piece(&mut self, data: &str) -> Option<Delta> {
        let event: PieceEvent<'_> = serde_json::from_str(data).ok()?;
        if event.kind != "content_block_delta" {
            return None;
        }
        match (self.blocks.get_mut(&event.index)?, event.delta) {
            (Block::Text, PieceDelta::Text { text }) if !text.is_empty() => Some(Delta::Text(text)),
            (Block::Thinking, PieceDelta::Thinking { thinking }) if !thinking.is_empty() => {
                Some(Delta::Reasoning(thinking))
            }
            (Block::Tool { index, empty }, PieceDelta::Arguments { partial_json }) if !partial_json.is_empty() => {
                *empty = false;
                Some(Delta::ToolArguments { index: *index, fragment: partial_json })
            }
            _ => None,
        }
    }

    fn start(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let first = out.len();
        let mut event = Fields::of(value, &Path::Root)?;
        event.take("type");
        let path = Path::Root.key("message");
        let mut message = Fields::of(event.take("message").ok_or_else(|| Mismatch::missing(&path))?, &path)?;
        let id = message.text("id")?.unwrap_or_default();
        let model = message.text("model")?.unwrap_or_default();
        for known in ["type", "role", "content", "stop_reason", "stop_sequence"] {
            message.take(known);
        }
        let counted = message.take("usage");
        event.keep("message", message.telling_rest());
        if !self.started {
            self.started = true;
            out.push(Chunk::of(Delta::Start { id, model, created: None, dialect: DIALECT }));
        }
        self.count(counted, out)?;
        attach(event.telling_rest(), first, out);
        Ok(())
    }

    fn count(&mut self, counted: Option<Json<'_>>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let Some(counted @ Json::Object(_)) = counted else { return Ok(()) };
        self.usage.extend(Fields::of(counted, &Path::Root)?.telling_rest());
        out.push(Chunk::of(Delta::Usage(Box::new(usage::read((&self.usage).into())?))));
        Ok(())
    }

    fn block_start(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let first = out.len();
        let index = index(&value)?;
        let path = Path::Root.key("content_block");
        let kind = value.within("content_block", "type").and_then(Json::as_str).unwrap_or_default();
        let block = match kind {
            "text" => Block::Text,
            "thinking" => Block::Thinking,
            "tool_use" => Block::Tool { index: self.calls, empty: true },
            "redacted_thinking" if value.within("content_block", "data").and_then(Json::as_str).is_some() => {
                Block::Redacted
            }
            _ => {
                self.blocks.insert(index, Block::Other);
                self.last = None;
                other("content_block_start", value, out);
                return Ok(());
            }
        };
        if let Some((before, _)) = self.last.filter(|(_, last)| *last == block) {
            other("content_block_stop", serde_json::json!({"type": "content_block_stop", "index": before}), out);
        }
        self.last = Some((index, block)).filter(|_| matches!(block, Block::Text | Block::Thinking));
        let mut event = Fields::of(value, &Path::Root)?;
        let mut fields = Fields::of(event.take("content_block").unwrap_or_default(), &path)?;
        for known in ["type", "index"] {
            event.take(known);
        }
        fields.take("type");
        match block {
            Block::Text => push_text(fields.text("text")?, Delta::Text, out),
            Block::Thinking => {
                push_text(fields.text("thinking")?, Delta::Reasoning, out);
                push_text(fields.text("signature")?, Delta::ReasoningSignature, out);
            }
            Block::Tool { index: call, .. } => {
                self.calls = self.calls.saturating_add(1);
                let (id, name) = (fields.need_text("id")?, fields.need_text("name")?);
                out.push(Chunk::of(Delta::ToolCall { index: call, id, name }));
            }
            Block::Redacted => {
                let data = fields.need_text("data")?;
                out.push(Chunk::of(Delta::RedactedReasoning(data)));
            }
            Block::Other => {}
        }
        self.blocks.insert(index, block);
        if let (Block::Tool { .. }, Some(input)) = (block, fields.take("input")) {
            let said = matches!(&input, Json::Object(members) if !members.is_empty());
            self.arguments(index, if said { input.to_json() } else { String::new() }, out);
        }
        event.keep("content_block", fields.telling_rest());
        attach(event.telling_rest(), first, out);
        Ok(())
    }

    fn arguments(&mut self, block: u32, fragment: String, out: &mut Vec<Chunk>) {
        if let Some(Block::Tool { index, empty }) = self.blocks.get_mut(&block)
            && !fragment.is_empty()
        {
            *empty = false;
            out.push(Chunk::of(Delta::ToolArguments { index: *index, fragment }));
        }
    }

    fn block_delta(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let index = index(&value)?;
        let block = self.blocks.get(&index).copied().unwrap_or(Block::Other);
        let kind = value.within("delta", "type").and_then(Json::as_str);
        let place = match (block, kind) {
            (Block::Text, Some("text_delta")) => "text",
            (Block::Thinking, Some("thinking_delta")) => "thinking",
            (Block::Thinking, Some("signature_delta")) => "signature",
            (Block::Tool { .. }, Some("input_json_delta")) => "partial_json",
            _ => {
                other("content_block_delta", value, out);
                return Ok(());
            }
        };
        let delta = Fields::of(value, &Path::Root)?.take("delta").unwrap_or_default();
        let text = match Fields::of(delta, &Path::Root.key("delta"))?.take(place) {
            Some(Json::Text(text)) => text.into_owned(),
            _ => String::new(),
        };
        match place {
            "text" => push_text(Some(text), Delta::Text, out),
            "thinking" => push_text(Some(text), Delta::Reasoning, out),
            "signature" => push_text(Some(text), Delta::ReasoningSignature, out),
            _ => self.arguments(index, text, out),
        }
        Ok(())
    }

    fn block_stop(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let index = index(&value)?;
        match self.blocks.get(&index) {
            // A call of a tool that takes nothing: in JSON, nothing is `{}`.
            Some(Block::Tool { empty: true, .. }) => self.arguments(index, "{}".to_owned(), out),
            Some(Block::Other) => other("content_block_stop", value, out),
            _ => {}
        }
        self.blocks.remove(&index);
        Ok(())
    }

    fn message_delta(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let first = out.len();
        let mut event = Fields::of(value, &Path::Root)?;
        event.take("type");
        let path = Path::Root.key("delta");
        if let Some(delta) = event.take("delta") {
            let mut delta = Fields::of(delta, &path)?;
            if let Some(reason) = reply::finish(&mut delta)? {
                out.push(Chunk::of(Delta::Finish(reason)));
            }
            event.keep("delta", delta.telling_rest());
        }
        let counted = event.take("usage");
        self.count(counted, out)?;
        attach(event.telling_rest(), first, out);
        Ok(())
    }
}

fn index(value: &Json<'_>) -> Result<u32, Mismatch> {
    let path = Path::Root.key("index");
    let Some(index) = value.get("index") else { return Err(Mismatch::missing(&path)) };
    let number = index.as_u64().and_then(|index| u32::try_from(index).ok());
    number.ok_or_else(|| Mismatch::expected(&path, "a whole number", index))
}

fn push_text(text: Option<String>, delta: impl FnOnce(String) -> Delta, out: &mut Vec<Chunk>) {
    out.extend(text.filter(|text| !text.is_empty()).map(|text| Chunk::of(delta(text))));
}

fn other(event: &str, value: impl Into<Value>, out: &mut Vec<Chunk>) {
    out.push(Chunk::of(Delta::Other { event: event.to_owned(), value: value.into() }));
}

/// Leaves `rest` with the first chunk since `first`. An event that says nothing else says nothing that
/// anyone could show.
fn attach(rest: Rest, first: usize, out: &mut [Chunk]) {
    if let Some(chunk) = out.get_mut(first) {
        chunk.rest.extend(rest);
    }
}
