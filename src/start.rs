//! Putting the parts together: the only place that knows them all. Nothing is decided here.

mod alerts;
mod date;
mod kept_keys;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::background_thread::BackgroundThread;
use crate::budgets::{Budgets, SpendReader};
use crate::clock::Clock;
use crate::config::{LedgerSettings, SharedLimitSettings};
use crate::decisions::{Decisions, default_folder};
use crate::embedding;
use crate::http::HttpUpstream;
use crate::id::{DeploymentId, GroupName};
use crate::judge;
use crate::limits::LimitStore;
use crate::pipeline::{AskedAgain, BlockingPool, Embedded, Embeddings, Gateway, Judged, Judging, Recorder, Seeds};
use crate::policy::{DecisionLog, Engine, EngineOptions};
use crate::provider::simulated::Simulated;
use crate::queue::CapacityNotify;
use crate::record::Record;
use crate::reload::{Builder, Environment, Providers, Reloader, SharedState, Sources, Target, restore_breakers};
use crate::shared_limits::{Server, SharedLimits, VectorStore};
use crate::snapshot::{Live, Snapshot};
use crate::store::{Ledger, Place};
use crate::telemetry::{self, DroppedLines, Metrics};
use crate::tokens;
use crate::upstream::Upstream;

use alerts::Alerts;

/// What a gateway is started with.
pub struct Options {
    /// Where configuration and policies come from.
    pub sources: Sources,
    /// How policies are compiled, kept and bounded.
    pub engine: EngineOptions,
    /// Reads an environment variable.
    pub environment: Environment,
    /// The one clock.
    pub clock: Clock,
    /// The one seed.
    pub seed: u64,
    /// What the log could not write, for the metrics.
    pub dropped_lines: DroppedLines,
}

/// A gateway that serves, and keeps itself up to date until it is dropped.
pub struct Running {
    /// The pipeline.
    pub gateway: Arc<Gateway>,
    /// What it has counted.
    pub metrics: Arc<Metrics>,
    /// The watching thread.
    pub reloader: Reloader,
    /// The thread on which replies are judged.
    pub judges: BackgroundThread,
    /// The thread on which vectors of questions are made.
    pub embedder: BackgroundThread,
}

/// A gateway that serves but does not look for changes.
pub struct Assembled {
    /// The pipeline.
    pub gateway: Arc<Gateway>,
    /// What it has counted.
    pub metrics: Arc<Metrics>,
    /// Builds the next snapshot.
    pub builder: Builder,
}

/// Builds the first snapshot and a gateway around it. Blocks while policies compile.
///
/// # Errors
/// Every reason why nothing can be served, one text each.
pub fn assemble(options: Options, http: Arc<dyn Upstream>, blocking: BlockingPool) -> Result<Assembled, Vec<String>> {
    assemble_over(options, http, blocking, &|_, shared| Ok(Arc::clone(&shared.limits) as Arc<dyn LimitStore>))
}

/// What keeps the limits, given those that this process keeps itself.
type Store<'a> = &'a dyn Fn(&Snapshot, &SharedState) -> Result<Arc<dyn LimitStore>, String>;

