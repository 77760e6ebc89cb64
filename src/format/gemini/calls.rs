//! Calls of tools and what the tools answered.
//!
//! Other dialects tie a result to its call by an id alone, and their clients may say results in any order and use an id again in
//! a later turn. Here a result names the function, and of two calls of one function the first result is the first call's: results
//! stand in the order of their calls. An id is sent where a client of this dialect wrote one, beside the call and its result alike.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::candidate::SIGNED;
use super::documents::found;
use super::own_id;
use crate::chat::{Message, Part, PartKind};
use crate::format::call_id::signature_of;

/// In the rest of a call or of a result: its client wrote an id itself. It is a null, which nobody is told of.
pub(super) const GIVEN: &str = "id";

/// What stands for the signature under a call that has none: Google's word for a history of other models.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Whether a client of this dialect wrote the id.
fn is_given(part: &Part, same_dialect: bool) -> bool {
    same_dialect && part.rest.get(GIVEN).is_some_and(Value::is_null)
}

/// The calls of a conversation so far.
pub(super) struct Calls<'m> {
    same_dialect: bool,
    made: Vec<Call<'m>>,
    /// Where those of the last turn begin that has any.
    turn: usize,
}

struct Call<'m> {
    id: &'m str,
    name: &'m str,
    given: bool,
    answered: bool,
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
    /// None so far; clients of the `same_dialect` may write ids that are sent.
    pub(super) const fn new(same_dialect: bool) -> Self {
        Self { same_dialect, made: Vec::new(), turn: 0 }
    }

    /// Adds the calls of a turn, and puts its results into the order of those that they answer.
    pub(super) fn answers(&mut self, turn: &[(usize, &'m Message)]) -> Vec<Answer<'m>> {
        let before = self.made.len();
        for part in turn.iter().flat_map(|&(_, message)| &message.parts) {
            if let PartKind::ToolCall { id, name, .. } = &part.kind {
                let given = is_given(part, self.same_dialect);
                self.made.push(Call { id: id.as_str(), name: name.as_str(), given, answered: false });
            }
        }
        if self.made.len() > before {
            self.turn = before;
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
        let place = self.called(call_id);
        if let Some(call) = place.and_then(|place| self.made.get_mut(place)) {
            call.answered = true;
            let id = call.given.then_some(own);
            Answer { part, at, name: call.name, id, call: place.unwrap_or(usize::MAX) }
        } else {
            let id = is_given(part, self.same_dialect).then_some(own);
            Answer { part, at, name: own, id, call: usize::MAX }
        }
    }

    /// The call of this id: one of the last turn that has calls, for an id may be that of another call before; any other where
    /// there is none in it.
    fn called(&self, id: &str) -> Option<usize> {
        let mut last = self.made.iter().enumerate().skip(self.turn);
        let open = last.find(|(_, call)| call.id == id && !call.answered);
        open.map(|(place, _)| place).or_else(|| self.made.iter().rposition(|call| call.id == id))
    }
}

/// Writes a call. One without a signature says so where it must (`signs`).
pub(super) fn call(part: &Part, same_dialect: bool, signs: bool) -> Option<Value> {
    let PartKind::ToolCall { id, name, arguments } = &part.kind else { return None };
    // What is no object cannot be arguments; a model that wrote such is shown what it wrote.
    let arguments = match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(Value::Null) => json!({}),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    };
    let mut written = json!({"functionCall": {"name": name, "args": arguments}});
    if is_given(part, same_dialect) {
        written["functionCall"]["id"] = own_id(id).into();
    }
    if let Some(signature) = signature_of(id).or_else(|| signs.then(|| UNSIGNED.to_owned())) {
        written[SIGNED] = signature.into();
    }
    Some(written)
}

/// Writes the words of a result.
pub(super) fn result(answer: &Answer<'_>, content: &[Part], is_error: bool) -> Value {
    let said = content.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text) => Some(Cow::Borrowed(text.as_str())),
        PartKind::Other(value) => found(value).map(Cow::Owned),
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
        written["functionResponse"]["id"] = id.into();
    }
    written
}
