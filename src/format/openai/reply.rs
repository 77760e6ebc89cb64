//! A whole reply, both ways.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::responses::{ANNOTATIONS, CustomTools, RESPONSES, tell_custom};
use super::{annotations, details, error, finish_reason, finish_word, logprobs, message, usage};
use crate::chat::{Choice, Part, PartKind, Reply, Usage};
use crate::fault::AttemptFault;
use crate::format::call_id::signed_beside;
use crate::format::json::Json;
use crate::format::openai::DIALECT;
use crate::format::read::{Fields, Mismatch, Path, reply_body};
use crate::format::rest::nested;
use crate::format::write::{self, Array, Object};

/// Reads a reply.
///
/// # Errors
/// `BrokenStream` where the body is not a chat completion; what it says where it is an error after all.
pub(super) fn read(body: &[u8]) -> Result<Reply, AttemptFault> {
    let value = reply_body(body)?;
    // Some imitators answer 200 and put the error into the body.
    if value.get("error").is_some_and(|error| !error.is_null()) && value.get("choices").is_none() {
        return Err(error::read_inside_stream(&value));
    }
    if let Some(fault) = error::of_choice(&value) {
        return Err(fault);
    }
    read_value(value).map_err(Mismatch::into_fault)
}

fn read_value(value: Json<'_>) -> Result<Reply, Mismatch> {
    let mut fields = Fields::of(value, &Path::Root)?;
    let id = fields.text("id")?.unwrap_or_default();
    let model = fields.text("model")?.unwrap_or_default();
    let created = Some(fields.count("created")).filter(|&seconds| seconds > 0);
    fields.take("object");
    let path = Path::Root.key("choices");
    let choices = fields.list("choices")?.ok_or_else(|| Mismatch::missing(&path))?;
    let searches = u64::from(choices.iter().any(|choice| usage::cites(choice, "message")));
    let tier = usage::tier(fields.peek("service_tier"));
    let usage = fields.take("usage").and_then(usage::read).map(|usage| Usage { searches, tier, ..usage });
    let choices = choices
        .into_iter()
        .enumerate()
        .map(|(index, choice)| read_choice(choice, index, &path.index(index)))
        .collect::<Result<_, _>>()?;
    Ok(Reply { id, model, created, choices, usage, dialect: DIALECT, rest: fields.rest() })
}

fn read_choice(value: Json<'_>, place: usize, path: &Path<'_>) -> Result<Choice, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let index = fields.whole("index")?.unwrap_or_else(|| u32::try_from(place).unwrap_or(u32::MAX));
    let inside = path.key("message");
    let mut said = Fields::of(fields.take("message").ok_or_else(|| Mismatch::missing(&inside))?, &inside)?;
    said.take("role");
    let mut parts = message::said_by_assistant(&mut said)?;
    let refused = parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    let finish = fields.word("finish_reason")?.map(|word| finish_reason(&word, refused));
    details::seal(&said, &mut parts);
    tell_apart(&mut parts);
    let logprobs = fields.peek(logprobs::FIELD).map(logprobs::read).unwrap_or_default();
    Ok(Choice { index, parts, finish, logprobs, rest: fields.rest(), message_rest: said.rest() })
}

/// Gives calls ids of their own: some imitators give two calls one id, or none.
fn tell_apart(parts: &mut [Part]) {
    let mut seen = std::collections::HashSet::new();
    let calls = parts.iter_mut().filter_map(|part| match &mut part.kind {
        PartKind::ToolCall { id, .. } => Some((id, &part.rest)),
        _ => None,
    });
    for (index, (id, rest)) in calls.enumerate() {
        if id.is_empty() {
            *id = format!("call_{index}");
        }
        if !seen.insert(id.clone()) {
            *id = format!("{id}_{index}");
            seen.insert(id.clone());
        }
        let google = rest.get("extra_content").and_then(|extra| extra.get("google"));
        let signature = google.and_then(|google| google.get("thought_signature")).and_then(Value::as_str);
        if let Some(signature) = signature.filter(|signature| !signature.is_empty()) {
            *id = signed_beside(id, signature);
        }
    }
}

/// Writes a reply. What the newer API's models call of these tools is told as they were.
pub(super) fn write(reply: &Reply, custom: &CustomTools) -> Bytes {
    let same_dialect = reply.dialect == DIALECT;
    let newer = (reply.dialect == RESPONSES).then_some(custom);
    let mut out = BytesMut::with_capacity(write::reply_size_hint(reply));
    {
        let mut object = Object::open(&mut out);
        object.field("id", &reply.id);
        object.field("object", "chat.completion");
        object.field("created", &reply.created.unwrap_or(0));
        object.field("model", &reply.model);
        {
            let mut choices = object.array("choices");
            for choice in &reply.choices {
                write_choice(choice, same_dialect, newer, &mut choices.object());
            }
        }
        if let Some(counted) = &reply.usage {
            usage::write(counted, same_dialect, &mut object.object("usage"));
        }
        if same_dialect {
            object.rest(&reply.rest, &[]);
        }
    }
    out.freeze()
}

fn write_choice(choice: &Choice, same_dialect: bool, newer: Option<&CustomTools>, object: &mut Object<'_>) {
    object.field("index", &choice.index);
    let refused = choice.parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    let calls = choice.parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall { .. }));
    write_message(choice, same_dialect, newer, &mut object.object("message"));
    object.field(
        "finish_reason",
        &choice.finish.as_ref().map(|reason| finish_word(reason, refused, calls, same_dialect)),
    );
    let own = same_dialect && choice.rest.contains_key(logprobs::FIELD);
    if !choice.logprobs.is_empty() && !own {
        logprobs::write(&choice.logprobs, &mut object.object(logprobs::FIELD));
    }
    if same_dialect {
        object.rest(&choice.rest, &[]);
    }
}

