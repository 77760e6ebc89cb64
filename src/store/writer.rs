//! The thread that writes: what has come within one flush is one transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, Statement, params};

use super::FLUSH;
use super::aside::{self, Untaken};
use crate::chat::Usage;
use crate::fault::FaultKind;
use crate::id::{GroupName, KeyId, TeamId};
use crate::record::{AttemptRecord, Record};

/// Records of one transaction.
const BATCH: usize = 4096;
/// How long is waited before what could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often that is done once the process is to end.
const LAST_TRIES: usize = 3;
/// How long one of them may take; and where nobody waits for the process to end in its own time.
const LAST: Duration = Duration::from_secs(5);
const HURRIED: Duration = Duration::from_millis(300);
/// How often is looked whether the process is to end.
const LOOK: Duration = Duration::from_millis(50);
/// How long somebody else's writing of the file is waited for, all in all and before is looked whether the process is to end.
const BUSY: [Duration; 2] = [Duration::from_secs(5), Duration::from_millis(250)];

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A request has ended.
    Record(Box<Record>),
    /// Somebody waits until what came before is written.
    Written(SyncSender<()>),
    /// No more will come.
    Stop,
}

/// What the thread and whoever has it written tell each other.
#[derive(Debug, Default)]
pub(super) struct State {
    ending: AtomicBool,
    hurried: AtomicBool,
    connected: AtomicBool,
    written: AtomicU64,
}

impl State {
    /// The process is to end: what cannot be written must not hold it up.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// And nobody waits for it to do so in its own time.
    pub(super) fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
    }

    /// Whether there is a connection, or what was written last could be.
    pub(super) fn set_connected(&self, is: bool) {
        self.connected.store(is, Ordering::Release);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Batches so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.is_ending() && self.hurried.load(Ordering::Acquire)
    }

    /// Whether something that has taken so long is not to be waited for any more.
    pub(super) fn waits_no_longer(&self, ran: Duration) -> bool {
        self.is_ending() && ran >= if self.is_hurried() { HURRIED } else { LAST }
    }

    fn pause(&self) {
        let mut paused = Duration::ZERO;
        while paused < PAUSE && !self.is_hurried() {
            std::thread::sleep(LOOK);
            paused += LOOK;
        }
    }
}

/// Where records are written.
pub(super) trait Sink {
    /// Makes ready, before the first records come.
    ///
    /// # Errors
    /// It could not; it is tried again when they come.
    fn open(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Writes all of them or none; those that are there already are passed over.
    ///
    /// # Errors
    /// They are not written, and why, in words.
    fn insert(&mut self, batch: &[Box<Record>]) -> Result<(), String>;

    /// Whether the last error is that nobody answered: trying again takes as long.
    fn is_silent(&self) -> bool;

    /// Writes what an earlier process laid aside in this file.
    ///
    /// # Errors
    /// Not all of it is written, and why.
    fn take_in(&mut self, file: &Path) -> Result<(), Untaken>;
}

/// A ledger's file.
pub(super) struct FileSink {
    database: Connection,
    state: Arc<State>,
    silent: bool,
}

impl FileSink {
    /// # Errors
    /// As the database says.
    pub(super) fn new(database: Connection, state: Arc<State>) -> Result<Self, Error> {
        database.busy_timeout(BUSY[1])?;
        Ok(Self { database, state, silent: false })
    }
}

impl Sink for FileSink {
    fn insert(&mut self, batch: &[Box<Record>]) -> Result<(), String> {
        let mut waited = Duration::ZERO;
        loop {
            let answer = insert(&mut self.database, batch);
            let is_busy = |fault: &Error| matches!(fault.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
            self.silent = answer.as_ref().is_err_and(is_busy);
            waited += BUSY[1];
            if !self.silent || waited >= BUSY[0] || self.state.waits_no_longer(waited) {
                return answer.map_err(|fault| fault.to_string());
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.silent
    }

    fn take_in(&mut self, file: &Path) -> Result<(), Untaken> {
        aside::take_in(&mut self.database, file)
    }
}

/// The thread's own.
pub(super) struct Writer<S> {
    pub(super) sink: S,
    pub(super) state: Arc<State>,
    /// Where is laid aside what cannot be written at the end, and was by an earlier process.
    pub(super) aside: Option<PathBuf>,
}

impl<S: Sink> Writer<S> {
    /// Writes until it is told to stop. Once the process is to end, what cannot be written is given up after a few tries.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let opened = self.sink.open();
        self.state.set_connected(opened.is_ok());
        if let Err(fault) = opened {
            tracing::warn!(fault, "the ledger cannot be written yet");
        }
        let mut earlier = self.aside.clone().filter(|file| file.exists());
        self.take_in(&mut earlier, true);
        let mut stopping = false;
        while !stopping {
            let Some(first) = self.next(messages, &mut earlier) else { return };
            if matches!(first, Message::Record(_)) {
                std::thread::sleep(FLUSH);
            }
            let (mut batch, mut waiting) = (Vec::new(), Vec::new());
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Record(record) => batch.push(record),
                    Message::Written(told) => waiting.push(told),
                    Message::Stop => stopping = true,
                }
                if stopping || batch.len() == BATCH {
                    break;
                }
            }
            if let Err(fault) = self.insert(&batch) {
                return self.give_up(&fault, batch, messages);
            }
            if !batch.is_empty() {
                // It answers, and may be too busy for a pause to come.
                self.take_in(&mut earlier, false);
            }
            // Whoever adds up would miss what an earlier process laid aside.
            for told in waiting.into_iter().filter(|_| earlier.is_none()) {
                let _gone = told.try_send(());
            }
        }
    }

