//! Policies on trial, with no gateway running: scenario files, and checks every policy gets for free.
//!
//! A scenario file says which policy, which deployments, at what time and under which seed, then case after case
//! what is seen, asked and expected. It runs through the same host code as a gateway's requests, bounded by fuel in
//! the place of CPU time, so that the answers and their cost are the same on every machine. Nothing is read but
//! the files named; no clock and no network.
//!
//! Three ends: all passed, something failed, or it could not be tried at all ([`Report::exit_code`]).

mod answer;
mod builder_checks;
mod builder_suite;
mod builtin_checks;
mod conversation;
mod expect;
mod file;
mod odd;
mod ordered;
mod parser_checks;
mod parser_suite;
mod report;
mod runner;
mod spoken;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use report::{Check, Report, SuiteReport};

use crate::builtin_policies::SHIPPED;
use crate::id::PolicyName;
use crate::policy::{BuilderSetup, Component, Engine, EngineOptions, ParserSetup, Role, Setup};
use suite::Suite;

/// How scenarios are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Try this component instead of the one a scenario file names.
    pub policy: Option<PathBuf>,
    /// Where a policy named without a path is looked for.
    pub policies: PathBuf,
    /// What [`check`] configures a policy with, a JSON object as text.
    pub settings: String,
    /// Fuel of one call: about one unit an instruction, and unless given what a fast core does in the time of a call.
    pub fuel: u64,
    /// Where compiled policies are kept, if that folder can be had: one with an interpreter inside compiles for half a minute.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: None,
            policies: PathBuf::from("policies"),
            settings: "{}".to_owned(),
            fuel: 50_000_000,
            cache: None,
        }
    }
}

/// Runs one scenario file, or every `.yaml` and `.yml` file of a folder in name order, with the free checks of
/// each file's policy.
#[must_use]
pub fn run(path: &Path, options: &Options) -> Report {
    let files = match scenario_files(path) {
        Ok(files) => files,
        Err(problem) => return Report::new(vec![SuiteReport::broken(path, problem)]),
    };
    let engine = match engine(options) {
        Ok(engine) => engine,
        Err(problem) => return Report::new(vec![SuiteReport::broken(path, problem)]),
    };
    let suite = |file: &PathBuf| match run_file(&engine, file, options) {
        Ok(report) => report,
        Err(problem) => SuiteReport::broken(file, problem),
    };
    Report::new(files.iter().map(suite).collect())
}

/// Checks one component: what it is, that it starts (a router over a plain group of three deployments), and the free checks of
/// each of its roles.
#[must_use]
pub fn check(policy: &Path, options: &Options) -> Report {
    let checked = engine(options).and_then(|engine| {
        let component = load(&engine, policy)?;
        let mut report = SuiteReport::new(policy, &component);
        let (settings, model, seed): (Arc<str>, Arc<str>, _) =
            (Arc::from(options.settings.as_str()), Arc::default(), suite::SEED);
        for role in &component.inspection().roles {
            let (settings, model) = (Arc::clone(&settings), Arc::clone(&model));
            match role {
                Role::Router | Role::Provider => builtin_checks::all(&component, &plain_setup(settings), &mut report),
                Role::PromptBuilder => {
                    builder_checks::all(&component, &BuilderSetup { group: None, settings, model, seed }, &mut report);
                }
                Role::ResponseParser => {
                    parser_checks::all(&component, &ParserSetup { group: None, settings, model, seed }, &mut report);
                }
            }
        }
        Ok(report)
    });
    Report::new(vec![checked.unwrap_or_else(|problem| SuiteReport::broken(policy, problem))])
}

fn run_file(engine: &Engine, file: &Path, options: &Options) -> Result<SuiteReport, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let name = file.display().to_string();
    let component = named(engine, &suite::policy(&text, &name)?, file, options)?;
    let mut report = SuiteReport::new(file, &component);
    // What a file may say depends on the role; one of several is tried as the first.
    match component.inspection().roles.first() {
        Some(Role::PromptBuilder) => {
            let setup = builder_suite::run(&component, &text, &name, &mut report)?;
            builder_checks::all(&component, &setup, &mut report);
        }
        Some(Role::ResponseParser) => {
            let setup = parser_suite::run(&component, &text, &name, &mut report)?;
            parser_checks::all(&component, &setup, &mut report);
        }
        Some(Role::Router | Role::Provider) | None => run_router(&component, &Suite::read(&text, &name)?, &mut report)?,
    }
    Ok(report)
}

fn run_router(component: &Arc<Component>, suite: &Suite, report: &mut SuiteReport) -> Result<(), String> {
    let played = runner::play(component, suite)?;
    let again = runner::play(component, suite)?;
    for ((case, run), again) in suite.cases.iter().zip(&played).zip(&again) {
        report.case(&case.name, run.fuel, expect::judge(suite, case, run, again), &run.log);
    }
    builtin_checks::all(component, &suite.setup, report);
    Ok(())
}

fn engine(options: &Options) -> Result<Engine, String> {
    let options = EngineOptions {
        fuel: Some(options.fuel),
        capture_log: true,
        cache_dir: options.cache.clone(),
        cache_optional: true,
        ..EngineOptions::default()
    };
    Engine::new(options).map_err(|problem| problem.to_string())
}

/// The policy to try. A name is looked for in the folder of policies and then among those in this binary, a path
/// beside the scenario file.
fn named(engine: &Engine, policy: &str, file: &Path, options: &Options) -> Result<Arc<Component>, String> {
    let is_path = Path::new(policy).extension().is_some_and(|extension| extension == "wasm");
    let found = match &options.policy {
        Some(policy) => policy.clone(),
        None if is_path => file.parent().unwrap_or_else(|| Path::new("")).join(policy),
        None => options.policies.join(format!("{policy}.wasm")),
    };
    match SHIPPED.iter().find(|(name, _)| *name == policy) {
        Some((name, bytes)) if options.policy.is_none() && !found.exists() => {
            engine.load(&PolicyName::from(*name), bytes).map_err(|problem| format!("{policy}: {problem}"))
        }
        _ => load(engine, &found),
    }
}

fn load(engine: &Engine, file: &Path) -> Result<Arc<Component>, String> {
    let named = |problem: String| format!("{}: {problem}", file.display());
    let bytes = fs::read(file).map_err(|error| named(error.to_string()))?;
    let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    engine.load(&PolicyName::from(name), &bytes).map_err(|problem| named(problem.to_string()))
}

fn scenario_files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| error.to_string())? {
        let file = entry.map_err(|error| error.to_string())?.path();
        if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err("no scenario files (`.yaml`, `.yml`) in this folder".to_owned()) } else { Ok(files) }
}

fn plain_setup(settings: Arc<str>) -> Setup {
    Setup { group: None, settings, deployments: ["a", "b", "c"].map(suite::plain_facts).to_vec(), seed: suite::SEED }
}

#[cfg(test)]
mod tests;
