//! The conversation: turns of one speaker are one `content`, instructions stand apart.

use serde_json::{Value, json};

use super::calls::{Answer, Calls, call, result};
use super::candidate::SIGNED;
use super::documents::{self, document, picture};
use super::encode::unsupported;
use super::merge;
use crate::chat::{Message, Part, PartKind, Role};
use crate::fault::AttemptFault;
use crate::format::quirks::Want;
use crate::format::rest::Report;
use crate::format::sealed;
use crate::format::write::{Array, Object};

/// Writes `systemInstruction`, at whose end stands what is asked for in words, and `contents`.
///
/// # Errors
/// `Rejected` where somebody but the model says what has no words here.
pub(super) fn write(
    messages: &[Message],
    words: Option<&str>,
    ids: bool,
    object: &mut Object<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    let same = report.same_dialect;
    // A turn in which nothing is said is refused.
    let is_said = |message: &Message| message.parts.iter().any(|part| says(part, message.role, same));
    // Instructions alone are no conversation here, and one in other dialects: the last of them that says anything is what is asked.
    let alone = !same && !messages.iter().any(|message| !message.role.instructs() && is_said(message));
    let asked = messages.iter().rposition(|message| alone && message.role.instructs() && is_said(message));
    let is_instruction = |(index, message): &(usize, &Message)| message.role.instructs() && Some(*index) != asked;
    let all = || messages.iter().enumerate();
    let mut told: Vec<Value> = Vec::new();
    for (index, message) in all().filter(is_instruction) {
        instructions(index, message, &mut told, report);
    }
    told.extend(words.map(|words| json!({"text": words})));
    if !told.is_empty() {
        object.object("systemInstruction").field("parts", &told);
    }
    let turns = all().filter(|one| !is_instruction(one));
    let (turns, silent): (Vec<_>, Vec<_>) = turns.partition(|(_, message)| is_said(message));
    for (index, message) in silent {
        silence(index, message, report);
    }
    let mut contents = object.array("contents");
    let mut calls = Calls::new(ids);
    for run in turns.chunk_by(|(_, one), (_, next)| role(one.role) == role(next.role)) {
        let Some((_, first)) = run.first() else { continue };
        let mut content = contents.object();
        content.field("role", role(first.role));
        let mut parts = content.array("parts");
        let mut answers = calls.answers(run).into_iter();
        // Of the calls of one turn the first is signed.
        let mut signs = report.quirks.wants(Want::Signatures);
        for (index, message) in run {
            for (place, part) in message.parts.iter().enumerate() {
                if matches!(part.kind, PartKind::ToolResult { .. }) {
                    if let Some(answer) = answers.next() {
                        write_result(&answer, &mut parts, report)?;
                    }
                    continue;
                }
                let path = || format!("messages[{index}].content[{place}]");
                write_part(part, message.role, ids, &mut signs, &mut parts, report, &path)?;
            }
            unsaid(*index, message, report);
        }
    }
    Ok(())
}

/// Reports a message of which nothing is written.
fn silence(index: usize, message: &Message, report: &mut Report) {
    let same = report.same_dialect;
    for (place, part) in message.parts.iter().enumerate().filter(|_| !same) {
        let path = || format!("messages[{index}].content[{place}]");
        if matches!(part.kind, PartKind::Other(_)) && part.kind.redacted().is_none() {
            report.dropped.push(path());
        }
        report.foreign(&part.rest, &path);
    }
    unsaid(index, message, report);
}

/// Instructions are texts here; others are said by clients of this API alone.
fn instructions(index: usize, message: &Message, told: &mut Vec<Value>, report: &mut Report) {
    for (place, part) in message.parts.iter().enumerate() {
        let path = || format!("messages[{index}].content[{place}]");
        match &part.kind {
            // An empty text is refused; its own clients are told so by the provider.
            PartKind::Text(text) if text.is_empty() && !report.same_dialect => report.foreign(&part.rest, &path),
            PartKind::Text(text) => told.push(whole(json!({"text": text}), part, report, &path)),
            PartKind::Image(source) if report.same_dialect => told.push(whole(picture(source), part, report, &path)),
            PartKind::Other(value) if report.same_dialect => {
                let value = document(value).unwrap_or_else(|| value.clone());
                told.push(whole(value, part, report, &path));
            }
            _ => report.dropped.push(path()),
        }
    }
    unsaid(index, message, report);
}

/// What a message says beside its parts.
fn unsaid(index: usize, message: &Message, report: &mut Report) {
    // A result's is said with it.
    if message.name.is_some() && message.role != Role::Tool {
        report.dropped.push(format!("messages[{index}].name"));
    }
    report.foreign(&message.rest, &|| format!("messages[{index}]"));
}

