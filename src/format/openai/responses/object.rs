//! The response object: what the request said, and the items of the reply.

use serde_json::{Map, Value, json};

use super::called::{Called, Kind, Names};
use super::items::{is_message, phase};
use super::parse::INCLUDE;
use super::{ANNOTATIONS, AT, RESPONSES, SEALED};
use crate::chat::{FinishReason, IN_BACKGROUND, ImageSource, Part, PartKind, Reply, Rest, Usage};
use crate::fault::{Refusal, RefusalKind};
use crate::format::openai::logprobs;

/// Who the object is of, and what it goes back to.
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
    /// What the reply repeats of the request.
    echo: Rest,
    /// What its tools are called.
    pub(super) names: Names,
}

impl Envelope {
    /// Of the reply with the provider's own `id`, which names it where the gateway gave the request none.
    pub(super) fn new(mut echo: Rest, id: &str, model: &str, created: Option<u64>) -> Self {
        let own = echo.shift_remove("id").and_then(|id| id.as_str().map(str::to_owned));
        let id = own.unwrap_or_else(|| super::response_id(id));
        let names = Names::take(&mut echo);
        echo.shift_remove(INCLUDE);
        echo.shift_remove(IN_BACKGROUND);
        Self { id, model: model.to_owned(), created: created.unwrap_or(0), echo, names }
    }

    /// The id of the item at this place.
    pub(super) fn item_id(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}_{index}", self.id.trim_start_matches("resp_"))
    }

    /// An item as its provider told it, by an id with which clients can refer to it.
    pub(super) fn kept(&self, item: &Value, index: usize) -> Value {
        let mut item = item.clone();
        if let Some(own) = item.get("id").and_then(Value::as_str) {
            item["id"] = self.kept_id(own, index).into();
        }
        item
    }

    /// The id at this place of an item that its provider calls so.
    pub(super) fn kept_id(&self, own: &str, index: usize) -> String {
        format!("{own}{AT}{}_{index}", self.id.trim_start_matches("resp_"))
    }

    /// The whole object.
    pub(super) fn object(&self, status: &str, output: Vec<Value>, usage: Option<&Usage>) -> Map<String, Value> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
        put("id", self.id.as_str().into());
        put("object", "response".into());
        put("created_at", self.created.into());
        put("status", status.into());
        put("background", false.into());
        put("error", Value::Null);
        put("incomplete_details", Value::Null);
        put("model", self.model.as_str().into());
        put("output", output.into());
        for (name, value) in &self.echo {
            put(name, value.clone());
        }
        put("usage", usage.map_or(Value::Null, counted));
        object
    }
}

/// Why a reply is not whole, where it is not.
pub(super) fn incomplete(finish: Option<&FinishReason>) -> Option<&'static str> {
    match finish? {
        FinishReason::Length => Some("max_output_tokens"),
        FinishReason::ContentFilter => Some("content_filter"),
        _ => None,
    }
}

/// Ends an object as this reason tells.
pub(super) fn finished(mut object: Map<String, Value>, finish: Option<&FinishReason>) -> Map<String, Value> {
    if let Some(reason) = incomplete(finish) {
        object.insert("incomplete_details".to_owned(), json!({"reason": reason}));
    } else {
        object.insert("completed_at".to_owned(), object.get("created_at").cloned().unwrap_or_default());
    }
    object
}

/// The status of a reply that ended so.
pub(super) fn status(finish: Option<&FinishReason>) -> &'static str {
    if incomplete(finish).is_some() { "incomplete" } else { "completed" }
}

/// Ends an object as this fault tells, in the few words that its clients know.
pub(super) fn failed(mut object: Map<String, Value>, refusal: &Refusal) -> Map<String, Value> {
    let code = match (refusal.code.as_deref(), refusal.kind) {
        (Some(code @ ("context_length_exceeded" | "insufficient_quota")), _) => code,
        (_, RefusalKind::RateLimited) => "rate_limit_exceeded",
        (_, RefusalKind::Rejected | RefusalKind::InvalidRequest | RefusalKind::NeverFits) => "invalid_prompt",
        _ => "server_error",
    };
    object.insert("error".to_owned(), json!({"code": code, "message": refusal.message}));
    object
}

