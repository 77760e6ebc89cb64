//! `witgate runs`: a look at runs from elsewhere, those of one process and those that workers carry out together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;

use crate::config;
use crate::experiment;
use crate::store::{SharedRun, shared_runs};

use super::experiment::with_keys;
use super::{fail, say};

/// What is looked at.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// Where runs are looked for.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Show the runs of workers that the database of this configuration knows, wherever their folders are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints every run below the folder, and who works on those that several do.
pub(super) fn runs(arguments: &RunsArgs) -> ExitCode {
    if let Some(config) = &arguments.config {
        return match server(config).and_then(|url| shared_runs(&url, None)) {
            Ok(runs) if runs.is_empty() => fail(format!("{}: its database knows no run", config.display())),
            Ok(runs) => {
                for run in &runs {
                    shown(run, "");
                }
                ExitCode::SUCCESS
            }
            Err(why) => fail(why),
        };
    }
    let (alone, shared) = experiment::look(&arguments.folder);
    if alone.is_empty() && shared.is_empty() {
        return fail(format!("{}: there is no run in it or below", arguments.folder.display()));
    }
    for run in alone {
        let state = state(run.goes_on, run.answered == run.items);
        say(format_args!(
            "{:<24} {state:<10} {:>6}/{} answered, {} under way, {} failed, ${}  {}",
            run.name,
            run.answered,
            run.items,
            run.sent,
            run.failed,
            run.cost,
            run.folder.display()
        ));
    }
    // A run has a folder for each of its workers.
    let mut together: BTreeMap<(String, Option<PathBuf>), Vec<String>> = BTreeMap::new();
    for mark in shared {
        together.entry((mark.run, mark.config)).or_default().push(mark.folder.display().to_string());
    }
    let mut code = ExitCode::SUCCESS;
    for ((run, config), folders) in together {
        let folders = folders.join(", ");
        let asked = match config {
            Some(config) => server(&config).and_then(|url| shared_runs(&url, Some(&run))),
            None => Err("its configuration is not known\nhint: name it with --config".to_owned()),
        };
        match asked {
            Ok(runs) if runs.is_empty() => code = fail(format!("{folders}: the database knows no such run any more")),
            Ok(runs) => {
                for run in &runs {
                    shown(run, &folders);
                }
            }
            Err(why) => code = fail(format!("{folders}: a run of several workers: {why}")),
        }
    }
    code
}

const fn state(goes_on: bool, done: bool) -> &'static str {
    match (goes_on, done) {
        (true, _) => "goes on",
        (false, true) => "done",
        (false, false) => "lies still",
    }
}

/// The server that a configuration names.
fn server(config: &Path) -> Result<SecretString, String> {
    let loaded = config::load(config, &with_keys).map_err(|problems| problems.to_string())?;
    let server = loaded.settings.ledger.and_then(|ledger| ledger.server);
    server.ok_or_else(|| format!("{}: it names no `database_url`, where workers meet", config.display()))
}

fn shown(run: &SharedRun, folders: &str) {
    let works = run.workers.iter().any(|worker| !worker.gone);
    say(format_args!(
        "{:<24} {:<10} {:>6}/{} answered, {} under way, {} failed, ${}  {folders}",
        run.name,
        state(works && run.answered + run.failed < run.items, run.answered == run.items),
        run.answered,
        run.items,
        run.sent,
        run.failed,
        run.paid
    ));
    for worker in &run.workers {
        let seconds = worker.said_ms_ago / 1000;
        let state = match (worker.left, worker.gone) {
            (true, _) => "left".to_owned(),
            (false, true) => format!("gone, heard of {seconds} s ago"),
            (false, false) => format!("works, heard of {seconds} s ago"),
        };
        say(format_args!(
            "  {:<40} {state}; holds {}, answered {}, failed {}",
            worker.name, worker.holds, worker.answered, worker.failed
        ));
    }
}
