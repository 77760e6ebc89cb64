//! Messages as scenario files write them, and a prompt as it is compared: who speaks, and what kind of part says which words.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::{Message, Part, PartKind, Rest, Role};

/// Roles and their names in files.
const ROLES: [(&str, Role); 5] = [
    ("system", Role::System),
    ("developer", Role::Developer),
    ("user", Role::User),
    ("assistant", Role::Assistant),
    ("tool", Role::Tool),
];

/// A message of a file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageFile {
    pub(super) role: String,
    pub(super) content: ContentFile,
}

/// What it says: one text, or part after part.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum ContentFile {
    Text(String),
    Parts(Vec<PartFile>),
}

/// A part of a file's message.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct PartFile {
    pub(super) kind: KindFile,
    #[serde(default)]
    pub(super) text: String,
}

/// The kinds of parts a builder is told.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KindFile {
    Text,
    ToolCall,
    ToolResult,
    Reasoning,
    Refusal,
    Other,
}

/// Messages as a builder gets them.
///
/// # Errors
/// A role there is not.
pub(super) fn messages(files: &[MessageFile]) -> Result<Vec<Message>, String> {
    files.iter().map(message).collect()
}

fn message(file: &MessageFile) -> Result<Message, String> {
    let role = ROLES.into_iter().find(|(name, _)| *name == file.role);
    let (_, role) = role.ok_or_else(|| {
        format!("no role is called `{}`; there are {}", file.role, ROLES.map(|(name, _)| name).join(", "))
    })?;
    let parts = match &file.content {
        ContentFile::Text(text) => vec![Part::text(text.as_str())],
        ContentFile::Parts(parts) => parts.iter().map(part).collect(),
    };
    Ok(Message { role, parts, name: None, rest: Rest::new() })
}

fn part(file: &PartFile) -> Part {
    let text = file.text.clone();
    Part::from(match file.kind {
        KindFile::Text => PartKind::Text(text),
        KindFile::ToolCall => PartKind::ToolCall { id: "call_1".to_owned(), name: "tool".to_owned(), arguments: text },
        KindFile::ToolResult => {
            PartKind::ToolResult { call_id: "call_1".to_owned(), content: vec![Part::text(text)], is_error: false }
        }
        KindFile::Reasoning => PartKind::Reasoning { text, signature: None },
        KindFile::Refusal => PartKind::Refusal(text),
        KindFile::Other => PartKind::Other(Value::Null),
    })
}

/// Messages as a file would write them.
pub(super) fn told(messages: &[Message]) -> Vec<MessageFile> {
    let told = |message: &Message| {
        let role = ROLES.into_iter().find(|(_, role)| *role == message.role).map_or("", |(name, _)| name);
        let parts: Vec<PartFile> = message.parts.iter().flat_map(told_part).collect();
        let content = match &parts[..] {
            [PartFile { kind: KindFile::Text, text }] => ContentFile::Text(text.clone()),
            _ => ContentFile::Parts(parts),
        };
        MessageFile { role: role.to_owned(), content }
    };
    messages.iter().map(told).collect()
}

fn told_part(part: &Part) -> Vec<PartFile> {
    let one = |kind, text: &str| vec![PartFile { kind, text: text.to_owned() }];
    match &part.kind {
        PartKind::Text(text) => one(KindFile::Text, text),
        PartKind::ToolCall { arguments, .. } => one(KindFile::ToolCall, arguments),
        PartKind::ToolResult { content, .. } => {
            content.iter().flat_map(told_part).map(|part| PartFile { kind: KindFile::ToolResult, ..part }).collect()
        }
        PartKind::Reasoning { text, .. } => one(KindFile::Reasoning, text),
        PartKind::Refusal(text) => one(KindFile::Refusal, text),
        PartKind::Image(_) | PartKind::Other(_) => one(KindFile::Other, ""),
    }
}

impl fmt::Display for MessageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            ContentFile::Text(text) => write!(f, "{}: {text:?}", self.role),
            ContentFile::Parts(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| format!("{:?} {:?}", part.kind, part.text)).collect();
                write!(f, "{}: [{}]", self.role, parts.join(", "))
            }
        }
    }
}
