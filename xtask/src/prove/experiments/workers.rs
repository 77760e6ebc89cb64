//! Two workers of one run, who meet in a Postgres server of their own. One is killed with -9: the other finishes what it held, once. And two
//! who share one limit through a Redis server: the provider refuses none of their calls.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::live::{Answered, Killed, LONG, Provider, QUICK, SLOW, WINDOW, command, experiment, ids, read};
use super::saturated;
use crate::prove::postgres::Postgres;
use crate::prove::redis::Redis;
use crate::say;

const TEXTS: usize = 160;
/// Calls that a worker has in flight at once, which is what may be paid twice.
const CONCURRENCY: u64 = 4;
/// Replies after which the second worker begins, and after which the first is killed.
const REPLIES: [u64; 2] = [10, 60];
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);
/// Texts of those who share a limit: more than two windows of it.
const SHARING_TEXTS: usize = 120;
const LIMIT: u64 = 48_000;

/// What was wrong, and what could not be proved here.
pub(super) fn prove() -> Result<(Vec<String>, Vec<String>), String> {
    let mut unproved = Vec::new();
    let Some(server) = Postgres::start()? else {
        unproved.push("several workers: no Postgres server is installed (apt-get install postgresql)".to_owned());
        return Ok((Vec::new(), unproved));
    };
    let mut wrong = std::thread::scope(|scope| {
        let killed = scope.spawn(|| killed(&server));
        let sharing = if Redis::is_installed() { sharing(&server) } else { Ok(Vec::new()) };
        let mut wrong = killed.join().map_err(|_panicked| "the killed worker ended with a panic")??;
        wrong.extend(sharing?);
        Ok::<_, String>(wrong)
    })?;
    if !Redis::is_installed() {
        unproved
            .push("workers that share a limit: no redis-server is installed (apt-get install redis-server)".to_owned());
    }
    wrong.sort();
    Ok((wrong, unproved))
}

/// Adds to the gateway's configuration.
fn configure(folder: &Path, more: &str) -> Result<(), String> {
    let path = folder.join("gateway.yaml");
    let mut config = std::fs::File::options().append(true).open(path).map_err(|problem| problem.to_string())?;
    writeln!(config, "{more}").map_err(|problem| problem.to_string())
}

fn worker(folder: &Path, lease: &str, output: &str) -> Result<Killed, String> {
    let mut command = command(folder)?;
    command.args(["--worker", "--lease", lease, "--log", "error", "--output", output]).stderr(Stdio::inherit());
    Ok(Killed(command.spawn().map_err(|problem| problem.to_string())?))
}

/// Ends well, or is wrong.
fn ended(worker: &mut Killed, name: &str) -> Result<Option<String>, String> {
    let status = worker.0.wait().map_err(|problem| problem.to_string())?;
    Ok((!status.success()).then(|| format!("{name} ended with {status}")))
}

fn killed(server: &Postgres) -> Result<Vec<String>, String> {
    let provider = Provider::start(60.0, 10_000_000, "0", SLOW)?;
    let folder = experiment(&provider, TEXTS, 1, &format!("concurrency: {CONCURRENCY}\n"), 60.0, 10_000_000)?;
    configure(folder.path(), &format!("general_settings: {{database_url: \"{}\"}}", server.url()))?;
    let until = |wanted: u64| {
        while provider.answered()?.replies() < wanted {
            std::thread::sleep(LOOK);
        }
        Ok::<_, String>(())
    };
    let first = worker(folder.path(), "2", "first")?;
    until(REPLIES[0])?;
    let mut second = worker(folder.path(), "2", "second")?;
    until(REPLIES[1])?;
    drop(first);
    let mut wrong: Vec<String> = ended(&mut second, "the worker that was left")?.into_iter().collect();
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
    if replies > TEXTS as u64 + CONCURRENCY {
        wrong.push(format!("workers: {replies} replies for {TEXTS} items and {CONCURRENCY} in flight at the kill"));
    }
    Ok(wrong)
}

/// Two workers with one limit.
fn sharing(server: &Postgres) -> Result<Vec<String>, String> {
    let provider = Provider::start(WINDOW, LIMIT + 100, "0", QUICK)?;
    let more = "concurrency: 64\nexpect: {output_tokens: 20, first_token_seconds: 0.05, tokens_per_second: 1000000}\n";
    let folder = experiment(&provider, SHARING_TEXTS, LONG, more, WINDOW, LIMIT)?;
    let redis = Redis::start(folder.path())?;
    let path = folder.path().join("gateway.yaml");
    // One key of the file, which it has already.
    let config = read(&path)?.replace(
        "router_settings: {",
        &format!("router_settings: {{redis_host: 127.0.0.1, redis_port: {}, ", redis.port()),
    );
    std::fs::write(&path, config).map_err(|problem| problem.to_string())?;
    configure(folder.path(), &format!("general_settings: {{database_url: \"{}\"}}", server.url()))?;
    let mut first = worker(folder.path(), "60", "first")?;
    let mut second = worker(folder.path(), "60", "second")?;
    let mut wrong = Vec::new();
    wrong.extend(ended(&mut first, "the first of two that share a limit")?);
    wrong.extend(ended(&mut second, "the second of two that share a limit")?);
    let results = read(&folder.path().join("first/results.jsonl"))?;
    let rows = ids(&results);
    let different: BTreeSet<&str> = rows.iter().copied().collect();
    let Answered([replies, limited, _]) = provider.answered()?;
    let share = saturated(&results, Duration::from_secs_f64(WINDOW), LIMIT)?;
    say(&format!(
        "two workers, one limit in Redis: {SHARING_TEXTS} items, {} rows of {} items; the provider counts {replies} replies and {limited} 429s, share {share:.3}",
        rows.len(),
        different.len()
    ));
    if limited > 0 || replies != SHARING_TEXTS as u64 || different.len() != SHARING_TEXTS || rows.len() != SHARING_TEXTS
    {
        wrong.push(format!(
            "workers with one limit: {limited} refusals, {replies} replies and {} rows of {} items",
            rows.len(),
            different.len()
        ));
    }
    Ok(wrong)
}
