//! From messages to what a builder reads, and from what it built to messages again.
//!
//! Everything of a part but its words stays the host's: the builder names the part, and it is moved.

use std::collections::BTreeSet;

use super::{BuiltPrompt, wit};
use crate::chat::{Message, Part, PartKind, Rest, Role};
use crate::policy::host::PolicyFault;

/// Bytes of a note that are kept.
const NOTE_BYTES: usize = 1 << 20;

/// What a builder reads, message by message. The parts of a tool's result are parts of its message.
pub(super) fn parts(messages: &[Message]) -> Vec<Vec<wit::Part<'_>>> {
    messages.iter().map(|message| message.parts.iter().flat_map(readable).collect()).collect()
}

fn readable(part: &Part) -> Vec<wit::Part<'_>> {
    let one = |kind, text| vec![wit::Part { kind, text }];
    match &part.kind {
        PartKind::Text(text) => one(wit::Kind::Text, text),
        PartKind::ToolCall { arguments, .. } => one(wit::Kind::ToolCall, arguments),
        PartKind::Reasoning { text, .. } => one(wit::Kind::Reasoning, text),
        PartKind::Refusal(text) => one(wit::Kind::Refusal, text),
        PartKind::Image(_) | PartKind::Other(_) => one(wit::Kind::Other, ""),
        PartKind::ToolResult { content, .. } if content.is_empty() => one(wit::Kind::ToolResult, ""),
        PartKind::ToolResult { content, .. } => content.iter().map(of_result).collect(),
    }
}

fn of_result(part: &Part) -> wit::Part<'_> {
    match &part.kind {
        PartKind::Text(text) => wit::Part { kind: wit::Kind::ToolResult, text },
        _ => wit::Part { kind: wit::Kind::Other, text: "" },
    }
}

/// What a builder names by one number.
enum Source {
    Part(Part),
    /// A part of a tool's result, `None` where that is empty; the result by its place, and everything about it but its content.
    OfResult(usize, Part, Option<Part>),
}

/// Moves what the builder kept into the messages it built.
///
/// # Errors
/// The answer names what there is not, or names it twice, or says nothing.
pub(super) fn apply(prompt: wit::Prompt, messages: Vec<Message>, items: usize) -> Result<BuiltPrompt, PolicyFault> {
    let broken = |why: String| PolicyFault::Contract(why);
    if prompt.messages.is_empty() {
        return Err(broken("a prompt without a message".to_owned()));
    }
    let mut named = BTreeSet::new();
    if let Some(item) = prompt.items.iter().find(|item| **item as usize >= items || !named.insert(**item)) {
        return Err(broken(format!("item {item} is not one of {items}, or is named twice")));
    }
    if prompt.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES) {
        return Err(broken(format!("a note of more than {} KiB", NOTE_BYTES >> 10)));
    }
    let (mut kept, mut sources) = (Vec::with_capacity(messages.len()), Vec::new());
    for message in messages {
        let Message { parts, name, rest, .. } = message;
        kept.push(Some((name, rest)));
        for part in parts {
            take_apart(part, &mut sources);
        }
    }
    let built = prompt.messages.into_iter().map(|message| {
        let (name, rest) = match message.source {
            None => (None, Rest::new()),
            Some(at) => take(&mut kept, at).ok_or_else(|| broken(format!("message {at} is not there, or no more")))?,
        };
        let mut parts = Parts::default();
        for part in message.parts {
            match (part.source, part.text) {
                (None, Some(text)) => parts.push(Source::Part(Part::text(text))),
                (None, None) => return Err(broken("a part with neither a source nor a text".to_owned())),
                (Some(at), text) => {
                    let source =
                        take(&mut sources, at).ok_or_else(|| broken(format!("part {at} is not there, or no more")))?;
                    parts.push(reworded(source, text).ok_or_else(|| broken(format!("part {at} has no words")))?);
                }
            }
        }
        Ok(Message { role: canonical(message.role), parts: parts.whole, name, rest })
    });
    let messages = built.collect::<Result<_, _>>()?;
    Ok(BuiltPrompt { messages, items: prompt.items, note: prompt.note.map(Into::into) })
}

fn take<T>(all: &mut [Option<T>], at: u32) -> Option<T> {
    all.get_mut(at as usize)?.take()
}

fn take_apart(part: Part, sources: &mut Vec<Option<Source>>) {
    let Part { kind: PartKind::ToolResult { call_id, content, is_error }, rest } = part else {
        return sources.push(Some(Source::Part(part)));
    };
    let place = sources.len();
    let empty = || Part {
        kind: PartKind::ToolResult { call_id: call_id.clone(), content: Vec::new(), is_error },
        rest: rest.clone(),
    };
    if content.is_empty() {
        sources.push(Some(Source::OfResult(place, empty(), None)));
    }
    sources.extend(content.into_iter().map(|part| Some(Source::OfResult(place, empty(), Some(part)))));
}

/// The source with other words, where there are any; `None` where it has none to replace.
fn reworded(source: Source, text: Option<String>) -> Option<Source> {
    let Some(text) = text else { return Some(source) };
    match source {
        Source::Part(Part { kind, rest }) => {
            let kind = match kind {
                PartKind::Text(_) => PartKind::Text(text),
                PartKind::Refusal(_) => PartKind::Refusal(text),
                PartKind::ToolCall { id, name, .. } => PartKind::ToolCall { id, name, arguments: text },
                // The signature was under other words.
                PartKind::Reasoning { .. } => PartKind::Reasoning { text, signature: None },
                PartKind::ToolResult { .. } | PartKind::Image(_) | PartKind::Other(_) => return None,
            };
            Some(Source::Part(Part { kind, rest }))
        }
        Source::OfResult(place, result, content) => {
            let rest = match content {
                None => Rest::new(),
                Some(Part { kind: PartKind::Text(_), rest }) => rest,
                Some(_) => return None,
            };
            Some(Source::OfResult(place, result, Some(Part { kind: PartKind::Text(text), rest })))
        }
    }
}

