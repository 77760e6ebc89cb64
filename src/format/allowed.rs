//! A choice among some of a request's tools, as OpenAI's clients write it (`allowed_tools`). For providers that do not know it
//! the others are no tools of the request.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::chat::{ChatRequest, Tool, ToolChoice};

const KIND: &str = "allowed_tools";

/// The choice among these functions, of which one must be called or may be.
pub(super) fn choice(names: &[String], required: bool) -> ToolChoice {
    let tools: Vec<Value> = names.iter().map(|name| function(name)).collect();
    among(&tools, required)
}

/// The same among tools as chats name them.
pub(super) fn among(tools: &[Value], required: bool) -> ToolChoice {
    let mode = if required { "required" } else { "auto" };
    ToolChoice::Other(json!({"type": KIND, KIND: {"mode": mode, "tools": tools}}))
}

/// A function, as chats name it.
pub(super) fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

/// Whether a choice is one among some tools.
pub(super) fn is_choice(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == KIND)
}

/// Puts other names into a choice among some functions; any other choice stays.
pub(super) fn rename(choice: &mut Value, sent: impl Fn(&str) -> String) {
    if !is_choice(choice) {
        return;
    }
    let inside = if choice.get(KIND).is_some() { &mut choice[KIND] } else { choice };
    let tools = inside.get_mut("tools").and_then(Value::as_array_mut);
    for tool in tools.into_iter().flatten().filter(|tool| tool.get("type").is_some_and(|kind| kind == "function")) {
        let named = if tool.get("function").is_some() { &mut tool["function"] } else { tool };
        if let Some(name) = named.get("name").and_then(Value::as_str).map(&sent) {
            named["name"] = name.into();
        }
    }
}

/// The request with no more tools than may be called, where its choice is one among some. Shared where it is another.
pub(super) fn narrowed(request: &ChatRequest) -> Cow<'_, ChatRequest> {
    let Some(ToolChoice::Other(value)) = &request.tool_choice else { return Cow::Borrowed(request) };
    if !is_choice(value) {
        return Cow::Borrowed(request);
    }
    let inside = value.get(KIND).unwrap_or(value);
    let listed: Vec<&Value> = inside.get("tools").and_then(Value::as_array).into_iter().flatten().collect();
    let required = inside.get("mode").is_some_and(|mode| mode == "required");
    let mut narrowed = request.clone();
    narrowed.tools.retain(|tool| listed.iter().any(|listed| is_meant(listed, tool)));
    let choice = if required { ToolChoice::Required } else { ToolChoice::Auto };
    // Where none is left there is nothing to choose among.
    narrowed.tool_choice = Some(choice).filter(|_| required || !narrowed.tools.is_empty());
    Cow::Owned(narrowed)
}

fn is_meant(listed: &Value, tool: &Tool) -> bool {
    let kind = listed.get("type");
    match tool {
        Tool::Function { name, .. } => {
            let named = kind.and_then(Value::as_str).and_then(|kind| listed.get(kind)).unwrap_or(listed).get("name");
            named.is_some_and(|named| named == name.as_str())
        }
        Tool::Other(value) => {
            // Several servers have the same type.
            let server = listed.get("server_label");
            kind.is_some() && kind == value.get("type") && (server.is_none() || server == value.get("server_label"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ClientRequest, NO_QUIRKS, Target, operation_at, provider_format};

    fn sent(path: &str, body: &Value, to: &str) -> Value {
        let (api, _) = operation_at(path).unwrap();
        let request = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = provider_format(to).unwrap().encode(&request, &target).unwrap();
        serde_json::from_slice(&encoded.body).unwrap()
    }

    fn chat(mode: &str) -> Value {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let allowed = json!({"mode": mode, "tools": [tool("b"), tool("c")]});
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [tool("a"), tool("b"), tool("c")],
            "tool_choice": {"type": KIND, KIND: allowed}})
    }

    #[test]
    fn others_have_the_allowed_tools_alone() {
        let path = "/v1/chat/completions";
        let body = sent(path, &chat("required"), "anthropic");
        assert_eq!(body["tool_choice"], json!({"type": "any"}));
        assert_eq!((&body["tools"][0]["name"], &body["tools"][1]["name"]), (&json!("b"), &json!("c")));
        assert_eq!(body["tools"].as_array().map(Vec::len), Some(2));
        let body = sent(path, &chat("auto"), "bedrock");
        assert_eq!(body["toolConfig"]["tools"].as_array().map(Vec::len), Some(2));
        let body = sent(path, &chat("required"), "gemini");
        assert_eq!(body["toolConfig"], json!({"functionCallingConfig": {"mode": "ANY"}}));
        let asked = chat("required");
        let body = sent(path, &asked, "openai");
        assert_eq!((&body["tool_choice"], &body["tools"]), (&asked["tool_choice"], &asked["tools"]), "it knows it");
    }

    #[test]
    fn servers_are_told_apart_by_their_labels() {
        let server = |label: &str| Tool::Other(json!({"type": "mcp", "server_label": label}));
        let listed = json!({"type": "mcp", "server_label": "a"});
        assert!(is_meant(&listed, &server("a")) && !is_meant(&listed, &server("b")));
        assert!(is_meant(&json!({"type": "mcp"}), &server("b")));
    }

    #[test]
    fn the_newer_api_says_it_without_an_object_inside() {
        let tool =
            |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}});
        let named = json!({"type": "function", "name": "b"});
        let asked = json!({"model": "m", "input": "Hi", "tools": [tool("a"), tool("b")],
            "tool_choice": {"type": KIND, "mode": "required", "tools": [named]}});
        let body = sent("/v1/responses", &asked, "anthropic");
        assert_eq!((&body["tools"][0]["name"], &body["tools"][1]), (&json!("b"), &Value::Null));
        let body = sent("/v1/responses", &asked, "openai");
        let inside = json!({"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]});
        assert_eq!(body["tool_choice"], json!({"type": KIND, KIND: inside}));
    }
}
