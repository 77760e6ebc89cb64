//! A streamed reply, written as `data:` events of `chat.completion.chunk` objects, ended by `[DONE]`.
//!
//! The role comes with the first piece of each alternative and only there: client libraries add pieces up.
//! Usage comes in one event before the end, and only for clients that asked for it. What the reply costs stands in it, and for all
//! clients in a comment that belongs to `[DONE]`. Clients that know no pieces of calls get each call whole, and all of them those calls of
//! custom tools that the newer API's models make: their input is not what is told in pieces.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::responses::{ANNOTATED, CustomTools, RESPONSES, tell_custom};
use super::{annotations, error, finish_word, logprobs, message, usage};
use crate::chat::{Chunk, Delta, Rest, Usage};
use crate::fault::Refusal;
use crate::format::StreamEncoder;
use crate::format::openai::DIALECT;
use crate::format::rest::nested;
use crate::format::write::{self, Array, Object};
use crate::money::NanoUsd;

/// How the comment begins that tells in dollars what a reply costs.
pub(super) const COST: &[u8] = b": x-litellm-response-cost: ";

/// The state of one stream.
pub(super) struct Encoder {
    wants_usage: bool,
    /// `{"id":…,"object":…,"created":…,"model":…`: the beginning of every event, written once.
    envelope: Bytes,
    /// Whether the provider speaks this dialect too, so that unknown fields go back out.
    same_dialect: bool,
    /// Whether it speaks the newer API of the same vendor.
    newer: bool,
    usage: Option<Usage>,
    cost: Option<NanoUsd>,
    choices: Vec<Choice>,
    held: Held,
}

/// What is told when all of it is there.
#[derive(Default)]
struct Held {
    /// Whether every call is told so.
    all: bool,
    /// The tools whose calls are told so where the newer API's models make them.
    custom: CustomTools,
    /// The calls under way.
    calls: Vec<HeldCall>,
}

/// A call that is told when all of it is there.
struct HeldCall {
    choice: u32,
    index: u32,
    id: String,
    name: String,
    arguments: String,
}

/// What must be remembered of one alternative.
struct Choice {
    index: u32,
    refused: bool,
    calls: bool,
    /// Which block of thinking is under way.
    thinking_block: u32,
    /// Whether something of it was told.
    thinking_open: bool,
    /// How many pictures were told.
    images: usize,
}

impl Encoder {
    /// A writer that shows usage at the end if `wants_usage`.
    pub(super) fn new(wants_usage: bool) -> Self {
        let envelope = envelope("", "", 0);
        Self {
            wants_usage,
            envelope,
            same_dialect: true,
            newer: false,
            usage: None,
            cost: None,
            choices: Vec::new(),
            held: Held::default(),
        }
    }

    /// The same with calls that are told whole.
    pub(super) fn with_whole_calls(wants_usage: bool) -> Self {
        Self { held: Held { all: true, ..Held::default() }, ..Self::new(wants_usage) }
    }

    /// The same for a client with these custom tools.
    pub(super) fn with_custom(mut self, custom: CustomTools) -> Self {
        self.held.custom = custom;
        self
    }
}

impl StreamEncoder for Encoder {
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        match &chunk.delta {
            Delta::Start { id, model, created, dialect } => {
                self.same_dialect = *dialect == DIALECT;
                self.newer = *dialect == RESPONSES;
                self.envelope = envelope(id, model, created.unwrap_or(0));
            }
            Delta::Usage(usage) => {
                self.usage = Some((**usage).clone());
                // Unknown fields beside the usage still go out at once.
                if !self.same_dialect || chunk.rest.is_empty() {
                    return;
                }
            }
            Delta::Other { event, value } if self.newer && event == ANNOTATED => {
                return self.annotated(chunk.choice, value, out);
            }
            Delta::Other { value, .. } if !self.same_dialect && message::drawn_beside(value).is_none() => return,
            // In its provider's words they went out with what was said.
            Delta::Logprobs(_) | Delta::ReasoningSignature(_) | Delta::RedactedReasoning(_)
                if self.same_dialect && chunk.rest.is_empty() =>
            {
                return;
            }
            _ => {}
        }
        if self.holds(chunk, out) {
            return;
        }
        self.event(chunk, out);
    }

    fn cost(&mut self, cost: NanoUsd) {
        self.cost = Some(cost);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.tell_calls(out);
        if let Some(mut counted) = self.usage.take().filter(|_| self.wants_usage) {
            counted.cost = self.cost;
            out.put_slice(b"data: ");
            out.put_slice(&self.envelope);
            {
                let mut object = Object::resume(out);
                {
                    let mut choices = object.array("choices");
                    // Mistral's clients read the first choice of every chunk: its last one tells usage beside the reason to finish.
                    if self.held.all {
                        empty_choice(&mut choices);
                    }
                }
                usage::write(&counted, self.same_dialect, &mut object.object("usage"));
            }
            out.put_slice(b"\n\n");
        }
        done(self.cost, out);
    }

    fn error(&mut self, refusal: &Refusal, _request_id: &str, out: &mut BytesMut) {
        out.put_slice(b"data: ");
        out.put_slice(&error::write(refusal));
        out.put_slice(b"\n\n");
    }
}

