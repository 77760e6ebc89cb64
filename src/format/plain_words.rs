//! Content of Anthropic's clients that no other format has a block for, and that can be said in plain words: what a search found, documents
//! that are made of texts, and the tools that a search of the client's own found. What is for Anthropic alone is left out.
//!
//! A conversation that its provider has summed up goes on from the sum everywhere: what was said before it is not sent, as Anthropic reads it
//! no more.
//!
//! Tools may be put off until a search finds them. All others are shown every tool at once, so that a search which Anthropic runs is no
//! tool there.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::chat::{ChatRequest, Message, Part, PartKind, Rest, Role};

/// The fields that are said of a tool that was found, of a source that was, and of a document.
const TOOL: &[&str] = &["type", "tool_name"];
const FOUND: &[&str] = &["type", "title", "source", "content"];
const DOCUMENT: &[&str] = &["type", "title", "source"];

/// Whether a tool is a search for tools that Anthropic runs, of either kind and any version.
pub(super) fn is_search(tool: &Value) -> bool {
    tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("tool_search_tool_"))
}

/// The request with such content in words; shared where there is none. `told` is what the model is told a tool is called.
pub(super) fn in_words(request: Cow<'_, ChatRequest>, told: impl Fn(&str) -> String) -> Cow<'_, ChatRequest> {
    let request = match from_summary(&request.messages) {
        None => request,
        Some(messages) => Cow::Owned(ChatRequest { messages: Arc::new(messages), ..request.into_owned() }),
    };
    let has_words = |part: &Part| match &part.kind {
        PartKind::ToolResult { content, .. } => content.iter().any(|part| words(part, &told).is_some()),
        _ => words(part, &told).is_some(),
    };
    let messages = || request.messages.iter();
    let bills = |message: &Message| message.role == Role::System && message.parts.iter().any(is_bill);
    if !messages().flat_map(|message| &message.parts).any(has_words) && !messages().any(bills) {
        return request;
    }
    let mut request = request.into_owned();
    Arc::make_mut(&mut request.messages).retain_mut(|message| {
        let bills = message.role == Role::System && message.parts.iter().any(is_bill);
        if bills {
            message.parts.retain(|part| !is_bill(part));
        }
        !bills || !message.parts.is_empty()
    });
    for part in Arc::make_mut(&mut request.messages).iter_mut().flat_map(|message| &mut message.parts) {
        if let PartKind::ToolResult { content, .. } = &mut part.kind {
            for part in content.iter_mut() {
                say(part, &told);
            }
        } else {
            say(part, &told);
        }
    }
    Cow::Owned(request)
}

/// The conversation from the last sum of what went before, as its user's words; instructions stay. (`compaction` blocks of
/// `compact-2026-01-12`: one without content is of a sum that failed.)
fn from_summary(messages: &[Message]) -> Option<Vec<Message>> {
    let summary = |part: &Part| match &part.kind {
        PartKind::Other(value) if value.get("type").is_some_and(|kind| kind == "compaction") => {
            value.get("content").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    let last =
        |message: &Message| message.parts.iter().enumerate().rev().find_map(|(at, part)| Some((at, summary(part)?)));
    let (at, (place, text)) = messages.iter().enumerate().rev().find_map(|(at, message)| Some((at, last(message)?)))?;
    let told = Message { role: Role::User, parts: vec![Part::text(text)], name: None, rest: Rest::new() };
    let mut left = messages[at].clone();
    left.parts.drain(..=place);
    let instructions = messages[..at].iter().filter(|message| message.role.instructs()).cloned();
    let rest = (!left.parts.is_empty()).then_some(left).into_iter().chain(messages[at + 1..].iter().cloned());
    Some(instructions.chain(std::iter::once(told)).chain(rest).collect())
}

/// Whether a text of the instructions is what Claude Code tells its vendor of a session, anew in each request. Others would read it as an
/// instruction, and some refuse it; whatever they cache of a prompt begins behind it.
fn is_bill(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Text(text) if text.starts_with("x-anthropic-billing-header:"))
}

/// Puts a part into words, where it has any. What is said beside them stays with it.
fn say(part: &mut Part, told: &impl Fn(&str) -> String) {
    let Some((text, fields)) = words(part, told) else { return };
    let mut rest = match &part.kind {
        PartKind::Other(Value::Object(whole)) => whole.clone(),
        _ => return,
    };
    rest.retain(|name, value| !fields.contains(&name.as_str()) && !value.is_null());
    *part = Part { kind: PartKind::Text(text), rest };
}

/// The words for a part, and the fields that they say.
fn words(part: &Part, told: &impl Fn(&str) -> String) -> Option<(String, &'static [&'static str])> {
    let PartKind::Other(value) = &part.kind else { return None };
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match text("type")? {
        "tool_reference" => Some((format!("The tool `{}` can be called now.", told(text("tool_name")?)), TOOL)),
        "search_result" => {
            let named = ["title", "source"].into_iter().filter_map(text);
            let said = named.chain(texts(value.get("content")?)?).filter(|text| !text.is_empty());
            let said: Vec<&str> = said.collect();
            (!said.is_empty()).then(|| (said.join("\n"), FOUND))
        }
        "document" => {
            let source = value.get("source")?;
            let is_of_texts = source.get("type").is_some_and(|kind| kind == "content");
            let said = texts(source.get("content").filter(|_| is_of_texts)?)?;
            Some((said.join("\n"), DOCUMENT))
        }
        _ => None,
    }
}

/// The texts of a content that is made of nothing else.
fn texts(content: &Value) -> Option<Vec<&str>> {
    if let Some(text) = content.as_str() {
        return Some(vec![text]);
    }
    content.as_array()?.iter().map(|block| block.get("text")?.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::{ClientRequest, NO_QUIRKS, Target, operation_at, provider_format};

    fn asked(search: &Value, long: &str) -> Value {
        let late = |name: &str| json!({"name": name, "input_schema": {"type": "object"}, "defer_loading": true});
        let result = json!([{"type": "text", "text": "Found:"}, {"type": "tool_reference", "tool_name": long}]);
        json!({"model": "m", "max_tokens": 9, "tools": [search, late("f"), late(long)], "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_regex", "input": {"query": "f"}},
                {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": {
                    "type": "tool_search_tool_search_result",
                    "tool_references": [{"type": "tool_reference", "tool_name": "f"}]}},
                {"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": result}]}]})
    }

    fn sent(body: &Value, to: &str) -> (Value, Vec<String>) {
        let path = "/v1/messages";
        let (api, _) = operation_at(path).unwrap();
        let request = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
        let target = Target::plain("m", &NO_QUIRKS, 9);
        let encoded = provider_format(to).unwrap().encode(&request, &target).unwrap();
        (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
    }

    #[test]
    fn others_are_shown_all_tools_and_told_what_was_found() {
        let search = json!({"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"});
        let long = format!("mcp__{}", "x".repeat(70));
        let asked = asked(&search, &long);
        for to in ["openai", "openai_responses", "gemini", "bedrock"] {
            let (body, dropped) = sent(&asked, to);
            let tools = match to {
                "gemini" => &body["tools"][0]["functionDeclarations"],
                "bedrock" => &body["toolConfig"]["tools"],
                _ => &body["tools"],
            };
            assert_eq!(tools.as_array().map(Vec::len), Some(2), "{to}: {body}");
            assert!(dropped.iter().any(|path| path == "tools[0]"), "{to}: {dropped:?}");
            let written = body.to_string();
            assert!(!written.contains("tool_reference") && !written.contains("tool_search_tool"), "{to}: {body}");
            let short = crate::format::tool_names::NameRule::SHORT;
            let name = if to == "gemini" { long.clone() } else { short.sent(&long) };
            assert!(written.contains(&format!("The tool `{name}` can be called now.")), "{to}: {body}");
            assert!(written.contains(&format!("\"name\":\"{name}\"")), "{to}: {body}");
        }
        let (body, dropped) = sent(&asked, "anthropic");
        assert_eq!((&body["tools"], &body["messages"][2], dropped), (&asked["tools"], &asked["messages"][2], vec![]));
    }

    #[test]
    fn what_was_summed_up_is_said_in_the_place_of_what_it_sums_up() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let said = |role: &str, content: &Value| json!({"role": role, "content": content});
        let sum = |content: Value| json!({"type": "compaction", "content": content});
        let call = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
        let result = json!({"type": "tool_result", "tool_use_id": "a", "content": "Done"});
        let messages = json!([
            said("user", &json!("Old one.")),
            said("assistant", &json!([sum(json!("Older sum.")), text("Old two."), sum(json!("The sum.")), call])),
            said("user", &json!([result])),
            said("assistant", &json!([sum(Value::Null), text("New.")])),
            said("user", &json!("Go on.")),
        ]);
        let asked = json!({"model": "m", "max_tokens": 9, "system": "Be kind.", "messages": messages});
        for to in ["openai", "openai_responses", "gemini", "bedrock"] {
            let (body, dropped) = sent(&asked, to);
            let written = body.to_string();
            for gone in ["Old one.", "Older sum.", "Old two.", "compaction"] {
                assert!(!written.contains(gone), "{to}: {written}");
            }
            let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("{to}: no {text}: {written}"));
            assert!(at("The sum.") < at("Done") && at("Done") < at("New.") && at("New.") < at("Go on."), "{to}");
            at("Be kind.");
            let failed = dropped.iter().filter(|path| path.starts_with("messages")).count();
            assert_eq!(failed, 1, "{to}: it sums up nothing: {dropped:?}");
        }
        let (body, dropped) = sent(&asked, "anthropic");
        assert_eq!((&body["messages"], dropped), (&messages, vec![]));
    }

    #[test]
    fn what_was_found_and_documents_of_texts_are_said_everywhere() {
        let texts = json!([{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]);
        let found = json!({"type": "search_result", "source": "https://a.test", "title": "A",
            "citations": {"enabled": true}, "content": texts});
        let document = |content: &Value| json!({"type": "document", "source": {"type": "content", "content": content}});
        let picture = json!([{"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}]);
        for to in ["openai", "openai_responses", "gemini", "bedrock"] {
            for (block, words) in [
                (&found, "A\\nhttps://a.test\\nOne.\\nTwo."),
                (&document(&texts), "One.\\nTwo."),
                (&document(&json!("Three.")), "Three."),
            ] {
                let result = json!({"type": "tool_result", "tool_use_id": "a", "content": [block]});
                for (place, content) in [("messages[0]", json!([block])), ("messages[2]", json!([result]))] {
                    let mut messages = vec![
                        json!({"role": "user", "content": "Hi"}),
                        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}),
                    ];
                    messages.push(json!({"role": "user", "content": content}));
                    let messages = &messages[if place == "messages[0]" { 2 } else { 0 }..];
                    let (body, dropped) = sent(&json!({"model": "m", "max_tokens": 9, "messages": messages}), to);
                    assert!(body.to_string().contains(&format!("\"{words}\"")), "{to}: {body}");
                    let cited = dropped.iter().any(|path| path.starts_with(place) && path.ends_with(".citations"));
                    assert_eq!(cited, block.get("citations").is_some(), "{to}: {dropped:?}");
                }
            }
            let asked = json!({"model": "m", "max_tokens": 9,
                "messages": [{"role": "user", "content": [document(&picture)]}]});
            let path = "/v1/messages";
            let (api, _) = operation_at(path).unwrap();
            let request = api.parse(&ClientRequest::post(path.parse().unwrap(), asked.to_string())).unwrap();
            let target = Target::plain("m", &NO_QUIRKS, 9);
            let refused = provider_format(to).unwrap().encode(&request, &target).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some("messages[0].content[0]"), "{to}");
        }
    }
}
