//! Pictures, files and recordings, as parts of a turn.

use serde_json::{Value, json};

use crate::chat::ImageSource;
use crate::format::media_type::known;
use crate::format::rest::Report;

/// What is said of a document beside what it is. Its name is for the client.
pub(super) fn unsaid(value: &Value, report: &mut Report, path: &dyn Fn() -> String) {
    const TOLD: [&str; 4] = ["type", "source", "file", "input_audio"];
    let fields = value.as_object().into_iter().flatten();
    let unsaid = fields.filter(|(name, value)| !TOLD.contains(&name.as_str()) && !value.is_null());
    report.dropped.extend(unsaid.map(|(name, _)| format!("{}.{name}", path())));
}

pub(super) fn picture(source: &ImageSource) -> Value {
    match source {
        ImageSource::Base64 { media_type, data, .. } => inline(&known(media_type), data),
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
pub(super) fn document(value: &Value) -> Option<Value> {
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
