//! Ids of tool calls, as a provider takes them.
//!
//! An id means nothing but that a result belongs to a call. Each vendor refuses some ids of the others', so an illegal one is
//! rewritten, the same way in the call and in its result, in every turn anew and always to the same; a legal one stays as it is.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::chat::{Message, Part, PartKind};

/// Which ids a provider takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdRule {
    /// Any.
    #[default]
    Any,
    /// Any that is no longer than this many bytes.
    Longest(usize),
    /// Letters, digits, `_` and `-`, up to this many.
    Word(usize),
    /// Exactly this many letters and digits.
    Exactly(usize),
}

impl IdRule {
    fn takes(self, id: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Longest(most) => id.len() <= most,
            Self::Word(most) => {
                !id.is_empty() && id.len() <= most && id.bytes().all(|byte| is_letter(byte) || b"_-".contains(&byte))
            }
            Self::Exactly(length) => id.len() == length && id.bytes().all(is_letter),
        }
    }

    /// The id number `attempt` that stands for `id`.
    fn made(self, id: &str, attempt: u32) -> String {
        const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let length = match self {
            Self::Exactly(length) => length,
            Self::Any | Self::Longest(_) | Self::Word(_) => 24,
        };
        let mut hash = Sha256::new();
        hash.update(attempt.to_be_bytes());
        hash.update(id.as_bytes());
        let letters = hash.finalize();
        let letters = letters.iter().take(length).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        match self {
            Self::Exactly(_) => letters.collect(),
            Self::Any | Self::Longest(_) | Self::Word(_) => "call_".chars().chain(letters).collect(),
        }
    }
}

/// Between a call's own id and the signature under it.
pub(super) const SIGNATURE: &str = "__thought__";
/// The same where the signature stands beside the call, as Google's models have it where they imitate another format.
const BESIDE: &str = "__google__";

/// An id with a signature, which is base64: in the letters that every provider takes in an id.
pub(super) fn signed(id: &str, signature: &str) -> String {
    with_signature(id, SIGNATURE, signature)
}

/// The same with a signature that stood beside the call.
pub(super) fn signed_beside(id: &str, signature: &str) -> String {
    with_signature(id, BESIDE, signature)
}

fn with_signature(id: &str, mark: &str, signature: &str) -> String {
    let signature = signature.trim_end_matches('=').replace('+', "-").replace('/', "_");
    format!("{id}{mark}{signature}")
}

/// The signature in an id, as the provider wrote it.
pub(super) fn signature_of(id: &str) -> Option<String> {
    after(id, SIGNATURE).or_else(|| after(id, BESIDE))
}

/// The same of one that stood beside its call. Others are no concern of a provider that knows nothing of such.
pub(super) fn signature_beside(id: &str) -> Option<String> {
    after(id, BESIDE)
}

fn after(id: &str, mark: &str) -> Option<String> {
    let (_, signature) = id.split_once(mark)?;
    let mut signature = signature.replace('-', "+").replace('_', "/");
    while !signature.len().is_multiple_of(4) {
        signature.push('=');
    }
    Some(signature)
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// The ids of one conversation.
pub(super) struct CallIds<'m>(HashMap<&'m str, String>);

impl<'m> CallIds<'m> {
    /// The ids of `messages`. Where all are legal nothing is made.
    pub(super) fn of(messages: &'m [Message], rule: IdRule) -> Self {
        let mut made = HashMap::new();
        if rule == IdRule::Any || ids(messages).all(|id| rule.takes(id)) {
            return Self(made);
        }
        let mut taken: HashSet<Cow<'_, str>> = ids(messages).filter(|id| rule.takes(id)).map(Cow::Borrowed).collect();
        for id in ids(messages).filter(|id| !rule.takes(id)) {
            if made.contains_key(id) {
                continue;
            }
            let free = (0..=u32::MAX).map(|attempt| rule.made(id, attempt)).find(|one| !taken.contains(one.as_str()));
            let Some(free) = free else { continue };
            taken.insert(Cow::Owned(free.clone()));
            made.insert(id, free);
        }
        Self(made)
    }

