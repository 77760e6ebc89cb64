//! Python: componentize-py, which puts the interpreter and the project's modules into one component.

use std::process::Command;

use super::super::KitProblem;
use super::tools::Least;
use super::{Project, read, tools};

/// The oldest whose components are served, which `requirements.txt` names.
const OLDEST: [u32; 2] = [0, 25];

/// The module that exports the policy.
const MODULE: &str = "app";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let Project { folder, manifest } = project;
    let own = folder.join(".venv");
    let (what, language) = ("componentize-py", "Python");
    let install = format!("pip install -r {}", folder.join("requirements.txt").display());
    let tool = tools::find(what, &[own.join("bin")]);
    let tool = tool.ok_or_else(|| KitProblem::Missing { what, language, install: install.clone() })?;
    Least { what, language, version: OLDEST, install }.met_by(Command::new(&tool).arg("--version"))?;
    let component = project.work()?.join("component.wasm");
    let mut command = Command::new(tool);
    if own.is_dir() {
        // Packages are taken from here.
        command.env("VIRTUAL_ENV", &own);
    }
    command
        .current_dir(folder)
        .args(["-d", "wit", "-w", manifest.world.as_str(), "componentize", MODULE, "--stub-wasi", "-o"])
        .arg(&component);
    tools::run(&mut command)?;
    read(&component)
}
