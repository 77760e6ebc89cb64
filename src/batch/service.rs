//! `/v1/files` and `/v1/batches`: what a gateway keeps for its clients and does for them, on a thread of its own.
//!
//! Nothing is made before a client keeps its first file. What one key keeps no other sees. Everything here blocks, but for the thread.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::carrier;
use super::keeping::{FileWanted, Keeping, Upload, not_found, told};
use super::line::served_at;
use super::order::{Order, Status, seconds};
use crate::fault::{Refusal, RefusalKind};
use crate::pipeline::Gateway;
use crate::store::{KeptBatch, KeptFile, LineCounts, Listed};

/// Batches of one key that are not at their end.
const OPEN: usize = 100;
/// Hours that a batch may be given.
const HOURS: std::ops::RangeInclusive<u64> = 1..=7 * 24;

/// The files and batches of a gateway's clients.
pub struct Batches {
    gateway: Arc<Gateway>,
    /// `None`: there is nowhere to keep them.
    folder: Option<PathBuf>,
    served: Mutex<Option<Arc<Served>>>,
    stop: CancellationToken,
    cut: CancellationToken,
    over: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and handlers share.
pub(super) struct Served {
    pub(super) keeping: Keeping,
    /// There is something to do.
    pub(super) wake: Notify,
    /// What stops each batch that is carried out.
    pub(super) running: Mutex<HashMap<String, CancellationToken>>,
}

impl Served {
    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client says of a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchWanted {
    /// The path of its lines.
    pub endpoint: String,
    /// The file they are in.
    pub input_file: String,
    /// How long it may take: `24h`.
    pub completion_window: String,
    /// Notes.
    pub metadata: Option<Map<String, Value>>,
    /// Seconds after which its files are gone.
    pub output_expires_after: Option<u64>,
}

fn internal(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(RefusalKind::Internal, format!("batches cannot be kept: {why}"))
}

impl Batches {
    /// They are kept in `folder`, or nowhere.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, folder: Option<PathBuf>) -> Self {
        let [stop, cut, over] = [(); 3].map(|()| CancellationToken::new());
        Self { gateway, folder, served: Mutex::default(), stop, cut, over, thread: Mutex::default() }
    }

    /// Goes on with what an earlier process began. Blocks.
    pub fn resume(&self) {
        let begun = self.folder.as_ref().is_some_and(|folder| Keeping::is_in(folder));
        if begun && let Err(refusal) = self.served() {
            tracing::warn!("{}", refusal.message);
        }
    }

    /// Stops: lines that were sent are waited for, all others keep for the next start.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Lines that were sent are not waited for any more either, and the ledger no longer than it takes to write what there is.
    pub fn cut(&self) {
        if let Some(ledger) = &self.gateway.ledger {
            ledger.hurry();
        }
        self.cut.cancel();
    }

    /// Waits until it has stopped, once no client is served any more. Blocks.
    pub fn finish(&self) {
        self.stop();
        self.over.cancel();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the batches ended by a fault");
        }
    }

    fn served(&self) -> Result<Arc<Served>, Refusal> {
        let mut open = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = &*open {
            return Ok(Arc::clone(served));
        }
        let folder = self.folder.as_ref().ok_or_else(|| {
            let message =
                "files and batches are kept in the folder of state, and there is none; set `witgate.state_dir`";
            Refusal::new(RefusalKind::InvalidRequest, message)
        })?;
        let keeping = Keeping::open(folder)?;
        let served = Arc::new(Served { keeping, wake: Notify::new(), running: Mutex::default() });
        let (gateway, shared) = (Arc::clone(&self.gateway), Arc::clone(&served));
        let (stop, cut, over) = (self.stop.clone(), self.cut.clone(), self.over.clone());
        let thread = std::thread::Builder::new().name("batches".to_owned());
        let thread = thread
            .spawn(move || carrier::work(&gateway, &shared, [&stop, &cut, &over]))
            .map_err(|fault| internal(&fault))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        *open = Some(Arc::clone(&served));
        Ok(served)
    }

    /// Begins a file.
    ///
    /// # Errors
    /// There is nowhere to keep it.
    pub fn begin_upload(&self, owner: &str) -> Result<Upload, Refusal> {
        self.served()?.keeping.begin_upload(owner)
    }

    /// Keeps a file that has come.
    ///
    /// # Errors
    /// It is for what no file is kept for, or cannot be kept.
    pub fn keep_upload(&self, owner: &str, upload: Upload, wanted: FileWanted) -> Result<Value, Refusal> {
        let (served, now) = (self.served()?, self.gateway.clock.now());
        served.keeping.sweep(now).map_err(|why| internal(&why))?;
        served.keeping.keep_upload(owner, self.id("file-"), upload, wanted, now).map(|file| told(&file))
    }

    /// A file of this owner.
    ///
    /// # Errors
    /// There is none.
    pub fn file(&self, owner: &str, id: &str) -> Result<Value, Refusal> {
        self.kept(owner, id).map(|(_, file)| told(&file))
    }

    fn kept(&self, owner: &str, id: &str) -> Result<(Arc<Served>, KeptFile), Refusal> {
        let served = self.served()?;
        let file = served.keeping.file(owner, id, self.gateway.clock.now())?;
        Ok((served, file))
    }

    /// What is in it, and its bytes.
    ///
    /// # Errors
    /// There is none.
    pub fn content(&self, owner: &str, id: &str) -> Result<(File, u64), Refusal> {
        let (served, file) = self.kept(owner, id)?;
        Ok((served.keeping.read(&file.id).map_err(|fault| internal(&fault))?, file.bytes))
    }

