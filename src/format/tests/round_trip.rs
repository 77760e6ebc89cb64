//! What a dialect reads it writes back: nothing of its own is lost between a client and a provider who
//! speak the same.

use serde_json::{Map, Value, json};

use super::{DIALECTS, api, fixtures, json, parse, provider, read_stream, write_stream};
use crate::format::Target;

#[test]
fn requests_come_out_as_they_went_in() {
    for dialect in DIALECTS {
        for (name, body) in fixtures(&format!("requests/{dialect}")) {
            let request = parse(dialect, &body).unwrap();
            // The version that knows every field.
            let target = Target {
                api_version: Some("2023-06-01"),
                ..Target::plain(&request.model, &crate::format::NO_QUIRKS, 1)
            };
            let encoded = provider(dialect).encode(&request, &target).unwrap();
            // Signed thinking is another provider's: nobody else who speaks OpenAI's dialect takes it.
            let signed = dialect == "openai" && name == "thinking_history";
            let dropped: &[&str] = if signed { &["messages[1].content[0]", "messages[1].content[1]"] } else { &[] };
            assert_eq!(encoded.dropped, dropped, "{name}");
            let (mut expected, mut found) = (json(&body), json(&encoded.body));
            for request in [&mut expected, &mut found] {
                match dialect {
                    "openai" => plain_openai(request),
                    _ => plain_anthropic(request),
                }
            }
            assert_eq!(found, expected, "{name}");
        }
    }
}

/// The spellings OpenAI reads alike: one stop text and a list of one; usage is always asked for.
fn plain_openai(request: &mut Value) {
    if let Some(stop) = request.get_mut("stop").filter(|stop| stop.is_string()) {
        *stop = json!([stop]);
    }
    if request["stream"] == true {
        request["stream_options"]["include_usage"] = true.into();
    }
    if let Some(Value::Array(messages)) = request.get_mut("messages") {
        messages.iter_mut().for_each(plain_message);
    }
}

/// No content and null, a text and a list of one plain text. (Readable thinking is in the signed blocks, too.)
fn plain_message(message: &mut Value) {
    let Some(message) = message.as_object_mut() else { return };
    if message.shift_remove("thinking_blocks").is_some() {
        message.shift_remove("reasoning_content");
    }
    if message.get("content") == Some(&Value::Null) {
        message.shift_remove("content");
    }
    if let Some(Value::Array(parts)) = message.get_mut("content")
        && let [part] = parts.as_slice()
        && part.as_object().is_some_and(|part| part.len() == 2)
        && let Some(text) = part.get("text").cloned()
    {
        message.insert("content".to_owned(), text);
    }
}

/// The spellings Anthropic reads alike: a text and a list of one text block, neighbours of one speaker.
fn plain_anthropic(request: &mut Value) {
    if let Some(system) = request.get_mut("system") {
        blocks(system);
    }
    let Some(Value::Array(messages)) = request.get_mut("messages") else { return };
    let mut turns: Vec<Value> = Vec::new();
    for mut message in std::mem::take(messages) {
        blocks(&mut message["content"]);
        match turns.last_mut() {
            Some(last) if last["role"] == message["role"] => {
                let more = message["content"].as_array().unwrap().clone();
                last["content"].as_array_mut().unwrap().extend(more);
            }
            _ => turns.push(message),
        }
    }
    *messages = turns;
}

fn blocks(content: &mut Value) {
    if let Value::String(text) = content {
        *content = json!([{"type": "text", "text": text}]);
    }
    for block in content.as_array_mut().into_iter().flatten() {
        if block["type"] == "tool_result"
            && let Some(content) = block.get_mut("content")
        {
            blocks(content);
        }
    }
}

#[test]
fn replies_come_out_as_they_went_in() {
    for dialect in DIALECTS {
        for (name, body) in fixtures(&format!("replies/{dialect}")) {
            // Calls that share an id, or have none, get ids that tell them apart; reasons and thinking have OpenAI's names.
            if name.starts_with("calls_with") || name.starts_with("ends_") || name == "magistral" {
                continue;
            }
            let reply = provider(dialect).decode(&body).unwrap();
            let (mut expected, mut found) = (json(&body), json(&api(dialect).reply(&reply)));
            for reply in [&mut expected, &mut found] {
                telling(reply);
            }
            assert_eq!(found, expected, "{name}");
        }
    }
}

/// Null and zero say what leaving out says.
fn telling(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(telling);
            fields.retain(|name, value| {
                let empty_choice = name == "arguments";
                empty_choice || !(value.is_null() || *value == json!(0) || *value == Value::Object(Map::new()))
            });
        }
        Value::Array(items) => items.iter_mut().for_each(telling),
        _ => {}
    }
}

#[test]
fn streams_say_the_same_after_they_were_written() {
    for dialect in DIALECTS {
        for (name, body) in fixtures(&format!("streams/{dialect}")) {
            let first = read_stream(dialect, [body.as_slice()]);
            if !first.is_complete {
                continue;
            }
            let written = write_stream(dialect, &first);
            let again = read_stream(dialect, [written.as_bytes()]);
            assert!(again.is_complete, "{name}");
            assert_eq!(write_stream(dialect, &again), written, "{name}");
        }
    }
}
