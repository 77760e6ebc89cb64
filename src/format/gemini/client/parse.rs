//! A client's request, read into the canonical chat.
//!
//! Names are taken in both of the spellings that Google's servers take. What means the same in OpenAI's words is kept under
//! those; what only this API has goes back out to its own providers, and is reported anywhere else.

use serde_json::{Value, json};

use super::parts::Contents;
use crate::chat::{ChatRequest, Message, OutputFormat, Reasoning, Rest, Tool, ToolChoice};
use crate::fault::Refusal;
use crate::format::allowed;
use crate::format::gemini::DIALECT;
use crate::format::gemini::encode::{
    BUDGET, LEVEL, MIME, SAME, SCHEMA, SERVICE_TIER, SHOWN, THINKING, TIER, TOOL_CONFIG,
};
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path, request_body};

/// Reads a request.
///
/// # Errors
/// `InvalidRequest` with the JSON position or the field path.
pub(super) fn request(body: &[u8], model: String) -> Result<ChatRequest, Refusal> {
    Ok(read(request_body(body)?, model)?)
}

/// Reads what is to be counted: contents, or a whole request.
pub(super) fn counted(body: &[u8], model: String) -> Result<ChatRequest, Refusal> {
    let mut fields = object(request_body(body)?, &Path::Root)?;
    let mut request = match fields.take("generateContentRequest") {
        Some(inner) => read(inner, model)?,
        None => return Ok(read_fields(fields, model)?),
    };
    request.rest.extend(fields.rest());
    Ok(request)
}

/// A request that says nothing more.
pub(super) fn bare(model: String, messages: Vec<Message>) -> ChatRequest {
    ChatRequest { stream_usage: true, ..ChatRequest::bare(model, messages, DIALECT) }
}

/// An object whose fields are named in either of the two spellings.
pub(super) fn object<'p>(value: Json<'p>, path: &'p Path<'p>) -> Result<Fields<'p>, Mismatch> {
    let value = match value {
        Json::Object(mut members) => {
            for (name, _) in &mut members {
                if name.contains('_') {
                    *name = camel(name).into();
                }
            }
            Json::Object(members)
        }
        other => other,
    };
    Fields::of(value, path)
}

/// `max_output_tokens` → `maxOutputTokens`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

fn read(value: Json<'_>, model: String) -> Result<ChatRequest, Mismatch> {
    read_fields(object(value, &Path::Root)?, model)
}

fn read_fields(mut fields: Fields<'_>, model: String) -> Result<ChatRequest, Mismatch> {
    let root = Path::Root;
    fields.take("model");
    let mut contents = Contents::default();
    if let Some(instruction) = fields.take("systemInstruction") {
        contents.instruct(instruction, &root.key("systemInstruction"))?;
    }
    let path = root.key("contents");
    contents.add(fields.take("contents").ok_or_else(|| Mismatch::missing(&path))?, &path)?;
    let mut request = bare(model, contents.into_messages());
    request.tools = tools(&mut fields)?;
    if let Some(config) = fields.take(TOOL_CONFIG) {
        request.tool_choice = tool_choice(config.clone(), &root.key(TOOL_CONFIG))?;
        request.rest.insert(TOOL_CONFIG.to_owned(), config.into());
    }
    if let Some(config) = fields.take("generationConfig") {
        let path = root.key("generationConfig");
        let left = generation(object(config, &path)?, &mut request)?;
        if !left.is_empty() {
            request.rest.insert("generationConfig".to_owned(), left.into());
        }
    }
    // In OpenAI's words, where it is one that others know.
    let tier = fields.peek(SERVICE_TIER).and_then(Json::as_str).map(str::to_ascii_lowercase);
    if let Some(tier) = tier.filter(|tier| ["flex", "priority", "standard"].contains(&tier.as_str())) {
        fields.take(SERVICE_TIER);
        request.rest.insert(TIER.to_owned(), tier.into());
    }
    request.rest.extend(fields.rest());
    Ok(request)
}

