//! The conversation: turns of one speaker are one `content`, instructions stand apart.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::encode::unsupported;
use crate::chat::{ImageSource, Message, Part, PartKind, Role};
use crate::fault::AttemptFault;
use crate::format::call_id::signature_of;
use crate::format::rest::Report;
use crate::format::write::{Array, Object};

/// Writes `systemInstruction` and `contents`.
///
/// # Errors
/// `Rejected` where somebody but the model says what has no words here.
pub(super) fn write(messages: &[Message], object: &mut Object<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    let is_instruction = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let mut instructions = messages.iter().filter(is_instruction).flat_map(|message| &message.parts).peekable();
    if instructions.peek().is_some() {
        let mut instruction = object.object("systemInstruction");
        let mut parts = instruction.array("parts");
        for part in instructions {
            if let PartKind::Text(text) = &part.kind {
                parts.item(&json!({"text": text}));
            }
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
    let turns: Vec<(usize, &Message)> =
        messages.iter().enumerate().filter(|(_, message)| !is_instruction(message)).collect();
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
            report.foreign(&message.rest, &|| format!("messages[{index}]"));
        }
    }
    Ok(())
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Assistant => "model",
        Role::User | Role::Tool | Role::System | Role::Developer => "user",
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
    match &part.kind {
        // An empty text is refused.
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => {}
        PartKind::Text(text) | PartKind::Refusal(text) => parts.item(&json!({"text": text})),
        PartKind::Image(source) => parts.item(&picture(source)),
        PartKind::ToolCall { id, name, arguments } => call(id, name, arguments, parts),
        PartKind::ToolResult { call_id, content, is_error } => {
            result(call_id, content, *is_error, names, parts, report, path);
        }
        // The model's own thoughts may be left out; the signature it wants back is in the ids of its calls.
        PartKind::Reasoning { .. } => {}
        PartKind::Other(value) => match document(value) {
            Some(document) => parts.item(&document),
            None if report.same_dialect => parts.item(value),
            None if role == Role::Assistant => {}
            None => return Err(unsupported(path())),
        },
    }
    report.foreign(&part.rest, path);
    Ok(())
}

fn picture(source: &ImageSource) -> Value {
    match source {
        ImageSource::Base64 { media_type, data, .. } => inline(media_type, data),
        ImageSource::Url { url, .. } => json!({"fileData": {"fileUri": url, "mimeType": media_type(url)}}),
    }
}

fn inline(media_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": media_type, "data": data}})
}

/// By the ending of an address; most pictures are JPEGs where it says nothing.
fn media_type(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("heic") => "image/heic",
        Some("pdf") => "application/pdf",
        _ => "image/jpeg",
    }
}

/// A file or a recording in the words of the other dialects.
fn document(value: &Value) -> Option<Value> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match value.get("type")?.as_str()? {
        "file" => {
            let data = text(value.get("file")?, "file_data")?;
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

fn call(id: &str, name: &str, arguments: &str, parts: &mut Array<'_>) {
    // What is no object cannot be arguments; a model that wrote such is shown what it wrote.
    let arguments = match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(Value::Null) => json!({}),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    };
    let mut part = Map::new();
    part.insert("functionCall".to_owned(), json!({"name": name, "args": arguments}));
    if let Some(signature) = signature_of(id) {
        part.insert("thoughtSignature".to_owned(), signature.into());
    }
    parts.item(&part);
}

fn result(
    call_id: &str,
    content: &[Part],
    is_error: bool,
    names: &HashMap<&str, &str>,
    parts: &mut Array<'_>,
    report: &mut Report,
    path: &dyn Fn() -> String,
) {
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
    parts.item(&json!({"functionResponse": {"name": name, "response": response}}));
    // A picture in a result is a part beside it.
    for part in content {
        match &part.kind {
            PartKind::Text(_) => {}
            PartKind::Image(source) => parts.item(&picture(source)),
            _ => report.dropped.push(path()),
        }
    }
}
