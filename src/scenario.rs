//! Policies on trial, with no gateway running: scenario files, and checks every policy gets for free.
//!
//! A scenario file says which policy, which deployments, at what time and under which seed, then case after case
//! what is seen, asked and expected. It runs through the same host code as a gateway's requests, bounded by fuel in
//! the place of CPU time, so that the answers and their cost are the same on every machine. Nothing is read but
//! the files named; no clock and no network.
//!
//! Three ends: all passed, something failed, or it could not be tried at all ([`Report::exit_code`]).

mod answer;
mod asked;
mod bench;
mod builder_checks;
mod builder_suite;
mod builtin_checks;
mod conversation;
mod coverage;
mod cuts;
mod expect;
mod file;
mod heard_reply;
mod junit;
mod look;
mod odd;
mod ordered;
mod parser_checks;
mod parser_suite;
mod provider_checks;
mod provider_suite;
mod report;
mod rewrite;
mod role_suite;
mod runner;
mod spoken;
mod suite;
mod update;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use asked::Asked;
pub use bench::{Bench, BenchRow, MOST_DEPLOYMENTS, bench};
pub use coverage::Coverage;
pub use look::{Look, look};
pub use report::{Check, Report, SuiteReport};

use crate::builtin_policies::SHIPPED;
use crate::id::PolicyName;
use crate::kit::Manifest;
use crate::policy::{
    Component, Engine, EngineOptions, PolicySetup, PromptBuilder, ProviderPolicy, ProviderSetup, ResponseParser, Role,
    Router, Setup,
};
use crate::signal::Grants;
use rewrite::Rewritten;
use suite::Suite;

/// How long a component may compile here, at low priority on a machine that may have much else to do.
const PATIENCE: Duration = Duration::from_secs(180);
/// How it begins to be told that a component does not start with its settings.
const REFUSED: &str = "refused its configuration: ";

/// How scenarios are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Try this component instead of the one a scenario file names.
    pub policy: Option<PathBuf>,
    /// Where a policy named without a path is looked for.
    pub policies: PathBuf,
    /// Fuel of one call: about one unit an instruction, and unless given what a fast core does in the time of a call.
    pub fuel: u64,
    /// Where compiled policies are kept, if that folder can be had: one with an interpreter inside compiles for half a minute.
    pub cache: Option<PathBuf>,
    /// Settings to check a component with, a JSON object.
    pub settings: Option<String>,
    /// Take components that import WASI; every call of it traps.
    pub allow_wasi_stubs: bool,
    /// Write what came of failed cases into their files, as what is expected from now on.
    pub update: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: None,
            policies: PathBuf::from("policies"),
            fuel: 50_000_000,
            cache: None,
            settings: None,
            allow_wasi_stubs: false,
            update: false,
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

/// Checks one component: what it is, whether a gateway would serve it over a plain group of three deployments, and what is worth
/// mending all the same. Bounded as in a gateway, by CPU time.
#[must_use]
pub fn check(policy: &Path, options: &Options) -> Report {
    let checked = as_served(options).and_then(|engine| {
        let component = load(&engine, policy)?;
        let mut report = SuiteReport::new(policy, &component);
        let Setup { settings, seed, may_read, .. } = plain_setup(options);
        let (name, model): (_, Arc<str>) = (None, Arc::default());
        for role in &component.inspection().roles {
            let (settings, model, may_read, group) =
                (Arc::clone(&settings), Arc::clone(&model), may_read.clone(), name.clone());
            match role {
                Role::Router => builtin_checks::all(&component, &plain_setup(options), &mut report),
                Role::PromptBuilder => {
                    let setup = PolicySetup { group, settings, model, seed, may_read };
                    builder_checks::all(&component, &setup, &mut report);
                }
                Role::ResponseParser => {
                    let setup = PolicySetup { group, settings, model, seed, may_read };
                    parser_checks::all(&component, &setup, &mut report);
                }
                Role::Provider => {
                    let setup = ProviderSetup { group, settings, model: Arc::from("model"), seed };
                    provider_checks::all(&component, &setup, &mut report);
                }
            }
        }
        for problem in report.general.iter_mut().filter(|check| !check.advice).flat_map(|check| &mut check.problems) {
            *problem = with_way(std::mem::take(problem), options);
        }
        Ok(report)
    });
    Report::new(vec![checked.unwrap_or_else(|problem| SuiteReport::broken(policy, problem))])
}