fn assemble_over(
    options: Options,
    http: Arc<dyn Upstream>,
    blocking: BlockingPool,
    store: Store<'_>,
) -> Result<Assembled, Vec<String>> {
    let Options { sources, engine, environment, clock, seed, dropped_lines } = options;
    let decisions = Arc::new(Decisions::new(default_folder(&*environment)));
    let log = Arc::clone(&decisions) as Arc<dyn DecisionLog>;
    let engine =
        Engine::new(EngineOptions { decisions: Some(log), ..engine }).map_err(|problem| vec![problem.to_string()])?;
    let (shared, state) = (Arc::new(SharedState::default()), sources.state.clone());
    let simulated = Simulated::new(clock, BTreeMap::new());
    let mut builder =
        Builder::new(engine, sources, environment, Arc::clone(&shared), Providers { http, simulated }, seed);
    let draft = builder.build(None)?;
    let mut problems = draft.problems().to_vec();
    let change = shared.budgets.change();
    let snapshot = builder.publish(&change, draft, 1, clock);
    drop(change);
    restore_breakers(&snapshot);
    problems.extend(decisions.apply(snapshot.settings.decisions.as_ref()).err());
    let ledger = ledger(&snapshot, state)?;
    if let Some(ledger) = &ledger {
        let may_be_away = snapshot.settings.ledger.as_ref().is_some_and(|told| told.may_be_away);
        take_up(ledger, &shared, clock, may_be_away)?;
    }
    // After the keys: what the process before counted for them is told to others as this one's from the first word on.
    let limits = store(&snapshot, &shared).map_err(|problem| vec![problem])?;
    let metrics = Arc::new(Metrics::new(dropped_lines));
    metrics.applied(1);
    let gateway = Arc::new(Gateway {
        live: Live::new(snapshot, Vec::new()),
        limits,
        budgets: Arc::clone(&shared.budgets),
        alarm: Arc::new(Alerts),
        capacity: CapacityNotify::default(),
        clock,
        ledger,
        recorder: Arc::new(Telemetry { metrics: Arc::clone(&metrics), decisions: Arc::clone(&decisions), clock }),
        decisions,
        seeds: Seeds::new(seed),
        slow_policies: blocking.apart(),
        shadows: blocking.apart(),
        judgements: blocking.apart(),
        judging: Judging::default(),
        embeddings: Embeddings::default(),
        sentences: blocking.apart(),
        asked_again: AskedAgain::default(),
        blocking,
        memory: Arc::default(),
        cutoff: CancellationToken::new(),
        left: TaskTracker::new(),
    });
    kept_keys::follow(&gateway);
    date::follow(&gateway);
    problems.extend(unjudged(&gateway, &gateway.live.read()));
    report(&gateway, &metrics, problems);
    Ok(Assembled { gateway, metrics, builder })
}

/// A gateway in this process that does not watch its sources, over `http`: its limits are kept where the configuration has those of
/// all gateways. Blocks while policies compile.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_here(options: Options, http: Arc<dyn Upstream>) -> Result<Assembled, Vec<String>> {
    let (clock, seed) = (options.clock, options.seed);
    let store = |snapshot: &Snapshot, shared: &SharedState| limit_store(snapshot, shared, clock, seed);
    let blocking = BlockingPool::on_threads(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let assembled = assemble_over(options, http, blocking, &store)?;
    load_encodings(&assembled.gateway.live.read())?;
    Ok(assembled)
}

