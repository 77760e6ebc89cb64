//! JSON, written straight into the buffer that is sent: no tree is built and no text is copied twice.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::Rest;

/// Writes one object through `fill` and appends it to `out`.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

/// Appends any value. What cannot be JSON (a map whose keys are no text) becomes `null`; nothing here is.
pub(super) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// An object under way.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    fn key(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        value(self.out, name);
        self.out.push(b':');
    }

    /// A field of any value.
    pub(super) fn field<T: Serialize + ?Sized>(&mut self, name: &str, content: &T) -> &mut Self {
        self.key(name);
        value(self.out, content);
        self
    }

    /// A field, where there is a value.
    pub(super) fn some<T: Serialize>(&mut self, name: &str, content: Option<T>) -> &mut Self {
        if let Some(content) = content {
            self.field(name, &content);
        }
        self
    }

    /// A field that is an object.
    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.key(name);
        object(self.out, fill);
        self
    }

    /// A field that is an array.
    pub(super) fn array(&mut self, name: &str, fill: impl FnOnce(&mut Array<'_>)) -> &mut Self {
        self.key(name);
        self.out.push(b'[');
        fill(&mut Array { out: self.out, empty: true });
        self.out.push(b']');
        self
    }

    /// Every field of `rest`, as it is.
    pub(super) fn rest(&mut self, rest: &Rest) -> &mut Self {
        for (name, content) in rest {
            self.field(name, content);
        }
        self
    }
}

/// An array under way.
pub(super) struct Array<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Array<'_> {
    fn next(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    /// An item of any value.
    pub(super) fn item<T: Serialize + ?Sized>(&mut self, content: &T) {
        self.next();
        value(self.out, content);
    }

    /// An item that is an object.
    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.next();
        object(self.out, fill);
    }
}

/// `text` as JSON without parsing it into a tree, where it is one JSON object; `None` otherwise.
pub(super) fn raw_object(text: &str) -> Option<&RawValue> {
    let trimmed = text.trim();
    if !trimmed.starts_with('{') {
        return None;
    }
    serde_json::from_str(trimmed).ok()
}
