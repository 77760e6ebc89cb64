//! Content blocks, both ways. The kinds more than one dialect knows are taken apart; all others
//! (documents, server tools, redacted thinking, pictures by file id …) stay whole.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::chat::{ImageSource, Part, PartKind};
use crate::format::json::Json;
use crate::format::media_type::known;
use crate::format::prefill::is_blank;
use crate::format::quirks::Thought;
use crate::format::read::{Fields, Mismatch, Path};
use crate::format::rest::Report;
use crate::format::sealed;
use crate::format::thinking::is_sealed;
use crate::format::write::{Array, Object};

/// The content of a message or tool result: a text, or blocks.
pub(super) fn parse_content(value: Json<'_>, path: &Path<'_>) -> Result<Vec<Part>, Mismatch> {
    match value {
        Json::Text(text) => Ok(vec![Part::text(text)]),
        Json::Array(items) => {
            items.into_iter().enumerate().map(|(index, item)| parse(item, &path.index(index))).collect()
        }
        other => Err(Mismatch::expected(path, "a text or an array of content blocks", &other)),
    }
}

/// One block.
pub(super) fn parse(value: Json<'_>, path: &Path<'_>) -> Result<Part, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let Some(kind) = fields.peek("type") else {
        return Err(Mismatch::missing(&path.key("type")));
    };
    let kind = match kind.as_str() {
        Some("text") => PartKind::Text(fields.need_text("text")?),
        Some("image") => match fields.peek("source").and_then(parse_source) {
            Some(source) => {
                fields.take("source");
                PartKind::Image(source)
            }
            None => return Ok(PartKind::Other(fields.rest().into()).into()),
        },
        Some("tool_use") => PartKind::ToolCall {
            id: fields.need_text("id")?,
            name: fields.need_text("name")?,
            arguments: fields.take("input").map_or_else(|| "{}".to_owned(), |input| input.to_json()),
        },
        Some("tool_result") => PartKind::ToolResult {
            call_id: fields.need_text("tool_use_id")?,
            content: match fields.take("content") {
                Some(content) => parse_content(content, &path.key("content"))?,
                None => Vec::new(),
            },
            is_error: fields.flag("is_error")?.unwrap_or(false),
        },
        Some("thinking") => PartKind::Reasoning {
            text: fields.text("thinking")?.unwrap_or_default(),
            signature: fields.text("signature")?.filter(|signature| !signature.is_empty()),
        },
        Some(_) => return Ok(PartKind::Other(fields.rest().into()).into()),
        None => return Err(Mismatch::expected(&path.key("type"), "a text", kind)),
    };
    fields.take("type");
    Ok(Part { kind, rest: fields.rest() })
}

/// A picture whose place another dialect can say too.
fn parse_source(source: &Json<'_>) -> Option<ImageSource> {
    let text = |name: &str| source.get(name).and_then(Json::as_str).map(str::to_owned);
    match source.get("type")?.as_str()? {
        "url" => Some(ImageSource::Url { url: text("url")?, detail: None }),
        "base64" => Some(ImageSource::Base64 { media_type: text("media_type")?, data: text("data")?, detail: None }),
        _ => None,
    }
}

/// The mark of what the provider is to cache; clients of other APIs write it for this provider.
pub(super) const KEPT: &[&str] = &["cache_control"];

/// The text, where `parts` are nothing but one plain text: it is written as a string.
pub(super) fn plain<'a>(parts: &[&'a Part]) -> Option<&'a str> {
    match parts {
        [Part { kind: PartKind::Text(text), rest }] if rest.is_empty() => Some(text),
        _ => None,
    }
}

/// Whether a part can be a block. Where signatures are verified thinking is taken back under one alone: what clients got without came from
/// another provider. Who imitates this one signs nothing, and may refuse a conversation in which what was thought is missing. Of other
/// dialects, blank texts are refused, and their own content has no word here. (What came as a block may go as one.)
pub(super) fn has_word(part: &Part, report: &Report) -> bool {
    let same_dialect = report.same_dialect;
    match &part.kind {
        // Whoever spoke before it was, this provider did not seal it.
        kind if sealed::of(kind).is_some() => false,
        kind @ PartKind::Reasoning { .. } => is_sealed(kind) || (same_dialect && !verifies(report) && !is_blank(part)),
        _ if same_dialect => true,
        PartKind::Text(_) | PartKind::Refusal(_) => !is_blank(part),
        // Clients of other dialects bring thinking back as they got it, sealed or not.
        PartKind::Other(value) => is_sealed(&part.kind) || file(value).is_some(),
        _ => true,
    }
}

/// Whether whoever is sent a part would have to fetch it.
pub(super) fn is_fetched(part: &Part) -> bool {
    match &part.kind {
        PartKind::Image(ImageSource::Url { .. }) => true,
        PartKind::Other(value) => is_at_address(value),
        PartKind::ToolResult { content, .. } => content.iter().any(is_fetched),
        _ => false,
    }
}

/// Whether a block stands at an address, or a document of which a piece does; in another dialect's words, too.
fn is_at_address(value: &Value) -> bool {
    let Some(source) = value.get("source") else {
        return file(value).is_some_and(|file| matches!(file.source, FileSource::Url(_)));
    };
    let pieces = source.get("content").and_then(Value::as_array);
    source.get("type").is_some_and(|kind| kind == "url")
        || pieces.is_some_and(|pieces| pieces.iter().any(is_at_address))
}

