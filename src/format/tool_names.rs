//! Names of tools that a provider does not take.
//!
//! Names of tools that come from servers are long, and hold signs that most providers refuse (`server.tool`, `mcp/search`). Such a name is
//! sent in letters that the provider takes, with a digest of it behind: the same in tools, in the choice among them and in every turn.
//! Whoever asked reads the name that was written, in whole replies and in streams.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::allowed;
use crate::chat::{ChatRequest, Chunk, Delta, PartKind, Reply, Tool, ToolChoice};

/// Digits of the digest that tells a name from others.
const DIGITS: usize = 8;

/// Which names of tools a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    /// Any.
    Any,
    /// Letters, digits, `_` and `-`, up to this many.
    Word(usize),
    /// The same with dots and colons, beginning with a letter or `_`, up to this many.
    Dotted(usize),
}

impl NameRule {
    /// What most providers take.
    pub(super) const SHORT: Self = Self::Word(64);
    /// Twice as much.
    pub(super) const LONG: Self = Self::Word(128);
    /// What Google's models take.
    pub(super) const DOTTED: Self = Self::Dotted(128);

    /// Every rule by which a name may be another one.
    const ALL: [Self; 3] = [Self::SHORT, Self::LONG, Self::DOTTED];

    const fn most(self) -> usize {
        match self {
            Self::Any => usize::MAX,
            Self::Word(most) | Self::Dotted(most) => most,
        }
    }

    fn takes_sign(self, sign: char) -> bool {
        match self {
            Self::Any => true,
            Self::Word(_) => sign.is_ascii_alphanumeric() || "_-".contains(sign),
            Self::Dotted(_) => sign.is_ascii_alphanumeric() || "_-.:".contains(sign),
        }
    }

    fn takes_first(self, sign: char) -> bool {
        !matches!(self, Self::Dotted(_)) || sign.is_ascii_alphabetic() || sign == '_'
    }

    /// Whether a name is taken. One that says nothing stands for nothing else.
    fn takes(self, name: &str) -> bool {
        name.len() <= self.most()
            && name.chars().next().is_none_or(|first| self.takes_first(first))
            && name.chars().all(|sign| self.takes_sign(sign))
    }

    /// A name as such a provider is told it.
    pub(super) fn sent(self, name: &str) -> String {
        if self.takes(name) { name.to_owned() } else { self.made(name) }
    }

    /// What stands for a name, always the same: it begins as the name does, since a model reads it.
    fn made(self, name: &str) -> String {
        let digest = Sha256::digest(name.as_bytes());
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let first = name.chars().next().filter(|first| !self.takes_first(*first)).map(|_| '_');
        let taken = |sign| if self.takes_sign(sign) { sign } else { '_' };
        let signs = first.into_iter().chain(name.chars().map(taken));
        format!("{}_{number:08x}", signs.take(self.most() - DIGITS - 1).collect::<String>())
    }
}

/// The request with names that a provider of this rule takes; shared where all of them are.
pub(super) fn taken(request: Cow<'_, ChatRequest>, rule: NameRule) -> Cow<'_, ChatRequest> {
    if !is_refused(&request, rule) {
        return request;
    }
    let put = |name: &mut String| {
        if !rule.takes(name) {
            *name = rule.made(name);
        }
    };
    let mut request = request.into_owned();
    for tool in &mut request.tools {
        if let Tool::Function { name, .. } = tool {
            put(name);
        }
    }
    match &mut request.tool_choice {
        Some(ToolChoice::Function(name)) => put(name),
        Some(ToolChoice::Other(choice)) => allowed::rename(choice, |name| rule.sent(name)),
        _ => {}
    }
    for part in Arc::make_mut(&mut request.messages).iter_mut().flat_map(|message| &mut message.parts) {
        if let PartKind::ToolCall { name, .. } = &mut part.kind {
            put(name);
        }
    }
    Cow::Owned(request)
}

/// Whether a provider of this rule refuses a name of the request.
pub(super) fn is_refused(request: &ChatRequest, rule: NameRule) -> bool {
    if rule == NameRule::Any {
        return false;
    }
    let calls = request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| called(&part.kind));
    let chosen = match &request.tool_choice {
        Some(ToolChoice::Function(name)) => Some(name.as_str()),
        _ => None,
    };
    named(request).chain(calls).chain(chosen).any(|name| !rule.takes(name))
}

