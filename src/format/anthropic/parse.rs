//! A client's request, read into the canonical chat.

use super::blocks;
use crate::chat::{ChatRequest, Message, OutputFormat, Part, PartKind, Reasoning, Rest, Role, Tool, ToolChoice};
use crate::fault::Refusal;
use crate::format::anthropic::DIALECT;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, request_body};

/// Reads a request.
///
/// # Errors
/// `InvalidRequest` with the JSON position or the field path.
pub(super) fn request(body: &[u8]) -> Result<ChatRequest, Refusal> {
    let read = countable(body)?;
    if read.max_tokens.is_none() {
        return Err(Mismatch::missing(&Path::Root.key("max_tokens")).into());
    }
    Ok(read)
}

/// The same without a bound of the output, which a count has no need of.
pub(super) fn countable(body: &[u8]) -> Result<ChatRequest, Refusal> {
    let root = Path::Root;
    let mut fields = Fields::of(request_body(body)?, &root)?;
    let model = fields.need_text("model")?;
    if model.is_empty() {
        return Err(Mismatch::new(&root.key("model"), "the name of a model is required").into());
    }
    let messages = conversation(&mut fields)?;
    let max_tokens = fields.whole("max_tokens")?;
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields)?;
    let (reasoning, output) = thinking_and_output(&mut fields)?;
    Ok(ChatRequest {
        model,
        messages: messages.into(),
        tools: tools(&mut fields)?,
        tool_choice,
        parallel_tool_calls,
        max_tokens,
        choices: 1,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.whole("top_k")?,
        stop: stop(&mut fields)?,
        output,
        reasoning,
        user: user(&mut fields)?,
        stream: fields.flag("stream")?.unwrap_or(false),
        // This dialect's streams always tell what was used.
        stream_usage: true,
        input_tokens: None,
        vectors: None,
        echo: Rest::new(),
        untold: Vec::new(),
        dialect: DIALECT,
        rest: fields.rest(),
    })
}

/// `system` and `messages`.
fn conversation(fields: &mut Fields<'_>) -> Result<Vec<Message>, Mismatch> {
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        let parts = blocks::parse_content(system, &fields.path().key("system"))?;
        messages.push(Message { role: Role::System, parts, name: None, rest: Rest::new() });
    }
    let path = fields.path().key("messages");
    let items = fields.messages()?;
    for (index, item) in items.into_iter().enumerate() {
        message(item, &path.index(index), &mut messages)?;
    }
    Ok(messages)
}

/// Reads one message. Tool results are turns of their own in the canonical chat, so a user message that
/// holds some becomes several, in order; written back, neighbours of one speaker are one message again.
fn message(value: Json<'_>, path: &Path<'_>, out: &mut Vec<Message>) -> Result<(), Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let word = fields.need_word("role")?;
    let role = match &*word {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => {
            let known = "one of `user`, `assistant`, `system`";
            return Err(Mismatch::expected(&path.key("role"), known, &Json::Text(word)));
        }
    };
    let content = path.key("content");
    let parts = blocks::parse_content(fields.take("content").ok_or_else(|| Mismatch::missing(&content))?, &content)?;
    let mut rest = fields.rest();
    let mut turn: Vec<Part> = Vec::with_capacity(parts.len());
    let mut turn_role = role;
    let empty = parts.is_empty();
    for part in parts {
        let is_result = matches!(part.kind, PartKind::ToolResult { .. });
        let part_role = if role == Role::User && is_result { Role::Tool } else { role };
        // Every result is a turn: other dialects answer each call with a message.
        if !turn.is_empty() && (part_role != turn_role || is_result) {
            let parts = std::mem::take(&mut turn);
            out.push(Message { role: turn_role, parts, name: None, rest: std::mem::take(&mut rest) });
        }
        turn_role = part_role;
        turn.push(part);
    }
    if !turn.is_empty() || empty {
        out.push(Message { role: turn_role, parts: turn, name: None, rest });
    }
    Ok(())
}

fn stop(fields: &mut Fields<'_>) -> Result<Vec<String>, Mismatch> {
    let path = fields.path().key("stop_sequences");
    let items = fields.list("stop_sequences")?.unwrap_or_default();
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| match item {
            Json::Text(text) => Ok(text.into_owned()),
            other => Err(Mismatch::expected(&path.index(index), "a text", &other)),
        })
        .collect()
}

