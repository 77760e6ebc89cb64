//! What `new` writes. The examples of this repository are the templates: a project is an example under another name,
//! with the contract and, for Rust, the SDK beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::check_name;
use super::{KitProblem, Language, World};

/// A file of a project: its path, and its text.
pub(super) type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($file:literal)*) => {
        &[$(($file, include_str!(concat!("../../", $folder, "/", $file)))),*]
    };
}

/// The contract, every role's.
pub(super) const WIT: &[File] = files!("wit": "lifecycle.wit" "log.wit" "router.wit");

/// The Rust SDK, which is published nowhere.
pub(super) const RUST_SDK: &[File] = files!("plugins/sdk":
    "Cargo.toml"
    "src/alloc.rs"
    "src/bindings.rs"
    "src/glue.rs"
    "src/lib.rs"
    "src/log.rs"
    "src/random.rs"
    "src/rank.rs"
    "src/rank/packed.rs"
    "src/rank/plain.rs"
    "src/settings.rs"
    "src/settings/json.rs"
    "src/signals.rs"
);

const C: &[File] = files!("examples/policies/thrifty-c":
    ".gitignore" "README.md" "policy.c" "policy.toml" "policy_test.c" "scenarios.yaml" "witgate.c" "witgate.h"
);
const RUST: &[File] = files!("examples/policies/thrifty-rust":
    ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "src/lib.rs" "src/tests.rs"
);

/// The example that a project in this language is written after.
pub(super) const fn example(language: Language) -> (&'static str, &'static [File]) {
    match language {
        Language::C => ("thrifty-c", C),
        Language::Rust => ("thrifty-rust", RUST),
        _ => ("", &[]),
    }
}

/// Writes a project named `name` into a folder of this name in `parent`, and says which that is.
///
/// # Errors
/// The name is none, the folder is there already, or it cannot be written.
pub fn new(parent: &Path, name: &str, world: World, language: Language) -> Result<PathBuf, KitProblem> {
    check_name(name)?;
    let World::Router = world;
    let folder = parent.join(name);
    if folder.exists() {
        return Err(KitProblem::Exists(folder.display().to_string()));
    }
    let (example, files) = example(language);
    for (path, text) in files {
        write(&folder.join(path), &text.replace(example, name).replace(&snake(example), &snake(name)))?;
    }
    for (path, text) in WIT {
        write(&folder.join("wit").join(path), text)?;
    }
    if language == Language::Rust {
        for (path, text) in RUST_SDK {
            write(&folder.join("sdk").join(path), &outside_the_workspace(text))?;
        }
    }
    Ok(folder)
}

fn snake(name: &str) -> String {
    name.replace('-', "_")
}

fn write(path: &Path, text: &str) -> Result<(), KitProblem> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| KitProblem::file(folder, error))?;
    fs::write(path, text).map_err(|error| KitProblem::file(path, error))
}

/// A file of the SDK as it is in a project: what it has from this repository's workspace is written out, and the contract
/// stands beside it.
fn outside_the_workspace(text: &str) -> String {
    let inherited = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("edition", "2024"),
        ("rust-version", env!("CARGO_PKG_RUST_VERSION")),
        ("license", env!("CARGO_PKG_LICENSE")),
    ];
    let text = text.replace("[lints]\nworkspace = true\n\n", "").replace("publish.workspace = true", "publish = false");
    let text = inherited.iter().fold(text, |text, (key, value)| {
        text.replace(&format!("\n{key}.workspace = true"), &format!("\n{key} = \"{value}\""))
    });
    text.replace("path: \"../../wit\"", "path: \"../wit\"")
}
