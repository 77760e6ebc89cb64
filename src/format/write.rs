//! Writing JSON straight into the outgoing buffer: no tree is built, no text is copied twice.
//!
//! Brackets close when their writer goes out of scope, so they cannot be forgotten.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::chat::{ImageSource, Message, Part, PartKind, Reply, Rest};

/// Appends one value.
pub(super) fn value<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    let written = serde_json::to_writer(out.writer(), value);
    // The buffer grows as needed, and what is written here has text for keys: there is nothing to fail.
    debug_assert!(written.is_ok(), "a value could not be written as JSON");
}

/// About how many bytes these messages will take.
pub(super) fn size_hint(messages: &[Message]) -> usize {
    messages.iter().map(|message| 64 + message.parts.iter().map(part_size).sum::<usize>()).sum()
}

/// About how many bytes this reply will take.
pub(super) fn reply_size_hint(reply: &Reply) -> usize {
    1024 + reply.choices.iter().flat_map(|choice| &choice.parts).map(part_size).sum::<usize>()
}

fn part_size(part: &Part) -> usize {
    32 + match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => text.len() + text.len() / 16,
        PartKind::Image(ImageSource::Base64 { data, .. }) => data.len(),
        PartKind::Image(ImageSource::Url { url, .. }) => url.len(),
        PartKind::ToolCall { arguments, .. } => 64 + arguments.len() + arguments.len() / 8,
        PartKind::ToolResult { content, .. } => 64 + content.iter().map(part_size).sum::<usize>(),
        PartKind::Reasoning { text, signature } => text.len() + signature.as_ref().map_or(0, String::len),
        PartKind::Other(_) => 64,
    }
}

/// An object being written.
pub(super) struct Object<'a> {
    out: &'a mut BytesMut,
    first: bool,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub(super) fn open(out: &'a mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, first: true }
    }

    /// Goes on with an object whose bracket and first fields stand in the buffer already.
    pub(super) const fn resume(out: &'a mut BytesMut) -> Self {
        Self { out, first: false }
    }

    /// A field.
    pub(super) fn field<T: Serialize + ?Sized>(&mut self, name: &str, content: &T) {
        self.name(name);
        value(self.out, content);
    }

    /// A field, where there is something to say.
    pub(super) fn optional<T: Serialize>(&mut self, name: &str, content: Option<T>) {
        if let Some(content) = content {
            self.field(name, &content);
        }
    }

    /// A field that is an object.
    pub(super) fn object(&mut self, name: &str) -> Object<'_> {
        self.name(name);
        Object::open(self.out)
    }

    /// A field that is an array.
    pub(super) fn array(&mut self, name: &str) -> Array<'_> {
        self.name(name);
        Array::open(self.out)
    }

    /// Every field of `rest` but those `without`, which are written elsewhere.
    pub(super) fn rest(&mut self, rest: &Rest, without: &[&str]) {
        for (name, content) in rest {
            if !without.contains(&name.as_str()) {
                self.field(name, content);
            }
        }
    }

    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.put_u8(b',');
        }
        self.first = false;
        value(self.out, name);
        self.out.put_u8(b':');
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.put_u8(b'}');
    }
}

/// An array being written.
pub(super) struct Array<'a> {
    out: &'a mut BytesMut,
    first: bool,
}

impl<'a> Array<'a> {
    /// Opens an array.
    pub(super) fn open(out: &'a mut BytesMut) -> Self {
        out.put_u8(b'[');
        Self { out, first: true }
    }

    /// An item.
    pub(super) fn item<T: Serialize + ?Sized>(&mut self, content: &T) {
        self.comma();
        value(self.out, content);
    }

    /// An item that is an object.
    pub(super) fn object(&mut self) -> Object<'_> {
        self.comma();
        Object::open(self.out)
    }

    fn comma(&mut self) {
        if !self.first {
            self.out.put_u8(b',');
        }
        self.first = false;
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        self.out.put_u8(b']');
    }
}
