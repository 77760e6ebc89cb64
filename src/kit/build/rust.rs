//! Rust: cargo, for a target that has nothing of WASI.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::super::{KitProblem, wrap};
use super::{Project, read, tools};

const TARGET: &str = "wasm32-unknown-unknown";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, KitProblem> {
    let Project { folder, manifest } = project;
    check_package(folder, &manifest.name)?;
    let missing = |what, install: &str| KitProblem::Missing { what, language: "Rust", install: install.to_owned() };
    let cargo = tools::find("cargo", &[]).ok_or_else(|| missing("cargo", "see https://rustup.rs"))?;
    if !target_is_there(folder) {
        return Err(missing("the target wasm32-unknown-unknown", "rustup target add wasm32-unknown-unknown"));
    }
    let target = folder.join("target");
    let mut command = Command::new(cargo);
    command
        .current_dir(folder)
        .args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"])
        .arg(&target);
    // A component must not tell where it was built.
    if let Some(home) = std::env::var_os("HOME") {
        let prefixes = [(Path::new(&home), "home"), (folder.as_path(), ".")];
        let flags = prefixes.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }
    tools::run(&mut command)?;
    let module = format!("{TARGET}/release/{}.wasm", manifest.name.replace('-', "_"));
    wrap::described(&read(&target.join(module))?, "cargo")
}

fn target_is_there(folder: &Path) -> bool {
    let asked =
        Command::new("rustc").current_dir(folder).args(["--print", "target-libdir", "--target", TARGET]).output();
    asked.is_ok_and(|answer| {
        answer.status.success() && Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir()
    })
}

/// What cargo names its module by.
#[derive(Deserialize)]
struct Package {
    package: Named,
    lib: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

/// Whether cargo names its module as the project: else it would be looked for in vain, or an old one would be found.
///
/// # Errors
/// It has another name. What else is wrong with the file cargo tells.
pub(in crate::kit) fn check_package(folder: &Path, name: &str) -> Result<(), KitProblem> {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let Ok(Package { package, lib }) = toml::from_str(&text) else { return Ok(()) };
    match lib.and_then(|lib| lib.name).or(package.name) {
        Some(other) if other.replace('-', "_") != name.replace('-', "_") => Err(KitProblem::Manifest {
            path: path.display().to_string(),
            cause: format!("names the package `{other}`, and policy.toml the policy `{name}`: give both one name"),
        }),
        _ => Ok(()),
    }
}
