//! Bytes of a body into server-sent events, as they come.
//!
//! The rule: how the bytes were cut never changes what is read. A line ends with LF, CR or CRLF and nothing
//! else; a byte order mark may come first; comments and unknown fields say nothing. A last event without a
//! blank line is read too (the standard would drop it, providers forget it). An event has a bound in size.
//!
//! Our own parser, and a small one: `sse-stream` turns a body into a `Stream` and offers nothing to push
//! bytes into, while the pipeline owns the body and its timeouts. It also drops such a last event.

use crate::fault::{AttemptFault, FaultKind};

/// The largest event that is read, in bytes.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// Its name; empty where it has none.
    pub name: &'a str,
    /// Its data, lines joined by LF.
    pub data: &'a str,
}

/// Reads one body: push bytes, take events until there are none, push more; at the end, finish and take the rest.
#[derive(Debug, Default)]
pub struct SseDecoder {
    /// Bytes pushed; those before `read` are done with, those before `scanned` hold no line end.
    buffer: Vec<u8>,
    read: usize,
    scanned: usize,
    /// The first line has begun: no byte order mark any more.
    begun: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The event under way.
    name: String,
    data: String,
    stage: Stage,
}

/// How far the event under way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// No data yet: a blank line would drop it.
    #[default]
    Empty,
    /// Some data.
    Filled,
    /// Handed out: its texts are to be emptied.
    Taken,
}

impl SseDecoder {
    /// A reader at the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.scanned -= self.read;
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes in the end of the body: what is under way is complete.
    pub fn finish(&mut self) {
        // One may be the rest of a CRLF, one ends the line, one ends the event. More would say nothing.
        self.push(b"\n\n\n");
    }

    /// The next whole event, if it is there.
    ///
    /// # Errors
    /// `BrokenStream` where an event is larger than [`MAX_EVENT_BYTES`]. The body cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<SseEvent<'_>>, AttemptFault> {
        if self.stage == Stage::Taken {
            self.clear();
        }
        if !self.begun && !self.skip_byte_order_mark() {
            return Ok(None);
        }
        while let Some((start, end)) = self.next_line() {
            if start < end {
                self.field(start, end);
                self.check_size()?;
            } else if self.stage == Stage::Filled {
                self.stage = Stage::Taken;
                return Ok(Some(SseEvent { name: &self.name, data: &self.data }));
            } else {
                self.clear();
            }
        }
        self.check_size()?;
        Ok(None)
    }

    fn clear(&mut self) {
        self.name.clear();
        self.data.clear();
        self.stage = Stage::Empty;
    }

    /// Whether it is known by now that the body begins with a mark or does not.
    fn skip_byte_order_mark(&mut self) -> bool {
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.read = BYTE_ORDER_MARK.len();
            self.scanned = self.read;
        } else if BYTE_ORDER_MARK.starts_with(&self.buffer) {
            return false;
        }
        self.begun = true;
        true
    }

    /// Where the next whole line stands, its end excluded.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        if self.after_cr
            && let Some(&byte) = self.buffer.get(self.read)
        {
            self.after_cr = false;
            if byte == b'\n' {
                self.read += 1;
                self.scanned = self.scanned.max(self.read);
            }
        }
        let unseen = &self.buffer[self.scanned..];
        let Some(offset) = unseen.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let (start, end) = (self.read, self.scanned + offset);
        self.after_cr = self.buffer[end] == b'\r';
        self.read = end + 1;
        self.scanned = self.read;
        Some((start, end))
    }

    fn field(&mut self, start: usize, end: usize) {
        let line = &self.buffer[start..end];
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.stage == Stage::Filled {
                    self.data.push('\n');
                }
                self.stage = Stage::Filled;
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => {
                self.name.clear();
                self.name.push_str(&String::from_utf8_lossy(value));
            }
            _ => {}
        }
    }

    fn check_size(&self) -> Result<(), AttemptFault> {
        // What is buffered and not known to be a line of its own belongs to this event.
        let unfinished_line = if self.scanned == self.buffer.len() { self.buffer.len() - self.read } else { 0 };
        if self.name.len() + self.data.len() + unfinished_line <= MAX_EVENT_BYTES {
            return Ok(());
        }
        let bound = MAX_EVENT_BYTES / (1024 * 1024);
        Err(AttemptFault::new(FaultKind::BrokenStream, format!("the provider sent an event of more than {bound} MiB")))
    }
}

#[cfg(test)]
mod tests;
