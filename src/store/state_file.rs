//! Files of state beside the ledger: tables of one version, whole on the disk after each write.
//!
//! Who writes takes his turn at once: one that begins as a reader and finds somebody else writing fails.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, OpenFlags, Transaction, TransactionBehavior};

use super::schema::other;

/// How long somebody else's write is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// Opens a file with `tables`, making it where there is none.
pub(super) fn open(path: &Path, tables: &str, version: u32) -> Result<Connection, Error> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // What has ended is on the disk: a machine that dies costs nothing that was paid.
    database.pragma_update(None, "synchronous", "FULL")?;
    let transaction = writing(&mut database)?;
    match found(&transaction)? {
        0 => transaction.execute_batch(&format!("{tables} PRAGMA user_version = {version}"))?,
        other if other == version => {}
        _ => return Err(other()),
    }
    transaction.commit()?;
    Ok(database)
}

/// Opens a file that somebody else may be writing, to look.
pub(super) fn open_to_read(path: &Path, version: u32) -> Result<Connection, Error> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(BUSY)?;
    if found(&database)? == version { Ok(database) } else { Err(other()) }
}

/// All of it or nothing.
pub(super) fn writing(database: &mut Connection) -> Result<Transaction<'_>, Error> {
    database.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn found(database: &Connection) -> Result<u32, Error> {
    database.query_row("PRAGMA user_version", [], |row| row.get(0))
}