fn run_file(engine: &Engine, file: &Path, options: &Options) -> Result<SuiteReport, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let name = file.display().to_string();
    let (component, tried) = named(engine, &suite::policy(&text, &name)?, file, options)?;
    let mut report = SuiteReport { component: tried, ..SuiteReport::new(file, &component) };
    let (file_text, update) = ((text.as_str(), name.as_str()), options.update);
    // What a file may say depends on the role; one of several is tried as the first.
    let rewritten = match component.inspection().roles.first() {
        Some(Role::PromptBuilder) => {
            role_suite::run::<builder_suite::CaseFile>(&component, file_text, update, &mut report)?
        }
        Some(Role::ResponseParser) => {
            role_suite::run::<parser_suite::CaseFile>(&component, file_text, update, &mut report)?
        }
        Some(Role::Provider) => {
            role_suite::run::<provider_suite::CaseFile>(&component, file_text, update, &mut report)?
        }
        Some(Role::Router) | None => run_router(&component, file_text, update, &mut report)?,
    };
    let Some(Rewritten { text, changes }) = rewritten else { return Ok(report) };
    fs::write(file, text).map_err(|error| format!("cannot be written: {error}"))?;
    let report = run_file(engine, file, &Options { update: false, ..options.clone() })?;
    Ok(SuiteReport { updated: changes, ..report })
}

/// Plays a router's cases; where `update` is set, tells the file with what came of failed ones, if that is another.
fn run_router(
    component: &Arc<Component>,
    (text, name): (&str, &str),
    update: bool,
    report: &mut SuiteReport,
) -> Result<Option<Rewritten>, String> {
    let suite = Suite::read(text, name)?;
    let played = runner::play(component, &suite)?;
    let again = runner::play(component, &suite)?;
    if update {
        let failed = (0..).zip(suite.cases.iter().zip(&played).zip(&again));
        let failed = failed.filter(|(_, ((case, run), again))| expect::ends_otherwise(&suite, case, run, again));
        let failed: Vec<_> = failed.map(|(index, ((_, run), _))| (index, run)).collect();
        let rewritten = update::updated(text, name, &suite, &failed)?;
        if rewritten.is_some() {
            return Ok(rewritten);
        }
    }
    for ((case, run), again) in suite.cases.iter().zip(&played).zip(&again) {
        report.case(&case.name, run.fuel, expect::judge(&suite, case, run, again), &run.log);
    }
    builtin_checks::all(component, &suite.setup, report);
    let schema = component.inspection().schema.as_ref();
    report.coverage = Some(Coverage::of(&suite, &played, report, schema));
    Ok(None)
}

/// An engine that bounds calls as a gateway's does.
fn as_served(options: &Options) -> Result<Engine, String> {
    let options = EngineOptions {
        capture_log: true,
        // What a gateway compiled is what would be compiled here.
        cache_dir: options.cache.clone(),
        cache_optional: true,
        allow_wasi_stubs: options.allow_wasi_stubs,
        ..EngineOptions::default()
    };
    Engine::new(options).map_err(|problem| problem.to_string())
}

fn engine(options: &Options) -> Result<Engine, String> {
    let options = EngineOptions {
        fuel: Some(options.fuel),
        capture_log: true,
        cache_dir: options.cache.clone(),
        cache_optional: true,
        allow_wasi_stubs: options.allow_wasi_stubs,
        // Somebody waits for it, and can stop it.
        compile_timeout: PATIENCE,
        ..EngineOptions::default()
    };
    Engine::new(options).map_err(|problem| problem.to_string())
}

