//! The order in which APIs tell a streamed reply that say one thing after another.
//!
//! A call is whole before anything else begins: what providers weave together waits. White space between the pieces of a call
//! says nothing.

use serde::de::IgnoredAny;

use crate::chat::{Chunk, Delta};

/// What one alternative has under way.
#[derive(Default)]
pub(super) struct WholeCalls {
    /// The call under way, and its arguments so far.
    call: Option<(u32, String)>,
    /// The calls that have begun.
    begun: Vec<u32>,
    /// What came while a call was under way and not whole, in its order.
    waiting: Vec<Chunk>,
}

impl WholeCalls {
    /// Whether a chunk must wait for the call under way, in which case it is kept. One that need not is to be written now.
    pub(super) fn holds(&mut self, chunk: &Chunk) -> bool {
        let waits = self.call.as_ref().is_some_and(|(open, _)| match &chunk.delta {
            Delta::ToolArguments { index, .. } => index != open && !self.begun.contains(index),
            Delta::ToolCall { .. }
            | Delta::Text(_)
            | Delta::Refusal(_)
            | Delta::Reasoning(_)
            | Delta::RedactedReasoning(_) => !self.waiting.is_empty() || !self.is_whole(),
            _ => false,
        });
        if waits {
            let blank = matches!(&chunk.delta, Delta::Text(text) if text.trim().is_empty());
            if !blank {
                self.waiting.push(chunk.clone());
            }
            return true;
        }
        match &chunk.delta {
            Delta::ToolCall { index, .. } => {
                self.begun.push(*index);
                self.call = Some((*index, String::new()));
            }
            Delta::ToolArguments { index, fragment } => {
                if let Some((_, arguments)) = self.call.as_mut().filter(|(open, _)| open == index) {
                    arguments.push_str(fragment);
                }
            }
            Delta::Text(_) | Delta::Refusal(_) | Delta::Reasoning(_) | Delta::RedactedReasoning(_) => self.call = None,
            _ => {}
        }
        false
    }

    /// What need not wait any more; each of it is asked for again.
    pub(super) fn freed(&mut self) -> Vec<Chunk> {
        if self.waiting.is_empty() || !self.is_whole() {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting)
    }

    /// All that waits, each call with all of its arguments: nothing more comes.
    pub(super) fn rest(&mut self) -> Vec<Chunk> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut ordered = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let chunk = waiting.remove(0);
            let Delta::ToolCall { index, .. } = chunk.delta else {
                if !matches!(chunk.delta, Delta::ToolArguments { .. }) {
                    ordered.push(chunk);
                }
                continue;
            };
            ordered.push(chunk);
            let of_call =
                |chunk: &mut Chunk| matches!(chunk.delta, Delta::ToolArguments { index: of, .. } if of == index);
            ordered.extend(waiting.extract_if(.., of_call));
        }
        ordered
    }

    /// Whether the arguments of the call under way are all there.
    fn is_whole(&self) -> bool {
        self.call.as_ref().is_none_or(|(_, arguments)| serde_json::from_str::<IgnoredAny>(arguments).is_ok())
    }
}
