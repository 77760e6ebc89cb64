//! Several prompts in one request: as many requests of one prompt, whose replies are told as one. The alternatives of each prompt follow
//! those of the one before, as OpenAI numbers them.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use super::refused;
use crate::fault::{Refusal, RefusalKind};
use crate::format::openai::encoder::{COST, done};
use crate::format::{Joiner, Several};
use crate::money::NanoUsd;

/// The most prompts of one request.
const MOST: usize = 128;

const DATA: &[u8] = b"data: ";
const DONE: &[u8] = b"[DONE]";

/// The requests that `body` stands for, where it has several prompts. What cannot be read is refused where all of it is.
///
/// # Errors
/// There are too many.
pub(super) fn of(body: &[u8]) -> Result<Option<Several>, Refusal> {
    if !may_list(body) {
        return Ok(None);
    }
    let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(body) else { return Ok(None) };
    let prompts = match fields.get("prompt") {
        Some(Value::Array(prompts)) if prompts.len() > 1 && prompts.iter().all(Value::is_string) => prompts.clone(),
        _ => return Ok(None),
    };
    if prompts.len() > MOST {
        let message = format!("`prompt`: {MOST} prompts a request at most; send the others apart");
        return Err(Refusal::new(RefusalKind::InvalidRequest, message).at("prompt"));
    }
    let choices = fields.get("n").and_then(Value::as_u64).unwrap_or(1);
    let bodies = prompts.into_iter().map(|prompt| {
        fields.insert("prompt".to_owned(), prompt);
        Bytes::from(Value::Object(fields.clone()).to_string())
    });
    Ok(Some(Several { bodies: bodies.collect(), joiner: Box::new(Together { choices, last: None, cost: None }) }))
}

/// Whether a list may stand behind the name: most requests have one text and are not read twice.
fn may_list(body: &[u8]) -> bool {
    const NAME: &[u8] = b"\"prompt\"";
    memchr::memmem::find_iter(body, NAME).any(|at| {
        let rest = body[at + NAME.len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"["))
    })
}

/// What the replies come to together.
struct Together {
    /// Alternatives of each prompt.
    choices: u64,
    /// The last event of streams, which tells usage: with that of all that have ended.
    last: Option<Value>,
    /// What all that have ended cost.
    cost: Option<NanoUsd>,
}

impl Together {
    fn number(&self, reply: &mut Value, place: usize) {
        for choice in reply.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
            let own = choice.get("index").and_then(Value::as_u64).unwrap_or_default();
            choice["index"] = (own + self.choices * place as u64).into();
        }
    }
}

impl Joiner for Together {
    fn whole(&mut self, replies: &[Bytes]) -> Bytes {
        let mut all: Option<Value> = None;
        for (place, reply) in replies.iter().enumerate() {
            let Ok(mut reply) = serde_json::from_slice::<Value>(reply) else { continue };
            self.number(&mut reply, place);
            let Some(all) = &mut all else {
                all = Some(reply);
                continue;
            };
            if let (Some(Value::Array(more)), Some(Value::Array(choices))) =
                (reply.get_mut("choices").map(Value::take), all.get_mut("choices"))
            {
                choices.extend(more);
            }
            add(all, &reply);
        }
        all.unwrap_or_default().to_string().into()
    }

    fn piece(&mut self, place: usize, piece: &[u8], out: &mut BytesMut) -> bool {
        for event in piece.split_inclusive(|byte| *byte == b'\n') {
            if let Some(cost) = event.strip_prefix(COST) {
                let told = str::from_utf8(cost).ok().and_then(|cost| NanoUsd::from_usd(cost.trim().parse().ok()?));
                self.cost = self.cost.into_iter().chain(told).reduce(|all, more| all + more);
                continue;
            }
            let Some(data) = event.strip_prefix(DATA) else {
                // Signs of life; the blank line after an event is written with it.
                if event.starts_with(b":") {
                    out.put_slice(event);
                }
                continue;
            };
            if data.trim_ascii_end() == DONE {
                continue;
            }
            let Ok(mut said) = serde_json::from_slice::<Value>(data) else { continue };
            let is_last = said.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty);
            if is_last && said.get("usage").is_some() {
                match &mut self.last {
                    Some(all) => add(all, &said),
                    none => *none = Some(said),
                }
                continue;
            }
            self.number(&mut said, place);
            write(&said, out);
            if said.get("error").is_some() {
                return false;
            }
        }
        true
    }

    fn remark(&mut self, text: &str, out: &mut BytesMut) {
        out.put_slice(b": ");
        out.put_slice(text.as_bytes());
        out.put_slice(b"\n");
    }

    fn error(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        refused(refusal, out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if let Some(last) = self.last.take() {
            write(&last, out);
        }
        done(self.cost, out);
    }
}

fn write(event: &Value, out: &mut BytesMut) {
    out.put_slice(DATA);
    out.put_slice(event.to_string().as_bytes());
    out.put_slice(b"\n\n");
}

/// Adds the counts of one reply to another's.
fn add(all: &mut Value, more: &Value) {
    if let (Some(all), Some(more)) = (all.get_mut("usage"), more.get("usage")) {
        sum(all, more);
    }
}

fn sum(all: &mut Value, more: &Value) {
    match (all, more) {
        (Value::Object(all), Value::Object(more)) => {
            for (name, more) in more {
                match all.get_mut(name) {
                    Some(all) => sum(all, more),
                    None => {
                        all.insert(name.clone(), more.clone());
                    }
                }
            }
        }
        (all, more) => {
            if let (Some(one), Some(other)) = (all.as_u64(), more.as_u64()) {
                *all = one.saturating_add(other).into();
            } else if let (Some(one), Some(other)) = (all.as_f64(), more.as_f64()) {
                *all = (one + other).into();
            }
        }
    }
}
