//! From an OpenAI chat completion to Cohere's words.

use serde_json::{Map, Value, json};
use witgate_provider::{Encoded, Fault, Target};

/// Fields of the same meaning, under the provider's names.
const SAME: [(&str, &str); 10] = [
    ("stream", "stream"),
    ("temperature", "temperature"),
    ("top_p", "p"),
    ("top_k", "k"),
    ("seed", "seed"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("max_tokens", "max_tokens"),
    ("max_completion_tokens", "max_tokens"),
    ("safety_mode", "safety_mode"),
];
/// The provider's own fields, as a client may write them.
const OWN: [&str; 5] = ["documents", "citation_options", "thinking", "strict_tools", "raw_prompting"];

pub(crate) fn request(request: &[u8], target: &Target) -> Result<Encoded, Fault> {
    let request = serde_json::from_slice::<Value>(request).map_err(|fault| Fault::new(fault.to_string()))?;
    let Value::Object(mut given) = request else { return Err(Fault::new("the request is no object")) };
    let mut body = Map::new();
    body.insert("model".to_owned(), target.model.as_str().into());
    given.shift_remove("model");
    let messages = given.shift_remove("messages").unwrap_or_default();
    body.insert("messages".to_owned(), messages_of(&messages)?.into());
    if given.shift_remove("n").is_some_and(|n| n.as_u64() > Some(1)) {
        return Err(Fault::new("the provider gives one reply at a time").at("n"));
    }
    let mut strict = Vec::new();
    if let Some(tools) = given.shift_remove("tools").filter(|tools| tools.as_array().is_some_and(|all| !all.is_empty()))
    {
        // It is a field of the request there, and holds all of the tools to it.
        let all = tools.as_array().into_iter().flatten().enumerate();
        let wanted = all.filter(|(_, tool)| tool["function"]["strict"] == true);
        strict.extend(wanted.map(|(index, _)| format!("tools[{index}].function.strict")));
        body.insert("tools".to_owned(), tools_of(tools)?);
    }
    if let Some(choice) = given.shift_remove("tool_choice") {
        tool_choice(&choice, &mut body)?;
    }
    if let Some(stop) = given.shift_remove("stop").filter(|stop| !stop.is_null()) {
        body.insert("stop_sequences".to_owned(), if stop.is_array() { stop } else { json!([stop]) });
    }
    if let Some(format) = given.shift_remove("response_format") {
        body.insert("response_format".to_owned(), response_format(&format));
    }
    if let Some(effort) = given.shift_remove("reasoning_effort") {
        let off = matches!(effort.as_str(), Some("none" | "disable" | "disabled"));
        body.insert("thinking".to_owned(), json!({"type": if off { "disabled" } else { "enabled" }}));
    }
    for (name, own) in SAME {
        if let Some(value) = given.shift_remove(name).filter(|value| !value.is_null()) {
            body.insert(own.to_owned(), value);
        }
    }
    for name in OWN {
        if let Some(value) = given.shift_remove(name) {
            body.insert(name.to_owned(), value);
        }
    }
    if given.shift_remove("logprobs") == Some(Value::Bool(true)) {
        body.insert("logprobs".to_owned(), true.into());
    }
    // Streams always tell what was used.
    given.shift_remove("stream_options");
    given.retain(|_, value| !value.is_null());
    Ok(Encoded {
        path: "/v2/chat".to_owned(),
        headers: Vec::new(),
        body: Value::Object(body).to_string().into_bytes(),
        dropped: given.keys().cloned().chain(strict).collect(),
    })
}

fn messages_of(messages: &Value) -> Result<Vec<Value>, Fault> {
    let messages = messages.as_array().map_or(&[] as &[Value], Vec::as_slice);
    messages.iter().enumerate().map(|(index, message)| {
        let at = |fault: Fault| fault.at(format!("messages[{index}]"));
        let content = &message["content"];
        Ok(match message["role"].as_str().unwrap_or_default() {
            "system" | "developer" => json!({"role": "system", "content": content_of(content).map_err(at)?}),
            "assistant" => assistant(message).map_err(at)?,
            "tool" | "function" => {
                json!({"role": "tool", "tool_call_id": message["tool_call_id"], "content": content_of(content).map_err(at)?})
            }
            _ => json!({"role": "user", "content": content_of(content).map_err(at)?}),
        })
    }).collect()
}

/// With its thinking first, where there is any: the provider reads it back.
fn assistant(message: &Value) -> Result<Value, Fault> {
    let mut out = Map::from_iter([("role".to_owned(), "assistant".into())]);
    let calls = message["tool_calls"].as_array().filter(|calls| !calls.is_empty());
    let thinking = message["reasoning_content"].as_str().filter(|text| !text.is_empty());
    let mut content = if message["content"].is_null() { Value::Null } else { content_of(&message["content"])? };
    if let Some(thinking) = thinking {
        let mut parts = vec![json!({"type": "thinking", "thinking": thinking})];
        match content {
            Value::String(text) if !text.is_empty() => parts.push(json!({"type": "text", "text": text})),
            Value::Array(more) => parts.extend(more),
            _ => {}
        }
        content = parts.into();
    }
    if !content.is_null() && content.as_str() != Some("") {
        out.insert("content".to_owned(), content);
    }
    if let Some(calls) = calls {
        let call = |call: &Value| json!({"id": call["id"], "type": "function", "function": call["function"]});
        out.insert("tool_calls".to_owned(), calls.iter().map(call).collect::<Vec<_>>().into());
    } else if !out.contains_key("content") {
        out.insert("content".to_owned(), "".into());
    }
    Ok(Value::Object(out))
}

fn content_of(content: &Value) -> Result<Value, Fault> {
    let Value::Array(parts) = content else {
        return Ok(if content.is_null() { "".into() } else { content.clone() });
    };
    let part = |part: &Value| match part["type"].as_str() {
        Some("text") => Ok(json!({"type": "text", "text": part["text"]})),
        Some("image_url") => Ok(json!({"type": "image_url", "image_url": part["image_url"]})),
        Some("refusal") => Ok(json!({"type": "text", "text": part["refusal"]})),
        other => Err(Fault::new(format!("the provider takes no content of type `{}`", other.unwrap_or("?")))),
    };
    parts.iter().map(part).collect::<Result<Vec<_>, _>>().map(Value::from)
}

fn tools_of(tools: Value) -> Result<Value, Fault> {
    let Value::Array(tools) = tools else { return Ok(tools) };
    let tool = |tool: Value| {
        if tool["type"] != "function" {
            return Err(Fault::new(format!("the provider takes no tool of type {}", tool["type"])).at("tools"));
        }
        let mut function = tool["function"].clone();
        if let Some(function) = function.as_object_mut() {
            function.shift_remove("strict");
            function.entry("parameters").or_insert_with(|| json!({"type": "object", "properties": {}}));
        }
        Ok(json!({"type": "function", "function": function}))
    };
    tools.into_iter().map(tool).collect::<Result<Vec<_>, _>>().map(Value::from)
}

/// One function alone is the only tool, and required: the provider has no word for it.
fn tool_choice(choice: &Value, body: &mut Map<String, Value>) -> Result<(), Fault> {
    let word = match (choice.as_str(), choice["function"]["name"].as_str()) {
        (Some("none"), _) => "NONE",
        (Some("required"), _) => "REQUIRED",
        (_, Some(name)) => {
            let tools = body.get_mut("tools").and_then(Value::as_array_mut);
            let tools = tools.ok_or_else(|| Fault::new("a tool is chosen and none is given").at("tool_choice"))?;
            tools.retain(|tool| tool["function"]["name"] == name);
            if tools.is_empty() {
                return Err(Fault::new(format!("no tool is named `{name}`")).at("tool_choice"));
            }
            "REQUIRED"
        }
        _ => return Ok(()),
    };
    body.insert("tool_choice".to_owned(), word.into());
    Ok(())
}

fn response_format(format: &Value) -> Value {
    match format["type"].as_str() {
        Some("json_schema") => json!({"type": "json_object", "json_schema": format["json_schema"]["schema"]}),
        Some("json_object") => json!({"type": "json_object"}),
        _ => json!({"type": "text"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(given: &Value) -> Result<(Value, Vec<String>), Fault> {
        let target = Target { model: "command-a-03-2025".to_owned(), api_version: None, max_output_tokens: 9 };
        let encoded = request(given.to_string().as_bytes(), &target)?;
        assert_eq!(encoded.path, "/v2/chat");
        Ok((serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped))
    }

    #[test]
    fn a_whole_request_in_the_providers_words() {
        let (body, dropped) = encoded(&json!({
            "model": "x", "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 5, "top_p": 0.5,
            "stop": "END", "n": 1, "user": "u", "reasoning_effort": "none", "parallel_tool_calls": null,
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
                {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "21"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "strict": true}}, {"type": "function", "function": {"name": "g"}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        })).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "command-a-03-2025",
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
                    {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}], "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "c", "content": "21"},
                ],
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
                "tool_choice": "REQUIRED",
                "stop_sequences": ["END"],
                "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
                "thinking": {"type": "disabled"},
                "stream": true, "p": 0.5, "max_tokens": 5,
            })
        );
        assert_eq!(dropped, ["user", "tools[0].function.strict"]);
    }

    #[test]
    fn what_it_has_no_words_for_is_refused() {
        let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
        let mut two = user(json!("x"));
        two["n"] = json!(2);
        let mut tool = user(json!("x"));
        tool["tools"] = json!([{"type": "web_search"}]);
        for (given, param) in [(two, "n"), (tool, "tools"), (user(json!([{"type": "input_audio"}])), "messages[0]")] {
            assert_eq!(encoded(&given).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