    /// The files of this owner.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn files(&self, owner: &str, purpose: Option<&str>, listed: &Listed<'_>) -> Result<Value, Refusal> {
        let more = Listed { limit: listed.limit + 1, ..listed.clone() };
        let found = self.served()?.keeping.files(owner, purpose, &more)?;
        Ok(page(found.iter().map(told).collect(), listed.limit))
    }

    /// Keeps a file no longer.
    ///
    /// # Errors
    /// There is none, or a batch reads it.
    pub fn delete_file(&self, owner: &str, id: &str) -> Result<Value, Refusal> {
        self.served()?.keeping.delete(owner, id, self.gateway.clock.now())?;
        Ok(json!({"id": id, "object": "file", "deleted": true}))
    }

    /// Begins a batch.
    ///
    /// # Errors
    /// What is wrong with what is wanted.
    pub fn create(&self, owner: &str, wanted: BatchWanted) -> Result<Value, Refusal> {
        let wrong = |message: String, param: &str| Refusal::new(RefusalKind::InvalidRequest, message).at(param);
        let BatchWanted { endpoint, input_file, completion_window, metadata, output_expires_after } = wanted;
        let window = hours(&completion_window).filter(|hours| HOURS.contains(hours)).ok_or_else(|| {
            let message = format!("`completion_window` is `24h`, or other hours up to {}", HOURS.end());
            wrong(message, "completion_window")
        })?;
        if served_at(&endpoint).is_none() {
            let message = "`endpoint` is /v1/chat/completions, /v1/embeddings, /v1/responses or /v1/completions";
            return Err(wrong(message.to_owned(), "endpoint"));
        }
        let (served, file) = self.kept(owner, &input_file)?;
        if file.purpose != "batch" {
            return Err(wrong("the input file has another purpose than `batch`".to_owned(), "input_file_id"));
        }
        let store = &served.keeping.store;
        let open = store.open_batches().map_err(|why| internal(&why))?;
        if open.iter().filter(|batch| batch.owner == owner).count() >= OPEN {
            let message = format!("{OPEN} batches of this key are not at their end; wait for some, or cancel them");
            return Err(Refusal::new(RefusalKind::RateLimited, message).after(std::time::Duration::from_secs(60)));
        }
        let now = self.gateway.clock.now();
        let expires_at = seconds(now) + window * 3600;
        let order =
            Order { endpoint, completion_window, expires_at, metadata, output_expires_after, ..Order::default() };
        let batch = KeptBatch {
            id: self.id("batch_"),
            owner: owner.to_owned(),
            input: file.id,
            open: true,
            created_ms: now.as_millis(),
            touched_ms: 0,
            about: order.kept(),
        };
        store.add_batch(&batch).map_err(|why| internal(&why))?;
        served.wake.notify_one();
        Ok(order.told(&batch, LineCounts::default()))
    }

    /// A batch of this owner.
    ///
    /// # Errors
    /// There is none.
    pub fn batch(&self, owner: &str, id: &str) -> Result<Value, Refusal> {
        let served = self.served()?;
        let batch = served.keeping.store.batch(id).map_err(|why| internal(&why))?;
        let batch = batch.filter(|batch| batch.owner == owner).ok_or_else(|| not_found("batch", id))?;
        shown(&served, &batch)
    }

    /// The batches of this owner, the newest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn batches(&self, owner: &str, listed: &Listed<'_>) -> Result<Value, Refusal> {
        let served = self.served()?;
        let more = Listed { limit: listed.limit + 1, ..listed.clone() };
        let found = served.keeping.store.batches(owner, &more).map_err(|why| internal(&why))?;
        let shown = found.iter().map(|batch| shown(&served, batch)).collect::<Result<_, _>>()?;
        Ok(page(shown, listed.limit))
    }

    /// Has a batch stop.
    ///
    /// # Errors
    /// There is none, or it is at its end.
    pub fn cancel(&self, owner: &str, id: &str) -> Result<Value, Refusal> {
        self.batch(owner, id)?;
        let (served, now) = (self.served()?, self.gateway.clock.now());
        let mut is = Status::Cancelling;
        let change = |about: &str| {
            let mut order = Order::of(about);
            if matches!(order.status, Status::Validating | Status::InProgress) {
                order.becomes(Status::Cancelling, now);
            }
            is = order.status;
            (order.kept(), is.is_open(), Vec::new())
        };
        served.keeping.store.change_batch(id, change).map_err(|why| internal(&why))?;
        if is != Status::Cancelling {
            let status = serde_json::to_value(is).unwrap_or_default();
            let message = format!("a batch that is {} cannot be cancelled", status.as_str().unwrap_or_default());
            return Err(Refusal { status: 409, ..Refusal::new(RefusalKind::InvalidRequest, message) });
        }
        if let Some(stop) = served.running().get(id) {
            stop.cancel();
        }
        served.wake.notify_one();
        self.batch(owner, id)
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}{}", self.gateway.new_id().to_string().replace('-', ""))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
        self.over.cancel();
    }
}

fn shown(served: &Served, batch: &KeptBatch) -> Result<Value, Refusal> {
    let order = Order::of(&batch.about);
    let counts = if order.status.is_open() {
        served.keeping.store.counts(&batch.id).map_err(|why| internal(&why))?
    } else {
        LineCounts::default()
    };
    Ok(order.told(batch, counts))
}

/// OpenAI's page, of which one more was asked for.
fn page(mut data: Vec<Value>, limit: usize) -> Value {
    let more = data.len() > limit;
    data.truncate(limit);
    let id = |one: Option<&Value>| one.and_then(|one| one.get("id")).cloned().unwrap_or_default();
    let (first, last) = (id(data.first()), id(data.last()));
    json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more})
}

/// `24h`, `1d`.
fn hours(text: &str) -> Option<u64> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()?.checked_mul(24));
    days.or_else(|| text.strip_suffix('h')?.parse().ok())
}
