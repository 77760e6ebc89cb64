//! `witgate run` and `witgate runs`: an experiment carried out in this process, and a look at others.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::experiment::{self, Experiment, Finish, ModelProgress, Progress, RunFolder, Wanted, Worker, for_run};
use crate::id::GroupName;
use crate::limits::{Dimension, LimitStore};
use crate::money::NanoUsd;
use crate::snapshot::Snapshot;
use crate::telemetry::{LogFormat, init_log};

use super::ask::event_loop;
use super::experiment::{assembler, planned};
use super::{environment, fail, say, serve};

/// How often progress is told where nobody looks on, and where somebody does.
const TOLD_EVERY: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];
/// The exit code of a run that is not done.
const NOT_DONE: u8 = 3;

/// Whether it is one of several.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Carry it out together with others of the same command, here or on other machines, through the configuration's `database_url`.
    #[arg(long)]
    worker: bool,
    /// After so many seconds without a sign of a worker, others take what it held.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "worker", value_parser = clap::value_parser!(u64).range(2..=86_400))]
    lease: u64,
}

/// What `witgate run` is told.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The experiment.
    file: PathBuf,
    /// Another configuration of the gateway than the one it names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another folder of results than the one it names.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Ask those again that failed before.
    #[arg(long)]
    retry_failed: bool,
    /// Go on in the background, whatever becomes of this terminal; what would be said goes into `run.log` among the results.
    #[arg(long)]
    detach: bool,
    /// Go on though the plan is not feasible: what cannot be answered ends among the failures.
    #[arg(long)]
    anyway: bool,
    #[command(flatten)]
    workers: WorkerArgs,
    /// What is logged beside progress, as for `serve`.
    #[arg(long, default_value = "warn", env = "WITGATE_LOG")]
    log: String,
}

/// Carries an experiment out, or on.
pub(super) fn run(arguments: &RunArgs) -> ExitCode {
    let _log = init_log(LogFormat::Text, &arguments.log);
    let mut found = match experiment::load(&arguments.file, arguments.config.as_deref(), &environment) {
        Ok(found) => found,
        Err(problems) => return fail(problems),
    };
    if let Some(output) = &arguments.output {
        found.file.output.value.clone_from(output);
    }
    let done = if arguments.detach { detached(&found, arguments) } else { carried_out(&found, arguments) };
    done.unwrap_or_else(fail)
}

