//! Writing what came of a case into its file, as what is expected from now on.
//!
//! Only the one entry of `expect` that says how a question ends is rewritten, and a propensity beside it; comments, order and
//! every other line stay. Limits (`max_fuel`, `log`) are decisions, and are never moved to fit. What differs from repetition to
//! repetition, or from instance to instance, is not written down.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::answer::{Answer, id};
use super::file::ExpectFile;
use super::runner::Run;
use super::suite::{Case, Suite};
use crate::config::yaml;

/// Where the expectations of a file stand.
#[derive(Deserialize)]
struct Places {
    cases: Vec<CasePlaces>,
}

#[derive(Deserialize)]
struct CasePlaces {
    expect: Spanned<IgnoredAny>,
}

/// The text of a scenario file with these cases (by place) expecting what came of them, and how many were rewritten.
///
/// # Errors
/// The file cannot be read again; never where it was just run.
pub(super) fn updated(
    text: &str,
    name: &str,
    suite: &Suite,
    found: &[(usize, &Run)],
) -> Result<(String, usize), String> {
    let places: Places = yaml::read(text, name).map_err(|problems| problems.to_string())?;
    let mut edits = Vec::new();
    let mut count = 0;
    for (index, run) in found {
        let (case, at) = (&suite.cases[*index], &places.cases[*index].expect.referenced);
        let Some(start) = offset(text, at.line(), at.column()) else { continue };
        let entries = entries(suite, case, run);
        let found: Vec<_> = entries.iter().filter_map(|(key, entry)| edit(text, start, key, entry)).collect();
        count += usize::from(!found.is_empty());
        edits.extend(found);
    }
    // From the end, so that earlier places stay where they are.
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = text.to_owned();
    for (range, entry) in edits {
        text.replace_range(range, &entry);
    }
    Ok((text, count))
}

/// The entries to rewrite: the key that stands there, and the new entry.
fn entries(suite: &Suite, case: &Case, run: &Run) -> Vec<(&'static str, String)> {
    let Some(key) = end_key(&case.expect) else { return Vec::new() };
    let Some(end) = end(suite, &case.expect, &run.answers) else { return Vec::new() };
    let mut entries = vec![(key, end)];
    if let (Some(_), Some(Answer::Ranked(ranking))) = (case.expect.propensity, run.answers.first())
        && let Some(first) = ranking.first()
    {
        entries.push(("propensity", format!("propensity: {}", first.propensity)));
    }
    entries
}

/// The key that says how a question ends.
fn end_key(expect: &ExpectFile) -> Option<&'static str> {
    let keys = [
        ("choose", expect.choose.is_some()),
        ("one_of", expect.one_of.is_some()),
        ("ranked", expect.ranked.is_some()),
        ("none", expect.none),
        ("wait", expect.wait.is_some()),
        ("reject", expect.reject.is_some()),
        ("fault", expect.fault.is_some()),
        ("config_error", expect.config_error.is_some()),
        ("distribution", expect.distribution.is_some()),
    ];
    keys.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
}

/// What is to be expected; `None` where repetitions end differently.
fn end(suite: &Suite, expect: &ExpectFile, answers: &[Answer]) -> Option<String> {
    let first = answers.first()?;
    let alike = answers.iter().all(|answer| answer == first);
    let ranked: Option<Vec<&str>> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Ranked(ranking) => ranking.first().map(|choice| id(&suite.setup, choice.deployment)),
            _ => None,
        })
        .collect();
    if let Some(firsts) = ranked {
        let distinct: BTreeSet<&str> = firsts.iter().copied().collect();
        return match (first, expect) {
            (_, ExpectFile { distribution: Some(_), .. }) => Some(distribution(&firsts)),
            (Answer::Ranked(ranking), ExpectFile { ranked: Some(_), .. }) if alike => {
                Some(format!("ranked: [{}]", listed(ranking.iter().map(|one| id(&suite.setup, one.deployment)))))
            }
            (_, ExpectFile { one_of: None, .. }) if distinct.len() == 1 => Some(format!("choose: {}", word(firsts[0]))),
            _ => Some(format!("one_of: [{}]", listed(distinct.into_iter()))),
        };
    }
    match first {
        _ if !alike => None,
        Answer::Ranked(_) => Some("none: true".to_owned()),
        Answer::Wait(length) => Some(format!("wait: {}", length.as_millis())),
        Answer::Reject(words) => Some(format!("reject: {}", quoted(words))),
        Answer::Refused(words) => Some(format!("config_error: {}", quoted(words))),
        Answer::Fault(fault) => Some(format!("fault: {}", fault.kind())),
    }
}

