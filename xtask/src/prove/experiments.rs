//! `cargo xtask prove experiments`: what a plan foretells is what a run takes, and a run that is killed loses and repeats nothing.
//!
//! Plans and runs go through the same pipeline on virtual time: the plan's providers are what is expected of them, the run's enforce a
//! strict sliding limit. Then the built command runs over HTTP in a short window, and is killed with -9 again and again (`experiments/live.rs`), and so is
//! one of two workers (`experiments/workers.rs`).

mod live;
mod memory;
mod spread;
mod workers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::StatusCode;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use witgate::catalog::SimulatedModel;
use witgate::clock::Clock;
use witgate::experiment::{self, Assemble, Expectation, Expectations, Experiment, Finish, Plan, RunFolder, Wanted};
use witgate::fault::AttemptFault;
use witgate::id::DeploymentId;
use witgate::moment::Moment;
use witgate::pipeline::BlockingPool;
use witgate::policy::{Compiler, EngineOptions};
use witgate::provider::simulated::Simulated;
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::start::{Options, assemble};
use witgate::telemetry::DroppedLines;
use witgate::upstream::{Upstream, UpstreamRequest, UpstreamResponse};

use super::limits::sizes;
use crate::say;

const BEGIN: Moment = Moment::from_millis(1_800_000_000_000);
const TPM: u64 = 30_000;
/// Words of the framework, each a token.
const FRAMEWORK: u64 = 2_500;
/// Tokens of all texts, about: a third of it, in texts of 1,700 to 5,000.
const TEXTS: u64 = 900_000;
/// What a run may differ by from its plan.
const WITHIN: f64 = 0.05;
const REPLY: Duration = Duration::from_secs(8);
/// Tokens of the results that the simulated provider makes of the schema.
const OUTPUT: u32 = 85;
const SCHEMA: &str = "{type: object, required: [reason], properties: {reason: {type: string, minLength: 400}}}";
/// The share of a limit that is used while calls wait for it, at least.
const SHARE: f64 = 0.95;

/// What is planned and carried out.
#[derive(Clone, Copy)]
struct Shape {
    keys: u32,
    tpm: u64,
    texts: u64,
    batch: Option<u32>,
    second: Second,
}

/// Another model beside the first, with a key of its own.
#[derive(Clone, Copy, PartialEq)]
enum Second {
    None,
    /// It is asked a few of the texts.
    Beside,
    /// It takes the first one's texts too.
    Shares,
}

const PLAIN: Shape = Shape { keys: 1, tpm: TPM, texts: TEXTS, batch: None, second: Second::None };

