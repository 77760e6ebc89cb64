//! Reasoning: thinking that a model writes into its answer (`<think>…</think>`) apart from the answer.
//!
//! Local servers and relays often pass on the raw text of models that think. Nothing is held back but what may be the beginning
//! of a tag. Settings:
//! - `tags`: names of the tags, `["think", "thinking", "reasoning"]` unless given;
//! - `thinking`: `separate` (the default) makes reasoning of it, `drop` leaves it out;
//! - `opens_thinking`: the reply begins inside of a tag, as where a chat template has written the opening one already. `false`
//!   unless given.

mod split;

use std::rc::Rc;

use witgate_response_parser::settings::Value;
use witgate_response_parser::{Complaint, Delta, Finish, Kinds, Needs, Reply, ReplyInfo, ResponseParser, Setup, text};
use witgate_response_parser::{Settings, export_response_parser};

use split::{Piece, Splitter};

struct Reasoning {
    tags: Vec<String>,
    separate: bool,
    opens_thinking: bool,
}

struct Thinking {
    splitter: Splitter,
    separate: bool,
}

impl ResponseParser for Reasoning {
    type Reply = Thinking;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        let mut settings = Settings::parse(&setup.settings)?;
        let tags = tags(settings.take("tags"))?;
        let separate = settings.word("thinking", &["separate", "drop"])? != Some(1);
        let opens_thinking = match settings.take("opens_thinking") {
            None => false,
            Some(Value::Bool(opens)) => opens,
            Some(_) => return Err("setting `opens_thinking` must be true or false".to_owned()),
        };
        settings.finish()?;
        let needs = Needs { deltas: Kinds::TEXT, attributes: Vec::new(), pure: true };
        Ok((Self { tags, separate, opens_thinking }, needs))
    }

    fn open(self: &Rc<Self>, _: ReplyInfo) -> Thinking {
        Thinking { splitter: Splitter::new(&self.tags, self.opens_thinking), separate: self.separate }
    }
}

impl Thinking {
    fn deltas(&self, pieces: Vec<Piece>) -> Vec<Delta> {
        let delta = |piece| match piece {
            Piece::Answer(words) => text(words),
            Piece::Thought(words) if self.separate && !words.is_empty() => vec![Delta::Reasoning(words)],
            Piece::Thought(_) => Vec::new(),
        };
        pieces.into_iter().flat_map(delta).collect()
    }
}

impl Reply for Thinking {
    fn push(&mut self, delta: Delta) -> Vec<Delta> {
        let Delta::Text(words) = delta else { return vec![delta] };
        let pieces = self.splitter.push(words);
        self.deltas(pieces)
    }

    fn finish(&mut self, _: Finish) -> Result<Vec<Delta>, Complaint> {
        let pieces = self.splitter.finish();
        Ok(self.deltas(pieces))
    }
}

fn tags(given: Option<Value>) -> Result<Vec<String>, String> {
    let wrong = || "setting `tags` must be a list of names, such as [\"think\"]".to_owned();
    let list = match given {
        None => return Ok(["think", "thinking", "reasoning"].map(str::to_owned).to_vec()),
        Some(Value::List(list)) if !list.is_empty() => list,
        Some(_) => return Err(wrong()),
    };
    let name = |value: Value| match value {
        Value::Text(name) if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Ok(name)
        }
        _ => Err(wrong()),
    };
    list.into_iter().map(name).collect()
}

export_response_parser!(Reasoning);