/// The parts of a message that is being put together.
#[derive(Default)]
struct Parts {
    whole: Vec<Part>,
    /// The tool's result the last part is, by its place.
    result: Option<usize>,
}

impl Parts {
    fn push(&mut self, source: Source) {
        match source {
            Source::Part(part) => {
                self.whole.push(part);
                self.result = None;
            }
            Source::OfResult(place, result, content) => {
                if self.result != Some(place) {
                    self.whole.push(result);
                    self.result = Some(place);
                }
                if let (Some(Part { kind: PartKind::ToolResult { content: all, .. }, .. }), Some(content)) =
                    (self.whole.last_mut(), content)
                {
                    all.push(content);
                }
            }
        }
    }
}

pub(super) const fn role(role: Role) -> wit::Role {
    match role {
        Role::System => wit::Role::System,
        Role::Developer => wit::Role::Developer,
        Role::User => wit::Role::User,
        Role::Assistant => wit::Role::Assistant,
        Role::Tool => wit::Role::Tool,
    }
}

const fn canonical(role: wit::Role) -> Role {
    match role {
        wit::Role::System => Role::System,
        wit::Role::Developer => Role::Developer,
        wit::Role::User => Role::User,
        wit::Role::Assistant => Role::Assistant,
        wit::Role::Tool => Role::Tool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, parts: Vec<Part>) -> Message {
        Message { role, parts, name: Some("n".to_owned()), rest: Rest::new() }
    }

    fn conversation() -> Vec<Message> {
        let result = PartKind::ToolResult {
            call_id: "c1".to_owned(),
            content: vec![Part::text("21 degrees"), PartKind::Other(serde_json::json!({"type": "image"})).into()],
            is_error: false,
        };
        vec![
            message(Role::User, vec![Part::text("my mail is a@b.c")]),
            message(
                Role::Assistant,
                vec![
                    PartKind::Reasoning { text: "hm".to_owned(), signature: Some("s".to_owned()) }.into(),
                    PartKind::ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into() }.into(),
                ],
            ),
            message(Role::Tool, vec![result.into()]),
        ]
    }

    fn built(role: wit::Role, source: Option<u32>, parts: &[(Option<u32>, Option<&str>)]) -> wit::BuiltMessage {
        let part = |(source, text): &(Option<u32>, Option<&str>)| wit::BuiltPart {
            source: *source,
            text: text.map(str::to_owned),
        };
        wit::BuiltMessage { role, source, parts: parts.iter().map(part).collect() }
    }

    fn prompt(messages: Vec<wit::BuiltMessage>) -> wit::Prompt {
        wit::Prompt { messages, items: Vec::new(), note: None }
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let before = conversation();
        let kinds: Vec<_> = parts(&before).into_iter().flatten().map(|part| (part.kind, part.text.len())).collect();
        assert_eq!(kinds.len(), 5);
        assert_eq!((kinds[3], kinds[4]), ((wit::Kind::ToolResult, 10), (wit::Kind::Other, 0)));
        let kept = prompt(vec![
            built(wit::Role::User, Some(0), &[(Some(0), None)]),
            built(wit::Role::Assistant, Some(1), &[(Some(1), None), (Some(2), None)]),
            built(wit::Role::Tool, Some(2), &[(Some(3), None), (Some(4), None)]),
        ]);
        assert_eq!(apply(kept, before.clone(), 0).unwrap().messages, before);
    }

    #[test]
    fn words_change_and_all_else_stays() {
        let other = prompt(vec![
            built(wit::Role::System, None, &[(None, Some("be short"))]),
            built(wit::Role::User, Some(0), &[(Some(0), Some("my mail is <1>"))]),
            built(wit::Role::Assistant, Some(1), &[(Some(1), Some("h")), (Some(2), Some("{\"a\":1}"))]),
            built(wit::Role::Tool, Some(2), &[(Some(3), Some("warm"))]),
        ]);
        let after = apply(other, conversation(), 0).unwrap().messages;
        assert_eq!(after[0].parts, [Part::text("be short")]);
        assert_eq!((after[0].name.as_deref(), after[1].name.as_deref()), (None, Some("n")));
        assert_eq!(after[1].parts, [Part::text("my mail is <1>")]);
        assert_eq!(after[2].parts[0].kind, PartKind::Reasoning { text: "h".into(), signature: None });
        assert_eq!(
            after[2].parts[1].kind,
            PartKind::ToolCall { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() }
        );
        let content = vec![Part::text("warm")];
        assert_eq!(after[3].parts[0].kind, PartKind::ToolResult { call_id: "c1".into(), content, is_error: false });
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_none() {
        for (parts, why) in [
            (&[(Some(9), None)][..], "part 9 is not there"),
            (&[(Some(0), None), (Some(0), None)], "part 0 is not there, or no more"),
            (&[(None, None)], "neither a source nor a text"),
            (&[(Some(4), Some("words"))], "part 4 has no words"),
        ] {
            let answer = apply(prompt(vec![built(wit::Role::User, None, parts)]), conversation(), 0);
            assert!(matches!(&answer, Err(PolicyFault::Contract(told)) if told.contains(why)), "{answer:?}");
        }
        assert!(apply(prompt(Vec::new()), conversation(), 0).is_err());
        let twice = wit::Prompt { items: vec![0, 0], ..prompt(vec![built(wit::Role::User, None, &[])]) };
        assert!(apply(twice, conversation(), 1).is_err());
    }
}
