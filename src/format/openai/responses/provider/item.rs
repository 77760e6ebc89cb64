//! The items of a reply, read whole: what was said, thought and called.
//!
//! What the provider's own tools did (searches, code) is kept whole for clients of the same API and shown to no other; what they found is
//! in the text and its annotations.

use serde_json::{Value, json};

use crate::chat::{ImageSource, Part, PartKind, Rest, TokenLogprob};
use crate::format::json::{Json, kept};
use crate::format::openai::logprobs;
use crate::format::openai::message::arguments;
use crate::format::openai::responses::called::Kind;
use crate::format::openai::responses::items::{in_phase, is_hosted, without_type};
use crate::format::sealed;

/// What a text's part keeps of it, in the words of this API: where what it says is from.
pub(in crate::format::openai) const ANNOTATIONS: &str = "annotations";

/// Between the pieces of thinking.
pub(super) const PARAGRAPH: &str = "\n\n";

/// What one item says, behind what was said before, and how likely its tokens were.
pub(super) fn read(item: &Json<'_>, parts: &mut Vec<Part>, tokens: &mut Vec<TokenLogprob>) {
    match kind(item) {
        "message" => {
            parts.extend(phase(item).map(|phase| PartKind::Other(phase).into()));
            for piece in item.items("content") {
                parts.extend(content(piece));
                tokens.extend(likely(piece));
            }
        }
        "reasoning" => parts.extend(thought(item, &summary(item))),
        // Every client is shown a picture; what else was told of it is for those of the same API.
        "image_generation_call" if let Some((source, rest)) = picture(item) => {
            parts.push(Part { kind: PartKind::Image(source), rest });
        }
        kind if is_hosted(kind) => parts.push(PartKind::Other(item.clone().into()).into()),
        _ => parts
            .extend(call(item).map(|Call { id, name, arguments }| PartKind::ToolCall { id, name, arguments }.into())),
    }
}

/// What kind of item it is.
pub(super) fn kind<'j>(item: &'j Json<'_>) -> &'j str {
    item.get("type").and_then(Json::as_str).unwrap_or_default()
}

/// What stands before a message that says its phase.
pub(super) fn phase(item: &Json<'_>) -> Option<Value> {
    item.get("phase").and_then(Json::as_str).map(in_phase)
}

/// A piece of a message.
pub(super) fn content(piece: &Json<'_>) -> Option<Part> {
    let text = |name: &str| piece.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    match kind(piece) {
        "output_text" | "text" => {
            let mut part = Part::text(text("text")?);
            let annotations = piece.items(ANNOTATIONS);
            if !annotations.is_empty() {
                let kept: Vec<Value> = annotations.iter().cloned().map(Value::from).collect();
                part.rest.insert(ANNOTATIONS.to_owned(), kept.into());
            }
            Some(part)
        }
        "refusal" => Some(PartKind::Refusal(text("refusal")?).into()),
        _ => None,
    }
}

/// How likely the tokens were.
pub(super) fn likely(piece: &Json<'_>) -> Vec<TokenLogprob> {
    logprobs::of_tokens(piece.items(logprobs::FIELD))
}

/// All that is shown of an item's thinking.
pub(super) fn summary(item: &Json<'_>) -> String {
    let pieces = ["summary", "content"].into_iter().flat_map(|name| item.items(name));
    let texts: Vec<&str> = pieces.filter_map(|piece| piece.get("text")?.as_str()).collect();
    texts.join(PARAGRAPH)
}

/// What is sealed in an item of thinking, and its id, as every client carries them.
pub(super) fn seal(item: &Json<'_>) -> Option<String> {
    let content = item.get("encrypted_content")?.as_str().filter(|content| !content.is_empty())?;
    Some(sealed::seal(item.get("id").and_then(Json::as_str).unwrap_or_default(), content))
}

fn thought(item: &Json<'_>, text: &str) -> Option<Part> {
    let kind = match (seal(item), text) {
        (None, "") => return None,
        (Some(sealed), "") => PartKind::redacted_reasoning(&sealed),
        (signature, text) => PartKind::Reasoning { text: text.to_owned(), signature },
    };
    Some(kind.into())
}

/// A picture that was made, and the item without it.
pub(super) fn picture(item: &Json<'_>) -> Option<(ImageSource, Rest)> {
    let Json::Object(members) = item else { return None };
    let data = item.get("result")?.as_str().filter(|data| !data.is_empty())?.to_owned();
    let format = item.get("output_format").and_then(Json::as_str).unwrap_or("png");
    let others = members.iter().filter(|(name, _)| name != "result").cloned();
    Some((ImageSource::Base64 { media_type: format!("image/{format}"), data, detail: None }, kept(others.collect())))
}

/// A call of a tool.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// The call that an item is: those of other kinds than functions are told as the functions that they are everywhere else.
pub(super) fn call(item: &Json<'_>) -> Option<Call> {
    let text = |name: &str| item.get(name).and_then(Json::as_str).map(str::to_owned);
    let named =
        |arguments: String| Some(Call { id: text("call_id").or_else(|| text("id"))?, name: text("name")?, arguments });
    match kind(item) {
        "function_call" => named(arguments(item.get("arguments").cloned())),
        // One without a word is a call, too.
        "custom_tool_call" => named(json!({"input": text("input").unwrap_or_default()}).to_string()),
        "local_shell_call" => {
            let action = item.get("action").cloned().map_or(Value::Null, Value::from);
            let id = text("call_id").or_else(|| text("id"))?;
            Some(Call { id, name: Kind::LocalShell.word().to_owned(), arguments: without_type(action).to_string() })
        }
        _ => None,
    }
}
