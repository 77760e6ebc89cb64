//! Python: componentize-py, which puts the interpreter and the project's modules into one component.

use std::process::Command;

use super::super::KitProblem;
use super::{Project, read, tools};

/// The module that exports the policy.
const MODULE: &str = "app";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let Project { folder, manifest } = project;
    let own = folder.join(".venv");
    let tool = tools::find("componentize-py", &[own.join("bin")]).ok_or_else(|| KitProblem::Missing {
        what: "componentize-py",
        language: "Python",
        install: format!("pip install -r {}", folder.join("requirements.txt").display()),
    })?;
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
