//! A streamed reply, read event by event: each is a whole reply of the pieces that are new.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::candidate::{self, Candidate, FINISH, Searched};
use super::error;
use crate::chat::{Chunk, Delta, FinishReason, Part, PartKind, Rest};
use crate::fault::AttemptFault;
use crate::format::drawn::{self, PICTURE};
use crate::format::framing::EventDecoder;
use crate::format::gemini::DIALECT;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// In the rest of a chunk: what was left of the part it says. Whatever else is there was left of the candidate.
pub(super) const PART: &str = "part";
/// The name of what was left of events themselves, beside their candidates.
pub(super) const REPLY: &str = "reply";

/// The state of one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    id: String,
    /// Tool calls so far, over all alternatives: their ids are told apart by it.
    made: u32,
    choices: BTreeMap<u32, ChoiceState>,
    /// Whether anything that is content has come, of any alternative.
    said: bool,
    /// What the model looked up so far.
    searched: Searched,
    /// The body has ended.
    ended: bool,
}

#[derive(Default)]
struct ChoiceState {
    calls: u32,
    finished: bool,
}

impl EventDecoder for Decoder {
    fn event(&mut self, _name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let data = data.trim();
        if data.is_empty() {
            return Ok(());
        }
        let value = reply_body(data.as_bytes())?;
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(error::read_inside_stream(&value));
        }
        self.read(value, out).map_err(Mismatch::into_fault)?.map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing but the body's end says that a stream is over: another alternative may begin, and usage come, after the last reason to
    /// finish so far. What has none by then is cut off.
    fn is_complete(&self) -> bool {
        self.ended && !self.choices.is_empty() && self.choices.values().all(|choice| choice.finished)
    }
}

impl Decoder {
    /// Appends what an event means. A reply that ends without being one is a fault, with what it cost.
    fn read(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<Option<AttemptFault>, Mismatch> {
        let blocked = candidate::blocked(&value);
        self.searched.add(&value);
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
            out.push(Chunk::of(Delta::Usage(candidate::usage(usage, &self.searched)?)));
        }
        let path = Path::Root.key("candidates");
        let list = fields.list("candidates")?.unwrap_or_default();
        let rest = fields.telling_rest();
        if !rest.is_empty() {
            out.push(Chunk::of(Delta::Other { event: REPLY.to_owned(), value: rest.into() }));
        }
        if list.is_empty() && blocked && self.choices.is_empty() {
            let finish = Some(FinishReason::ContentFilter);
            self.candidate(Candidate { finish, ..Candidate::default() }, out);
            return Ok(None);
        }
        let (id, made) = (self.id.as_str(), &mut self.made);
        let mut next = || {
            *made += 1;
            format!("call_{id}_{made}")
        };
        let read =
            list.into_iter().enumerate().map(|(place, value)| candidate::read(value, &path.index(place), &mut next));
        let candidates = read.collect::<Result<Vec<_>, _>>()?;
        if let Some(fault) = candidate::malformed(&candidates).filter(|_| !self.said) {
            let used = out.iter().rev().find_map(|chunk| match &chunk.delta {
                Delta::Usage(usage) => Some(Box::new(usage.clone())),
                _ => None,
            });
            return Ok(Some(AttemptFault { used, ..fault }));
        }
        self.said |= candidates.iter().any(Candidate::says_something);
        for candidate in candidates {
            self.candidate(candidate, out);
        }
        Ok(None)
    }

    fn candidate(&mut self, candidate: Candidate, out: &mut Vec<Chunk>) {
        let Candidate { index: choice, parts, finish, logprobs, mut rest } = candidate;
        let state = self.choices.entry(choice).or_default();
        let (word, ended) = (rest.shift_remove(FINISH), finish.is_some());
        let mut push = |delta, part: Rest| {
            let mut rest = std::mem::take(&mut rest);
            if !part.is_empty() {
                rest.insert(PART.to_owned(), part.into());
            }
            out.push(Chunk { choice, delta, rest });
        };
        let other = |value| Delta::Other { event: String::new(), value };
        for Part { kind, rest } in parts {
            match kind {
                PartKind::Text(text) if !text.is_empty() => push(Delta::Text(text), rest),
                PartKind::Text(_) if !rest.is_empty() => push(other(json!({"text": ""})), rest),
                PartKind::Reasoning { text, signature } => {
                    if !text.is_empty() {
                        push(Delta::Reasoning(text), rest);
                    }
                    if let Some(signature) = signature {
                        push(Delta::ReasoningSignature(signature), Rest::new());
                    }
                }
                PartKind::ToolCall { id, name, arguments } => {
                    let index = state.calls;
                    state.calls += 1;
                    push(Delta::ToolCall { index, id, name }, rest);
                    push(Delta::ToolArguments { index, fragment: arguments }, Rest::new());
                }
                PartKind::Other(value) => push(other(value), rest),
                PartKind::Image(source) => {
                    push(Delta::Other { event: PICTURE.to_owned(), value: drawn::told(&source) }, rest);
                }
                PartKind::Text(_) | PartKind::Refusal(_) | PartKind::ToolResult { .. } => {}
            }
        }
        if !logprobs.is_empty() {
            push(Delta::Logprobs(logprobs), Rest::new());
        }
        if let Some(finish) = finish {
            state.finished = true;
            push(Delta::Finish(candidate::finish_of(finish, state.calls > 0)), Rest::new());
        }
        if let Some(last) = out.last_mut().filter(|_| ended) {
            last.rest.extend(word.map(|word| (FINISH.to_owned(), word)));
        } else if !rest.is_empty() {
            // An event may say of an alternative nothing but what only this dialect knows.
            out.push(Chunk { choice, delta: Delta::Other { event: String::new(), value: Value::Null }, rest });
        }
    }
}
