//! C: zig's compiler, which brings its own libc, or the WASI SDK's clang.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{KitProblem, wrap};
use super::{Project, read, tools};

/// Sources of the project that belong to its tests.
const TEST: &str = "_test.c";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let folder = &project.folder;
    let module = project.work()?.join("module.wasm");
    let mut command = compiler(folder).ok_or_else(|| KitProblem::Missing {
        what: "a C compiler for WebAssembly",
        language: "C",
        install: "pip install ziglang".to_owned(),
    })?;
    command
        .current_dir(folder)
        .args([
            "-std=gnu11",
            "-O2",
            "-msimd128",
            "-flto",
            "-s",
            "-mexec-model=reactor",
            "-Wl,-z,stack-size=65536",
            "-o",
        ])
        .arg(&module)
        .args(sources(folder)?);
    tools::run(&mut command)?;
    wrap::plain(read(&module)?, &folder.join("wit"), project.manifest.world, "the C compiler")
}

fn compiler(folder: &Path) -> Option<Command> {
    if let Some(zig) = tools::find("zig", &[]) {
        let mut command = Command::new(zig);
        command.args(["cc", "-target", "wasm32-wasi"]);
        return Some(command);
    }
    if let Some(python) = tools::python_with("ziglang", folder) {
        let mut command = Command::new(python);
        command.args(["-m", "ziglang", "cc", "-target", "wasm32-wasi"]);
        return Some(command);
    }
    let sdk = PathBuf::from(std::env::var_os("WASI_SDK_PATH")?);
    tools::find("clang", &[sdk.join("bin")]).map(Command::new)
}

fn sources(folder: &Path) -> Result<Vec<String>, KitProblem> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| KitProblem::file(folder, error))? {
        let name = entry.map_err(|error| KitProblem::file(folder, error))?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|extension| extension == "c") && !name.ends_with(TEST) {
            sources.push(name);
        }
    }
    sources.sort();
    Ok(sources)
}
