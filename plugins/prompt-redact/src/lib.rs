//! Redact: what matches a pattern never reaches the provider. A mask such as `<EMAIL_1>` stands in its place, the same one for
//! the same text; the response parser `restore` puts the text back into the reply.
//!
//! All of a request is masked: messages, tool calls and results, thinking. Settings:
//! - `patterns`: which, as names of those built in (`email`, `phone`, `iban`, `card`, `ip`) and as objects
//!   `{"name": "CUSTOMER", "pattern": "C-[0-9]{6}"}`; `["email", "phone", "iban", "card"]` unless given;
//! - `restore`: `false` makes masks that nobody can undo. `true` unless given.

mod mask;

use serde_json::Value;
use witgate_prompt_builder::export_prompt_builder;
use witgate_prompt_builder::{BuiltPart, Kind, Needs, Prompt, PromptBuilder, Request, Setup, kept};

use mask::{Masks, Patterns};

struct Redact {
    patterns: Patterns,
    restore: bool,
}

impl PromptBuilder for Redact {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let settings = serde_json::from_str::<Value>(&setup.settings).map_err(|fault| fault.to_string())?;
        let Value::Object(mut settings) = settings else { return Err("settings must be a JSON object".to_owned()) };
        let patterns = match settings.shift_remove("patterns") {
            None | Some(Value::Null) => ["email", "phone", "iban", "card"].map(Value::from).to_vec(),
            Some(Value::Array(patterns)) if !patterns.is_empty() => patterns,
            Some(_) => return Err("setting `patterns` must be a list of names and of objects".to_owned()),
        };
        let patterns = Patterns::read(&patterns)?;
        let restore = match settings.shift_remove("restore") {
            None => true,
            Some(Value::Bool(restore)) => restore,
            Some(_) => return Err("setting `restore` must be true or false".to_owned()),
        };
        if let Some(name) = settings.keys().next() {
            return Err(format!("unknown setting `{name}`; this policy knows: patterns, restore"));
        }
        Ok((Self { patterns, restore }, Needs { attributes: Vec::new(), pure: true }))
    }

    fn build(&mut self, request: Request) -> Result<Prompt, String> {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let mut masks = Masks::beside(parts.map(|part| part.text.as_str()));
        let mut messages = kept(&request.messages);
        let mut number = 0;
        for (message, built) in request.messages.iter().zip(&mut messages) {
            for (part, built) in message.parts.iter().zip(&mut built.parts) {
                // What a mask contains needs no escape inside of a JSON text.
                if part.kind != Kind::Other
                    && let Some(masked) = masks.apply(&self.patterns, &part.text)
                {
                    *built = BuiltPart::reworded(number, masked);
                }
                number += 1;
            }
        }
        if messages.is_empty() {
            return Err("there are no messages to send".to_owned());
        }
        let note = (self.restore && !masks.is_empty()).then(|| masks.to_json());
        Ok(Prompt { messages, items: Vec::new(), note })
    }
}

export_prompt_builder!(Redact);
