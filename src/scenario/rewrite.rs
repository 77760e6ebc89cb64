//! Changing a few entries of a YAML file that people wrote: everything else in it, comments and order, stays as it is.

use std::ops::Range;

use serde_json::Value;

/// What stands in a place, and what is to stand there.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// A file with other expectations.
#[derive(Clone, Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// What was changed, case by case, in words.
    pub(super) changes: Vec<String>,
}

/// The text with these edits, which do not overlap.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    // From the end, so that earlier places stay where they are.
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.range.start));
    let mut text = text.to_owned();
    for Edit { range, text: entry } in edits {
        text.replace_range(range, &entry);
    }
    text
}

/// An edit in words, on one line.
pub(super) fn told(case: &str, text: &str, edit: &Edit) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("`{case}`: {} (was {})", line(&edit.text), line(&text[edit.range.clone()]))
}

/// The byte at a line and column, both from 1.
pub(super) fn offset(text: &str, line: u64, column: u64) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?.checked_sub(1)?, usize::try_from(column).ok()?.checked_sub(1)?);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within: usize = text.get(before..)?.chars().take(column).map(char::len_utf8).sum();
    Some(before + within)
}

/// The entry `key` of the mapping that begins at `start`.
pub(super) fn entry(text: &str, start: usize, key: &str) -> Option<Range<usize>> {
    if !text[start..].starts_with('{') {
        return block(text, start, key);
    }
    let mut at = start + 1;
    loop {
        let length = flow(&text[at..]);
        let part = &text[at..at + length];
        let (from, until) = (at + part.len() - part.trim_start().len(), at + part.trim_end().len());
        if names(&text[from..until.max(from)], key) {
            return Some(from..until);
        }
        if !text[at + length..].starts_with(',') {
            return None;
        }
        at += length + 1;
    }
}

/// All of the mapping that begins at `start`.
pub(super) fn mapping(text: &str, start: usize) -> Range<usize> {
    if text[start..].starts_with('{') {
        return start..start + flow(&text[start..]);
    }
    let line_end = text[start..].find('\n').map_or(text.len(), |end| start + end);
    let indent = column(text, start);
    start..lines_end(text, line_end, |depth, _| depth >= indent)
}

/// How far a place stands from the beginning of its line.
pub(super) fn column(text: &str, at: usize) -> usize {
    let line_start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    text[line_start..at].chars().count()
}

/// An entry as it is written: in a flow in one line; at an `indent` a list of mappings has a line for each.
pub(super) fn written(key: &str, value: &Value, indent: Option<usize>) -> String {
    match (value, indent) {
        (Value::Array(items), Some(indent)) if items.len() > 1 && items.iter().all(Value::is_object) => {
            let lines = items.iter().map(|item| format!("\n{}- {}", " ".repeat(indent + 2), yaml(item)));
            format!("{key}:{}", lines.collect::<String>())
        }
        _ => format!("{key}: {}", yaml(value)),
    }
}

/// A value in a flow.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", word(name), yaml(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A text as YAML: plain where nothing else could be meant.
pub(super) fn word(text: &str) -> String {
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// JSON's strings are YAML's, in double quotes.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The entry in a mapping over lines, whose keys all stand where the first does.
fn block(text: &str, start: usize, key: &str) -> Option<Range<usize>> {
    let indent = column(text, start);
    let mut at = start;
    loop {
        if names(&text[at..], key) {
            return Some(at..value_end(text, at + key.len() + 1, indent));
        }
        // The next line at this indent, before one further out.
        loop {
            at += text[at..].find('\n')? + 1;
            let line = text[at..].lines().next().unwrap_or_default();
            let depth = line.len() - line.trim_start().len();
            match line.trim() {
                "" => {}
                _ if depth < indent => return None,
                _ if depth == indent => {
                    at += indent;
                    break;
                }
                _ => {}
            }
        }
    }
}

/// The end of the value behind a colon.
fn value_end(text: &str, colon: usize, indent: usize) -> usize {
    let line_end = text[colon..].find('\n').map_or(text.len(), |end| colon + end);
    let line = text[colon..line_end].trim_start();
    let from = line_end - line.len();
    match line.chars().next() {
        Some('[' | '{') => from + flow(&text[from..]),
        Some(quote @ ('"' | '\'')) => from + quoted_end(&text[from..], quote),
        // Over lines: in a block, a list, or words that go on.
        _ => {
            match lines_end(text, line_end, |depth, line| depth > indent || (depth == indent && line.starts_with("- ")))
            {
                end if end > line_end => end,
                _ => from + line.split(" #").next().unwrap_or(line).trim_end().len(),
            }
        }
    }
}

/// The end of the lines below `line_end` that are inside by their depth and words; empty ones only between such.
fn lines_end(text: &str, line_end: usize, inside: impl Fn(usize, &str) -> bool) -> usize {
    let mut end = line_end;
    let mut at = line_end;
    while at < text.len() {
        let line = text[at + 1..].split('\n').next().unwrap_or_default();
        let words = line.trim_start();
        at += 1 + line.len();
        if words.trim_end().is_empty() {
            continue;
        }
        if !inside(line.len() - words.len(), words) {
            break;
        }
        end = at;
    }
    end
}

/// Whether an entry begins here with this key.
fn names(text: &str, key: &str) -> bool {
    text.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
}

/// Bytes of a text in quotes.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            // One that is written twice stands for one of them; what follows begins another text, which ends where this does.
            letter if letter == quote && !text[at + 1..].starts_with(quote) => return at + 1,
            letter if letter == quote => escaped = true,
            _ => {}
        }
    }
    text.len()
}

/// Bytes to the comma or bracket that ends a value in a flow; a value that is a bracket itself ends with its own.
fn flow(text: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    // A quote within plain words is none.
    let mut begins = true;
    let own = text.starts_with(['[', '{']);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), letter) if open == letter => quote = None,
            (None, '"' | '\'') if begins => quote = Some(letter),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}' | ',') if depth == 0 => return at,
            (None, ']' | '}') => {
                depth -= 1;
                if own && depth == 0 {
                    return at + 1;
                }
            }
            (Some(_) | None, _) => {}
        }
        if !letter.is_whitespace() {
            begins = matches!(letter, '[' | '{' | ',' | ':');
        }
    }
    text.len()
}
