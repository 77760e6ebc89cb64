//! `cargo xtask prove experiments`: what a plan foretells is what a run takes, and a run that is killed loses and repeats nothing.
//!
//! Plans and runs go through the same pipeline on virtual time: the plan's providers are what is expected of them, the run's enforce a
//! strict sliding limit. Then the built command runs over HTTP in a short window, and is killed with -9 again and again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
use witgate::store::{ItemState, ItemStore};
use witgate::telemetry::DroppedLines;
use witgate::upstream::{Upstream, UpstreamRequest, UpstreamResponse};

use super::limits::sizes;
use crate::say;

const BEGIN: Moment = Moment::from_millis(1_800_000_000_000);
const TPM: u64 = 30_000;
/// Words of the framework, each a token.
const FRAMEWORK: u64 = 2_500;
/// Tokens of all texts.
const TEXTS: u64 = 400_000;
/// What a run may differ by from its plan.
const WITHIN: f64 = 0.05;
const REPLY: Duration = Duration::from_secs(8);
/// Tokens of the results that the simulated provider makes of the schema.
const OUTPUT: u32 = 85;
const SCHEMA: &str = "{type: object, required: [reason], properties: {reason: {type: string, minLength: 400}}}";
const KILLS: usize = 6;

/// Proves it.
///
/// # Errors
/// A run that is not as planned, a refusal by a provider, an item that is lost or answered twice.
pub(super) fn prove(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    say(&format!(
        "{:<12} {:>4} {:>6} {:>17} {:>17} {:>21} {:>5} {:>6}",
        "case", "keys", "calls", "minutes", "USD", "tokens", "429s", "share"
    ));
    let mut minutes = Vec::new();
    let mut promised = None;
    for (name, keys, batch) in
        [("individual", 1, None), ("individual", 2, None), ("individual", 4, None), ("batched", 2, Some(15_000))]
    {
        let case = Case::new(root, keys, batch)?;
        let advise = keys == 1;
        let plan = case.plan(advise)?;
        if advise {
            let added = plan.recommendations.iter().find(|one| one.what_if.as_deref() == Some("add-key g"));
            promised = added.map(|one| one.saves_minutes);
        }
        let (done, refused) = case.run()?;
        let usd = |plan: &Plan| plan.cost_usd.map_or(0.0, |cost| cost.expected);
        let pairs = [
            ("minutes", plan.estimated_duration_minutes, done.estimated_duration_minutes),
            ("USD", usd(&plan), usd(&done)),
            ("tokens", figure(plan.total_estimated_tokens), figure(done.total_estimated_tokens)),
        ];
        let mut line = format!("{name:<12} {keys:>4} {:>6}", done.calls);
        for ((what, planned, done), digits) in pairs.into_iter().zip([1, 2, 0]) {
            let _ = write!(line, " {:>17}", format!("{planned:.digits$} → {done:.digits$}"));
            if (done / planned - 1.0).abs() > WITHIN {
                wrong.push(format!("{name}, {keys} keys: {what} were planned as {planned:.3} and came to {done:.3}"));
            }
        }
        say(&format!("{line} {refused:>5} {:>6.3}", done.models.first().map_or(0.0, |model| model.utilization)));
        if refused > 0 || done.failing > 0 || !plan.feasible {
            wrong.push(format!(
                "{name}, {keys} keys: {refused} refusals, {} failures, {:?}",
                done.failing, plan.reasons
            ));
        }
        if batch.is_none() {
            minutes.push(done.estimated_duration_minutes);
        }
    }
    match (promised, minutes.as_slice()) {
        (Some(promised), [one, two, ..]) => {
            let gained = one - two;
            say(&format!("another key: {promised:.1} minutes promised, {gained:.1} gained"));
            if (gained / promised - 1.0).abs() > WITHIN {
                wrong.push(format!("another key was to save {promised:.1} minutes and saved {gained:.1}"));
            }
        }
        _ => wrong.push("another key was not recommended where one limits everything".to_owned()),
    }
    killed(&mut wrong)?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[expect(clippy::cast_precision_loss, reason = "figures of a table")]
fn figure(count: u64) -> f64 {
    count as f64
}

/// An experiment in a folder of its own.
struct Case {
    folder: tempfile::TempDir,
    experiment: Experiment,
    keys: u32,
    cache: PathBuf,
}

impl Case {
    fn new(root: &Path, keys: u32, batch: Option<u32>) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
        let mut config = "model_list:\n".to_owned();
        for key in 0..keys {
            let _ = writeln!(
                config,
                "- {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"http://k{key}.test/v1\", api_key: sk-{key}, tpm: {TPM}}}}}"
            );
        }
        let batch = batch.map_or_else(String::new, |tokens| format!("batch: {{max_tokens: {tokens}}}\n"));
        let file = format!(
            "config: gateway.yaml\ninputs: {{jsonl: texts.jsonl, id: name}}\nvariables: {{framework: {{file: framework.txt}}}}\n\
             prompt: {{system: \"{{{{framework}}}}\", user: \"{{{{text}}}}\"}}\nmatrix: {{models: [g]}}\nparser: {{schema: {SCHEMA}}}\n{batch}\
             expect: {{output_tokens: {OUTPUT}, first_token_seconds: {}, tokens_per_second: 1000000}}\n",
            REPLY.as_secs()
        );
        let texts: Vec<String> = sizes(TEXTS)
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
        Ok(Self { folder, experiment, keys, cache: root.join("target/prove/compiled") })
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
            let provider = Arc::new(Strict::new(clock, self.keys));
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
    fn new(clock: Clock, keys: u32) -> Self {
        let model = SimulatedModel {
            ttft_ms: REPLY.as_secs_f64() * 1e3,
            output_tokens: OUTPUT,
            tpm: Some(TPM),
            ..SimulatedModel::default()
        };
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

/// The built commands, by name.
fn binary() -> Result<PathBuf, String> {
    Ok(std::env::current_exe().map_err(|problem| problem.to_string())?.with_file_name("witgate"))
}

/// A child that does not outlive this proof.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// A run over HTTP that is killed at random moments until it is done.
fn killed(wrong: &mut Vec<String>) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
    let mut provider = Killed(
        Command::new(binary()?)
            .args([
                "simulate-provider",
                "--port",
                "0",
                "--ttft-ms",
                "150",
                "--tokens-per-second",
                "0",
                "--window-seconds",
                "0.4",
            ])
            .args(["--tpm", "2400", "--output-tokens", "20", "--log", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|problem| format!("the simulated provider: {problem}\nhint: cargo build"))?,
    );
    let mut line = String::new();
    let stdout = provider.0.stdout.take().ok_or("no standard output")?;
    BufReader::new(stdout).read_line(&mut line).map_err(|problem| problem.to_string())?;
    let address = line.trim().rsplit("http://").next().ok_or("no address")?.to_owned();
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).map_err(|fault| fault.to_string());
    write(
        "gateway.yaml",
        &format!(
            "model_list:\n- {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"http://{address}/v1\", api_key: sk-x, tpm: 2200, token_usage_window: 0.4}}}}\n"
        ),
    )?;
    let texts: Vec<String> = (0..120)
        .map(|number| format!("{{\"name\": \"t{number:03}\", \"text\": \"{} {number}\"}}\n", words(250)))
        .collect();
    write("texts.jsonl", &texts.concat())?;
    write(
        "e.yaml",
        "config: gateway.yaml\ninputs: {jsonl: texts.jsonl, id: name}\nprompt: {user: \"{{text}}\"}\nmatrix: {models: [g]}\noutput: out\n",
    )?;
    let mut chance = 42_u64;
    let mut kills = 0;
    let mut under_way = 0;
    loop {
        let mut run = Killed(
            Command::new(binary()?)
                .args(["run", "e.yaml"])
                .current_dir(folder.path())
                .env("XDG_STATE_HOME", folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|problem| problem.to_string())?,
        );
        if kills == KILLS {
            let status = run.0.wait().map_err(|problem| problem.to_string())?;
            if !status.success() {
                wrong.push(format!("the run that was killed {KILLS} times ended with {status}"));
            }
            break;
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(1_700 + (chance >> 33) % 1_500));
        if run.0.try_wait().map_err(|problem| problem.to_string())?.is_some() {
            say(&format!("the run was done before kill {}", kills + 1));
            break;
        }
        drop(run);
        kills += 1;
        let state = folder.path().join("out/state.db");
        if state.exists() {
            let items = ItemStore::open(&state)?.items()?;
            under_way += items.iter().filter(|item| item.state == ItemState::Sent).count();
        }
    }
    let results =
        std::fs::read_to_string(folder.path().join("out/results.jsonl")).map_err(|fault| fault.to_string())?;
    let ids: Vec<&str> =
        results.lines().filter_map(|line| line.split("\"item\":\"").nth(1)?.split('"').next()).collect();
    let different: BTreeSet<&str> = ids.iter().copied().collect();
    let items = ItemStore::open(&folder.path().join("out/state.db"))?.items()?;
    let sent: u64 = items.iter().map(|item| u64::from(item.sent)).sum();
    say(&format!(
        "killed {kills} times: {} items, {} rows of {} items, {sent} requests sent, {under_way} under way at the kills",
        items.len(),
        ids.len(),
        different.len()
    ));
    if ids.len() != items.len() || different.len() != items.len() {
        wrong.push("an item is missing from the results, or there twice".to_owned());
    }
    if sent > (items.len() + under_way) as u64 {
        wrong.push(format!(
            "{sent} requests were sent for {} items and {under_way} under way at the kills",
            items.len()
        ));
    }
    Ok(())
}
