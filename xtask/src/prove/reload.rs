//! `cargo xtask prove reload`: a policy that counts every outcome is swapped again and again under load, over real
//! sockets, with bad files and changed and broken configurations in between. Nothing may fail, get lost, or be
//! decided by the wrong one; the price in tail latency is shown beside the same load with no swaps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use witgate::clock::Clock;
use witgate::pipeline::Gateway;
use witgate::policy::{Compiler, Digest, EngineOptions, Router};
use witgate::reload::{ConfigSource, PolicySource, Sources};
use witgate::server::{self, App, HttpService, Server};
use witgate::start::{self, Options, Running};
use witgate::telemetry::{DroppedLines, Metrics};

use super::crowd::{self, CLIENTS, Seen, UNTIMED, Word};
use super::folder::{Bad, Folder};
use crate::bench::upstream::Upstream;
use crate::bench::watch::now;
use crate::bench::{median, percentile};
use crate::say;

/// Windows with swaps, each with one without beside it.
const PAIRS: usize = 5;
/// The group all clients ask.
const GROUP: &str = "paced";
/// How long a change may take to be seen, and the last outcome to be counted.
const PATIENCE: Duration = Duration::from_secs(10);
/// How the metrics tell that the last build was not put in force.
const NOT_APPLIED: &str = "witgate_reload_ok 0";
/// The goal for the tail under swaps, a ratio to the tail without.
const TAIL: f64 = 1.25;
/// Above this it fails: on a machine that does much else one pair of windows differs by as much with no swaps at all.
const MOST_TAIL: f64 = 1.5;
/// Swaps from which on the windows are long enough for their tails to be judged.
const JUDGED: usize = 25;

/// A gateway in this process, with what is needed to bother it.
struct Scene {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    folder: Folder,
    word: Arc<Word>,
    upstream: Upstream,
    address: SocketAddr,
    /// Dropping these ends them.
    _reloader: witgate::reload::Reloader,
    _runtime: tokio::runtime::Runtime,
}

/// What was done to it.
#[derive(Debug, Default)]
struct Done {
    swaps: usize,
    bad_policies: usize,
    bad_configs: usize,
    configs: usize,
}

/// Proves it, or says what is wrong.
pub(super) fn prove(root: &Path, swaps: usize) -> Result<(), String> {
    let scene = Scene::set(root)?;
    let (address, word) = (scene.address, Arc::clone(&scene.word));
    let crowd = std::thread::Builder::new().name("crowd".to_owned()).spawn(move || crowd::run(address, &word));
    let crowd = crowd.map_err(|problem| format!("no thread for the clients: {problem}"))?;
    let mut done = Done::default();
    let played = scene.play(swaps, &mut done);
    scene.word.over.store(true, Ordering::Release);
    let seen = crowd_saw(crowd)?;
    // What clients saw explains why the play stopped, so it comes first.
    let failures: Vec<&String> = seen.iter().flat_map(|client| &client.failures).collect();
    if let Some(first) = failures.first() {
        return Err(format!("{} failures, the first: {first}", failures.len()));
    }
    played?;
    scene.judge(&seen, &done)
}

fn crowd_saw(crowd: JoinHandle<Result<Vec<Seen>, String>>) -> Result<Vec<Seen>, String> {
    crowd.join().map_err(|_| "the clients' thread panicked".to_owned())?
}

