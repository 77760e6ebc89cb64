//! What becomes of unknown fields in another dialect: each is named in the report of what was dropped.

use serde_json::Value;

use crate::chat::Rest;

/// Objects whose canonical fields were taken out: what `rest` holds under these names is what was left of them.
const PARTLY_READ: [&str; 8] = [
    "function",
    "image_url",
    "json_schema",
    "metadata",
    "output_config",
    "response_format",
    "stream_options",
    "thinking",
];

/// Names every field of `rest`, which stood at `path` (empty for the top), in `dropped`. A null says nothing,
/// or remembers how a canonical field was spelled: its meaning is not lost.
pub(super) fn report(rest: &Rest, path: &str, dropped: &mut Vec<String>) {
    for (name, value) in rest.iter().filter(|(_, value)| !value.is_null()) {
        let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(left) if PARTLY_READ.contains(&name.as_str()) && !left.is_empty() => {
                report(left, &place, dropped);
            }
            _ => dropped.push(place),
        }
    }
}

/// What was left of the object `name`, or nothing.
pub(super) fn nested<'a>(rest: &'a Rest, name: &str) -> Option<&'a Rest> {
    rest.get(name).and_then(Value::as_object)
}
