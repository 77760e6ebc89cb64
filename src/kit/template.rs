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
    "src/held.rs"
    "src/lib.rs"
    "src/log.rs"
    "src/random.rs"
    "src/rank.rs"
    "src/rank/lanes.rs"
    "src/rank/lanes/row.rs"
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
pub(super) const RUST_PROVIDER_SDK: &[File] =
    files!("plugins/sdk-provider": "Cargo.toml" "src/bindings.rs" "src/lib.rs");

/// What a language's SDK has for every role, beside what an example holds of its own; routers' examples hold it themselves.
const JAVASCRIPT_SDK: &[File] = files!("examples/policies/thrifty-javascript": "witgate.js");
const JAVASCRIPT_TYPES: &[File] = files!("examples/policies/thrifty-typescript": "witgate.d.ts");
const PYTHON_SDK: &[File] = files!("examples/policies/thrifty-python": "witgate.py");
const C_SDK: &[File] = files!("examples/policies/thrifty-c": "witgate.c" "witgate.h");
const GO_SDK: &[File] =
    files!("examples/policies/thrifty-go": "witgate/memory_other.go" "witgate/memory_wasip1.go" "witgate/witgate.go");
/// Likewise of one role: TypeScript runs JavaScript's.
const JAVASCRIPT_PROMPTS: &[File] = files!("examples/policies/preamble-javascript": "witgate-prompts.js");
const JAVASCRIPT_REPLIES: &[File] = files!("examples/policies/clip-javascript": "witgate-replies.js");
const JAVASCRIPT_PROVIDERS: &[File] = files!("examples/policies/teller-javascript": "witgate-providers.js");

/// What a project holds besides its example's own files.
pub(super) fn sdk(world: World, language: Language) -> &'static [&'static [File]] {
    match (language, world) {
        (Language::TypeScript, World::Router) => &[JAVASCRIPT_SDK],
        (Language::TypeScript, World::PromptBuilder) => &[JAVASCRIPT_SDK, JAVASCRIPT_TYPES, JAVASCRIPT_PROMPTS],
        (Language::TypeScript, World::ResponseParser) => &[JAVASCRIPT_SDK, JAVASCRIPT_TYPES, JAVASCRIPT_REPLIES],
        (Language::TypeScript, World::Provider) => &[JAVASCRIPT_SDK, JAVASCRIPT_TYPES, JAVASCRIPT_PROVIDERS],
        (Language::Rust, _) | (_, World::Router) => &[],
        (Language::C, _) => &[C_SDK],
        (Language::Go, _) => &[GO_SDK],
        (Language::JavaScript, _) => &[JAVASCRIPT_SDK],
        (Language::Python, _) => &[PYTHON_SDK],
    }
}

/// The example that a project of this world in this language is written after, and its files.
pub(super) const fn example(world: World, language: Language) -> (&'static str, &'static [File]) {
    match world {
        World::Router => router(language),
        World::PromptBuilder => prompt_builder(language),
        World::ResponseParser => response_parser(language),
        World::Provider => provider(language),
    }
}

const fn router(language: Language) -> (&'static str, &'static [File]) {
    match language {
        Language::C => (
            "thrifty-c",
            files!("examples/policies/thrifty-c":
                ".gitignore" "README.md" "policy.c" "policy.toml" "policy_test.c" "router.c" "router.h" "scenarios.yaml"
                "settings.schema.json" "witgate.c" "witgate.h"
            ),
        ),
        Language::Go => (
            "thrifty-go",
            files!("examples/policies/thrifty-go":
                ".gitignore" "README.md" "go.mod" "main.go" "policy.toml" "scenarios.yaml" "settings.schema.json"
                "thrifty.go" "thrifty_test.go"
                "witgate/memory_other.go" "witgate/memory_wasip1.go" "witgate/router.go" "witgate/router_other.go"
                "witgate/router_wasip1.go" "witgate/witgate.go"
            ),
        ),
        Language::JavaScript => (
            "thrifty-javascript",
            files!("examples/policies/thrifty-javascript":
                ".gitignore" "README.md" "package.json" "policy.js" "policy.toml" "scenarios.yaml" "settings.schema.json" "thrifty.js"
                "thrifty.test.js" "witgate.js"
            ),
        ),
        Language::Python => (
            "thrifty-python",
            files!("examples/policies/thrifty-python":
                ".gitignore" "README.md" "app.py" "policy.toml" "requirements.txt" "scenarios.yaml" "settings.schema.json" "test_thrifty.py"
                "thrifty.py" "witgate.py"
            ),
        ),
        Language::Rust => (
            "thrifty-rust",
            files!("examples/policies/thrifty-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "settings.schema.json" "src/lib.rs"
                "src/tests.rs"
            ),
        ),
        Language::TypeScript => (
            "thrifty-typescript",
            files!("examples/policies/thrifty-typescript":
                ".gitignore" "README.md" "log.d.ts" "package.json" "policy.toml" "policy.ts" "scenarios.yaml" "settings.schema.json"
                "thrifty.test.ts" "thrifty.ts" "tsconfig.json" "witgate.d.ts"
            ),
        ),
    }
}