/// Whether the provider verifies the signatures under what was thought.
pub(super) fn verifies(report: &Report) -> bool {
    report.quirks.thought() == Thought::Signed
}

/// Writes a part that [`has_word`] as a block; `place` names it among the fields left out.
pub(super) fn write(part: &Part, out: &mut Array<'_>, place: &dyn Fn() -> String, report: &mut Report) {
    if let PartKind::Other(value) = &part.kind {
        return match file(value).filter(|_| !report.same_dialect) {
            Some(file) => document(&file, value, out, place, report),
            None => out.item(value),
        };
    }
    let mut block = out.object();
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => {
            block.field("type", "text");
            block.field("text", text);
        }
        PartKind::Image(source) => image(&mut block, source, place, report),
        PartKind::ToolCall { id, name, arguments } => {
            block.field("type", "tool_use");
            block.field("id", id);
            block.field("name", name);
            input(&mut block, arguments);
        }
        PartKind::ToolResult { call_id, content, is_error } => {
            block.field("type", "tool_result");
            block.field("tool_use_id", call_id);
            result_content(&mut block, content, place, report);
            block.optional("is_error", is_error.then_some(true));
        }
        PartKind::Reasoning { text, signature } => {
            block.field("type", "thinking");
            block.field("thinking", text);
            block.field("signature", signature.as_deref().unwrap_or_default());
        }
        PartKind::Other(_) => {}
    }
    report.rest(&mut block, &part.rest, place, &[]);
}

const PDF: &str = "application/pdf";

/// A document as the dialect of chat completions says it.
struct File<'a> {
    name: Option<&'a str>,
    source: FileSource<'a>,
}

enum FileSource<'a> {
    /// A PDF in base64.
    Base64(&'a str),
    /// The provider fetches it.
    Url(&'a str),
}

/// The file that a part of another dialect is; `None` where it is none that can be said here, such as one kept at another provider.
fn file(value: &Value) -> Option<File<'_>> {
    let file = value.get("file").filter(|_| value.get("type").is_some_and(|kind| kind == "file"))?;
    let text = |name: &str| file.get(name).and_then(Value::as_str);
    let source = match (text("file_data"), text("file_id")) {
        (Some(data), _) => {
            let (media_type, data) = data.strip_prefix("data:")?.split_once(";base64,")?;
            // Other kinds of files are refused there.
            (media_type == PDF).then_some(FileSource::Base64(data))?
        }
        (None, Some(id)) if id.starts_with("https://") => FileSource::Url(id),
        _ => return None,
    };
    Some(File { name: text("filename"), source })
}

/// Writes a file, of which `value` says more: where a cache ends, for instance.
fn document(file: &File<'_>, value: &Value, out: &mut Array<'_>, place: &dyn Fn() -> String, report: &mut Report) {
    let mut block = out.object();
    block.field("type", "document");
    {
        let mut source = block.object("source");
        match file.source {
            FileSource::Base64(data) => {
                source.field("type", "base64");
                source.field("media_type", PDF);
                source.field("data", data);
            }
            FileSource::Url(url) => {
                source.field("type", "url");
                source.field("url", url);
            }
        }
    }
    block.optional("title", file.name);
    let mut left = value.as_object().cloned().unwrap_or_default();
    left.retain(|name, _| name != "type" && name != "file");
    report.rest(&mut block, &left, place, &[]);
}

fn image(block: &mut Object<'_>, source: &ImageSource, place: &dyn Fn() -> String, report: &mut Report) {
    block.field("type", "image");
    let mut out = block.object("source");
    let detail = match source {
        ImageSource::Url { url, detail } => {
            out.field("type", "url");
            out.field("url", url);
            detail
        }
        ImageSource::Base64 { media_type, data, detail } => {
            out.field("type", "base64");
            // Its own clients are told by the provider what is none.
            if report.same_dialect {
                out.field("media_type", media_type);
            } else {
                out.field("media_type", &*known(media_type));
            }
            out.field("data", data);
            detail
        }
    };
    if detail.is_some() {
        report.dropped.push(format!("{}.image_url.detail", place()));
    }
}

fn result_content(block: &mut Object<'_>, content: &[Part], place: &dyn Fn() -> String, report: &mut Report) {
    if content.is_empty() {
        return;
    }
    let parts: Vec<&Part> = content.iter().collect();
    if let Some(text) = plain(&parts) {
        let blank = !report.same_dialect && text.trim().is_empty();
        return block.field("content", if blank { "" } else { text });
    }
    let mut blocks = block.array("content");
    for (index, part) in content.iter().enumerate() {
        let place = || format!("{}.content[{index}]", place());
        if has_word(part, report) {
            write(part, &mut blocks, &place, report);
        } else if !is_blank(part) {
            report.dropped.push(place());
        }
    }
}

/// Writes a tool call's arguments as the object they must be here. A model may have written no valid JSON;
/// the text is then wrapped as the provider advises, so that the conversation can go on.
pub(super) fn input(block: &mut Object<'_>, arguments: &str) {
    let text = arguments.trim();
    // Read for its validity alone: the text goes out as it is.
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if text.starts_with('{') => block.field("input", raw),
        _ if text.is_empty() => drop(block.object("input")),
        _ => block.object("input").field("INVALID_JSON", arguments),
    }
}