fn tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, Mismatch> {
    let path = fields.path().key("tools");
    let mut tools = Vec::new();
    let list = match fields.take("tools") {
        None => return Ok(tools),
        Some(Json::Array(list)) => list,
        Some(one) => vec![one],
    };
    for (index, value) in list.into_iter().enumerate() {
        let path = path.index(index);
        let mut tool = object(value, &path)?;
        let inside = path.key("functionDeclarations");
        if let Some(Json::Array(declarations)) = tool.take("functionDeclarations") {
            for (place, declaration) in declarations.into_iter().enumerate() {
                tools.push(function(declaration, &inside.index(place))?);
            }
        }
        let others = tool.telling_rest();
        if !others.is_empty() {
            tools.push(Tool::Other(others.into()));
        }
    }
    Ok(tools)
}

fn function(value: Json<'_>, path: &Path<'_>) -> Result<Tool, Mismatch> {
    let mut fields = object(value, path)?;
    let name = fields.need_text("name")?;
    let description = fields.text("description")?;
    let plain = fields.take("parametersJsonSchema").map(Value::from);
    let parameters = plain.or_else(|| fields.take("parameters").map(|schema| schema_of(schema.into())));
    Ok(Tool::Function { name, description, parameters, strict: None, rest: fields.telling_rest() })
}

/// Keywords whose numbers Google writes as texts, for they have 64 bits.
const WHOLE: [&str; 6] = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// Google's schemas name types in capitals, say `nullable`, and in which order properties are to be written; JSON schemas do
/// none of it.
pub(in crate::format::gemini) fn schema_of(value: Value) -> Value {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Array(items) => return items.into_iter().map(schema_of).collect(),
        other => return other,
    };
    let nullable = fields.get("nullable").and_then(Value::as_bool) == Some(true);
    let mut schema = Rest::new();
    for (name, value) in fields {
        let name = if name.contains('_') { camel(&name) } else { name };
        let value = match (name.as_str(), value) {
            ("nullable" | "propertyOrdering", _) => continue,
            ("type", Value::String(kind)) if nullable => json!([kind.to_ascii_lowercase(), "null"]),
            ("type", Value::String(kind)) => kind.to_ascii_lowercase().into(),
            ("enum", Value::Array(mut words)) if nullable => {
                if !words.contains(&Value::Null) {
                    words.push(Value::Null);
                }
                words.into()
            }
            ("anyOf", Value::Array(kinds)) if nullable => {
                kinds.into_iter().map(schema_of).chain(std::iter::once(json!({"type": "null"}))).collect()
            }
            (word, Value::String(text)) if WHOLE.contains(&word) => {
                text.parse::<u64>().map_or_else(|_| text.clone().into(), Value::from)
            }
            // What is said of a property named so, and what examples hold, are no schemas.
            ("properties", Value::Object(properties)) => {
                properties.into_iter().map(|(name, value)| (name, schema_of(value))).collect()
            }
            ("enum" | "default" | "example" | "required", value) => value,
            (_, value) => schema_of(value),
        };
        schema.insert(name, value);
    }
    Value::Object(schema)
}

/// Reads which functions are to be called, or may be.
pub(in crate::format::gemini) fn tool_choice(value: Json<'_>, path: &Path<'_>) -> Result<Option<ToolChoice>, Mismatch> {
    let mut fields = object(value, path)?;
    let inside = path.key("functionCallingConfig");
    let Some(config) = fields.take("functionCallingConfig") else { return Ok(None) };
    let mut config = object(config, &inside)?;
    let listed = config.list("allowedFunctionNames")?.unwrap_or_default();
    let names: Vec<String> = listed.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let mode = config.word("mode")?;
    Ok(Some(match (mode.as_deref(), names.as_slice()) {
        (Some("NONE"), _) => ToolChoice::None,
        (Some("ANY"), []) => ToolChoice::Required,
        (Some("ANY"), [name]) => ToolChoice::Function(name.clone()),
        (Some("ANY"), names) => allowed::choice(names, true),
        (None | Some("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED"), []) => ToolChoice::Auto,
        (None | Some("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED"), names) => allowed::choice(names, false),
        (Some(_), _) => {
            let problem = "expected one of `AUTO`, `NONE`, `ANY` and `VALIDATED`";
            return Err(Mismatch::new(&inside.key("mode"), problem));
        }
    }))
}

