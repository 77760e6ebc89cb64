//! Pictures that a model drew, as streams tell them. No delta is one: each is said in OpenAI's words, as files are, in an event of its own
//! which the writers of streams may know. What else its provider told of it stands beside it.

use serde_json::{Value, json};

use crate::chat::ImageSource;

/// The name of such an event.
pub(super) const PICTURE: &str = "picture";

/// A picture, as its event holds it.
pub(super) fn told(source: &ImageSource) -> Value {
    let url = match source {
        ImageSource::Base64 { media_type, data, .. } => format!("data:{media_type};base64,{data}"),
        ImageSource::Url { url, .. } => url.clone(),
    };
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// The type and the data of what such an event holds; `None` where it stands at an address.
pub(super) fn data(value: &Value) -> Option<(&str, &str)> {
    let url = value.get("image_url")?.get("url")?.as_str()?;
    url.strip_prefix("data:")?.split_once(";base64,")
}
