//! A report as JUnit's XML, which continuous integration reads.

use std::fmt::Write as _;

use super::report::{Check, Report, SuiteReport};

impl Report {
    /// All of it as JUnit's XML. Warnings are told in the output of their suite and fail nothing.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for suite in &self.suites {
            suite_xml(suite, &mut out);
        }
        out.push_str("</testsuites>\n");
        out
    }
}

fn suite_xml(suite: &SuiteReport, out: &mut String) {
    let checks: Vec<&Check> = suite.cases.iter().chain(&suite.general).collect();
    let failed = checks.iter().filter(|check| !check.advice && !check.problems.is_empty()).count();
    let errors = usize::from(suite.broken.is_some());
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"{errors}\">",
        escaped(&suite.file),
        checks.len() + errors
    );
    if let Some(problem) = &suite.broken {
        let (file, problem) = (escaped(&suite.file), escaped(problem));
        let _ = writeln!(
            out,
            "    <testcase classname=\"{file}\" name=\"can be tried\"><error message=\"{problem}\"/></testcase>"
        );
    }
    let mut warnings = String::new();
    for check in checks {
        let (name, problems) = (escaped(&check.name), escaped(&check.problems.join("\n")));
        let class = escaped(&suite.policy);
        let _ = write!(out, "    <testcase classname=\"{class}\" name=\"{name}\"");
        if check.problems.is_empty() || check.advice {
            out.push_str("/>\n");
        } else {
            let log = escaped(&check.log.join("\n"));
            let _ = writeln!(out, "><failure message=\"{problems}\">{log}</failure></testcase>");
        }
        if check.advice && !check.problems.is_empty() {
            let _ = writeln!(warnings, "{name}: {problems}");
        }
    }
    if !warnings.is_empty() {
        let _ = writeln!(out, "    <system-out>{warnings}</system-out>");
    }
    out.push_str("  </testsuite>\n");
}

/// For an attribute or a text; characters that XML does not have are question marks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(letter),
            letter if letter.is_control() => out.push('?'),
            letter => out.push(letter),
        }
    }
    out
}
