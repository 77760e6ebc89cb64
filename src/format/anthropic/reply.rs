//! A whole reply, both ways.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::blocks;
use super::{error, usage};
use crate::chat::{Choice, FinishReason, Part, PartKind, Reply, Rest};
use crate::fault::AttemptFault;
use crate::format::anthropic::DIALECT;
use crate::format::json::Json;
use crate::format::prefill::is_blank;
use crate::format::read::{Fields, Mismatch, Path, reply_body};
use crate::format::rest::Report;
use crate::format::write::{self, Object};

/// Reads a reply.
///
/// # Errors
/// `BrokenStream` where the body is not a message; what it says where it is an error after all.
pub(super) fn read(body: &[u8]) -> Result<Reply, AttemptFault> {
    let value = reply_body(body)?;
    // Some imitators answer 200 and put the error into the body.
    if value.get("type").is_some_and(|kind| kind == "error") {
        return Err(error::read_inside_stream(&value));
    }
    read_value(value).map_err(Mismatch::into_fault)
}

fn read_value(value: Json<'_>) -> Result<Reply, Mismatch> {
    let mut fields = Fields::of(value, &Path::Root)?;
    let id = fields.text("id")?.unwrap_or_default();
    let model = fields.text("model")?.unwrap_or_default();
    fields.take("type");
    fields.take("role");
    let path = Path::Root.key("content");
    let content = fields.list("content")?.ok_or_else(|| Mismatch::missing(&path))?;
    let parts = blocks::parse_content(Json::Array(content), &path)?;
    let finish = finish(&mut fields)?;
    let usage = match fields.take("usage") {
        Some(wire @ Json::Object(_)) => Some(usage::read(wire)?),
        _ => None,
    };
    let choice = Choice { index: 0, parts, finish, rest: Rest::new(), message_rest: Rest::new(), logprobs: Vec::new() };
    let rest = fields.telling_rest();
    Ok(Reply { id, model, created: None, choices: vec![choice], usage, dialect: DIALECT, rest })
}

/// `stop_reason` and `stop_sequence`. The full context window is a length to every dialect; the word stays
/// in `rest`, so that this one gets it back.
pub(super) fn finish(fields: &mut Fields<'_>) -> Result<Option<FinishReason>, Mismatch> {
    let sequence = fields.text("stop_sequence")?;
    Ok(fields.word("stop_reason")?.map(|word| match &*word {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence(sequence),
        "max_tokens" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::Refusal,
        "model_context_window_exceeded" => {
            fields.put("stop_reason", Value::from(word));
            FinishReason::Length
        }
        _ => FinishReason::Other(word.into_owned()),
    }))
}

/// The reason, where other dialects' providers and filters contradict the content: calls are waited for where there are any, and
/// only there.
pub(super) fn reason_with(reason: Option<&FinishReason>, calls: bool, same_dialect: bool) -> Option<&FinishReason> {
    match reason {
        _ if same_dialect => reason,
        Some(FinishReason::Stop | FinishReason::Other(_)) | None if calls => Some(&FinishReason::ToolCalls),
        Some(FinishReason::ToolCalls) if !calls => Some(&FinishReason::Stop),
        reason => reason,
    }
}

/// Writes `stop_reason`, `stop_sequence` and, where the reply is of this dialect, what was `left` beside
/// them. A reason of another dialect's own ends the turn, as any does.
pub(super) fn write_finish(
    reason: Option<&FinishReason>,
    refused: bool,
    left: Option<&Rest>,
    same_dialect: bool,
    object: &mut Object<'_>,
) {
    let word = match reason {
        Some(FinishReason::Length) => "max_tokens",
        Some(FinishReason::ToolCalls) => "tool_use",
        Some(FinishReason::ContentFilter | FinishReason::Refusal) => "refusal",
        Some(FinishReason::StopSequence(_)) => "stop_sequence",
        Some(FinishReason::Other(word)) if same_dialect => word,
        Some(FinishReason::Stop | FinishReason::Other(_)) | None if refused => "refusal",
        Some(FinishReason::Stop | FinishReason::Other(_)) | None => "end_turn",
    };
    let left = left.filter(|_| same_dialect);
    let spelled = left.and_then(|left| left.get("stop_reason")).and_then(Value::as_str);
    object.field("stop_reason", spelled.unwrap_or(word));
    let sequence = match reason {
        Some(FinishReason::StopSequence(sequence)) => sequence.as_deref(),
        _ => None,
    };
    object.field("stop_sequence", &sequence);
    if let Some(left) = left {
        object.rest(left, &["stop_reason"]);
    }
}

/// Writes a reply: its first alternative, for this dialect knows no others.
pub(super) fn write(reply: &Reply) -> Bytes {
    let same_dialect = reply.dialect == DIALECT;
    let choice = reply.choices.first();
    let parts = choice.map_or(&[][..], |choice| choice.parts.as_slice());
    let mut out = BytesMut::with_capacity(write::reply_size_hint(reply));
    {
        let mut object = Object::open(&mut out);
        object.field("id", &reply.id);
        object.field("type", "message");
        object.field("role", "assistant");
        object.field("model", &reply.model);
        write_content(parts, same_dialect, &mut object);
        let refused = parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
        let calls = parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall { .. }));
        let reason = reason_with(choice.and_then(|choice| choice.finish.as_ref()), calls, same_dialect);
        write_finish(reason, refused, Some(&reply.rest), same_dialect, &mut object);
        // The dialect's clients count on usage; a provider that told none has counted nothing.
        let counted = reply.usage.clone().unwrap_or_default();
        usage::write(&counted, same_dialect, &mut object.object("usage"));
    }
    out.freeze()
}

fn write_content(parts: &[Part], same_dialect: bool, object: &mut Object<'_>) {
    let mut report = Report::new(same_dialect).keeping(blocks::KEPT);
    let mut array = object.array("content");
    for part in parts {
        let shown = match &part.kind {
            // Shown, though without a signature no provider takes it back. What tells nothing would be an empty block.
            PartKind::Reasoning { .. } => same_dialect || !is_blank(part),
            kind if kind.redacted().is_some() => true,
            PartKind::Image(_) | PartKind::ToolResult { .. } => same_dialect,
            _ => blocks::has_word(part, &report),
        };
        if shown {
            blocks::write(part, &mut array, &String::new, &mut report);
        }
    }
}
