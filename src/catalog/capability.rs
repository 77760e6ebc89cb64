//! What a request may ask of its model beside text, and what is known of models doing it.
//!
//! A fact of the configuration (`model_info.supports_*`) stands above the table of models. A model of which it denies
//! a capability is never asked for it. One whose row in the table does not name it is asked where nobody is known to have it: tables have gaps.

use serde_json::Value;

use crate::chat::{ChatRequest, OutputFormat, Part, PartKind};

/// Something that not every model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Looks at pictures.
    Vision,
    /// Hears sound.
    Audio,
    /// Reads PDF documents.
    Documents,
    /// Calls the client's tools.
    Tools,
    /// Writes JSON that follows a schema.
    JsonSchema,
}

impl Capability {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Vision, Self::Audio, Self::Documents, Self::Tools, Self::JsonSchema];

    /// LiteLLM's name of the fact, in `model_info`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Vision => "supports_vision",
            Self::Audio => "supports_audio_input",
            Self::Documents => "supports_pdf_input",
            Self::Tools => "supports_function_calling",
            Self::JsonSchema => "supports_response_schema",
        }
    }

    /// What a request with it has.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Vision => "pictures",
            Self::Audio => "sound",
            Self::Documents => "PDF documents",
            Self::Tools => "tools",
            Self::JsonSchema => "a JSON schema for the reply",
        }
    }

    /// The field of a request that asks for it.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Vision | Self::Audio | Self::Documents => "messages",
            Self::Tools => "tools",
            Self::JsonSchema => "response_format",
        }
    }
}

/// What is known of one capability of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// It is there.
    Yes,
    /// Nothing.
    #[default]
    Unknown,
    /// The table of models knows this model, and does not name it.
    Unlisted,
    /// It is denied.
    No,
}

/// What is known of a model's capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supports([Support; Capability::ALL.len()]);

impl Supports {
    /// What is known of one.
    #[must_use]
    pub const fn of(&self, capability: Capability) -> Support {
        self.0[capability as usize]
    }

    /// The same with another fact.
    #[must_use]
    pub const fn with(mut self, capability: Capability, support: Support) -> Self {
        self.0[capability as usize] = support;
        self
    }

    /// The same, and of what nothing is known here what `other` knows.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Capability::ALL.into_iter().fold(self, |known, capability| match known.of(capability) {
            Support::Unknown => known.with(capability, other.of(capability)),
            _ => known,
        })
    }

    /// Whether it may be asked for anything.
    #[must_use]
    pub fn has_no_gaps(&self) -> bool {
        self.0.iter().all(|support| matches!(support, Support::Yes | Support::Unknown))
    }
}

/// What this request asks of its model.
#[must_use]
pub fn asked(request: &ChatRequest) -> Vec<Capability> {
    let mut found = [false; Capability::ALL.len()];
    for message in request.messages.iter() {
        look(&message.parts, &mut found);
    }
    found[Capability::Tools as usize] = !request.tools.is_empty();
    found[Capability::JsonSchema as usize] = matches!(request.output, Some(OutputFormat::JsonSchema { .. }));
    Capability::ALL.into_iter().filter(|capability| found[*capability as usize]).collect()
}

fn look(parts: &[Part], found: &mut [bool; Capability::ALL.len()]) {
    for part in parts {
        match &part.kind {
            PartKind::Image(_) => found[Capability::Vision as usize] = true,
            PartKind::ToolResult { content, .. } => look(content, found),
            PartKind::Other(value) => {
                if let Some(capability) = of_file(value) {
                    found[capability as usize] = true;
                }
            }
            _ => {}
        }
    }
}

/// How a PDF begins, in base64.
const PDF: &str = "JVBERi0";

/// What a file asks for: its type is named in some field of it, whatever the dialect, or it begins as a PDF does.
fn of_file(value: &Value) -> Option<Capability> {
    match value {
        Value::String(text) => {
            let text = text.strip_prefix("data:").unwrap_or(text);
            let is = |begins: &str| text.starts_with(begins);
            if is("audio/") || text == "input_audio" {
                Some(Capability::Audio)
            } else if text == "input_image" {
                Some(Capability::Vision)
            } else if is("application/pdf") || is(PDF) {
                Some(Capability::Documents)
            } else {
                None
            }
        }
        Value::Array(items) => items.iter().find_map(of_file),
        Value::Object(fields) => fields.values().find_map(of_file),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_file_says_stands_above_the_table() {
        let file = Supports::default().with(Capability::Vision, Support::No);
        let table = Supports([Support::Yes, Support::Unlisted, Support::Yes, Support::Unlisted, Support::Yes]);
        let both = file.or(table);
        assert_eq!(both, table.with(Capability::Vision, Support::No));
        assert!(Supports::default().has_no_gaps() && !both.has_no_gaps());
    }

    #[test]
    fn files_ask_for_what_they_are() {
        for (part, expected) in [
            (json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}), Some(Capability::Audio)),
            (
                json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}}),
                Some(Capability::Documents),
            ),
            (
                json!({"type": "document", "source": {"type": "base64", "data": "JVBERi0xLjcK"}}),
                Some(Capability::Documents),
            ),
            (json!({"type": "input_image", "file_id": "file-1"}), Some(Capability::Vision)),
            (json!({"type": "document", "source": {"type": "text", "data": "audio and pdf"}}), None),
        ] {
            assert_eq!(of_file(&part), expected, "{part}");
        }
    }
}
