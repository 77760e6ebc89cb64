//! A streamed reply: each event is a reply of its own with what is new; the last says why it ended and what was used.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::{error, reply};
use crate::chat::{Chunk, Delta, FinishReason, Usage};
use crate::fault::Refusal;
use crate::format::StreamEncoder;
use crate::format::whole_calls::WholeCalls;
use crate::format::write;

/// The state of one stream.
pub(super) struct Encoder {
    /// Events are the items of one array.
    array: bool,
    written: bool,
    id: String,
    model: String,
    usage: Option<Usage>,
    /// Calls under way, which are told when they are whole: alternative, index, id, name, arguments.
    calls: Vec<(u32, u32, String, String, String)>,
    finished: Vec<(u32, FinishReason)>,
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

    fn parts(&mut self, choice: u32, parts: &Value, out: &mut BytesMut) {
        let candidate = json!({"content": {"parts": parts, "role": "model"}, "index": choice});
        let event = json!({"candidates": [candidate], "modelVersion": self.model, "responseId": self.id});
        self.event(&event, out);
    }

    /// Tells the calls that nothing can be added to.
    fn whole_calls(&mut self, out: &mut BytesMut) {
        for (choice, _, id, name, arguments) in std::mem::take(&mut self.calls) {
            self.parts(choice, &json!([reply::call(&id, &name, &arguments)]), out);
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
        // Blanks may stand between the items of an array; nothing else may.
        out.put_slice(if self.array { b"\n" } else { b": waiting\r\n\r\n" });
    }

    fn remark(&mut self, text: &str, out: &mut BytesMut) {
        if !self.array {
            out.put_slice(b": ");
            out.put_slice(text.as_bytes());
            out.put_slice(b"\r\n\r\n");
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        for chunk in self.order.values_mut().flat_map(WholeCalls::rest).collect::<Vec<_>>() {
            self.write(&chunk, out);
        }
        self.whole_calls(out);
        let last = |(index, finish): &(u32, FinishReason)| {
            let content = json!({"parts": [{"text": ""}], "role": "model"});
            json!({"content": content, "finishReason": reply::finish_word(finish), "index": index})
        };
        let candidates: Vec<Value> = self.finished.iter().map(last).collect();
        let mut event = json!({"candidates": candidates});
        if let Some(usage) = &self.usage {
            event["usageMetadata"] = reply::counted(usage);
        }
        event["modelVersion"] = self.model.as_str().into();
        event["responseId"] = self.id.as_str().into();
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
            Delta::Start { id, model, .. } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                return;
            }
            Delta::Text(text) | Delta::Refusal(text) if !text.is_empty() => json!({"text": text}),
            Delta::Reasoning(text) if !text.is_empty() => json!({"text": text, "thought": true}),
            Delta::ReasoningSignature(signature) => json!({"text": "", "thought": true, "thoughtSignature": signature}),
            Delta::ToolCall { index, id, name } => {
                self.calls.push((chunk.choice, *index, id.clone(), name.clone(), String::new()));
                return;
            }
            Delta::ToolArguments { index, fragment } => {
                let is_it = |call: &&mut (u32, u32, String, String, String)| (call.0, call.1) == (chunk.choice, *index);
                if let Some(call) = self.calls.iter_mut().rev().find(is_it) {
                    call.4.push_str(fragment);
                }
                return;
            }
            Delta::Finish(reason) => {
                self.finished.push((chunk.choice, reason.told(self.declined).clone()));
                return;
            }
            Delta::Usage(usage) => {
                self.usage = Some(usage.clone());
                return;
            }
            _ => return,
        };
        self.parts(chunk.choice, &json!([part]), out);
    }
}
