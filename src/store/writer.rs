//! The thread that writes: what has come within one flush is one transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use rusqlite::{Connection, Error, Statement, params};

use super::FLUSH;
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
}

impl Sink for Connection {
    fn insert(&mut self, batch: &[Box<Record>]) -> Result<(), String> {
        insert(self, batch).map_err(|fault| fault.to_string())
    }
}

/// Writes until it is told to stop. Once `ending` is set, what cannot be written is given up after a few tries.
pub(super) fn write(mut database: impl Sink, messages: &Receiver<Message>, ending: &AtomicBool) {
    if let Err(fault) = database.open() {
        tracing::warn!(fault, "the ledger cannot be written yet");
    }
    let mut stopping = false;
    while !stopping {
        let Ok(first) = messages.recv() else { return };
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
        let mut tries = 0;
        while let Err(fault) = if batch.is_empty() { Ok(()) } else { database.insert(&batch) } {
            tries += 1;
            // The first time, and then twice a minute.
            if tries % 30 == 1 {
                tracing::error!(fault, records = batch.len(), "the ledger could not be written; it is tried again");
            }
            if ending.load(Ordering::Acquire) && tries >= LAST_TRIES {
                let more = messages.try_iter().filter(|message| matches!(message, Message::Record(_))).count();
                tracing::error!(fault, records = batch.len() + more, "the ledger's last records are lost");
                return;
            }
            std::thread::sleep(PAUSE);
        }
        if tries > 0 {
            tracing::warn!(records = batch.len(), tries, "the ledger is written again");
        }
        for told in waiting {
            let _gone = told.try_send(());
        }
    }
}

const REQUEST: &str = "INSERT OR IGNORE INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
     ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)";
const ATTEMPT: &str =
    "INSERT OR IGNORE INTO other_attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const TAG: &str = "INSERT OR IGNORE INTO tags VALUES (?1, ?2)";

fn insert(database: &mut Connection, batch: &[Box<Record>]) -> Result<(), Error> {
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
        only.map(|attempt| attempt.model.as_str()),
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
            attempt.model,
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
