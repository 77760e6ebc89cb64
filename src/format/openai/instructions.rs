//! Instructions where models have one place for them, before all others: templates of models that are served by whoever imitates OpenAI refuse
//! later ones, or pass over them.

use crate::chat::{Message, Part, PartKind};
use crate::format::quirks::{Quirks, Want};
use crate::format::rest::Report;

/// Between two of them.
pub(super) const APART: &str = "\n\n";

/// All instructions as one text, where they cannot stay where they are. A client that speaks this dialect as its `own` put them there on purpose,
/// and they are moved only where no other order is taken (which a bridge tells).
pub(super) fn gathered(messages: &[Message], own: bool, quirks: &Quirks) -> Option<String> {
    let on_purpose = own && quirks.bridge().is_none();
    let instructs = |message: &&Message| message.role.instructs();
    if on_purpose || !quirks.wants(Want::InstructionsFirst) || !messages.iter().skip(1).any(|one| instructs(&one)) {
        return None;
    }
    let text = |part: &Part| match &part.kind {
        PartKind::Text(text) => Some(text.clone()),
        _ => None,
    };
    let parts = messages.iter().filter(instructs).flat_map(|message| &message.parts);
    let mut texts = parts.map(text).collect::<Option<Vec<String>>>()?;
    texts.retain(|text| !text.is_empty());
    Some(texts.join(APART))
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
