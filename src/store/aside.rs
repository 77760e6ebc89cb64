//! Records that a stop could not write: they wait in a file until the next start.
//!
//! It is a ledger of its own, beside the one that could not be written or in the folder of state: what is in a ledger already is passed over when it is
//! written once more, so that nothing is counted twice whatever was written before the stop.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema;
use super::writer::insert;
use crate::record::Record;

/// What is behind the name of the ledger that it belongs to.
const ENDING: &str = ".unwritten";
/// Its name in a folder of state.
const NAME: &str = "ledger.db.unwritten";
/// Rows that are handled at once.
const PAGE: usize = 4096;

/// Where the file of a ledger is.
pub(super) fn beside(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(ENDING);
    PathBuf::from(name)
}

/// Where that of a server's ledger is.
pub(super) fn within(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

fn words(fault: &dyn std::fmt::Display) -> String {
    fault.to_string()
}

/// Opens it, of whatever version, making it where there is none: for its user alone.
///
/// # Errors
/// It cannot be opened, in words.
pub(super) fn open(file: &Path) -> Result<Connection, String> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|fault| words(&fault))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(file).map_err(|fault| words(&fault))?;
    schema::open(file).map_err(|fault| words(&fault))
}

/// Lays records aside. They are on the disk when this returns.
///
/// # Errors
/// They are not, and why, in words.
pub(super) fn lay(file: &Path, records: &[Box<Record>]) -> Result<(), String> {
    let mut database = open(file)?;
    database.pragma_update(None, "synchronous", "FULL").map_err(|fault| words(&fault))?;
    for batch in records.chunks(PAGE) {
        insert(&mut database, batch).map_err(|fault| words(&fault))?;
    }
    Ok(())
}

/// Puts all that is in a file into a ledger of this version.
///
/// # Errors
/// Nothing is put there, and why, in words.
pub(super) fn take_in(ledger: &mut Connection, file: &Path) -> Result<(), String> {
    // It may be of an older version.
    drop(open(file)?);
    let name = file.to_str().ok_or("its name is no text")?;
    ledger.execute("ATTACH DATABASE ?1 AS aside", [name]).map_err(|fault| words(&fault))?;
    let copy = |ledger: &mut Connection| {
        let transaction = ledger.transaction()?;
        for table in ["requests", "other_attempts", "tags"] {
            transaction.execute_batch(&format!("INSERT OR IGNORE INTO main.{table} SELECT * FROM aside.{table}"))?;
        }
        transaction.commit()
    };
    let copied = copy(ledger).map_err(|fault: rusqlite::Error| words(&fault));
    let left = ledger.execute_batch("DETACH DATABASE aside").map_err(|fault| words(&fault));
    copied.and(left)
}

/// Takes a file away whose records are in the ledger.
///
/// # Errors
/// It cannot be taken away, in words.
pub(super) fn remove(file: &Path) -> Result<(), String> {
    // Whoever has looked at it may have left these.
    for more in ["-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(more);
        let _absent = std::fs::remove_file(name);
    }
    std::fs::remove_file(file).map_err(|fault| words(&fault))
}

/// The values of a column.
pub(super) enum Values {
    Texts(Vec<Option<String>>),
    Counts(Vec<Option<i64>>),
}

impl Values {
    /// No rows of the kind with this letter: a text, or a whole number.
    pub(super) const fn none(letter: char) -> Self {
        if letter == 'T' { Self::Texts(Vec::new()) } else { Self::Counts(Vec::new()) }
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Counts(counts) => counts.len(),
        }
    }
}

/// Rows of a table from a place on, as many as are handled at once: the columns with these letters.
///
/// # Errors
/// It cannot be read, in words.
pub(super) fn page(database: &Connection, table: &str, letters: &str, after: usize) -> Result<Vec<Values>, String> {
    let read = || {
        let text = format!("SELECT * FROM {table} ORDER BY 1, 2 LIMIT {PAGE} OFFSET {after}");
        let mut statement = database.prepare(&text)?;
        let mut rows = statement.query([])?;
        let mut columns: Vec<Values> = letters.chars().map(Values::none).collect();
        while let Some(row) = rows.next()? {
            for (at, column) in columns.iter_mut().enumerate() {
                match column {
                    Values::Texts(texts) => texts.push(row.get(at)?),
                    Values::Counts(counts) => counts.push(row.get(at)?),
                }
            }
        }
        Ok::<_, rusqlite::Error>(columns)
    };
    read().map_err(|fault| words(&fault))
}
