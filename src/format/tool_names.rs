//! Names of tools that are longer than a provider takes.
//!
//! Anthropic's clients may write twice as much as most other providers take, and names of tools that come from servers are long. Such a
//! name is sent as a beginning and a digest of it: the same in tools, in the choice among them and in every turn. Whoever asked reads the
//! name that was written, in whole replies and in streams.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::chat::{ChatRequest, Chunk, Delta, PartKind, Reply, Tool, ToolChoice};

/// The most bytes of a name that such providers take.
const LONGEST: usize = 64;
/// Digits of the digest that stands for the rest.
const DIGITS: usize = 8;

/// The request with names that such a provider takes; shared where all of them are.
pub(super) fn shortened(request: Cow<'_, ChatRequest>) -> Cow<'_, ChatRequest> {
    let calls = request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| called(&part.kind));
    let chosen = match &request.tool_choice {
        Some(ToolChoice::Function(name)) => Some(name.as_str()),
        _ => None,
    };
    if !named(&request).chain(calls).chain(chosen).any(is_long) {
        return request;
    }
    let mut request = request.into_owned();
    for tool in &mut request.tools {
        if let Tool::Function { name, .. } = tool {
            shorten(name);
        }
    }
    if let Some(ToolChoice::Function(name)) = &mut request.tool_choice {
        shorten(name);
    }
    for part in Arc::make_mut(&mut request.messages).iter_mut().flat_map(|message| &mut message.parts) {
        if let PartKind::ToolCall { name, .. } = &mut part.kind {
            shorten(name);
        }
    }
    Cow::Owned(request)
}

/// The names of a request's tools that may have been sent shortened, by what was sent.
#[derive(Debug)]
pub struct LongNames(HashMap<String, String>);

impl LongNames {
    /// Those of `request`; `None` where it has none, as nearly all have.
    #[must_use]
    pub fn of(request: &ChatRequest) -> Option<Self> {
        let long: HashMap<_, _> =
            named(request).filter(|name| is_long(name)).map(|name| (short(name), name.to_owned())).collect();
        (!long.is_empty()).then_some(Self(long))
    }

    /// Puts them back into a whole reply.
    pub fn restore(&self, reply: &mut Reply) {
        for part in reply.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
            if let PartKind::ToolCall { name, .. } = &mut part.kind {
                self.put_back(name);
            }
        }
    }

    /// Puts them back into pieces of a streamed one.
    pub fn restore_in(&self, chunks: &mut [Chunk]) {
        for chunk in chunks {
            if let Delta::ToolCall { name, .. } = &mut chunk.delta {
                self.put_back(name);
            }
        }
    }

    fn put_back(&self, name: &mut String) {
        if let Some(long) = self.0.get(name.as_str()) {
            name.clone_from(long);
        }
    }
}

fn named(request: &ChatRequest) -> impl Iterator<Item = &str> {
    request.tools.iter().filter_map(|tool| match tool {
        Tool::Function { name, .. } => Some(name.as_str()),
        Tool::Other(_) => None,
    })
}

fn called(kind: &PartKind) -> Option<&str> {
    match kind {
        PartKind::ToolCall { name, .. } => Some(name),
        _ => None,
    }
}

const fn is_long(name: &str) -> bool {
    name.len() > LONGEST
}

/// A name as such a provider is told it.
pub(super) fn sent(name: &str) -> String {
    if is_long(name) { short(name) } else { name.to_owned() }
}

fn shorten(name: &mut String) {
    if is_long(name) {
        *name = short(name);
    }
}

/// What stands for a long name, always the same: it begins as the name does, since a model reads it.
fn short(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    format!("{}_{number:08x}", &name[..name.floor_char_boundary(LONGEST - DIGITS - 1)])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{ClientRequest, NO_QUIRKS, Target, operation_at, provider_format};

    fn request(path: &str, body: &Value) -> ChatRequest {
        let (api, _) = operation_at(path).unwrap();
        api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap()
    }

    fn sent(request: &ChatRequest, to: &str) -> Value {
        let target =
            Target { model: "m", api_version: None, quirks: &NO_QUIRKS, default_max_tokens: 9, bare_stream: false };
        serde_json::from_slice(&provider_format(to).unwrap().encode(request, &target).unwrap().body).unwrap()
    }

    #[test]
    fn a_long_name_is_sent_short_everywhere_and_read_as_it_was_written() {
        let (one, other) = (format!("mcp__{}__a", "x".repeat(70)), format!("mcp__{}__b", "x".repeat(70)));
        let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
        let asked = request(
            "/v1/messages",
            &json!({"model": "m", "max_tokens": 9, "tools": [tool(&one), tool(&other), tool("f")],
                "tool_choice": {"type": "tool", "name": one}, "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": other, "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}]}),
        );
        let body = sent(&asked, "openai");
        let name = |place: usize| body["tools"][place]["function"]["name"].as_str().unwrap();
        assert!(name(0).len() <= LONGEST && name(0) != name(1) && name(2) == "f", "{body}");
        assert!(name(0).starts_with("mcp__xxx"));
        assert_eq!(body["tool_choice"]["function"]["name"], name(0));
        assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], name(1));
        let at_bedrock = sent(&asked, "bedrock");
        assert_eq!(at_bedrock["toolConfig"]["tools"][0]["toolSpec"]["name"], name(0));
        assert_eq!(sent(&asked, "anthropic")["tools"][0]["name"], one, "it takes that many");

        let names = LongNames::of(&asked).unwrap();
        let call = |name: &str| Chunk::of(Delta::ToolCall { index: 0, id: "i".to_owned(), name: name.to_owned() });
        let mut chunks = [call(name(0)), call(name(1)), call("f"), call("unknown")];
        names.restore_in(&mut chunks);
        assert_eq!(chunks, [call(&one), call(&other), call("f"), call("unknown")]);
        let said = json!({"role": "assistant", "content": null,
            "tool_calls": [{"id": "i", "type": "function", "function": {"name": name(1), "arguments": "{}"}}]});
        let reply =
            json!({"id": "1", "model": "m", "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}]});
        let mut reply = provider_format("openai").unwrap().decode(reply.to_string().as_bytes()).unwrap();
        names.restore(&mut reply);
        assert_eq!(called(&reply.choices[0].parts[0].kind), Some(other.as_str()));
    }

    #[test]
    fn where_all_names_are_short_nothing_is_made() {
        let tool = json!({"type": "function", "function": {"name": "x".repeat(LONGEST)}});
        let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [tool]});
        let asked = request("/v1/chat/completions", &asked);
        assert!(LongNames::of(&asked).is_none());
        assert!(matches!(shortened(Cow::Borrowed(&asked)), Cow::Borrowed(_)));
    }
}
