//! A streamed reply, read event by event: each is a whole reply of the pieces that are new.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::candidate::{self, Candidate, FINISH, SIGNED, Searched};
use super::error;
use super::pieces::{self, CALL, OpenCall};
use crate::chat::{Chunk, Delta, FinishReason, Part, PartKind, Rest};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::call_id::signed;
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
    /// A call whose arguments come in pieces.
    open: Option<OpenCall>,
    finished: bool,
    /// Why it ended, as far as that is told, and what was said then.
    finish: Option<(FinishReason, Rest)>,
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

    /// Some give a reason to finish in every event, or before there is anything: the last one counts, and is told once.
    fn end(&mut self, out: &mut Vec<Chunk>) {
        self.ended = true;
        for (&choice, state) in &mut self.choices {
            let Some((finish, rest)) = state.finish.take() else { continue };
            out.extend(state.close().map(|delta| Chunk { choice, delta, rest: Rest::new() }));
            let delta = Delta::Finish(candidate::finish_of(finish, state.calls > 0));
            out.push(Chunk { choice, delta, rest });
        }
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
            out.push(Chunk::of(Delta::Usage(Box::new(candidate::usage(usage, &self.searched)?))));
        }
        let path = Path::Root.key("candidates");
        let list = fields.list("candidates")?.unwrap_or_default();
        let rest = fields.telling_rest();
        if !rest.is_empty() {
            out.push(Chunk::of(Delta::Other { event: REPLY.to_owned(), value: rest.into() }));
        }
        if list.is_empty() && blocked && self.choices.is_empty() {
            let finish = Some(FinishReason::ContentFilter);
            return Ok(self.candidate(Candidate { finish, ..Candidate::default() }, out).err());
        }
        let (id, made) = (self.id.as_str(), &mut self.made);
        let mut next = || next_id(id, made);
        let list = list.into_iter().enumerate();
        let read = list.map(|(place, value)| candidate::read(value, &path.index(place), true, &mut next));
        let candidates = read.collect::<Result<Vec<_>, _>>()?;
        if let Some(fault) = candidate::malformed(&candidates).filter(|_| !self.said) {
            let used = out.iter().rev().find_map(|chunk| match &chunk.delta {
                Delta::Usage(usage) => Some(usage.clone()),
                _ => None,
            });
            return Ok(Some(AttemptFault { used, ..fault }));
        }
        self.said |= candidates.iter().any(Candidate::says_something);
        let fault = candidates.into_iter().find_map(|candidate| self.candidate(candidate, out).err());
        Ok(fault)
    }

    fn candidate(&mut self, candidate: Candidate, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let Candidate { index: choice, parts, finish, logprobs, mut rest } = candidate;
        let Self { choices, id, made, .. } = self;
        let state = choices.entry(choice).or_default();
        let word = rest.shift_remove(FINISH);
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
                    if let Some(before) = state.close() {
                        push(before, Rest::new());
                    }
                    let index = state.calls;
                    state.calls += 1;
                    push(Delta::ToolCall { index, id, name }, rest);
                    push(Delta::ToolArguments { index, fragment: arguments }, Rest::new());
                }
                PartKind::Other(part) if part.get(CALL).is_some() => {
                    for delta in state.piece(&part, || next_id(id, made))? {
                        push(delta, Rest::new());
                    }
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
            rest.extend(word.map(|word| (FINISH.to_owned(), word)));
            state.ends(finish, rest);
        } else if !rest.is_empty() {
            // An event may say of an alternative nothing but what only this dialect knows.
            out.push(Chunk { choice, delta: Delta::Other { event: String::new(), value: Value::Null }, rest });
        }
        Ok(())
    }
}

impl ChoiceState {
    /// Notes why it ended, in the place of what was told before.
    fn ends(&mut self, finish: FinishReason, rest: Rest) {
        self.finished = true;
        let mut said = self.finish.take().map(|(_, said)| said).unwrap_or_default();
        said.shift_remove(FINISH);
        said.extend(rest);
        self.finish = Some((finish, said));
    }

    /// What a piece of a call comes to; `id` makes the id of the next one.
    fn piece(&mut self, part: &Value, id: impl FnOnce() -> String) -> Result<Vec<Delta>, AttemptFault> {
        let Some(call) = part.get(CALL) else { return Ok(Vec::new()) };
        let text = |of: &Value, name: &str| {
            of.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let mut told = Vec::new();
        if let Some(name) = text(call, "name") {
            told.extend(self.close());
            let mut id = text(call, "id").unwrap_or_else(id);
            if let Some(signature) = text(part, SIGNED) {
                id = signed(&id, &signature);
            }
            let index = self.calls;
            self.calls += 1;
            self.open = Some(OpenCall::new(index));
            told.push(Delta::ToolCall { index, id, name });
        }
        let Some(open) = &mut self.open else {
            // The end of a call that was told whole says nothing.
            if !pieces::says_something(call) {
                return Ok(told);
            }
            let message = "the provider's stream has arguments of a tool call that names no tool";
            return Err(AttemptFault::new(FaultKind::BrokenStream, message));
        };
        if !open.add(call)? {
            told.extend(self.close());
        }
        Ok(told)
    }

    /// The arguments of the call under way, to which nothing is added any more.
    fn close(&mut self) -> Option<Delta> {
        let open = self.open.take()?;
        Some(Delta::ToolArguments { index: open.index, fragment: open.arguments() })
    }
}

/// The id of the next tool call.
fn next_id(reply: &str, made: &mut u32) -> String {
    *made += 1;
    format!("call_{reply}_{made}")
}
