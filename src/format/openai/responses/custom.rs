//! Custom tools as chats write them: what this API says of a tool itself stands in an object inside, and their calls stand beside those
//! of functions. Models that are asked through this API are told of them in its words, and what they call is told in those of chats.
//!
//! Shapes are those of `openai` 3.54 for Python (`chat_completion_custom_tool_param.py`, `responses/custom_tool.py`).

use std::collections::HashSet;

use serde_json::{Value, json};

use super::object::input_of;
use crate::chat::{ChatRequest, Tool};
use crate::format::write::Object;

const KIND: &str = "custom";

/// The custom tools of a chat, by their names.
#[derive(Default)]
pub(in crate::format::openai) struct CustomTools(HashSet<String>);

impl CustomTools {
    pub(in crate::format::openai) fn of(request: &ChatRequest) -> Self {
        let name = |tool: &Tool| match tool {
            Tool::Other(value) if is_custom(value) => {
                value.get(KIND).unwrap_or(value).get("name")?.as_str().map(str::to_owned)
            }
            Tool::Function { .. } | Tool::Other(_) => None,
        };
        Self(request.tools.iter().filter_map(name).collect())
    }

    /// Whether a call by this name is one of a custom tool.
    pub(in crate::format::openai) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Writes a call of a custom tool as chats tell it.
pub(in crate::format::openai) fn tell(id: &str, name: &str, arguments: &str, call: &mut Object<'_>) {
    call.field("id", id);
    call.field("type", KIND);
    let mut custom = call.object(KIND);
    custom.field("name", name);
    custom.field("input", &input_of(arguments));
}

/// A custom tool of chats, or a choice of one, in the words of this API. What is written so already, or of another kind, stays as it is.
pub(super) fn flat(written: &Value) -> Value {
    let (Value::Object(whole), Some(Value::Object(inside))) = (written, written.get(KIND)) else {
        return written.clone();
    };
    let mut flat = whole.clone();
    flat.shift_remove(KIND);
    flat.extend(inside.clone());
    if let Some(Value::Object(format)) = flat.get_mut("format")
        && let Some(Value::Object(grammar)) = format.shift_remove("grammar")
    {
        format.extend(grammar);
    }
    flat.into()
}

/// The ids, names and inputs of calls that chats have beside those of functions; `None` where one of them is of no custom tool.
pub(super) fn calls(written: &Value) -> Option<Vec<[&str; 3]>> {
    written.as_array()?.iter().map(call).collect()
}

fn call(written: &Value) -> Option<[&str; 3]> {
    let inside = written.get(KIND).filter(|_| is_custom(written))?;
    let input = inside.get("input").and_then(Value::as_str).unwrap_or_default();
    Some([written.get("id")?.as_str()?, inside.get("name")?.as_str()?, input])
}

/// A call of a custom tool as an item.
pub(super) fn item([id, name, input]: [&str; 3]) -> Value {
    json!({"type": "custom_tool_call", "call_id": id, "name": name, "input": input})
}

fn is_custom(written: &Value) -> bool {
    written.get("type").is_some_and(|kind| kind == KIND)
}