fn distribution(firsts: &[&str]) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for first in firsts {
        *counts.entry(first).or_default() += 1;
    }
    let total = f64::from(u32::try_from(firsts.len()).unwrap_or(u32::MAX));
    let shares = counts.into_iter().map(|(id, count)| {
        let share = (f64::from(count) / total * 1000.0).round() / 1000.0;
        format!("{}: {share}", word(id))
    });
    format!("distribution: {{{}}}", shares.collect::<Vec<_>>().join(", "))
}

fn listed<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.map(word).collect::<Vec<_>>().join(", ")
}

/// A text as YAML: plain where nothing else could be meant.
fn word(text: &str) -> String {
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// JSON's strings are YAML's, in double quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The byte at a line and column, both from 1.
fn offset(text: &str, line: u64, column: u64) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?.checked_sub(1)?, usize::try_from(column).ok()?.checked_sub(1)?);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within: usize = text.get(before..)?.chars().take(column).map(char::len_utf8).sum();
    Some(before + within)
}

/// The range of the entry `key` in the mapping that begins at `start`, and what is to stand there.
fn edit(text: &str, start: usize, key: &str, entry: &str) -> Option<(std::ops::Range<usize>, String)> {
    let rest = &text[start..];
    if rest.starts_with('{') {
        let mut at = start + 1;
        loop {
            let length = flow(&text[at..]);
            let part = &text[at..at + length];
            let (from, until) = (at + part.len() - part.trim_start().len(), at + part.trim_end().len());
            if names(&text[from..until.max(from)], key) {
                return Some((from..until, entry.to_owned()));
            }
            if !text[at + length..].starts_with(',') {
                return None;
            }
            at += length + 1;
        }
    }
    if key == "none" && rest.starts_with("none") {
        return Some((start..start + 4, format!("{{{entry}}}")));
    }
    block(text, start, key).map(|range| (range, entry.to_owned()))
}

/// The same in a mapping over lines, whose keys all stand where the first does.
fn block(text: &str, start: usize, key: &str) -> Option<std::ops::Range<usize>> {
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let indent = text[line_start..start].chars().count();
    let mut at = start;
    loop {
        if names(&text[at..], key) {
            let value = at + key.len() + 1;
            let line_end = text[value..].find('\n').map_or(text.len(), |end| value + end);
            let written = text[value..line_end].trim_start();
            if written.is_empty() || written.starts_with('#') {
                return Some(at..list_end(text, line_end, indent));
            }
            let from = value + text[value..line_end].len() - written.len();
            let length = if written.starts_with(['[', '{']) { flow(&text[from..]) } else { line_end - from };
            let value = &text[from..from + length];
            let value = value.split(" #").next().unwrap_or(value).trim_end();
            return Some(at..from + value.len());
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

/// The end of the lines below `line_end` that are deeper than `indent`, or items of a list at it.
fn list_end(text: &str, line_end: usize, indent: usize) -> usize {
    let mut end = line_end;
    let mut at = line_end;
    while at < text.len() {
        let line = text[at + 1..].split('\n').next().unwrap_or_default();
        let depth = line.len() - line.trim_start().len();
        let inside = depth > indent || (depth == indent && line.trim_start().starts_with("- "));
        if line.trim().is_empty() || !inside {
            break;
        }
        at += 1 + line.len();
        end = at;
    }
    end
}

/// Whether an entry begins here with this key.
fn names(text: &str, key: &str) -> bool {
    text.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
}

/// Bytes to the comma or bracket that ends a value in a flow; a value that is a bracket itself ends with its own.
fn flow(text: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    let own = text.starts_with(['[', '{']);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), letter) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
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
    }
    text.len()
}