/// An alternative of which nothing more is told.
fn empty_choice(choices: &mut Array<'_>) {
    let mut choice = choices.object();
    choice.field("index", &0_u32);
    drop(choice.object("delta"));
    choice.field("finish_reason", &());
}

/// The end, with what the reply costs.
pub(super) fn done(cost: Option<NanoUsd>, out: &mut BytesMut) {
    if let Some(cost) = cost {
        // A line of the last event: a comment that stands alone is an event without data to clients that are not exact.
        out.put_slice(COST);
        out.put_slice(cost.to_string().as_bytes());
        out.put_slice(b"\n");
    }
    out.put_slice(b"data: [DONE]\n\n");
}

fn envelope(id: &str, model: &str, created: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    out.put_slice(b"{\"id\":");
    write::value(&mut out, id);
    out.put_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
    write::value(&mut out, &created);
    out.put_slice(b",\"model\":");
    write::value(&mut out, model);
    out.freeze()
}

impl Encoder {
    /// Keeps a piece of a call; tells the calls that are whole before anything else of the reply.
    fn holds(&mut self, chunk: &Chunk, out: &mut BytesMut) -> bool {
        match &chunk.delta {
            Delta::ToolCall { index, id, name } if self.held.all || self.is_custom(name) => {
                let (id, name) = (id.clone(), name.clone());
                self.held.calls.push(HeldCall {
                    choice: chunk.choice,
                    index: *index,
                    id,
                    name,
                    arguments: String::new(),
                });
                true
            }
            Delta::ToolArguments { index, fragment } => {
                let of = |call: &&mut HeldCall| (call.choice, call.index) == (chunk.choice, *index);
                let Some(call) = self.held.calls.iter_mut().find(of) else { return self.held.all };
                call.arguments.push_str(fragment);
                true
            }
            Delta::Finish(_) => {
                self.tell_calls(out);
                false
            }
            _ => false,
        }
    }

    /// Whether a call by this name is one of a custom tool of the client's.
    fn is_custom(&self, name: &str) -> bool {
        self.newer && self.held.custom.has(name)
    }

    fn tell_calls(&mut self, out: &mut BytesMut) {
        for HeldCall { choice, index, id, name, arguments } in std::mem::take(&mut self.held.calls) {
            let is_custom = self.is_custom(&name);
            let (state, first) = self.state(choice);
            state.calls = true;
            out.put_slice(b"data: ");
            out.put_slice(&self.envelope);
            {
                let mut object = Object::resume(out);
                let mut choices = object.array("choices");
                let mut told = choices.object();
                told.field("index", &choice);
                {
                    let mut delta = told.object("delta");
                    if first {
                        delta.field("role", "assistant");
                    }
                    let mut calls = delta.array("tool_calls");
                    let mut call = calls.object();
                    call.field("index", &index);
                    if is_custom {
                        tell_custom(&id, &name, &arguments, &mut call);
                    } else {
                        call.field("id", &id);
                        call.field("type", "function");
                        let mut function = call.object("function");
                        function.field("name", &name);
                        function.field("arguments", &arguments);
                    }
                }
                told.field("finish_reason", &());
            }
            out.put_slice(b"\n\n");
        }
    }

    /// Tells where what was said is from, where the newer API told it.
    fn annotated(&mut self, choice: u32, annotation: &Value, out: &mut BytesMut) {
        let Some(annotation) = annotations::of_chats(annotation, 0) else { return };
        let value = json!({"choices": [{"delta": {annotations::FIELD: [annotation]}}]});
        let delta = Delta::Other { event: String::new(), value };
        self.event(&Chunk { choice, delta, rest: Rest::new() }, out);
    }

    fn event(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        let nothing = Rest::new();
        let whole = match &chunk.delta {
            // Of another dialect a picture is told, in words of ours, and what is in these already.
            Delta::Other { value, .. } if !self.same_dialect && message::drawn_beside(value).is_some() => &nothing,
            Delta::Other { value: Value::Object(value), .. } => value,
            _ if self.same_dialect => &chunk.rest,
            _ => &nothing,
        };
        let beside = whole.get("choices").and_then(|choices| choices.get(0)).and_then(Value::as_object);
        out.put_slice(b"data: ");
        out.put_slice(&self.envelope);
        {
            let mut object = Object::resume(out);
            object.rest(whole, &["choices"]);
            let mut choices = object.array("choices");
            let says_nothing = match &chunk.delta {
                Delta::Usage(_) => beside.is_none(),
                // A picture of another dialect is told without any.
                Delta::Other { .. } => beside.is_none() && self.same_dialect,
                _ => false,
            };
            if !says_nothing {
                self.choice(chunk, beside.unwrap_or(&nothing), &mut choices);
            }
        }
        out.put_slice(b"\n\n");
    }

