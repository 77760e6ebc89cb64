//! The one way through a request: every text, every constant, in order.

use std::io;

use serde_json::Value;

use crate::chat::{ChatRequest, ImageSource, OutputFormat, Part, PartKind, Role, Tool};

const PER_MESSAGE: u64 = 3;
const PER_NAME: u64 = 1;
const PRIMING: u64 = 3;
const PER_TOOL: u64 = 8;
pub(super) const PICTURE: u64 = 1600;
const PICTURE_LOW: u64 = 85;
/// A string this long without a blank is not text.
const OPAQUE: usize = 1024;

/// What a walk adds up.
pub(super) trait Tally {
    /// Text as the model reads it.
    fn text(&mut self, text: &str);
    /// JSON as the model reads it.
    fn json(&mut self, value: &Value);
    /// A file, as base64.
    fn file(&mut self, text: &str);
    /// Tokens that do not depend on any text.
    fn fixed(&mut self, tokens: u64);
    /// From here on the sum is an approximation.
    fn approximate(&mut self);
}

pub(super) fn walk(request: &ChatRequest, tally: &mut impl Tally) {
    if request.vectors.is_some() {
        for message in request.messages.iter() {
            input(&message.parts, tally);
        }
        return;
    }
    tally.fixed(PRIMING);
    for message in request.messages.iter() {
        tally.fixed(PER_MESSAGE);
        tally.text(role(message.role));
        if let Some(name) = &message.name {
            tally.fixed(PER_NAME);
            tally.text(name);
        }
        parts(&message.parts, tally);
    }
    for tool in &request.tools {
        tally.approximate();
        tally.fixed(PER_TOOL);
        match tool {
            Tool::Function { name, description, parameters, .. } => {
                tally.text(name);
                tally.text(description.as_deref().unwrap_or_default());
                if let Some(parameters) = parameters {
                    tally.json(parameters);
                }
            }
            Tool::Other(value) => opaque(value, tally),
        }
    }
    if let Some(OutputFormat::JsonSchema { name, description, schema, .. }) = &request.output {
        tally.approximate();
        tally.text(name.as_deref().unwrap_or_default());
        tally.text(description.as_deref().unwrap_or_default());
        tally.json(schema);
    }
}

/// What a vector is made of: nothing stands around it, and token numbers are tokens.
fn input(parts: &[Part], tally: &mut impl Tally) {
    match parts {
        [Part { kind: PartKind::Other(Value::Array(numbers)), .. }] => tally.fixed(numbers.len() as u64),
        _ => self::parts(parts, tally),
    }
}

fn parts(parts: &[Part], tally: &mut impl Tally) {
    for part in parts {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => tally.text(text),
            PartKind::Reasoning { text, .. } => {
                tally.approximate();
                tally.text(text);
            }
            PartKind::Image(ImageSource::Url { detail, .. } | ImageSource::Base64 { detail, .. }) => {
                tally.approximate();
                tally.fixed(if detail.as_deref() == Some("low") { PICTURE_LOW } else { PICTURE });
            }
            PartKind::ToolCall { name, arguments, .. } => {
                tally.approximate();
                tally.fixed(PER_TOOL);
                tally.text(name);
                tally.text(arguments);
            }
            PartKind::ToolResult { content, .. } => {
                tally.approximate();
                tally.fixed(PER_TOOL);
                self::parts(content, tally);
            }
            PartKind::Other(value) => opaque(value, tally),
        }
    }
}

/// JSON that may carry a file: long strings without a blank are no text.
fn opaque(value: &Value, tally: &mut impl Tally) {
    tally.approximate();
    tally.fixed(1);
    match value {
        Value::String(text) if text.len() >= OPAQUE && !text.bytes().any(|byte| byte.is_ascii_whitespace()) => {
            tally.file(text);
        }
        Value::String(text) => tally.text(text),
        Value::Array(items) => {
            tally.fixed(1);
            for item in items {
                opaque(item, tally);
            }
        }
        Value::Object(fields) => {
            tally.fixed(1);
            for (name, field) in fields {
                tally.fixed(1);
                tally.text(name);
                opaque(field, tally);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => tally.json(value),
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// Bytes of a value's JSON text, without writing it anywhere.
pub(super) fn json_length(value: &Value) -> u64 {
    struct Length(u64);
    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len() as u64);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // Writing to a counter cannot fail, and every `Value` has a JSON text.
    serde_json::to_writer(&mut length, value).map_or(0, |()| length.0)
}
