//! The conversation in Converse's words.

use serde_json::json;

use super::blocks;
use crate::chat::{Message, Part, PartKind, Rest, Role};
use crate::fault::AttemptFault;
use crate::format::call_id::CallIds;
use crate::format::prefill::is_blank;
use crate::format::quirks::Quirks;
use crate::format::rest::Report;
use crate::format::write::{Array, Object};

/// The mark other dialects put on what the provider is to cache up to.
const CACHE_MARK: &str = "cache_control";

/// Writes `system`, to which `more` is added, and `messages`.
///
/// # Errors
/// `Rejected` where somebody but the model says what has no words here.
pub(super) fn write(
    messages: &[Message],
    more: Option<&str>,
    ids: &CallIds<'_>,
    quirks: &Quirks,
    object: &mut Object<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    let is_instruction = |message: &Message| matches!(message.role, Role::System | Role::Developer);
    let placed: Vec<(usize, &Message)> = messages.iter().enumerate().collect();
    let said = |message: &Message| is_instruction(message) && message.parts.iter().any(|part| text(part).is_some());
    if more.is_some() || messages.iter().any(said) {
        let mut system = object.array("system");
        for &(index, message) in placed.iter().filter(|(_, message)| is_instruction(message)) {
            for (place, part) in message.parts.iter().enumerate() {
                let path = || format!("messages[{index}].content[{place}]");
                match text(part) {
                    Some(text) => {
                        system.item(&json!({"text": text}));
                        cache_point(&part.rest, &mut system, report, &path);
                    }
                    None => report.dropped.push(path()),
                }
            }
        }
        if let Some(text) = more {
            system.item(&json!({"text": text}));
        }
    }
    // A turn in which nothing is said is refused.
    let says = |message: &Message| message.parts.iter().any(|part| blocks::says(part, message.role == Role::Assistant));
    let turns = placed.into_iter().filter(|(_, message)| !is_instruction(message));
    let (turns, silent): (Vec<_>, Vec<_>) = turns.partition(|(_, message)| says(message));
    for (index, message) in silent {
        for (place, part) in message.parts.iter().enumerate().filter(|(_, part)| !is_blank(part)) {
            let path = || format!("messages[{index}].content[{place}]");
            report.dropped.push(path());
            report.foreign(&part.rest, &path);
        }
        unsaid(index, message, report);
    }
    let mut names = Vec::new();
    let mut array = object.array("messages");
    for run in turns.chunk_by(|(_, one), (_, next)| role(one.role) == role(next.role)) {
        let Some((_, first)) = run.first() else { continue };
        let mut turn = array.object();
        turn.field("role", role(first.role));
        let mut content = turn.array("content");
        for (index, message) in run {
            for (place, part) in message.parts.iter().enumerate() {
                let path = || format!("messages[{index}].content[{place}]");
                let by_model = message.role == Role::Assistant;
                let mut with = blocks::With { ids, quirks, names: &mut names };
                if blocks::write(part, by_model, &mut with, &mut content, report, &path)? {
                    cache_point(&part.rest, &mut content, report, &path);
                }
            }
            unsaid(*index, message, report);
        }
    }
    Ok(())
}

/// Reports what a message says beside its parts.
fn unsaid(index: usize, message: &Message, report: &mut Report) {
    if message.name.is_some() {
        report.dropped.push(format!("messages[{index}].name"));
    }
    report.foreign(&message.rest, &|| format!("messages[{index}]"));
}

/// The text of a part, where it says something.
fn text(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Text(text) => Some(text.as_str()).filter(|text| !text.trim().is_empty()),
        _ => None,
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Assistant => "assistant",
        Role::User | Role::Tool | Role::System | Role::Developer => "user",
    }
}

/// Writes the point up to which is to be cached where `rest` has the mark of one, and reports what else it holds.
pub(super) fn cache_point(rest: &Rest, array: &mut Array<'_>, report: &mut Report, place: &dyn Fn() -> String) {
    if rest.is_empty() {
        return;
    }
    let mut left = rest.clone();
    if let Some(mark) = left.shift_remove(CACHE_MARK).filter(|mark| !mark.is_null()) {
        let mut block = array.object();
        let mut point = block.object("cachePoint");
        point.field("type", "default");
        point.optional("ttl", mark.get("ttl"));
    }
    report.foreign(&left, place);
}