    /// What is told next; what was laid aside is tried again meanwhile.
    fn next(&mut self, messages: &Receiver<Message>, earlier: &mut Option<PathBuf>) -> Option<Message> {
        while earlier.is_some() {
            match messages.recv_timeout(PAUSE) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.take_in(earlier, false),
            }
        }
        messages.recv().ok()
    }

    /// Writes what an earlier process laid aside, after which it is no more. While it may still be written nobody adds up; one that cannot
    /// be taken in is put out of the way, since else nobody ever would.
    fn take_in(&mut self, earlier: &mut Option<PathBuf>, is_first: bool) {
        let Some(file) = earlier.as_deref() else { return };
        let shown = file.display();
        match self.sink.take_in(file) {
            Ok(()) => {
                tracing::info!("{shown}: what an earlier process could not write is in the ledger now");
                // What is there already is passed over when it is written once more.
                if let Err(fault) = aside::remove(file) {
                    tracing::error!(fault, "{shown}: it cannot be taken away; the next start writes it once more");
                }
            }
            Err(Untaken::Later(fault)) => {
                if is_first {
                    tracing::warn!(fault, "{shown}: what an earlier process could not write cannot be written yet");
                }
                return;
            }
            Err(Untaken::Never(fault)) => {
                let what =
                    "what an earlier process could not write cannot be taken in, and is missing from what was spent";
                match aside::put_away(file) {
                    Ok(place) => tracing::error!(fault, "{shown}: {what}; it is kept as {}", place.display()),
                    Err(why) => tracing::error!(fault, "{shown}: {what}; it cannot be put out of the way: {why}"),
                }
            }
        }
        *earlier = None;
    }

    /// Writes a batch, trying as often as it takes.
    ///
    /// # Errors
    /// The process is to end before it could be written.
    fn insert(&mut self, batch: &[Box<Record>]) -> Result<(), String> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            let written = self.sink.insert(batch);
            self.state.set_connected(written.is_ok());
            let Err(fault) = written else { break };
            tries += 1;
            // The first time, and then twice a minute.
            if tries % 30 == 1 {
                tracing::error!(fault, records = batch.len(), "the ledger could not be written; it is tried again");
            }
            let no_more = tries >= LAST_TRIES || self.sink.is_silent() || self.state.is_hurried();
            if self.state.is_ending() && no_more {
                return Err(fault);
            }
            self.state.pause();
        }
        self.state.written.fetch_add(1, Ordering::AcqRel);
        if tries > 0 {
            tracing::warn!(records = batch.len(), tries, "the ledger is written again");
        }
        Ok(())
    }

    /// Lays aside what cannot be written, where there is a place for it.
    #[expect(clippy::vec_box, reason = "they came in boxes, and go on in them")]
    fn give_up(&self, fault: &str, batch: Vec<Box<Record>>, messages: &Receiver<Message>) {
        let more = messages.try_iter().filter_map(|message| match message {
            Message::Record(record) => Some(record),
            Message::Written(_) | Message::Stop => None,
        });
        let records: Vec<Box<Record>> = batch.into_iter().chain(more).collect();
        let count = records.len();
        match self.aside.as_ref().map(|file| (file.display(), aside::lay(file, &records))) {
            Some((file, Ok(()))) => {
                tracing::warn!(
                    fault,
                    records = count,
                    "{file}: the ledger's last records wait there for the next start"
                );
            }
            Some((file, Err(why))) => {
                tracing::error!(fault, records = count, "the ledger's last records are lost; {file}: {why}");
            }
            None => tracing::error!(fault, records = count, "the ledger's last records are lost"),
        }
    }
}