    fn choice(&mut self, chunk: &Chunk, beside: &Rest, choices: &mut Array<'_>) {
        let same_dialect = self.same_dialect;
        let (state, first) = self.state(chunk.choice);
        let mut object = choices.object();
        object.field("index", &chunk.choice);
        {
            let mut delta = object.object("delta");
            if first {
                delta.field("role", "assistant");
            }
            state.delta(&chunk.delta, same_dialect, nested(beside, "delta"), &mut delta);
        }
        object.rest(beside, &["delta"]);
        if let Delta::Logprobs(tokens) = &chunk.delta
            && !same_dialect
        {
            logprobs::write(tokens, &mut object.object(logprobs::FIELD));
        }
        let finish = match &chunk.delta {
            Delta::Finish(reason) => Some(finish_word(reason, state.refused, state.calls, same_dialect)),
            _ => None,
        };
        object.field("finish_reason", &finish);
    }

    fn state(&mut self, index: u32) -> (&mut Choice, bool) {
        let known = self.choices.iter().position(|choice| choice.index == index);
        let place = known.unwrap_or_else(|| {
            self.choices.push(Choice {
                index,
                refused: false,
                calls: false,
                thinking_block: 0,
                thinking_open: false,
                images: 0,
            });
            self.choices.len() - 1
        });
        (&mut self.choices[place], known.is_none())
    }
}

impl Choice {
    fn delta(&mut self, delta: &Delta, same_dialect: bool, left: Option<&Rest>, object: &mut Object<'_>) {
        let mut call_left = None;
        match delta {
            Delta::Start { .. } => object.field("content", ""),
            Delta::Text(text) => object.field("content", text),
            Delta::Refusal(text) => {
                self.refused = true;
                object.field("refusal", text);
            }
            Delta::Reasoning(text) => {
                object.field("reasoning_content", text);
                // Where a signature may follow, the block it will seal is sent along to be kept whole.
                if !same_dialect {
                    self.thinking("thinking", "thinking", text, object);
                    self.thinking_open = true;
                }
            }
            // They stand in the words that this dialect's provider had for them, which are what is left.
            Delta::ReasoningSignature(_) | Delta::RedactedReasoning(_) if same_dialect => {}
            Delta::ReasoningSignature(signature) => {
                self.thinking("thinking", "signature", signature, object);
                self.thinking_block += 1;
                self.thinking_open = false;
            }
            Delta::RedactedReasoning(data) => {
                // What came of a block before it is another one.
                self.thinking_block += u32::from(self.thinking_open);
                self.thinking("redacted_thinking", "data", data, object);
                self.thinking_block += 1;
                self.thinking_open = false;
            }
            Delta::ToolCall { index, id, name } => {
                self.calls = true;
                call_left = first_call(left);
                let mut calls = object.array("tool_calls");
                let mut call = calls.object();
                call.field("index", index);
                call.field("id", id);
                call.field("type", "function");
                {
                    let mut function = call.object("function");
                    function.field("name", name);
                    function.field("arguments", "");
                    function_rest(call_left, &mut function);
                }
                call.rest(call_left.unwrap_or(&Rest::new()), &["function"]);
            }
            Delta::ToolArguments { index, fragment } => {
                call_left = first_call(left);
                let mut calls = object.array("tool_calls");
                let mut call = calls.object();
                call.field("index", index);
                {
                    let mut function = call.object("function");
                    function.field("arguments", fragment);
                    function_rest(call_left, &mut function);
                }
                call.rest(call_left.unwrap_or(&Rest::new()), &["function"]);
            }
            Delta::Other { value, .. } if !same_dialect => {
                if let Some(url) = message::drawn_beside(value) {
                    message::write_drawn(url, self.images, &mut object.array("images"));
                    self.images += 1;
                }
            }
            Delta::Logprobs(_) | Delta::Finish(_) | Delta::Usage(_) | Delta::Other { .. } => {}
        }
        if let Some(left) = left {
            object.rest(left, if call_left.is_some() { &["tool_calls"] } else { &[] });
        }
    }

    fn thinking(&self, kind: &str, name: &str, text: &str, object: &mut Object<'_>) {
        let mut blocks = object.array("thinking_blocks");
        let mut block = blocks.object();
        block.field("index", &self.thinking_block);
        block.field("type", kind);
        block.field(name, text);
    }
}

/// What was left of the event's tool call.
fn first_call(left: Option<&Rest>) -> Option<&Rest> {
    left?.get("tool_calls")?.get(0)?.as_object()
}

fn function_rest(call_left: Option<&Rest>, function: &mut Object<'_>) {
    if let Some(left) = call_left.and_then(|left| nested(left, "function")) {
        function.rest(left, &[]);
    }
}