fn counted(usage: &Usage) -> Value {
    let mut counted = json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
    });
    if let Some(cost) = usage.cost {
        counted["cost"] = cost.as_usd().into();
    }
    counted
}

/// A whole reply.
pub(super) fn of(reply: &Reply, echo: &Rest) -> Map<String, Value> {
    let envelope = Envelope::new(echo.clone(), &reply.id, &reply.model, reply.created);
    let first = reply.choices.first();
    let parts = first.map(|choice| choice.parts.as_slice()).unwrap_or_default();
    let declined = parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    let finish = first.and_then(|choice| choice.finish.as_ref()).map(|finish| finish.told(declined));
    let mut output = items(parts, &envelope, status(finish), reply.dialect == RESPONSES);
    let tokens = first.map(|choice| logprobs::values(&choice.logprobs)).unwrap_or_default();
    if let Some(text) = output.iter_mut().find_map(first_text).filter(|_| !tokens.is_empty()) {
        text["logprobs"] = tokens.into();
    }
    finished(envelope.object(status(finish), output, reply.usage.as_ref()), finish)
}

/// The items of what was said; `own` is what was said in the words of this API.
fn items(parts: &[Part], envelope: &Envelope, status: &str, own: bool) -> Vec<Value> {
    let text = |text: &str, part: &Part| {
        let mut piece = output_text(text);
        if let Some(annotations) = part.rest.get(ANNOTATIONS).filter(|_| own) {
            piece[ANNOTATIONS] = annotations.clone();
        }
        piece
    };
    let mut items: Vec<Value> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let index = items.len();
        let item = match &part.kind {
            PartKind::Text(said) => match open_message(&mut items) {
                Some(content) => {
                    content.push(text(said, part));
                    continue;
                }
                None => message(&envelope.item_id("msg", index), status, None, &[text(said, part)]),
            },
            PartKind::Refusal(text) => match open_message(&mut items) {
                Some(content) => {
                    content.push(refusal(text));
                    continue;
                }
                None => message(&envelope.item_id("msg", index), status, None, &[refusal(text)]),
            },
            PartKind::Reasoning { text, signature } => {
                let sealed = signature.as_ref().map(|signature| sealed("signature", signature));
                reasoning(&envelope.item_id("rs", index), text, sealed)
            }
            kind @ PartKind::Other(value) => match kind.redacted() {
                Some(data) => reasoning(&envelope.item_id("rs", index), "", Some(sealed("redacted", data))),
                // What is said next goes into it.
                None if own && is_message(value) => message(&envelope.item_id("msg", index), status, phase(value), &[]),
                None if own => envelope.kept(value, index),
                None => continue,
            },
            PartKind::ToolCall { id, name, arguments } => {
                let called = envelope.names.called(name);
                // What cut a reply off cut its last item.
                let status = if at + 1 == parts.len() { status } else { "completed" };
                call(&called, &envelope.item_id(prefix(called.kind), index), id, arguments, status)
            }
            // What is heard is no picture.
            PartKind::Image(ImageSource::Base64 { media_type, data, .. }) if media_type.starts_with("image/") => {
                picture(envelope, index, data, Some(&part.rest).filter(|_| own))
            }
            PartKind::Image(_) | PartKind::ToolResult { .. } => continue,
        };
        items.push(item);
    }
    items
}

/// The first text of a message: tokens are those of all that is said.
fn first_text(item: &mut Value) -> Option<&mut Value> {
    let content = item.get_mut("content")?.as_array_mut()?;
    content.iter_mut().find(|part| part.get("type").is_some_and(|kind| kind == "output_text"))
}

/// The content of the message that is the last item.
fn open_message(items: &mut [Value]) -> Option<&mut Vec<Value>> {
    let last = items.last_mut()?;
    (last.get("type")? == "message").then(|| last.get_mut("content")?.as_array_mut()).flatten()
}

/// What a provider wants back, as a client carries it.
pub(super) fn sealed(what: &str, content: &str) -> String {
    format!("{SEALED}{what}:{content}")
}