/// A gateway over the network that watches its sources and keeps itself up to date. Blocks while policies
/// compile.
///
/// # Errors
/// As [`assemble`]; or files cannot be watched.
pub fn start(options: Options) -> Result<Running, Vec<String>> {
    let (clock, seed) = (options.clock, options.seed);
    let store = |snapshot: &Snapshot, shared: &SharedState| limit_store(snapshot, shared, clock, seed);
    let blocking = BlockingPool::on_threads(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let http = Arc::new(HttpUpstream::through(&*options.environment));
    let Assembled { gateway, metrics, builder } = assemble_over(options, http, blocking, &store)?;
    let swap = Swap { gateway: Arc::clone(&gateway), metrics: Arc::clone(&metrics) };
    load_encodings(&gateway.live.read())?;
    let judges = judge::start(&gateway).map_err(|problem| vec![problem])?;
    let store = gateway.live.read().settings.shared_limits.as_ref().map(server);
    let store = store.map(|server| VectorStore::new(&server, clock)).transpose().map_err(|problem| vec![problem])?;
    let embedder = embedding::start(&gateway, store).map_err(|problem| vec![problem])?;
    let reloader = Reloader::start(builder, swap, clock).map_err(|problem| vec![problem])?;
    Ok(Running { gateway, metrics, reloader, judges, embedder })
}

/// What keeps the limits: a server that several gateways share, where the configuration names one, else this process.
fn limit_store(
    snapshot: &Snapshot,
    shared: &SharedState,
    clock: Clock,
    seed: u64,
) -> Result<Arc<dyn LimitStore>, String> {
    let limits = Arc::clone(&shared.limits);
    let Some(told) = &snapshot.settings.shared_limits else { return Ok(limits) };
    let server = server(told);
    // Another at every start: two gateways that were given one seed are still two.
    let name = format!("{:x}-{}-{seed:x}", clock.now().as_nanos(), std::process::id());
    Ok(Arc::new(SharedLimits::start(limits, &shared.budgets, clock, &server, name, told.refuse)?))
}

/// Where the server is that gateways share.
fn server(told: &SharedLimitSettings) -> Server {
    let SharedLimitSettings { url, host, port, username, password, database, tls, .. } = told.clone();
    Server { url, host, port, username, password, database, tls }
}

/// The ledger, where one is to be kept. `state` is the folder the process keeps state in by default.
fn ledger(snapshot: &Snapshot, state: Option<PathBuf>) -> Result<Option<Arc<Ledger>>, Vec<String>> {
    let settings = &snapshot.settings;
    let implied = settings.need_a_ledger();
    let Some(told) = settings.ledger.clone().or_else(|| implied.then(LedgerSettings::default)) else {
        return Ok(None);
    };
    let (implied, may_be_away) = (settings.ledger.is_none(), told.may_be_away);
    let folder = settings.state_dir.clone().or(state);
    match place(told, folder.clone()) {
        Ok(place) => {
            let opened = match &place {
                Place::Server(url) => Ledger::connect_beside(url, may_be_away, folder.as_deref()),
                place @ Place::File(_) => place.write(),
            };
            opened.map(|ledger| Some(Arc::new(ledger))).map_err(|problem| vec![problem])
        }
        Err(_nowhere) if implied => {
            tracing::warn!(
                "there is no folder of state, so that budgets begin anew at each start; set `witgate.ledger.file`"
            );
            Ok(None)
        }
        Err(problem) => Err(vec![problem]),
    }
}

/// The keys that are kept, and what was spent before. Blocks.
fn take_up(ledger: &Arc<Ledger>, shared: &SharedState, clock: Clock, may_be_away: bool) -> Result<(), Vec<String>> {
    shared.budgets.read_from(spend_reader(ledger, &shared.budgets));
    match shared.keys.take_up(ledger.keys(), || clock.now()) {
        Err(why) if may_be_away => {
            tracing::error!(why, "the database is away: keys that it alone knows are refused until it answers");
            shared.keys.await_kept();
            Ok(())
        }
        loaded => loaded.map(drop).map_err(|why| vec![why]),
    }
}

/// What reads what was spent before; as long as not all of it could be, a thread tries again.
fn spend_reader(ledger: &Arc<Ledger>, budgets: &Arc<Budgets>) -> SpendReader {
    let (written, read) = (Arc::clone(ledger), Arc::clone(ledger));
    let (budgets, trying) = (Arc::downgrade(budgets), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&trying);
    let tell = move |why: &String| {
        if !told.load(Ordering::Acquire) {
            tracing::error!(why, "what was spent before is not known, and counts as nothing until it can be read");
        }
    };
    let tell_too = tell.clone();
    SpendReader {
        catch_up: Box::new(move || written.wait_until_written().inspect_err(&tell).is_ok()),
        sum: Box::new(move |scope, span, without| read.spent(scope, span, without).inspect_err(&tell_too).ok()),
        falls_short: Box::new(move || {
            if !trying.swap(true, Ordering::AcqRel) {
                read_until_known(budgets.clone(), Arc::clone(&trying));
            }
        }),
    }
}

/// Asks, on a thread of its own, until it is told or there is nobody left to ask for.
fn read_until_known(budgets: Weak<Budgets>, trying: Arc<AtomicBool>) {
    let trying_again = Arc::clone(&trying);
    let ask = move || {
        loop {
            std::thread::sleep(READ_AGAIN);
            let Some(budgets) = budgets.upgrade() else { return };
            if budgets.read_again() {
                trying.store(false, Ordering::Release);
                // Of others that could not be read in that moment nobody was told: whoever finds them begins anew.
                budgets.read_again();
                tracing::info!("what was spent before is known now, and counts");
                return;
            }
        }
    };
    if let Err(fault) = std::thread::Builder::new().name("spent".to_owned()).spawn(ask) {
        trying_again.store(false, Ordering::Release);
        tracing::error!(%fault, "no thread to read on what was spent before");
    }
}

/// Where the ledger is: with the server that is named, or in the file that is, else in the folder of state.
///
/// # Errors
/// Both are named, or there is no folder.
pub fn place(told: LedgerSettings, state: Option<PathBuf>) -> Result<Place, String> {
    match (told.server, told.file) {
        (Some(_), Some(_)) => Err("the ledger has a file and a database\nhint: keep one of `witgate.ledger.file` and `general_settings.database_url`".to_owned()),
        (Some(server), None) => Ok(Place::Server(server)),
        (None, Some(file)) => Ok(Place::File(file)),
        (None, None) => {
            let folder = state.ok_or("there is no folder for the ledger\nhint: name a file with `witgate.ledger.file`")?;
            Ok(Place::File(folder.join("ledger.db")))
        }
    }
}

/// Loads, on a thread of its own, the encodings that limits and policies will want counted with. Without either nothing
/// is counted and nothing is loaded.
fn load_encodings(snapshot: &Snapshot) -> Result<(), Vec<String>> {
    let all = snapshot.settings.global_limits.limits_tokens();
    let mut models = BTreeSet::new();
    for group in snapshot.groups.values() {
        let candidate = group.rollout.as_ref().map(|rollout| rollout.candidate());
        let exact = all || group.router.iter().chain(candidate).any(|router| router.needs().exact_tokens);
        let counted = group.config.deployments.iter().filter(|deployment| exact || deployment.limits.limits_tokens());
        models.extend(counted.map(|deployment| deployment.model.clone()));
    }
    if models.is_empty() {
        return Ok(());
    }
    let load = move || models.iter().for_each(|model| tokens::load(model));
    let spawned = std::thread::Builder::new().name("encodings".to_owned()).spawn(load);
    spawned.map(drop).map_err(|fault| vec![format!("no thread to load encodings on: {fault}")])
}

/// Records go to the log, the metrics and the decisions.
struct Telemetry {
    metrics: Arc<Metrics>,
    decisions: Arc<Decisions>,
    clock: Clock,
}

impl Recorder for Telemetry {
    fn begun(&self) {
        self.metrics.begun();
    }

    fn ended(&self, record: &Record) {
        telemetry::write(record, &self.metrics);
        self.decisions.ended(record);
    }

    fn worth(&self, group: &GroupName, deployment: &DeploymentId, quality: f32) {
        self.metrics.worth(group, deployment, quality);
        self.metrics.lately.worth(self.clock.now(), group, deployment, quality);
    }

    fn judged(&self, group: &GroupName, what: Judged) {
        self.metrics.judged(group, what.as_str());
    }

    fn embedded(&self, group: &GroupName, what: Embedded) {
        self.metrics.embedded(group, what.as_str());
    }
}

/// Where reloads go.
struct Swap {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
}

impl Target for Swap {
    fn current(&self) -> Arc<Snapshot> {
        self.gateway.live.read()
    }

    fn applied(&self, snapshot: Snapshot, mut problems: Vec<String>) {
        let generation = snapshot.generation;
        if let Err(told) = load_encodings(&snapshot) {
            tracing::warn!("{}", told.join("; "));
        }
        problems.extend(self.beside(&snapshot));
        let changed = snapshot.rollouts.generations.changed(generation).join("; ");
        self.gateway.live.publish(snapshot);
        self.metrics.applied(generation);
        self.gateway.capacity.notify();
        tracing::info!(generation, changed, "a new generation of configuration and policies is in force");
        report(&self.gateway, &self.metrics, problems);
    }

    fn unchanged(&self, mut problems: Vec<String>) {
        problems.extend(self.beside(&self.current()));
        report(&self.gateway, &self.metrics, problems);
    }

    fn kept(&self, mut problems: Vec<String>) {
        tracing::error!("the last change was not applied; the old state serves on");
        let known = self.gateway.live.problems();
        // Whoever made it is told why, though it is what kept the change before it from being applied, too.
        if problems.iter().all(|problem| known.contains(problem)) {
            told::log_new(&[], &problems);
        }
        problems.extend(self.beside(&self.current()));
        report(&self.gateway, &self.metrics, problems);
    }
}

impl Swap {
    /// What is wrong in a gateway that serves `snapshot`, whatever was built: it stands until it is mended.
    fn beside(&self, snapshot: &Snapshot) -> Vec<String> {
        let unkept = self.gateway.decisions.apply(snapshot.settings.decisions.as_ref()).err();
        unkept.into_iter().chain(unjudged(&self.gateway, snapshot)).collect()
    }
}

/// Why nothing is judged that is to be.
fn unjudged(gateway: &Gateway, snapshot: &Snapshot) -> Option<String> {
    let lacks = snapshot.settings.judges() && gateway.ledger.is_none();
    lacks.then(|| {
        "replies are not judged: verdicts are kept in the ledger, which is opened at a start and was not needed then\nhint: set `witgate.ledger.file` and start the gateway again".to_owned()
    })
}

/// The last build's complaints, for the log, the gauge and whoever asks.
fn report(gateway: &Gateway, metrics: &Metrics, problems: Vec<String>) {
    metrics.reload_ok(problems.is_empty());
    told::log_new(&gateway.live.problems(), &problems);
    gateway.live.set_problems(problems);
}

/// How long is waited before a ledger that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// How long requests under way may take to finish once a simulated provider is stopped.
pub const GRACE: Duration = Duration::from_secs(30);