fn tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, Mismatch> {
    let path = fields.path().key("tools");
    let items = fields.list("tools")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(index, item)| tool(item, &path.index(index))).collect()
}

/// A tool of the client's own has no `type`, or `custom`; all others are the provider's.
fn tool(value: Json<'_>, path: &Path<'_>) -> Result<Tool, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    if fields.peek("type").is_some_and(|kind| kind != "custom") {
        return Ok(Tool::Other(fields.rest().into()));
    }
    fields.take("type");
    let schema = path.key("input_schema");
    Ok(Tool::Function {
        name: fields.need_text("name")?,
        description: fields.text("description")?,
        parameters: Some(fields.take("input_schema").ok_or_else(|| Mismatch::missing(&schema))?.into()),
        strict: fields.flag("strict")?,
        rest: fields.rest(),
    })
}

fn tool_choice(fields: &mut Fields<'_>) -> Result<(Option<ToolChoice>, Option<bool>), Mismatch> {
    let path = fields.path().key("tool_choice");
    let Some(value) = fields.take("tool_choice") else { return Ok((None, None)) };
    let mut choice = Fields::of(value.clone(), &path)?;
    let kind = choice.need_word("type")?;
    let parallel = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let known = match &*kind {
        "auto" => Some(ToolChoice::Auto),
        "any" => Some(ToolChoice::Required),
        "none" => Some(ToolChoice::None),
        "tool" => Some(ToolChoice::Function(choice.need_text("name")?)),
        _ => None,
    };
    Ok(match known.filter(|_| choice.rest().is_empty()) {
        Some(known) => (Some(known), parallel),
        None => (Some(ToolChoice::Other(value.into())), None),
    })
}

/// `thinking` and `output_config` (and `output_format`, as part of it was called while it was a beta).
/// Of both, what other dialects cannot say stays in `rest` under its own name. Thinking that is turned off stays there whole, and
/// any effort beside it: for other dialects it is the effort `none`.
fn thinking_and_output(fields: &mut Fields<'_>) -> Result<(Option<Reasoning>, Option<OutputFormat>), Mismatch> {
    let mut reasoning = Reasoning::default();
    let mut off = false;
    if let Some(value) = fields.take("thinking") {
        let path = fields.path().key("thinking");
        let mut thinking = Fields::of(value, &path)?;
        if thinking.peek("type").is_some_and(|kind| kind == "enabled") {
            reasoning.budget_tokens = thinking.whole("budget_tokens")?;
            if reasoning.budget_tokens.is_some() {
                thinking.take("type");
            }
        }
        off = thinking.peek("type").is_some_and(|kind| kind == "disabled");
        fields.keep("thinking", thinking.rest());
    }
    let mut output = None;
    if let Some(value) = fields.take("output_format") {
        output = Some(output_format(value, &fields.path().key("output_format"))?);
    }
    if let Some(value) = fields.take("output_config") {
        let path = fields.path().key("output_config");
        let mut config = Fields::of(value, &path)?;
        if !off {
            reasoning.effort = config.text("effort")?;
        }
        if let Some(format) = config.take("format") {
            output = Some(output_format(format, &path.key("format"))?);
        }
        fields.keep("output_config", config.rest());
    }
    if off {
        reasoning.effort = Some("none".to_owned());
    }
    let reasoning = Some(reasoning).filter(|reasoning| *reasoning != Reasoning::default());
    Ok((reasoning, output))
}

fn output_format(value: Json<'_>, path: &Path<'_>) -> Result<OutputFormat, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let kind = fields.need_word("type")?;
    if kind != "json_schema" {
        return Err(Mismatch::expected(&path.key("type"), "`json_schema`", &Json::Text(kind)));
    }
    let schema = fields.take("schema").ok_or_else(|| Mismatch::missing(&path.key("schema")))?;
    // The dialect promises to follow the schema exactly.
    Ok(OutputFormat::JsonSchema { name: None, description: None, schema: schema.into(), strict: Some(true) })
}

/// The end user's name; other metadata stays in `rest`.
fn user(fields: &mut Fields<'_>) -> Result<Option<String>, Mismatch> {
    let Some(value) = fields.take("metadata") else { return Ok(None) };
    let path = fields.path().key("metadata");
    let mut metadata = Fields::of(value, &path)?;
    let user = metadata.text("user_id")?;
    fields.keep("metadata", metadata.rest());
    Ok(user)
}