/// The same command in a process of its own, which no terminal ends.
fn detached(found: &Experiment, arguments: &RunArgs) -> Result<ExitCode, String> {
    let output = &found.file.output.value;
    let failed = |fault: std::io::Error| format!("{}: {fault}", output.display());
    let program = std::env::current_exe().map_err(|fault| fault.to_string())?;
    // Beside the folder's state, which a folder of results begins with: one with a log alone would be taken for somebody else's. What is
    // not feasible is said here, and not where nobody looks.
    let folder = opened(found, arguments, false, Clock::system())?;
    plan_first(found, &folder, arguments)?;
    drop(folder);
    let log = std::fs::File::options().create(true).append(true).open(output.join("run.log")).map_err(failed)?;
    let again = log.try_clone().map_err(failed)?;
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let child = std::process::Command::new(program)
        .args(words)
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(again)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    say(format_args!(
        "process {} goes on in the background; `witgate runs {}` tells how far it is, `kill {}` stops it as Ctrl-C would",
        child.id(),
        output.display(),
        child.id()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The run's folder: this process's own, or one of several workers'.
fn opened(found: &Experiment, arguments: &RunArgs, retry_failed: bool, clock: Clock) -> Result<RunFolder, String> {
    let output = &found.file.output.value;
    if !arguments.workers.worker {
        return RunFolder::open(found, output, retry_failed, clock.now());
    }
    let Some(url) = found.settings.ledger.as_ref().and_then(|ledger| ledger.server.clone()) else {
        return Err("workers meet in a Postgres server, and the configuration names none\n\
             hint: general_settings: {database_url: os.environ/DATABASE_URL}"
            .to_owned());
    };
    if let Some(budget) = &found.file.budget {
        let at = &budget.at;
        return Err(format!(
            "{}:{}:{}: this budget is kept by one process, and workers are several\n\
             hint: leave it out and give the gateway's configuration a budget, which Redis shares",
            at.file, at.line, at.column
        ));
    }
    if found.settings.shared_limits.is_none() {
        tracing::warn!("the configuration names no Redis server: each worker takes every limit for its own");
    }
    let name = format!("{}-{}-{:08x}", host(), std::process::id(), chance() >> 32);
    let worker = Worker { url, name, lease: Duration::from_secs(arguments.workers.lease) };
    RunFolder::join(found, output, worker, retry_failed)
}

/// The machine's name, for people.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default().trim();
    if name.is_empty() { "worker".to_owned() } else { name.to_owned() }
}

/// A number that no other process has.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Plans a run that was not planned yet; one that is not feasible is not begun.
fn plan_first(found: &Experiment, folder: &RunFolder, arguments: &RunArgs) -> Result<(), String> {
    if folder.is_planned()? {
        say(format_args!("going on in {}", found.file.output.value.display()));
        return Ok(());
    }
    let plan = planned(found, &[], false, environment)?;
    say(format_args!("{plan}"));
    if !plan.feasible && !arguments.anyway {
        return Err(format!(
            "nothing was sent: {}\nhint: `witgate plan` tells what would help; --anyway goes on",
            plan.reasons.join("; ")
        ));
    }
    folder.keep_plan(&plan)
}

fn carried_out(found: &Experiment, arguments: &RunArgs) -> Result<ExitCode, String> {
    let runtime = event_loop()?;
    let clock = {
        let _entered = runtime.enter();
        Clock::system()
    };
    let output = &found.file.output.value;
    let folder = opened(found, arguments, arguments.retry_failed, clock)?;
    plan_first(found, &folder, arguments)?;
    let config = found.file.config.as_ref().map(|config| config.value.as_path());
    let state = found.settings.state_dir.clone().or_else(|| serve::state_folder(config));
    let ledger = state.map(|folder| folder.join("ledger.db"));
    let finish = runtime.block_on(async {
        // Ids of requests follow from it, and several workers begin at the same time.
        let own = if arguments.workers.worker { chance() } else { 0 };
        let assemble = assembler(found, found.file.seed.unwrap_or_default() ^ own, environment);
        let wanted = Wanted { adjust: for_run(found, ledger), upstream: None, clock };
        let gateway = assemble(wanted).map_err(|problems| problems.join("\n"))?;
        let (progress, stop) = (Arc::<Progress>::default(), CancellationToken::new());
        let teller = Teller {
            found,
            progress: &progress,
            limits: Arc::clone(&gateway.limits),
            snapshot: gateway.live.read(),
            clock,
            begun: clock.now(),
        };
        let signals = stop_on_signals(&stop)?;
        let work = Box::pin(folder.carry_on(found, gateway, Arc::clone(&progress), stop.clone()));
        let finish = tokio::select! {
            biased;
            finish = work => finish,
            never = teller.tell() => match never {},
            never = signals => match never {},
        };
        teller.print(false);
        finish
    })?;
    let done = folder.progress(found)?;
    say(match finish {
        Finish::Done => "done".to_owned(),
        Finish::Stopped => "stopped; the same command goes on".to_owned(),
        Finish::OutOfBudget => "stopped: the next request could have passed the budget".to_owned(),
        Finish::OutOfTime => "stopped: the time it may take is over".to_owned(),
    });
    let [items, answered, failed] = done;
    say(format_args!(
        "{answered} of {items} answered, {failed} failed; results and report.html in {}",
        output.display()
    ));
    Ok(if answered == items { ExitCode::SUCCESS } else { ExitCode::from(NOT_DONE) })
}

/// The first interrupt stops the run, the second ends the process.
pub(super) fn stop_on_signals(
    stop: &CancellationToken,
) -> Result<impl Future<Output = std::convert::Infallible>, String> {
    let of = |kind| signal(kind).map_err(|fault| fault.to_string());
    let (mut terminated, mut interrupted) = (of(SignalKind::terminate())?, of(SignalKind::interrupt())?);
    let mut hung_up = of(SignalKind::hangup())?;
    let (stop, watched) = (stop.clone(), std::io::stdout().is_terminal());
    Ok(async move {
        // A run may be stopping already because its time or its money is over: that is no signal.
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
                // One in the background has no terminal that could be closed.
                _ = hung_up.recv(), if watched => {}
            }
            if std::mem::replace(&mut told, true) {
                // What was answered is kept; what is under way may be asked again.
                std::process::exit(130);
            }
            say("stopping: what was sent is waited for; once more ends at once");
            stop.cancel();
        }
    })
}

/// Tells how far it is.
struct Teller<'a> {
    found: &'a Experiment,
    progress: &'a Progress,
    limits: Arc<dyn LimitStore>,
    snapshot: Arc<Snapshot>,
    clock: Clock,
    begun: crate::moment::Moment,
}

