//! `cargo xtask prove chaos`: providers fail, and clients do not see it.
//!
//! Four deployments of simulated providers, of which every one fails 6 % of its calls at random; one dies three times, in three
//! ways, and returns. On virtual time, with the gateway's own pipeline: two minutes pass in seconds, and come out the same
//! each time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use witgate::catalog::SimulatedModel;
use witgate::clock::Clock;
use witgate::fault::{AttemptFault, FaultKind};
use witgate::format::{ClientRequest, OpenAi};
use witgate::moment::Moment;
use witgate::pipeline::{BlockingPool, Gateway, Recorder, Served};
use witgate::policy::EngineOptions;
use witgate::provider::simulated::Simulated;
use witgate::record::{Ending, Record};
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::seed::derive;
use witgate::start::{Assembled, Options, assemble};
use witgate::telemetry::DroppedLines;
use witgate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

use crate::say;

const START_MS: u64 = 1_800_000_000_000;
/// A request every 5 ms.
const EVERY: Duration = Duration::from_millis(5);
/// Seconds of one round: as long well, dead and well again.
const PART: u64 = 10;
/// Share of calls that fail at random, in percent.
const RANDOM: u64 = 6;
/// The deployment that dies.
const MORTAL: &str = "d";

/// Of all requests, in percent.
const VISIBLE: f64 = 0.2;
const ALONE_WITHIN: Duration = Duration::from_secs(1);
const BACK_WITHIN: Duration = Duration::from_secs(2);

const CONFIG: &str = "\
model_list:
  - {model_name: g, litellm_params: {model: openai/m, api_base: 'http://a.test/v1', api_key: ka, timeout: 0.5}, model_info: {id: a}}
  - {model_name: g, litellm_params: {model: openai/m, api_base: 'http://b.test/v1', api_key: kb, timeout: 0.5}, model_info: {id: b}}
  - {model_name: g, litellm_params: {model: openai/m, api_base: 'http://c.test/v1', api_key: kc, timeout: 0.5}, model_info: {id: c}}
  - {model_name: g, litellm_params: {model: openai/m, api_base: 'http://d.test/v1', api_key: kd, timeout: 0.5}, model_info: {id: d}}
router_settings: {routing_strategy: simple-shuffle, num_retries: 3, cooldown_time: 0.3}
";

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Errors,
    Hangs,
    Resets,
}

const WAYS: [(Failing, &str); 3] = [(Failing::Errors, "500s"), (Failing::Hangs, "hangs"), (Failing::Resets, "resets")];

/// One call at the deployment that dies: when, and whether it was answered.
type Call = (Moment, bool);

/// Four providers, and what goes wrong.
struct Chaos {
    clock: Clock,
    simulated: Simulated,
    draws: AtomicU64,
    /// Calls that were answered whole, over all providers.
    answered: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Chaos {
    /// Whether the mortal one is dead now, and how.
    fn death(now: Moment) -> Option<Failing> {
        let second = now.as_millis().saturating_sub(START_MS) / 1000;
        let (round, within) = (second / (3 * PART), second % (3 * PART));
        let way = WAYS.get(usize::try_from(round).ok()?)?;
        (PART..2 * PART).contains(&within).then_some(way.0)
    }

    async fn answer(&self, call: UpstreamRequest) -> Result<UpstreamResponse, AttemptFault> {
        let now = self.clock.now();
        let host = call.url.strip_prefix("http://").and_then(|rest| rest.split_once('.')).map_or("", |(host, _)| host);
        let draw = derive(7, self.draws.fetch_add(1, Ordering::Relaxed)) % 100;
        let random = WAYS[usize::try_from(draw % 3).unwrap_or_default()].0;
        let failing = Self::death(now).filter(|_| host == MORTAL).or((draw < RANDOM).then_some(random));
        if host == MORTAL {
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((now, failing.is_none()));
        }
        match failing {
            None => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                let answer = self.simulated.respond("/v1/chat/completions", call.body).await;
                answer.ok_or_else(|| AttemptFault::new(FaultKind::Misconfigured, "nothing is served there"))
            }
            Some(Failing::Errors) => {
                let body = Bytes::from_static(br#"{"error": {"message": "internal error", "type": "server_error"}}"#);
                let body: Body = Box::pin(futures_util::stream::iter([Ok(body)]));
                Ok(UpstreamResponse { status: StatusCode::INTERNAL_SERVER_ERROR, headers: HeaderMap::new(), body })
            }
            Some(Failing::Hangs) => {
                tokio::time::sleep(call.timeouts.first_byte).await;
                Err(AttemptFault::new(FaultKind::TimedOut, "no head came in time"))
            }
            Some(Failing::Resets) => Err(AttemptFault::new(FaultKind::Unavailable, "connection reset")),
        }
    }
}

/// The providers behind the pipeline's door.
struct Door(Arc<Chaos>);

impl Upstream for Door {
    fn send(
        &self,
        call: UpstreamRequest,
    ) -> futures_util::future::BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        Box::pin(self.0.answer(call))
    }
}

