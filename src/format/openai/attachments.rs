//! Pictures, files, documents and recordings in OpenAI's words.

use serde_json::{Value, json};

use crate::chat::{ImageSource, Part, PartKind};
use crate::format::write::{Array, Object};

/// Whether a part of a tool's result has no place there: such results are texts.
pub(super) fn is_beside(part: &Part) -> bool {
    match &part.kind {
        PartKind::Image(_) => true,
        PartKind::Other(value) => {
            let source = value.get("source").and_then(|source| source.get("type")).and_then(Value::as_str);
            let is_document = value.get("type").is_some_and(|kind| kind == "document");
            is_common(value) || (is_document && matches!(source, Some("base64" | "url")))
        }
        _ => false,
    }
}

/// A file or a recording in this dialect's words, which other client APIs write theirs in.
pub(super) fn is_common(value: &Value) -> bool {
    let has = |name: &str| value.get(name).is_some_and(Value::is_object);
    value.get("type").and_then(Value::as_str).is_some_and(|kind| matches!(kind, "file" | "input_audio") && has(kind))
}

/// Whether a file's id is an address: whoever knows documents at addresses fetches it from there.
pub(super) fn is_address(id: &str) -> bool {
    id.starts_with("https://") || id.starts_with("http://")
}

/// Whether it is a file that stands at an address, which whoever is sent it would have to fetch.
pub(super) fn is_at_address(value: &Value) -> bool {
    let file = value.get("file").filter(|_| value.get("type").is_some_and(|kind| kind == "file"));
    let told = |name: &str| file.and_then(|file| file.get(name)?.as_str());
    ["file_data", "file_id"].into_iter().filter_map(told).any(is_address)
}

/// Whether it is a picture that is kept at OpenAI: the newer API alone has a word for it.
pub(super) fn is_kept_picture(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "input_image") && value.get("file_id").is_some_and(Value::is_string)
}

/// A file, a document or a recording as an address; whether it is one that has such.
pub(super) fn address(value: &Value, array: &mut Array<'_>) -> bool {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    let source = value.get("source").unwrap_or(&Value::Null);
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let (url, name) = match (kind, text(source, "type").as_deref()) {
        ("file", _) => {
            let file = value.get("file").unwrap_or(&Value::Null);
            let id = text(file, "file_id");
            let at_address = id.as_deref().is_some_and(is_address);
            if let Some(id) = id.as_ref().filter(|_| !at_address) {
                array.item(&json!({"type": "file", "file_id": id}));
                return true;
            }
            (id.or_else(|| text(file, "file_data")), text(file, "filename"))
        }
        ("document", Some("base64")) => {
            let data = text(source, "media_type").zip(text(source, "data"));
            (data.map(|(kind, data)| format!("data:{kind};base64,{data}")), text(value, "title"))
        }
        ("document", Some("url")) => (text(source, "url"), text(value, "title")),
        ("input_audio", _) => {
            let Some(data) = value.get("input_audio").and_then(|audio| text(audio, "data")) else { return false };
            array.item(&json!({"type": "input_audio", "input_audio": data}));
            return true;
        }
        _ => return false,
    };
    let Some(url) = url else { return false };
    let mut object = array.object();
    object.field("type", "document_url");
    object.field("document_url", &url);
    object.optional("document_name", name);
    true
}

/// A document of another dialect, as a file or, where it is a text, as a text; `None` where it is none that can be said here, such as one
/// that the provider is to fetch.
pub(super) fn document(value: &Value, array: &mut Array<'_>) -> Option<()> {
    let source = value.get("source").filter(|_| value.get("type").is_some_and(|kind| kind == "document"))?;
    let text = |of: &str| source.get(of).and_then(Value::as_str);
    match (text("type")?, text("data")?) {
        ("base64", data) => {
            let media_type = text("media_type")?;
            let mut object = array.object();
            object.field("type", "file");
            let mut file = object.object("file");
            // The name is asked for there, and need not be the document's own.
            let title = value.get("title").and_then(Value::as_str);
            file.field("filename", title.unwrap_or("document.pdf"));
            file.field("file_data", &format_args!("data:{media_type};base64,{data}"));
        }
        ("text", words) => {
            let mut object = array.object();
            object.field("type", "text");
            object.field("text", words);
        }
        _ => return None,
    }
    Some(())
}

/// A picture's address, and how closely to look.
pub(super) fn picture(source: &ImageSource, object: &mut Object<'_>) {
    match source {
        ImageSource::Url { url, detail } => {
            object.field("url", url);
            object.optional("detail", detail.as_ref());
        }
        ImageSource::Base64 { media_type, data, detail } => {
            object.field("url", &format_args!("data:{media_type};base64,{data}"));
            object.optional("detail", detail.as_ref());
        }
    }
}
