//! `witgate evaluate`: routers compared on data of full information.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use crate::evaluate::{Comparison, DataSet, Table, compare, page};

use super::{fail, say};

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// The data: a JSON object a line, as docs/learning.md says.
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Compare this router too: one that is built in, or the file of a component.
    #[arg(long, value_name = "NAME|FILE")]
    router: Option<String>,
    /// Its settings, or those of `bandit` where no other router is named: a JSON object. What a reply is worth is read from them too.
    #[arg(long, value_name = "JSON", value_parser = settings, default_value = "{}")]
    settings: Map<String, Value>,
    /// Play everything so many times, each time in another order.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    seeds: u32,
    /// The parent of all random draws: the same gives the same numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Keep the order of the file.
    #[arg(long)]
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

/// Prints how the contenders do.
pub(super) fn evaluate(arguments: &EvaluateArgs) -> ExitCode {
    let data = match DataSet::read(&arguments.data) {
        Ok(data) => data,
        Err(problems) => return fail(problems.join("\nerror: ")),
    };
    let comparison = Comparison {
        router: arguments.router.clone(),
        settings: arguments.settings.clone(),
        seeds: arguments.seeds,
        seed: arguments.seed,
        in_order: arguments.in_order,
    };
    let evaluation = match compare(&data, &comparison) {
        Ok(evaluation) => evaluation,
        Err(why) => return fail(why),
    };
    if let Some(path) = &arguments.html
        && let Err(fault) = std::fs::write(path, page(&evaluation))
    {
        return fail(format_args!("{}: {fault}", path.display()));
    }
    if arguments.json {
        match serde_json::to_string_pretty(&evaluation) {
            Ok(text) => say(text),
            Err(fault) => return fail(fault),
        }
    } else {
        say(Table(&evaluation).to_string().trim_end());
    }
    ExitCode::SUCCESS
}
