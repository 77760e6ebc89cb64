//! Content, tool calls and thinking of a message: alike in a request's history and in a reply.
//!
//! Thinking has no place in OpenAI's own format. It is written the way its imitators do: the text in
//! `reasoning_content` (`reasoning` is read too), and, where a signature must come back one day, whole
//! blocks in `thinking_blocks`, which is what LiteLLM's clients know.

use std::borrow::Cow;

use serde_json::Value;

use crate::chat::{ImageSource, Part, PartKind};
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};
use crate::format::write::Array;

/// What the assistant said: thinking, content, refusal, tool calls, in this order.
pub(super) fn said_by_assistant(fields: &mut Fields<'_>) -> Result<Vec<Part>, Mismatch> {
    let mut parts = thinking(fields)?;
    parts.extend(content(fields)?.unwrap_or_default());
    if let Some(text) = fields.text("refusal")? {
        parts.push(PartKind::Refusal(text).into());
    }
    tool_calls(fields, &mut parts)?;
    // Mistral's clients say of each message that it is no beginning of the reply, which goes without saying.
    if fields.peek("prefix").is_some_and(|value| matches!(value, Json::Bool(false))) {
        fields.take("prefix");
    }
    Ok(parts)
}

fn thinking(fields: &mut Fields<'_>) -> Result<Vec<Part>, Mismatch> {
    let path = fields.path().key("thinking_blocks");
    let text = thinking_text(fields);
    let Some(blocks) = fields.list("thinking_blocks")? else {
        return Ok(text.map(|text| PartKind::Reasoning { text, signature: None }.into()).into_iter().collect());
    };
    blocks.into_iter().enumerate().map(|(index, block)| thinking_block(block, &path.index(index))).collect()
}

/// Readable thinking, under whichever of its two names says something. The other one stays in `rest` where it does, too.
pub(super) fn thinking_text(fields: &mut Fields<'_>) -> Option<String> {
    const NAMES: [&str; 2] = ["reasoning_content", "reasoning"];
    let text = |name: &str| fields.peek(name).and_then(Json::as_str);
    let blank = NAMES.map(|name| text(name).is_some_and(|text| text.trim().is_empty()));
    let is_said = |name: &&str| text(name).is_some_and(|text| !text.trim().is_empty());
    let name = NAMES.into_iter().find(is_said).or_else(|| NAMES.into_iter().find(|name| text(name).is_some()))?;
    for (other, _) in NAMES.into_iter().zip(blank).filter(|(other, blank)| *blank && *other != name) {
        fields.take(other);
    }
    match fields.take(name) {
        Some(Json::Text(text)) if !text.is_empty() => Some(text.into_owned()),
        _ => None,
    }
}

fn thinking_block(value: Json<'_>, path: &Path<'_>) -> Result<Part, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    // Clients that add up a stream keep the index the pieces were sent with.
    fields.take("index");
    if fields.peek("type").is_none_or(|kind| kind != "thinking") {
        return Ok(PartKind::Other(fields.rest().into()).into());
    }
    fields.take("type");
    let text = fields.text("thinking")?.unwrap_or_default();
    let signature = fields.text("signature")?;
    Ok(Part { kind: PartKind::Reasoning { text, signature }, rest: fields.rest() })
}

/// The `content` of a message: a text or a list of parts. `None` where there is none.
pub(super) fn content(fields: &mut Fields<'_>) -> Result<Option<Vec<Part>>, Mismatch> {
    let path = fields.path().key("content");
    match fields.take("content") {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(vec![Part::text(text)])),
        Some(Json::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| part(item, &path.index(index)))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(other) => Err(Mismatch::expected(&path, "a text or an array of parts", &other)),
    }
}

/// The text of a part with thoughts, as Mistral's models think: `{"type": "thinking", "thinking": [texts]}`.
pub(super) fn thoughts(part: &Json<'_>) -> Option<String> {
    if part.get("type").is_none_or(|kind| kind != "thinking") {
        return None;
    }
    match part.get("thinking")? {
        Json::Text(text) => Some(text.to_string()),
        Json::Array(texts) => Some(texts.iter().filter_map(|text| text.get("text").and_then(Json::as_str)).collect()),
        _ => None,
    }
}

