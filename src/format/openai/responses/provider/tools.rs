//! The tools, and the choice among them.
//!
//! Clients of this API have custom tools and a local shell beside functions: these are functions to everybody else, and go out here as
//! they were written. What else the client runs is a function here, too. A tool that the provider runs itself goes out as a client of
//! the same dialect wrote it.

use serde_json::{Value, json};

use super::encode::unsupported;
use crate::chat::{ChatRequest, Rest, Tool, ToolChoice};
use crate::fault::AttemptFault;
use crate::format::openai::encode::{speaks_responses, strict_here, type_of};
use crate::format::openai::responses::called::{Called, Kind, Names};
use crate::format::rest::Report;
use crate::format::write::{Array, Object};

/// The field by which chats ask for a search of the web, which is a tool here.
pub(super) const SEARCH: &str = "web_search_options";

/// Writes both.
///
/// # Errors
/// `Rejected` where a tool or the choice is another provider's, or chats' alone.
pub(super) fn write(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    let search = request.rest.get(SEARCH).filter(|asked| report.same_dialect && !asked.is_null());
    let names = Names::of(&request.echo);
    if !request.tools.is_empty() || search.is_some() {
        let mut array = object.array("tools");
        for (index, tool) in request.tools.iter().enumerate() {
            one((request, &names), tool, index, &mut array, report)?;
        }
        if let Some(asked) = search {
            array.item(&search_tool(asked));
        }
    }
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => object.field("tool_choice", "auto"),
        Some(ToolChoice::None) => object.field("tool_choice", "none"),
        Some(ToolChoice::Required) => object.field("tool_choice", "required"),
        Some(ToolChoice::Function(name)) => object.field("tool_choice", &named((request, &names), name)),
        Some(ToolChoice::Other(value)) if report.same_dialect => {
            object.field("tool_choice", &allowed((request, &names), value).unwrap_or_else(|| value.clone()));
        }
        Some(ToolChoice::Other(value)) => return Err(unsupported("tool_choice", &type_of(value))),
    }
    report.optional(object, "parallel_tool_calls", request.parallel_tool_calls);
    Ok(())
}

fn one(
    (request, names): (&ChatRequest, &Names),
    tool: &Tool,
    index: usize,
    array: &mut Array<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    let place = || format!("tools[{index}]");
    match tool {
        Tool::Function { name, .. } if let Some(own) = written(&request.echo, &names.called(name)) => array.item(own),
        Tool::Function { name, description, parameters, strict, rest } => {
            let mut object = array.object();
            object.field("type", "function");
            object.field("name", name);
            object.optional("description", description.as_ref());
            match parameters {
                Some(parameters) => object.field("parameters", parameters),
                None => object.field("parameters", &json!({"type": "object", "properties": {}})),
            }
            let strict = strict_here(*strict, parameters.as_ref(), report);
            // Schemas are strict here unless it is said otherwise, and loose everywhere else.
            let strict = if speaks_responses(request) { strict } else { Some(strict.unwrap_or(false)) };
            object.optional("strict", strict);
            if let Some(left) = report.left(rest, "function") {
                object.rest(left, &[]);
            }
            report.rest_inside(&mut object, rest, &place, &["function"]);
        }
        // Its calls would have to be told as such.
        Tool::Other(value) if value.get("type").is_some_and(|kind| kind == "custom") => {
            return Err(unsupported(&place(), "a `custom` tool of chats"));
        }
        Tool::Other(value) if report.same_dialect => array.item(value),
        Tool::Other(value) => return Err(unsupported(&place(), &type_of(value))),
    }
    Ok(())
}

/// A tool that goes out as its client wrote it. One in a namespace has another name here.
fn written<'e>(echo: &'e Rest, called: &Called) -> Option<&'e Value> {
    if !called.goes_as_written() {
        return None;
    }
    let is_it = |tool: &&Value| {
        let text = |name: &str| tool.get(name).and_then(Value::as_str);
        text("type") == Some(called.kind.word())
            && (called.kind == Kind::LocalShell || text("name") == Some(&called.name))
    };
    echo.get("tools")?.as_array()?.iter().find(is_it)
}

fn named((request, names): (&ChatRequest, &Names), name: &str) -> Value {
    let is_type =
        |tool: &Tool| matches!(tool, Tool::Other(value) if value.get("type").is_some_and(|kind| kind == name));
    // A tool of the provider's has no name but its type.
    if request.tools.iter().any(is_type) {
        return json!({"type": name});
    }
    let called = names.called(name);
    match called.kind {
        Kind::Custom if called.goes_as_written() => json!({"type": "custom", "name": name}),
        Kind::LocalShell => json!({"type": called.name}),
        _ => json!({"type": "function", "name": name}),
    }
}

/// A choice among some tools, which has no object inside here.
fn allowed(of: (&ChatRequest, &Names), value: &Value) -> Option<Value> {
    const KIND: &str = "allowed_tools";
    let inside = value.get(KIND).filter(|_| value.get("type").is_some_and(|kind| kind == KIND))?;
    let one = |tool: &Value| match tool.get("function").and_then(|function| function.get("name")?.as_str()) {
        Some(name) => named(of, name),
        None => tool.clone(),
    };
    let tools: Vec<Value> = inside.get("tools")?.as_array()?.iter().map(one).collect();
    Some(json!({"type": KIND, "mode": inside.get("mode").cloned().unwrap_or_else(|| "auto".into()), "tools": tools}))
}

/// What chats ask of a search, as a tool.
fn search_tool(asked: &Value) -> Value {
    let mut tool = json!({"type": "web_search"});
    if let Some(size) = asked.get("search_context_size") {
        tool["search_context_size"] = size.clone();
    }
    if let Some(place) = asked.get("user_location").and_then(|place| place.get("approximate")?.as_object()) {
        let mut place = place.clone();
        place.insert("type".to_owned(), "approximate".into());
        tool["user_location"] = place.into();
    }
    tool
}
