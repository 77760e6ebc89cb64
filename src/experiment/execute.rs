//! A run in its folder: locked while it goes on, its items kept in a file, results written when it ends, whyever that is.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Answer, End, Experiment, Failure, Finish, Heard, Journal, Plan, Progress, Runner, left, results};
use crate::clock::Clock;
use crate::id::GroupName;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::{Gateway, Recorder};
use crate::policy::Digest;
use crate::store::{ItemState, ItemStore, Items, Paid, SharedItems};

/// The file of items.
pub(super) const STATE: &str = "state.db";
pub(super) const LOCK: &str = "lock";
/// In the place of both, in a folder of one of several workers: which run it is of, and the configuration that says where they meet.
pub(super) const SHARED: &str = "shared-run";
/// Beyond the window, what clocks and the way to a provider may differ by.
const SLACK: Duration = Duration::from_secs(1);

/// The folder of a run, which nobody else carries on meanwhile; or what one of several workers leaves behind of theirs.
pub struct RunFolder {
    path: PathBuf,
    store: Arc<dyn Items>,
    shared: Option<Arc<SharedItems>>,
    _lock: Option<File>,
}

/// One of several workers.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The server where they meet.
    pub url: SecretString,
    /// A name that no other has.
    pub name: String,
    /// How long it holds what it takes without saying that it is there.
    pub lease: Duration,
}

/// What is kept of an item, read.
pub(super) struct Kept {
    /// The item, by place.
    pub(super) item: usize,
    pub(super) state: ItemState,
    pub(super) changed: Moment,
    pub(super) end: Option<End>,
}

