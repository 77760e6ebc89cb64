//! The items of a conversation, read into messages: what was said, called, answered and thought.
//!
//! What the assistant said, thought and called one after another is one message. Tools that items bring join those of the request.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::called::{Called, Kind};
use super::tools::Toolbox;
use super::{SEALED, own_id};
use crate::chat::{Message, Part, PartKind, Rest, Role};
use crate::format::json::Json;
use crate::format::openai::message::{arguments, image_source};
use crate::format::read::{Fields, Mismatch, Path};
use crate::format::sealed;

/// The type of an item that stands for another one.
pub(super) const REFERENCE: &str = "item_reference";

/// What a provider's own tools did, asked or were answered: items that are kept whole, in their order among what the assistant said, for
/// whoever is asked through this API.
const HOSTED: [&str; 8] = [
    "code_interpreter_call",
    "file_search_call",
    "image_generation_call",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "web_search_call",
];

/// Whether an item of this type is kept whole.
pub(super) fn is_hosted(kind: &str) -> bool {
    HOSTED.contains(&kind)
}

/// Whether a part is such an item, or what stands before a message of a phase: only who is asked through this API is told of either.
pub(in crate::format::openai) fn is_item(value: &Value) -> bool {
    is_message(value) || value.get("type").and_then(Value::as_str).is_some_and(is_hosted)
}

/// What stands before the words of a message that says its phase: newer models tell what they are about to do from their answer, and want
/// both back as what they were.
pub(super) fn in_phase(phase: &str) -> Value {
    json!({"type": "message", "phase": phase})
}

/// Whether a part stands before a message of a phase.
pub(super) fn is_message(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "message")
}

/// The phase that it tells.
pub(super) fn phase(value: &Value) -> Option<&str> {
    value.get("phase").and_then(Value::as_str)
}

/// Messages so far.
#[derive(Default)]
pub(in crate::format::openai) struct Conversation {
    messages: Vec<Message>,
    /// Items that others may stand for, by id.
    known: HashMap<String, Value>,
    /// The tools of the request, where items may bring more.
    tools: Option<Toolbox>,
}

impl Conversation {
    /// One whose items may bring more tools than these.
    pub(super) fn with(tools: Toolbox) -> Self {
        Self { tools: Some(tools), ..Self::default() }
    }

    /// Instructions, which stand before all items.
    pub(super) fn instruct(&mut self, text: String) {
        self.messages.push(message(Role::System, vec![Part::text(text)]));
    }

    /// Items of a kept reply, which may be named.
    pub(super) fn know(&mut self, reply: &[u8]) {
        let Ok(Value::Object(mut reply)) = serde_json::from_slice(reply) else { return };
        let Some(Value::Array(items)) = reply.shift_remove("output") else { return };
        for item in items {
            if let Some(id) = item.get("id").and_then(Value::as_str) {
                self.known.insert(id.to_owned(), item);
            }
        }
    }

