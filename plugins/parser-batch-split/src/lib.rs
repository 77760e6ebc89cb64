//! Batch split: a reply to what the prompt builder `batch` asked becomes one element for each text, in their order.
//!
//! The client gets a JSON array: `[{"item": 0, "result": …}, {"item": 1, "missing": "…why"}, …]`, `item` being the place in `x-witgate-items`. The
//! model's array may be in prose or fences, need repair, have its elements in another order, twice, or not at all: what is told by
//! its `number` goes where it belongs, and without any numbers the places count if there are as many as texts. A reply in which no text
//! is answered is complained about, and the model is asked again; what single texts lack, the client asks for, one by one.
//! It reads replies whole: a group's streams need `hold: true`. Settings:
//! - `result`: the field that holds an element's result, `result` unless given; an element without it is the result itself;
//! - `ask_again`: whether the model is told what was wrong; `true` unless given.
//!
//! Replies to requests without a batch, replies that call tools and those in which the model declines pass as they are.

mod split;

use std::rc::Rc;

use serde_json::Value;
use witgate_response_parser::export_response_parser;
use witgate_response_parser::{Complaint, Delta, Finish, Kinds, Needs, Reply, ReplyInfo, ResponseParser, Setup, text};

use split::split;

struct BatchSplit {
    result: String,
    ask_again: bool,
}

struct BatchReply {
    about: Rc<BatchSplit>,
    /// How many texts were asked about; `None` where none were, and the reply passes.
    texts: Option<usize>,
    streamed: bool,
    all: String,
}

impl ResponseParser for BatchSplit {
    type Reply = BatchReply;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let settings = serde_json::from_str::<Value>(&setup.settings).map_err(|fault| fault.to_string())?;
        let Value::Object(mut settings) = settings else { return Err("settings must be a JSON object".to_owned()) };
        let result = match settings.shift_remove("result") {
            None | Some(Value::Null) => "result".to_owned(),
            Some(Value::String(name)) if !name.is_empty() => name,
            Some(_) => return Err("setting `result` must be the name of a field".to_owned()),
        };
        let ask_again = match settings.shift_remove("ask_again") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(ask)) => ask,
            Some(_) => return Err("setting `ask_again` must be true or false".to_owned()),
        };
        if let Some(name) = settings.keys().next() {
            return Err(format!("unknown setting `{name}`; this policy knows: result, ask_again"));
        }
        Ok((Self { result, ask_again }, Needs { deltas: Kinds::TEXT, attributes: Vec::new(), pure: true }))
    }

    fn open(self: &Rc<Self>, about: ReplyInfo) -> BatchReply {
        let note = about.note.and_then(|note| serde_json::from_str::<Value>(&note).ok());
        let texts = note.as_ref().and_then(|note| note.get("texts")?.as_u64());
        BatchReply {
            about: self.clone(),
            texts: texts.and_then(|texts| usize::try_from(texts).ok()),
            streamed: about.streamed,
            all: String::new(),
        }
    }
}

impl Reply for BatchReply {
    fn push(&mut self, delta: Delta) -> Vec<Delta> {
        match delta {
            Delta::Text(words) if self.texts.is_some() && !self.streamed => {
                self.all.push_str(&words);
                Vec::new()
            }
            other => vec![other],
        }
    }

    fn finish(&mut self, reason: Finish) -> Result<Vec<Delta>, Complaint> {
        let Some(texts) = self.texts.filter(|_| !self.streamed) else { return Ok(Vec::new()) };
        if matches!(reason, Finish::ToolCalls | Finish::Refusal | Finish::ContentFilter) {
            return Ok(text(std::mem::take(&mut self.all)));
        }
        let answers = split(&self.all, texts, &self.about.result, reason == Finish::Length).map_err(|problem| {
            let repair = self.about.ask_again.then(|| {
                format!("Your reply is not the array that was asked for: {problem}. Answer again with the JSON array of {texts} elements alone.")
            });
            Complaint { problem, repair }
        })?;
        Ok(text(answers.to_string()))
    }
}

export_response_parser!(BatchSplit);
