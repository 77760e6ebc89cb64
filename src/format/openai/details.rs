//! Thinking in `reasoning_details`, as `OpenRouter` tells it: pieces, some of them under the signature of whoever thought, who wants them
//! back while tools are called.
//!
//! Clients of this dialect get and send the field as it stands. For those of others it is canonical thinking and its signature.

use serde_json::Value;

use crate::chat::{Delta, Part, PartKind, PartsOfDeltas};
use crate::format::json::Json;
use crate::format::read::Fields;
use crate::format::thinking::is_sealed;
use crate::format::write::Object;

/// The field of messages and deltas.
const FIELD: &str = "reasoning_details";
/// The format of a piece that names none. A signature of another means nothing without that format's name, which no other dialect can say.
const FORMAT: &str = "anthropic-claude-v1";
const TEXT: &str = "reasoning.text";
const SEALED: &str = "reasoning.encrypted";

/// Puts signed thinking in the place of what was read of it without its signatures. The field stays where it is.
pub(super) fn seal(said: &Fields<'_>, parts: &mut Vec<Part>) {
    let Some(details) = said.peek(FIELD) else { return };
    if parts.iter().any(|part| must_come_back(&part.kind)) {
        return;
    }
    let mut thought = PartsOfDeltas::default();
    for piece in pieces(details) {
        if piece.get("type").is_some_and(|kind| kind == TEXT) {
            let text = piece.get("text").and_then(Json::as_str).unwrap_or_default();
            thought.add(Delta::Reasoning(text.to_owned()));
        }
        if let Some(proof) = proof(piece) {
            thought.add(proof);
        }
    }
    let mut thought = thought.into_parts();
    if !thought.iter().any(|part| must_come_back(&part.kind)) {
        return;
    }
    for part in &mut thought {
        // A null says nothing to anybody but `is_told`.
        part.rest.insert(FIELD.to_owned(), Value::Null);
    }
    parts.retain(|part| !matches!(part.kind, PartKind::Reasoning { .. }));
    thought.append(parts);
    *parts = thought;
}

/// The signatures of a delta, for which its text was read already.
pub(super) fn proofs(said: &Fields<'_>, tell: impl FnMut(Delta)) {
    if let Some(details) = said.peek(FIELD) {
        pieces(details).iter().filter_map(proof).for_each(tell);
    }
}

/// Whether a part of a reply came out of the field, so that a client of this dialect gets it by that.
pub(super) fn is_told(part: &Part) -> bool {
    part.rest.contains_key(FIELD)
}

/// Whether a message brings the field itself.
pub(super) fn brought(rest: &crate::chat::Rest) -> bool {
    rest.get(FIELD).is_some_and(Value::is_array)
}

/// Whether the provider wants a part of an assistant's turn back: what it signed, which an empty signature does not say, or sealed.
pub(super) fn must_come_back(kind: &PartKind) -> bool {
    is_sealed(kind)
}

/// Writes what comes back of a turn's thinking.
pub(super) fn write(thought: &[&PartKind], object: &mut Object<'_>) {
    if thought.is_empty() {
        return;
    }
    let mut array = object.array(FIELD);
    for (index, kind) in (0_u32..).zip(thought) {
        let mut piece = array.object();
        if let PartKind::Reasoning { text, signature } = kind {
            piece.field("type", TEXT);
            piece.field("text", text);
            piece.field("signature", signature);
        } else {
            piece.field("type", SEALED);
            piece.optional("data", kind.redacted());
        }
        piece.field("format", FORMAT);
        piece.field("index", &index);
    }
}

fn pieces<'v, 'b>(details: &'v Json<'b>) -> &'v [Json<'b>] {
    match details {
        Json::Array(pieces) => pieces,
        _ => &[],
    }
}

/// What of a piece is no text: a signature under it, or thinking that is hidden.
fn proof(piece: &Json<'_>) -> Option<Delta> {
    let text = |name: &str| piece.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
    if text("format").is_some_and(|format| format != FORMAT) {
        return None;
    }
    match text("type")? {
        TEXT => Some(Delta::ReasoningSignature(text("signature")?.to_owned())),
        SEALED => Some(Delta::RedactedReasoning(text("data")?.to_owned())),
        _ => None,
    }
}
