//! A client's request, read into the canonical chat.
//!
//! The older spellings `max_tokens` and role `function` are remembered by a null of that name in `rest`,
//! so that the same dialect gets them back.

use serde_json::Value;

use super::responses::Conversation;
use super::{message, paths};
use crate::chat::{ChatRequest, Message, OutputFormat, Part, PartKind, Reasoning, Rest, Role, Tool, ToolChoice};
use crate::fault::Refusal;
use crate::format::ClientRequest;
use crate::format::json::Json;
use crate::format::openai::DIALECT;
use crate::format::read::{Fields, Mismatch, Path, request_body};

/// Reads a request.
///
/// # Errors
/// `InvalidRequest` with the JSON position or the field path.
pub(super) fn request(request: &ClientRequest) -> Result<ChatRequest, Refusal> {
    let mut fields = Fields::of(request_body(&request.body)?, &Path::Root)?;
    let model = model(&mut fields, request)?;
    let messages = messages(&mut fields)?;
    settings(fields, model, messages)
}

/// The model: the one in the path, where it names one, else the body's.
pub(super) fn model(fields: &mut Fields<'_>, request: &ClientRequest) -> Result<String, Mismatch> {
    if let Some(named) = paths::deployment(request.uri.path()) {
        fields.take("model");
        return Ok(named);
    }
    let model = fields.need_text("model")?;
    if model.is_empty() {
        return Err(Mismatch::new(&fields.path().key("model"), "the name of a model is required"));
    }
    Ok(model)
}

/// All that is said beside the conversation.
pub(super) fn settings(mut fields: Fields<'_>, model: String, messages: Vec<Message>) -> Result<ChatRequest, Refusal> {
    let choices = fields.whole("n")?.unwrap_or(1);
    if choices == 0 {
        return Err(Mismatch::new(&Path::Root.key("n"), "at least one reply must be asked for").into());
    }
    let (stream, stream_usage) = stream(&mut fields)?;
    let max_tokens = max_tokens(&mut fields)?;
    let reasoning = reasoning(&mut fields)?;
    Ok(ChatRequest {
        model,
        messages: messages.into(),
        tools: tools(&mut fields)?,
        tool_choice: tool_choice(&mut fields)?,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        max_tokens,
        choices,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: top_k(&mut fields)?,
        stop: stop(&mut fields)?,
        output: output(&mut fields)?,
        reasoning,
        user: fields.text("user")?,
        stream,
        stream_usage,
        input_tokens: None,
        vectors: None,
        echo: Rest::new(),
        untold: Vec::new(),
        dialect: DIALECT,
        rest: fields.rest(),
    })
}

fn messages(fields: &mut Fields<'_>) -> Result<Vec<Message>, Mismatch> {
    let path = fields.path().key("messages");
    // Some editors write the items of the newer API where the messages belong.
    if fields.peek("messages").is_none()
        && let Some(input) = fields.take("input")
    {
        let mut conversation = Conversation::default();
        conversation.add(input, &fields.path().key("input"))?;
        return Ok(conversation.into_messages());
    }
    let items = fields.messages()?;
    items.into_iter().enumerate().map(|(index, item)| one_message(item, &path.index(index))).collect()
}

fn one_message(value: Json<'_>, path: &Path<'_>) -> Result<Message, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let word = fields.need_word("role")?;
    let (role, function) = match &*word {
        "system" => (Role::System, false),
        "developer" => (Role::Developer, false),
        "user" => (Role::User, false),
        "assistant" => (Role::Assistant, false),
        "tool" => (Role::Tool, false),
        "function" => (Role::Tool, true),
        _ => {
            let known = "one of `system`, `developer`, `user`, `assistant`, `tool`, `function`";
            return Err(Mismatch::expected(&path.key("role"), known, &Json::Text(word)));
        }
    };
    let name = fields.text("name")?;
    let parts = match role {
        Role::Assistant => message::said_by_assistant(&mut fields)?,
        Role::Tool => {
            let call_id = if function {
                name.clone().ok_or_else(|| Mismatch::missing(&path.key("name")))?
            } else {
                fields.need_text("tool_call_id")?
            };
            let content = needed_content(&mut fields)?;
            vec![PartKind::ToolResult { call_id, content, is_error: false }.into()]
        }
        Role::System | Role::Developer | Role::User => needed_content(&mut fields)?,
    };
    if function {
        fields.put("role", Value::Null);
    }
    Ok(Message { role, parts, name, rest: fields.rest() })
}

