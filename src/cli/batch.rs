//! `witgate batch`: a file of requests answered in this process.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::batch::{Finish, Progress, Rules, Runner, check, write_outcomes};
use crate::clock::Clock;
use crate::experiment::{Wanted, ledger_in, patient};
use crate::moment::Moment;
use crate::pipeline::Gateway;
use crate::reload::Adjust;
use crate::store::{BatchStore, KeptBatch};
use crate::telemetry::{LogFormat, init_log};

use super::ask::event_loop;
use super::experiment::gateway;
use super::run::stop_on_signals;
use super::{environment, fail, say, serve};

#[derive(Debug, Args)]
pub(super) struct BatchArgs {
    /// The requests: `custom_id`, `method`, `url` and `body` in each line.
    input: PathBuf,
    /// Where the replies go, in the order of the requests. Its state is kept beside it, in a file that ends in `.state`.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The gateway's configuration; the built-in one unless given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask those again that failed before.
    #[arg(long)]
    retry_failed: bool,
    /// Requests of one model in flight at once.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: u16,
    /// What is logged beside progress, as for `serve`.
    #[arg(long, default_value = "warn", env = "WITGATE_LOG")]
    log: String,
}

/// The exit code where a line has no answer.
const NOT_DONE: u8 = 3;
/// How often progress is told where nobody looks on, and where somebody does.
const TOLD_EVERY: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];
/// Beyond the window, what clocks and the way to a provider may differ by.
const SLACK: Duration = Duration::from_secs(1);
/// Problems that are told one by one.
const TOLD: u64 = 1000;
/// The one batch of a state file.
const BATCH: &str = "batch";

/// Answers a file, or goes on with it.
pub(super) fn batch(arguments: &BatchArgs) -> ExitCode {
    let _log = init_log(LogFormat::Text, &arguments.log);
    answered(arguments).unwrap_or_else(fail)
}

/// The state of a batch, which no other process has meanwhile.
struct Kept {
    store: BatchStore,
    path: PathBuf,
    digest: String,
    /// When it was last at work; `None`: its lines are not known yet.
    touched: Option<Moment>,
    _lock: File,
}

impl Kept {
    fn open(arguments: &BatchArgs, input: &File) -> Result<Self, String> {
        let output = &arguments.output;
        let mut path = output.clone().into_os_string();
        path.push(".state");
        let path = PathBuf::from(path);
        if output.exists() && !path.exists() {
            return Err(taken(output));
        }
        // Held to the end: SQLite's own locks of the file would go with it.
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|fault| format!("{}: {fault}", path.display()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("{}: another process carries this batch on", path.display()))?;
        let store = BatchStore::open(&path)?;
        let digest = digest(input).map_err(|fault| format!("{}: {fault}", arguments.input.display()))?;
        let touched = match store.batch(BATCH)? {
            Some(known) if known.about == digest => Some(Moment::from_millis(known.touched_ms)),
            Some(_) => {
                return Err(format!(
                    "{}: replies to another file, or this one has changed since\nhint: name another file with -o",
                    output.display()
                ));
            }
            None if output.exists() => return Err(taken(output)),
            None => {
                store.forget_lines(BATCH)?;
                None
            }
        };
        Ok(Self { store, path, digest, touched, _lock: lock })
    }

    /// Reads every line. With any problem nothing is left.
    fn check(&self, input: &File, gateway: &Gateway) -> Result<(), String> {
        let snapshot = gateway.live.read();
        let master = Arc::clone(&snapshot.callers.master);
        let rules = Rules {
            endpoint: None,
            most: None,
            longest: snapshot.settings.server.max_request_bytes,
            known: &|model| gateway.known_model(&master, model),
            given_up: &|| false,
        };
        let mut problems = 0_u64;
        check(input, &self.store, BATCH, &rules, &mut |problem| {
            problems += 1;
            if problems <= TOLD {
                let place = problem.line.map_or_else(String::new, |line| format!("line {line}: "));
                let field = problem.param.map_or_else(String::new, |field| format!("`{field}`: "));
                let _told = fail(format_args!("{place}{field}{}", problem.message));
            }
        })?;
        if problems > 0 {
            for end in ["", "-wal", "-shm"] {
                let mut file = self.path.clone().into_os_string();
                file.push(end);
                drop(std::fs::remove_file(file));
            }
            let more = if problems > TOLD { format!(", {} of them not told", problems - TOLD) } else { String::new() };
            return Err(format!("nothing was sent: {problems} problems{more}"));
        }
        self.store.add_batch(&KeptBatch {
            id: BATCH.to_owned(),
            owner: String::new(),
            input: String::new(),
            open: true,
            created_ms: gateway.clock.now().as_millis(),
            touched_ms: 0,
            about: self.digest.clone(),
        })
    }

    /// Writes what has ended, in the place of what was written before.
    fn write(&self, output: &Path) -> Result<(), String> {
        let failed = |fault: &dyn std::fmt::Display| format!("{}: {fault}", output.display());
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let aside = NamedTempFile::new_in(folder).map_err(|fault| failed(&fault))?;
        write_outcomes(&self.store, BATCH, None, &mut BufWriter::new(aside.as_file()))?;
        aside.as_file().sync_all().map_err(|fault| failed(&fault))?;
        aside.persist(output).map(drop).map_err(|fault| failed(&fault.error))
    }
}

