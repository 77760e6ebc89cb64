//! The conversation as items.
//!
//! What the assistant said, thought and called stands in its order, each an item of its own. Thinking goes back where this API sealed it;
//! other thinking is another provider's and is left out. A tool's result is an item of the kind that its call has.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::attachments;
use super::encode::unsupported;
use crate::chat::{ChatRequest, Message, OutputFormat, Part, PartKind, Role};
use crate::fault::AttemptFault;
use crate::format::call_id::CallIds;
use crate::format::openai::responses::called::{Called, Kind, Names};
use crate::format::openai::responses::custom;
use crate::format::openai::responses::items::{is_message, phase};
use crate::format::openai::responses::{is_item, object};
use crate::format::rest::Report;
use crate::format::sealed;
use crate::format::write::{Array, Object};

/// A part and its place in the message, for reports.
type Placed<'m> = (usize, &'m Part);

/// Writes the instructions and the items, before which stands what is asked for in words.
///
/// # Errors
/// `Rejected` where a message holds content only another provider understands.
pub(super) fn write(
    words: Option<&str>,
    request: &ChatRequest,
    ids: &CallIds<'_>,
    object: &mut Object<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    let instructions = instructions(request);
    object.optional("instructions", instructions);
    let array = object.array("input");
    let mut input = Input { array, ids, names: Names::of(&request.echo), calls: HashMap::new() };
    if let Some(words) = words {
        input.array.item(&json!({"type": "message", "role": report.quirks.role("system"), "content": words}));
    }
    let first = usize::from(instructions.is_some());
    for (index, message) in request.messages.iter().enumerate().skip(first) {
        input.message(message, &format!("messages[{index}]"), report)?;
    }
    Ok(())
}

/// The text of a first message that is nothing but instructions. Where any JSON is asked for they stay in the input, since it must be asked
/// for there, too.
fn instructions(request: &ChatRequest) -> Option<&str> {
    let [Message { role: Role::System, parts, name: None, rest }, _, ..] = request.messages.as_slice() else {
        return None;
    };
    match parts.as_slice() {
        [Part { kind: PartKind::Text(text), rest: left }] if rest.is_empty() && left.is_empty() => {
            Some(text.as_str()).filter(|_| request.output != Some(OutputFormat::JsonObject))
        }
        _ => None,
    }
}

struct Input<'w, 'm> {
    array: Array<'w>,
    ids: &'w CallIds<'w>,
    names: Names,
    /// Of what kind calls are, where they are of no function.
    calls: HashMap<&'m str, Kind>,
}

/// What was said one after another, in one phase.
#[derive(Default)]
struct Saying<'m> {
    parts: Vec<&'m Part>,
    phase: Option<&'m str>,
}

