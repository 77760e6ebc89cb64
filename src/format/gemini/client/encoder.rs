//! A streamed reply: each event is a reply of its own with what is new; the last says why it ended and what was used.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::{error, reply};
use crate::chat::{Chunk, Delta, Dialect, FinishReason, Rest, TokenLogprob, Usage};
use crate::fault::Refusal;
use crate::format::StreamEncoder;
use crate::format::drawn::{self, PICTURE};
use crate::format::gemini::decoder::{PART, REPLY};
use crate::format::gemini::logprobs::{self, RESULT};
use crate::format::gemini::{DIALECT, merge};
use crate::format::whole_calls::WholeCalls;
use crate::format::write;
use crate::money::NanoUsd;

/// A call under way.
struct Call {
    choice: u32,
    index: u32,
    id: String,
    name: String,
    arguments: String,
    rest: Rest,
}

/// The state of one stream.
pub(super) struct Encoder {
    /// Events are the items of one array.
    array: bool,
    written: bool,
    id: String,
    model: String,
    /// The provider's.
    dialect: Option<Dialect>,
    usage: Option<Usage>,
    /// Calls under way, which are told when they are whole.
    calls: Vec<Call>,
    /// Why alternatives ended, and what else was said then.
    finished: Vec<(u32, FinishReason, Rest)>,
    /// What was said beside the alternatives.
    beside: Rest,
    /// Calls of one alternative stand one after another.
    order: BTreeMap<u32, WholeCalls>,
    /// A model declined in words.
    declined: bool,
}

impl Encoder {
    pub(super) fn new(array: bool) -> Self {
        Self {
            array,
            written: false,
            id: String::new(),
            model: String::new(),
            dialect: None,
            beside: Rest::new(),
            usage: None,
            calls: Vec::new(),
            finished: Vec::new(),
            order: BTreeMap::new(),
            declined: false,
        }
    }

    fn event(&mut self, event: &Value, out: &mut BytesMut) {
        let first = !std::mem::replace(&mut self.written, true);
        if self.array {
            out.put_slice(if first { b"[" } else { b",\r\n" });
            write::value(out, event);
        } else {
            out.put_slice(b"data: ");
            write::value(out, event);
            out.put_slice(b"\r\n\r\n");
        }
    }

    /// The provider speaks this dialect too: what only it knows goes out as it came.
    fn same(&self) -> bool {
        self.dialect == Some(DIALECT)
    }

    /// One part, or none, and what was left of it and of its candidate.
    fn part(&mut self, choice: u32, part: Option<Value>, rest: &Rest, out: &mut BytesMut) {
        let mut part = part.unwrap_or_else(|| json!({"text": ""}));
        if let (true, Some(Value::Object(left))) = (self.same(), rest.get(PART)) {
            merge(&mut part, left);
        }
        let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": choice});
        if self.same() {
            merge(&mut candidate, rest);
            candidate.as_object_mut().map(|fields| fields.shift_remove(PART));
        }
        let event = json!({"candidates": [candidate], "modelVersion": self.model, "responseId": self.id});
        self.event(&event, out);
    }

    /// How likely the tokens before it were. Its own provider's are told in what was left of their event.
    fn tokens(&mut self, chunk: &Chunk, tokens: &[TokenLogprob], out: &mut BytesMut) {
        if !self.same() {
            let content = json!({"parts": [{"text": ""}], "role": "model"});
            let candidate = json!({"content": content, "index": chunk.choice, RESULT: logprobs::result(tokens)});
            let event = json!({"candidates": [candidate], "modelVersion": self.model, "responseId": self.id});
            self.event(&event, out);
        } else if !chunk.rest.is_empty() {
            self.part(chunk.choice, None, &chunk.rest, out);
        }
    }

    /// Tells the calls that nothing can be added to.
    fn whole_calls(&mut self, out: &mut BytesMut) {
        for Call { choice, id, name, arguments, rest, .. } in std::mem::take(&mut self.calls) {
            self.part(choice, Some(reply::call(&id, &name, &arguments)), &rest, out);
        }
    }
}

