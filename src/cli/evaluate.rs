//! `witgate evaluate`: routers compared on data of full information, or estimated from the log of a gateway's decisions.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::decisions::default_folder;
use crate::evaluate::{
    Comparison, DataSet, LEARNER, LogQuestion, LogTable, Objective, Table, compare, evaluate_log, log_page,
    no_worse_by, page,
};

use super::{environment, fail, say};

/// The router may be worse than the margin.
const MAY_BE_WORSE: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// The data: a JSON object a line, as docs/learning.md says.
    #[arg(value_name = "DATA", required_unless_present = "log", conflicts_with = "log")]
    data: Option<PathBuf>,
    /// Estimate what a router would have got from the decisions a gateway kept (`witgate.decisions`): a folder of runs, or one of them; the default of
    /// `witgate.decisions.dir` where none is named.
    #[arg(long, value_name = "RUNS", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "clap's own: not there, there without a value, there with one")]
    log: Option<Option<PathBuf>>,
    /// Make the vectors of prompts (`embedding/N`) with the sentence-transformers model of this folder, as `witgate.embeddings.GROUP.path` does.
    #[arg(long, value_name = "FOLDER", conflicts_with = "log")]
    embeddings: Option<PathBuf>,
    /// The group whose decisions count, where the log has those of several.
    #[arg(long, value_name = "NAME", requires = "log", conflicts_with = "data")]
    group: Option<String>,
    /// End with 2 unless the log rules out that the router's replies are worth less by so much or more, as the gate before a canary.
    #[arg(long, value_name = "WORTH", value_parser = margin, requires = "log", conflicts_with = "data")]
    no_worse_by: Option<f64>,
    /// Compare this router too, or estimate it (`bandit` where none is named): one that is built in, or the file of a component.
    #[arg(long, value_name = "NAME|FILE")]
    router: Option<String>,
    /// Its settings, or those of `bandit` where no other router is named: a JSON object. What a reply is worth is read from them too.
    #[arg(long, value_name = "JSON", value_parser = settings, default_value = "{}")]
    settings: Map<String, Value>,
    /// What a reply is worth, as a learner's settings say it (`reward`, `cost_range_usd`, `latency_range_ms`), where --settings are of a router that has no such.
    #[arg(long, value_name = "JSON", value_parser = settings, requires = "log", conflicts_with = "data")]
    worth: Option<Map<String, Value>>,
    /// Play everything so many times, each time in another order.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000), conflicts_with = "log")]
    seeds: u32,
    /// The parent of all random draws: the same gives the same numbers.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "log")]
    seed: u64,
    /// Keep the order of the file.
    #[arg(long, conflicts_with = "log")]
    in_order: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write the comparison with its learning curves as one page too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn settings(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|fault| format!("no JSON object: {fault}"))
}

/// By how much a router may be worse: below 0 nothing would pass that is as good, and no number at all lets everything pass.
fn margin(text: &str) -> Result<f64, String> {
    let margin: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if margin.is_finite() && margin >= 0.0 { Ok(margin) } else { Err("a number, at least 0".to_owned()) }
}

/// Prints how the contenders do, or what a log says of one.
pub(super) fn evaluate(arguments: &EvaluateArgs) -> ExitCode {
    match (&arguments.data, &arguments.log) {
        (Some(data), _) => on_data(data, arguments),
        (None, Some(Some(path))) => on_log(path.clone(), arguments),
        (None, _) => match default_folder(&environment) {
            Some(folder) => on_log(folder, arguments),
            None => fail("there is no home folder where decisions would be kept\nhint: name the folder: --log RUNS"),
        },
    }
}