const fn prompt_builder(language: Language) -> (&'static str, &'static [File]) {
    match language {
        Language::C => (
            "preamble-c",
            files!("examples/policies/preamble-c":
                ".gitignore" "README.md" "builder.c" "builder.h" "policy.c" "policy.toml" "policy_test.c" "scenarios.yaml" "settings.schema.json"
            ),
        ),
        Language::Go => (
            "preamble-go",
            files!("examples/policies/preamble-go":
                ".gitignore" "README.md" "preamble.go" "preamble_test.go" "go.mod" "main.go" "policy.toml" "scenarios.yaml" "settings.schema.json"
                "witgate/builder.go" "witgate/builder_other.go" "witgate/builder_wasip1.go"
            ),
        ),
        Language::JavaScript => (
            "preamble-javascript",
            files!("examples/policies/preamble-javascript":
                ".gitignore" "README.md" "preamble.js" "preamble.test.js" "package.json" "policy.js" "policy.toml"
                "scenarios.yaml" "settings.schema.json" "witgate-prompts.js"
            ),
        ),
        Language::Python => (
            "preamble-python",
            files!("examples/policies/preamble-python":
                ".gitignore" "README.md" "app.py" "preamble.py" "policy.toml" "requirements.txt" "scenarios.yaml" "settings.schema.json"
                "test_preamble.py" "witgate_prompts.py"
            ),
        ),
        Language::Rust => (
            "preamble-rust",
            files!("examples/policies/preamble-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "settings.schema.json" "src/lib.rs" "src/tests.rs"
            ),
        ),
        Language::TypeScript => (
            "preamble-typescript",
            files!("examples/policies/preamble-typescript":
                ".gitignore" "README.md" "preamble.test.ts" "preamble.ts" "log.d.ts" "package.json" "policy.toml" "policy.ts"
                "scenarios.yaml" "settings.schema.json" "tsconfig.json" "witgate-prompts.d.ts"
            ),
        ),
    }
}

const fn response_parser(language: Language) -> (&'static str, &'static [File]) {
    match language {
        Language::C => (
            "clip-c",
            files!("examples/policies/clip-c":
                ".gitignore" "README.md" "parser.c" "parser.h" "policy.c" "policy.toml" "policy_test.c" "scenarios.yaml" "settings.schema.json"
            ),
        ),
        Language::Go => (
            "clip-go",
            files!("examples/policies/clip-go":
                ".gitignore" "README.md" "clip.go" "clip_test.go" "go.mod" "main.go" "policy.toml" "scenarios.yaml" "settings.schema.json"
                "witgate/parser.go" "witgate/parser_other.go" "witgate/parser_wasip1.go"
            ),
        ),
        Language::JavaScript => (
            "clip-javascript",
            files!("examples/policies/clip-javascript":
                ".gitignore" "README.md" "clip.js" "clip.test.js" "package.json" "policy.js" "policy.toml"
                "scenarios.yaml" "settings.schema.json" "witgate-replies.js"
            ),
        ),
        Language::Python => (
            "clip-python",
            files!("examples/policies/clip-python":
                ".gitignore" "README.md" "app.py" "clip.py" "policy.toml" "requirements.txt" "scenarios.yaml" "settings.schema.json"
                "test_clip.py" "witgate_replies.py"
            ),
        ),
        Language::Rust => (
            "clip-rust",
            files!("examples/policies/clip-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "settings.schema.json" "src/lib.rs" "src/tests.rs"
            ),
        ),
        Language::TypeScript => (
            "clip-typescript",
            files!("examples/policies/clip-typescript":
                ".gitignore" "README.md" "clip.test.ts" "clip.ts" "log.d.ts" "package.json" "policy.toml" "policy.ts"
                "scenarios.yaml" "settings.schema.json" "tsconfig.json" "witgate-replies.d.ts"
            ),
        ),
    }
}

