//! A call of a tool whose arguments come in pieces (`streamFunctionCallArguments` of Google's cloud).
//!
//! The first piece names the function; each says by a path where in the arguments its value stands, and a text may come in several. They read
//! as JSON once all are there, and are told then.

use serde_json::{Map, Value};

use crate::fault::{AttemptFault, FaultKind};
use crate::format::json::Json;

/// The call, in a part.
pub(super) const CALL: &str = "functionCall";
const PIECES: &str = "partialArgs";
const MORE: &str = "willContinue";

/// The names of values, but for `null`.
const VALUES: [&str; 3] = ["stringValue", "numberValue", "boolValue"];
/// Steps of a path: what is nested deeper are no arguments that anybody could read.
const DEEPEST: usize = 64;
/// Items of a list of which nothing came, in front of one of which something does.
const SKIPPED: usize = 16;

/// Whether a part of an event is a piece of a call, or the end of one.
pub(super) fn is_piece(part: &Json<'_>) -> bool {
    let Some(call) = part.get(CALL) else { return false };
    let has_more = call.get(MORE).and_then(Json::as_bool) == Some(true);
    has_more || call.get(PIECES).is_some() || call.get("name").is_none()
}

/// Whether a piece holds anything that belongs to a call.
pub(super) fn says_something(call: &Value) -> bool {
    call.get(PIECES).is_some() || call.get("args").is_some()
}

/// A call under way.
pub(super) struct OpenCall {
    /// Its place among the calls of its alternative.
    pub(super) index: u32,
    arguments: Value,
}

impl OpenCall {
    pub(super) fn new(index: u32) -> Self {
        Self { index, arguments: Value::Object(Map::new()) }
    }

    /// Takes in a piece. Whether more are to come.
    ///
    /// # Errors
    /// `BrokenStream` where a value has no place among the arguments.
    pub(super) fn add(&mut self, call: &Value) -> Result<bool, AttemptFault> {
        if let (Value::Object(arguments), Some(Value::Object(whole))) = (&mut self.arguments, call.get("args")) {
            arguments.extend(whole.clone());
        }
        for piece in call.get(PIECES).and_then(Value::as_array).into_iter().flatten() {
            if self.put(piece).is_none() {
                let message = "the provider's stream has a piece of a tool call's arguments that has no place in them";
                return Err(AttemptFault::new(FaultKind::BrokenStream, message));
            }
        }
        Ok(call.get(MORE).and_then(Value::as_bool) == Some(true))
    }

    /// What came so far, as JSON.
    pub(super) fn arguments(&self) -> String {
        self.arguments.to_string()
    }

    fn put(&mut self, piece: &Value) -> Option<()> {
        let mut place = &mut self.arguments;
        for step in steps(piece.get("jsonPath")?.as_str()?)? {
            place = step.within(place)?;
        }
        let value = VALUES.into_iter().find_map(|name| piece.get(name));
        match (place, value) {
            (Value::String(text), Some(Value::String(more))) => text.push_str(more),
            (place, Some(value)) => *place = value.clone(),
            (place, None) if piece.get("nullValue").is_some() => *place = Value::Null,
            // The end of a text that is all there.
            (_, None) => {}
        }
        Some(())
    }
}

/// A step of a path.
enum Step {
    Name(String),
    Place(usize),
}

impl Step {
    /// Where it leads to, which is made where nothing came yet.
    fn within(self, place: &mut Value) -> Option<&mut Value> {
        if place.is_null() {
            *place = match self {
                Self::Name(_) => Value::Object(Map::new()),
                Self::Place(_) => Value::Array(Vec::new()),
            };
        }
        match (self, place) {
            (Self::Name(name), Value::Object(fields)) => Some(fields.entry(name).or_insert(Value::Null)),
            (Self::Place(at), Value::Array(items)) => {
                if at >= items.len() && at - items.len() <= SKIPPED {
                    items.resize(at + 1, Value::Null);
                }
                items.get_mut(at)
            }
            _ => None,
        }
    }
}

/// The steps of a JSON path (RFC 9535), as far as it leads to one place.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut left = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !left.is_empty() {
        let (step, rest) = first_step(left).filter(|_| steps.len() < DEEPEST)?;
        steps.push(step);
        left = rest;
    }
    (!steps.is_empty()).then_some(steps)
}

/// `.name`, `[0]` or `['name']`, and what follows it.
fn first_step(path: &str) -> Option<(Step, &str)> {
    if let Some(named) = path.strip_prefix('.') {
        let (name, rest) = named.split_at(named.find(['.', '[']).unwrap_or(named.len()));
        return (!name.is_empty()).then(|| (Step::Name(name.to_owned()), rest));
    }
    let inside = path.strip_prefix('[')?;
    let Some(quote) = inside.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let (at, rest) = inside.split_once(']')?;
        return Some((Step::Place(at.parse().ok()?), rest));
    };
    let mut name = String::new();
    let mut letters = inside.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.push(letters.next()?.1),
            _ if letter == quote => return Some((Step::Name(name), inside[at + 1..].strip_prefix(']')?)),
            _ => name.push(letter),
        }
    }
    None
}