/// Every record.
#[derive(Default)]
struct Kept {
    begun: AtomicU64,
    records: Mutex<Vec<Record>>,
}

impl Recorder for Kept {
    fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, record: &Record) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
    }
}

/// Proves it, or says what is wrong.
pub(super) fn prove(_root: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.map_err(|problem| problem.to_string())?.block_on(chaos())
}

async fn chaos() -> Result<(), String> {
    let clock = Clock::starting_at(Moment::from_millis(START_MS));
    let model = SimulatedModel { ttft_ms: 20.0, ttft_sigma: 0.3, output_tokens: 8, ..SimulatedModel::default() };
    let simulated = Simulated::new(clock, [("m".into(), Arc::new(model))].into_iter().collect());
    let chaos = Arc::new(Chaos {
        clock,
        simulated,
        draws: AtomicU64::default(),
        answered: AtomicU64::default(),
        calls: Mutex::default(),
    });
    let kept = Arc::new(Kept::default());
    let gateway = gateway(clock, &chaos, &kept)?;
    let (mut asked, mut failed) = (0_u64, 0_u64);
    let mut under_way = Vec::new();
    let seconds = WAYS.len() as u64 * 3 * PART;
    let end = Moment::from_millis(START_MS) + Duration::from_secs(seconds);
    while clock.now() < end {
        under_way.push(tokio::spawn(ask(Arc::clone(&gateway))));
        asked += 1;
        tokio::time::sleep(EVERY).await;
    }
    for request in under_way {
        failed += u64::from(!request.await.map_err(|problem| problem.to_string())?);
    }
    let share = 100.0 * per(failed, asked);
    say("| round | dead at | left alone after | calls while dead, then | used again after |");
    say("|---|---|---|---|---|");
    let calls = chaos.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut wrong = Vec::new();
    for (round, (_, name)) in (0_u64..).zip(WAYS) {
        let dead = Moment::from_millis(START_MS + (round * 3 + 1) * PART * 1000);
        let told = Death::of(&calls, dead)?;
        say(&format!(
            "| {name} | {} s | {:.2} s | {} probes in {PART} s | {:.2} s |",
            (round * 3 + 1) * PART,
            told.alone.as_secs_f64(),
            told.probes,
            told.back.as_secs_f64()
        ));
        if told.alone > ALONE_WITHIN {
            wrong.push(format!("{name}: the dead one is left alone within {ALONE_WITHIN:?}"));
        }
        if told.back > BACK_WITHIN {
            wrong.push(format!("{name}: it is used again within {BACK_WITHIN:?}"));
        }
    }
    say(&format!("{asked} requests in {seconds} s, {failed} failed: {share:.3} % of them (at most {VISIBLE} %)"));
    if share > VISIBLE {
        wrong.push(format!("at most {VISIBLE} % of requests fail"));
    }
    wrong.extend(recorded(&kept, asked, failed, chaos.answered.load(Ordering::Relaxed)).err());
    if wrong.is_empty() { Ok(()) } else { Err(format!("not true: {}", wrong.join("; "))) }
}

