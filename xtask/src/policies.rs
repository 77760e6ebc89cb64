//! `cargo xtask policies`: from sources in `plugins/` to components in `policies/`.
//!
//! The built components are committed, so that building the gateway needs no wasm target. `--check` keeps the
//! two together: the lock's digests must be those of the files, and what is rebuilt from source must pass the same
//! scenarios. Bytes are not compared, for every compiler version gives others.

mod build;
mod lock;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::say;
use build::{Built, Guest, Role};
use lock::Lock;

/// What is shipped, in name order.
const SHIPPED: [(&str, Role); 15] = [
    ("bandit", Role::Router),
    ("batch", Role::PromptBuilder),
    ("batch-split", Role::ResponseParser),
    ("cohere", Role::Provider),
    ("cost-based", Role::Router),
    ("json", Role::ResponseParser),
    ("latency-based", Role::Router),
    ("least-busy", Role::Router),
    ("reasoning", Role::ResponseParser),
    ("redact", Role::PromptBuilder),
    ("restore", Role::ResponseParser),
    ("simple-shuffle", Role::Router),
    ("template", Role::PromptBuilder),
    ("tpm-aware", Role::Router),
    ("usage-based", Role::Router),
];

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let root = root()?;
    match arguments {
        [] => write(&root),
        [flag] if flag == "--check" => check(&root),
        _ => Err("`cargo xtask policies` takes `--check` or nothing".to_owned()),
    }
}

/// The folder of the workspace: this crate's parent.
fn root() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).ok_or_else(|| format!("`{}` has no parent folder", here.display()))
}

fn shipped() -> Vec<Guest> {
    SHIPPED.iter().map(|(name, role)| Guest::shipped(name, *role)).collect()
}

fn fixtures() -> Vec<Guest> {
    let guest = |name: &str, features| Guest {
        crate_name: "test-counting".to_owned(),
        name: name.to_owned(),
        role: Role::Router,
        features,
        manifest: None,
    };
    let hostile = Guest { crate_name: "hostile".to_owned(), ..guest("hostile", "") };
    let misbehaving = |name: &str, role| Guest { crate_name: name.to_owned(), role, ..guest(name, "") };
    let prompt = misbehaving("hostile-prompt", Role::PromptBuilder);
    let reply = misbehaving("hostile-reply", Role::ResponseParser);
    let provider = misbehaving("hostile-provider", Role::Provider);
    let faulty = guest("counting-faulty", "faulty");
    vec![guest("counting-a", ""), guest("counting-b", "last"), faulty, hostile, prompt, reply, provider]
}

/// The policy of the documentation: built only to be tried.
fn example() -> Guest {
    let name = "calm".to_owned();
    Guest {
        crate_name: name.clone(),
        name,
        role: Role::Router,
        features: "",
        manifest: Some("examples/policies/calm/Cargo.toml"),
    }
}

fn write(root: &Path) -> Result<(), String> {
    if !build::target_is_there()? {
        return Err(format!("no {} target; add it with `rustup target add {}`", build::TARGET, build::TARGET));
    }
    let policies = root.join("policies");
    let built = build::all(root, &shipped())?;
    put(&policies, &built)?;
    put(&root.join("tests/fixtures/policies"), &build::all(root, &fixtures())?)?;
    let lock = Lock::of(&built);
    fs::write(policies.join(lock::FILE), lock.to_string()).map_err(|error| format!("{}: {error}", lock::FILE))?;
    for policy in &built {
        say(&format!("{:>7} bytes  policies/{}.wasm", policy.bytes.len(), policy.guest.name));
    }
    Ok(())
}

fn put(folder: &Path, built: &[Built]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    for policy in built {
        // A gateway may be watching: it must never see half a file.
        let aside = folder.join(format!("{}.tmp", policy.guest.name));
        fs::write(&aside, &policy.bytes).map_err(failed)?;
        fs::rename(&aside, folder.join(format!("{}.wasm", policy.guest.name))).map_err(failed)?;
    }
    Ok(())
}

fn check(root: &Path) -> Result<(), String> {
    let policies = root.join("policies");
    let text = fs::read_to_string(policies.join(lock::FILE)).map_err(|error| format!("{}: {error}", lock::FILE))?;
    let lock: Lock = text.parse()?;
    let names: Vec<&str> = lock.names().collect();
    if names != SHIPPED.map(|(name, _)| name) {
        return Err(format!("{} lists {names:?}, shipped are {SHIPPED:?}", lock::FILE));
    }
    lock.verify(&policies)?;
    say(&format!("{} components are those of {}", names.len(), lock::FILE));
    if !build::target_is_there()? {
        say(&format!("no {} target here: sources were not rebuilt", build::TARGET));
        return Ok(());
    }
    let aside = root.join("target/rebuilt-policies");
    put(&aside, &build::all(root, &shipped())?)?;
    for name in names {
        for folder in [&policies, &aside] {
            for suite in suites(root, name)? {
                scenarios(root, &suite, &folder.join(format!("{name}.wasm")))?;
            }
        }
    }
    put(&aside, &build::all(root, &[example()])?)?;
    scenarios(root, &root.join("examples/policies/calm/scenarios.yaml"), &aside.join("calm.wasm"))
}

/// A policy's scenario files: those whose names begin with its own and with no longer one.
fn suites(root: &Path, name: &str) -> Result<Vec<PathBuf>, String> {
    let folder = root.join("scenarios");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let of_policy = |file: &PathBuf| {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let owners = SHIPPED.iter().map(|(shipped, _)| *shipped).filter(|shipped| stem.starts_with(shipped));
        owners.max_by_key(|shipped| shipped.len()) == Some(name)
            && file.extension().is_some_and(|extension| extension == "yaml")
    };
    let mut suites: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(of_policy).collect();
    suites.sort();
    if suites.is_empty() { Err(format!("`{name}` has no scenarios in {}", folder.display())) } else { Ok(suites) }
}

/// Runs a scenario file with the gateway's own command, which stands beside this one once the workspace is built.
fn scenarios(root: &Path, suite: &Path, policy: &Path) -> Result<(), String> {
    let here = std::env::current_exe().map_err(|error| format!("where this command is: {error}"))?;
    let witgate = here.with_file_name("witgate");
    let output = Command::new(&witgate)
        .current_dir(root)
        .args(["policy", "test"])
        .arg(suite)
        .arg("--policy")
        .arg(policy)
        .output()
        .map_err(|error| format!("{}: {error}; build it with `cargo build --workspace`", witgate.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    if !output.status.success() {
        return Err(format!("{}:\n{told}{}", shown(policy), String::from_utf8_lossy(&output.stderr)));
    }
    say(&format!("{} with {}: {}", shown(policy), shown(suite), told.trim_end().lines().last().unwrap_or_default()));
    Ok(())
}