/// Reads the settings into `request`; what is left of them is this API's own.
fn generation(mut fields: Fields<'_>, request: &mut ChatRequest) -> Result<Rest, Mismatch> {
    request.temperature = fields.number("temperature")?;
    request.top_p = fields.number("topP")?;
    // A whole number that some clients write as a float.
    request.top_k = match fields.take("topK") {
        None => None,
        Some(value) => Some(
            whole(&value).ok_or_else(|| Mismatch::expected(&fields.path().key("topK"), "a whole number", &value))?,
        ),
    };
    request.choices = fields.whole("candidateCount")?.unwrap_or(1).max(1);
    request.max_tokens = fields.whole("maxOutputTokens")?;
    for stop in fields.list("stopSequences")?.unwrap_or_default() {
        match stop {
            Json::Text(text) => request.stop.push(text.into_owned()),
            other => return Err(Mismatch::expected(&fields.path().key("stopSequences"), "an array of texts", &other)),
        }
    }
    request.output = output(&mut fields)?;
    request.reasoning = thinking(&mut fields)?;
    for (name, here) in SAME {
        if let Some(value) = fields.take(here) {
            request.rest.insert(name.to_owned(), value.into());
        }
    }
    if fields.flag("responseLogprobs")? == Some(true) {
        request.rest.insert("logprobs".to_owned(), true.into());
        if let Some(count) = fields.take("logprobs") {
            request.rest.insert("top_logprobs".to_owned(), count.into());
        }
    }
    Ok(fields.telling_rest())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(value: &Json<'_>) -> Option<u32> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}

/// The reply's shape. Its own providers are told it as it was written, which stays among the settings.
fn output(fields: &mut Fields<'_>) -> Result<Option<OutputFormat>, Mismatch> {
    let mime = fields.text(MIME)?;
    let plain = fields.take("responseJsonSchema").map(Value::from);
    let written = fields.take(SCHEMA).map(Value::from);
    let schema = plain.or_else(|| written.clone().map(schema_of));
    if let Some(written) = written {
        fields.put(SCHEMA, written);
    }
    if let Some(mime) = mime.as_deref().filter(|mime| !["application/json", "text/plain"].contains(mime)) {
        fields.put(MIME, mime.into());
    }
    Ok(match (mime.as_deref(), schema) {
        (_, Some(schema)) => Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None }),
        (Some("application/json"), None) => Some(OutputFormat::JsonObject),
        (None | Some("text/plain"), None) => None,
        (Some(other), None) => {
            let problem = format!("`{other}` cannot be asked for here; `text/plain` and `application/json` can");
            return Err(Mismatch::new(&fields.path().key(MIME), problem));
        }
    })
}

/// A budget, or a level; -1 leaves it to the model.
fn thinking(fields: &mut Fields<'_>) -> Result<Option<Reasoning>, Mismatch> {
    let path = fields.path().key(THINKING);
    let Some(config) = fields.take(THINKING) else { return Ok(None) };
    let mut config = object(config, &path)?;
    let budget = config.peek(BUDGET).and_then(whole);
    let level = config.peek(LEVEL).and_then(Json::as_str).map(str::to_ascii_lowercase);
    // Nulls remember what the client said itself.
    let read = [
        (BUDGET, budget.is_some()),
        (LEVEL, level.is_some()),
        (SHOWN, config.peek(SHOWN).and_then(Json::as_bool) == Some(true)),
    ];
    for (name, _) in read.into_iter().filter(|(_, read)| *read) {
        config.take(name);
        config.put(name, Value::Null);
    }
    fields.keep(THINKING, config.rest());
    Ok(match (level.filter(|level| level != "thinking_level_unspecified"), budget) {
        (Some(effort), _) => Some(Reasoning { effort: Some(effort), budget_tokens: None }),
        (None, Some(0)) => Some(Reasoning { effort: Some("none".to_owned()), budget_tokens: None }),
        (None, Some(budget)) => Some(Reasoning { effort: None, budget_tokens: Some(budget) }),
        (None, None) => None,
    })
}
