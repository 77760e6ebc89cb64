//! JavaScript: componentize-qjs, which puts `QuickJS` and the project's modules into one component. TypeScript is bundled to
//! one module first, by esbuild.

use std::path::PathBuf;
use std::process::Command;

use super::super::{KitProblem, Language};
use super::tools::Least;
use super::{Project, read, tools};

/// The oldest Node that its tools run on.
const OLDEST: [u32; 2] = [20, 0];

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let manifest = &project.manifest;
    // The tools are programs of its own, and say nothing that helps where it is too old for them.
    if let Some(node) = tools::find("node", &[]) {
        let (language, install) = (manifest.language.title(), "see https://nodejs.org/en/download".to_owned());
        Least { what: "node", language, version: OLDEST, install }.met_by(Command::new(node).arg("--version"))?;
    }
    let source = match manifest.language {
        Language::TypeScript => bundle(project)?,
        _ => PathBuf::from("policy.js"),
    };
    let component = project.work()?.join("component.wasm");
    let mut command = tool(project, "componentize-qjs")?;
    command
        .args([
            "--wit",
            "wit",
            "--world",
            manifest.world.as_str(),
            "--module-root",
            ".",
            "--sync",
            "--stub-wasi",
            "--js",
        ])
        .arg(source)
        .arg("--output")
        .arg(&component);
    tools::run(&mut command)?;
    read(&component)
}

fn bundle(project: &Project) -> Result<PathBuf, KitProblem> {
    project.work()?;
    let mut command = tool(project, "esbuild")?;
    command.args(["policy.ts", "--bundle", "--format=esm", "--external:witgate:*", "--log-level=warning"]);
    command.arg("--outfile=build/policy.js");
    tools::run(&mut command)?;
    Ok(PathBuf::from("build/policy.js"))
}

/// A tool of the project's own, else one on the search path.
fn tool(project: &Project, name: &'static str) -> Result<Command, KitProblem> {
    let Project { folder, manifest } = project;
    let found = tools::find(name, &[folder.join("node_modules/.bin")]).ok_or_else(|| KitProblem::Missing {
        what: name,
        language: manifest.language.title(),
        install: format!("npm install --prefix {}", folder.display()),
    })?;
    let mut command = Command::new(found);
    command.current_dir(folder);
    Ok(command)
}