impl RunFolder {
    /// Opens the folder of `experiment`, making it where there is none. `retry_failed`: items that failed are asked again.
    ///
    /// # Errors
    /// It is another experiment's, another process carries it on, or it cannot be written.
    pub fn open(experiment: &Experiment, path: &Path, retry_failed: bool, now: Moment) -> Result<Self, String> {
        let shown = path.display();
        let failed = |fault: &dyn std::fmt::Display| format!("{shown}: {fault}");
        let state = path.join(STATE);
        if !state.exists() {
            must_be_empty(path)?;
        }
        std::fs::create_dir_all(path).map_err(|fault| failed(&fault))?;
        let lock = File::create(path.join(LOCK)).map_err(|fault| failed(&fault))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("{shown}: another process carries this run on"))?;
        let store = ItemStore::open(&state)?;
        let same = store.about("digest")?.is_some_and(|digest| digest == experiment.digest);
        match same {
            // Nothing was ever sent: it is nobody's yet, and its time has not begun.
            _ if !store.any_sent()? => {
                let begun = now.as_millis().to_string();
                let about = [("digest", &*experiment.digest), ("name", &experiment.file.name), ("begun_ms", &begun)];
                store.begin(&about, experiment.items.iter().map(|item| item.id.as_str()))?;
            }
            true => {}
            false => {
                let name = store.about("name")?.unwrap_or_default();
                return Err(format!(
                    "{shown} holds results of another experiment (`{name}`), or this one has changed since: its texts, prompt, models or parameters\n\
                     hint: name another folder with `output` or --output"
                ));
            }
        }
        if retry_failed {
            store.retry_failed()?;
        }
        Ok(Self { path: path.to_owned(), store: Arc::new(store), shared: None, _lock: Some(lock) })
    }

    /// Joins the workers that carry `experiment` out, as the first or a later one, and leaves in `path` what comes of it.
    ///
    /// # Errors
    /// The folder is of another run or cannot be written, or the server cannot be reached.
    pub fn join(experiment: &Experiment, path: &Path, worker: Worker, retry_failed: bool) -> Result<Self, String> {
        let shown = path.display();
        let failed = |fault: &dyn std::fmt::Display| format!("{shown}: {fault}");
        let name = &experiment.file.name;
        let run = Digest::of(json!([name, experiment.digest]).to_string().as_bytes()).to_string();
        let mark = path.join(SHARED);
        match std::fs::read_to_string(&mark) {
            Ok(other) if other.lines().next() != Some(&run) => {
                return Err(format!(
                    "{shown} holds results of another experiment, or this one has changed since\n\
                     hint: name another folder with `output` or --output"
                ));
            }
            Ok(_) => {}
            Err(_) => must_be_empty(path)?,
        }
        let items = SharedItems::open(&worker.url, run.clone(), worker.name, worker.lease)?;
        let asked = experiment.items.iter().zip(0..);
        let asked = asked.map(|(item, place)| (item.id.as_str(), experiment.run_of(place).model.as_str()));
        items.begin(&[("digest", &*experiment.digest), ("name", name)], asked)?;
        std::fs::create_dir_all(path).map_err(|fault| failed(&fault))?;
        let config = experiment.file.config.as_ref().map(|config| config.value.as_path());
        let config = config.map(|config| std::path::absolute(config).unwrap_or_else(|_| config.to_owned()));
        let config = config.map_or_else(String::new, |config| format!("{}\n", config.display()));
        results::replace(&mark, format!("{run}\n{config}").as_bytes())?;
        if retry_failed {
            items.retry_failed()?;
        }
        let items = Arc::new(items);
        Ok(Self {
            path: path.to_owned(),
            store: Arc::clone(&items) as Arc<dyn Items>,
            shared: Some(items),
            _lock: None,
        })
    }

    /// When the run was begun first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begun(&self) -> Result<Moment, String> {
        let text = self.store.about("begun_ms")?.unwrap_or_default();
        Ok(Moment::from_millis(text.parse().unwrap_or_default()))
    }

    /// Keeps the plan it was begun with; a later one is not kept.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_plan(&self, plan: &Plan) -> Result<(), String> {
        if self.store.about("plan")?.is_none() {
            let text = serde_json::to_string(plan).map_err(|fault| fault.to_string())?;
            self.store.set_about("plan", &text)?;
        }
        Ok(())
    }

    /// Whether it was planned, so that it may go on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_planned(&self) -> Result<bool, String> {
        Ok(self.store.about("plan")?.is_some())
    }

    /// What was done, in the figures of a plan.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn summary(&self, experiment: &Experiment) -> Result<Plan, String> {
        left::summary(self, experiment)
    }

    /// Items there are, those that are answered, and those that failed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn progress(&self, experiment: &Experiment) -> Result<[usize; 3], String> {
        let mut counts = [0; 3];
        self.each(experiment, &mut |kept| {
            counts[0] += 1;
            counts[1] += usize::from(kept.state == ItemState::Answered);
            counts[2] += usize::from(kept.state == ItemState::Failed);
            Ok(())
        })?;
        Ok(counts)
    }

    /// Reads every item, in order; a page of them is in memory at a time.
    pub(super) fn each(
        &self,
        experiment: &Experiment,
        each: &mut dyn FnMut(Kept) -> Result<(), String>,
    ) -> Result<(), String> {
        self.store.each(&mut |kept| {
            // They were begun in the experiment's own order.
            let is_it = |place: &usize| experiment.items.get(*place).is_some_and(|item| item.id == kept.id);
            let Some(item) = usize::try_from(kept.place).ok().filter(is_it) else { return Ok(()) };
            let outcome = kept.outcome.as_deref();
            let end = match kept.state {
                ItemState::Answered => outcome
                    .and_then(|text| serde_json::from_str::<Answer>(text).ok())
                    .map(|answer| End::Answered(Box::new(answer))),
                ItemState::Failed => {
                    outcome.and_then(|text| serde_json::from_str::<Failure>(text).ok()).map(End::Failed)
                }
                ItemState::Waiting | ItemState::Sent => None,
            };
            each(Kept { item, state: kept.state, changed: Moment::from_millis(kept.changed_ms), end })
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What keeps its items.
    pub(super) fn store(&self) -> &dyn Items {
        &*self.store
    }

    /// Carries the run on until every item has ended or it is to stop, and writes what is left behind.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub async fn carry_on(
        &self,
        experiment: &Experiment,
        mut gateway: Gateway,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Result<Finish, String> {
        let clock = gateway.clock;
        let heard = Arc::new(Heard::new(clock, Arc::clone(&gateway.recorder)));
        gateway.recorder = Arc::clone(&heard) as Arc<dyn Recorder>;
        let before = self.before(experiment, &progress)?;
        // What was paid for replies that came to nothing is in no item.
        let spent = before.spent.max(self.store.paid()?);
        progress.set_for_nothing(NanoUsd(spent.0.saturating_sub(before.spent.0)));
        // Of what others send now, limits that workers share know.
        let joins = self.shared.as_ref().map_or(Ok(false), |shared| shared.has_others())?;
        if !joins && !before.open.is_empty() && !wait_for_window(experiment, before.last, clock, &stop).await {
            return Ok(Finish::Stopped);
        }
        let calls = if self.shared.is_some() { BTreeMap::new() } else { experiment.calls(before.open.into_iter()) };
        let ids = experiment.items.iter().map(|item| item.id.clone()).collect();
        let gateway = Arc::new(gateway);
        let time = experiment.file.deadline.as_ref().map(|deadline| {
            let begun = self.begun().unwrap_or(clock.now());
            deadline.value.saturating_sub(clock.now().since(begun))
        });
        let runner = Runner {
            experiment,
            gateway: &gateway,
            heard: &heard,
            journal: Arc::new(Stored { store: Arc::clone(&self.store), ids, clock }),
            progress,
            stop,
            spent,
            time,
            planned: None,
            shared: self.shared.as_deref(),
        };
        // Whatever ended it, what is answered is left behind.
        let finish = runner.run(calls).await;
        if let Some(shared) = &self.shared
            && let Err(why) = shared.release()
        {
            tracing::warn!(why, "items without an end could not be released; others take them when the lease is over");
        }
        if let Some(ledger) = &gateway.ledger {
            ledger.finish();
        }
        gateway.limits.finish();
        let left = left::write(self, experiment, &gateway);
        let finish = finish?;
        left.map(|()| finish)
    }

    /// What there was before; each model's progress is told.
    fn before(&self, experiment: &Experiment, progress: &Progress) -> Result<Before, String> {
        let mut before = Before::default();
        self.each(experiment, &mut |kept| {
            let model: &GroupName = &experiment.run_of(kept.item).model;
            let cost = match &kept.end {
                Some(End::Answered(answer)) => answer.cost_nano_usd,
                Some(End::Failed(failure)) => failure.cost_nano_usd,
                None => None,
            };
            before.spent += cost.unwrap_or_default();
            if kept.end.is_none() {
                before.open.push(kept.item);
            }
            if kept.state != ItemState::Waiting {
                before.last = before.last.max(Some(kept.changed));
            }
            progress.update(model, |model| {
                model.items += 1;
                model.cost += cost.unwrap_or_default();
                match &kept.end {
                    Some(End::Answered(_)) => model.answered += 1,
                    Some(End::Failed(_)) => model.failed += 1,
                    None => {}
                }
            });
            Ok(())
        })?;
        Ok(before)
    }
}

/// What a run finds of itself.
#[derive(Default)]
struct Before {
    spent: NanoUsd,
    /// Items without an end, by place.
    open: Vec<usize>,
    /// When something was sent or ended last.
    last: Option<Moment>,
}

/// A folder that holds no run must hold nothing else.
fn must_be_empty(path: &Path) -> Result<(), String> {
    if path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let shown = path.display();
        return Err(format!("{shown} holds files and no such run\nhint: name an empty or new folder with `output`"));
    }
    Ok(())
}

/// Waits until providers have forgotten what an earlier process sent within their window. Says whether to go on.
async fn wait_for_window(
    experiment: &Experiment,
    last: Option<Moment>,
    clock: Clock,
    stop: &CancellationToken,
) -> bool {
    let deployments = experiment.settings.catalog.groups.values().flat_map(|group| &group.deployments);
    let limited = deployments.filter(|deployment| deployment.limits.limits_tokens());
    let Some(window) = limited.map(|deployment| deployment.limits.window).max() else { return true };
    let Some(last) = last else { return true };
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = clock.sleep_until(last + window + SLACK) => true,
    }
}

/// Keeps ends in the run's file.
struct Stored {
    store: Arc<dyn Items>,
    ids: Vec<String>,
    clock: Clock,
}

impl Journal for Stored {
    fn sent(&self, items: &[usize]) {
        let ids: Vec<&str> = items.iter().filter_map(|item| self.ids.get(*item)).map(String::as_str).collect();
        if let Err(why) = self.store.sent(&ids, self.clock.now().as_millis()) {
            tracing::error!(why, "it could not be recorded that items are sent");
        }
    }

    fn ended(&self, ends: &[(usize, End)], paid: &Paid<'_>) -> Result<(), String> {
        let mut rows = Vec::new();
        for (item, end) in ends {
            let Some(id) = self.ids.get(*item) else { continue };
            let (state, text) = match end {
                End::Answered(answer) => (ItemState::Answered, serde_json::to_string(answer)),
                End::Failed(failure) => (ItemState::Failed, serde_json::to_string(failure)),
            };
            rows.push((id.as_str(), state, text.map_err(|fault| fault.to_string())?));
        }
        self.store.ended(&rows, paid, self.clock.now().as_millis())
    }
}
