//! The shape of the code: what may import what, which foreign crate lives where, and how large things get.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer, lowest first. A module may use its own layer and those below.
const LAYERS: [&[&str]; 6] = [
    &["captured_log", "id", "moment", "seed", "money", "chat", "fault"],
    &[
        "limits",
        "health",
        "catalog",
        "failover",
        "attempt",
        "authorization",
        "budgets",
        "tokens",
        "signal",
        "record",
        "sse",
        "format",
        "upstream",
        "virtual_key",
    ],
    &["clock", "config", "policy", "provider", "http", "sentences", "shared_limits", "store", "telemetry"],
    &["background_thread", "queue", "builtin_policies", "decisions", "keys", "rollout", "snapshot", "reload"],
    &["pipeline", "scenario", "replay", "simulate", "experiment", "evaluate", "batch", "embedding", "judge", "kit"],
    &["start", "server", "cli", "main"],
];

/// Edges that never import each other. The clock is one of their layer and everybody's.
const EDGES: [&str; 8] = ["config", "policy", "provider", "http", "sentences", "shared_limits", "store", "telemetry"];

/// Foreign crates with one home.
const HOMES: [(&str, &[&str]); 31] = [
    ("sentence_model", &["sentences"]),
    ("multer", &["server"]),
    ("csv", &["experiment"]),
    ("getrandom", &["rollout", "server"]),
    ("h2", &["http"]),
    ("itoa", &["server"]),
    ("axum", &["server"]),
    ("hyper_rustls", &["http"]),
    ("hyper::client", &["http"]),
    ("hyper_util::client", &["http"]),
    ("hyper_util::server", &["server"]),
    ("rustls_platform_verifier", &["http", "store"]),
    ("tokio_rustls", &["store"]),
    ("reqwest", &["http"]),
    ("ring", &["http"]),
    ("crc32fast", &["format"]),
    ("wasmtime", &["policy"]),
    ("wasmparser", &["policy"]),
    ("wit_component", &["kit", "policy"]),
    ("wit_parser", &["kit"]),
    ("wat", &["kit"]),
    ("toml", &["kit"]),
    ("serde_saphyr", &["config", "scenario"]),
    ("notify", &["reload"]),
    ("redis", &["shared_limits"]),
    ("postgres", &["store"]),
    ("rusqlite", &["store"]),
    ("tiktoken_rs", &["tokens"]),
    ("prometheus_client", &["telemetry"]),
    ("tracing_appender", &["telemetry"]),
    ("clap", &["cli"]),
];

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 80;

/// A source file: its top module, and its lines without what only tests see.
struct Source {
    path: PathBuf,
    module: String,
    lines: Vec<String>,
}

impl Source {
    fn is_code(line: &str) -> bool {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//")
    }

    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.lines.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()));
        numbered.filter(|(_, line)| Self::is_code(line))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The gateway's own sources without their tests.
fn sources() -> Vec<Source> {
    let base = root().join("src");
    let mut paths = Vec::new();
    rust_files(&base, &mut paths);
    let of = |path: PathBuf| {
        let inside = path.strip_prefix(&base).expect("inside src");
        let is_test = inside.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
        let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        let text = fs::read_to_string(&path).expect("a source");
        let lines = text.lines().map(str::to_owned).collect();
        (!is_test).then_some(Source { path, module, lines: without_tests(lines) })
    };
    let sources: Vec<Source> = paths.into_iter().filter_map(of).collect();
    assert!(sources.len() > 20, "the sources are not where this test looks");
    sources
}

/// Cuts an inline `mod tests { … }` at the end of a file; blanks keep the line numbers.
fn without_tests(mut lines: Vec<String>) -> Vec<String> {
    let inline =
        |window: &[String]| window[0].trim() == "#[cfg(test)]" && window[1].trim_end().ends_with("mod tests {");
    if let Some(start) = lines.windows(2).position(inline) {
        lines.truncate(start);
    }
    lines
}

