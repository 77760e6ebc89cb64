//! Calls of tools and what the tools answered.
//!
//! Other dialects tie a result to its call by an id alone, and their clients may say results in any order and use an id again in
//! a later turn. Here a result names the function, and of two calls of one function the first result is the first call's: results
//! stand in the order of their calls. An id is sent where a client of this dialect wrote one, beside the call and its result alike, to
//! models that take ids.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::candidate::SIGNED;
use super::own_id;
use crate::chat::{Message, Part, PartKind};
use crate::format::call_id::signature_of;

/// The field of calls and of results. In their rest, as a null which nobody is told of, it says that their client wrote one itself.
pub(super) const ID: &str = "id";

/// What stands for the signature under a call that has none: Google's word for a history of other models.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Whether a client of this dialect wrote the id.
fn is_given(part: &Part) -> bool {
    part.rest.get(ID).is_some_and(Value::is_null)
}

/// The calls of a conversation so far.
pub(super) struct Calls<'m> {
    /// Whether ids are sent that clients wrote.
    ids: bool,
    made: Vec<Call<'m>>,
    /// Of each id, the place of the last call that has it.
    last: HashMap<&'m str, usize>,
    /// Of each id, the places without a result among the calls of the last turn that has any, the first one first.
    open: HashMap<&'m str, VecDeque<usize>>,
}

struct Call<'m> {
    name: &'m str,
    given: bool,
}

/// A result: where it stands, and what it is told by.
pub(super) struct Answer<'m> {
    pub(super) part: &'m Part,
    /// The message, and the place in it.
    pub(super) at: (usize, usize),
    /// The function's name, or what the client called its call where that is not there.
    name: &'m str,
    id: Option<&'m str>,
    /// The place of the call among all.
    call: usize,
}

impl<'m> Calls<'m> {
    /// None so far; the `ids` that clients of this dialect wrote may be sent.
    pub(super) fn new(ids: bool) -> Self {
        Self { ids, made: Vec::new(), last: HashMap::new(), open: HashMap::new() }
    }

    /// Adds the calls of a turn, and puts its results into the order of those that they answer.
    pub(super) fn answers(&mut self, turn: &[(usize, &'m Message)]) -> Vec<Answer<'m>> {
        let before = self.made.len();
        for part in turn.iter().flat_map(|&(_, message)| &message.parts) {
            if let PartKind::ToolCall { id, name, .. } = &part.kind {
                let place = self.made.len();
                if place == before {
                    // An id may be that of another call in a turn before. (To clear a map costs as much as it ever held.)
                    self.open = HashMap::new();
                }
                self.open.entry(id.as_str()).or_default().push_back(place);
                self.last.insert(id.as_str(), place);
                self.made.push(Call { name: name.as_str(), given: self.ids && is_given(part) });
            }
        }
        let mut answers = Vec::new();
        for &(index, message) in turn {
            for (place, part) in message.parts.iter().enumerate() {
                if let PartKind::ToolResult { call_id, .. } = &part.kind {
                    answers.push(self.answer(part, call_id, (index, place)));
                }
            }
        }
        answers.sort_by_key(|answer| answer.call);
        answers
    }

    fn answer(&mut self, part: &'m Part, call_id: &'m str, at: (usize, usize)) -> Answer<'m> {
        let own = own_id(call_id);
        let called = self.called(call_id).and_then(|place| Some((place, self.made.get(place)?)));
        let (place, name, given) = match called {
            Some((place, call)) => (place, call.name, call.given),
            None => (usize::MAX, own, self.ids && is_given(part)),
        };
        Answer { part, at, name, id: given.then_some(own), call: place }
    }

    /// The call of this id: one of the last turn that has calls, for an id may be that of another call before; any other where
    /// there is none in it.
    fn called(&mut self, id: &str) -> Option<usize> {
        let open = self.open.get_mut(id).and_then(VecDeque::pop_front);
        open.or_else(|| self.last.get(id).copied())
    }
}

/// Writes a call, with the id that its client wrote where `ids` are sent. One without a signature says so where it must (`signs`).
pub(super) fn call(part: &Part, ids: bool, signs: bool) -> Option<Value> {
    let PartKind::ToolCall { id, name, arguments } = &part.kind else { return None };
    // What is no object cannot be arguments; a model that wrote such is shown what it wrote.
    let arguments = match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(Value::Null) => json!({}),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    };
    let mut written = json!({"functionCall": {"name": name, "args": arguments}});
    if ids && is_given(part) {
        written["functionCall"][ID] = own_id(id).into();
    }
    if let Some(signature) = signature_of(id).or_else(|| signs.then(|| UNSIGNED.to_owned())) {
        written[SIGNED] = signature.into();
    }
    Some(written)
}

/// Writes the words of a result.
pub(super) fn result(answer: &Answer<'_>, content: &[Part], is_error: bool) -> Value {
    let said = content.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let text = said.collect::<Vec<_>>().join("\n");
    let response = match serde_json::from_str(&text) {
        Ok(Value::Object(map)) if !is_error => Value::Object(map),
        _ if is_error => json!({"error": text}),
        _ => json!({"output": text}),
    };
    let mut written = json!({"functionResponse": {"name": answer.name, "response": response}});
    if let Some(id) = answer.id {
        written["functionResponse"][ID] = id.into();
    }
    written
}