fn needed_content(fields: &mut Fields<'_>) -> Result<Vec<Part>, Mismatch> {
    message::content(fields)?.ok_or_else(|| Mismatch::missing(&fields.path().key("content")))
}

fn max_tokens(fields: &mut Fields<'_>) -> Result<Option<u32>, Mismatch> {
    let older = fields.whole("max_tokens")?;
    let newer = fields.whole("max_completion_tokens")?;
    if newer.is_none() && older.is_some() {
        fields.put("max_tokens", Value::Null);
    }
    Ok(newer.or(older))
}

/// An effort, and what LiteLLM's `thinking` says in Anthropic's words: a budget, or that the model is not to think. What it says
/// beside a budget stays in `rest`, and all of it where there is none.
fn reasoning(fields: &mut Fields<'_>) -> Result<Option<Reasoning>, Mismatch> {
    let effort = fields.text("reasoning_effort")?;
    // LiteLLM's own word for it.
    let effort = effort.map(|effort| if effort == "disable" { "none".to_owned() } else { effort });
    let mut reasoning = Reasoning { effort, budget_tokens: None };
    let written = fields.peek("thinking");
    let kind = written.and_then(|written| written.get("type")).and_then(Json::as_str);
    let budget = written.and_then(|written| written.get("budget_tokens")).and_then(Json::as_u64);
    let budget = budget.and_then(|budget| u32::try_from(budget).ok()).filter(|_| kind == Some("enabled"));
    if kind == Some("disabled") && reasoning.effort.is_none() {
        reasoning.effort = Some("none".to_owned());
    }
    if let Some(budget) = budget
        && let Some(written) = fields.take("thinking")
    {
        let path = fields.path().key("thinking");
        let mut thinking = Fields::of(written, &path)?;
        thinking.take("type");
        thinking.take("budget_tokens");
        fields.keep("thinking", thinking.rest());
        reasoning.budget_tokens = Some(budget);
    }
    Ok(Some(reasoning).filter(|reasoning| *reasoning != Reasoning::default()))
}

/// Not a field of OpenAI's, but of most that imitate it. Some write -1 for "all": that stays in `rest`.
fn top_k(fields: &mut Fields<'_>) -> Result<Option<u32>, Mismatch> {
    if fields.peek("top_k").is_some_and(|value| value.as_u64().is_some()) { fields.whole("top_k") } else { Ok(None) }
}

fn stream(fields: &mut Fields<'_>) -> Result<(bool, bool), Mismatch> {
    let stream = fields.flag("stream")?.unwrap_or(false);
    let Some(value) = fields.take("stream_options") else { return Ok((stream, false)) };
    let path = fields.path().key("stream_options");
    let mut options = Fields::of(value, &path)?;
    let usage = options.flag("include_usage")?.unwrap_or(false);
    fields.keep("stream_options", options.rest());
    Ok((stream, usage))
}

fn stop(fields: &mut Fields<'_>) -> Result<Vec<String>, Mismatch> {
    let path = fields.path().key("stop");
    match fields.take("stop") {
        None => Ok(Vec::new()),
        Some(Json::Text(text)) => Ok(vec![text.into_owned()]),
        Some(Json::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Json::Text(text) => Ok(text.into_owned()),
                other => Err(Mismatch::expected(&path.index(index), "a text", &other)),
            })
            .collect(),
        Some(other) => Err(Mismatch::expected(&path, "a text or an array of texts", &other)),
    }
}

fn tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, Mismatch> {
    let path = fields.path().key("tools");
    let items = fields.list("tools")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(index, item)| tool(item, &path.index(index))).collect()
}