    /// What `input` or `output` holds: a text of the user's, or items.
    pub(in crate::format::openai) fn add(&mut self, value: Json<'_>, path: &Path<'_>) -> Result<(), Mismatch> {
        match value {
            Json::Text(text) => self.messages.push(message(Role::User, vec![Part::text(text)])),
            Json::Array(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.item(item, &path.index(index))?;
                }
            }
            other => return Err(Mismatch::expected(path, "a text or an array of items", &other)),
        }
        Ok(())
    }

    /// The messages.
    pub(in crate::format::openai) fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    /// The messages, and the tools of the request and of its items.
    pub(super) fn into_parts(self) -> (Vec<Message>, Toolbox) {
        (self.messages, self.tools.unwrap_or_default())
    }

    fn item(&mut self, value: Json<'_>, path: &Path<'_>) -> Result<(), Mismatch> {
        let mut fields = Fields::of(value, path)?;
        let kind = fields.word("type")?;
        let kind = kind.as_deref().unwrap_or("message");
        match kind {
            "message" => self.message(&mut fields)?,
            "function_call" => {
                let arguments = arguments(fields.take("arguments"));
                self.call(&mut fields, Kind::Function, arguments)?;
            }
            "custom_tool_call" => {
                let input = fields.text("input")?.unwrap_or_default();
                self.call(&mut fields, Kind::Custom, json!({"input": input}).to_string())?;
            }
            "local_shell_call" => {
                let action = fields.take("action").map_or(Value::Null, Value::from);
                self.call(&mut fields, Kind::LocalShell, without_type(action).to_string())?;
            }
            "shell_call" => {
                let action = fields.take("action").map_or(Value::Null, Value::from);
                self.call(&mut fields, Kind::Shell, action.to_string())?;
            }
            "apply_patch_call" => {
                let operation = fields.take("operation").map_or(Value::Null, Value::from);
                self.call(&mut fields, Kind::ApplyPatch, operation.to_string())?;
            }
            "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                self.output(&mut fields)?;
            }
            "shell_call_output" => {
                // What each command wrote and how it ended, as the client says it.
                let said = arguments(fields.take("output"));
                self.result(&mut fields, said)?;
            }
            "apply_patch_call_output" => {
                let said = [fields.text("status")?, fields.text("output")?.filter(|text| !text.is_empty())];
                self.result(&mut fields, said.into_iter().flatten().collect::<Vec<_>>().join(": "))?;
            }
            "tool_search_call" if self.tools.is_some() => self.search(&mut fields)?,
            "tool_search_output" if self.tools.is_some() => self.found(&mut fields)?,
            "additional_tools" if self.tools.is_some() => {
                self.more_tools(&mut fields)?;
            }
            "reasoning" => self.reasoning(&mut fields)?,
            REFERENCE => {
                let id = fields.need_text("id")?;
                let Some(item) = self.known.get(&id).cloned() else {
                    let problem = format!("no item with the id `{id}` is kept by this gateway; send the item itself");
                    return Err(Mismatch::new(path, problem));
                };
                self.item((&item).into(), path)?;
            }
            kind if is_hosted(kind) => {
                let mut whole = Rest::new();
                whole.insert("type".to_owned(), kind.into());
                whole.extend(fields.rest());
                for name in ["id", "approval_request_id"] {
                    let own = whole.get(name).and_then(Value::as_str).and_then(own_id).map(Value::from);
                    whole.extend(own.map(|own| (name.to_owned(), own)));
                }
                self.said(PartKind::Other(whole.into()).into());
            }
            other => {
                let problem = format!("items of the type `{other}` cannot be sent to the models served here");
                return Err(Mismatch::new(&path.key("type"), problem));
            }
        }
        Ok(())
    }

    fn message(&mut self, fields: &mut Fields<'_>) -> Result<(), Mismatch> {
        let path = fields.path().key("role");
        let word = fields.need_word("role")?;
        let role = match &*word {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            _ => {
                let known = "one of `user`, `assistant`, `system`, `developer`";
                return Err(Mismatch::expected(&path, known, &Json::Text(word)));
            }
        };
        let path = fields.path().key("content");
        let content = fields.take("content").ok_or_else(|| Mismatch::missing(&path))?;
        let parts = contents(content, &path)?;
        if role == Role::Assistant {
            if let Some(phase) = fields.text("phase")? {
                self.said(PartKind::Other(in_phase(&phase)).into());
            }
            for part in parts {
                self.said(part);
            }
        } else {
            self.messages.push(message(role, parts));
        }
        Ok(())
    }

    fn call(&mut self, fields: &mut Fields<'_>, kind: Kind, arguments: String) -> Result<(), Mismatch> {
        let id = fields.need_text("call_id")?;
        let called = if kind.is_named() {
            Called::new(kind, fields.text("namespace")?, fields.need_text("name")?)
        } else {
            Called::nameless(kind)
        };
        let name = self.tools.as_ref().map_or_else(|| called.shown(), |tools| tools.shown(&called));
        self.said(PartKind::ToolCall { id, name, arguments }.into());
        Ok(())
    }

    /// A search for tools that the client made for the model. No model asked for one that OpenAI made.
    fn search(&mut self, fields: &mut Fields<'_>) -> Result<(), Mismatch> {
        if is_search_hosted(fields)? {
            return Ok(());
        }
        let arguments = arguments(fields.take("arguments"));
        self.call(fields, Kind::ToolSearch, arguments)
    }

    /// What it found: from here on the model may call it.
    fn found(&mut self, fields: &mut Fields<'_>) -> Result<(), Mismatch> {
        let names = self.more_tools(fields)?;
        if is_search_hosted(fields)? {
            return Ok(());
        }
        let said = match names.as_slice() {
            [] => "No tools were found.".to_owned(),
            names => format!("These tools can be called now: {}.", names.join(", ")),
        };
        self.result(fields, said)
    }

    fn more_tools(&mut self, fields: &mut Fields<'_>) -> Result<Vec<String>, Mismatch> {
        let path = fields.path().key("tools");
        let items = fields.list("tools")?.unwrap_or_default();
        self.tools.as_mut().map_or_else(|| Ok(Vec::new()), |tools| tools.read(items, &path))
    }

    /// What a call came to, in words.
    fn result(&mut self, fields: &mut Fields<'_>, said: String) -> Result<(), Mismatch> {
        let call_id = fields.need_text("call_id")?;
        let result = PartKind::ToolResult { call_id, content: vec![Part::text(said)], is_error: false };
        self.messages.push(message(Role::Tool, vec![result.into()]));
        Ok(())
    }

    fn output(&mut self, fields: &mut Fields<'_>) -> Result<(), Mismatch> {
        // Some clients name the call by the item's id.
        let call_id = match fields.text("call_id")? {
            Some(id) => id,
            None => fields.need_text("id")?,
        };
        let path = fields.path().key("output");
        let said = fields.take("output").ok_or_else(|| Mismatch::missing(&path))?;
        let content = contents(said, &path)?;
        let result = PartKind::ToolResult { call_id, content, is_error: false };
        self.messages.push(message(Role::Tool, vec![result.into()]));
        Ok(())
    }

    /// Thinking that was sealed here comes back as it was. What the client got elsewhere is taken for what this API sealed itself: models that
    /// are asked by it take it back, and for others it has its summary alone.
    fn reasoning(&mut self, fields: &mut Fields<'_>) -> Result<(), Mismatch> {
        let mut text = String::new();
        for name in ["summary", "content"] {
            let path = fields.path().key(name);
            for (index, piece) in fields.list(name)?.unwrap_or_default().into_iter().enumerate() {
                let path = path.index(index);
                let more = Fields::of(piece, &path)?.need_text("text")?;
                if !text.is_empty() {
                    text.push_str("\n\n");
                }
                text.push_str(&more);
            }
        }
        let id = fields.text("id")?.unwrap_or_default();
        let content = fields.text("encrypted_content")?.filter(|content| !content.is_empty());
        let ours = content.as_deref().and_then(|content| content.strip_prefix(SEALED)?.split_once(':'));
        let own = content.as_deref().filter(|content| !content.starts_with(SEALED));
        match ours {
            Some(("signature", signature)) => {
                self.said(PartKind::Reasoning { text, signature: Some(signature.to_owned()) }.into());
            }
            Some(("redacted", data)) => {
                self.said(PartKind::redacted_reasoning(data).into());
            }
            _ => match own.map(|content| sealed::seal(&id, content)) {
                Some(sealed) if text.is_empty() => self.said(PartKind::redacted_reasoning(&sealed).into()),
                signature if !text.is_empty() => self.said(PartKind::Reasoning { text, signature }.into()),
                _ => {}
            },
        }
        Ok(())
    }

    fn said(&mut self, part: Part) {
        match self.messages.last_mut() {
            Some(last) if last.role == Role::Assistant => last.parts.push(part),
            _ => self.messages.push(message(Role::Assistant, vec![part])),
        }
    }
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None, rest: Rest::new() }
}

