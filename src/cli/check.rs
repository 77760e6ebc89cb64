//! `witgate check FILE`.

use std::path::Path;
use std::process::ExitCode;

use crate::config;

use super::{environment, fail, say};

/// Prints what every key of `file` means here; fails where the file cannot be served.
pub(super) fn check(file: &Path, json: bool) -> ExitCode {
    match config::load(file, &environment) {
        Ok(loaded) => {
            if json {
                say(config::report::json(&loaded.report));
            } else {
                say(config::report::table(&loaded.report));
            }
            ExitCode::SUCCESS
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