fn write_message(choice: &Choice, same_dialect: bool, newer: Option<&CustomTools>, object: &mut Object<'_>) {
    object.field("role", "assistant");
    let (mut text, mut refusal, mut thinking) = (None, None, None);
    let mut calls = Vec::new();
    for part in &choice.parts {
        match &part.kind {
            PartKind::Text(more) => append(&mut text, more),
            PartKind::Refusal(more) => append(&mut refusal, more),
            PartKind::Reasoning { text: more, .. } => append(&mut thinking, more),
            PartKind::ToolCall { .. } => calls.push(part),
            PartKind::Image(_) | PartKind::ToolResult { .. } | PartKind::Other(_) => {}
        }
    }
    if same_dialect && choice.parts.iter().any(|part| is_own(&part.kind)) {
        write_content_list(choice, &mut object.array("content"));
    } else {
        object.field("content", &text);
    }
    object.field("refusal", &refusal);
    if newer.is_some() {
        write_annotations(&choice.parts, object);
    }
    object.optional("reasoning_content", thinking.filter(|text| !text.is_empty()));
    write_thinking_blocks(choice, same_dialect, object);
    write_images(choice, same_dialect, object);
    let other_calls = choice.message_rest.get("tool_calls").and_then(Value::as_array).filter(|_| same_dialect);
    if !calls.is_empty() || other_calls.is_some() {
        let mut array = object.array("tool_calls");
        for part in calls {
            write_call(part, same_dialect, newer, &mut array);
        }
        for call in other_calls.into_iter().flatten() {
            array.item(call);
        }
    }
    if same_dialect {
        object.rest(&choice.message_rest, &["tool_calls"]);
    }
}

/// Where what was said is from, as the newer API told it of each text.
fn write_annotations(parts: &[Part], object: &mut Object<'_>) {
    let mut before = 0;
    let mut told = Vec::new();
    for part in parts {
        let PartKind::Text(text) = &part.kind else { continue };
        let annotations = part.rest.get(ANNOTATIONS).and_then(Value::as_array);
        told.extend(
            annotations.into_iter().flatten().filter_map(|annotation| annotations::of_chats(annotation, before)),
        );
        before += text.chars().count();
    }
    if !told.is_empty() {
        object.field("annotations", &told);
    }
}

/// Adds to a text. The first piece is not copied: most replies have no other.
fn append<'c>(text: &mut Option<Cow<'c, str>>, more: &'c str) {
    match text {
        None => *text = Some(Cow::Borrowed(more)),
        Some(text) => text.to_mut().push_str(more),
    }
}

/// Content as the list it came as: some imitators mix texts with parts of their own.
fn write_content_list(choice: &Choice, array: &mut Array<'_>) {
    for part in &choice.parts {
        match &part.kind {
            PartKind::Text(text) => {
                let mut object = array.object();
                object.field("type", "text");
                object.field("text", text);
                object.rest(&part.rest, &[]);
            }
            kind @ PartKind::Other(value) if is_own(kind) => array.item(value),
            _ => {}
        }
    }
}

/// Whether it is content of a kind that only its provider's clients know; hidden thinking is none.
fn is_own(kind: &PartKind) -> bool {
    matches!(kind, PartKind::Other(_)) && kind.redacted().is_none()
}

/// Pictures that the model drew, unless the provider told them in the same field.
fn write_images(choice: &Choice, same_dialect: bool, object: &mut Object<'_>) {
    let pictures = choice.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Image(source) => message::drawn(source),
        _ => None,
    });
    let mut pictures = pictures.peekable();
    if pictures.peek().is_none() || (same_dialect && choice.message_rest.contains_key("images")) {
        return;
    }
    let mut images = object.array("images");
    for (index, url) in pictures.enumerate() {
        message::write_drawn(&url, index, &mut images);
    }
}

/// Whole blocks of thinking, where a client must bring them back exactly: signed or sealed ones.
fn write_thinking_blocks(choice: &Choice, same_dialect: bool, object: &mut Object<'_>) {
    // A client of this dialect has what the field says that they came in.
    let wanted = |part: &&Part| details::must_come_back(&part.kind) && !(same_dialect && details::is_told(part));
    let mut blocks = choice.parts.iter().filter(wanted).peekable();
    if blocks.peek().is_none() {
        return;
    }
    let mut array = object.array("thinking_blocks");
    for part in blocks {
        match &part.kind {
            PartKind::Reasoning { text, signature } => {
                let mut block = array.object();
                block.field("type", "thinking");
                block.field("thinking", text);
                block.field("signature", signature);
            }
            PartKind::Other(value) => array.item(value),
            _ => {}
        }
    }
}

fn write_call(part: &Part, same_dialect: bool, newer: Option<&CustomTools>, array: &mut Array<'_>) {
    let PartKind::ToolCall { id, name, arguments } = &part.kind else { return };
    let mut object = array.object();
    if newer.is_some_and(|custom| custom.has(name)) {
        return tell_custom(id, name, arguments, &mut object);
    }
    object.field("id", id);
    object.field("type", "function");
    {
        let mut function = object.object("function");
        function.field("name", name);
        function.field("arguments", if arguments.is_empty() && !same_dialect { "{}" } else { arguments });
        if let Some(left) = nested(&part.rest, "function").filter(|_| same_dialect) {
            function.rest(left, &[]);
        }
    }
    if same_dialect {
        object.rest(&part.rest, &["function"]);
    }
}
