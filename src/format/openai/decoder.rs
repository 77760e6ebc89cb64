//! A streamed reply, read event by event.
//!
//! Unknown fields go with the first chunk of their event, nested as on the wire; where an event says
//! nothing else it becomes [`Delta::Other`]. A null says nothing and is left out.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::calls::{Calls, Piece};
use super::{details, error, finish_reason, logprobs, message, usage};
use crate::chat::{Chunk, Delta, Rest, ServiceTier, Usage};
use crate::fault::AttemptFault;
use crate::format::framing::EventDecoder;
use crate::format::json::Json;
use crate::format::openai::DIALECT;
use crate::format::read::{Fields, Mismatch, Path, reply_body};

/// The state of one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    /// Unknown fields of events before the reply began (Azure sends its filter's findings first).
    held: Rest,
    /// The service tier that an event named.
    tier: Option<ServiceTier>,
    /// Whether something was cited that was searched for.
    searched: bool,
    told: Told,
    choices: Vec<Choice>,
}

/// What a reply was told by so far.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// A delta, or a whole message in its place.
    Delta,
}

/// What must be remembered of one alternative.
struct Choice {
    index: u32,
    refused: bool,
    finished: bool,
    calls: Calls,
}

impl EventDecoder for Decoder {
    fn event(&mut self, _name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data.starts_with("[DONE]") {
            self.done = true;
            return Ok(());
        }
        if self.started
            && let Some(chunk) = text_piece(data)
        {
            self.told = Told::Delta;
            out.push(chunk);
            return Ok(());
        }
        let value = match reply_body(data.as_bytes()) {
            Ok(value) => value,
            // Events that no blank line parted, each in a line of its own.
            Err(_) if data.contains('\n') => return data.lines().try_for_each(|line| self.event("", line, out)),
            Err(fault) => return Err(fault),
        };
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(error::read_inside_stream(&value));
        }
        if let Some(fault) = error::of_choice(&value) {
            return Err(fault);
        }
        self.read(value, out).map_err(Mismatch::into_fault)
    }

    /// `[DONE]` is a custom that some do not follow; the reasons to finish are the contract.
    fn end(&mut self, _out: &mut Vec<Chunk>) {
        self.done |= !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finished);
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

impl Decoder {
    fn read(&mut self, value: Json<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let first = out.len();
        let mut fields = Fields::of(value, &Path::Root)?;
        let id = fields.text("id")?.unwrap_or_default();
        let model = fields.text("model")?.unwrap_or_default();
        let created = Some(fields.count("created")).filter(|&seconds| seconds > 0);
        fields.take("object");
        let choices = fields.list("choices")?.unwrap_or_default();
        self.tier = usage::tier(fields.peek("service_tier")).or(self.tier);
        self.searched |= choices.iter().any(|choice| usage::cites(choice, "delta"));
        let (tier, searches) = (self.tier, u64::from(self.searched));
        let usage = fields.take("usage").and_then(usage::read).map(|usage| Usage { searches, tier, ..usage });
        let mut rest = fields.telling_rest();
        if !self.started {
            if choices.is_empty() && usage.is_none() {
                self.held.append(&mut rest);
                return Ok(());
            }
            self.started = true;
            out.push(Chunk::of(Delta::Start { id, model, created, dialect: DIALECT }));
            if !self.held.is_empty() {
                let mut held = std::mem::take(&mut self.held);
                held.append(&mut rest);
                rest = held;
            }
        }
        let path = Path::Root.key("choices");
        let says = |choice: &Json<'_>, name: &str| choice.get(name).is_some_and(|said| !said.is_null());
        let said = choices.iter().any(|choice| says(choice, "delta") || says(choice, "message"));
        for (place, choice) in choices.into_iter().enumerate() {
            self.choice(choice, place, &path.index(place), out)?;
        }
        if said {
            self.told = Told::Delta;
        }
        out.extend(usage.map(|usage| Chunk::of(Delta::Usage(Box::new(usage)))));
        attach(rest, 0, first, out);
        Ok(())
    }

