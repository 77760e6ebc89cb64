//! The operator's instructions come first, then everything the client wrote, as it wrote it.
//!
//! Setting `text`: the instructions; it must be given.

use witgate_prompt_builder::settings::Value;
use witgate_prompt_builder::{
    BuiltMessage, Needs, Prompt, PromptBuilder, Request, Role, Settings, Setup, export_prompt_builder, kept,
};

struct Preamble {
    text: String,
}

impl PromptBuilder for Preamble {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let text = match settings.take("text") {
            Some(Value::Text(text)) => text,
            _ => return Err("setting `text` must be a text: the instructions".to_owned()),
        };
        settings.finish()?;
        // Nothing of one request is remembered at the next.
        Ok((Self { text }, Needs { attributes: Vec::new(), pure: true }))
    }

    fn build(&mut self, request: Request) -> Result<Prompt, String> {
        let mut messages = vec![BuiltMessage::new(Role::System, self.text.clone())];
        messages.extend(kept(&request.messages));
        Ok(Prompt { messages, items: Vec::new(), note: None })
    }
}

export_prompt_builder!(Preamble);

#[cfg(test)]
mod tests;
