//! A streamed reply: `response.created`, `response.in_progress`, then each item from `output_item.added` to `output_item.done`,
//! one after another, and the whole object at the end. Every event has the next number.

use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

use super::called::{Called, Kind};
use super::items;
use super::object::{self, Envelope};
use super::provider::{ITEM_BEGUN, ITEM_DONE};
use super::{ANNOTATED, ANNOTATIONS, RESPONSES};
use crate::chat::{Chunk, Delta, FinishReason, PARTIAL_PICTURE, Rest, TokenLogprob, Usage};
use crate::fault::Refusal;
use crate::format::StreamEncoder;
use crate::format::drawn::PICTURE;
use crate::format::openai::logprobs;
use crate::format::whole_calls::WholeCalls;
use crate::format::write;
use crate::money::NanoUsd;

mod whole_items;

/// The state of one stream.
pub(super) struct Encoder {
    envelope: Envelope,
    /// Whether the beginning is written.
    begun: bool,
    sequence: u64,
    /// Items that are whole.
    output: Vec<Value>,
    open: Option<Item>,
    /// Items stand one after another.
    order: WholeCalls,
    finish: Option<FinishReason>,
    /// That of the message that begins with the next words.
    phase: Option<String>,
    /// The model declined in words.
    declined: bool,
    /// Its provider speaks this API, too.
    own: bool,
    usage: Option<Usage>,
}

/// The item under way.
struct Item {
    id: String,
    body: Body,
}

enum Body {
    /// Pieces that are whole, and the one that grows.
    Message {
        phase: Option<String>,
        content: Vec<Value>,
        piece: Option<Piece>,
    },
    Reasoning {
        text: String,
        sealed: Option<String>,
    },
    Call {
        called: Called,
        index: u32,
        call_id: String,
        arguments: String,
    },
    /// A picture that was shown before it is whole, by the id that its provider gives it.
    Picture {
        own: String,
    },
}

struct Piece {
    is_refusal: bool,
    text: String,
    /// How likely its tokens were.
    tokens: Vec<Value>,
    /// Where what it says is from.
    annotations: Vec<Value>,
}

impl Encoder {
    /// A writer of a reply to a request with this echo.
    pub(super) fn new(echo: Rest) -> Self {
        Self {
            envelope: Envelope::new(echo, "", "", None),
            begun: false,
            sequence: 0,
            output: Vec::new(),
            open: None,
            order: WholeCalls::default(),
            finish: None,
            phase: None,
            declined: false,
            own: false,
            usage: None,
        }
    }

    fn emit(&mut self, out: &mut BytesMut, kind: &str, fields: Value) {
        let mut event = Map::new();
        event.insert("type".to_owned(), kind.into());
        event.insert("sequence_number".to_owned(), self.sequence.into());
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.sequence += 1;
        out.put_slice(b"event: ");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\ndata: ");
        write::value(out, &event);
        out.put_slice(b"\n\n");
    }

    /// The item under way: its id and its place.
    fn place(&self) -> (String, usize) {
        (self.open.as_ref().map(|item| item.id.clone()).unwrap_or_default(), self.output.len())
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let response = self.envelope.object("in_progress", Vec::new(), None);
        self.emit(out, "response.created", json!({"response": response}));
        self.emit(out, "response.in_progress", json!({"response": response}));
    }

    fn open_item(&mut self, prefix: &str, body: Body, shown: impl FnOnce(&str) -> Value, out: &mut BytesMut) {
        self.close(out);
        let index = self.output.len();
        let id = self.envelope.item_id(prefix, index);
        let item = shown(&id);
        self.open = Some(Item { id, body });
        self.emit(out, "response.output_item.added", json!({"output_index": index, "item": item}));
    }

