//! How the simulated provider counts tokens.
//!
//! One token is a word of up to 16 letters, up to three digits, or a run of other signs; white space belongs to
//! what follows it, and so does a single sign directly before a word (`"word`, `'t`). These are the pieces that
//! byte-pair encodings such as `o200k` cut a text into before they split further, so the count is cheap, needs
//! no tables, and does not exceed theirs.
//!
//! A message is 3 tokens beside its content and a request 3 more, as OpenAI counts; a picture is 85, the least
//! one costs there. Tools, calls and the schema of a reply count as their names and their JSON.

use crate::chat::{ChatRequest, OutputFormat, Part, PartKind, Role, Tool};

const PER_MESSAGE: u64 = 3;
const PER_REQUEST: u64 = 3;
const PER_IMAGE: u64 = 85;
const LONGEST_WORD: usize = 16;
const LONGEST_NUMBER: usize = 3;

/// The tokens of `text`.
#[must_use]
pub fn count(text: &str) -> u64 {
    pieces(text).count() as u64
}

/// The tokens of `text`, one by one; together they are `text` again.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(first_piece(rest));
        rest = after;
        Some(piece)
    })
}

/// Where the first piece of a text that is not empty ends.
fn first_piece(text: &str) -> usize {
    let word = text.trim_start();
    let space = text.len() - word.len();
    let Some(first) = word.chars().next() else {
        return text.len();
    };
    let run = |text: &str, most: usize, belongs: fn(char) -> bool| {
        text.chars().take(most).take_while(|sign| belongs(*sign)).map(char::len_utf8).sum::<usize>()
    };
    let is_other = |sign: char| !sign.is_alphanumeric() && !sign.is_whitespace();
    let length = if first.is_alphabetic() {
        run(word, LONGEST_WORD, char::is_alphabetic)
    } else if first.is_numeric() {
        run(word, LONGEST_NUMBER, char::is_numeric)
    } else {
        let after = &word[first.len_utf8()..];
        match run(after, LONGEST_WORD, char::is_alphabetic) {
            0 => run(word, usize::MAX, is_other),
            letters => first.len_utf8() + letters,
        }
    };
    space + length
}

/// What tells two conversations apart, as a number that is the same everywhere and always, and the input tokens.
pub(super) fn survey(request: &ChatRequest) -> (u64, u64) {
    let mut survey = Survey { print: FNV_START, tokens: PER_REQUEST };
    for message in request.messages.iter() {
        survey.tokens += PER_MESSAGE;
        survey.mark(match message.role {
            Role::System | Role::Developer => 1,
            Role::User => 2,
            Role::Assistant => 3,
            Role::Tool => 4,
        });
        survey.parts(&message.parts);
    }
    for tool in &request.tools {
        match tool {
            Tool::Function { name, description, parameters, .. } => {
                survey.text(name);
                survey.text(description.as_deref().unwrap_or_default());
                survey.text(&parameters.as_ref().map(ToString::to_string).unwrap_or_default());
            }
            Tool::Other(value) => survey.text(&value.to_string()),
        }
    }
    // It is no part of what is said: the same conversation is answered alike.
    if let Some(OutputFormat::JsonSchema { name, description, schema, .. }) = &request.output {
        let texts = [name.as_deref().unwrap_or_default(), description.as_deref().unwrap_or_default()];
        survey.tokens += texts.into_iter().map(count).sum::<u64>() + count(&schema.to_string());
    }
    (survey.print, survey.tokens)
}

/// FNV-1a, 64 bits: no keys, no versions.
const FNV_START: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

struct Survey {
    print: u64,
    tokens: u64,
}

impl Survey {
    fn mark(&mut self, byte: u8) {
        self.print = (self.print ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }

    fn print(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.mark(byte));
        // No text holds this byte, so that two texts are not the same as one.
        self.mark(0xFF);
    }

    fn text(&mut self, text: &str) {
        self.print(text);
        self.tokens += count(text);
    }

    fn parts(&mut self, parts: &[Part]) {
        for part in parts {
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Reasoning { text, .. } => self.text(text),
                PartKind::Image(source) => {
                    self.print(match source {
                        crate::chat::ImageSource::Url { url, .. } => url,
                        crate::chat::ImageSource::Base64 { data, .. } => data,
                    });
                    self.tokens += PER_IMAGE;
                }
                PartKind::ToolCall { name, arguments, .. } => {
                    self.text(name);
                    self.text(arguments);
                }
                PartKind::ToolResult { content, .. } => self.parts(content),
                PartKind::Other(value) => self.text(&value.to_string()),
            }
        }
    }
}
