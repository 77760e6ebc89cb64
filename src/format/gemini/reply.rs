//! A whole reply.

use super::candidate::{self, Candidate, Searched};
use super::error;
use crate::chat::{Choice, FinishReason, PartKind, Reply, Rest};
use crate::fault::AttemptFault;
use crate::format::gemini::DIALECT;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// Reads a reply.
///
/// # Errors
/// `BrokenStream` where the body is not one; what it says where it is an error after all.
pub(super) fn read(body: &[u8]) -> Result<Reply, AttemptFault> {
    let value = reply_body(body)?;
    if value.get("error").is_some_and(|error| !error.is_null()) {
        return Err(error::read_inside_stream(&value));
    }
    read_value(value).map_err(Mismatch::into_fault)?
}

/// Reads one that is no error. What was not made is a fault all the same, with what it cost.
fn read_value(value: Json<'_>) -> Result<Result<Reply, AttemptFault>, Mismatch> {
    let blocked = candidate::blocked(&value);
    let mut searched = Searched::default();
    searched.add(&value);
    let mut fields = Fields::of(value, &Path::Root)?;
    let id = fields.text("responseId")?.unwrap_or_default();
    let model = fields.text("modelVersion")?.unwrap_or_default();
    let usage = fields.take("usageMetadata").map(|counted| candidate::usage(counted, &searched)).transpose()?;
    let path = Path::Root.key("candidates");
    let mut calls = 0;
    let mut next = || {
        calls += 1;
        format!("call_{id}_{calls}")
    };
    let list = fields.list("candidates")?.unwrap_or_default();
    let list = list.into_iter().enumerate();
    let read = list.map(|(place, value)| candidate::read(value, &path.index(place), false, &mut next));
    let candidates = read.collect::<Result<Vec<_>, _>>()?;
    if let Some(fault) = candidate::malformed(&candidates) {
        return Ok(Err(AttemptFault { used: usage.map(Box::new), ..fault }));
    }
    let mut choices: Vec<Choice> = candidates.into_iter().map(choice).collect();
    if choices.is_empty() {
        if !blocked {
            return Err(Mismatch::missing(&path));
        }
        choices.push(choice(Candidate { finish: Some(FinishReason::ContentFilter), ..Candidate::default() }));
    }
    Ok(Ok(Reply { id, model, created: None, choices, usage, dialect: DIALECT, rest: fields.telling_rest() }))
}

fn choice(candidate: Candidate) -> Choice {
    let Candidate { index, parts, finish, logprobs, rest } = candidate;
    let calls = parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall { .. }));
    let finish = finish.map(|finish| candidate::finish_of(finish, calls));
    Choice { index, parts, finish, logprobs, rest, message_rest: Rest::new() }
}
