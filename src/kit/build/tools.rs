//! Finding and running other people's tools.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::KitProblem;

/// The program `name`: in one of `first`, else on the search path.
pub(super) fn find(name: &str, first: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = first.iter().cloned().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A Python that has `module`: the project's own, else the one on the search path.
pub(super) fn python_with(module: &str, folder: &Path) -> Option<PathBuf> {
    let own = [folder.join(".venv/bin")];
    let pythons = ["python3", "python"].iter().filter_map(|name| find(name, &own));
    pythons.into_iter().find(|python| {
        let tried = Command::new(python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

/// What a tool must be at least.
pub(super) struct Least {
    pub(super) what: &'static str,
    pub(super) language: &'static str,
    /// The version's first two numbers.
    pub(super) version: [u32; 2],
    pub(super) install: String,
}

impl Least {
    /// Whether the tool, asked for its version by `command`, is as new. One that tells none it can be read of is taken as it is.
    ///
    /// # Errors
    /// It is older.
    pub(super) fn met_by(self, command: &mut Command) -> Result<(), KitProblem> {
        let told = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let found = told.ok().and_then(|told| version_in(&String::from_utf8_lossy(&told.stdout)));
        let shown = |version: [u32; 2]| version.map(|number| number.to_string()).join(".");
        match found {
            Some(found) if found < self.version => {
                let Self { what, language, version, install } = self;
                Err(KitProblem::Old { what, found: shown(found), least: shown(version), language, install })
            }
            _ => Ok(()),
        }
    }
}

/// The first two numbers with a dot between them.
fn version_in(told: &str) -> Option<[u32; 2]> {
    let is_part = |letter: char| letter.is_ascii_digit() || letter == '.';
    told.split(|letter| !is_part(letter)).find_map(|word| {
        let mut numbers = word.split('.').map(str::parse);
        Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
    })
}

/// Runs a tool; what it says goes to standard error, where people see it as it comes.
pub(super) fn run(command: &mut Command) -> Result<(), KitProblem> {
    let shown = shown(command);
    let failed = |said: String| KitProblem::Tool { command: shown, said };
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!(" with {status}; what it said stands above"))),
        Err(error) => Err(failed(format!(": {error}"))),
    }
}

fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_by(words: &str) -> Result<(), String> {
        let least =
            Least { what: "go", language: "Go", version: [1, 24], install: "see https://go.dev/dl/".to_owned() };
        least.met_by(Command::new("echo").arg(words)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_tool_that_is_too_old_is_named_with_what_to_install() {
        for new_enough in ["go version go1.24.0 linux/amd64", "go1.26rc1", "2.0", "go version devel"] {
            assert_eq!(told_by(new_enough), Ok(()), "{new_enough}");
        }
        let words = "go here is 1.9, and a policy in Go wants 1.24 or newer; install it: see https://go.dev/dl/";
        assert_eq!(told_by("go version go1.9.7 linux/amd64"), Err(words.to_owned()));
        assert_eq!(
            ["v20.11.1", "componentize-py 0.25.1", "none", "7"].map(version_in),
            [Some([20, 11]), Some([0, 25]), None, None]
        );
    }
}
