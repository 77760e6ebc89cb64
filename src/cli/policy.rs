//! `witgate policies` and `witgate policy`: new, build, watch, check, inspect, test, bench, replay.

mod place;
mod waiting;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::kit::{self, Language, World};
use crate::moment::Moment;
use crate::reload::{NewLock, lock_of};
use crate::scenario::{self, Options, Report};

use super::ask::ask;
use super::{AskArgs, GrantArgs, LanguageName, PolicyCommand, WorldName, fail, replay, say};
use place::{Before, place};

/// Prints what decides in a running gateway.
pub(super) fn list(arguments: &AskArgs) -> ExitCode {
    let answer = match ask(arguments, "/admin/policies", None) {
        Ok(answer) => answer,
        Err(problem) => return fail(problem),
    };
    if arguments.json {
        say(answer);
    } else {
        table(&answer);
        // A gateway that tells no history has nothing to add.
        let history = ask(arguments, "/admin/policies/history", None);
        let versions = waiting::lines(&answer, &history.unwrap_or_default());
        waiting::compiling(&answer).iter().chain(&versions).for_each(say);
    }
    ExitCode::SUCCESS
}

fn table(answer: &Value) {
    say(format_args!(
        "{:<16} {:<12} {:<24} {:<15} {:<9} {:>10} {:>10} {:>8} {:>9}",
        "POLICY", "DIGEST", "GROUP", "ROLE", "MODE", "GENERATION", "CALLS", "FAULTS", "MEAN µs"
    ));
    answer["policies"].as_array().into_iter().flatten().map(table_row).for_each(say);
    for rollout in answer["rollouts"].as_array().into_iter().flatten() {
        figures(rollout);
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        say(format_args!("not applied: {}", problem.as_str().unwrap_or_default()));
    }
}

fn table_row(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let count = |key: &str| row[key].as_u64().unwrap_or_default();
    let note = match (row["quarantined"].as_bool(), row["next_probe_ms"].as_u64()) {
        (Some(true), Some(at)) => format!("  quarantined, tried again from {} on", Moment::from_millis(at).iso()),
        (Some(true), None) => "  quarantined".to_owned(),
        _ => String::new(),
    };
    format!(
        "{:<16} {:<12.12} {:<24} {:<15} {:<9} {:>10} {:>10} {:>8} {:>9.1}{note}",
        text("name"),
        text("digest"),
        text("group"),
        text("role"),
        text("mode"),
        count("generation"),
        count("calls"),
        count("faults"),
        row["mean_us"].as_f64().unwrap_or_default(),
    )
}

/// Does what is asked of policies with no gateway running.
pub(super) fn run(command: PolicyCommand) -> ExitCode {
    let options = |settings: Option<String>, grant: GrantArgs| Options {
        settings,
        allow_wasi_stubs: grant.allow_wasi_stubs,
        ..plain_options()
    };
    match command {
        PolicyCommand::New { name, world, lang } => new(&name, world, lang),
        PolicyCommand::Build { folder } => build(&folder),
        PolicyCommand::Watch { folder, policies, grant } => watch(&folder, policies.as_deref(), &options(None, grant)),
        PolicyCommand::Lock { folder } => lock(&folder),
        PolicyCommand::Replay { path, policy, policies, json } => replay::replay(&path, policy, policies, json),
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
        PolicyCommand::Test { path, policy, strict, junit, update, to, grant, json } => {
            if to.is_some() && policy.is_some() {
                return fail("--to puts a project's own component; it goes with no --policy");
            }
            let options = Options { policy, update, ..options(None, grant) };
            let report = scenario::run(&path, &options);
            if let Some(file) = junit
                && let Err(fault) = std::fs::write(&file, report.to_junit())
            {
                return fail(format!("{}: cannot be written: {fault}", file.display()));
            }
            let code = tell(&report, strict, json);
            if options.policy.is_none() {
                place::warn_of_newer(&path);
            }
            match (code, to) {
                (ExitCode::SUCCESS, Some(policies)) => place(&path, &policies, &report, json),
                (code, _) => code,
            }
        }
    }
}

/// Writes a project and says what to do with it.
fn new(name: &str, world: WorldName, lang: LanguageName) -> ExitCode {
    let world = match world {
        WorldName::Router => World::Router,
        WorldName::PromptBuilder => World::PromptBuilder,
        WorldName::ResponseParser => World::ResponseParser,
        WorldName::Provider => World::Provider,
    };
    let language = match lang {
        LanguageName::C => Language::C,
        LanguageName::Go => Language::Go,
        LanguageName::JavaScript => Language::JavaScript,
        LanguageName::Python => Language::Python,
        LanguageName::Rust => Language::Rust,
        LanguageName::TypeScript => Language::TypeScript,
    };
    match kit::new(Path::new(""), name, world, language) {
        Ok(folder) => {
            let (folder, title, role) = (folder.display(), language.title(), world.as_str());
            say(format_args!("{folder}/ is a {role} in {title}; its README.md says how to test it. Then:"));
            say(format_args!("  witgate policy build {folder}\n  witgate policy test {folder}"));
            ExitCode::SUCCESS
        }
        Err(problem) => fail(problem),
    }
}

