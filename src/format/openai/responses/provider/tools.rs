//! The tools, and the choice among them.
//!
//! Clients of this API have custom tools and a local shell beside functions: these are functions to everybody else, and go out here as
//! they were written, as do those of chats in the words of this API. What else the client runs is a function here, too. A tool that the
//! provider runs itself goes out as a client of the same dialect wrote it.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::encode::unsupported;
use crate::chat::{ChatRequest, Tool, ToolChoice};
use crate::fault::AttemptFault;
use crate::format::openai::encode::{speaks_responses, strict_here, type_of};
use crate::format::openai::responses::called::{Kind, Names};
use crate::format::openai::responses::custom;
use crate::format::plain_words;
use crate::format::rest::Report;
use crate::format::schemas;
use crate::format::write::{Array, Object};

/// The field by which chats ask for a search of the web, which is a tool here.
pub(super) const SEARCH: &str = "web_search_options";

/// What a client of this API calls the request's tools.
struct Known<'r> {
    names: Names,
    /// Tools that go out as they were written, by the names that models are shown.
    written: HashMap<&'r str, &'r Value>,
}

/// Writes both.
///
/// # Errors
/// `Rejected` where a tool or the choice is another provider's.
pub(super) fn write(request: &ChatRequest, object: &mut Object<'_>, report: &mut Report) -> Result<(), AttemptFault> {
    let search = request.rest.get(SEARCH).filter(|asked| report.same_dialect && !asked.is_null());
    let known = Known { names: Names::of(&request.echo), written: Names::written(&request.echo) };
    if !request.tools.is_empty() || search.is_some() {
        let mut array = object.array("tools");
        for (index, tool) in request.tools.iter().enumerate() {
            one((request, &known), tool, index, &mut array, report)?;
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
        Some(ToolChoice::Function(name)) => object.field("tool_choice", &named(&known.names, name)),
        Some(ToolChoice::Other(value)) if report.same_dialect => {
            object.field("tool_choice", &allowed(&known.names, value).unwrap_or_else(|| custom::flat(value)));
        }
        Some(ToolChoice::Other(value)) => return Err(unsupported("tool_choice", &type_of(value))),
    }
    report.optional(object, "parallel_tool_calls", request.parallel_tool_calls);
    Ok(())
}

fn one(
    (request, known): (&ChatRequest, &Known<'_>),
    tool: &Tool,
    index: usize,
    array: &mut Array<'_>,
    report: &mut Report,
) -> Result<(), AttemptFault> {
    let place = || format!("tools[{index}]");
    match tool {
        Tool::Function { name, .. } if let Some(own) = known.written.get(name.as_str()) => array.item(*own),
        Tool::Function { name, description, parameters, strict, rest } => {
            let mut object = array.object();
            object.field("type", "function");
            object.field("name", name);
            object.optional("description", description.as_ref());
            match parameters {
                Some(parameters) if report.same_dialect => object.field("parameters", parameters),
                Some(parameters) => object.field("parameters", &*schemas::with_properties(parameters)),
                None => object.field("parameters", &json!({"type": "object", "properties": {}})),
            }
            let strict = strict_here(*strict, parameters.as_ref(), report);
            // Schemas are strict here unless it is said otherwise, and loose everywhere else. Those of tools that are no functions to
            // their client are the gateway's own, and have fields that may be left out.
            let is_own = speaks_responses(request) && known.names.called(name).kind == Kind::Function;
            let strict = if is_own { strict } else { Some(strict.unwrap_or(false)) };
            object.optional("strict", strict);
            if let Some(left) = report.left(rest, "function") {
                object.rest(left, &[]);
            }
            report.rest_inside(&mut object, rest, &place, &["function"]);
        }
        Tool::Other(value) if report.same_dialect => array.item(&custom::flat(value)),
        Tool::Other(value) if plain_words::is_search(value) => report.dropped.push(place()),
        Tool::Other(value) => return Err(unsupported(&place(), &type_of(value))),
    }
    Ok(())
}

fn named(names: &Names, name: &str) -> Value {
    let called = names.called(name);
    match called.kind {
        Kind::Custom if called.goes_as_written() => json!({"type": "custom", "name": called.name}),
        Kind::LocalShell => json!({"type": called.name}),
        _ => json!({"type": "function", "name": name}),
    }
}

/// A choice among some tools, which has no object inside here.
fn allowed(names: &Names, value: &Value) -> Option<Value> {
    const KIND: &str = "allowed_tools";
    let inside = value.get(KIND).filter(|_| value.get("type").is_some_and(|kind| kind == KIND))?;
    let one = |tool: &Value| match tool.get("function").and_then(|function| function.get("name")?.as_str()) {
        Some(name) => named(names, name),
        None => custom::flat(tool),
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
