//! A streamed reply, read event by event.
//!
//! Items come one after another; of each the pieces are told as they come, and what only the whole item says (what is sealed of its
//! thinking, or all of it where a server sends no pieces) when it is done. Events that say nothing of the reply itself are passed
//! over.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::item::{self, Call, PARAGRAPH};
use super::{ANNOTATED, DIALECT, ITEM_BEGUN, ITEM_DONE, PARTIAL_IMAGE, fault, reply};
use crate::chat::{Chunk, Delta, PARTIAL_PICTURE, Part, PartKind};
use crate::fault::AttemptFault;
use crate::format::drawn::{self, PICTURE};
use crate::format::framing::EventDecoder;
use crate::format::json::{Json, kept};
use crate::format::openai::responses::items::is_hosted;
use crate::format::read::reply_body;

/// The state of one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    /// The places of items of which words were told, or arguments.
    told: Vec<u64>,
    /// The calls so far, by the places of their items.
    calls: Vec<u64>,
    /// The place of the last message whose phase was told.
    phased: Option<u64>,
    /// The model declined in words.
    declined: bool,
    /// Searches so far.
    searches: u64,
}

impl EventDecoder for Decoder {
    fn event(&mut self, name: &str, data: &str, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        let data = data.trim();
        if self.done || data.is_empty() || data.starts_with("[DONE]") {
            return Ok(());
        }
        if let Some(delta) = self.piece(data) {
            out.push(Chunk::of(delta));
            return Ok(());
        }
        let value = reply_body(data.as_bytes())?;
        // The event's name is in its data, too; some proxies leave one of them out.
        let kind = value.get("type").and_then(Json::as_str).unwrap_or(name);
        if kind == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(fault::read(&value));
        }
        let response = value.get("response").unwrap_or(&Json::Null);
        match kind {
            "response.failed" => {
                return Err(fault::of(response, self.searches).unwrap_or_else(|| fault::read(response)));
            }
            "response.created" | "response.in_progress" | "response.queued" => self.start(response, out),
            "response.completed" | "response.incomplete" | "response.done" => {
                if let Some(fault) = fault::of(response, self.searches) {
                    return Err(fault);
                }
                self.start(response, out);
                self.end_with(response, out);
            }
            _ => {
                let first = out.len();
                self.piece_of_item(kind, &value, out);
                // A server that says nothing before its first piece is told of as one that did.
                if !self.started && out.len() > first {
                    let said = out.split_off(first);
                    self.start(&Json::Null, out);
                    out.extend(said);
                }
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}

/// The event most streams consist of: a piece of text, of thinking or of a call's arguments, and nothing beside it that counts. Reading it
/// costs a fraction of the general way, which takes everything else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PieceEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    output_index: u64,
    delta: String,
    #[serde(default)]
    logprobs: Vec<()>,
    #[serde(default, rename = "item_id")]
    _item: IgnoredAny,
    #[serde(default, rename = "content_index")]
    _content: IgnoredAny,
    #[serde(default, rename = "sequence_number")]
    _sequence: IgnoredAny,
    #[serde(default, rename = "obfuscation")]
    _obfuscation: IgnoredAny,
}

impl Decoder {
    /// The delta of such an event; `None` for any other.
    fn piece(&mut self, data: &str) -> Option<Delta> {
        let event: PieceEvent<'_> = serde_json::from_str(data).ok()?;
        if !self.started || event.delta.is_empty() || !event.logprobs.is_empty() {
            return None;
        }
        let delta = match event.kind {
            "response.output_text.delta" => Delta::Text(event.delta),
            "response.function_call_arguments.delta" => {
                Delta::ToolArguments { index: self.call_at(event.output_index)?, fragment: event.delta }
            }
            _ => return None,
        };
        self.tell(event.output_index);
        Some(delta)
    }

