//! What becomes of every key of a file. No key is passed over in silence: each one is graded, from the one
//! table of `data/litellm-keys.tsv`, and told with its line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::Serialize;

use super::problem::closest;

/// How a key of LiteLLM's format acts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As LiteLLM has it.
    Exact,
    /// It acts, with the difference the note tells.
    Approximate,
    /// It does not act yet.
    NotYet,
    /// It does not act and is not meant to.
    Unsupported,
}

impl Grade {
    /// Whether a key of it does nothing.
    pub(crate) const fn is_without_effect(self) -> bool {
        matches!(self, Self::NotYet | Self::Unsupported)
    }

    /// Every grade, best first.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Approximate, Self::NotYet, Self::Unsupported];

    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Approximate => "approximate",
            Self::NotYet => "not yet",
            Self::Unsupported => "unsupported",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.as_str().replace(' ', "-") == text)
    }
}

/// What becomes of one key of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// Where it is in the file's structure: `model_list[0].litellm_params.rpm`.
    pub key: String,
    /// The file it is in, where that is one the first file includes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line it is written on, from 1.
    pub line: u32,
    /// How it acts.
    pub grade: Grade,
    /// The difference, in a line; empty where there is nothing to say.
    pub note: String,
}

/// The report as a table for people: key, line, grade, note, and the sums below.
#[must_use]
pub fn table(report: &[KeyReport]) -> String {
    let width = report.iter().map(|row| row.key.chars().count()).max().unwrap_or(0).clamp(3, 60);
    let place = |row: &KeyReport| match &row.file {
        Some(file) => format!("{file}:{}", row.line),
        None => row.line.to_string(),
    };
    let places = report.iter().map(|row| place(row).chars().count()).max().unwrap_or(0).max(4);
    let mut out = format!("{:<width$}  {:>places$}  {:<11}  note\n", "key", "line", "grade");
    for row in report {
        let line = format!("{:<width$}  {:>places$}  {:<11}  {}", row.key, place(row), row.grade.as_str(), row.note);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&summary(report));
    out.push('\n');
    out
}

/// How many keys have which grade, in a line.
#[must_use]
pub fn summary(report: &[KeyReport]) -> String {
    let mut out = format!("{} keys", report.len());
    for (index, (grade, count)) in counts(report).into_iter().enumerate() {
        let sign = if index == 0 { ": " } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(out, "{sign}{count} {}", grade.as_str());
    }
    out
}

/// The report for machines: `{"keys": [{key, line, grade, note}], "summary": {grade: count}}`.
#[must_use]
pub fn json(report: &[KeyReport]) -> serde_json::Value {
    let summary: serde_json::Map<_, _> =
        counts(report).into_iter().map(|(grade, count)| (grade.as_str().replace(' ', "-"), count.into())).collect();
    serde_json::json!({ "keys": report, "summary": summary })
}

fn counts(report: &[KeyReport]) -> BTreeMap<Grade, usize> {
    let mut counts: BTreeMap<Grade, usize> = Grade::ALL.into_iter().map(|grade| (grade, 0)).collect();
    for row in report {
        *counts.entry(row.grade).or_default() += 1;
    }
    counts
}

/// A line of the table of keys.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) section: &'static str,
    /// A trailing `*` stands for any ending.
    pub(super) key: &'static str,
    pub(super) grade: Grade,
    pub(super) note: &'static str,
    /// What to do about a key that restricts who may do what: it is not passed over.
    pub(super) restricts: Option<&'static str>,
}

/// The table of keys, in the order of its file. Every line is checked by a test.
pub(super) static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let lines = include_str!("../../data/litellm-keys.tsv").lines();
    lines.filter(|line| !line.starts_with('#')).filter_map(known).collect()
});

fn known(line: &'static str) -> Option<Known> {
    let mut columns = line.split('\t');
    let (section, key, grade) = (columns.next()?, columns.next()?, Grade::parse(columns.next()?)?);
    Some(Known { section, key, grade, note: columns.next().unwrap_or(""), restricts: columns.next() })
}

/// What to do about a key that would restrict who may do what, and does not.
pub(super) fn restricts(section: &str, key: &str) -> Option<&'static str> {
    row(section, key)?.restricts
}

/// The line of the table that answers for a key.
fn row(section: &str, key: &str) -> Option<&'static Known> {
    let mut rows = KNOWN.iter().filter(|row| row.section == section);
    rows.find(|row| match row.key.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => key == row.key,
    })
}

/// Whether a section's table has no line for `key`, nor one for a key that may be meant.
pub(super) fn is_unknown(section: &str, key: &str) -> bool {
    row(section, key).is_none() && meant(section, key).is_none()
}

/// The key of a section that may be meant by one that is not known.
fn meant(section: &str, key: &str) -> Option<&'static str> {
    let names = KNOWN.iter().filter(|row| row.section == section && !row.key.ends_with('*'));
    closest(key, names.map(|row| row.key))
}

/// What becomes of `key` in a section of LiteLLM's.
pub(super) fn grade(section: &str, key: &str) -> (Grade, String) {
    if let Some(row) = row(section, key) {
        return (row.grade, row.note.to_owned());
    }
    let note = match meant(section, key) {
        Some(name) => format!("unknown key; did you mean `{name}`?"),
        None => "unknown key".to_owned(),
    };
    (Grade::Unsupported, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_of_keys_is_read_and_says_something() {
        let lines = include_str!("../../data/litellm-keys.tsv").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let row = known(line).unwrap_or_else(|| panic!("not a row: {line:?}"));
            assert!(row.grade == Grade::Exact || !row.note.is_empty(), "no note: {line:?}");
            let (grade, note) = grade(row.section, row.key);
            assert_eq!((grade, note.as_str()), (row.grade, row.note), "another line answers for {line:?}");
        }
        assert!(KNOWN.len() > 400);
    }

    #[test]
    fn an_unknown_key_is_told_with_the_one_that_may_be_meant() {
        assert_eq!(grade("router_settings", "num_retires").1, "unknown key; did you mean `num_retries`?");
        assert_eq!(grade("router_settings", "of_another_world"), (Grade::Unsupported, "unknown key".to_owned()));
        assert_eq!(grade("litellm_params", "aws_session_tags").0, Grade::NotYet);
    }

    #[test]
    fn the_report_is_a_table_and_json() {
        let rows = [
            KeyReport { key: "a.b".to_owned(), file: None, line: 2, grade: Grade::Exact, note: String::new() },
            KeyReport { key: "c".to_owned(), file: None, line: 31, grade: Grade::NotYet, note: "later".to_owned() },
        ];
        assert_eq!(
            table(&rows),
            "key  line  grade        note\na.b     2  exact\nc      31  not yet      later\n\n\
             2 keys: 1 exact, 0 approximate, 1 not yet, 0 unsupported\n"
        );
        assert_eq!(json(&rows)["keys"][1]["grade"], "not-yet");
        assert_eq!(json(&rows)["summary"]["not-yet"], 1);
    }
}
