//! A streamed reply, read event by event: each is a whole reply of the pieces that are new.

use std::collections::BTreeMap;

use serde_json::Value;

use super::candidate::{self, Candidate};
use super::error;
use crate::chat::{Chunk, Delta, FinishReason, PartKind, Rest};
use crate::fault::AttemptFault;
use crate::format::framing::EventDecoder;
use crate::format::gemini::DIALECT;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// The state of one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    id: String,
    /// Tool calls so far, over all alternatives: their ids are told apart by it.
    made: u32,
    choices: BTreeMap<u32, ChoiceState>,
}

#[derive(Default)]
struct ChoiceState {
    calls: u32,
    finished: bool,
}

impl EventDecoder for Decoder {
    fn event(&mut self, _name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let data = data.trim();
        if self.is_complete() || data.is_empty() {
            return Ok(());
        }
        let value = reply_body(data.as_bytes())?;
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(error::read_inside_stream(&value));
        }
        self.read(value, out).map_err(Mismatch::into_fault)
    }

    /// Nothing but the reasons to finish says that a stream is over.
    fn is_complete(&self) -> bool {
        !self.choices.is_empty() && self.choices.values().all(|choice| choice.finished)
    }
}

impl Decoder {
    fn read(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let blocked = candidate::blocked(&value);
        let mut fields = Fields::of(value, &Path::Root)?;
        let id = fields.text("responseId")?.unwrap_or_default();
        let model = fields.text("modelVersion")?.unwrap_or_default();
        if !self.started {
            self.started = true;
            self.id.clone_from(&id);
            out.push(Chunk::of(Delta::Start { id, model, created: None, dialect: DIALECT }));
        }
        // Before the last piece, so that what ends a reply has its count already.
        if let Some(usage) = fields.take("usageMetadata") {
            out.push(Chunk::of(Delta::Usage(candidate::usage(usage)?)));
        }
        let path = Path::Root.key("candidates");
        let list = fields.list("candidates")?.unwrap_or_default();
        if list.is_empty() && blocked && self.choices.is_empty() {
            let finish = Some(FinishReason::ContentFilter);
            self.candidate(Candidate { finish, rest: fields.telling_rest(), ..Candidate::default() }, out);
            return Ok(());
        }
        for (place, value) in list.into_iter().enumerate() {
            let (id, made) = (self.id.as_str(), &mut self.made);
            let mut next = || {
                *made += 1;
                format!("call_{id}_{made}")
            };
            let read = candidate::read(value, &path.index(place), &mut next)?;
            self.candidate(read, out);
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate, out: &mut Vec<Chunk>) {
        let Candidate { index: choice, parts, finish, mut rest } = candidate;
        let state = self.choices.entry(choice).or_default();
        let mut push = |delta| out.push(Chunk { choice, delta, rest: std::mem::take(&mut rest) });
        for part in parts {
            match part.kind {
                PartKind::Text(text) if !text.is_empty() => push(Delta::Text(text)),
                PartKind::Reasoning { text, signature } => {
                    if !text.is_empty() {
                        push(Delta::Reasoning(text));
                    }
                    if let Some(signature) = signature {
                        push(Delta::ReasoningSignature(signature));
                    }
                }
                PartKind::ToolCall { id, name, arguments } => {
                    let index = state.calls;
                    state.calls += 1;
                    push(Delta::ToolCall { index, id, name });
                    push(Delta::ToolArguments { index, fragment: arguments });
                }
                PartKind::Other(value) => push(Delta::Other { event: String::new(), value }),
                PartKind::Image(_) => push(Delta::Other { event: String::new(), value: picture(&part.kind) }),
                PartKind::Text(_) | PartKind::Refusal(_) | PartKind::ToolResult { .. } => {}
            }
        }
        if let Some(finish) = finish {
            state.finished = true;
            push(Delta::Finish(candidate::finish_of(finish, state.calls > 0)));
        }
    }
}

/// A picture the model drew: streams of other dialects have no word for it.
fn picture(kind: &PartKind) -> Value {
    let mut part = Rest::new();
    if let PartKind::Image(crate::chat::ImageSource::Base64 { media_type, data, .. }) = kind {
        part.insert("inlineData".to_owned(), serde_json::json!({"mimeType": media_type, "data": data}));
    }
    Value::Object(part)
}