    fn said(&mut self, more: &str, refusal: bool, out: &mut BytesMut) {
        if !matches!(self.open, Some(Item { body: Body::Message { .. }, .. })) {
            let phase = self.phase.take();
            let body = Body::Message { phase: phase.clone(), content: Vec::new(), piece: None };
            self.open_item("msg", body, |id| object::message(id, "in_progress", phase.as_deref(), &[]), out);
        }
        self.piece_of(refusal, out);
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Message { content, piece: Some(piece), .. }, .. }) = &mut self.open else { return };
        piece.text.push_str(more);
        let content_index = content.len();
        let mut fields =
            json!({"item_id": item_id, "output_index": output_index, "content_index": content_index, "delta": more});
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        if !refusal {
            fields["logprobs"] = json!([]);
        }
        self.emit(out, kind, fields);
    }

    /// How likely the tokens of the text under way were: a piece of it without words.
    fn scored(&mut self, tokens: &[TokenLogprob], out: &mut BytesMut) {
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Message { content, piece: Some(piece), .. }, .. }) = &mut self.open else { return };
        if piece.is_refusal {
            return;
        }
        let tokens = logprobs::values(tokens);
        piece.tokens.extend_from_slice(&tokens);
        let content_index = content.len();
        let fields = json!({"item_id": item_id, "output_index": output_index, "content_index": content_index, "delta": "", "logprobs": tokens});
        self.emit(out, "response.output_text.delta", fields);
    }

    /// Has a piece of this kind grow.
    fn piece_of(&mut self, refusal: bool, out: &mut BytesMut) {
        let grows = match &self.open {
            Some(Item { body: Body::Message { piece: Some(piece), .. }, .. }) => Some(piece.is_refusal),
            _ => None,
        };
        if grows == Some(refusal) {
            return;
        }
        self.close_piece(out);
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Message { content, piece, .. }, .. }) = &mut self.open else { return };
        *piece = Some(Piece { is_refusal: refusal, text: String::new(), tokens: Vec::new(), annotations: Vec::new() });
        let content_index = content.len();
        let part = if refusal { object::refusal("") } else { object::output_text("") };
        let fields =
            json!({"item_id": item_id, "output_index": output_index, "content_index": content_index, "part": part});
        self.emit(out, "response.content_part.added", fields);
    }

    fn close_piece(&mut self, out: &mut BytesMut) {
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Message { content, piece, .. }, .. }) = &mut self.open else { return };
        let Some(Piece { is_refusal, text, tokens, annotations }) = piece.take() else { return };
        let content_index = content.len();
        let mut part = if is_refusal { object::refusal(&text) } else { object::output_text(&text) };
        if !tokens.is_empty() {
            part["logprobs"] = tokens.as_slice().into();
        }
        if !annotations.is_empty() {
            part[ANNOTATIONS] = annotations.into();
        }
        content.push(part.clone());
        let at = json!({"item_id": item_id, "output_index": output_index, "content_index": content_index});
        let with = |name: &str, value: Value| {
            let mut fields = at.clone();
            fields[name] = value;
            fields
        };
        if is_refusal {
            self.emit(out, "response.refusal.done", with("refusal", text.into()));
        } else {
            let mut done = with("text", text.into());
            done["logprobs"] = tokens.into();
            self.emit(out, "response.output_text.done", done);
        }
        self.emit(out, "response.content_part.done", with("part", part));
    }

    /// Where the text under way is from, in the words of this API.
    fn annotated(&mut self, annotation: &Value, out: &mut BytesMut) {
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Message { content, piece: Some(piece), .. }, .. }) = &mut self.open else { return };
        let fields = json!({"item_id": item_id, "output_index": output_index, "content_index": content.len(),
            "annotation_index": piece.annotations.len(), "annotation": annotation});
        piece.annotations.push(annotation.clone());
        self.emit(out, ANNOTATED, fields);
    }

    fn thought(&mut self, more: &str, out: &mut BytesMut) {
        self.open_reasoning(out);
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Reasoning { text, .. }, .. }) = &mut self.open else { return };
        let first = text.is_empty();
        text.push_str(more);
        let at = json!({"item_id": item_id, "output_index": output_index, "summary_index": 0});
        if first {
            let mut added = at.clone();
            added["part"] = json!({"type": "summary_text", "text": ""});
            self.emit(out, "response.reasoning_summary_part.added", added);
        }
        let mut delta = at;
        delta["delta"] = more.into();
        self.emit(out, "response.reasoning_summary_text.delta", delta);
    }

    /// Has an item of thinking grow; one that is signed is whole.
    fn open_reasoning(&mut self, out: &mut BytesMut) {
        if !matches!(&self.open, Some(Item { body: Body::Reasoning { sealed: None, .. }, .. })) {
            let body = Body::Reasoning { text: String::new(), sealed: None };
            self.open_item("rs", body, |id| object::reasoning(id, "", None), out);
        }
    }

    fn sign(&mut self, what: &str, content: &str, out: &mut BytesMut) {
        self.open_reasoning(out);
        if let Some(Item { body: Body::Reasoning { sealed, .. }, .. }) = &mut self.open {
            *sealed = Some(object::sealed(what, content));
        }
    }

    fn called(&mut self, index: u32, call_id: &str, name: &str, out: &mut BytesMut) {
        let called = self.envelope.names.called(name);
        let prefix = object::prefix(called.kind);
        let shown = {
            let called = called.clone();
            move |id: &str| object::call(&called, id, call_id, "", "in_progress")
        };
        let body = Body::Call { called, index, call_id: call_id.to_owned(), arguments: String::new() };
        self.open_item(prefix, body, shown, out);
    }

    fn argued(&mut self, at: u32, fragment: &str, out: &mut BytesMut) {
        let (item_id, output_index) = self.place();
        let Some(Item { body: Body::Call { called, index, arguments, .. }, .. }) = &mut self.open else { return };
        if *index != at {
            return;
        }
        arguments.push_str(fragment);
        // The other kinds' input is read out of the whole arguments.
        if called.kind == Kind::Function && !fragment.is_empty() {
            let fields = json!({"item_id": item_id, "output_index": output_index, "delta": fragment});
            self.emit(out, "response.function_call_arguments.delta", fields);
        }
    }

    /// Ends the item under way.
    fn close(&mut self, out: &mut BytesMut) {
        self.close_piece(out);
        let (item_id, output_index) = self.place();
        let Some(Item { id, body }) = self.open.take() else { return };
        let item = match body {
            Body::Message { phase, content, .. } => {
                object::message(&id, object::status(self.finish.as_ref()), phase.as_deref(), &content)
            }
            Body::Reasoning { text, sealed } => {
                self.close_summary(&item_id, output_index, &text, out);
                object::reasoning(&id, &text, sealed)
            }
            Body::Call { called, call_id, arguments, .. } => {
                self.close_call(called.kind, &item_id, output_index, &arguments, out);
                object::call(&called, &id, &call_id, &arguments, object::status(self.finish.as_ref()))
            }
            // Another item began, or the reply ended, before it was told whole.
            Body::Picture { .. } => object::drawing(&id, "failed"),
        };
        self.output.push(item.clone());
        self.emit(out, "response.output_item.done", json!({"output_index": output_index, "item": item}));
    }

    fn close_summary(&mut self, item_id: &str, output_index: usize, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        let mut done = json!({"item_id": item_id, "output_index": output_index, "summary_index": 0});
        let mut part = done.clone();
        done["text"] = text.into();
        part["part"] = json!({"type": "summary_text", "text": text});
        self.emit(out, "response.reasoning_summary_text.done", done);
        self.emit(out, "response.reasoning_summary_part.done", part);
    }

    fn close_call(&mut self, kind: Kind, item_id: &str, output_index: usize, arguments: &str, out: &mut BytesMut) {
        let mut fields = json!({"item_id": item_id, "output_index": output_index});
        match kind {
            Kind::Function => {
                fields["arguments"] = if arguments.is_empty() { "{}" } else { arguments }.into();
                self.emit(out, "response.function_call_arguments.done", fields);
            }
            Kind::Custom => {
                let input = object::input_of(arguments);
                let mut delta = fields.clone();
                delta["delta"] = input.as_str().into();
                self.emit(out, "response.custom_tool_call_input.delta", delta);
                fields["input"] = input.into();
                self.emit(out, "response.custom_tool_call_input.done", fields);
            }
            // Nothing is told of these on the way.
            Kind::LocalShell | Kind::Shell | Kind::ApplyPatch | Kind::ToolSearch => {}
        }
    }
}

