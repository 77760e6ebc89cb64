//! Writing what came of a router's case into its file, as what is expected from now on.
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
use super::rewrite::{self, Edit, Rewritten, quoted, word};
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

/// The scenario file with these cases (by place) expecting what came of them; `None` where nothing is to be said otherwise.
///
/// # Errors
/// The file cannot be read again; never where it was just run.
pub(super) fn updated(
    text: &str,
    name: &str,
    suite: &Suite,
    found: &[(usize, &Run)],
) -> Result<Option<Rewritten>, String> {
    let places: Places = yaml::read_part(text, name).map_err(|problems| problems.to_string())?;
    let (mut edits, mut changes) = (Vec::new(), Vec::new());
    for (index, run) in found {
        let (case, at) = (&suite.cases[*index], &places.cases[*index].expect.referenced);
        let Some(start) = rewrite::offset(text, at.line(), at.column()) else { continue };
        for edit in entries(suite, case, run).iter().filter_map(|(key, entry)| edit(text, start, key, entry)) {
            changes.push(rewrite::told(&case.name, text, &edit));
            edits.push(edit);
        }
    }
    Ok((!edits.is_empty()).then(|| Rewritten { text: rewrite::apply(text, edits), changes }))
}

/// The entry `key` of the mapping that begins at `start`, and what is to stand there.
fn edit(text: &str, start: usize, key: &str, entry: &str) -> Option<Edit> {
    if key == "none" && text[start..].starts_with("none") {
        return Some(Edit { range: start..start + 4, text: format!("{{{entry}}}") });
    }
    rewrite::entry(text, start, key).map(|range| Edit { range, text: entry.to_owned() })
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
        // Nothing was asked that could be expected to end so.
        Answer::NotStarted(_) => None,
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
