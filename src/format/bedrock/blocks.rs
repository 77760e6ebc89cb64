//! Content blocks, as Converse has them: a block is an object with one field, its kind.

use serde_json::{Value, json};

use super::encode::unsupported;
use super::messages::cache_point;
use crate::chat::{ImageSource, Part, PartKind, Rest};
use crate::fault::AttemptFault;
use crate::format::call_id::CallIds;
use crate::format::media_type::known;
use crate::format::prefill::is_blank;
use crate::format::quirks::{CachePoints, Quirks, Thought};
use crate::format::rest::Report;
use crate::format::sealed;
use crate::format::thinking::is_sealed;
use crate::format::write::Array;

/// What is written with.
pub(super) struct With<'w> {
    pub(super) ids: &'w CallIds<'w>,
    pub(super) quirks: &'w Quirks,
    /// Where marks of what is to be cached are taken.
    pub(super) points: CachePoints,
    /// The names of the documents so far: two must not have the same.
    pub(super) names: &'w mut Vec<String>,
}

/// Whether anything of a part is written. It is asked before, so that no turn begins in which nothing is said.
pub(super) fn says(part: &Part, by_model: bool, quirks: &Quirks) -> bool {
    match &part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) => !is_blank(part),
        // Another provider's.
        kind if sealed::of(kind).is_some() => false,
        kind if is_thinking(kind) => goes_back(kind, quirks),
        PartKind::Other(value) => !by_model || is_known(value),
        _ => true,
    }
}

fn is_thinking(kind: &PartKind) -> bool {
    matches!(kind, PartKind::Reasoning { .. }) || kind.redacted().is_some()
}

/// Whether thinking is taken back: under its signature or sealed, and by models that know of such.
fn goes_back(kind: &PartKind, quirks: &Quirks) -> bool {
    is_sealed(kind) && quirks.thought() != Thought::Refused
}

/// Writes a part, and the point up to which is to be cached behind it.
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
) -> Result<(), AttemptFault> {
    match &part.kind {
        // A blank text is refused, and thinking that tells nothing is none.
        PartKind::Text(_) | PartKind::Refusal(_) | PartKind::Reasoning { .. } if is_blank(part) => return Ok(()),
        PartKind::Text(text) | PartKind::Refusal(text) => content.item(&json!({"text": text})),
        PartKind::Image(source) => content.item(&picture(source, path)?),
        PartKind::ToolCall { id, name, arguments } => {
            let call = json!({"toolUseId": with.ids.sent(id), "name": name, "input": input(arguments)});
            content.item(&json!({"toolUse": call}));
        }
        PartKind::ToolResult { call_id, content: said, is_error } => {
            result(call_id, said, *is_error, with, content, report, path)?;
        }
        kind if sealed::of(kind).is_some() || is_thinking(kind) && !goes_back(kind, with.quirks) => {
            report.dropped.push(path());
            return Ok(());
        }
        PartKind::Reasoning { text, signature } => {
            let thinking = json!({"reasoningText": {"text": text, "signature": signature}});
            content.item(&json!({"reasoningContent": thinking}));
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
            Some((block, left)) => {
                content.item(&block);
                cache_point(&left, with.points, content, report, path);
            }
            None if by_model => report.dropped.push(path()),
            None => return Err(unsupported(path(), "it has no word for this kind of content")),
        },
    }
    cache_point(&part.rest, with.points, content, report, path);
    Ok(())
}

/// Writes what a tool answered. Points up to which is to be cached stand behind it, and not within.
fn result(
    call_id: &str,
    said: &[Part],
    is_error: bool,
    with: &mut With<'_>,
    content: &mut Array<'_>,
    report: &mut Report,
    path: &dyn Fn() -> String,
) -> Result<(), AttemptFault> {
    let mut block = content.object();
    let mut result = block.object("toolResult");
    result.field("toolUseId", with.ids.sent(call_id));
    {
        let mut within =
            With { ids: with.ids, quirks: with.quirks, points: CachePoints::Nowhere, names: &mut *with.names };
        let mut content = result.array("content");
        for (index, part) in said.iter().enumerate() {
            let path = || format!("{}.content[{index}]", path());
            write(part, false, &mut within, &mut content, report, &path)?;
        }
    }
    result.optional("status", is_error.then_some("error"));
    Ok(())
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
            let kind = known(media_type);
            let format = kind.strip_prefix("image/").unwrap_or(&kind);
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

/// Files and recordings in the words of the other dialects, and what is left of them; nothing where there are no words.
///
/// # Errors
/// `Rejected`: a document of a kind that is not taken.
fn other(
    value: &Value,
    names: &mut Vec<String>,
    path: &dyn Fn() -> String,
) -> Result<Option<(Value, Rest)>, AttemptFault> {
    if let Some(document) = document_in(value) {
        let format = format_of(&document.media_type, path)?;
        let name = distinct(&name(document.title.as_deref(), path), names);
        let mut block = json!({"format": format, "name": name, "source": document.source});
        if let Some(context) = document.context {
            block["context"] = context.into();
        }
        if document.is_cited {
            block["citations"] = json!({"enabled": true});
        }
        return Ok(Some((json!({"document": block}), without(value, document.fields))));
    }
    Ok(recording(value).map(|block| (block, without(value, &["type", "input_audio"]))))
}

/// The fields of an object but these.
fn without(value: &Value, known: &[&str]) -> Rest {
    let mut left = value.as_object().cloned().unwrap_or_default();
    left.retain(|name, _| !known.contains(&name.as_str()));
    left
}

/// Whether a part is written as a document.
pub(super) fn is_document(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Other(value) if document_in(value).is_some())
}

/// Whether there are words for it.
fn is_known(value: &Value) -> bool {
    document_in(value).is_some() || recording(value).is_some()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A document in the words of another dialect.
struct Document {
    media_type: String,
    title: Option<String>,
    source: Value,
    /// What the model is told of it beside its words.
    context: Option<String>,
    /// Whether the model is to say what it has from it.
    is_cited: bool,
    /// The fields that say all this.
    fields: &'static [&'static str],
}

fn document_in(value: &Value) -> Option<Document> {
    match value.get("type")?.as_str()? {
        "file" => {
            let file = value.get("file")?;
            let data = text(file, "file_data")?;
            let (media_type, data) = data.strip_prefix("data:")?.split_once(";base64,")?;
            let (media_type, source) = (media_type.to_owned(), json!({"bytes": data}));
            let (title, fields) = (text(file, "filename"), &["type", "file"]);
            Some(Document { media_type, title, source, context: None, is_cited: false, fields })
        }
        "document" => {
            let source = value.get("source")?;
            let (media_type, source) = match source.get("type")?.as_str()? {
                "base64" => (text(source, "media_type")?, json!({"bytes": text(source, "data")?})),
                "text" => ("text/plain".to_owned(), json!({"text": text(source, "data")?})),
                _ => return None,
            };
            let is_cited = value.get("citations").and_then(|cited| cited.get("enabled")).and_then(Value::as_bool);
            Some(Document {
                media_type,
                title: text(value, "title"),
                source,
                context: text(value, "context"),
                is_cited: is_cited == Some(true),
                fields: &["type", "source", "title", "context", "citations"],
            })
        }
        _ => None,
    }
}

fn recording(value: &Value) -> Option<Value> {
    let audio = value.get("input_audio").filter(|_| value.get("type").is_some_and(|kind| kind == "input_audio"))?;
    Some(json!({"audio": {"format": text(audio, "format")?, "source": {"bytes": text(audio, "data")?}}}))
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
