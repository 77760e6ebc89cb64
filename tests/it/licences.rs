//! What is built in: licences that may be, crates that may not, and no two copies of the large ones.
//!
//! Read from `cargo metadata` without network, over everything the lock file names for this platform.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Licences whose terms a binary in other hands can keep.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not come in, and why.
const BANNED: [(&str, &str); 7] = [
    ("openssl", "TLS is rustls with ring"),
    ("openssl-sys", "TLS is rustls with ring"),
    ("native-tls", "TLS is rustls with ring"),
    ("aws-lc-sys", "needs cmake and minutes of building; ring does"),
    ("serde_yaml", "archived; serde-saphyr stands in its place"),
    ("eventsource-stream", "panics on a byte order mark and loses events"),
    ("async-std", "one runtime is enough"),
];

/// Crates of which two copies would mean two HTTP stacks, two runtimes or two engines.
const SINGLE: [&str; 10] =
    ["axum", "h2", "http", "http-body", "hyper", "hyper-util", "serde_json", "tokio", "wasmparser", "wasmtime"];

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path", manifest];
    let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = Command::new(cargo).args(arguments).args(platform).output().expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // `packages` names all of the lock file; what is built is in `resolve`, from the gateway down.
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].as_str().expect("an id"), node))
        .collect();
    let gateway = metadata["resolve"]["root"].as_str().expect("a root package");
    let (mut reached, mut left) = (BTreeSet::new(), vec![gateway]);
    while let Some(id) = left.pop() {
        if reached.insert(id) {
            for dependency in nodes[id]["deps"].as_array().expect("deps") {
                let shipped =
                    dependency["dep_kinds"].as_array().expect("kinds").iter().any(|kind| kind["kind"] != "dev");
                if shipped {
                    left.push(dependency["pkg"].as_str().expect("an id"));
                }
            }
        }
    }
    let all = metadata["packages"].as_array().expect("packages").iter();
    let built: Vec<Value> =
        all.filter(|package| reached.contains(package["id"].as_str().expect("an id"))).cloned().collect();
    assert!(built.len() > 100, "only {} packages: the graph was not read", built.len());
    built
}

fn name(package: &Value) -> String {
    format!("{} {}", package["name"].as_str().unwrap_or_default(), package["version"].as_str().unwrap_or_default())
}

/// Whether an SPDX expression can be kept with the allowed licences: `OR` wants one side, `AND` both.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    if ALLOWED.contains(&expression) {
        return true;
    }
    if let Some((left, right)) = split(expression, " OR ").or_else(|| split(expression, "/")) {
        return is_allowed(left) || is_allowed(right);
    }
    if let Some((left, right)) = split(expression, " AND ") {
        return is_allowed(left) && is_allowed(right);
    }
    expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).is_some_and(is_allowed)
}

/// Splits at the first `word` outside parentheses.
fn split<'a>(expression: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    expression.match_indices(word).find_map(|(at, _)| {
        let before = &expression[..at];
        let inside = before.matches('(').count() > before.matches(')').count();
        (!inside).then(|| (before, &expression[at + word.len()..]))
    })
}

#[test]
fn expressions_are_understood() {
    for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR GPL-2.0) AND Unicode-3.0", "Apache-2.0 AND ISC"] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR AGPL-3.0) AND MIT"] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

#[test]
fn licences_are_allowed() {
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or_default()))
        .map(|package| format!("{}: {}", name(package), package["license"]))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn nothing_banned_came_in() {
    for package in packages() {
        for (banned, why) in BANNED {
            assert_ne!(package["name"], banned, "{why}");
        }
    }
}

#[test]
fn there_is_one_copy_of_each_large_crate() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let crate_name = package["name"].as_str().unwrap_or_default().to_owned();
        versions.entry(crate_name).or_default().push(name(&package));
    }
    for single in SINGLE {
        let copies = versions.get(single).map_or(0, Vec::len);
        assert_eq!(copies, 1, "{single}: {:?}", versions.get(single));
    }
}
