//! Instructions where models have one place for them, before all others: templates of models that are served by whoever imitates OpenAI refuse
//! later ones, or pass over them.

use super::encode::speaks_responses;
use crate::chat::{ChatRequest, Message, PartKind, Role};
use crate::format::quirks::Want;
use crate::format::rest::Report;

/// Between two of them.
pub(super) const APART: &str = "\n\n";

pub(super) fn is_instruction(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// All instructions as one text, where they cannot stay where they are. Who speaks this dialect put them there on purpose, and they are moved
/// only where no other order is taken (which a bridge tells).
pub(super) fn gathered(request: &ChatRequest, report: &Report) -> Option<String> {
    let quirks = report.quirks;
    let on_purpose = report.same_dialect && !speaks_responses(request) && quirks.bridge().is_none();
    if !quirks.wants(Want::InstructionsFirst) || on_purpose || !request.messages.iter().skip(1).any(is_instruction) {
        return None;
    }
    let parts = request.messages.iter().filter(|message| is_instruction(message)).flat_map(|message| &message.parts);
    let text = |kind: &PartKind| match kind {
        PartKind::Text(text) => Some(text.clone()),
        _ => None,
    };
    let texts: Option<Vec<String>> = parts.map(|part| text(&part.kind)).collect();
    Some(texts?.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(APART))
}

/// Reports what was said of instructions that are gathered, beside them.
pub(super) fn unsaid(message: &Message, path: &str, report: &mut Report) {
    report.dropped.extend(message.name.as_ref().map(|_| format!("{path}.name")));
    let without_role = |name: &&String| name.as_str() != "role";
    report.dropped.extend(message.rest.keys().filter(without_role).map(|name| format!("{path}.{name}")));
    for (index, part) in message.parts.iter().enumerate() {
        report.foreign(&part.rest, &|| format!("{path}.content[{index}]"));
    }
}