/// Whether a search for tools was OpenAI's own.
fn is_search_hosted(fields: &mut Fields<'_>) -> Result<bool, Mismatch> {
    let runs_at = fields.word("execution")?;
    Ok(runs_at.is_some_and(|runs_at| runs_at == "server") || fields.peek("call_id").is_none())
}

pub(super) fn without_type(mut action: Value) -> Value {
    if let Value::Object(fields) = &mut action {
        fields.shift_remove("type");
    }
    action
}

/// A text, or a list of texts, pictures and files.
fn contents(value: Json<'_>, path: &Path<'_>) -> Result<Vec<Part>, Mismatch> {
    match value {
        Json::Text(text) => Ok(vec![Part::text(text)]),
        Json::Array(items) => {
            items.into_iter().enumerate().map(|(index, item)| content(item, &path.index(index))).collect()
        }
        other => Err(Mismatch::expected(path, "a text or an array", &other)),
    }
}

/// A part that is kept whole, with what was not read of it.
fn whole(mut part: Value, fields: Fields<'_>) -> Part {
    if let Value::Object(part) = &mut part {
        part.extend(fields.telling_rest());
    }
    PartKind::Other(part).into()
}

fn content(value: Json<'_>, path: &Path<'_>) -> Result<Part, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let kind = fields.need_word("type")?;
    // What replies say beside a text is no field of any chat.
    for name in ["annotations", "logprobs"] {
        fields.take(name);
    }
    let kind = match &*kind {
        "input_text" | "text" => PartKind::Text(fields.need_text("text")?),
        "output_text" => return Ok(Part::text(fields.need_text("text")?)),
        "refusal" => return Ok(PartKind::Refusal(fields.need_text("refusal")?).into()),
        "input_image" => {
            let (url, id) = (fields.word("image_url")?, fields.text("file_id")?);
            let detail = fields.text("detail")?.filter(|detail| detail != "auto");
            match (url, id) {
                (Some(url), _) => PartKind::Image(image_source(url, detail)),
                // Who is asked through this API is told, and nobody else can be.
                (None, Some(id)) => {
                    let detail = detail.as_deref().unwrap_or("auto");
                    return Ok(whole(json!({"type": "input_image", "file_id": id, "detail": detail}), fields));
                }
                (None, None) => {
                    let problem = "a picture stands in `image_url`, or is kept at OpenAI as `file_id`";
                    return Err(Mismatch::new(path, problem));
                }
            }
        }
        "input_file" => {
            let (name, data, url) = (fields.text("filename")?, fields.text("file_data")?, fields.text("file_url")?);
            let id = fields.text("file_id")?;
            let mut file = match (data, url.or(id)) {
                (Some(data), _) => json!({"file_data": data}),
                // An address as LiteLLM's clients of chats say it, and every provider that fetches files is told; else what is kept at OpenAI.
                (None, Some(id)) => json!({"file_id": id}),
                (None, None) => {
                    let problem = "a file stands in `file_data` or at `file_url`, or is kept at OpenAI as `file_id`";
                    return Err(Mismatch::new(path, problem));
                }
            };
            if let Some(name) = name {
                file["filename"] = name.into();
            }
            let mut part = json!({"type": "file", "file": file});
            if let Some(detail) = fields.text("detail")?.filter(|detail| detail != "auto") {
                part["detail"] = detail.into();
            }
            return Ok(whole(part, fields));
        }
        other => {
            let problem = format!("content of the type `{other}` cannot be sent to the models served here");
            return Err(Mismatch::new(&path.key("type"), problem));
        }
    };
    // Where a cache ends, for instance, which chats say in the same words.
    Ok(Part { kind, rest: fields.telling_rest() })
}
