//! Where what a model says is from, in the words of chats.

use serde_json::{Map, Value, json};

/// The field of a message and of a streamed piece of one.
pub(super) const FIELD: &str = "annotations";

/// An annotation of the newer API as chats have it, whose text stands behind so many letters of others. Chats know addresses alone.
pub(super) fn of_chats(annotation: &Value, before: usize) -> Option<Value> {
    const KIND: &str = "url_citation";
    if annotation.get("type")? != KIND {
        return None;
    }
    let mut cited = Map::new();
    for name in ["start_index", "end_index"] {
        let place = annotation.get(name).and_then(Value::as_u64)?;
        cited.insert(name.to_owned(), place.saturating_add(before as u64).into());
    }
    for name in ["url", "title"] {
        cited.insert(name.to_owned(), annotation.get(name).cloned().unwrap_or_default());
    }
    Some(json!({"type": KIND, KIND: cited}))
}
