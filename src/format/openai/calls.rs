//! Tool calls of a streamed reply, put together from pieces that imitators cut in ways of their own.
//!
//! The rule: a new call begins at a new id, at a new index, or at a name once the arguments so far are a whole JSON value. Some repeat
//! the id with every piece or invent a new one, some give every call the index 0 or none, some give two calls one id, and some
//! tell the name after the id: a call is told once it has a name, under an id that no other call of the reply has.

use serde::de::IgnoredAny;

use crate::chat::Delta;
use crate::format::call_id::signed_beside;

/// The calls of one alternative.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

/// A call under way.
struct Call {
    wire_index: u32,
    wire_id: Option<String>,
    /// As it is told.
    id: String,
    /// Whether its beginning was told, which waits for a name.
    told: bool,
    arguments: String,
}

/// What one event says of one call.
pub(super) struct Piece {
    pub(super) wire_index: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) fragment: String,
    /// What the provider wants back with the call; it travels in the id, which every client keeps.
    pub(super) signature: Option<String>,
}

impl Calls {
    /// Takes in a piece and hands what is new of the call to `tell`. `choice` is the alternative's number.
    pub(super) fn take(&mut self, piece: Piece, choice: u32, mut tell: impl FnMut(Delta)) {
        let known = self.known(&piece);
        let at = known.unwrap_or_else(|| {
            self.begin(&piece, choice);
            self.0.len() - 1
        });
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        let Some(call) = self.0.get_mut(at) else { return };
        call.arguments.push_str(&piece.fragment);
        if call.told {
            if !piece.fragment.is_empty() {
                tell(Delta::ToolArguments { index, fragment: piece.fragment });
            }
        } else if let Some(name) = piece.name {
            call.told = true;
            tell(Delta::ToolCall { index, id: call.id.clone(), name });
            if !call.arguments.is_empty() {
                tell(Delta::ToolArguments { index, fragment: call.arguments.clone() });
            }
        }
    }

    /// The place of the call a piece belongs to; `None` begins a new one.
    fn known(&self, piece: &Piece) -> Option<usize> {
        let named = piece.name.is_some();
        if let Some(id) = piece.id.as_deref() {
            let same = |call: &Call| call.wire_id.as_deref() == Some(id);
            let here = |call: &Call| piece.wire_index.is_none_or(|index| call.wire_index == index);
            if let Some(at) = self.0.iter().rposition(|call| same(call) && here(call)) {
                return Some(at);
            }
            if named {
                return None;
            }
            if let Some(at) = self.0.iter().rposition(same) {
                return Some(at);
            }
        }
        let at = match piece.wire_index {
            Some(index) => self.0.iter().rposition(|call| call.wire_index == index)?,
            None => self.0.len().checked_sub(1)?,
        };
        let call = self.0.get(at)?;
        let another =
            named && call.told && (piece.wire_index.is_none() || call.is_whole()) && !piece.fragment.is_empty();
        (!another).then_some(at)
    }

    fn begin(&mut self, piece: &Piece, choice: u32) {
        let index = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut id = piece.id.clone().unwrap_or_else(|| format!("call_{choice}_{index}"));
        if self.0.iter().any(|call| call.id == id) {
            id = format!("{id}_{index}");
        }
        if let Some(signature) = &piece.signature {
            id = signed_beside(&id, signature);
        }
        let wire_index = piece.wire_index.unwrap_or(index);
        self.0.push(Call { wire_index, wire_id: piece.id.clone(), id, told: false, arguments: String::new() });
    }
}

impl Call {
    fn is_whole(&self) -> bool {
        serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}