fn part(value: Json<'_>, path: &Path<'_>) -> Result<Part, Mismatch> {
    if let Some(text) = thoughts(&value) {
        let signature = value.get("signature").and_then(Json::as_str).map(str::to_owned);
        return Ok(PartKind::Reasoning { text, signature }.into());
    }
    let mut fields = Fields::of(value, path)?;
    let kind = fields.need_word("type")?;
    let kind = match &*kind {
        "text" => PartKind::Text(fields.need_text("text")?),
        "refusal" => PartKind::Refusal(fields.need_text("refusal")?),
        "image_url" => image(&mut fields)?,
        _ => {
            let mut whole = crate::chat::Rest::new();
            whole.insert("type".to_owned(), Value::from(kind));
            whole.extend(fields.rest());
            return Ok(PartKind::Other(Value::Object(whole)).into());
        }
    };
    Ok(Part { kind, rest: fields.rest() })
}

fn image(fields: &mut Fields<'_>) -> Result<PartKind, Mismatch> {
    let path = fields.path().key("image_url");
    let value = fields.take("image_url").ok_or_else(|| Mismatch::missing(&path))?;
    // Some clients write the address itself where the object belongs; so do some imitators.
    if let Json::Text(url) = value {
        return Ok(PartKind::Image(image_source(url, None)));
    }
    let mut inner = Fields::of(value, &path)?;
    let url = inner.need_word("url")?;
    let detail = inner.text("detail")?;
    fields.keep("image_url", inner.rest());
    Ok(PartKind::Image(image_source(url, detail)))
}

pub(super) fn image_source(url: Cow<'_, str>, detail: Option<String>) -> ImageSource {
    let embedded = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match embedded {
        Some((media_type, data)) if !media_type.is_empty() && !media_type.contains(',') => {
            ImageSource::Base64 { media_type: media_type.to_owned(), data: data.to_owned(), detail }
        }
        _ => ImageSource::Url { url: url.into_owned(), detail },
    }
}

/// The address of a picture that the model drew; `None` where what is drawn is none, but a recording.
pub(super) fn drawn(source: &ImageSource) -> Option<Cow<'_, str>> {
    match source {
        ImageSource::Base64 { media_type, data, .. } => {
            media_type.starts_with("image/").then(|| format!("data:{media_type};base64,{data}").into())
        }
        ImageSource::Url { url, .. } => Some(url.into()),
    }
}

/// The same of one that a stream tells.
pub(super) fn drawn_beside(event: &Value) -> Option<&str> {
    let url = event.get("image_url")?.get("url")?.as_str()?;
    let is_picture = url.starts_with("data:image/") || !url.starts_with("data:");
    (is_picture && event.get("type")? == "image_url").then_some(url)
}

/// Writes a picture that the model drew. OpenAI's own format has none: this is how its imitators say one.
pub(super) fn write_drawn(url: &str, index: usize, images: &mut Array<'_>) {
    let mut image = images.object();
    image.field("type", "image_url");
    image.object("image_url").field("url", url);
    image.field("index", &index);
}

/// The signature under a call, as Google's models put it beside one where they imitate this dialect.
pub(super) fn signature(extra: Option<&Json<'_>>) -> Option<String> {
    let signature = extra?.get("google")?.get("thought_signature")?.as_str()?;
    Some(signature.to_owned()).filter(|signature| !signature.is_empty())
}

/// Appends the function calls. Calls of other kinds (custom tools) stay in `rest` under `tool_calls`.
fn tool_calls(fields: &mut Fields<'_>, parts: &mut Vec<Part>) -> Result<(), Mismatch> {
    let path = fields.path().key("tool_calls");
    let Some(calls) = fields.list("tool_calls")? else { return Ok(()) };
    let mut others = Vec::new();
    for (index, value) in calls.into_iter().enumerate() {
        let place = path.index(index);
        let mut call = Fields::of(value, &place)?;
        if call.peek("type").is_some_and(|kind| kind != "function") {
            others.push(Value::Object(call.rest()));
            continue;
        }
        call.take("type");
        // Clients that keep the pieces of a stream send its place back; its place here says the same.
        call.take("index");
        let id = call.text("id")?.unwrap_or_default();
        let inside = place.key("function");
        let mut function = Fields::of(call.take("function").ok_or_else(|| Mismatch::missing(&inside))?, &inside)?;
        let name = function.need_text("name")?;
        let arguments = arguments(function.take("arguments"));
        call.keep("function", function.rest());
        parts.push(Part { kind: PartKind::ToolCall { id, name, arguments }, rest: call.rest() });
    }
    if !others.is_empty() {
        fields.put("tool_calls", Value::Array(others));
    }
    Ok(())
}

/// Arguments as JSON text. Some imitators send the object itself.
pub(super) fn arguments(value: Option<Json<'_>>) -> String {
    match value {
        None => String::new(),
        Some(Json::Text(text)) => text.into_owned(),
        Some(other) => other.to_json(),
    }
}
