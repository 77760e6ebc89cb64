//! Texts, pictures and files of a conversation in the words of the responses API.

use serde_json::{Value, json};

use super::encode::unsupported;
use crate::chat::{ImageSource, Part, PartKind, Rest};
use crate::fault::AttemptFault;
use crate::format::openai::attachments::is_address;
use crate::format::openai::encode::type_of;
use crate::format::rest::Report;
use crate::format::write::{Array, Object};

/// What the words for a file are made of, in those of chats or of another dialect.
const SAID: [&str; 4] = ["type", "file", "source", "title"];

/// Content that is not the assistant's: a plain text where it is no more than that, which everybody takes.
pub(super) fn content(
    name: &str,
    parts: &[(usize, &Part)],
    object: &mut Object<'_>,
    path: &str,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    if let [(_, Part { kind: PartKind::Text(text) | PartKind::Refusal(text), rest })] = parts
        && rest.is_empty()
    {
        object.field(name, text);
        return Ok(());
    }
    let mut array = object.array(name);
    parts.iter().try_for_each(|(index, part)| one(part, &mut array, &format!("{path}.content[{index}]"), report))
}

fn one(part: &Part, array: &mut Array<'_>, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => {
            let mut object = array.object();
            object.field("type", "input_text");
            object.field("text", text);
            report.rest_inside(&mut object, &part.rest, &|| path.to_owned(), &[]);
        }
        PartKind::Image(source) => {
            let mut object = array.object();
            object.field("type", "input_image");
            let detail = match source {
                ImageSource::Url { url, detail } => {
                    object.field("image_url", url);
                    detail
                }
                ImageSource::Base64 { media_type, data, detail } => {
                    object.field("image_url", &format_args!("data:{media_type};base64,{data}"));
                    detail
                }
            };
            // It must be said here, and goes without saying elsewhere.
            object.field("detail", detail.as_deref().unwrap_or("auto"));
            report.rest_inside(&mut object, &part.rest, &|| path.to_owned(), &["image_url"]);
        }
        PartKind::Other(value) => {
            let own = value.get("type").and_then(Value::as_str).filter(|kind| kind.starts_with("input_"));
            let said = match own {
                Some("input_file" | "input_image" | "input_text") if report.same_dialect => Some(value.clone()),
                _ => file(value),
            };
            let said = said.ok_or_else(|| unsupported(path, &type_of(value)))?;
            let mut object = array.object();
            if let Some(said) = said.as_object() {
                object.rest(said, &[]);
            }
            if own.is_none() {
                report.rest_inside(&mut object, &beside(value), &|| path.to_owned(), &[]);
            }
        }
        // No client API makes these outside an assistant's turn.
        PartKind::ToolCall { .. } | PartKind::ToolResult { .. } | PartKind::Reasoning { .. } => {
            report.dropped.push(path.to_owned());
        }
    }
    Ok(())
}

/// What is said of a file beside what it is: how closely to look at it, for instance, and where a cache ends.
fn beside(value: &Value) -> Rest {
    let mut left = value.as_object().cloned().unwrap_or_default();
    left.retain(|name, value| !SAID.contains(&name.as_str()) && !value.is_null());
    left
}

/// A file of chats, or a document of another dialect; `None` where it is neither.
fn file(value: &Value) -> Option<Value> {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    match value.get("type")?.as_str()? {
        "file" => {
            let file = value.get("file")?;
            let mut said = match (text(file, "file_data"), text(file, "file_id")) {
                (Some(data), _) => json!({"type": "input_file", "file_data": data}),
                (None, Some(url)) if is_address(&url) => return Some(json!({"type": "input_file", "file_url": url})),
                (None, Some(id)) => return Some(json!({"type": "input_file", "file_id": id})),
                (None, None) => return None,
            };
            // The name is asked for beside data.
            said["filename"] = text(file, "filename").unwrap_or_else(|| "document.pdf".to_owned()).into();
            Some(said)
        }
        "document" => {
            let source = value.get("source")?;
            match source.get("type")?.as_str()? {
                "base64" => {
                    let data = format!("data:{};base64,{}", text(source, "media_type")?, text(source, "data")?);
                    let name = text(value, "title").unwrap_or_else(|| "document.pdf".to_owned());
                    Some(json!({"type": "input_file", "file_data": data, "filename": name}))
                }
                "url" => Some(json!({"type": "input_file", "file_url": text(source, "url")?})),
                "text" => Some(json!({"type": "input_text", "text": text(source, "data")?})),
                _ => None,
            }
        }
        _ => None,
    }
}
