//! Content blocks, as Converse has them: a block is an object with one field, its kind.

use serde_json::{Value, json};

use super::encode::unsupported;
use crate::chat::{ImageSource, Part, PartKind};
use crate::fault::AttemptFault;
use crate::format::call_id::CallIds;
use crate::format::prefill::is_blank;
use crate::format::quirks::Quirks;
use crate::format::rest::Report;
use crate::format::sealed;
use crate::format::write::Array;

/// What is written with.
pub(super) struct With<'w> {
    pub(super) ids: &'w CallIds<'w>,
    pub(super) quirks: &'w Quirks,
    /// The names of the documents so far: two must not have the same.
    pub(super) names: &'w mut Vec<String>,
}

/// Whether anything of a part is written. It is asked before, so that no turn begins in which nothing is said.
pub(super) fn says(part: &Part, by_model: bool) -> bool {
    match &part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) => !is_blank(part),
        // Another provider's.
        kind if sealed::of(kind).is_some() => false,
        PartKind::Reasoning { signature, .. } => signature.is_some(),
        kind @ PartKind::Other(value) => !by_model || kind.redacted().is_some() || is_known(value),
        PartKind::Image(_) | PartKind::ToolCall { .. } | PartKind::ToolResult { .. } => true,
    }
}

/// Writes a part; whether anything was written.
///
/// # Errors
/// `Rejected` where it is somebody else's than the model's and has no words here.
pub(super) fn write(
    part: &Part,
    by_model: bool,
    with: &mut With<'_>,
    content: &mut Array<'_>,
    report: &mut Report,
    path: &dyn Fn() -> String,
) -> Result<bool, AttemptFault> {
    match &part.kind {
        // A blank text is refused.
        PartKind::Text(_) | PartKind::Refusal(_) if is_blank(part) => return Ok(false),
        PartKind::Text(text) | PartKind::Refusal(text) => content.item(&json!({"text": text})),
        PartKind::Image(source) => content.item(&picture(source, path)?),
        PartKind::ToolCall { id, name, arguments } => {
            let call = json!({"toolUseId": with.ids.sent(id), "name": name, "input": input(arguments)});
            content.item(&json!({"toolUse": call}));
        }
        PartKind::ToolResult { call_id, content: said, is_error } => {
            let mut block = content.object();
            let mut result = block.object("toolResult");
            result.field("toolUseId", with.ids.sent(call_id));
            {
                let mut content = result.array("content");
                for (index, part) in said.iter().enumerate() {
                    let path = || format!("{}.content[{index}]", path());
                    write(part, false, with, &mut content, report, &path)?;
                }
            }
            result.optional("status", is_error.then_some("error"));
        }
        kind if sealed::of(kind).is_some() => {
            report.dropped.push(path());
            return Ok(false);
        }
        PartKind::Reasoning { text, signature: Some(signature) } => {
            let thinking = json!({"reasoningText": {"text": text, "signature": signature}});
            content.item(&json!({"reasoningContent": thinking}));
        }
        // Without a signature it is not taken back.
        PartKind::Reasoning { .. } => {
            report.dropped.push(path());
            return Ok(false);
        }
        kind @ PartKind::Other(_) if let Some(data) = kind.redacted() => {
            content.item(&json!({"reasoningContent": {"redactedContent": data}}));
        }
        PartKind::Other(value)
            if with.quirks.no_audio() && value.get("type").is_some_and(|kind| kind == "input_audio") && !by_model =>
        {
            return Err(unsupported(path(), "its model takes no recordings"));
        }
        PartKind::Other(value) => match other(value, with.names, path)? {
            Some(block) => content.item(&block),
            None if by_model => {
                report.dropped.push(path());
                return Ok(false);
            }
            None => return Err(unsupported(path(), "it has no word for this kind of content")),
        },
    }
    Ok(true)
}

/// What is no object cannot be arguments; a model that wrote such is shown what it wrote.
fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(Value::Null) => json!({}),
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    }
}