    /// The messages with the ids that are sent; shared where nothing is to be rewritten.
    pub(super) fn applied(&self, messages: &'m [Message]) -> Cow<'m, [Message]> {
        if self.0.is_empty() {
            return Cow::Borrowed(messages);
        }
        let mut messages = messages.to_vec();
        for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
            if let PartKind::ToolCall { id, .. } | PartKind::ToolResult { call_id: id, .. } = &mut part.kind
                && let Some(sent) = self.0.get(id.as_str())
            {
                id.clone_from(sent);
            }
        }
        Cow::Owned(messages)
    }

    /// What `id` is sent as.
    pub(super) fn sent<'i>(&'i self, id: &'i str) -> &'i str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

fn ids(messages: &[Message]) -> impl Iterator<Item = &str> {
    messages.iter().flat_map(|message| &message.parts).filter_map(|part: &Part| match &part.kind {
        PartKind::ToolCall { id, .. } => Some(id.as_str()),
        PartKind::ToolResult { call_id, .. } => Some(call_id.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Rest, Role};

    fn conversation(ids: &[&str]) -> Vec<Message> {
        let call = |id: &&str| PartKind::ToolCall { id: (*id).into(), name: "f".into(), arguments: "{}".into() };
        let result = |id: &&str| PartKind::ToolResult { call_id: (*id).into(), content: vec![], is_error: false };
        let message = |role, parts| Message { role, parts, name: None, rest: Rest::new() };
        vec![
            message(Role::Assistant, ids.iter().map(|id| Part::from(call(id))).collect()),
            message(Role::Tool, ids.iter().map(|id| Part::from(result(id))).collect()),
        ]
    }

    #[test]
    fn only_illegal_ids_are_rewritten_and_always_to_the_same() {
        let long = "x".repeat(90);
        for (rule, legal, illegal) in [
            (IdRule::Word(64), "toolu_01-Ab", ["functions.Bash:0", "", long.as_str()]),
            (IdRule::Exactly(9), "aB3456789", ["call_abcdefghijklmnopqrstu", "a_3456789", "12345678"]),
        ] {
            let all = [&[legal], illegal.as_slice()].concat();
            let messages = conversation(&all);
            let ids = CallIds::of(&messages, rule);
            assert_eq!(ids.sent(legal), legal);
            let sent: HashSet<&str> = all.iter().map(|id| ids.sent(id)).collect();
            assert_eq!(sent.len(), all.len(), "two ids became one");
            assert!(sent.iter().all(|id| rule.takes(id)), "{sent:?}");
            // A turn later, and with other calls beside them.
            let later = conversation(&[illegal.as_slice(), &["another.one", legal]].concat());
            let again = CallIds::of(&later, rule);
            assert!(illegal.iter().all(|id| ids.sent(id) == again.sent(id)));
        }
    }

    #[test]
    fn an_id_that_stands_for_another_gives_way_to_one_that_is_there() {
        let there = IdRule::Exactly(9).made("call.1", 0);
        let messages = conversation(&["call.1", &there]);
        let ids = CallIds::of(&messages, IdRule::Exactly(9));
        assert_eq!(ids.sent(&there), there);
        assert_eq!(ids.sent("call.1"), IdRule::Exactly(9).made("call.1", 1));
    }

    #[test]
    fn whoever_takes_any_gets_them_as_they_are() {
        let messages = conversation(&["functions.Bash:0"]);
        assert_eq!(CallIds::of(&messages, IdRule::Any).sent("functions.Bash:0"), "functions.Bash:0");
        assert_eq!(CallIds::of(&messages, IdRule::Longest(40)).sent("functions.Bash:0"), "functions.Bash:0");
    }
}
