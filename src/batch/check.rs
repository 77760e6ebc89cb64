//! Reading all of a file before anything of it is sent: each line in turn, its place kept, its mistakes told.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use super::line::{Line, Problem};
use crate::fault::Refusal;
use crate::store::{BatchStore, LinePlace};

/// Lines that are added at once.
const ADDED: usize = 500;
/// What some editors put before a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What lines must be.
pub struct Rules<'a> {
    /// The path of all of them; `None`: each has its own.
    pub endpoint: Option<&'a str>,
    /// How many there may be.
    pub most: Option<u64>,
    /// Bytes of one.
    pub longest: usize,
    /// Whether a model may be asked.
    pub known: &'a dyn Fn(&str) -> Result<(), Refusal>,
    /// Asked now and then: nobody wants to know any more.
    pub given_up: &'a dyn Fn() -> bool,
}

/// Reads `input` from its beginning and adds its lines to `batch`, which has none. Each problem is told; with any of them nothing may be
/// sent. Blocks.
///
/// # Errors
/// The file cannot be read, or the store not written.
pub fn check(
    input: &File,
    store: &BatchStore,
    batch: &str,
    rules: &Rules<'_>,
    tell: &mut dyn FnMut(Problem),
) -> Result<(), String> {
    let unreadable = |fault: std::io::Error| format!("the input cannot be read: {fault}");
    let mut reader = BufReader::with_capacity(1 << 16, input);
    let mut added = Adding { store, batch, lines: Vec::new(), total: 0 };
    let (mut start, mut place, mut text) = (0_u64, 0_u64, Vec::new());
    loop {
        text.clear();
        let most = u64::try_from(rules.longest).unwrap_or(u64::MAX).saturating_add(1);
        let mut length = reader.by_ref().take(most).read_until(b'\n', &mut text).map_err(unreadable)? as u64;
        if length == 0 {
            break;
        }
        place += 1;
        let too_long = text.last() != Some(&b'\n') && length == most;
        if too_long {
            length += skip_line(&mut reader).map_err(unreadable)?;
        }
        let marked = if place == 1 && text.starts_with(MARK) { MARK.len() } else { 0 };
        let at = LinePlace {
            place,
            custom_id: String::new(),
            model: String::new(),
            start: start + marked as u64,
            length: length - marked as u64,
        };
        start += length;
        let told = |problem: Problem| Problem { line: Some(place), ..problem };
        if too_long {
            let message = format!(
                "the line is longer than {} bytes; raise `general_settings.max_request_size_mb`",
                rules.longest
            );
            tell(told(Problem::new("line_too_long", message, None)));
        } else if !text[marked..].trim_ascii().is_empty() {
            match line(&text[marked..], rules) {
                Ok((custom_id, model)) => added.add(LinePlace { custom_id, model, ..at }, tell)?,
                Err(problem) => tell(told(problem)),
            }
        }
        if rules.most.is_some_and(|most| added.total > most) {
            let message = format!("there are more than {} lines; send several batches", added.total - 1);
            tell(Problem::new("too_many_lines", message, None));
            return Ok(());
        }
        if place % ADDED as u64 == 0 && (rules.given_up)() {
            return Ok(());
        }
    }
    added.flush(tell)?;
    if place == 0 || start == 0 {
        tell(Problem::new("empty_file", "the input is empty", None));
    }
    Ok(())
}

/// The name and the model of a line.
fn line(text: &[u8], rules: &Rules<'_>) -> Result<(String, String), Problem> {
    let line = Line::read(text, rules.endpoint)?;
    let model = line.model()?;
    (rules.known)(&model).map_err(|refusal| {
        let code = refusal.code.unwrap_or_else(|| "model_not_found".to_owned());
        Problem::new(&code, refusal.message, Some("body.model"))
    })?;
    Ok((line.custom_id, model))
}

/// The rest of a line; its bytes.
fn skip_line(reader: &mut impl BufRead) -> std::io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let (bytes, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(bytes);
        skipped += bytes as u64;
        if ended {
            return Ok(skipped);
        }
    }
}

struct Adding<'a> {
    store: &'a BatchStore,
    batch: &'a str,
    lines: Vec<LinePlace>,
    total: u64,
}

impl Adding<'_> {
    fn add(&mut self, line: LinePlace, tell: &mut dyn FnMut(Problem)) -> Result<(), String> {
        self.lines.push(line);
        self.total += 1;
        if self.lines.len() >= ADDED { self.flush(tell) } else { Ok(()) }
    }

    fn flush(&mut self, tell: &mut dyn FnMut(Problem)) -> Result<(), String> {
        for place in self.store.add_lines(self.batch, &self.lines)? {
            let named = self.lines.iter().find(|line| line.place == place).map_or("", |line| line.custom_id.as_str());
            let message =
                format!("an earlier line has the `custom_id` `{}` too", &named[..named.floor_char_boundary(100)]);
            let problem = Problem::new("duplicate_custom_id", message, Some("custom_id"));
            tell(Problem { line: Some(place), ..problem });
        }
        self.lines.clear();
        Ok(())
    }
}