fn taken(output: &Path) -> String {
    let output = output.display();
    format!("{output}: the file exists already, and no state of a batch beside it\nhint: name another with -o")
}

fn digest(mut input: &File) -> std::io::Result<String> {
    let (mut digest, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let bytes = input.read(&mut piece)?;
        if bytes == 0 {
            break;
        }
        digest.update(&piece[..bytes]);
    }
    std::io::Seek::rewind(&mut input)?;
    Ok(format!("{:x}", digest.finalize()))
}

fn answered(arguments: &BatchArgs) -> Result<ExitCode, String> {
    let input = File::open(&arguments.input).map_err(|fault| format!("{}: {fault}", arguments.input.display()))?;
    let runtime = event_loop()?;
    let clock = {
        let _entered = runtime.enter();
        Clock::system()
    };
    let config = arguments.config.as_deref();
    let ledger = serve::state_folder(config).map(|folder| folder.join("ledger.db"));
    let adjust = Adjust::new(move |settings| {
        let own = settings.state_dir.as_ref().map(|folder| folder.join("ledger.db"));
        let largest = settings.server.max_request_bytes;
        ledger_in(settings, own.as_deref().or(ledger.as_deref()));
        patient(settings);
        settings.server.max_request_bytes = largest;
    });
    let finish = runtime.block_on(async {
        let wanted = Wanted { adjust, upstream: None, clock };
        let gateway = Arc::new(gateway(config, wanted, 0, environment).map_err(|problems| problems.join("\n"))?);
        let kept = Kept::open(arguments, &input)?;
        match kept.touched {
            None => kept.check(&input, &gateway)?,
            Some(_) => say(format_args!("going on in {}", kept.path.display())),
        }
        if arguments.retry_failed {
            kept.store.retry_failed_lines(BATCH)?;
        }
        let finish = carried_out(arguments, &input, &gateway, &kept).await;
        if let Some(ledger) = &gateway.ledger {
            ledger.finish();
        }
        gateway.limits.finish();
        // Whatever ended it, what has ended is left behind.
        kept.write(&arguments.output)?;
        let counts = kept.store.counts(BATCH)?;
        finish.map(|finish| (finish, counts))
    });
    let (finish, counts) = finish?;
    say(match &finish {
        Finish::Done => "done".to_owned(),
        Finish::Stopped | Finish::Expired => "stopped; the same command goes on".to_owned(),
        Finish::Refused(why) => format!("stopped, since a key or an account is refused: {why}"),
    });
    let (total, answered, failed) = (counts.total, counts.answered, counts.failed);
    let output = arguments.output.display();
    say(format_args!("{answered} of {total} answered, {failed} failed; replies in {output}"));
    Ok(if answered == total { ExitCode::SUCCESS } else { ExitCode::from(NOT_DONE) })
}

async fn carried_out(
    arguments: &BatchArgs,
    input: &File,
    gateway: &Arc<Gateway>,
    kept: &Kept,
) -> Result<Finish, String> {
    let stop = CancellationToken::new();
    let signals = stop_on_signals(&stop)?;
    let progress = Progress::default();
    let caller = || Ok(Arc::clone(&gateway.live.read().callers.master));
    let before = kept.store.counts(BATCH)?;
    let most = usize::from(arguments.concurrency);
    let runner = Runner {
        gateway,
        store: &kept.store,
        batch: BATCH,
        input,
        caller: &caller,
        most,
        permits: &Semaphore::new(Semaphore::MAX_PERMITS),
        stop: &stop,
        until: None,
        stop_when_refused: true,
        progress: &progress,
    };
    let work = async {
        let left = before.total - before.answered - before.failed;
        if left > 0 && !wait_for_window(gateway, kept.touched, &stop).await {
            return Ok(Finish::Stopped);
        }
        Box::pin(runner.run()).await
    };
    let tell = async {
        let [alone, watched] = TOLD_EVERY;
        let every = if std::io::stdout().is_terminal() { watched } else { alone };
        loop {
            tokio::time::sleep(every).await;
            let [answered, failed, in_flight] = progress.lines();
            let (answered, failed) = (before.answered + answered, before.failed + failed);
            let total = before.total;
            say(format_args!(
                "{answered} of {total} answered, {in_flight} in flight, {failed} failed, ${}",
                progress.cost()
            ));
        }
    };
    tokio::select! {
        biased;
        finish = work => finish,
        () = tell => Ok(Finish::Stopped),
        never = signals => match never {},
    }
}

/// Waits until providers have forgotten what an earlier process sent within their window. Says whether to go on.
async fn wait_for_window(gateway: &Gateway, touched: Option<Moment>, stop: &CancellationToken) -> bool {
    let snapshot = gateway.live.read();
    let deployments = snapshot.groups.values().flat_map(|group| &group.deployments);
    let limited = deployments.filter(|deployment| deployment.config.limits.limits_tokens());
    let window = limited.map(|deployment| deployment.config.limits.window).max();
    let (Some(window), Some(touched)) = (window, touched.filter(|at| at.as_millis() > 0)) else { return true };
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = gateway.clock.sleep_until(touched + window + SLACK) => true,
    }
}
