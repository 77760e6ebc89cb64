//! Limits that hold and are used to the full, on virtual time: the gateway's own pipeline against providers that enforce a strict
//! limit, an hour of it in a second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};
use witgate::catalog::SimulatedModel;
use witgate::clock::Clock;
use witgate::fault::AttemptFault;
use witgate::format::{ClientRequest, OpenAi};
use witgate::id::{DeploymentId, KeyId};
use witgate::limits::{SavedLimits, WindowModel};
use witgate::moment::Moment;
use witgate::pipeline::{BlockingPool, Gateway, Served};
use witgate::policy::{Compiler, EngineOptions};
use witgate::provider::simulated::Simulated;
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::snapshot::Caller;
use witgate::start::{Assembled, Options, assemble};
use witgate::telemetry::DroppedLines;
use witgate::upstream::{Sent, Timeouts, Upstream, UpstreamRequest, UpstreamResponse};

use crate::say;

/// When virtual time begins.
const BEGIN: Moment = Moment::from_millis(1_800_000_000_000);
/// What each key may use in a minute.
const TPM: u64 = 30_000;
const WINDOW: Duration = Duration::from_secs(60);
/// Output tokens of every reply.
const OUTPUT: u32 = 100;
/// What others may do of it, where there are any: a third of them every twenty seconds.
const OTHERS: u64 = TPM * 3 / 10;

/// One row of the table.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    keys: u32,
    reply: u64,
    max_tokens: Option<u32>,
    strict: bool,
    /// What the configuration says of each key's limit.
    configured: Option<u64>,
    /// When the provider forgets what it counted, and when the configuration says it does.
    forgets: [WindowModel; 2],
    /// Somebody else uses the first key.
    others: bool,
    /// The gateway is started anew in the middle.
    restart: bool,
    /// Requests of 5,000 to 15,000 tokens, which make 1.8 million.
    tokens: u64,
    bounds: Bounds,
}

/// What is to come out: the time is virtual, so that the same comes out wherever it runs.
#[derive(Clone, Copy)]
struct Bounds {
    refused: u64,
    share: f64,
    makespan: f64,
}

const PACKED: Bounds = Bounds { refused: 0, share: 0.95, makespan: 1.05 };
const STRICT: Bounds = Bounds { refused: 0, share: 0.78, makespan: 1.35 };

const PLAIN: Case = Case {
    name: "",
    keys: 2,
    reply: 1,
    max_tokens: None,
    strict: false,
    configured: Some(TPM),
    forgets: [WindowModel::Sliding; 2],
    others: false,
    restart: false,
    tokens: 1_800_000,
    bounds: PACKED,
};

/// What came out.
struct Outcome {
    served: usize,
    failed: usize,
    refused: u64,
    share: f64,
    makespan: f64,
    /// Windows that began while it ran.
    windows: u64,
}

