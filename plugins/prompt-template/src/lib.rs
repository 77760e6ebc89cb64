//! Template: the prompt is the operator's, the client sends variables.
//!
//! The messages are: the system template, what the client wrote, the user template. A client may so send no messages at all.
//! Settings:
//! - `system`, `user`: templates; `{{name}}` is a variable of the request's `prompt_variables`, `{{a.b}}` a field inside of one,
//!   `{{{{` is two braces;
//! - `item`: how one of `prompt_items` is written where a template says `{{items}}`; in it `{{item}}` is the item (or
//!   `{{item.field}}`), `{{number}}` its number from 1. `{{number}}. {{item}}` and a new line unless given. As many
//!   items as fit into the token budget are written;
//! - `defaults`: an object of variables for requests that lack them.
//!
//! A variable that is nowhere refuses the request in words that name it.

use serde_json::{Map, Value};
use witgate_prompt_builder::{BuiltMessage, Needs, Prompt, PromptBuilder, Request, Role, Setup, count_tokens, kept};
use witgate_prompt_builder::{export_prompt_builder, log};

use template_text::{Scope, Template};

/// Tokens kept free for each message: its role and what separates it from others.
const AROUND_MESSAGE: u32 = 8;

struct Templates {
    system: Option<Template>,
    user: Option<Template>,
    item: Template,
    defaults: Map<String, Value>,
}

impl PromptBuilder for Templates {
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
        let (system, user, item) = (template("system")?, template("user")?, template("item")?);
        let item = item.map_or_else(|| Template::parse("{{number}}. {{item}}\n"), Ok)?;
        let defaults = match settings.shift_remove("defaults") {
            None => Map::new(),
            Some(Value::Object(defaults)) => defaults,
            Some(_) => return Err("setting `defaults` must be an object".to_owned()),
        };
        if let Some(name) = settings.keys().next() {
            return Err(format!("unknown setting `{name}`; this policy knows: system, user, item, defaults"));
        }
        if system.is_none() && user.is_none() {
            return Err("at least one of the settings `system` and `user` is needed".to_owned());
        }
        Ok((Self { system, user, item, defaults }, Needs { attributes: Vec::new(), pure: true }))
    }

    fn build(&mut self, request: Request) -> Result<Prompt, String> {
        let variables = serde_json::from_str::<Value>(&request.variables).map_err(|fault| fault.to_string())?;
        let items: Vec<Value> = request
            .items
            .iter()
            .map(|item| serde_json::from_str(item))
            .collect::<Result<_, _>>()
            .map_err(|fault| fault.to_string())?;
        let mut scope = Scope { variables: &variables, defaults: &self.defaults, items: None };
        let wants_items = [&self.system, &self.user].into_iter().flatten().any(Template::wants_items);
        if !items.is_empty() && !wants_items {
            return Err("`prompt_items` were sent, and no template says {{items}}".to_owned());
        }
        let rendered = |scope: &Scope<'_>| {
            let one =
                |template: &Option<Template>| template.as_ref().map(|template| template.render(scope)).transpose();
            Ok::<_, String>([one(&self.system)?, one(&self.user)?])
        };
        let (mut list, mut count) = (String::new(), 0);
        if wants_items {
            // What is said without any item tells how much room is left for them.
            scope.items = Some("");
            let mut room = request
                .budget
                .map(|budget| {
                    let around =
                        rendered(&scope).map(|texts| texts.iter().flatten().map(|text| said(text)).sum::<u32>());
                    let written: u32 =
                        request.messages.iter().flat_map(|message| &message.parts).map(|part| said(&part.text)).sum();
                    around.map(|around| budget.saturating_sub(around).saturating_sub(written))
                })
                .transpose()?;
            for (index, item) in items.iter().enumerate() {
                let text = self.item.render_item(item, index + 1, &scope)?;
                if let Some(left) = &mut room {
                    let tokens = count_tokens(&text);
                    if tokens > *left {
                        break;
                    }
                    *left -= tokens;
                }
                list.push_str(&text);
                count += 1;
            }
            if count == 0 && !items.is_empty() {
                return Err("not one of `prompt_items` fits into the prompt".to_owned());
            }
            scope.items = Some(&list);
        }
        let [system, user] = rendered(&scope)?;
        let mut messages: Vec<BuiltMessage> =
            system.map(|text| BuiltMessage::new(Role::System, text)).into_iter().collect();
        messages.extend(kept(&request.messages));
        messages.extend(user.map(|text| BuiltMessage::new(Role::User, text)));
        if count < items.len() {
            log::debug("not all items fit");
        }
        let items = (0..).take(count).collect();
        Ok(Prompt { messages, items, note: None })
    }
}

fn said(text: &str) -> u32 {
    count_tokens(text).saturating_add(AROUND_MESSAGE)
}

export_prompt_builder!(Templates);