    fn choice(&mut self, value: Json<'_>, place: usize, path: &Path<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let first = out.len();
        let mut fields = Fields::of(value, path)?;
        let index = fields.whole("index")?.unwrap_or_else(|| u32::try_from(place).unwrap_or(u32::MAX));
        let finish = fields.word("finish_reason")?;
        // Some say the whole message at once; others repeat it at the end of its pieces.
        let delta = match fields.take("delta") {
            None if self.told == Told::Nothing => fields.take("message"),
            delta => delta,
        };
        let logprobs = fields.peek(logprobs::FIELD).map(logprobs::read).unwrap_or_default();
        let mut rest = fields.telling_rest();
        let choice = self.state(index);
        if let Some(delta) = delta {
            let left = choice.delta(delta, &path.key("delta"), out)?;
            if !left.is_empty() {
                rest.insert("delta".to_owned(), Value::Object(left));
            }
        }
        if !logprobs.is_empty() {
            out.push(choice.chunk(Delta::Logprobs(logprobs)));
        }
        if let Some(word) = finish.filter(|word| !word.is_empty()) {
            let reason = finish_reason(&word, choice.refused);
            choice.finished = true;
            out.push(choice.chunk(Delta::Finish(reason)));
        }
        if !rest.is_empty() {
            let mut wrapped = Rest::new();
            wrapped.insert("choices".to_owned(), Value::Array(vec![Value::Object(rest)]));
            attach(wrapped, index, first, out);
        }
        Ok(())
    }

    fn state(&mut self, index: u32) -> &mut Choice {
        let place = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, refused: false, finished: false, calls: Calls::default() });
            self.choices.len() - 1
        });
        &mut self.choices[place]
    }
}

