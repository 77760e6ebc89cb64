//! Restore: puts back what the prompt builder `redact` masked, in texts and in the arguments of tool calls. Nothing is held back
//! but what may be the beginning of a mask. No settings.

mod unmask;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;
use witgate_response_parser::{
    Complaint, Delta, Finish, Kinds, Needs, Reply, ReplyInfo, ResponseParser, Setup, ToolArguments, text,
};
use witgate_response_parser::{Settings, export_response_parser};

use unmask::Unmask;

struct Restore;

/// The part of a reply that a delta belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Text,
    Reasoning,
    Refusal,
    Call(u32),
}

struct Restored {
    part: Option<Place>,
    masks: Rc<Vec<(String, String)>>,
    text: Unmask,
    reasoning: Unmask,
    refusal: Unmask,
    arguments: BTreeMap<u32, Unmask>,
}

impl ResponseParser for Restore {
    type Reply = Restored;

    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        Ok((Self, Needs { deltas: Kinds::all(), attributes: Vec::new(), pure: true }))
    }

    fn open(self: &Rc<Self>, about: ReplyInfo) -> Restored {
        let note = about.note.and_then(|note| serde_json::from_str::<Value>(&note).ok());
        let masks = note.as_ref().and_then(Value::as_object).into_iter().flatten();
        let masks = masks.filter_map(|(mask, text)| Some((mask.clone(), text.as_str()?.to_owned())));
        Restored {
            part: None,
            masks: Rc::new(masks.collect()),
            text: Unmask::default(),
            reasoning: Unmask::default(),
            refusal: Unmask::default(),
            arguments: BTreeMap::new(),
        }
    }
}

impl Reply for Restored {
    fn push(&mut self, delta: Delta) -> Vec<Delta> {
        // No mask goes on in a part of another kind, and clients read part after part.
        let part = Place::of(&delta);
        let mut out = if self.part.replace(part).is_some_and(|last| last != part) { self.held() } else { Vec::new() };
        out.extend(self.restored(delta));
        out
    }

    fn finish(&mut self, _: Finish) -> Result<Vec<Delta>, Complaint> {
        Ok(self.held())
    }
}

impl Place {
    const fn of(delta: &Delta) -> Self {
        match delta {
            Delta::Text(_) => Self::Text,
            Delta::Reasoning(_) => Self::Reasoning,
            Delta::Refusal(_) => Self::Refusal,
            Delta::ToolCall(call) => Self::Call(call.index),
            Delta::ToolArguments(arguments) => Self::Call(arguments.index),
        }
    }
}

impl Restored {
    fn restored(&mut self, delta: Delta) -> Vec<Delta> {
        let masks = &self.masks;
        match delta {
            Delta::Text(words) => text(self.text.push(masks, words, str::to_owned)),
            Delta::Reasoning(words) => some(self.reasoning.push(masks, words, str::to_owned), Delta::Reasoning),
            Delta::Refusal(words) => some(self.refusal.push(masks, words, str::to_owned), Delta::Refusal),
            Delta::ToolArguments(ToolArguments { index, fragment }) => {
                let words = self.arguments.entry(index).or_default().push(masks, fragment, escaped);
                some(words, |fragment| Delta::ToolArguments(ToolArguments { index, fragment }))
            }
            other @ Delta::ToolCall(_) => vec![other],
        }
    }

    fn held(&mut self) -> Vec<Delta> {
        let mut held = some(self.reasoning.finish(), Delta::Reasoning);
        held.extend(text(self.text.finish()));
        held.extend(some(self.refusal.finish(), Delta::Refusal));
        for (index, arguments) in &mut self.arguments {
            let index = *index;
            held.extend(some(arguments.finish(), |fragment| Delta::ToolArguments(ToolArguments { index, fragment })));
        }
        held
    }
}

fn some(words: String, delta: impl FnOnce(String) -> Delta) -> Vec<Delta> {
    if words.is_empty() { Vec::new() } else { vec![delta(words)] }
}

/// As it stands inside of a JSON text.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

export_response_parser!(Restore);
