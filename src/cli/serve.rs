//! `witgate serve` and `witgate simulate-provider`.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::ValueEnum;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::batch::Batches;
use crate::catalog::SimulatedModel;
use crate::clock::Clock;
use crate::limits::WindowModel;
use crate::pipeline::Gateway;
use crate::policy::{Compiler, Digest, EngineOptions};
use crate::provider::simulated::Simulated;
use crate::reload::{ConfigSource, PolicySource, Sources, keep_limits, keep_states};
use crate::server::{self, App, HttpService, Server, StoredReplies};
use crate::snapshot::Snapshot;
use crate::start::{self, GRACE, Options, Running};

use super::ask::event_loop;
use super::{ServeArgs, SimulateArgs, environment, fail, say};

/// Instances of policies, at least and at most: 10,000 groups, and 5,000 of them being swapped at once. Each takes four mappings of
/// the 65,530 that Linux gives a process; and some hundred bytes where it is not used, so that small gateways have fewer.
const INSTANCES: [u64; 2] = [2_000, 15_000];
/// No group takes fewer bytes of a configuration.
const GROUP_BYTES: u64 = 48;

/// Twice as many instances as a configuration of this size can have groups.
pub(super) fn instances(config: Option<&Path>) -> u32 {
    let bytes = config.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |about| about.len());
    let [least, most] = INSTANCES;
    u32::try_from((2 * bytes / GROUP_BYTES).clamp(least, most)).unwrap_or(u32::MAX)
}

/// Serves until a signal stops it.
pub(super) fn serve(arguments: &ServeArgs) -> ExitCode {
    let log = arguments.log.start();
    block_on(async {
        let options = Options {
            sources: Sources {
                config: arguments.config.clone().map_or(ConfigSource::BuiltIn, ConfigSource::File),
                policies: arguments.policies.clone().map_or(PolicySource::Configured, PolicySource::Folder),
                host: arguments.host,
                port: arguments.port,
                state: state_folder(arguments.config.as_deref()),
                locked: arguments.locked,
                adjust: None,
            },
            engine: EngineOptions {
                cache_dir: arguments.cache.clone().or_else(super::cache_folder),
                cache_optional: arguments.cache.is_none(),
                instances: instances(arguments.config.as_deref()),
                compiler: std::env::current_exe().map_or(Compiler::InProcess, Compiler::Child),
                ..EngineOptions::default()
            },
            environment: Arc::new(environment),
            clock: Clock::system(),
            seed: arguments.seed.unwrap_or_else(drawn),
            dropped_lines: log.dropped(),
        };
        let running = start::start(options).map_err(|problems| problems.join("\n"))?;
        serve_until_told(running, state_folder(arguments.config.as_deref()), workers(arguments.workers)).await
    })
}

/// `state`: the folder the process keeps state in by default.
async fn serve_until_told(running: Running, state: Option<PathBuf>, workers: NonZeroUsize) -> Result<(), String> {
    let Running { gateway, metrics, reloader, judges, embedder } = running;
    let snapshot = gateway.live.read();
    let settings = &snapshot.settings.server;
    let listening =
        server::listen(SocketAddr::new(settings.host, settings.port)).await.map_err(|fault| fault.to_string())?;
    let live = Arc::clone(&gateway);
    let state = snapshot.settings.state_dir.clone().or(state);
    let serving = Arc::clone(&gateway);
    let ending = move || {
        let live = serving.live.read();
        let settings = &live.settings.server;
        server::Stopping { delay: settings.shutdown_delay, grace: settings.shutdown_grace }
    };
    let batches = Arc::new(Batches::new(Arc::clone(&gateway), state.map(|folder| folder.join("batches"))));
    let app = Arc::new(App {
        gateway,
        metrics,
        stored: StoredReplies::default(),
        batches: Arc::clone(&batches),
        draining: AtomicBool::new(false),
    });
    let server = Server::start(listening, HttpService::gateway(app), workers).map_err(|fault| fault.to_string())?;
    batches.resume();
    greet(&snapshot, server.address());
    let signals = stop_signals()?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(|fault| fault.to_string())?;
    let reloads = async {
        while hang_up.recv().await.is_some() {
            reloader.reload();
        }
    };
    let stopping = async {
        told(&signals).await;
        batches.stop();
    };
    tokio::select! {
        biased;
        () = server.serve(stopping, told(&signals), ending) => {}
        () = reloads => {}
    }
    // It waits for what providers have of batches; the next signal ends that, and what is cut has its record.
    let waited_for = Arc::clone(&batches);
    let mut finished = tokio::task::spawn_blocking(move || {
        judges.finish();
        embedder.finish();
        waited_for.finish();
    });
    tokio::select! {
        biased;
        _ = &mut finished => {}
        () = told(&signals) => {
            // What is cut from now on is the gateway's doing, and recorded so.
            live.cutoff.cancel();
            batches.cut();
            drop(finished.await);
        }
    }
    close(&live, &signals).await;
    Ok(())
}