/// Every row of the table.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for keys in 1..=4 {
        cases.push(Case { name: "packed", keys, ..PLAIN });
        cases.push(Case { name: "packed, replies of 20 s", keys, reply: 20, ..PLAIN });
    }
    cases.push(Case { name: "packed, max_tokens 500", max_tokens: Some(500), ..PLAIN });
    cases.push(Case { name: "packed, max_tokens 500, 20 s", max_tokens: Some(500), reply: 20, ..PLAIN });
    cases.push(Case { name: "strict", strict: true, bounds: STRICT, ..PLAIN });
    cases.push(Case { name: "strict, replies of 20 s", strict: true, reply: 20, bounds: STRICT, ..PLAIN });
    let [sliding, fixed, bucket] = [WindowModel::Sliding, WindowModel::Fixed, WindowModel::TokenBucket];
    cases.push(Case { name: "fixed minutes", forgets: [fixed; 2], ..PLAIN });
    cases.push(Case { name: "fixed minutes, 20 s", forgets: [fixed; 2], reply: 20, ..PLAIN });
    cases.push(Case { name: "token bucket", forgets: [bucket; 2], ..PLAIN });
    cases.push(Case { name: "token bucket, 20 s", forgets: [bucket; 2], reply: 20, ..PLAIN });
    // Configured as sliding, as it is by default, a provider that forgets otherwise refuses nothing. A bucket would have given back parts
    // of what a window keeps as a whole.
    cases.push(Case { name: "fixed minutes, not configured", forgets: [fixed, sliding], ..PLAIN });
    let whole = Bounds { makespan: 1.08, ..PACKED };
    cases.push(Case { name: "token bucket, not configured", forgets: [bucket, sliding], bounds: whole, ..PLAIN });
    // Where less is let in than is said, a refusal of each key tells.
    let wrong = Bounds { refused: 8, share: 0.9, makespan: 1.1 };
    cases.push(Case { name: "slides, configured as fixed", forgets: [sliding, fixed], bounds: wrong, ..PLAIN });
    cases.push(Case { name: "slides, configured as bucket", forgets: [sliding, bucket], bounds: wrong, ..PLAIN });
    cases.push(Case { name: "configured twice too high", configured: Some(2 * TPM), bounds: wrong, ..PLAIN });
    cases.push(Case { name: "no limit configured", configured: None, bounds: wrong, ..PLAIN });
    cases.push(Case {
        name: "started anew in the middle",
        restart: true,
        bounds: Bounds { share: 0.8, makespan: 1.25, ..PACKED },
        ..PLAIN
    });
    // Others have 30 % of it, and are found out again in each window.
    let others = Bounds { refused: 0, share: 0.6, makespan: 1.7 };
    cases.push(Case {
        name: "others use 30 % of the key",
        keys: 1,
        tokens: 900_000,
        others: true,
        bounds: others,
        ..PLAIN
    });
    cases
}

