//! The conversation in Converse's words.

use serde_json::json;

use super::blocks;
use crate::chat::{Message, Part, PartKind, Rest, Role};
use crate::fault::AttemptFault;
use crate::format::call_id::CallIds;
use crate::format::prefill::is_blank;
use crate::format::quirks::{CachePoints, Quirks};
use crate::format::rest::Report;
use crate::format::write::{Array, Object};

/// The mark other dialects put on what the provider is to cache up to.
const CACHE_MARK: &str = "cache_control";

/// What is said beside documents where nothing is: a turn that has some must have a text (LiteLLM's).
const BESIDE_DOCUMENTS: &str = ".";

/// How long is cached where nothing is said.
const USUAL_TIME: &str = "5m";

/// A message and its place in the conversation.
type Placed<'m> = (usize, &'m Message);

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
    let (mut instructions, turns): (Vec<Placed<'_>>, Vec<Placed<'_>>) =
        messages.iter().enumerate().partition(|(_, message)| message.role.instructs());
    // A turn in which nothing is said is refused.
    let is_said = |(_, message): &Placed<'_>| {
        message.parts.iter().any(|part| blocks::says(part, message.role == Role::Assistant, quirks))
    };
    let (mut turns, silent): (Vec<_>, Vec<_>) = turns.into_iter().partition(is_said);
    if turns.is_empty() {
        // Instructions alone are no conversation here, and one in other dialects: the last of them is what is asked.
        let last = instructions.iter().rposition(|(_, message)| says_anything(message));
        turns.extend(last.map(|last| instructions.remove(last)));
    }
    system(&instructions, more, quirks, object, report);
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
        let mut is_told = run.iter().flat_map(|(_, message)| &message.parts).any(|part| text(part).is_some());
        for (index, message) in run {
            for (place, part) in message.parts.iter().enumerate() {
                let path = || format!("messages[{index}].content[{place}]");
                let by_model = message.role == Role::Assistant;
                if !by_model && !is_told && blocks::is_document(part) {
                    content.item(&json!({"text": BESIDE_DOCUMENTS}));
                    is_told = true;
                }
                let mut with = blocks::With { ids, quirks, points: quirks.cache_points(), names: &mut names };
                blocks::write(part, by_model, &mut with, &mut content, report, &path)?;
            }
            unsaid(*index, message, report);
        }
    }
    Ok(())
}

/// Writes `system`, where there is anything to say.
fn system(
    instructions: &[Placed<'_>],
    more: Option<&str>,
    quirks: &Quirks,
    object: &mut Object<'_>,
    report: &mut Report,
) {
    if more.is_none() && !instructions.iter().any(|(_, message)| says_anything(message)) {
        return;
    }
    let mut system = object.array("system");
    for (index, message) in instructions {
        for (place, part) in message.parts.iter().enumerate() {
            let path = || format!("messages[{index}].content[{place}]");
            match text(part) {
                Some(text) => {
                    system.item(&json!({"text": text}));
                    cache_point(&part.rest, quirks.cache_points(), &mut system, report, &path);
                }
                None => report.dropped.push(path()),
            }
        }
    }
    if let Some(text) = more {
        system.item(&json!({"text": text}));
    }
}

/// Whether an instruction says anything.
fn says_anything(message: &Message) -> bool {
    message.parts.iter().any(|part| text(part).is_some())
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

/// Writes the point up to which is to be cached where `rest` has the mark of one that is taken at such places, and reports what else it
/// holds.
pub(super) fn cache_point(
    rest: &Rest,
    points: CachePoints,
    array: &mut Array<'_>,
    report: &mut Report,
    place: &dyn Fn() -> String,
) {
    if rest.is_empty() {
        return;
    }
    if points == CachePoints::Nowhere {
        return report.foreign(rest, place);
    }
    let mut left = rest.clone();
    if let Some(mark) = left.shift_remove(CACHE_MARK).filter(|mark| !mark.is_null()) {
        let time = mark.get("ttl").filter(|time| !time.is_null());
        let mut block = array.object();
        let mut point = block.object("cachePoint");
        point.field("type", "default");
        match time {
            Some(time) if points == CachePoints::Anywhere => point.field("ttl", time),
            Some(time) if time != USUAL_TIME => report.dropped.push(format!("{}.{CACHE_MARK}.ttl", place())),
            _ => {}
        }
    }
    report.foreign(&left, place);
}
