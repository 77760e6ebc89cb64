//! `witgate policies` and `witgate policy`: check, inspect, test, bench.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use crate::scenario::{self, Options, Report};

use super::{AskArgs, GrantArgs, PolicyCommand, fail, say};

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

/// Does what is asked of policies with no gateway running.
pub(super) fn run(command: PolicyCommand) -> ExitCode {
    let options = |settings: Option<String>, grant: GrantArgs| Options {
        settings,
        allow_wasi_stubs: grant.allow_wasi_stubs,
        ..Options::default()
    };
    match command {
        PolicyCommand::Check { file, settings, strict, grant, json } => {
            tell(&scenario::check(&file, &options(settings, grant)), strict, json)
        }
        PolicyCommand::Inspect { file, settings, grant, wit, json } => {
            match scenario::look(&file, &options(settings, grant)) {
                Ok(look) if wit => told(look.wit.trim_end(), &look, false),
                Ok(look) => told(&look, &look, json),
                Err(problem) => fail(problem),
            }
        }
        PolicyCommand::Bench { file, settings, deployments, grant, json } => {
            match scenario::bench(&file, &deployments, &options(settings, grant)) {
                Ok(bench) => told(&bench, &bench, json),
                Err(problem) => fail(problem),
            }
        }
        PolicyCommand::Test { path, policy, strict, junit, update, grant, json } => {
            let options = Options { policy, update, ..options(None, grant) };
            let report = scenario::run(&path, &options);
            match junit.map(|file| (std::fs::write(&file, report.to_junit()), file)) {
                Some((Err(fault), file)) => fail(format!("{}: cannot be written: {fault}", file.display())),
                _ => tell(&report, strict, json),
            }
        }
    }
}

/// Prints something for people, or the same for programs.
fn told(shown: impl fmt::Display, data: &impl Serialize, json: bool) -> ExitCode {
    if json {
        match serde_json::to_string_pretty(data) {
            Ok(text) => say(text),
            Err(fault) => return fail(fault),
        }
    } else {
        say(shown);
    }
    ExitCode::SUCCESS
}

fn tell(report: &Report, strict: bool, json: bool) -> ExitCode {
    if told(report, report, json) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    match report.exit_code() {
        0 if strict && report.warnings() > 0 => ExitCode::FAILURE,
        code => ExitCode::from(code),
    }
}
