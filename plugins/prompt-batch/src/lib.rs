//! Batch: several texts in one call, so that what is said about all of them is paid for once.
//!
//! The request's `prompt_items` are the texts. As many as `max_batch_tokens` take are put into the prompt, in their order and
//! never one in part; which ones, the reply's header `x-witgate-items` says, and the client asks for the rest next. What is said about
//! all texts (the client's messages, the system template) and the instructions count. A text that is too large for any batch goes alone.
//! The messages are: the system template, what the client wrote, and one with the instructions and the texts. The response parser
//! `batch-split` reads the array that answers. Settings:
//! - `system`: a template, `{{name}}` is a variable of the request's `prompt_variables`;
//! - `defaults`: an object of variables for requests that lack them;
//! - `item`: how a text is written; in it `{{item}}` is the item (or `{{item.field}}`), `{{number}}` its number from 1;
//! - `instructions`: what the model is to do with the texts; `{{count}}` is how many there are. Unless given, that it answers with
//!   a JSON array of one object for each text;
//! - `max_batch_tokens`: 15000 unless given; a smaller model's room for prompts counts too;
//! - `instruction_tokens`: what is kept free for the instructions, 500 unless given.

use serde_json::{Map, Value, json};
use template_text::{Scope, Template};
use witgate_prompt_builder::{
    BuiltMessage, Needs, Prompt, PromptBuilder, Request, Role, Setup, count_tokens, export_prompt_builder, kept, log,
};

/// Tokens kept free for each message: its role and what separates it from others.
const AROUND_MESSAGE: u32 = 8;
const MAX_BATCH_TOKENS: u32 = 15_000;
const INSTRUCTION_TOKENS: u32 = 500;
const ITEM: &str = "<text number=\"{{number}}\">\n{{item}}\n</text>\n";
const INSTRUCTIONS: &str = "There are {{count}} texts below, each between `<text number=\"N\">` and `</text>`. Treat each by itself, as if it were the \
only one. Answer with a JSON array of exactly {{count}} elements and nothing else, in the order of the texts: \
[{\"number\": 1, \"result\": …}, {\"number\": 2, \"result\": …}, …]. `number` is the text's number, `result` what you were asked for about this text.";

struct Batch {
    system: Option<Template>,
    item: Template,
    instructions: Template,
    defaults: Map<String, Value>,
    max_batch_tokens: u32,
    instruction_tokens: u32,
}

impl PromptBuilder for Batch {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let settings = serde_json::from_str::<Value>(&setup.settings).map_err(|fault| fault.to_string())?;
        let Value::Object(mut settings) = settings else { return Err("settings must be a JSON object".to_owned()) };
        let mut template = |name: &str| match settings.shift_remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                Template::parse(&text).map(Some).map_err(|why| format!("setting `{name}`: {why}"))
            }
            Some(_) => Err(format!("setting `{name}` must be a text")),
        };
        let (system, item, instructions) = (template("system")?, template("item")?, template("instructions")?);
        let item = item.map_or_else(|| Template::parse(ITEM), Ok)?;
        let instructions = instructions.map_or_else(|| Template::parse(INSTRUCTIONS), Ok)?;
        let mut tokens = |name: &str, unless_given: u32| match settings.shift_remove(name) {
            None | Some(Value::Null) => Ok(unless_given),
            Some(number) => {
                let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
                number
                    .filter(|number| *number > 0)
                    .ok_or_else(|| format!("setting `{name}` must be a whole number above 0"))
            }
        };
        let max_batch_tokens = tokens("max_batch_tokens", MAX_BATCH_TOKENS)?;
        let instruction_tokens = tokens("instruction_tokens", INSTRUCTION_TOKENS)?;
        let defaults = match settings.shift_remove("defaults") {
            None => Map::new(),
            Some(Value::Object(defaults)) => defaults,
            Some(_) => return Err("setting `defaults` must be an object".to_owned()),
        };
        if let Some(name) = settings.keys().next() {
            let known = "system, item, instructions, defaults, max_batch_tokens, instruction_tokens";
            return Err(format!("unknown setting `{name}`; this policy knows: {known}"));
        }
        let batch = Self { system, item, instructions, defaults, max_batch_tokens, instruction_tokens };
        Ok((batch, Needs { attributes: Vec::new(), pure: true }))
    }

    fn build(&mut self, request: Request) -> Result<Prompt, String> {
        let variables = serde_json::from_str::<Value>(&request.variables).map_err(|fault| fault.to_string())?;
        let scope = Scope { variables: &variables, defaults: &self.defaults, items: None };
        let system = self.system.as_ref().map(|system| system.render(&scope)).transpose()?;
        let mut messages: Vec<BuiltMessage> =
            system.iter().map(|text| BuiltMessage::new(Role::System, text.as_str())).collect();
        messages.extend(kept(&request.messages));
        if request.items.is_empty() {
            // An ordinary request of the group: nothing to batch.
            return if messages.is_empty() {
                Err("there is nothing to send: no messages, no `prompt_items`".to_owned())
            } else {
                Ok(Prompt { messages, items: Vec::new(), note: None })
            };
        }
        let written = request.messages.iter().flat_map(|message| &message.parts).map(|part| part.text.as_str());
        let about_all: u32 = written.chain(system.as_deref()).map(said).fold(0, u32::saturating_add);
        let texts = self.pack(&request, about_all, &scope)?;
        if texts.len() < request.items.len() {
            log::debug("not all texts fit into one call");
        }
        let count = json!({ "count": texts.len() });
        let instructions =
            self.instructions.render(&Scope { variables: &count, defaults: &Map::new(), items: None })?;
        messages.push(BuiltMessage::new(Role::User, instructions + "\n\n" + &texts.concat()));
        let items = (0..).take(texts.len()).collect();
        Ok(Prompt { messages, items, note: Some(json!({ "texts": texts.len() }).to_string()) })
    }
}

impl Batch {
    /// The texts that go into one call, written: as many as there is room for beside what is said about all of them.
    fn pack(&self, request: &Request, about_all: u32, scope: &Scope<'_>) -> Result<Vec<String>, String> {
        let rest = |all: u32| all.saturating_sub(about_all).saturating_sub(self.instruction_tokens);
        // What the model takes is a bound for a single text too; the batch's own is not.
        let (of_batch, of_model) = (rest(self.max_batch_tokens), request.budget.map_or(u32::MAX, rest));
        let (mut texts, mut used) = (Vec::new(), 0_u32);
        for (index, item) in request.items.iter().enumerate() {
            let item = serde_json::from_str(item).map_err(|fault| fault.to_string())?;
            let text = self.item.render_item(&item, index + 1, scope)?;
            used = used.saturating_add(said(&text));
            if used > of_model.min(of_batch) && (index > 0 || used > of_model) {
                break;
            }
            texts.push(text);
        }
        if texts.is_empty() {
            return Err(format!(
                "the first of `prompt_items` has {used} tokens, and the model's room for it is {of_model}"
            ));
        }
        Ok(texts)
    }
}

fn said(text: &str) -> u32 {
    count_tokens(text).saturating_add(AROUND_MESSAGE)
}

export_prompt_builder!(Batch);
