//! Writing JSON straight into the outgoing buffer: no tree is built, no text is copied twice.
//!
//! Brackets close when their writer goes out of scope, so they cannot be forgotten.

use std::borrow::Cow;
use std::fmt::Arguments;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::json::Json;
use crate::chat::{ImageSource, Message, Part, PartKind, Reply, Rest};

/// What can stand as a value. Texts are most of what is written, and have a way of their own.
pub(super) trait Content {
    /// Appends it.
    fn write(&self, out: &mut BytesMut);
}

impl Content for str {
    fn write(&self, out: &mut BytesMut) {
        quoted(out, self);
    }
}

impl Content for String {
    fn write(&self, out: &mut BytesMut) {
        quoted(out, self);
    }
}

impl<T: Content + ?Sized> Content for &T {
    fn write(&self, out: &mut BytesMut) {
        (**self).write(out);
    }
}

impl Content for Cow<'_, str> {
    fn write(&self, out: &mut BytesMut) {
        quoted(out, self);
    }
}

impl<T: Serialize> Content for [T] {
    fn write(&self, out: &mut BytesMut) {
        serialized(out, self);
    }
}

impl<T: Serialize, const N: usize> Content for [T; N] {
    fn write(&self, out: &mut BytesMut) {
        serialized(out, self.as_slice());
    }
}

impl<T: Serialize> Content for Vec<T> {
    fn write(&self, out: &mut BytesMut) {
        serialized(out, self);
    }
}

impl<T: Content> Content for Option<T> {
    fn write(&self, out: &mut BytesMut) {
        match self {
            Some(content) => content.write(out),
            None => out.put_slice(b"null"),
        }
    }
}

macro_rules! contents {
    ($($kind:ty),+) => {$(
        impl Content for $kind {
            fn write(&self, out: &mut BytesMut) {
                serialized(out, self);
            }
        }
    )+};
}

contents!(Arguments<'_>, Cow<'_, [f64]>, (), bool, u16, u32, u64, usize, i64, f32, f64, Number, Value, Map<String, Value>, RawValue, Json<'_>);

fn serialized<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    let written = serde_json::to_writer(out.writer(), value);
    // The buffer grows as needed, and what is written here has text for keys: there is nothing to fail.
    debug_assert!(written.is_ok(), "a value could not be written as JSON");
}

/// Appends one value.
pub(super) fn value<T: Content + ?Sized>(out: &mut BytesMut, value: &T) {
    value.write(out);
}

/// Bytes that are looked at together: as many as fit a wide register, or two.
const BLOCK: usize = 32;
/// And of what is shorter: as many as fit a number.
const WORD: usize = 8;

/// Appends a text in quotation marks. Prompts are long, and little in them has to be written otherwise than it is: what has not
/// is found a block at a time and copied as a whole.
fn quoted(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let plain = plain_prefix(rest);
        let (as_it_is, other) = rest.split_at(plain);
        out.put_slice(as_it_is);
        let Some((byte, behind)) = other.split_first() else { break };
        escaped(out, *byte);
        rest = behind;
    }
    out.put_u8(b'"');
}

/// How many bytes at the beginning may stand in a JSON text as they are.
fn plain_prefix(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let all_plain = |block: &[u8; BLOCK]| block.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    let whole = blocks.iter().take_while(|block| all_plain(block)).count() * BLOCK;
    // Names and short values, which a reply has many of, have nothing but this.
    if is_plain_short(&bytes[whole..]) {
        return bytes.len();
    }
    whole + bytes[whole..].iter().take_while(|byte| is_plain(**byte)).count()
}

/// Whether all of these bytes may stand as they are. What is left over behind whole words is looked at with the bytes before it.
fn is_plain_short(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<WORD>();
    let Some(last) = bytes.last_chunk::<WORD>() else { return bytes.iter().all(|byte| is_plain(*byte)) };
    words.iter().all(|word| is_plain_word(*word)) && (rest.is_empty() || is_plain_word(*last))
}

/// Eight bytes at once: the highest bit of each says whether it is below a space, a quotation mark or a backslash.
const fn is_plain_word(word: [u8; WORD]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; WORD]);
    const HIGH: u64 = ONES * 0x80;
    /// A byte of these is zero where this has its highest bit (and, behind one that is, perhaps elsewhere).
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let word = u64::from_ne_bytes(word);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quotation = zeros(word ^ (ONES * b'"' as u64));
    let backslash = zeros(word ^ (ONES * b'\\' as u64));
    (control | quotation | backslash) & HIGH == 0
}

#[expect(clippy::needless_bitwise_bool, reason = "without branches a block is compared at once")]
const fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}

/// A byte that cannot stand as it is.
fn escaped(out: &mut BytesMut, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.put_slice(b"\\u00");
            out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
            return;
        }
    };
    out.put_slice(&[b'\\', short]);
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
    pub(super) fn field<T: Content + ?Sized>(&mut self, name: &str, content: &T) {
        self.name(name);
        value(self.out, content);
    }

    /// A field, where there is something to say.
    pub(super) fn optional<T: Content>(&mut self, name: &str, content: Option<T>) {
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
    pub(super) fn item<T: Content + ?Sized>(&mut self, content: &T) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = BytesMut::new();
        value(&mut out, text);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn every_byte_is_written_as_serde_writes_it_wherever_it_stands() {
        for code in 0..=0x7f_u8 {
            for before in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3] {
                let text = format!("{}{}{}", "é".repeat(before), char::from(code), "x".repeat(before));
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap(), "{code:#x} behind {before}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_written_as_serde_writes_them(text in "(?s)[a\"\\\\\n\t\u{0}-\u{20}é🌊 -~]{0,200}") {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
        }
    }
}