fn tool(value: Json<'_>, path: &Path<'_>) -> Result<Tool, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    if is_flat(&fields) {
        return flat_tool(fields);
    }
    if fields.peek("type").is_some_and(|kind| kind != "function") {
        return Ok(Tool::Other(fields.rest().into()));
    }
    fields.take("type");
    let inside = path.key("function");
    let function = fields.take("function").ok_or_else(|| Mismatch::missing(&inside))?;
    let mut function = Fields::of(function, &inside)?;
    let name = function.need_text("name")?;
    let description = function.text("description")?;
    let parameters = function.take("parameters").map(Value::from);
    let strict = function.flag("strict")?;
    fields.keep("function", function.rest());
    Ok(Tool::Function { name, description, parameters, strict, rest: fields.rest() })
}

/// Without the `function` around it, as the newer API of the same provider writes it, or Anthropic's.
fn is_flat(fields: &Fields<'_>) -> bool {
    let has = |name: &str| fields.peek(name).is_some();
    let kind = fields.peek("type").and_then(Json::as_str);
    let mine = matches!(kind, None | Some("function")) || (kind == Some("custom") && has("input_schema"));
    mine && has("name") && !has("function")
}

fn flat_tool(mut fields: Fields<'_>) -> Result<Tool, Mismatch> {
    fields.take("type");
    let name = fields.need_text("name")?;
    let description = fields.text("description")?;
    let parameters = fields.take("parameters").or_else(|| fields.take("input_schema")).map(Value::from);
    let strict = fields.flag("strict")?;
    Ok(Tool::Function { name, description, parameters, strict, rest: fields.rest() })
}

fn tool_choice(fields: &mut Fields<'_>) -> Result<Option<ToolChoice>, Mismatch> {
    let path = fields.path().key("tool_choice");
    let Some(value) = fields.take("tool_choice") else { return Ok(None) };
    let choice = match &value {
        Json::Text(word) => match &**word {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            // `any` is Anthropic's word for it.
            "required" | "any" => ToolChoice::Required,
            _ => return Err(Mismatch::expected(&path, "`auto`, `none`, `required` or an object", &value)),
        },
        Json::Object(_) => match (value.get("type"), value.within("function", "name")) {
            (Some(kind), Some(Json::Text(name))) if kind == "function" => ToolChoice::Function(name.to_string()),
            (Some(kind), None) if kind == "function" || kind == "tool" => match value.get("name") {
                Some(Json::Text(name)) => ToolChoice::Function(name.to_string()),
                _ => ToolChoice::Other(value.into()),
            },
            (Some(kind), _) if kind == "auto" => ToolChoice::Auto,
            (Some(kind), _) if kind == "none" => ToolChoice::None,
            (Some(kind), _) if kind == "any" || kind == "required" => ToolChoice::Required,
            _ => ToolChoice::Other(value.into()),
        },
        _ => return Err(Mismatch::expected(&path, "`auto`, `none`, `required` or an object", &value)),
    };
    Ok(Some(choice))
}

/// The reply's shape. A kind that is not OpenAI's (grammars of imitators), or a schema kind without a
/// schema, stays in `rest` as it is.
fn output(fields: &mut Fields<'_>) -> Result<Option<OutputFormat>, Mismatch> {
    let path = fields.path().key("response_format");
    let schema_given = |value: &Json<'_>| value.within("json_schema", "schema").is_some_and(Json::is_object);
    let kind = match fields.peek("response_format") {
        None => return Ok(None),
        Some(value @ Json::Object(_)) => match value.get("type").and_then(Json::as_str) {
            None => return Err(Mismatch::missing(&path.key("type"))),
            Some("text") => "text",
            Some("json_object") => "json_object",
            Some("json_schema") if schema_given(value) => "json_schema",
            Some(_) => return Ok(None),
        },
        Some(other) => return Err(Mismatch::expected(&path, "an object", other)),
    };
    let Some(value) = fields.take("response_format") else { return Ok(None) };
    let mut format = Fields::of(value, &path)?;
    format.take("type");
    let output = match kind {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        _ => {
            let inside = path.key("json_schema");
            let mut inner = Fields::of(format.take("json_schema").unwrap_or_default(), &inside)?;
            let output = OutputFormat::JsonSchema {
                name: inner.text("name")?,
                description: inner.text("description")?,
                schema: inner.take("schema").unwrap_or_default().into(),
                strict: inner.flag("strict")?,
            };
            format.keep("json_schema", inner.rest());
            output
        }
    };
    fields.keep("response_format", format.rest());
    Ok(Some(output))
}
