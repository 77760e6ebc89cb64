//! The conversation in Anthropic's words.
//!
//! Instructions of this dialect's clients stay where they are: first, or in the midst of the conversation,
//! which newer models take. Other dialects' instructions all go first, which every model takes. Tool results
//! are said by the user, and what one speaker says in several messages is one message.

use super::blocks;
use crate::chat::{Message, Part, Rest, Role};
use crate::format::prefill::is_blank;
use crate::format::rest::Report;
use crate::format::write::Object;

/// A part and where it came from.
struct Placed<'a> {
    part: &'a Part,
    message: usize,
    index: usize,
    role: Role,
}

impl Placed<'_> {
    fn place(&self) -> String {
        match self.role {
            // In other dialects the result is the message.
            Role::Tool => format!("messages[{}]", self.message),
            _ => format!("messages[{}].content[{}]", self.message, self.index),
        }
    }
}

/// What one speaker says in one message of this dialect.
struct Turn<'a> {
    role: &'static str,
    parts: Vec<Placed<'a>>,
    rest: &'a Rest,
}

/// Writes `system`, with an instruction of the gateway's own behind the client's, and `messages`.
pub(super) fn conversation(
    messages: &[Message],
    instruction: Option<&Part>,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    let mut system: Vec<Placed<'_>> = Vec::new();
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let parts = placed(message, index, report);
        leftover(message, index, report);
        let role = match message.role {
            Role::System | Role::Developer if turns.is_empty() || !report.same_dialect => {
                system.extend(parts);
                continue;
            }
            Role::System | Role::Developer => "system",
            Role::Assistant => "assistant",
            Role::User | Role::Tool => "user",
        };
        // A turn of which nothing is left is refused; an empty one of its own clients is theirs.
        if parts.is_empty() && !(report.same_dialect && message.parts.is_empty()) {
            continue;
        }
        let alone = report.same_dialect && !message.rest.is_empty();
        match turns.last_mut() {
            Some(last) if last.role == role && !alone && (!report.same_dialect || last.rest.is_empty()) => {
                last.parts.extend(parts);
            }
            _ => turns.push(Turn { role, parts, rest: &message.rest }),
        }
    }
    if turns.is_empty() && !report.same_dialect {
        turns.extend(asked(&mut system, messages));
    }
    system.extend(instruction.map(|part| Placed { part, message: messages.len(), index: 0, role: Role::System }));
    if !system.is_empty() {
        content("system", &system, object, report);
    }
    let mut array = object.array("messages");
    for turn in &turns {
        let mut message = array.object();
        message.field("role", turn.role);
        content("content", &turn.parts, &mut message, report);
        if report.same_dialect {
            message.rest(turn.rest, &[]);
        }
    }
}

/// Instructions alone are no conversation here, and one in other dialects: the last of them is what is asked.
fn asked<'a>(system: &mut Vec<Placed<'a>>, messages: &'a [Message]) -> Option<Turn<'a>> {
    let last = system.last()?.message;
    let rest = &messages.get(last)?.rest;
    let first = system.iter().position(|placed| placed.message == last)?;
    Some(Turn { role: "user", parts: system.split_off(first), rest })
}

fn content(name: &str, placed: &[Placed<'_>], object: &mut Object<'_>, report: &mut Report) {
    let parts: Vec<&Part> = placed.iter().map(|placed| placed.part).collect();
    if let Some(text) = blocks::plain(&parts) {
        return object.field(name, text);
    }
    let mut array = object.array(name);
    for placed in placed {
        blocks::write(placed.part, &mut array, &|| placed.place(), report);
    }
}

/// The parts of a message that can be said, with their places; the others are reported.
fn placed<'a>(message: &'a Message, index: usize, report: &mut Report) -> Vec<Placed<'a>> {
    let mut parts = Vec::with_capacity(message.parts.len());
    for (part_index, part) in message.parts.iter().enumerate() {
        let placed = Placed { part, message: index, index: part_index, role: message.role };
        if blocks::has_word(part, report) {
            parts.push(placed);
        } else if !is_blank(part) {
            report.dropped.push(placed.place());
        }
    }
    parts
}

/// Reports what a message of another dialect says beside its content.
fn leftover(message: &Message, index: usize, report: &mut Report) {
    if report.same_dialect {
        return;
    }
    if message.name.is_some() {
        report.dropped.push(format!("messages[{index}].name"));
    }
    report.foreign(&message.rest, &|| format!("messages[{index}]"));
}
