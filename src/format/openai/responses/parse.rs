//! A client's request, read into the canonical chat.
//!
//! What only this API has and says again in its reply goes into the request's echo; chats have a field for most of the others. What
//! needs the provider's own memory or machines (`conversation`, `prompt`) or would make another reply is refused by name. Whether a reply is
//! to be made in the `background` is left to whoever sends the request: that may be left out. The few fields that are left (how much of an
//! overlong conversation to cut, how often a provider's own tools may run) are reported, but where the provider speaks this API.

use serde_json::{Value, json};

use super::items::Conversation;
use super::own_id;
use super::tools::Toolbox;
use crate::chat::{ChatRequest, IN_BACKGROUND, Message, OutputFormat, Reasoning, Rest};
use crate::fault::Refusal;
use crate::format::ClientRequest;
use crate::format::json::Json;
use crate::format::openai::{DIALECT, parse};
use crate::format::read::{Fields, Mismatch, Path, reply_body, request_body};

/// Where a request's echo keeps what its reply is to hold of what a provider's own tools found. No reply repeats it.
pub(super) const INCLUDE: &str = "witgate:include";

/// A field's name, and what a reply says where the client said nothing.
type Echoed = (&'static str, fn() -> Value);

/// Fields that a reply repeats.
const ECHOED: [Echoed; 17] = [
    ("instructions", || Value::Null),
    ("max_output_tokens", || Value::Null),
    ("max_tool_calls", || Value::Null),
    ("metadata", || json!({})),
    ("parallel_tool_calls", || Value::Bool(true)),
    ("previous_response_id", || Value::Null),
    ("prompt_cache_key", || Value::Null),
    ("reasoning", || json!({"effort": null, "summary": null})),
    ("safety_identifier", || Value::Null),
    ("service_tier", || json!("default")),
    ("store", || Value::Bool(true)),
    ("temperature", || json!(1.0)),
    ("text", || json!({"format": {"type": "text"}})),
    ("tool_choice", || json!("auto")),
    ("tools", || json!([])),
    ("top_p", || json!(1.0)),
    ("truncation", || json!("disabled")),
];
/// Fields that ask for what is not here, and why not.
const ELSEWHERE: [(&str, &str); 3] = [
    ("conversation", "conversations are not kept here; send `previous_response_id` or the items"),
    ("prompt", "prompts that are kept at OpenAI cannot be used here; send the instructions"),
    ("context_management", "conversations are not shortened here; leave it out"),
];

/// Fields that nobody here acts on, and without which the reply is the same: no tool runs at a provider that does not speak this API,
/// nothing runs in the background, and access is the provider's to give.
const UNTOLD: [&str; 4] = ["access_programs", "background_options", "client_metadata", "max_tool_calls"];

/// Reads a request.
///
/// # Errors
/// `InvalidRequest` with the JSON position or the field path.
pub(super) fn request(request: &ClientRequest) -> Result<ChatRequest, Refusal> {
    let mut fields = Fields::of(request_body(&request.body)?, &Path::Root)?;
    let model = parse::model(&mut fields, request)?;
    refuse(&mut fields)?;
    let mut echo = echo(&fields, &request.id);
    if fields.flag("background")? == Some(true) {
        echo.insert(IN_BACKGROUND.to_owned(), true.into());
    }
    let (messages, toolbox) = conversation(&mut fields, request)?;
    let mut untold = Vec::new();
    let logprobs = include(&mut fields, &mut echo, &mut untold)?;
    let likeliest = fields.whole("top_logprobs")?.filter(|count| *count > 0);
    if likeliest.is_some() && !logprobs {
        // How many of what is not to be in the reply.
        untold.push("top_logprobs".to_owned());
    }
    if fields.word("truncation")?.is_some_and(|how| how != "disabled") {
        untold.push("truncation".to_owned());
    }
    untold.extend(UNTOLD.into_iter().filter(|name| fields.take(name).is_some()).map(str::to_owned));
    // What is kept is kept here; streams are told without padding.
    for name in ["metadata", "previous_response_id", "store", "stream_options"] {
        fields.take(name);
    }
    let max_tokens = fields.whole("max_output_tokens")?;
    let reasoning = reasoning(&mut fields, &mut untold)?;
    let output = text(&mut fields, &mut untold)?;
    let tool_choice = toolbox.choice(&mut fields)?;
    let tools = toolbox.finish(&mut echo, &mut untold);
    let mut request = ChatRequest {
        model,
        messages: messages.into(),
        tools,
        tool_choice,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        max_tokens,
        choices: 1,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: None,
        stop: Vec::new(),
        output,
        reasoning,
        user: fields.text("user")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        stream_usage: true,
        input_tokens: None,
        vectors: None,
        echo,
        untold,
        dialect: DIALECT,
        rest: fields.rest(),
    };
    if logprobs {
        request.rest.insert("logprobs".to_owned(), true.into());
        request.rest.extend(likeliest.map(|count| ("top_logprobs".to_owned(), count.into())));
    }
    Ok(request)
}

fn refuse(fields: &mut Fields<'_>) -> Result<(), Mismatch> {
    for (name, problem) in ELSEWHERE {
        if fields.take(name).is_some() {
            return Err(Mismatch::new(&Path::Root.key(name), problem));
        }
    }
    Ok(())
}

/// What the reply repeats, its id first.
fn echo(fields: &Fields<'_>, id: &str) -> Rest {
    let mut echo = Rest::new();
    if !id.is_empty() {
        echo.insert("id".to_owned(), Value::from(super::response_id(id)));
    }
    for (name, absent) in ECHOED {
        let said = fields.peek(name).cloned().map(Value::from);
        let mut value = said.unwrap_or_else(absent);
        if let (Value::Object(said), Value::Object(whole)) = (&mut value, absent()) {
            for (name, value) in whole {
                if !said.contains_key(&name) {
                    said.insert(name, value);
                }
            }
        }
        echo.insert(name.to_owned(), value);
    }
    echo
}

/// What was said, and the tools of the request and of what was said.
fn conversation(fields: &mut Fields<'_>, request: &ClientRequest) -> Result<(Vec<Message>, Toolbox), Refusal> {
    let earlier = &request.earlier;
    let root = Path::Root;
    let mut tools = Toolbox::default();
    tools.read(fields.list("tools")?.unwrap_or_default(), &root.key("tools"))?;
    let mut conversation = Conversation::with(tools);
    for turn in &request.named {
        conversation.know(&turn.reply);
    }
    if let Some(instructions) = fields.text("instructions")? {
        conversation.instruct(instructions);
    }
    let before = root.key("previous_response_id");
    for turn in earlier {
        let asked = request_body(&turn.request)?;
        if let Some(input) = asked.get("input") {
            conversation.add(input.clone(), &before)?;
        }
        let replied = reply_body(&turn.reply).map_err(Refusal::from)?;
        if let Some(output) = replied.get("output") {
            conversation.add(said(output), &before)?;
        }
    }
    let path = root.key("input");
    let input = fields.take("input").ok_or_else(|| Mismatch::missing(&path))?;
    if matches!(&input, Json::Array(items) if items.is_empty()) && earlier.is_empty() {
        return Err(Mismatch::new(&path, "at least one item is required").into());
    }
    conversation.add(input, &path)?;
    Ok(conversation.into_parts())
}

/// A reply's items that belong to the conversation: of pictures that were made, those whose provider speaks this API, and knows them again.
fn said<'b>(output: &Json<'b>) -> Json<'b> {
    match output {
        Json::Array(items) => {
            let is_known = |item: &Json<'b>| item.get("id").and_then(Json::as_str).and_then(own_id).is_some();
            let is_picture = |item: &Json<'b>| item.get("type").is_some_and(|kind| kind == "image_generation_call");
            Json::Array(items.iter().filter(|item| is_known(item) || !is_picture(item)).cloned().collect())
        }
        other => other.clone(),
    }
}

