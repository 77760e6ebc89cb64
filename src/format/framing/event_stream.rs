//! `application/vnd.amazon.eventstream`: binary messages of a prelude, headers, a payload and two checksums.
//!
//! Lengths and checksums are looked at before anything is believed. An exception in the stream is an event of its own name.

use std::borrow::Cow;

use super::EventDecoder;
use crate::chat::Chunk;
use crate::fault::{AttemptFault, FaultKind};
use crate::format::StreamDecoder;

/// Two lengths and their checksum.
const PRELUDE: usize = 12;
/// A checksum at a message's end.
const CHECKSUM: usize = 4;
/// The largest message the framing allows.
const LARGEST: usize = 24 << 20;

/// Messages, put together from pieces of a body however they are cut.
#[derive(Default)]
pub(in crate::format) struct EventStream<D> {
    buffer: Vec<u8>,
    decoder: D,
}

/// One message.
struct Message<'b> {
    /// `event`, `exception` or `error`.
    kind: Cow<'b, str>,
    /// The event's or exception's type, or the error's code.
    name: Cow<'b, str>,
    /// The words of an `error`, which has no payload.
    words: Option<Cow<'b, str>>,
    payload: &'b [u8],
}

fn broken(what: &str) -> AttemptFault {
    AttemptFault::new(FaultKind::BrokenStream, format!("the provider's event stream is not understood: {what}"))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The length of the message that `bytes` begin with; `None` while too little of it is here.
fn length(bytes: &[u8]) -> Result<Option<usize>, AttemptFault> {
    let (Some(prelude), Some(total), Some(expected)) = (bytes.get(..8), number(bytes, 0), number(bytes, 8)) else {
        return Ok(None);
    };
    if crc32fast::hash(prelude) != expected {
        return Err(broken("the checksum of a prelude is wrong"));
    }
    let total = total as usize;
    if !(PRELUDE + CHECKSUM..=LARGEST).contains(&total) {
        return Err(broken("a message has an impossible length"));
    }
    Ok(Some(total).filter(|total| bytes.len() >= *total))
}

impl<'b> Message<'b> {
    /// Reads a whole message.
    fn read(bytes: &'b [u8]) -> Result<Self, AttemptFault> {
        let (body, checksum) = bytes.split_at_checked(bytes.len() - CHECKSUM).ok_or_else(|| broken("too short"))?;
        if number(checksum, 0) != Some(crc32fast::hash(body)) {
            return Err(broken("the checksum of a message is wrong"));
        }
        let headers = number(body, 4).unwrap_or_default() as usize;
        let (headers, payload) = body
            .get(PRELUDE..)
            .and_then(|rest| rest.split_at_checked(headers))
            .ok_or_else(|| broken("its headers are longer than the message"))?;
        let mut message = Self { kind: "event".into(), name: Cow::default(), words: None, payload };
        let mut rest = headers;
        while !rest.is_empty() {
            let (name, value, after) = header(rest).ok_or_else(|| broken("a header is cut short"))?;
            rest = after;
            let Some(value) = value else { continue };
            match name {
                b":message-type" => message.kind = value,
                b":event-type" | b":exception-type" | b":error-code" => message.name = value,
                b":error-message" => message.words = Some(value),
                _ => {}
            }
        }
        Ok(message)
    }
}

/// A header's name, its value where that is a text, and what follows it.
type Header<'b> = (&'b [u8], Option<Cow<'b, str>>, &'b [u8]);

fn header(bytes: &[u8]) -> Option<Header<'_>> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let size = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | 7 => {
            let (size, rest) = rest.split_at_checked(2)?;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(size.try_into().ok()?)))?;
            return Some((name, (*kind == 7).then(|| String::from_utf8_lossy(value)), rest));
        }
        _ => return None,
    };
    let (_, rest) = rest.split_at_checked(size)?;
    Some((name, None, rest))
}

impl<D: EventDecoder> StreamDecoder for EventStream<D> {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        self.buffer.extend_from_slice(bytes);
        let mut read = 0;
        while let Some(length) = length(&self.buffer[read..])? {
            let message = Message::read(&self.buffer[read..read + length])?;
            let payload = std::str::from_utf8(message.payload).map_err(|_| broken("a payload is not UTF-8"))?;
            if message.kind == "event" {
                self.decoder.event(&message.name, payload, out)?;
            } else {
                let words = message.words.map(|words| serde_json::json!({"message": words}).to_string());
                self.decoder.exception(&message.name, words.as_deref().unwrap_or(payload))?;
            }
            read += length;
        }
        self.buffer.drain(..read);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Chunk>) -> Result<(), AttemptFault> {
        if !self.buffer.is_empty() {
            return Err(broken("it ended within a message"));
        }
        self.decoder.end(out);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }
}

#[cfg(test)]
mod tests;
