//! The conversation: turns of one speaker are one `content`, instructions stand apart.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::candidate::SIGNED;
use super::encode::unsupported;
use super::merge;
use crate::chat::{ImageSource, Message, Part, PartKind, Role};
use crate::fault::AttemptFault;
use crate::format::call_id::signature_of;
use crate::format::rest::Report;
use crate::format::sealed;
use crate::format::write::{Array, Object};

/// Writes `systemInstruction` and `contents`.
///
/// # Errors
/// `Rejected` where somebody but the model says what has no words here.
pub(super) fn write(messages: &[Message], object: &mut Object<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    let is_instruction = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    if messages.iter().filter(is_instruction).any(|message| !message.parts.is_empty()) {
        let mut instruction = object.object("systemInstruction");
        let mut parts = instruction.array("parts");
        for (index, message) in messages.iter().enumerate().filter(|(_, message)| is_instruction(message)) {
            instructions(index, message, &mut parts, report);
        }
    }
    // Results name the function here, and only the call's id in other dialects.
    let names: HashMap<&str, &str> = messages
        .iter()
        .flat_map(|message| &message.parts)
        .filter_map(|part| match &part.kind {
            PartKind::ToolCall { id, name, .. } => Some((id.as_str(), name.as_str())),
            _ => None,
        })
        .collect();
    // A turn in which nothing is said is refused.
    let same = report.same_dialect;
    let is_said = |message: &Message| message.parts.iter().any(|part| says(part, message.role, same));
    let turns = messages.iter().enumerate().filter(|(_, message)| !is_instruction(message));
    let (turns, silent): (Vec<_>, Vec<_>) = turns.partition(|(_, message)| is_said(message));
    for (index, message) in silent {
        for (place, part) in message.parts.iter().enumerate().filter(|_| !same) {
            report.foreign(&part.rest, &|| format!("messages[{index}].content[{place}]"));
        }
        unsaid(index, message, report);
    }
    let mut contents = object.array("contents");
    for run in turns.chunk_by(|(_, one), (_, next)| role(one.role) == role(next.role)) {
        let Some((_, first)) = run.first() else { continue };
        let mut content = contents.object();
        content.field("role", role(first.role));
        let mut parts = content.array("parts");
        for (index, message) in run {
            for (place, part) in message.parts.iter().enumerate() {
                let path = || format!("messages[{index}].content[{place}]");
                write_part(part, message.role, &names, &mut parts, report, &path)?;
            }
            unsaid(*index, message, report);
        }
    }
    Ok(())
}

