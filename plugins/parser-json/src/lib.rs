//! JSON: the client gets JSON alone, whatever the model wrote around it.
//!
//! JSON is taken out of prose, code fences and thinking. A reply that is read whole is repaired (commas, quotes, comments, words of
//! Python, brackets that are missing at the end) and checked against a schema; one that is not JSON, or does not follow the
//! schema, is complained about, and the model is told what was wrong. A reply that the client gets piece by piece cannot be
//! repaired: what is around the JSON is left out as it comes, and a mistake ends the reply with an error. `hold: true` of
//! the group has streams read whole. Settings:
//! - `schema`: the JSON schema replies must follow; unless given, the one the client sent;
//! - `ask_again`: whether the model is told what was wrong; `true` unless given.
//!
//! Replies that call tools and those in which the model declines pass as they are.

mod schema;

use std::rc::Rc;

use serde_json::Value;
use witgate_response_parser::export_response_parser;
use witgate_response_parser::{Complaint, Delta, Finish, Kinds, Needs, Reply, ReplyInfo, ResponseParser, Setup, text};

use json_text::{Extract, whole};
use schema::Schema;

struct Json {
    schema: Option<Rc<Schema>>,
    ask_again: bool,
}

struct JsonReply {
    schema: Option<Rc<Schema>>,
    ask_again: bool,
    /// `None`: the reply is read whole.
    stream: Option<Extract>,
    /// All text so far; of a stream, all that was passed on.
    all: String,
}

impl ResponseParser for Json {
    type Reply = JsonReply;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let settings = serde_json::from_str::<Value>(&setup.settings).map_err(|fault| fault.to_string())?;
        let Value::Object(mut settings) = settings else { return Err("settings must be a JSON object".to_owned()) };
        let schema = match settings.shift_remove("schema") {
            None | Some(Value::Null) => None,
            Some(schema) => Some(Rc::new(Schema::read(&schema).map_err(|why| format!("setting `schema`: {why}"))?)),
        };
        let ask_again = match settings.shift_remove("ask_again") {
            None => true,
            Some(Value::Bool(ask)) => ask,
            Some(_) => return Err("setting `ask_again` must be true or false".to_owned()),
        };
        if let Some(name) = settings.keys().next() {
            return Err(format!("unknown setting `{name}`; this policy knows: schema, ask_again"));
        }
        let needs = Needs { deltas: Kinds::TEXT, attributes: Vec::new(), pure: true };
        Ok((Self { schema, ask_again }, needs))
    }

    fn open(self: &Rc<Self>, about: ReplyInfo) -> JsonReply {
        let sent = || {
            let schema = serde_json::from_str::<Value>(about.schema.as_deref()?).ok()?;
            // What this policy cannot check, the provider may: the client sent it to both.
            Schema::read(&schema).ok().map(Rc::new)
        };
        JsonReply {
            schema: self.schema.clone().or_else(sent),
            ask_again: self.ask_again,
            stream: about.streamed.then(Extract::default),
            all: String::new(),
        }
    }
}

impl JsonReply {
    fn complaint(&self, problem: String) -> Complaint {
        let repair = self.ask_again.then(|| {
            format!("Your reply is not the JSON that was asked for: {problem}. Answer again with the JSON alone, without any other text.")
        });
        Complaint { problem, repair }
    }

    fn checked(&self, value: &Value) -> Result<(), Complaint> {
        let Some(schema) = &self.schema else { return Ok(()) };
        schema.check(value).map_err(|why| self.complaint(why))
    }
}

impl Reply for JsonReply {
    fn push(&mut self, delta: Delta) -> Vec<Delta> {
        let Delta::Text(words) = delta else { return vec![delta] };
        let Some(stream) = &mut self.stream else {
            self.all.push_str(&words);
            return Vec::new();
        };
        let passed = stream.push(&words);
        self.all.push_str(&passed);
        text(passed)
    }

    fn finish(&mut self, reason: Finish) -> Result<Vec<Delta>, Complaint> {
        let said_nothing = self.all.trim().is_empty();
        match reason {
            Finish::ToolCalls | Finish::Refusal | Finish::ContentFilter => {
                let all = std::mem::take(&mut self.all);
                return Ok(if self.stream.is_none() { text(all) } else { Vec::new() });
            }
            Finish::Length if said_nothing => {
                return Err(self.complaint("it ended at the output limit before any JSON".to_owned()));
            }
            _ if said_nothing => return Err(self.complaint("there is no JSON in it".to_owned())),
            _ => {}
        }
        if self.stream.is_some() {
            let cut =
                if reason == Finish::Length { "it was cut off at the output limit" } else { "it is not valid JSON" };
            let value = serde_json::from_str(&self.all).map_err(|fault| self.complaint(format!("{cut}: {fault}")))?;
            return self.checked(&value).map(|()| Vec::new());
        }
        if reason == Finish::Length {
            return Err(self.complaint("it was cut off at the output limit; answer in fewer words".to_owned()));
        }
        let (json, value) = whole(&self.all).map_err(|why| self.complaint(why))?;
        self.checked(&value)?;
        Ok(text(json))
    }
}

export_response_parser!(Json);
