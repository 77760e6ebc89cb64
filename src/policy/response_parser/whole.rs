//! A whole reply, read part by part by the same calls as a stream.

use super::{Complaint, ReplyParser};
use crate::chat::{Choice, Delta, FinishReason, Part, PartKind, Reply, Rest};
use crate::moment::Moment;

impl ReplyParser {
    /// The alternatives as the client gets them; `None` where the parser failed, so that the reply stays as it is.
    ///
    /// # Errors
    /// The reply is none.
    pub fn read_whole(mut self, now: Moment, reply: &Reply) -> Result<Option<Vec<Choice>>, Complaint> {
        let mut read = Vec::with_capacity(reply.choices.len());
        for choice in &reply.choices {
            let mut parts = Parts::default();
            for part in &choice.parts {
                self.part(now, choice.index, part, &mut parts);
            }
            let reason = choice.finish.clone().unwrap_or(FinishReason::Other(String::new()));
            for delta in self.finish(now, choice.index, &reason)? {
                parts.add(delta);
            }
            read.push(Choice { parts: parts.whole, ..choice.clone() });
        }
        let whole = self.is_reading();
        self.end(now, &mut Vec::new())?;
        Ok(whole.then_some(read))
    }

    fn part(&mut self, now: Moment, choice: u32, part: &Part, parts: &mut Parts) {
        let deltas = match &part.kind {
            PartKind::Text(text) => vec![Delta::Text(text.clone())],
            PartKind::Reasoning { text, .. } => vec![Delta::Reasoning(text.clone())],
            PartKind::Refusal(text) => vec![Delta::Refusal(text.clone())],
            PartKind::ToolCall { id, name, arguments } => {
                let index = parts.calls;
                vec![
                    Delta::ToolCall { index, id: id.clone(), name: name.clone() },
                    Delta::ToolArguments { index, fragment: arguments.clone() },
                ]
            }
            PartKind::Image(_) | PartKind::ToolResult { .. } | PartKind::Other(_) => Vec::new(),
        };
        let mut answers = Vec::new();
        for delta in &deltas {
            match self.push(now, choice, delta) {
                Some(answer) => answers.extend(answer),
                None => answers.push(delta.clone()),
            }
        }
        if answers == deltas {
            return parts.keep(part.clone());
        }
        for delta in answers {
            parts.add(delta);
        }
    }
}

/// The parts of an alternative that is being put together.
#[derive(Default)]
struct Parts {
    whole: Vec<Part>,
    /// The tool calls so far.
    calls: u32,
}

impl Parts {
    /// A part the parser left as it was, with everything about it.
    fn keep(&mut self, part: Part) {
        self.calls += u32::from(matches!(part.kind, PartKind::ToolCall { .. }));
        self.whole.push(part);
    }

    fn add(&mut self, delta: Delta) {
        let last = self.whole.last_mut().map(|part| &mut part.kind);
        match (delta, last) {
            (Delta::Text(more), Some(PartKind::Text(text)))
            | (Delta::Refusal(more), Some(PartKind::Refusal(text)))
            | (Delta::Reasoning(more), Some(PartKind::Reasoning { text, .. }))
            | (Delta::ToolArguments { fragment: more, .. }, Some(PartKind::ToolCall { arguments: text, .. })) => {
                text.push_str(&more);
            }
            (Delta::Text(text), _) => self.new_part(PartKind::Text(text)),
            (Delta::Refusal(text), _) => self.new_part(PartKind::Refusal(text)),
            (Delta::Reasoning(text), _) => self.new_part(PartKind::Reasoning { text, signature: None }),
            (Delta::ToolCall { id, name, .. }, _) => {
                self.calls += 1;
                self.new_part(PartKind::ToolCall { id, name, arguments: String::new() });
            }
            // Arguments of no call: there is nothing they could belong to.
            _ => {}
        }
    }

    fn new_part(&mut self, kind: PartKind) {
        self.whole.push(Part { kind, rest: Rest::new() });
    }
}