/// How the deployment that died was treated.
struct Death {
    /// From its death to the last call that was no probe.
    alone: Duration,
    /// Calls after that.
    probes: usize,
    /// From its return to the first call it answered.
    back: Duration,
}

impl Death {
    fn of(calls: &[Call], dead: Moment) -> Result<Self, String> {
        let returned = dead + Duration::from_secs(PART);
        let while_dead: Vec<Moment> =
            calls.iter().map(|(at, _)| *at).filter(|at| (dead..returned).contains(at)).collect();
        // Probes go one at a time, a cooldown apart at least.
        let apart = Duration::from_millis(300);
        let crowd = while_dead.windows(2).rposition(|pair| pair[1].since(pair[0]) < apart);
        let last = crowd.map_or(dead, |at| while_dead[at + 1]);
        let probes = while_dead.iter().filter(|at| **at > last).count();
        let answered = calls.iter().find(|(at, answered)| *at >= returned && *answered);
        let (back, _) = answered.ok_or("it was never used again")?;
        Ok(Self { alone: last.since(dead), probes, back: back.since(returned) })
    }
}

/// One record for each request, with its attempts, and one whole reply for each answered call that was not cut off.
fn recorded(kept: &Kept, asked: u64, failed: u64, answered: u64) -> Result<(), String> {
    let records = kept.records.lock().unwrap_or_else(PoisonError::into_inner);
    let ids: BTreeSet<String> = records.iter().map(|record| record.id.to_string()).collect();
    let whole = records.iter().filter(|record| record.ending == Ending::Whole).count() as u64;
    let attempts: usize = records.iter().map(|record| record.attempts.len()).sum();
    let good: usize =
        records.iter().flat_map(|record| &record.attempts).filter(|attempt| attempt.fault.is_none()).count();
    say(&format!(
        "{} records of {} requests, {} ids, {whole} whole; {attempts} attempts, {good} of them good, {answered} calls answered",
        records.len(),
        kept.begun.load(Ordering::Relaxed),
        ids.len()
    ));
    let sound = records.len() as u64 == asked
        && ids.len() as u64 == asked
        && whole + failed == asked
        && good as u64 == whole
        && answered == whole;
    if sound { Ok(()) } else { Err("nothing is lost or done twice".to_owned()) }
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn per(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

fn gateway(clock: Clock, chaos: &Arc<Chaos>, kept: &Arc<Kept>) -> Result<Arc<Gateway>, String> {
    let options = Options {
        sources: Sources {
            config: ConfigSource::Text(CONFIG.into()),
            policies: PolicySource::Memory(Arc::default()),
            ..Sources::default()
        },
        engine: EngineOptions::default(),
        environment: Arc::new(|_| None),
        clock,
        seed: 1,
        dropped_lines: DroppedLines::default(),
    };
    let assembled = assemble(options, Arc::new(Door(Arc::clone(chaos))), BlockingPool::in_place());
    let Assembled { gateway, .. } = assembled.map_err(|problems| problems.join("; "))?;
    let mut gateway = Arc::into_inner(gateway).ok_or("the gateway is shared")?;
    gateway.recorder = Arc::clone(kept) as Arc<dyn Recorder>;
    Ok(Arc::new(gateway))
}

/// Whether the client got its reply.
async fn ask(gateway: Arc<Gateway>) -> bool {
    let body = Bytes::from_static(br#"{"model": "g", "messages": [{"role": "user", "content": "Hi"}]}"#);
    let request = ClientRequest::post(Uri::from_static("/v1/chat/completions"), body);
    matches!(gateway.serve(gateway.arrive(&OpenAi), Box::new(request)).await, Ok(Served::Whole { .. }))
}
