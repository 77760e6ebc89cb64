//! The ledger: one row per request and one per attempt, in a SQLite file or in Postgres, so that spend can be asked for and added up.
//!
//! Requests never wait for it: a finished record goes into a bounded channel, and a thread writes what has come, all at once,
//! at most `FLUSH` later. A clean stop writes everything; a killed process loses the requests under way and one flush. A request
//! is written once, whatever happens: its id is the key, and a batch is one transaction. What cannot be written is tried again
//! while there is room for more, and at a stop laid aside for the next start (`store/aside.rs`); what finds no room is counted and told.
//! Prompts, replies and keys are not in it.
//! Virtual keys are kept in the same place, as digests.

mod aside;
mod batches;
mod changes;
mod encrypted;
mod feedback;
mod items;
mod kept_rows;
mod keys;
mod postgres;
mod renewed;
mod schema;
mod shared_items;
mod shared_runs;
mod spend;
mod spent;
mod state_file;
mod teams;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use secrecy::SecretString;

use crate::id::RequestId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::record::Record;

use postgres::{Postgres, Writing};
use writer::{FileSink, Sink, State, Writer};

pub use batches::{BatchStore, KeptBatch, KeptFile, LineCounts, LineEnd, LinePlace, Listed};
pub use changes::Unchanged;
pub use feedback::{Earlier, Judgement, LastAttempt, Replied};
pub use items::{ItemState, ItemStore, Items, KeptItem, Paid};
pub use kept_rows::{Loaded, Unread};
pub use keys::{KeyStore, KeysVersion};
pub use shared_items::{Counts, SharedItems};
pub use shared_runs::{SeenWorker, SharedRun, shared_runs};
pub use spend::{Arrived, By, Logged, Period, Reader, Replies, Spend, Wanted};

/// How long a record waits for others before it is written.
const FLUSH: Duration = Duration::from_millis(25);
/// How long is waited for records that were sent to be written.
const WRITTEN: Duration = Duration::from_secs(2);
/// How long is waited at the end for a thread that writes nothing more: longer than it takes to give up by itself. And where nobody waits for that.
const STUCK: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(5)];
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Records that may wait to be written: some seconds of the heaviest traffic.
const WAITING: usize = 65_536;

/// Where a ledger is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A Postgres server, by its URL.
    Server(SecretString),
}

impl Place {
    /// Opens it to be read.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(&self) -> Result<Reader, String> {
        match self {
            Self::File(path) => Reader::open(path),
            Self::Server(url) => Postgres::open(url).map(Reader::of),
        }
    }

    /// Opens it to be written.
    ///
    /// # Errors
    /// As [`Ledger::open`] and [`Ledger::connect`].
    pub fn write(&self) -> Result<Ledger, String> {
        match self {
            Self::File(path) => Ledger::open(path),
            Self::Server(url) => Ledger::connect(url),
        }
    }
}

/// What a running gateway reads its ledger through.
#[derive(Debug)]
enum Read {
    File(PathBuf),
    Server(Postgres),
}

/// The ledger of a running gateway.
#[derive(Debug)]
pub struct Ledger {
    read: Read,
    entries: SyncSender<writer::Message>,
    lost: AtomicU64,
    state: Arc<State>,
    writer: Mutex<Option<JoinHandle<()>>>,
    keys: KeyStore,
}