/// Runs every case and prints the table.
///
/// # Errors
/// What does not hold: requests that fail, refusals by the provider where its limit is known, too little use of it.
pub(super) fn prove(root: &Path) -> Result<(), String> {
    let cases = cases();
    say(&format!(
        "{:<30} {:>4} {:>7} {:>7} {:>6} {:>6} {:>9}",
        "case", "keys", "served", "failed", "429s", "share", "makespan"
    ));
    let mut wrong = Vec::new();
    for case in &cases {
        let outcome = run(root, *case)?;
        let Outcome { served, failed, refused, share, makespan, windows } = outcome;
        say(&format!(
            "{:<30} {:>4} {served:>7} {failed:>7} {refused:>6} {share:>6.3} {makespan:>9.3}",
            case.name, case.keys
        ));
        let Bounds { refused: most, share: least, makespan: longest } = case.bounds;
        // Of what others take at the same time nothing is known before a provider tells: one refusal a window may be the news.
        let most = if case.others { windows } else { most };
        if failed > 0 || refused > most || share < least || makespan > longest {
            wrong.push(format!(
                "{}, {} keys: no request may fail, at most {most} be refused, the share be {least} or more, the makespan {longest} or less",
                case.name, case.keys
            ));
        }
    }
    let last = fairness(root)?;
    say(&format!(
        "fairness: beside a caller with 256 requests, the last of another's 4 began after {:.1} s",
        last.as_secs_f64()
    ));
    if last > 2 * WINDOW {
        wrong.push(format!("the caller with 4 requests waited {last:?}, and two windows are enough"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Providers with strict limits, one for each key, and what they were asked.
struct Strict {
    clock: Clock,
    simulated: Simulated,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    refused: u64,
    /// When each request started that was taken, and its tokens.
    starts: Vec<(Moment, u64)>,
}

impl Seen {
    fn tokens(&self) -> u64 {
        self.starts.iter().map(|(_, tokens)| tokens).sum()
    }

    /// The share of the limit that was in use while more waited than a window holds: until then nothing but the order of starts keeps
    /// it from being used to the full. Each request is in use for a window from its start, where minutes are fixed until the end of its own.
    /// Of a bucket, which gives back nothing but what drains, it is what went in of all that could have: a whole limit, and one for
    /// each window. Where the provider and the configuration differ, it is the stricter of both: what that does not let in, nobody can
    /// use.
    fn share(&self, limit: u64, [provider, configured]: [WindowModel; 2]) -> f64 {
        let forgets = if provider == WindowModel::Sliding { provider } else { configured };
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        let mut left = self.tokens();
        let end = starts.iter().find_map(|(at, tokens)| {
            left -= tokens;
            (left < limit).then_some(*at)
        });
        let end = end.unwrap_or(BEGIN);
        let saturated = end.since(BEGIN).as_secs_f64();
        let before = starts.iter().filter(|(at, _)| *at < end);
        if forgets == WindowModel::TokenBucket {
            let went_in = before.map(|(_, tokens)| *tokens).sum();
            return figure(went_in) / (figure(limit) * (1.0 + saturated / WINDOW.as_secs_f64()));
        }
        let in_use = |(at, tokens): &(Moment, u64)| {
            let into_minute = Duration::from_nanos(at.as_nanos() % 60_000_000_000);
            let counts = if forgets == WindowModel::Fixed { WINDOW.saturating_sub(into_minute) } else { WINDOW };
            figure(*tokens) * end.since(*at).min(counts).as_secs_f64()
        };
        before.map(in_use).sum::<f64>() / (figure(limit) * saturated)
    }
}

impl Strict {
    fn new(clock: Clock, case: &Case) -> Self {
        let model = SimulatedModel {
            ttft_ms: f64::from(u32::try_from(case.reply * 1000).unwrap_or(u32::MAX)),
            output_tokens: OUTPUT,
            tpm: Some(TPM),
            window_model: case.forgets[0],
            ..SimulatedModel::default()
        };
        let models = (0..case.keys).map(|key| (DeploymentId::from(format!("k{key}")), Arc::new(model.clone())));
        Self { clock, simulated: Simulated::new(clock, models.collect()), seen: Mutex::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody else's request of so many tokens, to the first key.
    async fn use_elsewhere(&self, tokens: u64) {
        let call = UpstreamRequest {
            url: "simulated://k0/chat/completions".to_owned(),
            headers: HeaderMap::new(),
            body: body(tokens, None),
            timeouts: Timeouts::default(),
            sent: Sent::default(),
        };
        // Refused or not: whoever they are, they try.
        let _answer = self.simulated.send(call).await;
    }
}

impl Upstream for Strict {
    fn send(
        &self,
        mut call: UpstreamRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<UpstreamResponse, AttemptFault>> + Send + '_>> {
        // http://kN.test/v1/chat/completions
        let host = call.url.strip_prefix("http://").and_then(|rest| rest.split('.').next()).unwrap_or("").to_owned();
        call.url = format!("simulated://{host}/chat/completions");
        let started = self.clock.now();
        let requested = requested(&call.body);
        Box::pin(async move {
            let answer = self.simulated.send(call).await?;
            let mut seen = self.seen();
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                seen.refused += 1;
            } else {
                seen.starts.push((started, requested));
            }
            drop(seen);
            Ok(answer)
        })
    }
}

/// A request of so many tokens: words of one token each.
fn body(tokens: u64, max_tokens: Option<u32>) -> Bytes {
    let words = " word".repeat(usize::try_from(tokens).unwrap_or_default());
    let bound = max_tokens.map_or_else(String::new, |bound| format!(r#""max_tokens": {bound}, "#));
    format!(r#"{{"model": "g", {bound}"messages": [{{"role": "user", "content": "{words}"}}]}}"#).into()
}

/// What the provider counts of a request on its arrival.
fn requested(body: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(body);
    let bound = text.split(r#""max_tokens":"#).nth(1).or_else(|| text.split(r#""max_completion_tokens":"#).nth(1));
    let bound = bound.map(|rest| rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>());
    let output = bound.and_then(|digits| digits.parse().ok()).unwrap_or(OUTPUT);
    text.matches(" word").count() as u64 + u64::from(output) + 6
}

fn config(case: &Case) -> String {
    let mut text = "model_list:\n".to_owned();
    for key in 0..case.keys {
        let forgets = match case.forgets[1] {
            WindowModel::Sliding => "",
            WindowModel::Fixed => ", rate_limit_window: fixed",
            WindowModel::TokenBucket => ", rate_limit_window: token-bucket",
        };
        let limit = case.configured.map_or_else(String::new, |tpm| format!(", tpm: {tpm}{forgets}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "- {{model_name: g, litellm_params: {{model: openai/gpt-4o, api_base: \"http://k{key}.test/v1\", api_key: sk-{key}{limit}}}}}"
        );
    }
    let order = if case.strict { "strict" } else { "packed" };
    let _ = writeln!(
        text,
        "witgate: {{server: {{request_timeout_seconds: 100000}}, queue: {{max_wait_seconds: 100000, order: {order}}}}}\n\
         router_settings: {{timeout: 100000}}"
    );
    text
}

fn gateway(root: &Path, case: &Case, clock: Clock, provider: &Arc<Strict>) -> Result<Arc<Gateway>, String> {
    let config = ConfigSource::Text(config(case).into());
    let policies = PolicySource::Memory(Arc::new(BTreeMap::new()));
    let cache_dir = Some(root.join("target/prove/compiled"));
    let options = Options {
        sources: Sources { config, policies, ..Sources::default() },
        engine: EngineOptions { cache_dir, compiler: Compiler::InProcess, ..EngineOptions::default() },
        environment: Arc::new(|_| None),
        clock,
        seed: 7,
        dropped_lines: DroppedLines::default(),
    };
    let upstream = Arc::clone(provider) as Arc<dyn Upstream>;
    let Assembled { gateway, .. } =
        assemble(options, upstream, BlockingPool::in_place()).map_err(|problems| problems.join("\n"))?;
    Ok(gateway)
}

/// One request to its end, tried again when it is told to.
async fn ask(gateway: &Arc<Gateway>, caller: Option<Arc<Caller>>, body: Bytes) -> bool {
    for _ in 0..100 {
        let mut guard = gateway.arrive(&OpenAi);
        if caller.is_some() {
            guard.set_caller(caller.clone());
        }
        let request = ClientRequest::post(Uri::from_static("/v1/chat/completions"), body.clone());
        match gateway.serve(guard, Box::new(request)).await {
            Ok(Served::Whole { .. }) => return true,
            Ok(_) => return false,
            Err(refusal) => match refusal.retry_after {
                Some(after) => tokio::time::sleep(after).await,
                None => return false,
            },
        }
    }
    false
}

/// Sizes of requests, the same in every run.
pub(super) fn sizes(total: u64) -> Vec<u64> {
    let (mut state, mut sum, mut sizes) = (42_u64, 0, Vec::new());
    while sum < total {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = 5_000 + (state >> 33) % 10_001;
        sum += size;
        sizes.push(size);
    }
    sizes
}

fn run(root: &Path, case: Case) -> Result<Outcome, String> {
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().map_err(|fault| fault.to_string())?;
    LocalSet::new().block_on(&runtime, async {
        let clock = Clock::starting_at(BEGIN);
        let provider = Arc::new(Strict::new(clock, &case));
        let others = case.others.then(|| {
            let provider = Arc::clone(&provider);
            tokio::task::spawn_local(async move {
                loop {
                    provider.use_elsewhere(OTHERS / 3).await;
                    tokio::time::sleep(WINDOW / 3).await;
                }
            })
        });
        let sizes = sizes(case.tokens);
        let parts = if case.restart { sizes.len() / 2 } else { sizes.len() };
        let (mut served, mut failed) = (0, 0);
        let mut saved = SavedLimits::default();
        for part in sizes.chunks(parts.max(1)) {
            let gateway = gateway(root, &case, clock, &provider)?;
            gateway.limits.local().restore(clock.now(), &saved);
            let mut requests = JoinSet::new();
            for size in part {
                let (gateway, body) = (Arc::clone(&gateway), body(*size, case.max_tokens));
                requests.spawn_local(async move { Box::pin(ask(&gateway, None, body)).await });
            }
            while let Some(done) = requests.join_next().await {
                if done.unwrap_or(false) { served += 1 } else { failed += 1 }
            }
            saved = gateway.limits.local().save(clock.now());
        }
        if let Some(others) = others {
            others.abort();
        }
        let seen = provider.seen();
        let last = seen.starts.iter().map(|(at, _)| *at).max().unwrap_or(BEGIN).since(BEGIN).as_secs_f64();
        let limit = TPM * u64::from(case.keys);
        let (tokens, reply) = (figure(seen.tokens()), figure(case.reply));
        // No window of a key takes more than its limit, so that the last request cannot start before as many windows have begun as the
        // tokens fill: the last of them counts as a whole one, however little is left for it. A bucket gives parts of one.
        let windows = tokens / figure(limit);
        let windows = if case.forgets[0] == WindowModel::TokenBucket { windows } else { windows.ceil() };
        let ideal = (windows - 1.0) * WINDOW.as_secs_f64() + reply;
        Ok(Outcome {
            served,
            failed,
            refused: seen.refused,
            share: seen.share(limit, case.forgets),
            makespan: (last + reply) / ideal,
            windows: (seen.starts.iter().map(|(at, _)| at.since(BEGIN).as_secs()).max().unwrap_or_default()
                / WINDOW.as_secs())
                + 1,
        })
    })
}

/// How long a caller's four requests wait beside another's 256.
fn fairness(root: &Path) -> Result<Duration, String> {
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().map_err(|fault| fault.to_string())?;
    LocalSet::new().block_on(&runtime, async {
        let clock = Clock::starting_at(BEGIN);
        let provider = Arc::new(Strict::new(clock, &PLAIN));
        let gateway = gateway(root, &PLAIN, clock, &provider)?;
        let scopes = gateway.live.read().callers.anonymous.scopes.clone();
        let caller = |name: &str| {
            Arc::new(Caller {
                key: KeyId::from(name),
                name: name.into(),
                team: None,
                scopes: scopes.clone(),
                budgets: Vec::new(),
                virtual_key: None,
            })
        };
        let (many, few) = (caller("many"), caller("few"));
        let mut crowd = JoinSet::new();
        for size in sizes(2_560_000).into_iter().take(256) {
            let (gateway, caller) = (Arc::clone(&gateway), Arc::clone(&many));
            crowd.spawn_local(async move { Box::pin(ask(&gateway, Some(caller), body(size, None))).await });
        }
        // They are there first.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let began = clock.now();
        let ended = Rc::new(Mutex::new(Duration::ZERO));
        let mut four = JoinSet::new();
        for size in [10_000, 12_000, 8_000, 10_000] {
            let (gateway, caller, ended) = (Arc::clone(&gateway), Arc::clone(&few), Rc::clone(&ended));
            four.spawn_local(async move {
                let done = Box::pin(ask(&gateway, Some(caller), body(size, None))).await;
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = clock.now().since(began);
                done
            });
        }
        while let Some(done) = four.join_next().await {
            if !done.unwrap_or(false) {
                return Err("one of the four was not served".to_owned());
            }
        }
        crowd.abort_all();
        let last = *ended.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(last.saturating_sub(Duration::from_secs(PLAIN.reply)))
    })
}

/// Tokens and seconds of a proof are far below what a float holds exactly.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
pub(super) const fn figure(number: u64) -> f64 {
    number as f64
}
