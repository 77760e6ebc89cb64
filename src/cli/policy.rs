//! `witgate policies`, and `witgate policy new`, `build`, `watch`, `check` and `test`.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::kit::{self, Language, World};
use crate::scenario::{self, Options, Report};

use super::{AskArgs, LanguageName, WorldName, fail, say};

/// Prints what decides in a running gateway.
pub(super) fn list(arguments: &AskArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(format!("no runtime: {fault}")),
    };
    let url = format!("{}/admin/policies", arguments.url.trim_end_matches('/'));
    let answer = match runtime.block_on(crate::http::get_json(&url, arguments.key.as_deref())) {
        Ok(answer) => answer,
        Err(fault) => {
            return fail(format!(
                "{fault}\nhint: is `witgate serve` running there? Name another address with --url, its key with --key"
            ));
        }
    };
    if arguments.json {
        say(answer);
    } else {
        table(&answer);
    }
    ExitCode::SUCCESS
}

fn table(answer: &Value) {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let count = |row: &Value, key: &str| row[key].as_u64().unwrap_or_default();
    say(format_args!(
        "{:<16} {:<12} {:<24} {:>10} {:>10} {:>8} {:>9}",
        "POLICY", "DIGEST", "GROUP", "GENERATION", "CALLS", "FAULTS", "MEAN µs"
    ));
    for row in answer["policies"].as_array().into_iter().flatten() {
        let note = if row["quarantined"].as_bool() == Some(true) { "  quarantined" } else { "" };
        say(format_args!(
            "{:<16} {:<12.12} {:<24} {:>10} {:>10} {:>8} {:>9.1}{note}",
            text(row, "name"),
            text(row, "digest"),
            text(row, "group"),
            count(row, "generation"),
            count(row, "calls"),
            count(row, "faults"),
            row["mean_us"].as_f64().unwrap_or_default(),
        ));
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        say(format_args!("not applied: {}", problem.as_str().unwrap_or_default()));
    }
}

/// Writes a project and says what to do with it.
pub(super) fn new(name: &str, world: WorldName, lang: LanguageName) -> ExitCode {
    let WorldName::Router = world;
    let language = match lang {
        LanguageName::C => Language::C,
        LanguageName::Go => Language::Go,
        LanguageName::JavaScript => Language::JavaScript,
        LanguageName::Python => Language::Python,
        LanguageName::Rust => Language::Rust,
        LanguageName::TypeScript => Language::TypeScript,
    };
    match kit::new(Path::new(""), name, World::Router, language) {
        Ok(folder) => {
            let (folder, title) = (folder.display(), language.title());
            say(format_args!("{folder}/ is a router in {title}; its README.md says how to test it. Then:"));
            say(format_args!("  witgate policy build {folder}\n  witgate policy test {folder}"));
            ExitCode::SUCCESS
        }
        Err(problem) => fail(problem),
    }
}

/// Builds a project.
pub(super) fn build(folder: &Path) -> ExitCode {
    match kit::build(folder) {
        Ok(built) => {
            say(format_args!("{}: {} bytes", built.path.display(), built.bytes));
            ExitCode::SUCCESS
        }
        Err(problem) => fail(problem),
    }
}

/// How often sources are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Builds, tests and puts into service at every change, until a signal ends it.
pub(super) fn watch(folder: &Path, policies: Option<&Path>) -> ExitCode {
    let mut seen = None;
    loop {
        let sources = match kit::Sources::of(folder) {
            Ok(sources) => sources,
            Err(problem) => return fail(problem),
        };
        if seen.as_ref() == Some(&sources) {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        seen = Some(sources);
        match kit::round(folder, policies, &options()) {
            Ok(kit::Round { built, report, put }) => {
                let place = put.map_or_else(String::new, |path| format!(" -> {}", path.display()));
                say(format_args!("{report}{}: {} bytes{place}", built.path.display(), built.bytes));
            }
            // The next change may be the cure.
            Err(problem) => {
                let _goes_on = fail(problem);
            }
        }
    }
}

/// Says whether a component can be taken into service, and runs the checks every policy gets.
pub(super) fn check(file: &Path, settings: String) -> ExitCode {
    tell(&scenario::check(file, &Options { settings, ..options() }), false)
}

/// Runs scenarios and prints what held and what did not.
pub(super) fn test(path: &Path, policy: Option<&Path>, json: bool) -> ExitCode {
    let options = Options { policy: policy.map(Path::to_owned), ..options() };
    tell(&scenario::run(path, &options), json)
}

fn options() -> Options {
    Options { cache: super::cache_folder(), ..Options::default() }
}

fn tell(report: &Report, json: bool) -> ExitCode {
    if json {
        match report.to_json() {
            Ok(text) => say(text),
            Err(fault) => return fail(fault),
        }
    } else {
        say(report);
    }
    ExitCode::from(report.exit_code())
}