/// The event most streams consist of: a piece of text, or of thinking, and nothing that would have to be kept
/// but what is named here. Reading it costs a fraction of the general way, which takes everything else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextEvent<'a> {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "object")]
    _object: Option<IgnoredAny>,
    #[serde(rename = "created")]
    _created: Option<IgnoredAny>,
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
    #[serde(rename = "usage")]
    _usage: Option<()>,
    service_tier: Option<&'a str>,
    system_fingerprint: Option<&'a str>,
    obfuscation: Option<&'a str>,
    choices: [TextChoice; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextChoice {
    index: u32,
    delta: TextDelta,
    #[serde(rename = "logprobs")]
    _logprobs: Option<()>,
    #[serde(rename = "finish_reason")]
    _finish_reason: Option<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextDelta {
    #[serde(rename = "role")]
    _role: Option<IgnoredAny>,
    content: Option<String>,
    reasoning_content: Option<String>,
    #[serde(rename = "refusal")]
    _refusal: Option<()>,
    #[serde(rename = "tool_calls")]
    _tool_calls: Option<()>,
}

/// The chunk of a plain text event; `None` for any other.
pub(super) fn text_piece(data: &str) -> Option<Chunk> {
    let event: TextEvent<'_> = serde_json::from_str(data).ok()?;
    let [TextChoice { index, delta, .. }] = event.choices;
    let delta = match (delta.content, delta.reasoning_content) {
        (Some(text), None) if !text.is_empty() => Delta::Text(text),
        (None, Some(text)) if !text.is_empty() => Delta::Reasoning(text),
        _ => return None,
    };
    let beside = [
        ("service_tier", event.service_tier),
        ("system_fingerprint", event.system_fingerprint),
        ("obfuscation", event.obfuscation),
    ];
    let rest = beside.into_iter().filter_map(|(name, text)| text.map(|text| (name.to_owned(), text.into()))).collect();
    Some(Chunk { choice: index, delta, rest })
}

/// Leaves `rest` with the first chunk since `first`, or makes a chunk of it.
fn attach(rest: Rest, choice: u32, first: usize, out: &mut Vec<Chunk>) {
    if rest.is_empty() {
        return;
    }
    if let Some(chunk) = out.get_mut(first) {
        merge(&mut chunk.rest, rest);
    } else {
        let delta = Delta::Other { event: String::new(), value: Value::Object(rest) };
        out.push(Chunk { choice, delta, rest: Rest::new() });
    }
}

/// Adds `more`; what both have is merged, lists by their first item (an event's one choice, its one call).
fn merge(into: &mut Rest, more: Rest) {
    for (name, value) in more {
        match (into.get_mut(&name).map(first_item), value) {
            (Some(Value::Object(have)), Value::Array(mut items)) => {
                if let Some(Value::Object(more)) = items.pop() {
                    merge(have, more);
                }
            }
            (Some(Value::Object(have)), Value::Object(more)) => merge(have, more),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

fn first_item(value: &mut Value) -> &mut Value {
    if value.get(0).is_some() { &mut value[0] } else { value }
}

impl Choice {
    fn chunk(&self, delta: Delta) -> Chunk {
        Chunk { choice: self.index, delta, rest: Rest::new() }
    }

    /// Reads a delta and returns what was not understood of it.
    fn delta(&mut self, value: Json<'_>, path: &Path<'_>, out: &mut Vec<Chunk>) -> Result<Rest, Mismatch> {
        let mut fields = Fields::of(value, path)?;
        fields.take("role");
        if let Some(text) = message::thinking_text(&mut fields) {
            out.push(self.chunk(Delta::Reasoning(text)));
        }
        details::proofs(&fields, |proof| out.push(self.chunk(proof)));
        self.content(&mut fields, out);
        if let Some(text) = fields.text("refusal")?.filter(|text| !text.is_empty()) {
            self.refused = true;
            out.push(self.chunk(Delta::Refusal(text)));
        }
        let mut others = Vec::new();
        for value in fields.list("tool_calls")?.unwrap_or_default() {
            let is_function = value.get("function").is_some_and(Json::is_object);
            if is_function {
                self.call(value, &path.key("tool_calls"), out)?;
            } else {
                others.push(value);
            }
        }
        if !others.is_empty() {
            fields.put("tool_calls", Json::Array(others).into());
        }
        Ok(fields.telling_rest())
    }

    /// The text, also out of the lists of parts that some imitators send.
    fn content(&self, fields: &mut Fields<'_>, out: &mut Vec<Chunk>) {
        let text = |text: String, out: &mut Vec<Chunk>| {
            if !text.is_empty() {
                out.push(self.chunk(Delta::Text(text)));
            }
        };
        match fields.take("content") {
            Some(Json::Text(whole)) => text(whole.into_owned(), out),
            Some(Json::Array(mut parts)) => {
                parts.retain(|part| {
                    if let Some(thoughts) = message::thoughts(part) {
                        out.push(self.chunk(Delta::Reasoning(thoughts)));
                        return false;
                    }
                    let is_text = part.get("type").is_some_and(|kind| kind == "text");
                    let words = part.get("text").and_then(Json::as_str).filter(|_| is_text);
                    words.map(|words| text(words.to_owned(), out)).is_none()
                });
                if !parts.is_empty() {
                    fields.put("content", Json::Array(parts).into());
                }
            }
            Some(other) => fields.put("content", other.into()),
            None => {}
        }
    }

    fn call(&mut self, value: Json<'_>, path: &Path<'_>, out: &mut Vec<Chunk>) -> Result<(), Mismatch> {
        let first = out.len();
        let signature = message::signature(value.get("extra_content"));
        let mut fields = Fields::of(value, path)?;
        let wire_index = fields.whole("index")?;
        let id = fields.text("id")?.filter(|id| !id.is_empty());
        fields.take("type");
        let inside = path.key("function");
        let mut function = Fields::of(fields.take("function").unwrap_or_default(), &inside)?;
        let name = function.text("name")?.filter(|name| !name.is_empty());
        let fragment = message::arguments(function.take("arguments"));
        fields.keep("function", function.telling_rest());
        let rest = fields.telling_rest();

        let choice = self.index;
        self.calls.take(Piece { wire_index, id, name, fragment, signature }, choice, |delta| {
            out.push(Chunk { choice, delta, rest: Rest::new() });
        });
        if !rest.is_empty()
            && let Value::Object(wrapped) = json!({"choices": [{"delta": {"tool_calls": [rest]}}]})
        {
            attach(wrapped, self.index, first, out);
        }
        Ok(())
    }
}
