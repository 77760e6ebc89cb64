//! Thinking that OpenAI's newer API sealed, as every client carries it: in the place of a signature, or of thinking that is hidden.
//!
//! Nobody else takes it back, and some refuse a whole conversation for it. So it is marked: its own provider's format finds it among
//! other signatures, and the others leave it out. It is written in letters of base64, because some clients read a signature as such.

use crate::chat::{ChatRequest, Part, PartKind};

/// How it begins; the next letter says how it goes on.
const MARK: &str = "openaiR";
/// What was sealed is in the letters that addresses take, which are exchanged for base64's own.
const EXCHANGED: &str = "u";
/// It is as it was.
const AS_IT_WAS: &str = "s";
/// The longest id that is kept, so that its length has four digits.
const LONGEST_ID: usize = 999;

/// An item's id and what is sealed in it.
pub(super) fn seal(id: &str, content: &str) -> String {
    let id = if id.is_ascii() && id.len() <= LONGEST_ID { id } else { "" };
    let how = if content.contains(['+', '/']) { AS_IT_WAS } else { EXCHANGED };
    let content = if how == EXCHANGED { content.replace('-', "+").replace('_', "/") } else { content.to_owned() };
    let (length, room) = (id.len(), id.len().next_multiple_of(4));
    let id = id.replace('-', "+").replace('_', "/");
    // Four letters at a time, so that what follows stays base64.
    format!("{MARK}{how}{length:04}{id:A<room$}{content}")
}

/// The same again.
pub(super) fn open(sealed: &str) -> Option<(String, String)> {
    let (how, rest) = sealed.strip_prefix(MARK)?.split_at_checked(1)?;
    let (length, rest) = rest.split_at_checked(4)?;
    let length: usize = length.parse().ok().filter(|length| *length <= LONGEST_ID)?;
    let (id, content) = rest.split_at_checked(length.next_multiple_of(4))?;
    let exchanged = |text: &str| text.replace('+', "-").replace('/', "_");
    let content = if how == EXCHANGED { exchanged(content) } else { content.to_owned() };
    Some((exchanged(id.get(..length)?), content))
}

/// What is sealed in a part, where it is of this kind.
pub(super) fn of(kind: &PartKind) -> Option<&str> {
    let sealed = match kind {
        PartKind::Reasoning { signature, .. } => signature.as_deref(),
        other => other.redacted(),
    };
    sealed.filter(|sealed| sealed.starts_with(MARK))
}

/// The request without such parts, and their places; `None` where it has none.
#[must_use]
pub fn without(request: &ChatRequest) -> Option<(ChatRequest, Vec<String>)> {
    let sealed = |part: &Part| of(&part.kind).is_some();
    if !request.messages.iter().flat_map(|message| &message.parts).any(sealed) {
        return None;
    }
    let mut messages = request.messages.to_vec();
    let mut places = Vec::new();
    for (index, message) in messages.iter_mut().enumerate() {
        let found = message.parts.iter().enumerate().filter(|(_, part)| sealed(part));
        places.extend(found.map(|(part, _)| format!("messages[{index}].content[{part}]")));
        message.parts.retain(|part| !sealed(part));
    }
    Some((ChatRequest { messages: messages.into(), ..request.clone() }, places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Dialect, Message, Rest, Role};

    #[test]
    fn a_conversation_goes_on_without_what_was_sealed() {
        let thought =
            |signature: &str| PartKind::Reasoning { text: "hm".to_owned(), signature: Some(signature.to_owned()) };
        let said = |parts: Vec<Part>| Message { role: Role::Assistant, parts, name: None, rest: Rest::new() };
        let request = |parts| ChatRequest::bare("m".to_owned(), vec![said(parts)], Dialect::named("x"));
        let sealed = seal("rs_1", "gAAA");
        let (other, text) = (Part::from(thought("EqRk")), Part::text("Yes."));
        let asked = request(vec![
            thought(&sealed).into(),
            other.clone(),
            text.clone(),
            PartKind::redacted_reasoning(&sealed).into(),
        ]);
        let (left, places) = without(&asked).unwrap();
        assert_eq!(left, request(vec![other, text]));
        assert_eq!(places, ["messages[0].content[0]", "messages[0].content[3]"]);
        assert_eq!(without(&left), None);
    }

    #[test]
    fn what_is_sealed_is_base64_and_comes_back_as_it_was() {
        for (id, content) in [
            ("rs_0a1b", "gAAAAABo-x_y=="),
            ("", "gAAAAABoxxxx"),
            ("rs_1", "a+b/c-d_e"),
            ("rs_68af4030baa48193b0b43b4c2a176a1a0e6967589f081e", "gAAA"),
        ] {
            let sealed = seal(id, content);
            assert_eq!(open(&sealed), Some((id.to_owned(), content.to_owned())), "{sealed}");
            assert_eq!((sealed.len() - content.len()) % 4, 0, "{sealed}");
            let part = PartKind::Reasoning { text: String::new(), signature: Some(sealed.clone()) };
            assert_eq!(of(&part), Some(sealed.as_str()));
            assert_eq!(of(&PartKind::redacted_reasoning(&sealed)), Some(sealed.as_str()));
        }
        assert!(!seal("rs_0a1b", "gAAAAABo-x_y==").contains(['-', '_', ':']));
        for other in ["EqRkc2ln", "openaiR", "openaiRu00", "openaiRu9999AAAA", "openaiRu0005AAAA", "openaiRé0000"] {
            assert_eq!(open(other), None, "{other}");
        }
        assert_eq!(of(&PartKind::Reasoning { text: String::new(), signature: Some("EqRk".to_owned()) }), None);
    }
}
