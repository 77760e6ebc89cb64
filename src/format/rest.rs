//! What becomes of unknown fields: they go back out in the dialect they came in, and are named in the report of what was
//! dropped in any other.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::quirks::{NO_QUIRKS, Quirks};
use super::write::{Content, Object};
use crate::chat::Rest;

/// A request or reply being written: whether it is of the writer's dialect, and what had to be left out.
pub(super) struct Report {
    /// Whether the other side speaks this dialect too, so that `rest` goes back out.
    pub(super) same_dialect: bool,
    /// Paths of what was left out.
    pub(super) dropped: Vec<String>,
    /// Those of them without which the reply is another one.
    pub(super) lost: Vec<&'static str>,
    /// What the provider written to takes otherwise.
    pub(super) quirks: &'static Quirks,
    /// Fields that clients of other dialects write for this provider.
    kept: &'static [&'static str],
}

impl Report {
    pub(super) const fn new(same_dialect: bool) -> Self {
        Self { same_dialect, dropped: Vec::new(), lost: Vec::new(), quirks: &NO_QUIRKS, kept: &[] }
    }

    pub(super) const fn with_quirks(mut self, quirks: &'static Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// These fields pass from any dialect.
    pub(super) const fn keeping(mut self, kept: &'static [&'static str]) -> Self {
        self.kept = kept;
        self
    }

    /// A parameter is left out, or cut, and the reply is another one for it.
    pub(super) fn lose(&mut self, name: &'static str) {
        self.dropped.push(name.to_owned());
        self.lost.push(name);
    }

    /// A field of the request itself, as the provider takes it.
    pub(super) fn field<T: Content + ?Sized>(&mut self, out: &mut Object<'_>, name: &str, content: &T) {
        match self.quirks.field(name) {
            Some(name) => out.field(name, content),
            None => self.dropped.push(name.to_owned()),
        }
    }

    /// The same, where there is something to say.
    pub(super) fn optional<T: Content>(&mut self, out: &mut Object<'_>, name: &str, content: Option<T>) {
        if let Some(content) = content {
            self.field(out, name, &content);
        }
    }

    /// Writes the unknown fields of something at `place` (empty for the top) but those `without`, which are written
    /// elsewhere; or reports them where they are another dialect's.
    pub(super) fn rest(&mut self, out: &mut Object<'_>, rest: &Rest, place: &dyn Fn() -> String, without: &[&str]) {
        if rest.is_empty() {
            return;
        }
        if self.same_dialect {
            return out.rest(rest, without);
        }
        let mut foreign = None;
        for name in self.kept {
            if let Some(value) = rest.get(*name).filter(|value| !value.is_null()) {
                match self.quirks.field(name) {
                    Some(name) => out.field(name, value),
                    None => self.dropped.push((*name).to_owned()),
                }
                foreign.get_or_insert_with(|| rest.clone()).shift_remove(*name);
            }
        }
        self.foreign(foreign.as_ref().unwrap_or(rest), place);
    }

    /// The same of a message, of a part of one or of a tool, some of whose fields the provider may refuse.
    pub(super) fn rest_inside(
        &mut self,
        out: &mut Object<'_>,
        rest: &Rest,
        place: &dyn Fn() -> String,
        without: &[&str],
    ) {
        let quirks = self.quirks;
        if !self.same_dialect || !rest.keys().any(|name| quirks.refuses_of_messages(name)) {
            return self.rest(out, rest, place, without);
        }
        for (name, value) in rest.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            if !quirks.refuses_of_messages(name) {
                out.field(name, value);
            } else if !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()) {
                self.dropped.push(format!("{}.{name}", place()));
            }
        }
    }

    /// The same of a part of a message or of a tool, some of whose fields the provider takes from clients of any dialect.
    pub(super) fn rest_kept(
        &mut self,
        out: &mut Object<'_>,
        rest: &Rest,
        place: &dyn Fn() -> String,
        without: &[&str],
    ) {
        if !self.keeps_of(rest) {
            return self.rest_inside(out, rest, place, without);
        }
        let (quirks, mut left) = (self.quirks, rest.clone());
        left.retain(|name, value| {
            let kept = quirks.keeps(name) && !value.is_null();
            if kept {
                out.field(name, &*value);
            }
            !kept
        });
        self.rest(out, &left, place, without);
    }

    /// Whether another dialect's fields hold some that the provider takes.
    pub(super) fn keeps_of(&self, rest: &Rest) -> bool {
        !self.same_dialect && self.quirks.keeps_any(rest)
    }

    /// Reports unknown fields of another dialect.
    pub(super) fn foreign(&mut self, rest: &Rest, place: &dyn Fn() -> String) {
        if !rest.is_empty() {
            report(rest, &place(), &mut self.dropped);
        }
    }

    /// What was left of a field read in part, where it may be written. ([`Report::rest`] reports it.)
    pub(super) fn left<'r>(&self, rest: &'r Rest, name: &str) -> Option<&'r Rest> {
        nested(rest, name).filter(|_| self.same_dialect)
    }
}

/// Objects whose canonical fields were taken out: what `rest` holds under these names is what was left of them.
const PARTLY_READ: [&str; 11] = [
    "function",
    "generationConfig",
    "image_url",
    "json_schema",
    "metadata",
    "output_config",
    "response_format",
    "stream_options",
    "thinking",
    "thinkingConfig",
    "toolConfig",
];

/// What such objects hold beside what was left: fields that were read and are kept as they were written, for writers of their dialect.
const READ: [&str; 4] = ["functionCallingConfig", "function_calling_config", "responseMimeType", "responseSchema"];

/// Names every field of `rest`, which stood at `path` (empty for the top), in `dropped`. A null says nothing,
/// or remembers how a canonical field was spelled: its meaning is not lost. Neither is that of thinking which is turned off:
/// it is an effort, too.
fn report(rest: &Rest, path: &str, dropped: &mut Vec<String>) {
    let was_read = |name: &str| !path.is_empty() && READ.contains(&name);
    for (name, value) in rest.iter().filter(|(name, value)| !value.is_null() && !was_read(name)) {
        let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(left) if PARTLY_READ.contains(&name.as_str()) && !left.is_empty() => {
                report(left, &place, dropped);
            }
            _ if place == "thinking.type" && value == "disabled" => {}
            _ => dropped.push(place),
        }
    }
}

/// Keeps a header that unlocks fields of a body among them: it goes where they go, and is reported where they are dropped.
pub(super) fn keep_header(headers: &HeaderMap, name: &str, rest: &mut Rest) {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    if !values.is_empty() {
        rest.insert(name.to_owned(), values.join(",").into());
    }
}

/// The header that [`keep_header`] kept, where it is of the writer's dialect.
pub(super) fn kept_header(name: &'static str, rest: &Rest, same_dialect: bool) -> HeaderMap {
    let value = rest.get(name).and_then(Value::as_str).filter(|_| same_dialect);
    let value = value.and_then(|value| HeaderValue::from_str(value).ok());
    value.map(|value| (HeaderName::from_static(name), value)).into_iter().collect()
}

/// What was left of the object `name`, or nothing.
pub(super) fn nested<'a>(rest: &'a Rest, name: &str) -> Option<&'a Rest> {
    rest.get(name).and_then(Value::as_object)
}
