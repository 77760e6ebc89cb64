//! `witgate plan`, `witgate run` and `witgate runs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ExpectShape;
use crate::experiment::{self, Assemble, Expectation, Expectations, Experiment, Plan, Wanted, WhatIf};
use crate::http::HttpUpstream;
use crate::pipeline::{BlockingPool, Gateway};
use crate::policy::{Compiler, EngineOptions};
use crate::reload::{ConfigSource, PolicySource, Sources};
use crate::start::{self, Options};
use crate::store::Place;
use crate::telemetry::DroppedLines;

use super::{PlanArgs, environment, fail, say, serve};

/// Output tokens of a reply of which nothing is known.
const OUTPUT_TOKENS: u32 = 500;
/// Replies from which a model's length and pace are learned.
const ENOUGH: u64 = 20;

/// Reads a variable of the environment.
pub(super) type Variables = fn(&str) -> Option<String>;

/// The environment, with a key wherever one is missing: a plan sends nothing, and may be made before there is any. Each is another one,
/// so that different keys have different limits.
pub(super) fn with_keys(name: &str) -> Option<String> {
    environment(name).or_else(|| name.contains("KEY").then(|| format!("planned-{name}")))
}

/// Prints what an experiment will take.
pub(super) fn plan(arguments: &PlanArgs) -> ExitCode {
    let found = match experiment::load(&arguments.file, arguments.config.as_deref(), &with_keys) {
        Ok(found) => found,
        Err(problems) => return fail(problems),
    };
    let mut tried = Vec::new();
    for text in &arguments.what_if {
        match text.parse::<WhatIf>() {
            Ok(change) => tried.push(change),
            Err(why) => return fail(why),
        }
    }
    // Before anything is planned: what cannot be tried is no reason to wait for the first plan.
    if let Err(why) = found.tried(&tried) {
        return fail(why);
    }
    let mut plans = vec![planned(&found, &[], !arguments.no_advice, with_keys)];
    if !tried.is_empty() {
        plans.push(planned(&found, &tried, false, with_keys));
    }
    let mut feasible = true;
    for plan in plans {
        let plan = match plan {
            Ok(plan) => plan,
            Err(problem) => return fail(problem),
        };
        if arguments.json {
            match serde_json::to_value(&plan) {
                Ok(plan) => say(format_args!("{plan:#}")),
                Err(fault) => return fail(fault),
            }
        } else {
            say(format_args!("{plan}"));
        }
        feasible = plan.feasible;
    }
    if feasible { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// The plan of an experiment as it is, or with what is tried.
pub(super) fn planned(
    found: &Experiment,
    tried: &[WhatIf],
    advise: bool,
    variables: Variables,
) -> Result<Plan, String> {
    let expectations = Arc::new(expectations(found));
    let assemble = assembler(found, 0, variables);
    experiment::plan(found, tried, &expectations, advise, &*assemble).map_err(|problems| problems.join("\n"))
}

/// What is expected of models: what the ledger has seen, else what the file says, else defaults.
fn expectations(found: &Experiment) -> Expectations {
    let expect = found.file.expect;
    let config = found.file.config.as_ref().map(|config| config.value.as_path());
    let state = found.settings.state_dir.clone().or_else(|| serve::state_folder(config));
    let place = found.settings.ledger.clone().and_then(|told| start::place(told, state).ok());
    learned(expect, place)
}

/// What a ledger has seen of models, else what is expected of them.
pub(super) fn learned(expect: ExpectShape, place: Option<Place>) -> Expectations {
    let otherwise = Expectation {
        output_tokens: expect.output_tokens.unwrap_or(OUTPUT_TOKENS),
        first_token: expect.first_token,
        tokens_per_second: expect.tokens_per_second,
        learned: false,
    };
    // A ledger that is not there yet knows nothing, which is no problem.
    let replies = place.and_then(|place| place.read().ok()?.replies().ok());
    let learned = replies.unwrap_or_default().into_iter().filter(|seen| seen.replies >= ENOUGH).map(|seen| {
        // All of its time as writing: what a reply of another length would take is then in proportion.
        let seconds = (seen.latency_ms / 1e3).max(0.001);
        let tokens = seen.output_tokens.max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1, and `as` saturates")]
        let output_tokens = expect.output_tokens.unwrap_or(tokens.round() as u32);
        let expected = Expectation {
            output_tokens,
            first_token: Duration::ZERO,
            tokens_per_second: tokens / seconds,
            learned: true,
        };
        (seen.model, expected)
    });
    Expectations::new(learned.collect::<BTreeMap<_, _>>(), otherwise)
}

/// Assembles gateways over the experiment's configuration.
pub(super) fn assembler(found: &Experiment, seed: u64, variables: Variables) -> Box<Assemble<'static>> {
    assembler_of(found.file.config.as_ref().map(|config| config.value.clone()), seed, variables)
}

/// Assembles gateways over a configuration.
pub(super) fn assembler_of(config: Option<PathBuf>, seed: u64, variables: Variables) -> Box<Assemble<'static>> {
    Box::new(move |wanted| gateway(config.as_deref(), wanted, seed, variables))
}

/// A gateway in this process over a configuration, or the built-in one.
pub(super) fn gateway(
    config: Option<&Path>,
    wanted: Wanted,
    seed: u64,
    variables: Variables,
) -> Result<Gateway, Vec<String>> {
    let Wanted { adjust, upstream, clock } = wanted;
    let options = Options {
        sources: Sources {
            config: config.map_or(ConfigSource::BuiltIn, |config| ConfigSource::File(config.to_owned())),
            policies: PolicySource::Configured,
            adjust: Some(adjust),
            ..Sources::default()
        },
        engine: EngineOptions {
            cache_dir: super::cache_folder(),
            cache_optional: true,
            instances: serve::instances(config),
            compiler: std::env::current_exe().map_or(Compiler::InProcess, Compiler::Child),
            ..EngineOptions::default()
        },
        environment: Arc::new(variables),
        clock,
        seed,
        dropped_lines: DroppedLines::default(),
    };
    let assembled = if let Some(upstream) = upstream {
        start::assemble(options, upstream, BlockingPool::in_place())?
    } else {
        start::assemble_here(options, Arc::new(HttpUpstream::through(&environment)))?
    };
    Arc::into_inner(assembled.gateway).ok_or_else(|| vec!["the gateway is in use".to_owned()])
}
