//! One call of a tool in a reply, where the client wants no more (`parallel_tool_calls: false`).
//!
//! Not every provider can be told so. What a model calls beside its first call is held back: it learns the first one's result and
//! calls again. What was held back is billed all the same.

use crate::chat::{ChatRequest, Chunk, Delta, PartKind, Reply};

/// The calls that are passed on: an alternative, and its first call.
#[derive(Default)]
pub(super) struct OneCall(Vec<(u32, u32)>);

impl OneCall {
    /// Whether no more than one is wanted, by the client or else by the deployment's default parameters.
    pub(super) fn wanted(request: &ChatRequest, defaults: Option<&ChatRequest>) -> bool {
        request.parallel_tool_calls.or_else(|| defaults?.parallel_tool_calls) == Some(false)
    }

    /// Whether a chunk is passed on.
    pub(super) fn passes(&mut self, chunk: &Chunk) -> bool {
        let (Delta::ToolCall { index, .. } | Delta::ToolArguments { index, .. }) = &chunk.delta else { return true };
        let Some((_, first)) = self.0.iter().find(|(choice, _)| *choice == chunk.choice) else {
            self.0.push((chunk.choice, *index));
            return true;
        };
        first == index
    }

    /// Takes the others out of a whole reply.
    pub(super) fn cut(reply: &mut Reply) {
        for choice in &mut reply.choices {
            let mut calls = 0;
            choice.parts.retain(|part| {
                calls += u32::from(matches!(part.kind, PartKind::ToolCall { .. }));
                calls <= 1 || !matches!(part.kind, PartKind::ToolCall { .. })
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alternative_keeps_its_first_call() {
        let mut calls = OneCall::default();
        let call = |choice, index| Chunk {
            choice,
            ..Chunk::of(Delta::ToolCall { index, id: String::new(), name: "f".to_owned() })
        };
        let more =
            |choice, index| Chunk { choice, ..Chunk::of(Delta::ToolArguments { index, fragment: "{}".to_owned() }) };
        let came = [
            call(0, 0),
            call(0, 1),
            more(0, 1),
            more(0, 0),
            call(1, 3),
            Chunk::of(Delta::Text("x".to_owned())),
            more(1, 2),
        ];
        assert_eq!(came.map(|chunk| calls.passes(&chunk)), [true, false, false, true, true, true, false]);
    }
}