const fn provider(language: Language) -> (&'static str, &'static [File]) {
    match language {
        Language::C => (
            "teller-c",
            files!("examples/policies/teller-c":
                ".gitignore" "README.md" "json.c" "json.h" "policy.c" "policy.toml" "policy_test.c" "provider.c" "provider.h"
                "scenarios.yaml" "settings.schema.json"
            ),
        ),
        Language::Go => (
            "teller-go",
            files!("examples/policies/teller-go":
                ".gitignore" "README.md" "go.mod" "main.go" "policy.toml" "scenarios.yaml" "settings.schema.json" "teller.go" "teller_test.go"
                "witgate/provider.go" "witgate/provider_other.go" "witgate/provider_wasip1.go"
            ),
        ),
        Language::JavaScript => (
            "teller-javascript",
            files!("examples/policies/teller-javascript":
                ".gitignore" "README.md" "package.json" "policy.js" "policy.toml" "scenarios.yaml" "settings.schema.json" "teller.js"
                "teller.test.js" "witgate-providers.js"
            ),
        ),
        Language::Python => (
            "teller-python",
            files!("examples/policies/teller-python":
                ".gitignore" "README.md" "app.py" "policy.toml" "requirements.txt" "scenarios.yaml" "settings.schema.json" "teller.py"
                "test_teller.py" "witgate_providers.py"
            ),
        ),
        Language::Rust => (
            "teller-rust",
            files!("examples/policies/teller-rust":
                ".gitignore" "Cargo.toml" "README.md" "policy.toml" "scenarios.yaml" "settings.schema.json" "src/lib.rs" "src/tests.rs"
            ),
        ),
        Language::TypeScript => (
            "teller-typescript",
            files!("examples/policies/teller-typescript":
                ".gitignore" "README.md" "log.d.ts" "package.json" "policy.toml" "policy.ts" "scenarios.yaml" "settings.schema.json"
                "teller.test.ts" "teller.ts" "tsconfig.json" "witgate-providers.d.ts"
            ),
        ),
    }
}

/// Writes a project named `name` into a folder of this name in `parent`, and says which that is.
///
/// # Errors
/// The name is none, the folder is there already, or it cannot be written.
pub fn new(parent: &Path, name: &str, world: World, language: Language) -> Result<PathBuf, KitProblem> {
    check_name(name)?;
    let (example, files) = example(world, language);
    let folder = parent.join(name);
    if folder.exists() {
        return Err(KitProblem::Exists(folder.display().to_string()));
    }
    for (path, text) in files {
        write(&folder.join(path), &text.replace(example, name).replace(&snake(example), &snake(name)))?;
    }
    for (path, text) in sdk(world, language).iter().copied().flatten() {
        write(&folder.join(path), text)?;
    }
    for (path, text) in WIT {
        write(&folder.join("wit").join(path), text)?;
    }
    if language == Language::Rust {
        let of_role: &[(&str, &[File])] = match world {
            World::Router => &[("sdk", RUST_SDK)],
            World::PromptBuilder => &[("sdk", RUST_SDK), ("sdk-prompt-builder", RUST_BUILDER_SDK)],
            World::ResponseParser => &[("sdk", RUST_SDK), ("sdk-response-parser", RUST_PARSER_SDK)],
            World::Provider => &[("sdk", RUST_SDK), ("sdk-provider", RUST_PROVIDER_SDK)],
        };
        for (part, files) in of_role {
            for (path, text) in *files {
                write(&folder.join(part).join(path), &outside_the_workspace(text))?;
            }
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