/// A message, in a phase where its model told one.
pub(super) fn message(id: &str, status: &str, phase: Option<&str>, content: &[Value]) -> Value {
    let mut item = json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content});
    if let Some(phase) = phase {
        item["phase"] = phase.into();
    }
    item
}

/// A piece of a message's text.
pub(super) fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

/// A piece of a message in which the model declines.
pub(super) fn refusal(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

/// An item of thinking; the summary is all of it that is known.
pub(super) fn reasoning(id: &str, text: &str, sealed: Option<String>) -> Value {
    let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
    let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
    if let Some(sealed) = sealed {
        item["encrypted_content"] = sealed.into();
    }
    item
}

/// A picture, in the item that its provider told where that speaks this API.
pub(super) fn picture(envelope: &Envelope, index: usize, data: &str, told: Option<&Rest>) -> Value {
    let made = || json!({"id": envelope.item_id("ig", index), "type": "image_generation_call", "status": "completed"});
    let told = told.filter(|told| told.contains_key("type"));
    let mut item = told.map_or_else(made, |told| envelope.kept(&Value::Object(told.clone()), index));
    item["result"] = data.into();
    item
}

/// A picture that is not there, or not yet.
pub(super) fn drawing(id: &str, status: &str) -> Value {
    json!({"type": "image_generation_call", "id": id, "status": status, "result": null})
}

/// How the ids of such calls begin.
pub(super) const fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Function => "fc",
        Kind::Custom => "ctc",
        Kind::LocalShell => "lsh",
        Kind::Shell => "sh",
        Kind::ApplyPatch => "apc",
        Kind::ToolSearch => "tsc",
    }
}

/// A call of a tool.
pub(super) fn call(called: &Called, id: &str, call_id: &str, arguments: &str, status: &str) -> Value {
    let name = called.name.as_str();
    let mut item = match called.kind {
        Kind::Function => {
            // Clients read it as JSON once it is whole.
            let arguments = if arguments.is_empty() && status == "completed" { "{}" } else { arguments };
            json!({"id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments})
        }
        Kind::Custom => {
            let input = input_of(arguments);
            json!({"id": id, "type": "custom_tool_call", "status": status, "call_id": call_id, "name": name, "input": input})
        }
        Kind::LocalShell => {
            let mut action = filled(json!({"type": "exec", "command": [], "env": {}}), arguments);
            action["type"] = "exec".into();
            json!({"id": id, "type": "local_shell_call", "status": status, "call_id": call_id, "action": action})
        }
        Kind::Shell => {
            let action = filled(json!({"commands": [], "timeout_ms": null, "max_output_length": null}), arguments);
            json!({"id": id, "type": "shell_call", "status": status, "call_id": call_id, "action": action,
                "environment": {"type": "local"}})
        }
        Kind::ApplyPatch => {
            let mut operation = filled(json!({"type": "update_file", "path": "", "diff": ""}), arguments);
            if let Value::Object(fields) = &mut operation
                && fields.get("type").is_some_and(|kind| kind == "delete_file")
            {
                fields.shift_remove("diff");
            }
            json!({"id": id, "type": "apply_patch_call", "status": status, "call_id": call_id, "operation": operation})
        }
        Kind::ToolSearch => {
            let arguments = filled(json!({}), arguments);
            json!({"id": id, "type": "tool_search_call", "status": status, "execution": "client", "call_id": call_id,
                "arguments": arguments})
        }
    };
    if let Some(namespace) = &called.namespace {
        item["namespace"] = namespace.as_str().into();
    }
    item
}

/// What a model wrote as a call's arguments, above what goes without saying.
fn filled(mut object: Value, arguments: &str) -> Value {
    if let Ok(Value::Object(said)) = serde_json::from_str(arguments) {
        for (name, value) in said {
            object[name] = value;
        }
    }
    object
}

/// The text in a custom tool's arguments; a model that wrote no such object meant what it wrote.
pub(super) fn input_of(arguments: &str) -> String {
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(said)) => match said.get("input") {
            Some(Value::String(input)) => input.clone(),
            _ => arguments.to_owned(),
        },
        Ok(Value::String(input)) => input,
        _ => arguments.to_owned(),
    }
}