/// The names of a request's tools that may have been sent otherwise, by what was sent.
#[derive(Debug)]
pub struct ToolNames(HashMap<String, String>);

impl ToolNames {
    /// Those of `request`; `None` where it has none, as nearly all have.
    #[must_use]
    pub fn of(request: &ChatRequest) -> Option<Self> {
        let mut sent = HashMap::new();
        for name in named(request) {
            for rule in NameRule::ALL.into_iter().filter(|rule| !rule.takes(name)) {
                sent.insert(rule.made(name), name.to_owned());
            }
        }
        (!sent.is_empty()).then_some(Self(sent))
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
        if let Some(written) = self.0.get(name.as_str()) {
            name.clone_from(written);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::{ClientRequest, NO_QUIRKS, Quirks, Target, operation_at, provider_format};

    fn request(path: &str, body: &Value) -> ChatRequest {
        let (api, _) = operation_at(path).unwrap();
        api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap()
    }

    fn sent_by(request: &ChatRequest, to: &str, quirks: &'static Quirks) -> Value {
        let target = Target::plain("m", quirks, 9);
        serde_json::from_slice(&provider_format(to).unwrap().encode(request, &target).unwrap().body).unwrap()
    }

    fn sent(request: &ChatRequest, to: &str) -> Value {
        sent_by(request, to, &NO_QUIRKS)
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
        assert!(name(0).len() <= 64 && name(0) != name(1) && name(2) == "f", "{body}");
        assert!(name(0).starts_with("mcp__xxx"));
        assert_eq!(body["tool_choice"]["function"]["name"], name(0));
        assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], name(1));
        let at_bedrock = sent(&asked, "bedrock");
        assert_eq!(at_bedrock["toolConfig"]["tools"][0]["toolSpec"]["name"], name(0));
        assert_eq!(sent(&asked, "anthropic")["tools"][0]["name"], one, "it takes that many");

        let names = ToolNames::of(&asked).unwrap();
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

    /// The names of tools, of the choice among them and of the call in a body.
    fn told(body: &Value, to: &str) -> (Vec<String>, String, String) {
        let (tools, choice, call) = match to {
            "gemini" => (
                &body["tools"][0]["functionDeclarations"],
                &body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"][0],
                &body["contents"][1]["parts"][0]["functionCall"]["name"],
            ),
            "bedrock" => (
                &body["toolConfig"]["tools"],
                &body["toolConfig"]["toolChoice"]["tool"]["name"],
                &body["messages"][1]["content"][0]["toolUse"]["name"],
            ),
            "anthropic" => (&body["tools"], &body["tool_choice"]["name"], &body["messages"][1]["content"][0]["name"]),
            "openai_responses" => (&body["tools"], &body["tool_choice"]["name"], &body["input"][1]["name"]),
            _ => (
                &body["tools"],
                &body["tool_choice"]["function"]["name"],
                &body["messages"][1]["tool_calls"][0]["function"]["name"],
            ),
        };
        let one = |tool: &Value| {
            let tool = tool.get("function").or(tool.get("toolSpec")).unwrap_or(tool);
            tool["name"].as_str().unwrap().to_owned()
        };
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{to}: {body}")).to_owned();
        (tools.as_array().unwrap().iter().map(one).collect(), text(choice), text(call))
    }

    #[test]
    fn names_with_signs_that_a_provider_refuses_are_sent_in_its_letters_and_read_as_they_were_written() {
        let checked: &'static Quirks =
            Box::leak(Box::new(serde_json::from_value(json!({"names": "checked"})).unwrap()));
        let long = format!("mcp__{}", "x".repeat(130));
        let written = ["server.tool", "server/tool", "server:tool", "2nd", "ré", "server_tool", long.as_str()];
        let tool =
            |name: &&str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
        let call = json!({"id": "call_1", "type": "function", "function": {"name": "server/tool", "arguments": "{}"}});
        let asked = request(
            "/v1/chat/completions",
            &json!({"model": "m", "tools": written.iter().map(tool).collect::<Vec<_>>(),
                "tool_choice": {"type": "function", "function": {"name": "server.tool"}}, "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "x"}]}),
        );
        let names = ToolNames::of(&asked).unwrap();
        let kept: &[(&str, &[&str], usize)] = &[
            ("openai", &["2nd", "server_tool"], 64),
            ("openai_responses", &["2nd", "server_tool"], 64),
            ("anthropic", &["2nd", "server_tool"], 128),
            ("bedrock", &["2nd", "server_tool"], 64),
            ("gemini", &["server.tool", "server:tool", "server_tool"], 128),
        ];
        for &(to, kept, most) in kept {
            let (tools, choice, call) = told(&sent_by(&asked, to, checked), to);
            let distinct: std::collections::BTreeSet<&String> = tools.iter().collect();
            assert_eq!(distinct.len(), written.len(), "{to}: {tools:?}");
            for (sent, name) in tools.iter().zip(written) {
                assert_eq!(sent == name, kept.contains(&name), "{to}: {sent}");
                let dots = if to == "gemini" { "_-.:" } else { "_-" };
                assert!(sent.chars().all(|sign| sign.is_ascii_alphanumeric() || dots.contains(sign)), "{to}: {sent}");
                assert!(sent.len() <= most && (to != "gemini" || !sent.starts_with('2')), "{to}: {sent}");
                let chunk = Chunk::of(Delta::ToolCall { index: 0, id: "i".to_owned(), name: sent.clone() });
                let mut chunks = [chunk];
                names.restore_in(&mut chunks);
                let Delta::ToolCall { name: read, .. } = &chunks[0].delta else { panic!("no call") };
                assert_eq!(read, name, "{to}");
            }
            assert_eq!((&choice, &call), (&tools[0], &tools[1]), "{to}");
        }
        let (tools, choice, call) = told(&sent(&asked, "openai"), "openai");
        let as_written = "who imitates this vendor may take any name that its clients write";
        assert_eq!(
            (tools, choice.as_str(), call.as_str()),
            (written.map(str::to_owned).to_vec(), "server.tool", "server/tool"),
            "{as_written}"
        );
    }

    #[test]
    fn a_choice_among_some_tools_and_google_s_own_have_the_names_that_are_sent() {
        let checked: &'static Quirks =
            Box::leak(Box::new(serde_json::from_value(json!({"names": "checked"})).unwrap()));
        let function = |name: &str| json!({"type": "function", "function": {"name": name}});
        let choice = json!({"type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [function("a.b"), function("c")]}});
        let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}],
            "tools": [function("a.b"), function("c"), function("d")], "tool_choice": choice});
        let body = sent_by(&request("/v1/chat/completions", &asked), "openai", checked);
        let listed = &body["tool_choice"]["allowed_tools"]["tools"];
        assert_eq!(listed[0]["function"]["name"], body["tools"][0]["function"]["name"]);
        assert_ne!(listed[0]["function"]["name"], "a.b");
        assert_eq!(listed[1]["function"]["name"], "c");

        let asked = json!({"contents": [{"parts": [{"text": "Hi"}]}],
            "tools": [{"functionDeclarations": [{"name": "a/b"}, {"name": "c"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a/b"]}}});
        let body = sent(&request("/v1beta/models/m:generateContent", &asked), "gemini");
        let sent = &body["tools"][0]["functionDeclarations"][0]["name"];
        assert!(sent.as_str().is_some_and(|name| name.starts_with("a_b_")), "{body}");
        assert_eq!(&body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"], &json!([sent]));
    }

    #[test]
    fn where_all_names_are_taken_nothing_is_made() {
        let tool = json!({"type": "function", "function": {"name": "x".repeat(64)}});
        let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [tool]});
        let asked = request("/v1/chat/completions", &asked);
        assert!(ToolNames::of(&asked).is_none());
        assert!(matches!(taken(Cow::Borrowed(&asked), NameRule::SHORT), Cow::Borrowed(_)));
    }
}