impl Teller<'_> {
    async fn tell(&self) -> std::convert::Infallible {
        let watched = std::io::stdout().is_terminal();
        let [alone, watched_every] = TOLD_EVERY;
        let mut again = false;
        loop {
            tokio::time::sleep(if watched { watched_every } else { alone }).await;
            self.print(watched && again);
            again = true;
        }
    }

    /// A line for each model and one for all; `over`: in the place of the last ones.
    fn print(&self, over: bool) {
        let models = self.progress.models();
        let mut lines: Vec<String> = models.iter().map(|(name, model)| self.line(name, model)).collect();
        lines.push(self.sum(&models));
        let place = if over { format!("\x1b[{}A\x1b[J", lines.len()) } else { String::new() };
        let mut stdout = std::io::stdout().lock();
        let _reader_left = writeln!(stdout, "{place}{}", lines.join("\n"));
    }

    fn line(&self, name: &GroupName, model: &ModelProgress) -> String {
        let waiting = model.in_flight.saturating_sub(model.sent);
        format!(
            "{:<22} {:>5}/{} answered, {} under way, {waiting} waiting{}, {} failed, ${}",
            name.as_str(),
            model.answered,
            model.items,
            model.sent,
            self.limit(name, waiting > 0),
            model.failed,
            model.cost
        )
    }

    /// What is used now, over all of the group's deployments, of the limit that is used most; and when the first of those that wait can start.
    fn limit(&self, name: &GroupName, waits: bool) -> String {
        const NAMES: [(Dimension, &str); 4] = [
            (Dimension::Tokens, "tokens"),
            (Dimension::InputTokens, "input tokens"),
            (Dimension::OutputTokens, "output tokens"),
            (Dimension::Requests, "requests"),
        ];
        let Some(group) = self.snapshot.groups.get(name) else { return String::new() };
        let now = self.clock.now();
        let scopes: BTreeSet<_> = group.deployments.iter().map(|deployment| deployment.scope).collect();
        let reports: Vec<_> = scopes.into_iter().map(|scope| self.limits.local().report(now, scope)).collect();
        let used = |(dimension, what): (Dimension, &str)| {
            let limit = reports.iter().map(|report| report.limits[dimension]).sum::<Option<u64>>()?;
            let used: u64 = reports.iter().map(|report| report.used[dimension]).sum();
            #[expect(clippy::cast_precision_loss, reason = "the share of a limit")]
            let share = used as f64 / limit.max(1) as f64;
            Some((share, format!("{used} of {limit} {what} of this window are used")))
        };
        let fullest = NAMES.into_iter().filter_map(used).max_by(|one, other| one.0.total_cmp(&other.0));
        let next = group.queue.report(now).next_start.filter(|_| waits);
        let next = next.map(|next| format!("the next starts in {:.0} s", next.since(now).as_secs_f64().ceil()));
        let told: Vec<String> = fullest.map(|(_, told)| told).into_iter().chain(next).collect();
        if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
    }

    fn sum(&self, models: &BTreeMap<GroupName, ModelProgress>) -> String {
        let all = |of: fn(&ModelProgress) -> usize| models.values().map(of).sum::<usize>();
        let (items, answered, left) = (all(|model| model.items), all(|model| model.answered), all(ModelProgress::left));
        let tokens: u64 = models.values().map(|model| model.tokens).sum();
        let cost: NanoUsd = models.values().map(|model| model.cost).chain([self.progress.for_nothing()]).sum();
        let minutes = self.clock.now().since(self.begun).as_secs_f64() / 60.0;
        let budget =
            self.found.file.budget.as_ref().map_or_else(String::new, |budget| format!(" of ${}", budget.value));
        // Each model goes at its own pace: the slowest decides.
        let slowest = models.values().filter(|model| model.left() > 0).map(|model| {
            #[expect(clippy::cast_precision_loss, reason = "items of an experiment")]
            let (done, left) = (model.answered_here as f64, model.left() as f64);
            if done > 0.0 { minutes * left / done } else { f64::INFINITY }
        });
        let eta = match slowest.fold(0.0, f64::max) {
            _ if left == 0 => String::new(),
            eta if eta.is_finite() => format!(", {:.0}–{:.0} min left", eta * 0.8, (eta * 1.25).ceil()),
            _ => ", time left not known yet".to_owned(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if minutes > 0.0 { tokens as f64 / minutes } else { 0.0 };
        format!("{:<22} {answered:>5}/{items} answered, ${cost}{budget}, {rate:.0} tokens/min{eta}", "in all")
    }
}
