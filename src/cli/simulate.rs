//! `witgate simulate`: one load through several configurations or routers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::config::{self, ExpectShape};
use crate::id::PolicyName;
use crate::simulate::{Contender, Load, Outcome, Survey, Table, Trial, page, provider_limits};
use crate::store::{Period, Place};

use super::experiment::{assembler_of, learned, with_keys};
use super::{fail, say, spend};

#[derive(Debug, Args)]
pub(super) struct TrialArgs {
    /// A configuration that takes the load. May be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// Decide with each of these routers in turn, in the place of the configurations' own.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    routers: Vec<String>,
    /// The load: a JSON object a line, as docs/simulate.md says.
    #[arg(long, value_name = "FILE", required_unless_present = "from_ledger")]
    load: Option<PathBuf>,
    /// Take the requests that the first configuration's ledger has.
    #[arg(long, conflicts_with = "load")]
    from_ledger: bool,
    /// The ledger itself, where it is another one.
    #[arg(long, value_name = "FILE", requires = "from_ledger")]
    ledger: Option<PathBuf>,
    /// The first day of the ledger, YYYY-MM-DD in UTC.
    #[arg(long, value_name = "DAY", requires = "from_ledger")]
    since: Option<String>,
    /// The last day.
    #[arg(long, value_name = "DAY", requires = "from_ledger")]
    until: Option<String>,
    /// Output tokens of replies that the load says nothing of: 500, unless the first configuration's ledger has seen the model.
    #[arg(long, value_name = "N")]
    output_tokens: Option<u32>,
    /// Seconds until the first token, of a model of which no ledger knows.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    first_token_seconds: f64,
    /// Output tokens a second after it.
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = pace)]
    tokens_per_second: f64,
    /// The parent of all random draws: the same gives the same numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write the comparison as one page too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "a number of seconds, a day at most".to_owned())
}

fn pace(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|pace| (0.001..=1e9).contains(pace)).ok_or_else(|| "a number above 0".to_owned())
}

/// Prints what becomes of the load.
pub(super) fn simulate(arguments: &TrialArgs) -> ExitCode {
    let (survey, outcomes) = match compared(arguments) {
        Ok(compared) => compared,
        Err(problems) => return fail(problems.join("\nerror: ")),
    };
    if let Some(path) = &arguments.html
        && let Err(fault) = std::fs::write(path, page(&survey, &outcomes))
    {
        return fail(format_args!("{}: {fault}", path.display()));
    }
    if arguments.json {
        let load = json!({
            "requests": survey.requests,
            "input_tokens": survey.input_tokens,
            "seconds": survey.last.since(survey.first).as_secs_f64(),
        });
        say(format_args!("{:#}", json!({ "load": load, "contenders": outcomes })));
    } else {
        say(format_args!("{}", Table(&outcomes).to_string().trim_end()));
    }
    ExitCode::SUCCESS
}

fn compared(arguments: &TrialArgs) -> Result<(Survey, Vec<Outcome>), Vec<String>> {
    let (mut settings, mut problems) = (Vec::new(), Vec::new());
    for path in &arguments.config {
        match config::load(path, &with_keys) {
            Ok(loaded) => settings.push(loaded.settings),
            Err(found) => problems.push(found.to_string()),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let place = spend::place(arguments.config.first().map(PathBuf::as_path), arguments.ledger.clone());
    let place = place.map(|(place, _keys)| place).map_err(|why| vec![why]);
    let load = load(arguments, place.clone())?;
    let survey = load.survey()?;
    let expect = ExpectShape {
        output_tokens: arguments.output_tokens,
        first_token: Duration::from_secs_f64(arguments.first_token_seconds),
        tokens_per_second: arguments.tokens_per_second,
    };
    let trial = Trial {
        load: &load,
        survey: &survey,
        limits: Arc::new(provider_limits(&settings)),
        expectations: Arc::new(learned(expect, place.ok())),
    };
    let outcomes = contenders(arguments).iter().map(|contender| trial.run(contender)).collect::<Result<_, _>>()?;
    Ok((survey, outcomes))
}

fn load(arguments: &TrialArgs, place: Result<Place, Vec<String>>) -> Result<Load, Vec<String>> {
    if let Some(path) = &arguments.load {
        return Ok(Load::File(path.clone()));
    }
    let period = Period { since: arguments.since.clone(), until: arguments.until.clone() };
    let hint = "\nhint: `witgate: {ledger: {}}` in the configuration keeps a ledger";
    let reader = place?.read().map_err(|why| vec![format!("{why}{hint}")])?;
    Ok(Load::Ledger(reader, period))
}

/// Each configuration as it is; or with each router, where some are given.
fn contenders(arguments: &TrialArgs) -> Vec<Contender<'static>> {
    let mut contenders = Vec::new();
    for path in &arguments.config {
        let file = path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.display().to_string());
        let assemble = || assembler_of(Some(path.clone()), arguments.seed, with_keys);
        let several = arguments.config.len() > 1;
        if arguments.routers.is_empty() {
            contenders.push(Contender { name: file.clone(), router: None, assemble: assemble() });
        }
        for router in &arguments.routers {
            let name = if several { format!("{file}+{router}") } else { router.clone() };
            let router = Some(PolicyName::from(router.as_str()));
            contenders.push(Contender { name, router, assemble: assemble() });
        }
    }
    contenders
}
