//! The responses API, as a client API over any provider, and (`provider`) as some models are asked.
//!
//! A request is a chat, a reply the items of an answer. What the assistant's side of a conversation must bring back to its provider
//! (the signature under thinking) travels in `encrypted_content`. Replies are kept by the server, which hands the exchanges
//! before a request over with it.
//!
//! Shapes are those of `openai` 3.57 for Python.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{OpenAi, error, paths};
use crate::chat::{ChatRequest, Reply};
use crate::fault::Refusal;
use crate::format::{ClientApi, ClientRequest, Operation, Remembered, StreamEncoder, Turn};

mod called;
mod custom;
mod encoder;
mod items;
mod object;
mod parse;
mod provider;
mod tools;

pub(super) use custom::{CustomTools, tell as tell_custom};
pub(super) use items::{Conversation, is_item};
pub(super) use provider::{ANNOTATED, ANNOTATIONS, AzureResponses, DIALECT as RESPONSES, ResponsesProvider};

#[cfg(test)]
mod tests;

/// How what was sealed here begins.
const SEALED: &str = "witgate:";

/// The client API. It keeps no state; streams do.
pub(super) struct Responses;

/// The id of the reply to the request with this id.
fn response_id(id: &str) -> String {
    format!("resp_{}", id.trim_start_matches("resp_").replace('-', ""))
}

/// Between the id that an item has at its provider and what names its reply and its place here. No reply's name holds one.
const AT: char = '-';

/// The reply that an item with this id is of: `msg_ID_2` is of `resp_ID`, and so is `ws_OWN-ID_2`.
fn reply_of(item_id: &str) -> Option<String> {
    let (_, rest) = item_id.split_once('_')?;
    let (id, _) = rest.rsplit_once('_')?;
    let id = id.rsplit_once(AT).map_or(id, |(_, id)| id);
    Some(response_id(id))
}

/// The id that an item has at its provider, where clients know it by a longer one.
fn own_id(item_id: &str) -> Option<&str> {
    let (own, place) = item_id.rsplit_once(AT)?;
    let (_, index) = place.rsplit_once('_')?;
    index.parse::<usize>().is_ok().then_some(own)
}

#[derive(Deserialize)]
struct Asked<'b> {
    #[serde(default)]
    previous_response_id: Option<String>,
    #[serde(default)]
    store: Option<bool>,
    #[serde(borrow, default)]
    input: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
}

/// The replies whose items are named in `input`. What cannot be read is refused when all of it is.
fn named(input: &str) -> Vec<String> {
    // Most inputs name none, and are not read twice.
    if memchr::memmem::find(input.as_bytes(), items::REFERENCE.as_bytes()).is_none() {
        return Vec::new();
    }
    let items: Vec<Named> = serde_json::from_str(input).unwrap_or_default();
    let names = items.into_iter().filter(|item| item.kind.as_deref() == Some(items::REFERENCE));
    let mut replies: Vec<String> = names.filter_map(|item| reply_of(&item.id?)).collect();
    replies.sort_unstable();
    replies.dedup();
    replies
}

#[derive(Deserialize)]
struct Last<'d> {
    #[serde(borrow)]
    response: &'d RawValue,
}

impl ClientApi for Responses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn operation(&self, path: &str) -> Option<Operation> {
        match paths::asked(path) {
            "/responses" => Some(Operation::Chat),
            "/responses/input_tokens" => Some(Operation::Count),
            _ => None,
        }
    }

    fn speaks_at(&self, path: &str, _headers: &HeaderMap) -> bool {
        paths::asked(path).starts_with("/responses")
    }

    fn id_header(&self) -> HeaderName {
        OpenAi.id_header()
    }

    fn model(&self, name: &str) -> Value {
        OpenAi.model(name)
    }

    fn models(&self, names: &[&str]) -> Value {
        OpenAi.models(names)
    }

    fn remembered(&self, body: &[u8]) -> Option<Remembered> {
        // What cannot be read is refused when all of it is.
        let Asked { previous_response_id, store, input } = serde_json::from_slice(body).ok()?;
        let named = input.map(|input| named(input.get())).unwrap_or_default();
        Some(Remembered { previous: previous_response_id, named, keep: store.unwrap_or(true) })
    }

    fn reply_id(&self, request_id: &str) -> String {
        response_id(request_id)
    }

    fn streamed_whole(&self, piece: &[u8]) -> Option<Bytes> {
        const ENDS: [&[u8]; 2] = [b"event: response.completed\ndata: ", b"event: response.incomplete\ndata: "];
        let data = ENDS.into_iter().find_map(|end| Some(&piece[memchr::memmem::rfind(piece, end)? + end.len()..]))?;
        let line = data.split(|byte| *byte == b'\n').next()?;
        let Last { response } = serde_json::from_slice(line).ok()?;
        Some(Bytes::copy_from_slice(response.get().as_bytes()))
    }

    fn input_items(&self, turn: &Turn) -> Option<Value> {
        let asked: Value = serde_json::from_slice(&turn.request).ok()?;
        let reply: Value = serde_json::from_slice(&turn.reply).ok()?;
        let id = reply.get("id")?.as_str()?.trim_start_matches("resp_").to_owned();
        let items = match asked.get("input")? {
            Value::Array(items) => items.clone(),
            text => vec![json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})],
        };
        let data: Vec<Value> = items
            .into_iter()
            .enumerate()
            .map(|(index, mut item)| {
                if let Value::Object(fields) = &mut item {
                    fields.entry("id").or_insert_with(|| format!("in_{id}_{index}").into());
                    fields.entry("type").or_insert_with(|| "message".into());
                }
                item
            })
            .collect();
        let at = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned().unwrap_or_default();
        let (first, last) = (at(data.first()), at(data.last()));
        Some(json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": false}))
    }

    fn parse(&self, request: &ClientRequest) -> Result<ChatRequest, Refusal> {
        parse::request(request)
    }

    fn counted(&self, tokens: u64) -> Value {
        json!({"object": "response.input_tokens", "input_tokens": tokens})
    }

    fn reply(&self, reply: &Reply) -> Bytes {
        Value::Object(object::of(reply, &crate::chat::Rest::new())).to_string().into()
    }

    fn reply_to(&self, request: &ChatRequest, reply: &Reply) -> Bytes {
        Value::Object(object::of(reply, &request.echo)).to_string().into()
    }

    fn refusal(&self, refusal: &Refusal, _request_id: &str) -> Bytes {
        error::write(refusal).freeze()
    }

    fn stream(&self, request: &ChatRequest) -> Box<dyn StreamEncoder> {
        Box::new(encoder::Encoder::new(request.echo.clone()))
    }
}