const REQUEST: &str = "INSERT OR IGNORE INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
     ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)";
const ATTEMPT: &str =
    "INSERT OR IGNORE INTO other_attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const TAG: &str = "INSERT OR IGNORE INTO tags VALUES (?1, ?2)";

/// Writes records into a file of this version; those that are there already are passed over.
pub(super) fn insert(database: &mut Connection, batch: &[Box<Record>]) -> Result<(), Error> {
    let transaction = database.transaction()?;
    {
        let mut requests = transaction.prepare(REQUEST)?;
        // Most batches need neither.
        let (mut attempts, mut tags) = (None, None);
        for record in batch {
            let (id, only) = (record.id.to_string(), only_attempt(record));
            request(record, &id, only, &mut requests)?;
            if only.is_none() && !record.attempts.is_empty() {
                other_attempts(record, &id, prepared(&transaction, &mut attempts, ATTEMPT)?)?;
            }
            for tag in &record.tags {
                prepared(&transaction, &mut tags, TAG)?.execute(params![id, tag])?;
            }
        }
    }
    transaction.commit()
}

fn prepared<'a, 'b>(
    database: &'b Connection,
    kept: &'a mut Option<Statement<'b>>,
    text: &str,
) -> Result<&'a mut Statement<'b>, Error> {
    Ok(match kept {
        Some(statement) => statement,
        None => kept.insert(database.prepare(text)?),
    })
}

/// The one call that was all there is to a request: what it used and cost is what the request did, and it has no row of its own.
fn only_attempt(record: &Record) -> Option<&AttemptRecord> {
    record.only_attempt().filter(|only| {
        tokens(&record.usage) == tokens(&only.usage) && (record.cost, record.charged) == (only.cost, only.charged)
    })
}

fn request(record: &Record, id: &str, only: Option<&AttemptRecord>, requests: &mut Statement<'_>) -> Result<(), Error> {
    let [input, cache_read, cache_write, output, reasoning] = tokens(&record.usage);
    requests.execute(params![
        id,
        whole(record.arrived.as_millis()),
        record.api,
        record.caller.as_ref().map(KeyId::as_str),
        record.team.as_ref().map(TeamId::as_str),
        record.group.as_ref().map(GroupName::as_str),
        record.policy.as_deref(),
        record.streamed,
        whole(record.estimated_input_tokens),
        input,
        cache_read,
        cache_write,
        output,
        reasoning,
        record.usage_estimated,
        record.cost.map(|cost| whole(cost.0)),
        millis(record.waited),
        record.ttft.map(millis),
        millis(record.latency),
        record.status,
        record.ending.as_str(),
        whole(record.charged.0),
        record.seed.cast_signed(),
        only.map(|attempt| attempt.deployment.as_str()),
        only.map(|attempt| attempt.provider.as_str()),
        only.map(|attempt| &*attempt.model),
        only.map(|attempt| millis(attempt.latency)),
    ])?;
    Ok(())
}

fn other_attempts(record: &Record, id: &str, attempts: &mut Statement<'_>) -> Result<(), Error> {
    for (attempt, number) in record.attempts.iter().zip(0u32..) {
        let [input, cache_read, cache_write, output, reasoning] = tokens(&attempt.usage);
        attempts.execute(params![
            id,
            number,
            attempt.deployment.as_str(),
            attempt.provider.as_str(),
            &*attempt.model,
            attempt.fault.map(FaultKind::as_str),
            millis(attempt.latency),
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
            attempt.cost.map(|cost| whole(cost.0)),
            whole(attempt.charged.0),
            attempt.group.as_str(),
        ])?;
    }
    Ok(())
}

/// Integers of databases have a sign.
pub(super) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn tokens(usage: &Usage) -> [i64; 5] {
    [usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens]
        .map(whole)
}