impl StreamEncoder for Encoder {
    fn chunk(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        if let Delta::Start { id, model, created, dialect } = &chunk.delta {
            self.own = *dialect == RESPONSES;
            if self.envelope.id == super::response_id("") {
                self.envelope.id = super::response_id(id);
            }
            self.envelope.model.clone_from(model);
            self.envelope.created = created.unwrap_or(0);
        }
        self.begin(out);
        // There is one answer here; nobody asked for more.
        if chunk.choice > 0 || self.order.holds(chunk) {
            return;
        }
        self.write(chunk, out);
        for chunk in self.order.freed() {
            self.chunk(&chunk, out);
        }
    }

    fn cost(&mut self, cost: NanoUsd) {
        if let Some(usage) = &mut self.usage {
            usage.cost = Some(cost);
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        for chunk in self.order.rest() {
            self.write(&chunk, out);
        }
        self.close(out);
        let finish = self.finish.take();
        let status = object::status(finish.as_ref());
        let response = self.envelope.object(status, std::mem::take(&mut self.output), self.usage.as_ref());
        let response = object::finished(response, finish.as_ref());
        self.emit(out, &format!("response.{status}"), json!({"response": response}));
    }

    fn error(&mut self, refusal: &Refusal, _request_id: &str, out: &mut BytesMut) {
        self.begin(out);
        let response = self.envelope.object("failed", std::mem::take(&mut self.output), self.usage.as_ref());
        let response = object::failed(response, refusal);
        self.emit(out, "response.failed", json!({"response": response}));
        let code = refusal.code.as_deref().unwrap_or(refusal.kind.as_str());
        let fields = json!({"code": code, "message": refusal.message, "param": refusal.param});
        self.emit(out, "error", fields);
    }
}

impl Encoder {
    fn write(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        match &chunk.delta {
            Delta::Other { event, value } if self.own && event == ANNOTATED => self.annotated(value, out),
            Delta::Other { event, value } if self.own && event == ITEM_DONE => self.kept(value, out),
            Delta::Other { event, value } if event == PICTURE => self.drew(value, &chunk.rest, out),
            Delta::Other { event, value } if self.own && event == PARTIAL_PICTURE => self.sketched(value, out),
            Delta::Other { event, value } if self.own && event == ITEM_BEGUN => {
                self.close(out);
                self.phase = items::phase(value).map(str::to_owned);
            }
            Delta::Start { .. } | Delta::Other { .. } => {}
            Delta::Logprobs(tokens) => self.scored(tokens, out),
            Delta::Text(text) if text.is_empty() => {}
            Delta::Text(text) => self.said(text, false, out),
            Delta::Refusal(text) => {
                self.declined = true;
                self.said(text, true, out);
            }
            Delta::Reasoning(text) if text.is_empty() => {}
            Delta::Reasoning(text) => self.thought(text, out),
            Delta::ReasoningSignature(signature) => self.sign("signature", signature, out),
            Delta::ToolCall { index, id, name } => self.called(*index, id, name, out),
            Delta::ToolArguments { index, fragment } => self.argued(*index, fragment, out),
            Delta::Finish(reason) => self.finish = Some(reason.told(self.declined).clone()),
            Delta::Usage(usage) => self.usage = Some((**usage).clone()),
            Delta::RedactedReasoning(data) => {
                // An item of its own: one before it keeps its words.
                self.close(out);
                self.sign("redacted", data, out);
            }
        }
    }
}