fn picture(source: &ImageSource, path: &dyn Fn() -> String) -> Result<Value, AttemptFault> {
    match source {
        ImageSource::Base64 { media_type, data, .. } => {
            let format = media_type.strip_prefix("image/").unwrap_or(media_type);
            let format = if format == "jpg" { "jpeg" } else { format };
            Ok(json!({"image": {"format": format, "source": {"bytes": data}}}))
        }
        ImageSource::Url { url, .. } if url.starts_with("s3://") => {
            let ending = url.rsplit_once('.').map_or("", |(_, ending)| ending);
            let format = match ending.to_ascii_lowercase().as_str() {
                "png" => "png",
                "gif" => "gif",
                "webp" => "webp",
                _ => "jpeg",
            };
            Ok(json!({"image": {"format": format, "source": {"s3Location": {"uri": url}}}}))
        }
        ImageSource::Url { .. } => {
            Err(unsupported(path(), "it fetches no pictures, and neither does the gateway; send the picture itself"))
        }
    }
}

/// Files, recordings and sealed thinking in the words of the other dialects; nothing where there are no words.
///
/// # Errors
/// `Rejected`: a document of a kind that is not taken.
fn other(value: &Value, names: &mut Vec<String>, path: &dyn Fn() -> String) -> Result<Option<Value>, AttemptFault> {
    if let Some((media_type, title, source)) = document_in(value) {
        let format = format_of(&media_type, path)?;
        let name = distinct(&name(title.as_deref(), path), names);
        return Ok(Some(json!({"document": {"format": format, "name": name, "source": source}})));
    }
    Ok(beside_documents(value))
}

/// Whether there are words for it.
fn is_known(value: &Value) -> bool {
    document_in(value).is_some() || beside_documents(value).is_some()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A document's media type, title and source.
fn document_in(value: &Value) -> Option<(String, Option<String>, Value)> {
    match value.get("type")?.as_str()? {
        "file" => {
            let file = value.get("file")?;
            let data = text(file, "file_data")?;
            let (media_type, data) = data.strip_prefix("data:")?.split_once(";base64,")?;
            Some((media_type.to_owned(), text(file, "filename"), json!({"bytes": data})))
        }
        "document" => {
            let source = value.get("source")?;
            let title = text(value, "title");
            match source.get("type")?.as_str()? {
                "base64" => Some((text(source, "media_type")?, title, json!({"bytes": text(source, "data")?}))),
                "text" => Some(("text/plain".to_owned(), title, json!({"text": text(source, "data")?}))),
                _ => None,
            }
        }
        _ => None,
    }
}

fn beside_documents(value: &Value) -> Option<Value> {
    match value.get("type")?.as_str()? {
        "input_audio" => {
            let audio = value.get("input_audio")?;
            Some(json!({"audio": {"format": text(audio, "format")?, "source": {"bytes": text(audio, "data")?}}}))
        }
        _ => None,
    }
}

fn format_of(media_type: &str, path: &dyn Fn() -> String) -> Result<&'static str, AttemptFault> {
    Ok(match media_type {
        "text/plain" => "txt",
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        other => {
            let why =
                format!("documents there are pdf, csv, html, md, txt, doc, docx, xls and xlsx, not `{other:.60}`");
            return Err(unsupported(path(), &why));
        }
    })
}

/// The name with a number behind it, where another document has it already.
fn distinct(name: &str, names: &mut Vec<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 1_usize;
    while names.contains(&free) {
        number += 1;
        free = format!("{name} ({number})");
    }
    names.push(free.clone());
    free
}

/// A name of the letters that are taken; the place of a document that has none, since two must not have the same.
fn name(title: Option<&str>, path: &dyn Fn() -> String) -> String {
    let plain = |letter: char| {
        let taken = letter.is_ascii_alphanumeric() || "-()[] ".contains(letter);
        if taken { letter } else { '-' }
    };
    let made: String = title.unwrap_or_default().chars().take(200).map(plain).collect();
    let made = made.split_whitespace().collect::<Vec<_>>().join(" ");
    if made.is_empty() { path().chars().map(plain).collect() } else { made }
}
