//! What is wrong with a file, and where: `file:line:column: what`, then `hint: what to do`.
//!
//! A file's problems are collected and told together, in the order of the file. A problem never carries
//! the value of a secret, nor of anything that may be one.

use std::fmt;

use serde::Serialize;

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1; 0 where the problem has no place in the file (it cannot be read, a thing is missing).
    pub line: u32,
    /// Column in characters, from 1; 0 as above.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything wrong with one file, in its order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One problem.
    #[must_use]
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// The problems collected while reading a file, put in its order; `None` where there are none.
    #[must_use]
    pub fn collect(found: Vec<Problem>) -> Option<Self> {
        let found = in_order(found);
        (!found.is_empty()).then_some(Self(found))
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    /// Each problem on its own lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What was found in a file, in its order, each once.
pub(super) fn in_order(mut found: Vec<Problem>) -> Vec<Problem> {
    // Stable, so that two problems of one place stay in the order they were found.
    found.sort_by_key(|problem| (problem.line, problem.column));
    found.dedup();
    found
}

/// The known name closest to a mistyped one, if one is close.
#[must_use]
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(written, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// The known names, those closest to a mistyped one first.
#[must_use]
pub fn nearest_first<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<(usize, &str)> =
        known.into_iter().map(|name| (strsim::osa_distance(written, name), name)).collect();
    names.sort_unstable();
    names.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_another_word_is_not() {
        let known = ["rpm", "tpm", "timeout", "stream_timeout", "api_base"];
        for (written, expected) in [
            ("timeuot", Some("timeout")),
            ("api_bsae", Some("api_base")),
            ("apibase", Some("api_base")),
            ("stream_timeot", Some("stream_timeout")),
            ("rp", Some("rpm")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(written, known), expected, "{written}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_nearness() {
        assert_eq!(nearest_first("thrify", ["bandit", "batch", "thrifty"]), ["thrifty", "bandit", "batch"]);
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let at = |line, message: &str| Problem {
            file: "a.yaml".to_owned(),
            line,
            column: 1,
            message: message.to_owned(),
            hint: None,
        };
        let found = Problems::collect(vec![at(3, "c"), at(1, "a"), at(3, "b")]).expect("three problems");
        assert_eq!(found.to_string(), "a.yaml:1:1: a\na.yaml:3:1: c\na.yaml:3:1: b");
        assert_eq!(Problems::collect(Vec::new()), None);
    }
}