    fn start(&mut self, response: &Json<'_>, out: &mut Vec<Chunk>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let text = |name: &str| response.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let created = response.get("created_at").and_then(Json::as_f64).filter(|seconds| *seconds > 0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates; seconds are meant"
        )]
        let created = created.map(|seconds| seconds as u64);
        out.push(Chunk::of(Delta::Start { id: text("id"), model: text("model"), created, dialect: DIALECT }));
    }

    fn end_with(&mut self, response: &Json<'_>, out: &mut Vec<Chunk>) {
        self.done = true;
        let ended = || reply::ended(!self.calls.is_empty(), self.declined);
        out.push(Chunk::of(Delta::Finish(reply::incomplete(response).unwrap_or_else(ended))));
        out.extend(reply::usage(response, self.searches).map(|usage| Chunk::of(Delta::Usage(Box::new(usage)))));
    }

    fn piece_of_item(&mut self, kind: &str, event: &Json<'_>, out: &mut Vec<Chunk>) {
        let place = event.get("output_index").and_then(Json::as_u64).unwrap_or_default();
        let text = |name: &str| event.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        match kind {
            ITEM_BEGUN => self.begin(place, event.get("item").unwrap_or(&Json::Null), out),
            ITEM_DONE => self.whole(place, event.get("item").unwrap_or(&Json::Null), out),
            "response.output_text.delta" => {
                self.say(place, text("delta"), Delta::Text, out);
                let tokens = item::likely(event);
                out.extend((!tokens.is_empty()).then(|| Chunk::of(Delta::Logprobs(tokens))));
            }
            "response.refusal.delta" => {
                self.declined = true;
                self.say(place, text("delta"), Delta::Refusal, out);
            }
            "response.reasoning_summary_part.added" if self.is_told(place) => {
                self.say(place, Some(PARAGRAPH), Delta::Reasoning, out);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.say(place, text("delta"), Delta::Reasoning, out);
            }
            ANNOTATED => {
                let value = event.get("annotation").filter(|annotation| annotation.is_object()).cloned();
                let other = |value: Json<'_>| Delta::Other { event: ANNOTATED.to_owned(), value: value.into() };
                out.extend(value.map(|value| Chunk::of(other(value))));
            }
            PARTIAL_IMAGE => out.extend(partial(event).map(Chunk::of)),
            "response.function_call_arguments.delta" => self.argue(place, text("delta"), out),
            "response.function_call_arguments.done" if !self.is_told(place) => {
                self.argue(place, text("arguments"), out);
            }
            _ => {}
        }
    }

    /// An item begins. Calls of functions are told at once; of the others the whole input is awaited.
    fn begin(&mut self, place: u64, value: &Json<'_>, out: &mut Vec<Chunk>) {
        match item::kind(value) {
            "message" => self.phase(place, value, out),
            "function_call" => {
                if let Some(call) = item::call(value) {
                    self.call(place, call, out);
                }
            }
            _ => {}
        }
    }

    /// A message that says its phase begins.
    fn phase(&mut self, place: u64, value: &Json<'_>, out: &mut Vec<Chunk>) {
        if let Some(value) = item::phase(value).filter(|_| self.phased != Some(place)) {
            self.phased = Some(place);
            out.push(Chunk::of(Delta::Other { event: ITEM_BEGUN.to_owned(), value }));
        }
    }

    /// An item is done: what was not told of it is.
    fn whole(&mut self, place: u64, value: &Json<'_>, out: &mut Vec<Chunk>) {
        let told = self.is_told(place);
        match item::kind(value) {
            "reasoning" => {
                let text = item::summary(value);
                if !told {
                    self.say(place, Some(text.as_str()).filter(|text| !text.is_empty()), Delta::Reasoning, out);
                }
                let delta = if self.is_told(place) { Delta::ReasoningSignature } else { Delta::RedactedReasoning };
                out.extend(item::seal(value).map(|sealed| Chunk::of(delta(sealed))));
            }
            "message" if !told => {
                self.phase(place, value, out);
                for piece in value.items("content") {
                    match item::content(piece) {
                        Some(Part { kind: PartKind::Text(text), .. }) => out.push(Chunk::of(Delta::Text(text))),
                        Some(Part { kind: PartKind::Refusal(text), .. }) => {
                            self.declined = true;
                            out.push(Chunk::of(Delta::Refusal(text)));
                        }
                        _ => {}
                    }
                }
            }
            "image_generation_call" if let Some((source, rest)) = item::picture(value) => {
                let delta = Delta::Other { event: PICTURE.to_owned(), value: drawn::told(&source) };
                out.push(Chunk { choice: 0, delta, rest });
            }
            kind if is_hosted(kind) => {
                self.searches += u64::from(reply::is_search(value));
                let event = ITEM_DONE.to_owned();
                out.push(Chunk::of(Delta::Other { event, value: value.clone().into() }));
            }
            _ => {
                if let Some(call) = item::call(value) {
                    match self.call_at(place) {
                        Some(_) if told => {}
                        Some(_) => self.argue(place, Some(&call.arguments), out),
                        None => self.call(place, call, out),
                    }
                    // Of a call that takes nothing: in JSON, nothing is `{}`.
                    if !self.is_told(place) {
                        self.argue(place, Some("{}"), out);
                    }
                }
            }
        }
    }

    fn call(&mut self, place: u64, call: Call, out: &mut Vec<Chunk>) {
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(place);
        out.push(Chunk::of(Delta::ToolCall { index, id: call.id, name: call.name }));
        self.argue(place, Some(&call.arguments), out);
    }

    fn argue(&mut self, place: u64, fragment: Option<&str>, out: &mut Vec<Chunk>) {
        if let (Some(index), Some(fragment)) = (self.call_at(place), fragment.filter(|text| !text.is_empty())) {
            self.tell(place);
            out.push(Chunk::of(Delta::ToolArguments { index, fragment: fragment.to_owned() }));
        }
    }

    fn say(&mut self, place: u64, text: Option<&str>, delta: impl FnOnce(String) -> Delta, out: &mut Vec<Chunk>) {
        if let Some(text) = text {
            self.tell(place);
            out.push(Chunk::of(delta(text.to_owned())));
        }
    }

    fn tell(&mut self, place: u64) {
        if !self.is_told(place) {
            self.told.push(place);
        }
    }

    fn is_told(&self, place: u64) -> bool {
        self.told.contains(&place)
    }

    /// The number of the call at this place.
    fn call_at(&self, place: u64) -> Option<u32> {
        let at = self.calls.iter().rposition(|known| *known == place)?;
        u32::try_from(at).ok()
    }
}

/// A picture that is not whole yet, with all that is told of it but where its event stands among the others.
fn partial(event: &Json<'_>) -> Option<Delta> {
    let Json::Object(members) = event else { return None };
    let told = event.get("item_id").is_some() && event.get("partial_image_b64").is_some();
    let beside = |name: &str| ["type", "sequence_number", "output_index"].contains(&name);
    let own = members.iter().filter(|(name, _)| told && !beside(name)).cloned().collect();
    told.then(|| Delta::Other { event: PARTIAL_PICTURE.to_owned(), value: kept(own).into() })
}