/// Builds a project.
fn build(folder: &Path) -> ExitCode {
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
fn watch(folder: &Path, policies: Option<&Path>, options: &Options) -> ExitCode {
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
        let before = policies.and_then(|policies| Before::look(folder, policies));
        match kit::round(folder, policies, options) {
            Ok(kit::Round { built, report, put }) => {
                let place = put.as_ref().map_or_else(String::new, |path| format!(" -> {}", path.display()));
                say(format_args!("{report}{}: {} bytes{place}", built.path.display(), built.bytes));
                if let Some(path) = put {
                    place::warnings(&path, before.as_ref()).iter().for_each(say);
                }
            }
            // The next change may be the cure.
            Err(problem) => {
                let _goes_on = fail(problem);
            }
        }
    }
}

/// What is being tried beside what is in force.
fn figures(rollout: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let verdict = rollout["verdict"].as_str().map(|verdict| format!(", {verdict}: {}", text(&rollout["why"])));
    say(format_args!(
        "{}: {}{} {} beside {}, {} faults{}",
        text(&rollout["group"]),
        rollout["role"].as_str().filter(|role| *role != "router").map(|role| format!("{role}, ")).unwrap_or_default(),
        text(&rollout["mode"]),
        text(&rollout["tried"]),
        text(&rollout["in_force"]),
        rollout["faults"],
        verdict.unwrap_or_default(),
    ));
    if rollout["mode"] == "shadow" && rollout["role"] == "prompt-builder" {
        say(format_args!(
            "  {} prompts compared, {} with the same messages, {} with the same items and note too; {} it did not build; {} the version in force refused, {} of them it too",
            rollout["compared"],
            rollout["same_first"],
            rollout["same_ranking"],
            rollout["without_ranking"],
            rollout["in_force_without_ranking"],
            rollout["both_without_ranking"],
        ));
        return;
    }
    if rollout["mode"] == "shadow" {
        say(format_args!(
            "  {} decisions compared, {} with the same first place, {} ranked alike; a decision is expected to cost {} USD and take {} ms more",
            rollout["compared"],
            rollout["same_first"],
            rollout["same_ranking"],
            known(&rollout["cost_difference_usd"]),
            known(&rollout["latency_difference_ms"]),
        ));
        say(format_args!(
            "  {} decisions it did not rank; {} the version in force did not, {} of them in the same way",
            rollout["without_ranking"], rollout["in_force_without_ranking"], rollout["both_without_ranking"],
        ));
        return;
    }
    for (name, share) in [("in force", &rollout["live"]), ("canary", &rollout["candidate"])] {
        say(format_args!(
            "  {name:<9} {} requests, {} complaints, share of failures {}, cost of an attempt {} USD, time of a reply {} ms",
            share["requests"],
            share["complained"],
            known(&share["failure_rate"]),
            known(&share["cost_usd"]),
            known(&share["latency_ms"]),
        ));
    }
}

/// A figure, rounded to four digits from the first that is not 0, or that it is not known yet.
fn known(figure: &Value) -> String {
    let Some(figure) = figure.as_f64() else { return "unknown".to_owned() };
    format!("{figure:.3e}").parse::<f64>().unwrap_or(figure).to_string()
}

fn plain_options() -> Options {
    Options { cache: super::cache_folder(), ..Options::default() }
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

/// Writes the lock beside the components, whole or not at all.
fn lock(folder: &Path) -> ExitCode {
    let written = lock_of(folder).and_then(|lock| {
        let (path, aside) = (folder.join("policies.lock"), folder.join(".policies.lock.new"));
        let put = std::fs::write(&aside, &lock.text).and_then(|()| std::fs::rename(&aside, &path));
        put.map(|()| (path.display().to_string(), lock)).map_err(|fault| format!("{}: {fault}", path.display()))
    });
    match written {
        Ok((path, NewLock { changes, passed_over, .. })) => {
            passed_over.iter().chain(&changes).for_each(say);
            say(format_args!("{path}: {}", if changes.is_empty() { "nothing has changed" } else { "written" }));
            ExitCode::SUCCESS
        }
        Err(problem) => fail(problem),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_tells_the_role_and_until_when_a_quarantined_policy_waits() {
        let row = |more: Value| {
            let mut row = json!({
                "name": "p", "digest": "0123456789abcdef", "group": "g", "role": "response-parser", "mode": "in force",
            });
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            table_row(&row)
        };
        let well = row(json!({"quarantined": false, "next_probe_ms": null}));
        assert!(well.contains(" 0123456789ab ") && well.contains(" response-parser in force "), "{well}");
        assert!(well.ends_with(" 0.0"), "{well}");
        let waits = row(json!({"quarantined": true, "next_probe_ms": 1_767_225_660_000_u64}));
        assert!(waits.ends_with(" 0.0  quarantined, tried again from 2026-01-01T00:01:00.000Z on"), "{waits}");
        // As an older gateway tells it.
        assert!(row(json!({"quarantined": true})).ends_with("  quarantined"));
    }

    #[test]
    fn figures_are_rounded_for_people() {
        for (figure, told) in [
            (json!(0.000_583_000_022_743), "0.000583"),
            (json!(0.386_450_916_666), "0.3865"),
            (json!(0.0), "0"),
            (json!(7), "7"),
            (json!(1_234_567.8), "1235000"),
            (Value::Null, "unknown"),
        ] {
            assert_eq!(known(&figure), told);
        }
    }
}
