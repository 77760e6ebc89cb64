//! What a deployment's defaults say in the words of chat completions, for a request that came in others.
//!
//! What both dialects know is taken over before a request is written ([`ChatRequest::with_defaults`]). The rest is known by the
//! format alone: it writes a request of the defaults' own dialect with it and without it, and what differs is what the defaults add.

use serde_json::{Map, Value};

use crate::chat::Rest;
use crate::chat::{ChatRequest, Message, Part, Role};
use crate::fault::AttemptFault;
use crate::format::Encoded;

/// Adds to a written request what defaults of another dialect say and it does not. What the format has no word for is reported, unless it is
/// one of `as_written`.
pub(super) fn fill(
    encoded: &mut Encoded,
    request: &ChatRequest,
    defaults: &ChatRequest,
    as_written: &[String],
    encode: impl Fn(&ChatRequest) -> Result<Encoded, AttemptFault>,
) {
    if request.dialect == defaults.dialect || defaults.rest.is_empty() || request.vectors.is_some() {
        return;
    }
    let fields = |body: &[u8]| serde_json::from_slice::<Map<String, Value>>(body).ok();
    let bare = bare(request, defaults);
    let Some(without) = encode(&bare).ok().and_then(|without| fields(&without.body)) else { return };
    let mut more = Map::new();
    for (name, value) in &defaults.rest {
        let mut asked = bare.clone();
        asked.rest.insert(name.clone(), value.clone());
        let with = encode(&asked);
        let has_no_word = with.as_ref().map_or(true, |with| !with.dropped.is_empty());
        if has_no_word && as_written.contains(name) {
            more.insert(name.clone(), value.clone());
            continue;
        }
        match with {
            Ok(with) => {
                for name in with.dropped {
                    if !encoded.dropped.contains(&name) {
                        encoded.dropped.push(name);
                    }
                }
                fill_in(&mut more, added(fields(&with.body).unwrap_or_default(), &without));
            }
            // It has no word for it, or must not have it.
            Err(_) => encoded.dropped.push(name.clone()),
        }
    }
    if let Some(mut body) = fields(&encoded.body).filter(|_| !more.is_empty()) {
        fill_in(&mut body, more);
        encoded.body = Value::Object(body).to_string().into();
    }
}

/// A short request in the defaults' dialect that says nothing of theirs.
fn bare(request: &ChatRequest, defaults: &ChatRequest) -> ChatRequest {
    let message = Message { role: Role::User, parts: vec![Part::text("a")], name: None, rest: Rest::new() };
    let mut bare = ChatRequest::bare(request.model.clone(), vec![message], defaults.dialect);
    (bare.stream, bare.rest) = (request.stream, Rest::new());
    bare
}

/// What is in `with` and not in `without`.
fn added(with: Map<String, Value>, without: &Map<String, Value>) -> Map<String, Value> {
    let only = |(name, value): (String, Value)| match (value, without.get(&name)) {
        (value, None) => Some((name, value)),
        (Value::Object(with), Some(Value::Object(without))) => {
            let more = added(with, without);
            (!more.is_empty()).then_some((name, Value::Object(more)))
        }
        // What is said in another way with it than without it.
        (value, Some(other)) => (value != *other).then_some((name, value)),
    };
    with.into_iter().filter_map(only).collect()
}

/// Takes over what is not there.
pub(super) fn fill_in(body: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (body.get_mut(&name), value) {
            (None, value) => drop(body.insert(name, value)),
            (Some(Value::Object(own)), Value::Object(more)) => fill_in(own, more),
            (Some(_), _) => {}
        }
    }
}
