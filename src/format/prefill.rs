//! What the assistant says last in a conversation: the beginning of the reply, which the model is to go on from.

use std::borrow::Cow;

use crate::chat::{Message, Part, PartKind, Role};

/// Whether a part is a text without a visible sign. Some providers refuse such.
pub(super) fn is_blank(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Text(text) | PartKind::Refusal(text) if text.trim().is_empty())
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