fn on_data(path: &Path, arguments: &EvaluateArgs) -> ExitCode {
    let mut data = match DataSet::read(path) {
        Ok(data) => data,
        Err(problems) => return fail(problems.join("\nerror: ")),
    };
    if let Some(Err(why)) = arguments.embeddings.as_ref().map(|folder| data.embed(folder)) {
        return fail(why);
    }
    let comparison = Comparison {
        router: arguments.router.clone(),
        settings: arguments.settings.clone(),
        seeds: arguments.seeds,
        seed: arguments.seed,
        in_order: arguments.in_order,
    };
    match compare(&data, &comparison) {
        Ok(evaluation) => told(arguments, &evaluation, &Table(&evaluation), || page(&evaluation)),
        Err(why) => fail(why),
    }
}

fn on_log(path: PathBuf, arguments: &EvaluateArgs) -> ExitCode {
    let objective = match Objective::of(arguments.worth.as_ref().unwrap_or(&arguments.settings)) {
        Ok(objective) => objective,
        Err(why) => return fail(why),
    };
    let question = LogQuestion {
        path,
        router: arguments.router.clone().unwrap_or_else(|| LEARNER.to_owned()),
        settings: arguments.settings.clone(),
        objective,
        group: arguments.group.clone(),
    };
    let report = match evaluate_log(&question) {
        Ok(report) => report,
        Err(why) => return fail(why),
    };
    let code = told(arguments, &report, &LogTable(&report), || log_page(&report));
    match arguments.no_worse_by {
        Some(margin) if code == ExitCode::SUCCESS && !no_worse_by(&report, margin) => {
            fail(format_args!("the log does not rule out that its replies are worth less by {margin} or more"));
            ExitCode::from(MAY_BE_WORSE)
        }
        _ => code,
    }
}

/// Prints it, and writes its page where one is wanted.
fn told(
    arguments: &EvaluateArgs,
    value: &impl Serialize,
    table: &impl fmt::Display,
    page: impl FnOnce() -> String,
) -> ExitCode {
    if let Some(path) = &arguments.html
        && let Err(fault) = std::fs::write(path, page())
    {
        return fail(format_args!("{}: {fault}", path.display()));
    }
    if arguments.json {
        match serde_json::to_string_pretty(value) {
            Ok(text) => say(text),
            Err(fault) => return fail(fault),
        }
    } else {
        say(table.to_string().trim_end());
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        evaluate: EvaluateArgs,
    }

    fn read(words: &[&str]) -> Result<EvaluateArgs, String> {
        let words = std::iter::once("evaluate").chain(words.iter().copied());
        Alone::try_parse_from(words).map(|alone| alone.evaluate).map_err(|why| why.to_string())
    }

    #[test]
    fn a_log_is_the_one_that_is_named_or_the_default() {
        assert_eq!(read(&["--log"]).unwrap().log, Some(None));
        assert_eq!(read(&["--log", "--router", "bandit"]).unwrap().log, Some(None));
        assert_eq!(read(&["--log", "runs"]).unwrap().log, Some(Some(PathBuf::from("runs"))));
        assert_eq!(read(&["data.jsonl"]).unwrap().log, None);
        assert!(read(&[]).is_err());
    }

    #[test]
    fn what_is_asked_of_a_log_is_refused_beside_data() {
        for words in [["--no-worse-by", "0.1"], ["--group", "x"], ["--worth", "{}"]] {
            let why = read(&["data.jsonl", words[0], words[1]]).unwrap_err();
            assert!(why.contains(words[0]), "{why}");
            assert!(read(&["--log", "runs", words[0], words[1]]).is_ok(), "{words:?}");
        }
        assert!(read(&["data.jsonl", "--log", "runs"]).is_err());
    }

    #[test]
    fn a_margin_is_a_number_that_is_not_below_0() {
        let margin = |text: &str| read(&["--log", "runs", &format!("--no-worse-by={text}")]);
        assert_eq!(margin("0").unwrap().no_worse_by, Some(0.0));
        for wrong in ["-0.1", "nan", "inf", "much"] {
            assert!(margin(wrong).unwrap_err().contains("no-worse-by"), "{wrong}");
        }
    }
}
