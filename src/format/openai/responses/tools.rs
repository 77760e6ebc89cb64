//! Tools: functions are functions; a custom tool, whose input is a text, is a function with one text for models that know no
//! other; tools that a provider runs itself are kept whole.

use serde_json::{Value, json};

use super::items::LOCAL_SHELL;
use crate::chat::{Rest, Tool, ToolChoice};
use crate::format::allowed;
use crate::format::json::Json;
use crate::format::read::{Fields, Mismatch, Path};

/// What a call to a tool of this name is in this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Custom,
    LocalShell,
}

/// The kinds of a request's tools, by the echo of it.
pub(super) fn kind_of(echo: &Rest, name: &str) -> Kind {
    let tools = echo.get("tools").and_then(Value::as_array);
    let mut tools = tools.into_iter().flatten();
    let says = |tool: &Value, name: &str, word: &str| tool.get(name).and_then(Value::as_str) == Some(word);
    if name == LOCAL_SHELL && tools.clone().any(|tool| says(tool, "type", LOCAL_SHELL)) {
        return Kind::LocalShell;
    }
    if tools.any(|tool| says(tool, "type", "custom") && says(tool, "name", name)) {
        Kind::Custom
    } else {
        Kind::Function
    }
}

/// Reads the tools.
pub(super) fn read(fields: &mut Fields<'_>) -> Result<Vec<Tool>, Mismatch> {
    let path = fields.path().key("tools");
    let items = fields.list("tools")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(index, item)| tool(item, &path.index(index))).collect()
}

fn tool(value: Json<'_>, path: &Path<'_>) -> Result<Tool, Mismatch> {
    let mut fields = Fields::of(value, path)?;
    let kind = fields.need_word("type")?;
    match &*kind {
        "function" => Ok(Tool::Function {
            name: fields.need_text("name")?,
            description: fields.text("description")?,
            parameters: fields.take("parameters").map(Value::from),
            strict: fields.flag("strict")?,
            rest: Rest::new(),
        }),
        "custom" => {
            let name = fields.need_text("name")?;
            let mut description = fields.text("description")?.unwrap_or_default();
            // The grammar is told in words: no other provider holds a model to one.
            if let Some(definition) = fields.take("format").as_ref().and_then(grammar) {
                if !description.is_empty() {
                    description.push_str("\n\n");
                }
                description.push_str("The input follows this grammar:\n");
                description.push_str(&definition);
            }
            let input = json!({"type": "string", "description": "The tool's whole input, as plain text."});
            Ok(Tool::Function {
                name,
                description: Some(description).filter(|text| !text.is_empty()),
                parameters: Some(object(&json!({"input": input}), &["input"])),
                strict: None,
                rest: Rest::new(),
            })
        }
        LOCAL_SHELL => Ok(Tool::Function {
            name: LOCAL_SHELL.to_owned(),
            description: Some("Runs a command on the user's machine and returns its output.".to_owned()),
            parameters: Some(object(
                &json!({
                    "command": {"type": "array", "items": {"type": "string"}, "description": "The command and its arguments."},
                    "working_directory": {"type": "string"},
                    "timeout_ms": {"type": "integer"},
                    "env": {"type": "object", "additionalProperties": {"type": "string"}},
                }),
                &["command"],
            )),
            strict: None,
            rest: Rest::new(),
        }),
        // What a provider runs itself: who is asked through this API takes it, and the others refuse it by name.
        _ => {
            let mut whole = Rest::new();
            whole.insert("type".to_owned(), Value::from(kind));
            whole.extend(fields.rest());
            Ok(Tool::Other(whole.into()))
        }
    }
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn grammar(format: &Json<'_>) -> Option<String> {
    let definition = format.get("definition")?.as_str()?;
    Some(definition.to_owned())
}

/// Reads the choice among them.
pub(super) fn choice(fields: &mut Fields<'_>) -> Result<Option<ToolChoice>, Mismatch> {
    let path = fields.path().key("tool_choice");
    let Some(value) = fields.take("tool_choice") else { return Ok(None) };
    let word = value.as_str().or_else(|| value.get("type").and_then(Json::as_str));
    let choice = match (word, value.get("name").and_then(Json::as_str)) {
        (Some("auto"), None) => ToolChoice::Auto,
        (Some("none"), None) => ToolChoice::None,
        (Some("required"), None) => ToolChoice::Required,
        (Some("function" | "custom"), Some(name)) => ToolChoice::Function(name.to_owned()),
        (Some(LOCAL_SHELL), None) => ToolChoice::Function(LOCAL_SHELL.to_owned()),
        (Some("allowed_tools"), None) if value.get("tools").is_some() => {
            // All kinds of tools are functions here, and the one without a name is named as its kind.
            let name = |tool: &Json<'_>| tool.get("name").or_else(|| tool.get("type"))?.as_str().map(str::to_owned);
            let names: Vec<String> = value.items("tools").iter().filter_map(name).collect();
            allowed::choice(&names, value.get("mode").is_some_and(|mode| mode == "required"))
        }
        // One that its provider runs.
        (Some(kind), _) if value.is_object() && !["function", "custom", "allowed_tools"].contains(&kind) => {
            ToolChoice::Other(value.into())
        }
        _ => {
            let known = "`auto`, `none`, `required`, `allowed_tools`, or a tool of the request by `type` and `name`";
            return Err(Mismatch::expected(&path, known, &value));
        }
    };
    Ok(Some(choice))
}