/// Proves it.
///
/// # Errors
/// A run that is not as planned, a refusal by a provider, an item that is lost or answered twice.
pub(super) fn prove(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    let live = std::thread::spawn(live::prove);
    let workers = std::thread::spawn(workers::prove);
    say(&format!(
        "{:<13} {:>4} {:>7} {:>6} {:>17} {:>17} {:>21} {:>5} {:>6} {:>8}",
        "case", "keys", "TPM", "calls", "minutes", "USD", "tokens", "429s", "share", "possible"
    ));
    let first = compared(root, "individual", PLAIN, true, &mut wrong)?;
    let mut gained = Vec::new();
    // Limits that hold eleven batches: of two that fit into one, a tenth is lost to what no third one fills. They are sent as soon as
    // those of a minute ago count no more, so that a run ends in whole minutes: within 5 % is one of more than twenty.
    let large = Shape { tpm: 150_000, texts: 7_500_000, batch: Some(15_000), ..PLAIN };
    for (name, told, shape) in [
        ("individual", Some("add-key g".to_owned()), Shape { keys: 2, ..PLAIN }),
        ("individual", None, Shape { keys: 4, ..PLAIN }),
        ("twice the TPM", Some(format!("tpm g={}", 2 * TPM)), Shape { tpm: 2 * TPM, ..PLAIN }),
        ("batched", Some("batch=15000".to_owned()), Shape { batch: Some(15_000), ..PLAIN }),
        ("batched", None, large),
    ] {
        let (_, done) = compared(root, name, shape, false, &mut wrong)?;
        gained.extend(told.map(|told| (told, first.1.estimated_duration_minutes - done.estimated_duration_minutes)));
    }
    for (told, gained) in gained {
        let promised = first.0.recommendations.iter().find(|one| one.what_if.as_deref() == Some(&told));
        let Some(promised) = promised.map(|one| one.saves_minutes) else {
            wrong.push(format!("`{told}` was not recommended where one limit holds everything back"));
            continue;
        };
        say(&format!("{told}: {promised:.1} minutes promised, {gained:.1} gained"));
        if (gained / promised - 1.0).abs() > WITHIN {
            wrong.push(format!("{told} was to save {promised:.1} minutes and saved {gained:.1}"));
        }
    }
    wrong.extend(spread::prove(root)?);
    wrong.extend(memory::prove()?);
    let (of_workers, unproved) = workers.join().map_err(|_panicked| "the workers ended with a panic")??;
    wrong.extend(of_workers);
    wrong.extend(live.join().map_err(|_panicked| "the live runs ended with a panic")??);
    // Last, where it is read.
    for what in unproved {
        say(&format!("NOT PROVED HERE: {what}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// A plan, and the run of it.
fn compared(
    root: &Path,
    name: &str,
    shape: Shape,
    advise: bool,
    wrong: &mut Vec<String>,
) -> Result<(Plan, Plan), String> {
    let Shape { keys, tpm, .. } = shape;
    let case = Case::new(root, shape)?;
    let plan = case.plan(advise)?;
    let (done, refused) = case.run()?;
    let usd = |plan: &Plan| plan.cost_usd.map_or(0.0, |cost| cost.expected);
    let pairs = [
        ("minutes", plan.estimated_duration_minutes, done.estimated_duration_minutes),
        ("USD", usd(&plan), usd(&done)),
        ("tokens", figure(plan.total_estimated_tokens), figure(done.total_estimated_tokens)),
    ];
    let mut line = format!("{name:<13} {keys:>4} {tpm:>7} {:>6}", done.calls);
    for ((what, planned, done), digits) in pairs.into_iter().zip([1, 2, 0]) {
        let _ = write!(line, " {:>17}", format!("{planned:.digits$} → {done:.digits$}"));
        if (done / planned - 1.0).abs() > WITHIN {
            wrong.push(format!("{name}, {keys} keys: {what} were planned as {planned:.3} and came to {done:.3}"));
        }
    }
    let rows =
        std::fs::read_to_string(case.folder.path().join("out/results.jsonl")).map_err(|fault| fault.to_string())?;
    let filled = saturated(&rows, Duration::from_mins(1), u64::from(keys) * tpm)?;
    let possible = possible(&rows, tpm)?;
    say(&format!("{line} {refused:>5} {filled:>6.3} {possible:>8.3}"));
    if refused > 0 || done.failing > 0 || !plan.feasible {
        wrong.push(format!("{name}, {keys} keys: {refused} refusals, {} failures, {:?}", done.failing, plan.reasons));
    }
    if filled < SHARE * possible {
        wrong.push(format!(
            "{name}, {keys} keys: while calls waited {filled:.3} of the limit was used, and {possible:.3} is possible"
        ));
    }
    Ok((plan, done))
}

/// The share of a limit that was used while calls waited for it: what was sent before the last window of the run, over the time until then.
/// Of all moments in that window, the one at which it is least.
fn saturated(rows: &str, window: Duration, limit: u64) -> Result<f64, String> {
    let mut sent: Vec<(f64, u64)> = Vec::new();
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
        let at = row["sent"].as_str().and_then(Moment::parse).ok_or("a row without its time")?;
        // The date is read to the second; its thousandths follow the dot.
        let millis = row["sent"].as_str().and_then(|text| text.split('.').nth(1)?.get(..3)?.parse::<u32>().ok());
        let tokens = row["input_tokens"].as_u64().zip(row["output_tokens"].as_u64());
        let (input, output) = tokens.ok_or("a row without its tokens")?;
        sent.push((figure(at.as_millis()) / 1e3 + f64::from(millis.unwrap_or_default()) / 1e3, input + output));
    }
    sent.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (Some(first), Some(last)) = (sent.first(), sent.last()) else { return Err("no rows".to_owned()) };
    let (begin, window) = (first.0, window.as_secs_f64());
    let late = last.0 - window * 0.9;
    let mut before = 0;
    let mut lowest = f64::INFINITY;
    for (at, tokens) in &sent {
        if *at > late && *at > begin + window * 0.9 {
            lowest = lowest.min(figure(before) / (figure(limit) * (at - begin) / window));
        }
        before += tokens;
    }
    Ok(lowest)
}

/// The share of a limit that calls of these sizes can use at most, whoever orders them: of 15,000 tokens two fit into 30,000, and what
/// they leave no third one fills. No window holds more calls than of the smallest ones fit into it.
fn possible(rows: &str, limit: u64) -> Result<f64, String> {
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
        let tokens = ["input_tokens", "output_tokens"].iter().filter_map(|name| row[*name].as_u64()).sum::<u64>();
        *calls.entry(row["request"].as_str().unwrap_or_default().to_owned()).or_default() += tokens;
    }
    let mut sizes: Vec<u64> = calls.into_values().collect();
    sizes.sort_unstable();
    let mut room = limit;
    let mut fits = |size: &&u64| {
        let left = room.checked_sub(**size);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let at_once = sizes.iter().take_while(&mut fits).count() as u64;
    let mean = figure(sizes.iter().sum()) / figure(sizes.len() as u64);
    Ok((figure(at_once) * mean / figure(limit)).min(1.0))
}

#[expect(clippy::cast_precision_loss, reason = "figures of a table")]
fn figure(count: u64) -> f64 {
    count as f64
}

/// An experiment in a folder of its own.
struct Case {
    folder: tempfile::TempDir,
    experiment: Experiment,
    shape: Shape,
    cache: PathBuf,
}

impl Case {
    fn new(root: &Path, shape: Shape) -> Result<Self, String> {
        let Shape { keys, tpm, texts, batch, second } = shape;
        let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
        let mut config = "model_list:\n".to_owned();
        let of_g = (0..keys).map(|key| ("g", key));
        let (shares, beside) = (second == Second::Shares, second != Second::None);
        for (group, key) in of_g.chain(shares.then_some(("g", keys))).chain(beside.then_some(("h", keys))) {
            let _ = writeln!(
                config,
                "- {{model_name: {group}, litellm_params: {{model: openai/gpt-4o, api_base: \"http://k{key}.test/v1\", api_key: sk-{key}, tpm: {tpm}}}}}"
            );
        }
        let few = if beside { ", {run_id: few, model: h, corpus_subset: 5}" } else { "" };
        let batch = batch.map_or_else(String::new, |tokens| format!("batch: {{max_tokens: {tokens}}}\n"));
        let file = format!(
            "config: gateway.yaml\ninputs: {{jsonl: texts.jsonl, id: name}}\nvariables: {{framework: {{file: framework.txt}}}}\n\
             prompt: {{system: \"{{{{framework}}}}\", user: \"{{{{text}}}}\"}}\nmatrix: [{{run_id: all, model: g}}{few}]\nparser: {{schema: {SCHEMA}}}\n{batch}\
             expect: {{output_tokens: {OUTPUT}, first_token_seconds: {}, tokens_per_second: 1000000}}\n",
            REPLY.as_secs()
        );
        let texts: Vec<String> = sizes(texts)
            .into_iter()
            .zip(0..)
            // A third of what `limits` sends: texts of 1,700 to 5,000 tokens.
            .map(|(size, number)| format!("{{\"name\": \"t{number:04}\", \"text\": \"{}\"}}\n", words(size / 3)))
            .collect();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).map_err(|fault| fault.to_string());
        write("gateway.yaml", &config)?;
        write("texts.jsonl", &texts.concat())?;
        write("framework.txt", &words(FRAMEWORK))?;
        write("e.yaml", &file)?;
        let path = folder.path().join("e.yaml");
        let experiment = experiment::load(&path, None, &|_| None).map_err(|problems| problems.to_string())?;
        Ok(Self { folder, experiment, shape, cache: root.join("target/prove/compiled") })
    }

    fn assembler(&self) -> Box<Assemble<'static>> {
        let (config, cache) = (self.folder.path().join("gateway.yaml"), self.cache.clone());
        Box::new(move |wanted| {
            let Wanted { adjust, upstream, clock } = wanted;
            let options = Options {
                sources: Sources {
                    config: ConfigSource::File(config.clone()),
                    policies: PolicySource::Memory(Arc::default()),
                    adjust: Some(adjust),
                    ..Sources::default()
                },
                engine: EngineOptions {
                    cache_dir: Some(cache.clone()),
                    compiler: Compiler::InProcess,
                    ..EngineOptions::default()
                },
                environment: Arc::new(|_| None),
                clock,
                seed: 7,
                dropped_lines: DroppedLines::default(),
            };
            let upstream = upstream.ok_or_else(|| vec!["there is no network here".to_owned()])?;
            let assembled = assemble(options, upstream, BlockingPool::in_place())?;
            Arc::into_inner(assembled.gateway).ok_or_else(|| vec!["the gateway is shared".to_owned()])
        })
    }

    fn plan(&self, advise: bool) -> Result<Plan, String> {
        let expect = self.experiment.file.expect;
        let otherwise = Expectation {
            output_tokens: OUTPUT,
            first_token: expect.first_token,
            tokens_per_second: expect.tokens_per_second,
            learned: false,
        };
        let expectations = Arc::new(Expectations::new(std::collections::BTreeMap::new(), otherwise));
        let assemble = self.assembler();
        experiment::plan(&self.experiment, &[], &expectations, advise, &*assemble).map_err(|all| all.join("\n"))
    }

    /// What was done, and how often a provider refused because of its limits.
    fn run(&self) -> Result<(Plan, u64), String> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.map_err(|fault| fault.to_string())?.block_on(async {
            let clock = Clock::starting_at(BEGIN);
            let provider = Arc::new(Strict::new(clock, self.shape));
            let adjust = experiment::for_run(&self.experiment, None);
            let upstream = Arc::clone(&provider) as Arc<dyn Upstream>;
            let assemble = self.assembler();
            let gateway = assemble(Wanted { adjust, upstream: Some(upstream), clock }).map_err(|all| all.join("\n"))?;
            let folder = RunFolder::open(&self.experiment, &self.folder.path().join("out"), false, clock.now())?;
            let finish = folder.carry_on(&self.experiment, gateway, Arc::default(), CancellationToken::new()).await?;
            if finish != Finish::Done {
                return Err(format!("the run ended with {finish:?}"));
            }
            let refused = *provider.refused.lock().unwrap_or_else(PoisonError::into_inner);
            Ok((folder.summary(&self.experiment)?, refused))
        })
    }
}

/// So many words of one token each.
fn words(count: u64) -> String {
    "word ".repeat(usize::try_from(count).unwrap_or_default())
}

/// Providers with strict limits, one for each key.
struct Strict {
    simulated: Simulated,
    refused: Mutex<u64>,
}

impl Strict {
    fn new(clock: Clock, shape: Shape) -> Self {
        let model = SimulatedModel {
            ttft_ms: REPLY.as_secs_f64() * 1e3,
            output_tokens: OUTPUT,
            tpm: Some(shape.tpm),
            ..SimulatedModel::default()
        };
        let keys = shape.keys + u32::from(shape.second != Second::None);
        let models = (0..keys).map(|key| (DeploymentId::from(format!("k{key}")), Arc::new(model.clone())));
        Self { simulated: Simulated::new(clock, models.collect()), refused: Mutex::default() }
    }
}

impl Upstream for Strict {
    fn send(&self, mut call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        let host = call.url.strip_prefix("http://").and_then(|rest| rest.split('.').next()).unwrap_or("").to_owned();
        call.url = format!("simulated://{host}/chat/completions");
        Box::pin(async move {
            let answer = self.simulated.send(call).await?;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
            Ok(answer)
        })
    }
}