/// A part with what was left of it, where a client of this dialect wrote it; reported where another's did.
fn whole(mut value: Value, part: &Part, report: &mut Report, path: &dyn Fn() -> String) -> Value {
    if report.same_dialect {
        merge(&mut value, &part.rest);
    } else {
        report.foreign(&part.rest, path);
    }
    value
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Assistant => "model",
        Role::User | Role::Tool | Role::System | Role::Developer => "user",
    }
}

/// Whether anything of a part is written.
fn says(part: &Part, role: Role, same_dialect: bool) -> bool {
    match &part.kind {
        // An empty text is refused, but for one that carries a signature.
        PartKind::Text(text) | PartKind::Refusal(text) => {
            !text.is_empty() || (same_dialect && part.rest.contains_key(SIGNED))
        }
        kind @ PartKind::Reasoning { .. } => same_dialect && sealed::of(kind).is_none(),
        kind @ PartKind::Other(_) if kind.redacted().is_some() => false,
        PartKind::Other(value) => same_dialect || role != Role::Assistant || document(value).is_some(),
        PartKind::Image(_) | PartKind::ToolCall { .. } | PartKind::ToolResult { .. } => true,
    }
}

fn write_part(
    part: &Part,
    role: Role,
    ids: bool,
    signs: &mut bool,
    parts: &mut Array<'_>,
    report: &mut Report,
    path: &dyn Fn() -> String,
) -> Result<(), AttemptFault> {
    let value = match &part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) if !says(part, role, report.same_dialect) => None,
        PartKind::Text(text) | PartKind::Refusal(text) => Some(json!({"text": text})),
        PartKind::Image(source) => Some(picture(source)),
        PartKind::ToolCall { .. } => call(part, ids, std::mem::take(signs)),
        kind @ PartKind::Reasoning { text, signature } if report.same_dialect && sealed::of(kind).is_none() => {
            let mut thought = json!({"text": text, "thought": true});
            if let Some(signature) = signature {
                thought[SIGNED] = signature.as_str().into();
            }
            Some(thought)
        }
        // The model's own thoughts may be left out; the signature it wants back is in the ids of its calls. Results are written
        // beside what is known of their calls.
        PartKind::Reasoning { .. } | PartKind::ToolResult { .. } => None,
        // Another provider's, which hid it.
        kind if kind.redacted().is_some() => None,
        PartKind::Other(value) => match document(value) {
            Some(document) => {
                documents::unsaid(value, report, path);
                Some(document)
            }
            None if report.same_dialect => Some(value.clone()),
            None if role == Role::Assistant => {
                report.dropped.push(path());
                None
            }
            None => return Err(unsupported(path())),
        },
    };
    match value {
        Some(value) => parts.item(&whole(value, part, report, path)),
        None if report.same_dialect => {}
        None => report.foreign(&part.rest, path),
    }
    Ok(())
}

/// Writes what a tool answered, and what it holds beside its words.
fn write_result(answer: &Answer<'_>, parts: &mut Array<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    let PartKind::ToolResult { content, is_error, .. } = &answer.part.kind else { return Ok(()) };
    let (index, place) = answer.at;
    let path = || format!("messages[{index}].content[{place}]");
    let mut written = result(answer, content, *is_error);
    let mut held = held(content, report, &path)?;
    // Clients of this dialect put it there on purpose; models of before the third generation do not look for it there.
    if report.same_dialect && !held.is_empty() {
        written["functionResponse"]["parts"] = std::mem::take(&mut held).into();
    }
    parts.item(&whole(written, answer.part, report, &path));
    for value in &held {
        parts.item(value);
    }
    Ok(())
}

/// What a result holds beside its words: pictures, documents and recordings are parts of their own.
fn held(content: &[Part], report: &mut Report, path: &dyn Fn() -> String) -> Result<Vec<Value>, AttemptFault> {
    let mut held = Vec::new();
    for (index, part) in content.iter().enumerate() {
        let path = || format!("{}.content[{index}]", path());
        let value = match &part.kind {
            // It is among the words.
            PartKind::Text(_) => {
                if !report.same_dialect {
                    report.foreign(&part.rest, &path);
                }
                continue;
            }
            PartKind::Image(source) => picture(source),
            PartKind::Other(value) if let Some(document) = document(value) => {
                documents::unsaid(value, report, &path);
                document
            }
            PartKind::Other(value) if report.same_dialect => value.clone(),
            kind @ PartKind::Other(_) if kind.redacted().is_none() => return Err(unsupported(path())),
            _ => {
                report.dropped.push(path());
                continue;
            }
        };
        held.push(whole(value, part, report, &path));
    }
    Ok(held)
}
