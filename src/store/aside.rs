//! Records that a stop could not write: they wait in a file until the next start.
//!
//! It is a ledger of its own, beside the one that could not be written or in the folder of state: what is in a ledger already is passed over when it is
//! written once more, so that nothing is counted twice whatever was written before the stop.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Error, ErrorCode};

use super::schema;
use super::writer::insert;
use crate::record::Record;

/// What is behind the name of the ledger that it belongs to.
const ENDING: &str = ".unwritten";
/// Its name in a folder of state.
const NAME: &str = "ledger.db.unwritten";
/// What is behind the name of one that cannot be taken in.
const BAD: &str = ".bad";
/// What belongs to a file beside it.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// Rows that are handled at once.
const PAGE: usize = 4096;

/// Why what was laid aside is not in the ledger.
#[derive(Debug)]
pub(super) enum Untaken {
    /// It may be later: somebody else writes, or the ledger cannot be written now.
    Later(String),
    /// It cannot be read, and will not be.
    Never(String),
}

impl Untaken {
    /// By what the database says of both.
    fn by(fault: &Error) -> Self {
        let passes = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::DiskFull, ErrorCode::OutOfMemory];
        let words = fault.to_string();
        if fault.sqlite_error_code().is_some_and(|code| passes.contains(&code)) {
            Self::Later(words)
        } else {
            Self::Never(words)
        }
    }

    fn words(self) -> String {
        match self {
            Self::Later(why) | Self::Never(why) => why,
        }
    }
}

/// Where the file of a ledger is.
pub(super) fn beside(ledger: &Path) -> PathBuf {
    with(ledger, ENDING)
}

fn with(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
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
/// It cannot be opened.
pub(super) fn open(file: &Path) -> Result<Connection, Untaken> {
    let never = |fault: std::io::Error| Untaken::Never(words(&fault));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(never)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(file).map_err(never)?;
    schema::open(file).map_err(|fault| Untaken::by(&fault))
}

/// Lays records aside. They are on the disk when this returns.
///
/// # Errors
/// They are not, and why, in words.
pub(super) fn lay(file: &Path, records: &[Box<Record>]) -> Result<(), String> {
    let mut database = open(file).map_err(Untaken::words)?;
    database.pragma_update(None, "synchronous", "FULL").map_err(|fault| words(&fault))?;
    for batch in records.chunks(PAGE) {
        insert(&mut database, batch).map_err(|fault| words(&fault))?;
    }
    Ok(())
}

/// Puts all that is in a file into a ledger of this version.
///
/// # Errors
/// Nothing is put there, and why.
pub(super) fn take_in(ledger: &mut Connection, file: &Path) -> Result<(), Untaken> {
    // It may be of an older version.
    drop(open(file)?);
    let name = file.to_str().ok_or_else(|| Untaken::Never("its name is no text".to_owned()))?;
    ledger.execute("ATTACH DATABASE ?1 AS aside", [name]).map_err(|fault| Untaken::by(&fault))?;
    let copy = |ledger: &mut Connection| {
        let transaction = ledger.transaction()?;
        for table in ["requests", "other_attempts", "tags"] {
            transaction.execute_batch(&format!("INSERT OR IGNORE INTO main.{table} SELECT * FROM aside.{table}"))?;
        }
        transaction.commit()
    };
    let copied = copy(ledger).map_err(|fault: Error| Untaken::by(&fault));
    // All of it is in the ledger by then, or will be.
    let left = ledger.execute_batch("DETACH DATABASE aside").map_err(|fault| Untaken::Later(words(&fault)));
    copied.and(left)
}

/// Takes a file away whose records are in the ledger.
///
/// # Errors
/// It cannot be taken away, in words.
pub(super) fn remove(file: &Path) -> Result<(), String> {
    // Whoever has looked at it may have left these.
    for more in BESIDE {
        let _absent = std::fs::remove_file(with(file, more));
    }
    std::fs::remove_file(file).map_err(|fault| words(&fault))
}

/// Puts a file out of the way that cannot be taken in, with all that is in it. Returns where it is now: no earlier one is there.
///
/// # Errors
/// It stays where it is, and why, in words.
pub(super) fn put_away(file: &Path) -> Result<PathBuf, String> {
    let places = (1..100).map(|number| if number == 1 { BAD.to_owned() } else { format!("{BAD}.{number}") });
    let free = places.map(|ending| with(file, &ending)).find(|place| !place.exists());
    let place = free.ok_or("there are too many of them already")?;
    std::fs::rename(file, &place).map_err(|fault| words(&fault))?;
    for more in BESIDE {
        let _absent = std::fs::rename(with(file, more), with(&place, more));
    }
    Ok(place)
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
/// It cannot be read.
pub(super) fn page(database: &Connection, table: &str, letters: &str, after: usize) -> Result<Vec<Values>, Untaken> {
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
        Ok::<_, Error>(columns)
    };
    read().map_err(|fault| Untaken::by(&fault))
}
