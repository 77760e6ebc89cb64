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
pub(super) const WIT: &[File] = files!("wit":
    "lifecycle.wit" "log.wit" "prompt-builder.wit" "provider.wit" "response-parser.wit" "router.wit" "tokens.wit"
);

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
    "src/router.rs"
    "src/settings.rs"
    "src/settings/json.rs"
    "src/signals.rs"
);

/// What the Rust SDK has for the other roles, beside it.
pub(super) const RUST_BUILDER_SDK: &[File] =
    files!("plugins/sdk-prompt-builder": "Cargo.toml" "src/bindings.rs" "src/lib.rs");
pub(super) const RUST_PARSER_SDK: &[File] =
    files!("plugins/sdk-response-parser": "Cargo.toml" "src/bindings.rs" "src/lib.rs");

/// The SDK for JavaScript, which TypeScript shares.
const JAVASCRIPT_SDK: &[File] = files!("examples/policies/thrifty-javascript": "witgate.js");

/// The example that a project of this world in this language is written after, and its files; `None` where there is none.
pub(super) fn example(world: World, language: Language) -> Option<(&'static str, &'static [File])> {
    match (world, language) {
        (World::Router, language) => Some(router(language)),
        (World::PromptBuilder, Language::Rust) => Some((
            "preamble-rust",
            files!("examples/policies/preamble-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "src/lib.rs" "src/tests.rs"
            ),
        )),
        (World::ResponseParser, Language::Rust) => Some((
            "clip-rust",
            files!("examples/policies/clip-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "src/lib.rs" "src/tests.rs"
            ),
        )),
        (World::PromptBuilder | World::ResponseParser, _) => None,
    }
}

const fn router(language: Language) -> (&'static str, &'static [File]) {
    match language {
        Language::C => (
            "thrifty-c",
            files!("examples/policies/thrifty-c":
                ".gitignore" "README.md" "policy.c" "policy.toml" "policy_test.c" "scenarios.yaml" "witgate.c" "witgate.h"
            ),
        ),
        Language::Go => (
            "thrifty-go",
            files!("examples/policies/thrifty-go":
                ".gitignore" "README.md" "go.mod" "main.go" "policy.toml" "scenarios.yaml" "thrifty.go" "thrifty_test.go"
                "witgate/calls_other.go" "witgate/calls_wasip1.go" "witgate/witgate.go"
            ),
        ),
        Language::JavaScript => (
            "thrifty-javascript",
            files!("examples/policies/thrifty-javascript":
                ".gitignore" "README.md" "package.json" "policy.js" "policy.toml" "scenarios.yaml" "thrifty.js"
                "thrifty.test.js" "witgate.js"
            ),
        ),
        Language::Python => (
            "thrifty-python",
            files!("examples/policies/thrifty-python":
                ".gitignore" "README.md" "app.py" "policy.toml" "requirements.txt" "scenarios.yaml" "test_thrifty.py"
                "thrifty.py" "witgate.py"
            ),
        ),
        Language::Rust => (
            "thrifty-rust",
            files!("examples/policies/thrifty-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "src/lib.rs" "src/tests.rs"
            ),
        ),
        Language::TypeScript => (
            "thrifty-typescript",
            files!("examples/policies/thrifty-typescript":
                ".gitignore" "README.md" "log.d.ts" "package.json" "policy.toml" "policy.ts" "scenarios.yaml"
                "thrifty.test.ts" "thrifty.ts" "tsconfig.json" "witgate.d.ts"
            ),
        ),
    }
}

/// Writes a project named `name` into a folder of this name in `parent`, and says which that is.
///
/// # Errors
/// The name is none, there is no example of the world in the language, the folder is there already, or it cannot be written.
pub fn new(parent: &Path, name: &str, world: World, language: Language) -> Result<PathBuf, KitProblem> {
    check_name(name)?;
    let missing = || KitProblem::NoExample { world: world.as_str(), language: language.title() };
    let (example, files) = example(world, language).ok_or_else(missing)?;
    let folder = parent.join(name);
    if folder.exists() {
        return Err(KitProblem::Exists(folder.display().to_string()));
    }
    for (path, text) in files {
        write(&folder.join(path), &text.replace(example, name).replace(&snake(example), &snake(name)))?;
    }
    for (path, text) in WIT {
        write(&folder.join("wit").join(path), text)?;
    }
    match language {
        Language::Rust => {
            let of_role: &[(&str, &[File])] = match world {
                World::Router => &[("sdk", RUST_SDK)],
                World::PromptBuilder => &[("sdk", RUST_SDK), ("sdk-prompt-builder", RUST_BUILDER_SDK)],
                World::ResponseParser => &[("sdk", RUST_SDK), ("sdk-response-parser", RUST_PARSER_SDK)],
            };
            for (part, files) in of_role {
                for (path, text) in *files {
                    write(&folder.join(part).join(path), &outside_the_workspace(text))?;
                }
            }
        }
        Language::TypeScript => {
            for (path, text) in JAVASCRIPT_SDK {
                write(&folder.join(path), text)?;
            }
        }
        Language::C | Language::Go | Language::JavaScript | Language::Python => {}
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