impl StreamEncoder for Encoder {
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        if self.order.entry(chunk.choice).or_default().holds(chunk) {
            return;
        }
        self.write(chunk, out);
        for chunk in self.order.get_mut(&chunk.choice).map(WholeCalls::freed).unwrap_or_default() {
            self.chunk(&chunk, out);
        }
    }

    fn alive(&mut self, out: &mut BytesMut) {
        // Blanks may stand between the items of an array; nothing else may. Nor between events: Google's clients read every line that
        // is not blank and begins with another word than `data` as a part of JSON (google-genai 3.6.1), or refuse it (its Go one).
        out.put_slice(if self.array { b"\n" } else { b"\r\n\r\n" });
    }

    fn remark(&mut self, _text: &str, _out: &mut BytesMut) {}

    fn cost(&mut self, cost: NanoUsd) {
        if let Some(usage) = &mut self.usage {
            usage.cost = Some(cost);
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        for chunk in self.order.values_mut().flat_map(WholeCalls::rest).collect::<Vec<_>>() {
            self.write(&chunk, out);
        }
        self.whole_calls(out);
        let last = |(index, finish, rest): &(u32, FinishReason, Rest)| {
            let content = json!({"parts": [{"text": ""}], "role": "model"});
            let mut last = json!({"content": content, "finishReason": reply::finish_word(finish), "index": index});
            merge(&mut last, rest);
            last
        };
        let candidates: Vec<Value> = self.finished.iter().map(last).collect();
        let mut event = json!({"candidates": candidates});
        if let Some(usage) = &self.usage {
            event["usageMetadata"] = reply::counted(usage, self.same());
        }
        event["modelVersion"] = self.model.as_str().into();
        event["responseId"] = self.id.as_str().into();
        merge(&mut event, &self.beside);
        self.event(&event, out);
        if self.array {
            out.put_slice(b"]");
        }
    }

    fn error(&mut self, refusal: &Refusal, _request_id: &str, out: &mut BytesMut) {
        self.event(&error(refusal), out);
        if self.array {
            out.put_slice(b"]");
        }
    }
}

impl Encoder {
    fn write(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        if !matches!(chunk.delta, Delta::ToolArguments { .. } | Delta::ToolCall { .. }) && chunk.delta.is_content() {
            self.whole_calls(out);
        }
        self.declined |= matches!(chunk.delta, Delta::Refusal(_));
        let part = match &chunk.delta {
            Delta::Start { id, model, dialect, .. } => {
                self.dialect = Some(*dialect);
                self.id.clone_from(id);
                self.model.clone_from(model);
                return;
            }
            Delta::Text(text) | Delta::Refusal(text) if !text.is_empty() => json!({"text": text}),
            Delta::Reasoning(text) if !text.is_empty() => json!({"text": text, "thought": true}),
            Delta::ReasoningSignature(signature) => json!({"text": "", "thought": true, "thoughtSignature": signature}),
            Delta::RedactedReasoning(data) => reply::redacted(data),
            Delta::ToolCall { index, id, name } => {
                let (id, name, rest) = (id.clone(), name.clone(), chunk.rest.clone());
                self.calls.push(Call { choice: chunk.choice, index: *index, id, name, arguments: String::new(), rest });
                return;
            }
            Delta::ToolArguments { index, fragment } => {
                let is_it = |call: &&mut Call| (call.choice, call.index) == (chunk.choice, *index);
                if let Some(call) = self.calls.iter_mut().rev().find(is_it) {
                    call.arguments.push_str(fragment);
                }
                return;
            }
            Delta::Finish(reason) => {
                let rest = if self.same() { chunk.rest.clone() } else { Rest::new() };
                self.finished.push((chunk.choice, reason.told(self.declined).clone(), rest));
                return;
            }
            Delta::Logprobs(tokens) => return self.tokens(chunk, tokens, out),
            Delta::Usage(usage) => {
                self.usage = Some((**usage).clone());
                return;
            }
            Delta::Other { event, value: Value::Object(value) } if self.same() && event == REPLY => {
                self.beside.extend(value.clone());
                return;
            }
            // A picture is one whoever drew it.
            Delta::Other { event, value } if self.same() || event == PICTURE => {
                // Calls before it are told before it.
                self.whole_calls(out);
                let part = if event == PICTURE { inline(value) } else { Some(value.clone()) };
                let part = part.filter(|value| !value.is_null());
                return self.part(chunk.choice, part, &chunk.rest, out);
            }
            _ => return,
        };
        self.part(chunk.choice, Some(part), &chunk.rest, out);
    }
}

/// A picture that the model drew, as it came.
fn inline(value: &Value) -> Option<Value> {
    let (media_type, data) = drawn::data(value)?;
    Some(json!({"inlineData": {"mimeType": media_type, "data": data}}))
}