/// What the reply is to hold beside its text: the thinking that must come back is always there, what tools of the provider's found
/// where it speaks this API. Whether it is to tell how likely its tokens were.
fn include(fields: &mut Fields<'_>, echo: &mut Rest, untold: &mut Vec<String>) -> Result<bool, Mismatch> {
    let path = Path::Root.key("include");
    let mut logprobs = false;
    let mut kept: Vec<Value> = Vec::new();
    for (index, item) in fields.list("include")?.unwrap_or_default().into_iter().enumerate() {
        match item.as_str() {
            Some("reasoning.encrypted_content") => {}
            Some("message.output_text.logprobs") => logprobs = true,
            Some(name) => {
                kept.push(name.into());
                untold.push(format!("include[{index}]"));
            }
            None => return Err(Mismatch::expected(&path.index(index), "a text", &item)),
        }
    }
    if !kept.is_empty() {
        echo.insert(INCLUDE.to_owned(), kept.into());
    }
    Ok(logprobs)
}

fn reasoning(fields: &mut Fields<'_>, untold: &mut Vec<String>) -> Result<Option<Reasoning>, Mismatch> {
    let path = Path::Root.key("reasoning");
    let Some(value) = fields.take("reasoning") else { return Ok(None) };
    let mut fields = Fields::of(value, &path)?;
    let effort = fields.text("effort")?;
    if let Some(mode) = fields.word("mode")?.filter(|mode| mode != "standard") {
        let problem = format!("the mode `{mode}` cannot be asked of the models served here; leave it out");
        return Err(Mismatch::new(&path.key("mode"), problem));
    }
    // Which of the earlier thinking counts is the model's to find; all that is shown of it is its summary.
    for name in ["context", "summary", "generate_summary"] {
        if fields.word(name)?.is_some_and(|word| word != "auto") {
            untold.push(format!("reasoning.{name}"));
        }
    }
    told_of_others("reasoning", fields, untold);
    Ok(effort.map(|effort| Reasoning { effort: Some(effort), budget_tokens: None }))
}

/// Names what was not read of the object `name`.
fn told_of_others(name: &str, fields: Fields<'_>, untold: &mut Vec<String>) {
    untold.extend(fields.telling_rest().keys().map(|left| format!("{name}.{left}")));
}

/// The reply's shape; how wordy it is has a field of its own in chats.
fn text(fields: &mut Fields<'_>, untold: &mut Vec<String>) -> Result<Option<OutputFormat>, Mismatch> {
    let path = Path::Root.key("text");
    let Some(value) = fields.take("text") else { return Ok(None) };
    let mut text = Fields::of(value, &path)?;
    if let Some(verbosity) = text.text("verbosity")? {
        fields.put("verbosity", verbosity.into());
    }
    let path = path.key("format");
    let format = text.take("format");
    told_of_others("text", text, untold);
    let Some(format) = format else { return Ok(None) };
    let mut format = Fields::of(format, &path)?;
    let kind = format.need_word("type")?;
    Ok(Some(match &*kind {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => OutputFormat::JsonSchema {
            name: format.text("name")?,
            description: format.text("description")?,
            schema: format.take("schema").ok_or_else(|| Mismatch::missing(&path.key("schema")))?.into(),
            strict: format.flag("strict")?,
        },
        _ => {
            let known = "`text`, `json_object` or `json_schema`";
            return Err(Mismatch::expected(&path.key("type"), known, &Json::Text(kind)));
        }
    }))
}
