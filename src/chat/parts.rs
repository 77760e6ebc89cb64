//! The parts of a reply, put together from its deltas.

use super::{Delta, Part, PartKind, Rest};

/// Parts so far.
#[derive(Debug, Default)]
pub struct PartsOfDeltas {
    parts: Vec<Part>,
    /// Tool calls: index, and place among the parts.
    calls: Vec<(u32, usize)>,
}

impl PartsOfDeltas {
    /// A part that is whole already, with everything about it; `call` is its index where it is a tool call.
    pub fn keep(&mut self, part: Part, call: Option<u32>) {
        self.calls.extend(call.map(|index| (index, self.parts.len())));
        self.parts.push(part);
    }

    /// The next delta; one that adds nothing to a part is passed over.
    pub fn add(&mut self, delta: Delta) {
        let last = self.parts.last_mut().map(|part| &mut part.kind);
        match (delta, last) {
            (Delta::Text(more), Some(PartKind::Text(text)))
            | (Delta::Refusal(more), Some(PartKind::Refusal(text)))
            | (Delta::Reasoning(more), Some(PartKind::Reasoning { text, signature: None })) => text.push_str(&more),
            (Delta::ToolArguments { index, fragment }, _) => self.arguments(index, &fragment),
            (Delta::Text(text), _) => self.begin(PartKind::Text(text)),
            (Delta::Refusal(text), _) => self.begin(PartKind::Refusal(text)),
            (Delta::Reasoning(text), _) => self.begin(PartKind::Reasoning { text, signature: None }),
            (Delta::ReasoningSignature(proof), Some(PartKind::Reasoning { signature: signature @ None, .. })) => {
                *signature = Some(proof);
            }
            (Delta::RedactedReasoning(data), _) => self.begin(PartKind::redacted_reasoning(&data)),
            (Delta::ToolCall { index, id, name }, _) => {
                self.calls.push((index, self.parts.len()));
                self.begin(PartKind::ToolCall { id, name, arguments: String::new() });
            }
            _ => {}
        }
    }

    /// More of a call's arguments, which other parts may have followed. Those of no call belong to nothing.
    fn arguments(&mut self, index: u32, fragment: &str) {
        let place = self.calls.iter().rfind(|(known, _)| *known == index).map(|(_, place)| *place);
        let part = place.and_then(|place| self.parts.get_mut(place)).map(|part| &mut part.kind);
        if let Some(PartKind::ToolCall { arguments, .. }) = part {
            arguments.push_str(fragment);
        }
    }

    /// The parts.
    #[must_use]
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    fn begin(&mut self, kind: PartKind) {
        self.parts.push(Part { kind, rest: Rest::new() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_of_one_kind_are_one_part() {
        let mut parts = PartsOfDeltas::default();
        let call = |index, name: &str| Delta::ToolCall { index, id: "i".to_owned(), name: name.to_owned() };
        let more = |fragment: &str| Delta::ToolArguments { index: 0, fragment: fragment.to_owned() };
        let late = Delta::ToolArguments { index: 0, fragment: " ".to_owned() };
        let text = |text: &str| Delta::Text(text.to_owned());
        for delta in
            [more("lost"), text("a"), text("b"), call(0, "f"), more("{"), more("}"), call(1, "g"), text("c"), late]
        {
            parts.add(delta);
        }
        let kinds: Vec<PartKind> = parts.into_parts().into_iter().map(|part| part.kind).collect();
        let tool = |name: &str, arguments: &str| PartKind::ToolCall {
            id: "i".to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        let text = |text: &str| PartKind::Text(text.to_owned());
        assert_eq!(kinds, [text("ab"), tool("f", "{} "), tool("g", ""), text("c")]);
    }
}
