//! `witgate check FILE`.

use std::path::Path;
use std::process::ExitCode;

use crate::config;

use super::{environment, fail, say};

/// Prints what every key of `file` means here, and what is left out; fails where the file cannot be served, and with `strict`
/// where anything is left out.
pub(super) fn check(file: &Path, json: bool, strict: bool) -> ExitCode {
    match config::load(file, &environment) {
        Ok(loaded) => {
            if json {
                let mut report = config::report::json(&loaded.report);
                report["left_out"] = serde_json::to_value(&loaded.left_out).unwrap_or_default();
                say(report);
            } else {
                say(config::report::table(&loaded.report));
                for problem in &loaded.left_out {
                    say(format_args!("left out: {problem}"));
                }
            }
            match loaded.left_out.len() {
                count if strict && count > 0 => {
                    let s = if count == 1 { "" } else { "s" };
                    fail(format!("{}: {count} reason{s} to leave a deployment out", file.display()))
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Err(problems) => {
            let count = problems.iter().count();
            for problem in problems.iter() {
                say(problem);
            }
            fail(format!("{}: {count} problem{}", file.display(), if count == 1 { "" } else { "s" }))
        }
    }
}