/// Writes what is to outlive the process. It is short; who cannot wait for it either may end it.
async fn close(live: &Arc<Gateway>, signals: &StopSignals) {
    // On another thread: this one hears signals.
    let closing = Arc::clone(live);
    let mut closed = tokio::task::spawn_blocking(move || {
        closing.decisions.finish();
        if let Some(ledger) = &closing.ledger {
            ledger.finish();
        }
        closing.limits.finish();
        let last = closing.live.read();
        keep_states(&last, true);
        keep_limits(&last, closing.limits.local(), closing.clock.now());
    });
    tokio::select! {
        biased;
        _ = &mut closed => return,
        () = told(signals) => {}
    }
    // What the ledger cannot be told at once waits for the next start.
    if let Some(ledger) = &live.ledger {
        ledger.hurry();
    }
    tokio::select! {
        biased;
        _ = &mut closed => {}
        () = told(signals) => std::process::exit(130),
    }
}

/// One worker for each processor by default.
fn workers(told: Option<NonZeroUsize>) -> NonZeroUsize {
    told.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// What is served, and a call that works.
fn greet(snapshot: &Snapshot, address: SocketAddr) {
    // Few enough for any pipe: whoever started it may read the first line and no other.
    const GROUPS: usize = 20;
    const DEPLOYMENTS: usize = 5;
    say(format_args!("witgate {} listening on http://{address}", env!("CARGO_PKG_VERSION")));
    for group in snapshot.groups.values().take(GROUPS) {
        let config = &group.config;
        let mut providers: Vec<String> = config
            .deployments
            .iter()
            .take(DEPLOYMENTS)
            .map(|deployment| format!("{}/{}", deployment.provider, deployment.model))
            .collect();
        if config.deployments.len() > DEPLOYMENTS {
            providers.push(format!("and {} more", config.deployments.len() - DEPLOYMENTS));
        }
        say(format_args!("  {:<24} {}   decided by {}", config.name.as_str(), providers.join(", "), group.policy));
    }
    if snapshot.groups.len() > GROUPS {
        say(format_args!("  and {} more", snapshot.groups.len() - GROUPS));
    }
    let Some(first) = snapshot.groups.keys().next() else { return };
    let model = if snapshot.groups.contains_key("simulated") { "simulated" } else { first.as_str() };
    let key = if snapshot.settings.server.master_key.is_some() { " -H \"Authorization: Bearer $KEY\"" } else { "" };
    say(format_args!(
        "try:\n  curl -N http://{address}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n    -d '{{\"model\": \"{model}\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'"
    ));
}

/// When the simulated provider forgets what it counted.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum WindowArg {
    /// Each amount counts for one window.
    Sliding,
    /// From minute to minute of the clock.
    Fixed,
    /// Refilled steadily.
    TokenBucket,
}

/// Serves the simulated provider until a signal stops it.
pub(super) fn simulate(arguments: &SimulateArgs) -> ExitCode {
    let _log = arguments.log.start();
    let model = SimulatedModel {
        seed: arguments.seed,
        ttft_ms: arguments.ttft_ms,
        ttft_sigma: arguments.ttft_sigma,
        tokens_per_second: arguments.tokens_per_second,
        output_tokens: arguments.output_tokens,
        error_rate: arguments.error_rate,
        window: std::time::Duration::from_secs_f64(arguments.window_seconds),
        window_model: match arguments.rate_limit_window {
            WindowArg::Sliding => WindowModel::Sliding,
            WindowArg::Fixed => WindowModel::Fixed,
            WindowArg::TokenBucket => WindowModel::TokenBucket,
        },
        rpm: arguments.rpm,
        tpm: arguments.tpm,
        account: None,
        says: None,
        skill: None,
    };
    let address = SocketAddr::new(arguments.host, arguments.port);
    block_on(async {
        let listening = server::listen(address).await.map_err(|fault| fault.to_string())?;
        let simulated =
            Arc::new(Simulated::new(Clock::system(), BTreeMap::from([("simulated".into(), Arc::new(model))])));
        let service = HttpService::simulated(simulated);
        let server = Server::start(listening, service, workers(None)).map_err(|fault| fault.to_string())?;
        say(format_args!("simulated provider listening on http://{}", server.address()));
        let signals = stop_signals()?;
        server.serve(told(&signals), told(&signals), || server::Stopping::within(GRACE)).await;
        Ok(())
    })
}

/// Runs what listens and waits for signals; requests are served by the workers.
fn block_on(work: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = match event_loop() {
        Ok(runtime) => runtime,
        Err(problem) => return fail(problem),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(problem),
    }
}

/// The signals that stop: an interrupt and a termination. None is missed from here on.
type StopSignals = Mutex<[Signal; 2]>;

fn stop_signals() -> Result<StopSignals, String> {
    let of = |kind| signal(kind).map_err(|fault| fault.to_string());
    Ok(Mutex::new([of(SignalKind::terminate())?, of(SignalKind::interrupt())?]))
}

/// Completes at the next of them: the first to wait gets the first.
async fn told(signals: &StopSignals) {
    let mut signals = signals.lock().await;
    let [terminated, interrupted] = &mut *signals;
    tokio::select! {
        biased;
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
}

/// A number from the operating system: the standard library's hash keys are drawn from it.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The default folder of what outlives the process: one for each configuration, since groups and policies of different ones may
/// have the same names.
pub(super) fn state_folder(config: Option<&Path>) -> Option<PathBuf> {
    let own = match config {
        Some(path) => Digest::of(std::path::absolute(path).ok()?.as_os_str().as_encoded_bytes()).short(),
        None => "built-in".to_owned(),
    };
    states().map(|folder| folder.join(own))
}

/// The folder that all of these are in.
pub(super) fn states() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    base.is_absolute().then(|| base.join("witgate"))
}
