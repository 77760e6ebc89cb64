//! What the assistant says last in a conversation: the beginning of the reply, which the model is to go on from, where it takes such.

use std::borrow::Cow;

use super::thinking::is_sealed;
use crate::chat::{Message, Part, PartKind, Role};

/// Whether a part is a text without a visible sign, or thinking that tells none and has no signature. Some providers refuse such.
pub(super) fn is_blank(part: &Part) -> bool {
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => text.trim().is_empty(),
        PartKind::Reasoning { text, .. } => text.trim().is_empty() && !is_sealed(&part.kind),
        _ => false,
    }
}

/// Why a conversation that ends in such a beginning is refused.
pub(super) const REFUSED: &str = "this model takes no beginning of its reply; let somebody else speak last, and ask for a shape by \
                                  instructions or a schema";

/// The message that is the beginning of the reply, where the conversation ends in one: instructions behind it count for nothing where they
/// are `said_first`. What calls tools, or holds what the provider ran itself, is a turn that was interrupted.
pub(super) fn beginning(messages: &[Message], said_first: bool) -> Option<usize> {
    let says = |message: &Message| message.parts.iter().any(|part| !is_blank(part));
    let counts = |(_, message): &(usize, &Message)| says(message) && !(said_first && message.role.instructs());
    let (place, last) = messages.iter().enumerate().rev().find(counts)?;
    let is_text = |part: &Part| matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_));
    let ends_in_text = last.parts.iter().rev().find(|part| !is_blank(part)).is_some_and(is_text);
    let is_whole = !last.parts.iter().any(|part| matches!(part.kind, PartKind::Other(_)));
    (last.role == Role::Assistant && ends_in_text && is_whole).then_some(place)
}

/// The conversation without the blanks behind such a beginning, which some providers refuse. Shared where there are none.
pub(super) fn trimmed(messages: Cow<'_, [Message]>) -> Cow<'_, [Message]> {
    if !messages.last().is_some_and(ends_in_blanks) {
        return messages;
    }
    let mut messages = messages.into_owned();
    if let Some(last) = messages.last_mut() {
        let said = last.parts.iter().rposition(|part| !is_blank(part)).map_or(0, |place| place + 1);
        last.parts.truncate(said);
        if let Some(PartKind::Text(text)) = last.parts.last_mut().map(|part| &mut part.kind) {
            let length = text.trim_end().len();
            text.truncate(length);
        }
    }
    Cow::Owned(messages)
}

fn ends_in_blanks(message: &Message) -> bool {
    let Some(last) = message.parts.last().filter(|_| message.role == Role::Assistant) else { return false };
    is_blank(last) || matches!(&last.kind, PartKind::Text(text) if text.ends_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Rest;

    fn said(role: Role, texts: &[&str]) -> Message {
        let parts = texts.iter().map(|text| Part::text(*text)).collect();
        Message { role, parts, name: None, rest: Rest::new() }
    }

    #[test]
    fn a_conversation_ends_in_the_beginning_of_a_reply_where_the_assistant_says_a_text_last() {
        let (asked, rule) = (|| said(Role::User, &["Which?"]), || said(Role::System, &["Be brief."]));
        let begun = || said(Role::Assistant, &["It is", " "]);
        let with = |kind: PartKind| {
            let mut message = begun();
            message.parts.push(Part::from(kind));
            message
        };
        let call = PartKind::ToolCall { id: "a".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
        let ran = PartKind::Other(serde_json::json!({"type": "server_tool_use", "id": "a", "name": "f", "input": {}}));
        for (messages, first, expected) in [
            (vec![asked(), begun()], true, Some(1)),
            (vec![rule(), asked(), begun(), said(Role::Assistant, &[" "])], true, Some(2)),
            (vec![asked(), begun(), rule()], true, Some(1)),
            (vec![asked(), begun(), rule()], false, None),
            (vec![asked(), begun(), asked()], true, None),
            (vec![asked(), with(call)], true, None),
            (vec![asked(), with(ran)], true, None),
            (vec![asked(), said(Role::Assistant, &[" "])], true, None),
            (vec![], true, None),
        ] {
            assert_eq!(beginning(&messages, first), expected, "{messages:?}");
        }
    }

    #[test]
    fn only_the_blanks_behind_the_last_words_of_the_assistant_go() {
        let asked = || said(Role::User, &["Which? "]);
        for (before, after) in [
            (said(Role::Assistant, &["The answer is "]), said(Role::Assistant, &["The answer is"])),
            (said(Role::Assistant, &["So ", "it is\n", " \n", ""]), said(Role::Assistant, &["So ", "it is"])),
            (said(Role::Assistant, &[" "]), said(Role::Assistant, &[])),
            (said(Role::Assistant, &[" It"]), said(Role::Assistant, &[" It"])),
            (asked(), asked()),
        ] {
            let messages = [said(Role::Assistant, &["Earlier "]), asked(), before];
            let expected = [said(Role::Assistant, &["Earlier "]), asked(), after];
            assert_eq!(*trimmed(Cow::Borrowed(&messages[..])), expected);
        }
    }
}