impl Scene {
    fn set(root: &Path) -> Result<Self, String> {
        let upstream = Upstream::start()?;
        let folder = Folder::new(root, upstream.address)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|problem| problem.to_string())?;
        let options = Options {
            sources: Sources {
                config: ConfigSource::File(folder.config()),
                policies: PolicySource::Folder(folder.policies()),
                host: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port: Some(0),
                ..Sources::default()
            },
            engine: EngineOptions {
                cache_dir: Some(folder.cache()),
                compiler: Compiler::InProcess,
                ..EngineOptions::default()
            },
            environment: Arc::new(|_| None),
            clock: Clock::system(),
            seed: 1,
            dropped_lines: DroppedLines::default(),
        };
        let (running, listening) = runtime.block_on(async {
            let running = start::start(options).map_err(|problems| problems.join("\n"))?;
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
            let listening = server::listen(address).await.map_err(|problem| problem.to_string())?;
            Ok::<_, String>((running, listening))
        })?;
        let Running { gateway, metrics, reloader, .. } = running;
        let address = listening.address;
        let app = Arc::new(App {
            gateway: Arc::clone(&gateway),
            metrics: Arc::clone(&metrics),
            batches: Arc::new(witgate::batch::Batches::new(Arc::clone(&gateway), None)),
            stored: server::StoredReplies::default(),
            draining: AtomicBool::new(false),
        });
        let forever = std::future::pending();
        let workers = NonZeroUsize::MIN.saturating_add(1);
        let server =
            Server::start(listening, HttpService::gateway(app), workers).map_err(|problem| problem.to_string())?;
        runtime
            .spawn(server.serve(forever, std::future::pending(), || witgate::server::Stopping::within(Duration::ZERO)));
        let deciders = [0, 1].map(|index| format!("counting@{}", Digest::of(&folder.policies[index]).short()));
        let word = Arc::new(Word {
            phase: AtomicU64::new(0),
            window: AtomicUsize::new(UNTIMED),
            over: AtomicBool::new(false),
            deciders,
        });
        Ok(Self { gateway, metrics, folder, word, upstream, address, _reloader: reloader, _runtime: runtime })
    }

    /// Pairs of a window with swaps and one without, as long as each other.
    fn play(&self, swaps: usize, done: &mut Done) -> Result<(), String> {
        let pairs = PAIRS.min(swaps).max(1);
        std::thread::sleep(Duration::from_millis(500));
        for pair in 0..pairs {
            let share = swaps * (pair + 1) / pairs - swaps * pair / pairs;
            let start = now();
            self.word.window.store(2 * pair + 1, Ordering::Release);
            for _ in 0..share {
                self.bother(done)?;
                self.swap(done)?;
            }
            let took = start.elapsed();
            self.word.window.store(2 * pair + 2, Ordering::Release);
            std::thread::sleep(took);
            self.word.window.store(UNTIMED, Ordering::Release);
        }
        Ok(())
    }

    /// Puts the other policy in place and waits until it decides.
    fn swap(&self, done: &mut Done) -> Result<(), String> {
        let next = (done.swaps + 1) % 2;
        self.word.phase.fetch_add(1, Ordering::AcqRel);
        self.folder.put_policy(&self.folder.policies[next])?;
        let decider = &self.word.deciders[next];
        self.wait(&format!("swap {}: {decider} to decide", done.swaps + 1), || self.decider() == *decider)?;
        self.word.phase.fetch_add(1, Ordering::AcqRel);
        done.swaps += 1;
        Ok(())
    }

    /// Every third swap comes after a bad policy, every fifth after another configuration, every tenth of those after
    /// a broken one.
    fn bother(&self, done: &mut Done) -> Result<(), String> {
        let before = self.decider();
        if done.swaps % 3 == 1 {
            let bad = Bad::ALL[done.bad_policies % Bad::ALL.len()];
            self.folder.put_bad(bad)?;
            self.wait(&format!("a {bad:?} policy to be reported"), || !self.gateway.live.problems().is_empty())?;
            done.bad_policies += 1;
        }
        if done.swaps % 10 == 2 {
            self.folder.put_bad_config()?;
            let reported = || self.metrics.render(Vec::new()).is_ok_and(|text| text.contains(NOT_APPLIED));
            self.wait("a broken configuration to be reported", reported)?;
            done.bad_configs += 1;
        }
        if done.swaps % 5 == 2 {
            let generation = self.gateway.live.read().generation;
            self.folder.put_config(done.configs + 1)?;
            self.wait("another configuration to be in force", || self.gateway.live.read().generation > generation)?;
            done.configs += 1;
        }
        if self.decider() != before {
            return Err(format!("{before} decided, and {} does without having been put in place", self.decider()));
        }
        Ok(())
    }

    fn wait(&self, what: &str, come: impl Fn() -> bool) -> Result<(), String> {
        let start = now();
        while !come() {
            if start.elapsed() > PATIENCE {
                return Err(format!("waited {PATIENCE:?} for {what}; problems: {:?}", self.gateway.live.problems()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn decider(&self) -> String {
        self.gateway.live.read().groups.get(GROUP).map(|group| group.policy.to_string()).unwrap_or_default()
    }

    fn router(&self) -> Result<Arc<Router>, String> {
        let snapshot = self.gateway.live.read();
        let router = snapshot.groups.get(GROUP).and_then(|group| group.router.clone());
        router.ok_or_else(|| format!("group `{GROUP}` has no router"))
    }

    /// Outcomes the policy has counted over all its versions.
    fn counted(&self) -> Result<u64, String> {
        let saved = self.router()?.save().ok_or("the policy saved nothing")?;
        let bytes = <[u8; 8]>::try_from(saved.bytes).map_err(|_| "the saved count has not 8 bytes")?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn judge(&self, seen: &[Seen], done: &Done) -> Result<(), String> {
        let served = self.upstream.served();
        // The last streams are settled a moment after their last byte was read.
        let settled = self.wait("the last outcomes", || self.counted() == Ok(served));
        let sum = |value: fn(&Seen) -> u64| seen.iter().map(value).sum::<u64>();
        let (whole, attempts) = (sum(|client| client.whole), sum(|client| client.attempts));
        let by = [sum(|client| client.by[0]), sum(|client| client.by[1])];
        let changes = seen.iter().map(|client| client.changes).min().unwrap_or_default();
        let generation = self.gateway.live.read().generation;
        let report = self.router()?.report();
        let Done { swaps, bad_policies, bad_configs, configs } = *done;
        say(&format!("{whole} requests by {CLIENTS} clients, half streamed; 0 failed"));
        say(&format!(
            "{swaps} swaps of the policy, {configs} of the configuration, {bad_policies} bad policies, {bad_configs} bad configurations"
        ));
        say(&format!("generation {generation}; the policy's own {}", report.generation));
        say(&format!("replies by decider {by:?}; every client saw the decider change at least {changes} times"));
        say(&format!("attempts {served}, reported {attempts}, counted by the policy {}", self.counted()?));
        let tail = tails(seen);
        let pairs = PAIRS.min(swaps);
        say(&format!(
            "p99 with swaps ÷ without, median of {pairs} pairs: {tail:.2} (goal ≤ {TAIL}, fails above {MOST_TAIL})"
        ));
        settled?;
        let claims = [
            (attempts == served, "the attempts reported are those made"),
            (generation > swaps as u64, "every swap was a generation"),
            (by.iter().all(|replies| *replies > 0), "both policies decided"),
            (3 * changes >= swaps as u64, "every client saw a third of the swaps"),
            (report.faults == 0 && !report.state_refused, "no policy failed"),
            // What is no number is within no bound.
            (swaps < JUDGED || tail <= MOST_TAIL, "the tail under swaps is bounded"),
        ];
        match claims.iter().find(|(holds, _)| !holds) {
            Some((_, claim)) => Err(format!("not true: {claim}")),
            None => Ok(()),
        }
    }
}

/// The median over pairs of the 99th percentile with swaps, divided by the one without.
fn tails(seen: &[Seen]) -> f64 {
    let p99 = |window: usize| {
        let times = seen.iter().flat_map(|client| &client.times);
        let mut times: Vec<f64> = times.filter(|(of, _)| *of == window).map(|(_, time)| *time).collect();
        percentile(&mut times, 99)
    };
    let ratios = (0..PAIRS).map(|pair| p99(2 * pair + 1) / p99(2 * pair + 2));
    median(ratios.filter(|ratio| ratio.is_finite()))
}