impl Ledger {
    /// Opens the file, making it and its folder where there are none, and begins to write.
    ///
    /// # Errors
    /// It is no ledger, one of a newer version, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let failed = |fault: &dyn std::fmt::Display| {
            format!("{shown}: the ledger cannot be opened: {fault}\nhint: name another file with `witgate.ledger.file`")
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|fault| failed(&fault))?;
        }
        let state = Arc::<State>::default();
        let database = schema::open(path).map_err(|fault| failed(&fault))?;
        let sink = FileSink::new(database, Arc::clone(&state)).map_err(|fault| failed(&fault))?;
        let keys = KeyStore::open(path).map_err(|fault| failed(&fault))?;
        let writer = Writer { sink, state, aside: Some(aside::beside(path)) };
        Self::begin(Read::File(path.to_owned()), keys, writer, true).map_err(|fault| failed(&fault))
    }

    /// Connects to a server, makes the tables where there are none, and begins to write. A connection that is lost later is made
    /// anew; until then records wait.
    ///
    /// # Errors
    /// It cannot be reached, or its tables are a newer version's.
    pub fn connect(url: &SecretString) -> Result<Self, String> {
        Self::connect_beside(url, false, None)
    }

    /// The same of a server that may be away: what is asked of it fails until it answers, and records wait.
    ///
    /// # Errors
    /// It is no URL, or a thread cannot be had.
    pub fn connect_later(url: &SecretString) -> Result<Self, String> {
        Self::connect_beside(url, true, None)
    }

    /// Either. What cannot be written at a stop waits in this folder for the next start.
    ///
    /// # Errors
    /// As [`Ledger::connect`] and [`Ledger::connect_later`].
    pub fn connect_beside(url: &SecretString, may_be_away: bool, folder: Option<&Path>) -> Result<Self, String> {
        let failed = |why: String| {
            format!("the ledger cannot be opened: {why}\nhint: `general_settings.database_url` says where it is")
        };
        let server = if may_be_away { Postgres::open_later(url) } else { Postgres::open(url) }.map_err(failed)?;
        let state = Arc::<State>::default();
        let sink = Writing::new(url, Arc::clone(&state)).map_err(failed)?;
        let writer = Writer { sink, state, aside: folder.map(aside::within) };
        Self::begin(Read::Server(server.clone()), KeyStore::of(server), writer, !may_be_away)
            .map_err(|fault| failed(fault.to_string()))
    }

    fn begin(
        read: Read,
        keys: KeyStore,
        writer: Writer<impl Sink + Send + 'static>,
        is_there: bool,
    ) -> std::io::Result<Self> {
        let (entries, received) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let state = Arc::clone(&writer.state);
        state.set_connected(is_there);
        let thread = thread.spawn(move || writer.run(&received))?;
        Ok(Self { read, entries, lost: AtomicU64::new(0), state, writer: Mutex::new(Some(thread)), keys })
    }

    /// What reads it. It blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reader(&self) -> Result<Reader, String> {
        match &self.read {
            Read::File(path) => Reader::open(path),
            Read::Server(server) => Ok(Reader::of(server.clone())),
        }
    }

    /// The virtual keys.
    #[must_use]
    pub const fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// What requests but these that arrived since the one moment and before the other were charged for, as far as they count in a scope
    /// and have ended. It blocks. Those that ended a moment ago are in it once they were waited for ([`Ledger::wait_until_written`]).
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub fn spent(&self, scope: &Scope, span: [Moment; 2], without: &[RequestId]) -> Result<NanoUsd, String> {
        spent::spent(&self.keys, scope, span, without)
    }

    /// Waits until what was kept so far is written. Blocks, for two seconds at most.
    ///
    /// # Errors
    /// It cannot be written now, in words.
    pub fn wait_until_written(&self) -> Result<(), String> {
        let (told, written) = sync_channel(1);
        let late = || "the ledger's last records cannot be written now".to_owned();
        match self.entries.try_send(writer::Message::Written(told)) {
            Ok(()) => written.recv_timeout(WRITTEN).map_err(|_late| late()),
            // Whatever could be was written before it ended.
            Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(late()),
        }
    }

    /// The request with this id, where it has ended. It blocks: one that ended a moment ago is waited for.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub fn replied(&self, id: RequestId) -> Result<Option<Replied>, String> {
        if let Some(found) = feedback::replied(&self.keys, id)? {
            return Ok(Some(found));
        }
        // Where it cannot be written now, what is written is all there is.
        let _as_far_as_it_is = self.wait_until_written();
        feedback::replied(&self.keys, id)
    }

    /// Keeps what somebody says of a reply, where the same source has said nothing of it yet; else tells what that was. It blocks.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn judge(&self, judgement: &Judgement) -> Result<Option<Earlier>, String> {
        feedback::judge(&self.keys, judgement)
    }

    /// Takes in the record of a request that has ended. It is moved, so that nobody who serves copies or frees what it holds.
    pub fn keep(&self, record: Record) {
        let sent = self.entries.try_send(writer::Message::Record(Box::new(record)));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!("the ledger takes no more records; those of some requests are lost");
        }
    }

    /// Records that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the last that was written, or the connection that was made since, was well.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state.is_connected()
    }

    /// When it is to end, nothing is waited for that does not answer at once.
    pub fn hurry(&self) {
        self.state.hurry();
    }

    /// Writes what has come, and ends. Blocks until it is written, or laid aside: as long as more is written, and a few seconds where nothing is.
    pub fn finish(&self) {
        let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.state.end();
        let mut stop = Some(writer::Message::Stop);
        let (mut quiet, mut written) = (Duration::ZERO, self.state.written());
        while !thread.is_finished() && quiet < STUCK[usize::from(self.state.is_hurried())] {
            // One that is stuck makes no room for it: that must not be waited for without end.
            stop = stop.and_then(|message| match self.entries.try_send(message) {
                Err(TrySendError::Full(message)) => Some(message),
                // Where its thread has ended already, that has said what became of the last records.
                Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            });
            std::thread::sleep(LOOK);
            let now = self.state.written();
            quiet = if now == written { quiet + LOOK } else { Duration::ZERO };
            written = now;
        }
        if !thread.is_finished() || thread.join().is_err() {
            tracing::error!("the ledger's last records may not have been written");
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.finish();
    }
}