/// The first names of the paths behind `crate::` in a line, groups opened.
fn crate_paths(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let is_macro = code[..at].ends_with('$');
        let rest = &code[at + found.len()..];
        let group = rest.strip_prefix('{').and_then(top_level);
        match group {
            Some(items) => names.extend(items),
            None if !is_macro => names.push(first_name(rest)),
            None => {}
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.trim_start().chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect()
}

/// The first names of the items of a group whose opening brace is already read.
fn top_level(group: &str) -> Option<Vec<String>> {
    let (mut depth, mut items, mut item) = (0_i32, Vec::new(), String::new());
    for sign in group.chars() {
        match sign {
            '}' if depth == 0 => {
                items.push(first_name(&item));
                return Some(items);
            }
            ',' if depth == 0 => items.push(first_name(&std::mem::take(&mut item))),
            _ => {
                depth += i32::from(sign == '{') - i32::from(sign == '}');
                item.push(sign);
            }
        }
    }
    None
}

/// The code in one string, lines joined, comments away.
fn joined(source: &Source) -> String {
    source.code().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn groups_of_imports_are_read() {
    assert_eq!(crate_paths("use crate::{id::{A, B}, money};"), ["id", "money"]);
    assert_eq!(crate_paths("fn f(x: crate::chat::Part) -> crate::id::A"), ["chat", "id"]);
    assert_eq!(crate_paths("pub(crate) fn f()"), [""; 0]);
}

#[test]
fn every_module_has_a_layer() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(modules.contains(&"chat"), "no modules found in src/lib.rs");
    let strangers: Vec<&str> = modules.into_iter().filter(|module| layer_of(module).is_none()).collect();
    assert!(strangers.is_empty(), "no layer in LAYERS for {strangers:?}");
}

#[test]
fn imports_go_down() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !matches!(&*source.module, "lib" | "main")) {
        let Some(own) = layer_of(&source.module) else { continue };
        for used in crate_paths(&joined(source)) {
            let Some(layer) = layer_of(&used) else { continue };
            let siblings =
                used != source.module && EDGES.contains(&used.as_str()) && EDGES.contains(&source.module.as_str());
            if layer > own || siblings {
                wrong.push(format!("{}: `{}` must not use `{used}`", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_foreign_crate_has_one_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (line, code) in source.code() {
            for (name, homes) in HOMES {
                let path = format!("{name}::");
                let used = code.match_indices(&path).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    !before.is_some_and(|sign| sign.is_alphanumeric() || sign == '_' || sign == ':')
                });
                if used && !homes.contains(&source.module.as_str()) {
                    wrong.push(format!("{}:{line}: `{name}` is at home in {homes:?}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is true of one wire format stands in its folder; everybody else asks its trait.
#[test]
fn formats_are_named_in_their_own_folders() {
    // The lists of all formats, the simulated provider's voices, and the format its models are spoken to in.
    let at_home = ["src/format/", "src/format.rs", "src/provider/simulated/wire", "src/config/resolve/endpoint.rs"];
    let mut wrong = Vec::new();
    for source in sources() {
        let path = source.path.strip_prefix(root()).expect("below the root").display().to_string();
        if at_home.iter().any(|home| path.starts_with(home)) {
            continue;
        }
        let names = |code: &str| {
            let mut words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            words.any(|word| ["OpenAi", "Anthropic"].contains(&word))
        };
        wrong.extend(source.code().filter(|(_, code)| names(code)).map(|(line, _)| format!("{path}:{line}")));
    }
    assert!(wrong.is_empty(), "a format is named outside its folder: {}", wrong.join(", "));
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter_map(|source| {
        let lines = source.code().count();
        (lines > LONGEST_FILE)
            .then(|| format!("{}: {lines} lines of code, {LONGEST_FILE} allowed", source.path.display()))
    });
    let long: Vec<String> = long.collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// A function runs from its `fn` to the closing brace in the same column, which rustfmt guarantees.
#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let mut open: Vec<(usize, String, usize)> = Vec::new();
        for (line, code) in source.code() {
            for function in &mut open {
                function.2 += 1;
            }
            let indent = code.len() - code.trim_start().len();
            let words: Vec<&str> = code.split_whitespace().collect();
            let name = words.iter().position(|word| *word == "fn").and_then(|at| words.get(at + 1));
            let starts = name.filter(|_| code.trim_start().starts_with(['p', 'f', 'c', 'a', 'u', 'e']));
            if let Some(name) = starts.filter(|_| !code.trim_end().ends_with([';', '}'])) {
                open.push((indent, format!("{}:{line}: `{}`", source.path.display(), first_name(name)), 1));
                seen += 1;
            } else if code.trim_start().starts_with(')')
                && code.ends_with(';')
                && open.last().is_some_and(|(column, ..)| *column == indent)
            {
                // A trait's declaration over several lines.
                open.pop();
            } else if code.trim_start().starts_with('}')
                && open.last().is_some_and(|(column, ..)| *column == indent)
                && !code.trim_end().ends_with('{')
                && let Some((_, name, lines)) = open.pop()
                && lines > LONGEST_FUNCTION
            {
                long.push(format!("{name}: {lines} lines, {LONGEST_FUNCTION} allowed"));
            }
        }
        assert!(open.is_empty(), "this test lost its place in {}: {open:?}", source.path.display());
    }
    assert!(seen > 100, "only {seen} functions seen");
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "xtask", "plugins", "examples"] {
        rust_files(&root().join(folder), &mut paths);
    }
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source");
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let at = format!("{}:{}", path.display(), index + 1);
            if line.starts_with("#[allow(") || line.starts_with("#![allow(") {
                wrong.push(format!("{at}: `expect` the lint, with a reason"));
            }
            if ["todo!", "unimplemented!", "// TODO", "// FIXME"].iter().any(|mark| line.starts_with(mark)) {
                wrong.push(format!("{at}: unfinished"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| {
            !source.lines.iter().find(|line| !line.starts_with("#![")).is_some_and(|line| line.starts_with("//!"))
        })
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of {}", silent.join(", "));
}

#[test]
fn no_key_or_machine_path_is_in_the_sources() {
    let mut files = BTreeMap::new();
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "wit/README.md", ".ci/run"] {
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            files.insert(name.to_owned(), text);
        }
    }
    for source in sources() {
        files.insert(source.path.display().to_string(), source.lines.join("\n"));
    }
    for (name, text) in files {
        for mark in [concat!("/", "work/"), concat!("/tmp", "/wt"), concat!("/", "root/")] {
            assert!(!text.contains(mark), "{name} holds `{mark}`");
        }
    }
}

/// A map that names what is not there misleads.
#[test]
fn the_files_that_the_architecture_names_are_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let is_source = |word: &str| Path::new(word).extension().is_some_and(|ending| ending == "rs");
    let files: Vec<&str> = quoted.filter(|word| is_source(word) && !word.contains('*')).collect();
    assert!(files.len() > 20, "only {} files are named", files.len());
    let missing = |file: &&str| !root().join(file).exists() && !root().join("src").join(file).exists();
    let missing: Vec<&str> = files.into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "not there: {}", missing.join(", "));
}