impl<'m> Input<'_, 'm> {
    fn message(&mut self, message: &'m Message, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
        leftover(message, path, report)?;
        if message.role == Role::Assistant {
            self.assistant(message, path, report);
            return Ok(());
        }
        let is_result = |part: &Part| matches!(part.kind, PartKind::ToolResult { .. });
        let placed = || message.parts.iter().enumerate();
        for (index, part) in placed().filter(|(_, part)| is_result(part)) {
            self.result(part, &format!("{path}.content[{index}]"), report)?;
        }
        let others: Vec<Placed<'_>> = placed().filter(|(_, part)| !is_result(part)).collect();
        if others.is_empty() {
            return Ok(());
        }
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            _ => "user",
        };
        let mut object = self.array.object();
        object.field("type", "message");
        object.field("role", report.quirks.role(role));
        attachments::content("content", &others, &mut object, path, report)
    }

    fn result(&mut self, part: &Part, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
        let PartKind::ToolResult { call_id, content, is_error } = &part.kind else { return Ok(()) };
        let mut object = self.array.object();
        let (kind, id) = match self.calls.get(call_id.as_str()) {
            Some(Kind::Custom) => ("custom_tool_call_output", "call_id"),
            Some(Kind::LocalShell) => ("local_shell_call_output", "id"),
            _ => ("function_call_output", "call_id"),
        };
        object.field("type", kind);
        object.field(id, self.ids.sent(call_id));
        let placed: Vec<Placed<'_>> = content.iter().enumerate().collect();
        if placed.is_empty() {
            object.field("output", "");
        } else {
            attachments::content("output", &placed, &mut object, path, report)?;
        }
        if *is_error {
            report.dropped.push(format!("{path}.is_error"));
        }
        report.foreign(&part.rest, &|| path.to_owned());
        Ok(())
    }

    fn assistant(&mut self, message: &'m Message, path: &str, report: &mut Report) {
        // Thinking without what it led to is refused.
        let leads = |part: &Part| match &part.kind {
            PartKind::ToolCall { .. } => true,
            PartKind::Other(value) => is_item(value) && !is_message(value),
            _ => is_said(part),
        };
        // Calls of custom tools, which chats tell beside all else.
        let calls = message.rest.get("tool_calls").filter(|_| report.same_dialect);
        let calls = calls.and_then(custom::calls).unwrap_or_default();
        let last = if calls.is_empty() { message.parts.iter().rposition(leads) } else { Some(message.parts.len()) };
        let mut said = Saying::default();
        for (index, part) in message.parts.iter().enumerate() {
            match &part.kind {
                PartKind::Text(_) | PartKind::Refusal(_) if is_said(part) => {
                    report.foreign(&part.rest, &|| format!("{path}.content[{index}]"));
                    said.parts.push(part);
                }
                PartKind::Text(_) | PartKind::Refusal(_) => {}
                PartKind::ToolCall { id, name, arguments } => {
                    self.say(&mut said);
                    self.call(id, name, arguments);
                    report.foreign(&part.rest, &|| format!("{path}.content[{index}]"));
                }
                PartKind::Other(value) if is_message(value) => {
                    self.say(&mut said);
                    said.phase = phase(value);
                }
                PartKind::Other(value) if is_item(value) => {
                    self.say(&mut said);
                    self.array.item(value);
                }
                kind => match sealed::of(kind).and_then(sealed::open).filter(|_| last.is_some_and(|last| index < last))
                {
                    Some((id, content)) => {
                        self.say(&mut said);
                        self.thought(kind, &id, &content);
                    }
                    // Another provider's thinking, or what models show: history that this one can do without.
                    None => report.dropped.push(format!("{path}.content[{index}]")),
                },
            }
        }
        self.say(&mut said);
        for [id, name, input] in calls {
            self.calls.insert(id, Kind::Custom);
            self.array.item(&custom::item([self.ids.sent(id), name, input]));
        }
    }

    /// Writes what was said one after another as one item.
    fn say(&mut self, said: &mut Saying<'_>) {
        let Saying { parts, phase } = std::mem::take(said);
        if parts.is_empty() {
            return;
        }
        let mut object = self.array.object();
        object.field("type", "message");
        object.field("role", "assistant");
        object.optional("phase", phase);
        if let [Part { kind: PartKind::Text(text), .. }] = parts.as_slice() {
            object.field("content", text);
        } else {
            let mut content = object.array("content");
            for part in parts {
                match &part.kind {
                    PartKind::Refusal(text) => content.item(&json!({"type": "refusal", "refusal": text})),
                    PartKind::Text(text) => content.item(&json!({"type": "output_text", "text": text})),
                    _ => {}
                }
            }
        }
    }

    fn call(&mut self, id: &'m str, name: &str, arguments: &str) {
        let mut called = self.names.called(name);
        if !called.goes_as_written() {
            called = Called::new(Kind::Function, None, name.to_owned());
        }
        let kind = called.kind;
        if kind != Kind::Function {
            self.calls.insert(id, kind);
        }
        let sent = self.ids.sent(id);
        let mut item = object::call(&called, sent, sent, arguments, "completed");
        // An item's own id is its provider's to give, but where it is the call's.
        if let (Value::Object(fields), Kind::Function | Kind::Custom) = (&mut item, kind) {
            fields.shift_remove("id");
            fields.shift_remove("status");
        }
        self.array.item(&item);
    }

    fn thought(&mut self, kind: &PartKind, id: &str, content: &str) {
        let mut object = self.array.object();
        object.field("type", "reasoning");
        object.optional("id", Some(id).filter(|id| !id.is_empty()));
        {
            let mut summary = object.array("summary");
            if let PartKind::Reasoning { text, .. } = kind
                && !text.is_empty()
            {
                summary.item(&json!({"type": "summary_text", "text": text}));
            }
        }
        object.field("encrypted_content", content);
    }
}

/// Whether a part is words.
fn is_said(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Text(text) | PartKind::Refusal(text) if !text.is_empty())
}

/// Reports what a message says beside its content. Calls of kinds that chats alone have are refused: their results would answer nothing.
/// Those of custom tools this API has, too.
fn leftover(message: &Message, path: &str, report: &mut Report) -> Result<(), AttemptFault> {
    if message.name.is_some() {
        report.dropped.push(format!("{path}.name"));
    }
    let is_assistant = message.role == Role::Assistant;
    for (name, value) in &message.rest {
        let says = !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
        match name.as_str() {
            _ if !says => {}
            "tool_calls" if is_assistant && report.same_dialect && custom::calls(value).is_some() => {}
            "tool_calls" | "function_call" if is_assistant => {
                return Err(unsupported(&format!("{path}.{name}"), "a call of a kind that chats alone have"));
            }
            _ => report.dropped.push(format!("{path}.{name}")),
        }
    }
    Ok(())
}