/// The policy to try, and where it is from. A name is looked for in the folder of policies and then among those in this binary, a
/// path beside the scenario file.
fn named(engine: &Engine, policy: &str, file: &Path, options: &Options) -> Result<(Arc<Component>, String), String> {
    let is_path = Path::new(policy).extension().is_some_and(|extension| extension == "wasm");
    let found = match &options.policy {
        Some(policy) => policy.clone(),
        None if is_path => file.parent().unwrap_or_else(|| Path::new("")).join(policy),
        None => options.policies.join(format!("{policy}.wasm")),
    };
    if let Some((name, bytes)) = SHIPPED.iter().find(|(name, _)| *name == policy)
        && options.policy.is_none()
        && !found.exists()
    {
        let component =
            engine.load(&PolicyName::from(*name), bytes).map_err(|problem| format!("{policy}: {problem}"))?;
        return Ok((component, format!("the built-in `{policy}`")));
    }
    let component = load(engine, &found).map_err(|problem| {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        if found.exists() || options.policy.is_some() || !folder.join("policy.toml").exists() {
            return problem;
        }
        // A project that is not built yet.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        format!("{problem}; `witgate policy build {}` makes it", folder.display())
    })?;
    Ok((component, found.display().to_string()))
}

fn load(engine: &Engine, file: &Path) -> Result<Arc<Component>, String> {
    let named = |problem: String| format!("{}: {problem}", file.display());
    let bytes = read(file)?;
    let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    engine.load(&PolicyName::from(name), &bytes).map_err(|problem| named(problem.to_string()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| {
        let told = if file.is_dir() { no_file(file) } else { error.to_string() };
        format!("{}: {told}", file.display())
    })
}

/// What is told where a folder is named in the place of a component, which is likely to be a project.
fn no_file(folder: &Path) -> String {
    let Ok(Manifest { name, .. }) = Manifest::read(folder) else {
        return "is a folder\nhint: name a component, a `.wasm` file".to_owned();
    };
    let component = folder.join(name).with_extension("wasm");
    let shown = component.display();
    if component.is_file() {
        return format!("is a folder, of a policy project\nhint: name its component: {shown}");
    }
    format!(
        "is a folder, of a policy project that is not built\nhint: `witgate policy build {}` makes {shown}; name that",
        folder.display()
    )
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

/// Starts a component in one of its roles as a gateway would, over a plain group; tells the bytes of memory it then has, and what
/// it asked for.
fn started(component: &Arc<Component>, role: Role, options: &Options) -> Result<(usize, Asked), String> {
    let Setup { group, settings, seed, may_read, deployments } = plain_setup(options);
    let model = Arc::from("model");
    let manifest = component.inspection().manifest;
    let component = Arc::clone(component);
    let started = match role {
        Role::Router => {
            let setup = Setup { group, settings, deployments, seed, may_read };
            Router::start(component, setup, None)
                .map(|policy| (policy.memory_bytes(), Asked::by_router(policy.needs(), manifest)))
        }
        Role::PromptBuilder => {
            let setup = PolicySetup { group, settings, model, seed, may_read };
            PromptBuilder::start(component, setup, None)
                .map(|policy| (policy.memory_bytes(), Asked::by_builder(policy.needs(), manifest)))
        }
        Role::ResponseParser => {
            let setup = PolicySetup { group, settings, model, seed, may_read };
            ResponseParser::start(component, setup, None)
                .map(|policy| (policy.memory_bytes(), Asked::by_parser(policy.needs(), manifest)))
        }
        Role::Provider => {
            let setup = ProviderSetup { group, settings, model, seed };
            ProviderPolicy::start(component, setup, None)
                .map(|policy| (policy.memory_bytes(), Asked::by_provider(policy.needs(), manifest)))
        }
    };
    started.map_err(|problem| problem.to_string())
}

/// Why a component does not start, with how to give it settings where it had none.
fn with_way(problem: String, options: &Options) -> String {
    if options.settings.is_none() && problem.starts_with(REFUSED) {
        format!("{problem}; it was given no settings: `--settings JSON` gives it some")
    } else {
        problem
    }
}

fn plain_setup(options: &Options) -> Setup {
    Setup {
        group: None,
        settings: Arc::from(options.settings.as_deref().unwrap_or("{}")),
        deployments: ["a", "b", "c"].map(suite::plain_facts).to_vec(),
        seed: suite::SEED,
        may_read: Grants::All,
    }
}

#[cfg(test)]
mod tests;
