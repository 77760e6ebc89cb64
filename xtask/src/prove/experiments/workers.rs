//! Two workers of one run, who meet in a Postgres server of their own. One is killed with -9: the other finishes what it held, once.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use super::live::{Killed, Provider, command, experiment, ids, read};
use crate::prove::postgres::Postgres;
use crate::say;

const TEXTS: usize = 160;
/// Calls that a worker has in hand at once, which is what may be paid twice.
const HANDS: u64 = 4;
/// Replies after which the second worker begins, and after which the first is killed.
const REPLIES: [u64; 2] = [10, 60];
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// What was wrong.
pub(super) fn prove() -> Result<Vec<String>, String> {
    let Some(server) = Postgres::start()? else {
        say("NO POSTGRES SERVER: workers are not proved");
        return Ok(Vec::new());
    };
    let provider = Provider::start(60.0, 10_000_000, "0")?;
    let folder = experiment(&provider, TEXTS, &format!("concurrency: {HANDS}\n"), 60.0, 10_000_000)?;
    let words = |problem: std::io::Error| problem.to_string();
    let mut config = std::fs::File::options().append(true).open(folder.path().join("gateway.yaml")).map_err(words)?;
    writeln!(config, "general_settings: {{database_url: \"{}\"}}", server.url()).map_err(words)?;
    let worker = |output: &str| {
        let mut command = command(folder.path())?;
        command.args(["--worker", "--lease", "2", "--log", "error", "--output", output]).stderr(Stdio::inherit());
        Ok::<_, String>(Killed(command.spawn().map_err(words)?))
    };
    let until = |wanted: u64| {
        while provider.answered()?.replies() < wanted {
            std::thread::sleep(LOOK);
        }
        Ok::<_, String>(())
    };
    let first = worker("first")?;
    until(REPLIES[0])?;
    let mut second = worker("second")?;
    until(REPLIES[1])?;
    drop(first);
    let status = second.0.wait().map_err(words)?;
    let mut wrong = Vec::new();
    if !status.success() {
        wrong.push(format!("the worker that was left ended with {status}"));
    }
    let results = read(&folder.path().join("second/results.jsonl"))?;
    let rows = ids(&results);
    let different: BTreeSet<&str> = rows.iter().copied().collect();
    let replies = provider.answered()?.replies();
    say(&format!(
        "two workers, one killed: {TEXTS} items, {} rows of {} items; the provider counts {replies} replies",
        rows.len(),
        different.len()
    ));
    if rows.len() != TEXTS || different.len() != TEXTS {
        wrong.push("workers: an item is missing from the results, or there twice".to_owned());
    }
    if replies > TEXTS as u64 + HANDS {
        wrong.push(format!("workers: {replies} replies for {TEXTS} items and {HANDS} in hand at the kill"));
    }
    Ok(wrong)
}
