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
