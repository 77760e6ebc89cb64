//! A whole reply, read part by part by the same calls as a stream.

use super::{Complaint, ReplyParser};
use crate::chat::{Choice, Delta, FinishReason, Part, PartKind, PartsOfDeltas, Reply};
use crate::moment::Moment;

impl ReplyParser {
    /// The alternatives as the client gets them; `None` where the parser failed, so that the reply stays as it is.
    ///
    /// # Errors
    /// The reply is none.
    pub fn read_whole(&mut self, now: Moment, reply: &Reply) -> Result<Option<Vec<Choice>>, Complaint> {
        let mut read = Vec::with_capacity(reply.choices.len());
        for choice in &reply.choices {
            let (mut parts, mut calls) = (PartsOfDeltas::default(), 0);
            for part in &choice.parts {
                self.part(now, choice.index, part, &mut parts, &mut calls);
            }
            let reason = choice.finish.clone().unwrap_or(FinishReason::Other(String::new()));
            for delta in self.finish(now, choice.index, &reason)? {
                parts.add(delta);
            }
            let mut answered = Choice { parts: parts.into_parts(), ..choice.clone() };
            // They spell out what the provider said.
            if answered.parts != choice.parts {
                answered.logprobs.clear();
                answered.rest.retain(|name, _| !name.to_ascii_lowercase().contains("logprobs"));
            }
            read.push(answered);
        }
        let whole = self.is_reading();
        self.end(now, &mut Vec::new())?;
        Ok(whole.then_some(read))
    }

    fn part(&mut self, now: Moment, choice: u32, part: &Part, parts: &mut PartsOfDeltas, calls: &mut u32) {
        let deltas = match &part.kind {
            PartKind::Text(text) => vec![Delta::Text(text.clone())],
            PartKind::Reasoning { text, .. } => vec![Delta::Reasoning(text.clone())],
            PartKind::Refusal(text) => vec![Delta::Refusal(text.clone())],
            PartKind::ToolCall { id, name, arguments } => {
                let index = *calls;
                *calls += 1;
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
            let call = deltas.iter().find_map(|delta| match delta {
                Delta::ToolCall { index, .. } => Some(*index),
                _ => None,
            });
            return parts.keep(part.clone(), call);
        }
        for delta in answers {
            parts.add(delta);
        }
    }
}