/// Instructions are texts here; others are said by clients of this API alone.
fn instructions(index: usize, message: &Message, parts: &mut Array<'_>, report: &mut Report) {
    for (place, part) in message.parts.iter().enumerate() {
        let path = || format!("messages[{index}].content[{place}]");
        match &part.kind {
            PartKind::Text(text) => parts.item(&whole(json!({"text": text}), part, report, &path)),
            PartKind::Image(source) if report.same_dialect => parts.item(&whole(picture(source), part, report, &path)),
            PartKind::Other(value) if report.same_dialect => {
                let value = document(value).unwrap_or_else(|| value.clone());
                parts.item(&whole(value, part, report, &path));
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
        kind if kind.redacted().is_some() => false,
        PartKind::Other(value) => same_dialect || role != Role::Assistant || document(value).is_some(),
        PartKind::Image(_) | PartKind::ToolCall { .. } | PartKind::ToolResult { .. } => true,
    }
}

fn write_part(
    part: &Part,
    role: Role,
    names: &HashMap<&str, &str>,
    parts: &mut Array<'_>,
    report: &mut Report,
    path: &dyn Fn() -> String,
) -> Result<(), AttemptFault> {
    let value = match &part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) if !says(part, role, report.same_dialect) => None,
        PartKind::Text(text) | PartKind::Refusal(text) => Some(json!({"text": text})),
        PartKind::Image(source) => Some(picture(source)),
        PartKind::ToolCall { id, name, arguments } => Some(call(id, name, arguments)),
        PartKind::ToolResult { call_id, content, is_error } => {
            let mut answer = result(call_id, content, *is_error, names);
            let mut held = held(content, report, path);
            // Clients of this dialect put it there on purpose; models of before the third generation do not look for it there.
            if report.same_dialect && !held.is_empty() {
                answer["functionResponse"]["parts"] = std::mem::take(&mut held).into();
            }
            parts.item(&whole(answer, part, report, path));
            for value in &held {
                parts.item(value);
            }
            return Ok(());
        }
        kind @ PartKind::Reasoning { text, signature } if report.same_dialect && sealed::of(kind).is_none() => {
            let mut thought = json!({"text": text, "thought": true});
            if let Some(signature) = signature {
                thought[SIGNED] = signature.as_str().into();
            }
            Some(thought)
        }
        // The model's own thoughts may be left out; the signature it wants back is in the ids of its calls.
        PartKind::Reasoning { .. } => None,
        // Another provider's, which hid it.
        kind if kind.redacted().is_some() => None,
        PartKind::Other(value) => match document(value) {
            Some(document) => {
                unsaid_of_document(value, report, path);
                Some(document)
            }
            None if report.same_dialect => Some(value.clone()),
            None if role == Role::Assistant => None,
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

/// What is said of a document beside what it is. Its name is for the client.
fn unsaid_of_document(value: &Value, report: &mut Report, path: &dyn Fn() -> String) {
    let fields = value.as_object().into_iter().flatten();
    let told = ["type", "source", "file", "input_audio"];
    let unsaid = fields.filter(|(name, value)| !told.contains(&name.as_str()) && !value.is_null());
    report.dropped.extend(unsaid.map(|(name, _)| format!("{}.{name}", path())));
}

fn picture(source: &ImageSource) -> Value {
    match source {
        ImageSource::Base64 { media_type, data, .. } => inline(media_type, data),
        ImageSource::Url { url, .. } => {
            // Most pictures are JPEGs where the address says nothing.
            let kind = media_type(url).unwrap_or("image/jpeg");
            json!({"fileData": {"fileUri": url, "mimeType": kind}})
        }
    }
}

fn inline(media_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": media_type, "data": data}})
}

/// By the ending of an address.
fn media_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    Some(match path.rsplit_once('.')?.1 {
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "jpg" | "jpeg" => "image/jpeg",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "html" => "text/html",
        _ => return None,
    })
}

/// A file at an address, where this is one: files that are kept at another provider have other names.
fn at_address(file: &Value) -> Option<Value> {
    let text = |name: &str| file.get(name).and_then(Value::as_str);
    let url =
        text("file_id").filter(|id| ["https://", "http://", "gs://"].iter().any(|begin| id.starts_with(*begin)))?;
    let kind = text("format").or_else(|| media_type(url)).unwrap_or("application/pdf");
    Some(json!({"fileData": {"fileUri": url, "mimeType": kind}}))
}

/// A file or a recording in the words of the other dialects.
fn document(value: &Value) -> Option<Value> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match value.get("type")?.as_str()? {
        "file" => {
            let file = value.get("file")?;
            let Some(data) = text(file, "file_data") else { return at_address(file) };
            let (media_type, data) = data.strip_prefix("data:")?.split_once(";base64,")?;
            Some(inline(media_type, data))
        }
        "input_audio" => {
            let audio = value.get("input_audio")?;
            Some(inline(&format!("audio/{}", text(audio, "format")?), &text(audio, "data")?))
        }
        "document" => {
            let source = value.get("source")?;
            match source.get("type")?.as_str()? {
                "base64" => Some(inline(&text(source, "media_type")?, &text(source, "data")?)),
                "text" => Some(json!({"text": text(source, "data")?})),
                "url" => Some(json!({"fileData": {"fileUri": text(source, "url")?, "mimeType": "application/pdf"}})),
                _ => None,
            }
        }
        _ => None,
    }
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    // What is no object cannot be arguments; a model that wrote such is shown what it wrote.
    let arguments = match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(Value::Null) => json!({}),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    };
    let mut part = json!({"functionCall": {"name": name, "args": arguments}});
    if let Some(signature) = signature_of(id) {
        part[SIGNED] = signature.into();
    }
    part
}

fn result(call_id: &str, content: &[Part], is_error: bool, names: &HashMap<&str, &str>) -> Value {
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
    let name = names.get(call_id).copied().unwrap_or(call_id);
    json!({"functionResponse": {"name": name, "response": response}})
}

/// What a result holds beside its words: pictures, documents and recordings are parts of their own.
fn held(content: &[Part], report: &mut Report, path: &dyn Fn() -> String) -> Vec<Value> {
    let mut held = Vec::new();
    for (index, part) in content.iter().enumerate() {
        let path = || format!("{}.content[{index}]", path());
        let value = match &part.kind {
            PartKind::Text(_) => continue,
            PartKind::Image(source) => picture(source),
            PartKind::Other(value) if let Some(document) = document(value) => {
                unsaid_of_document(value, report, &path);
                document
            }
            PartKind::Other(value) if report.same_dialect => value.clone(),
            _ => {
                report.dropped.push(path());
                continue;
            }
        };
        held.push(whole(value, part, report, &path));
    }
    held
}
