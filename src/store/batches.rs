//! Batches in a SQLite file: files that clients keep, batches over them, and what each line of a batch has come to, so that it goes on
//! where it was, whatever ended it.
//!
//! A line ends with its answer in one transaction that is on the disk when it returns; one that has no end is asked again. Only what is
//! looked at is in memory: lines are read a few at a time, and what they ask stays in the file that they came in.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, OptionalExtension, Row, Transaction, params};

use super::state_file;

/// The version of the tables.
const VERSION: u32 = 1;
const TABLES: &str = "
CREATE TABLE files (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, expires_ms INTEGER) WITHOUT ROWID;
CREATE INDEX files_owner ON files (owner, number);
CREATE TABLE batches (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, owner TEXT NOT NULL, input TEXT NOT NULL, open INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL DEFAULT 0, about TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX batches_owner ON batches (owner, number);
CREATE TABLE lines (
    batch TEXT NOT NULL, place INTEGER NOT NULL, custom_id TEXT NOT NULL, model TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', outcome TEXT, UNIQUE (batch, place), UNIQUE (batch, custom_id));
CREATE INDEX lines_state ON lines (batch, state, model, place);
";
/// Ended lines that are read at once: each may hold a long reply.
const PAGE: usize = 16;

/// A file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// Its id, and the name of what it holds in the folder.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// What its owner calls it.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Its length.
    pub bytes: u64,
    /// When it was made, milliseconds of the Unix epoch.
    pub created_ms: u64,
    /// From when on it is gone; `None`: never.
    pub expires_ms: Option<u64>,
}

/// A batch that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBatch {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The file it is over.
    pub input: String,
    /// Whether there is anything left to do for it.
    pub open: bool,
    /// When it was made, milliseconds of the Unix epoch.
    pub created_ms: u64,
    /// When it was last at work.
    pub touched_ms: u64,
    /// All else, as JSON.
    pub about: String,
}

/// Where a line is in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// Its number, from 1.
    pub place: u64,
    /// Its own name.
    pub custom_id: String,
    /// The model it asks.
    pub model: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its bytes.
    pub length: u64,
}

/// How a line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineEnd {
    /// Its number.
    pub place: u64,
    /// Whether there is an answer.
    pub answered: bool,
    /// What is told of it: a line of the output.
    pub outcome: String,
}

/// Lines of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// All of them.
    pub total: u64,
    /// With an answer.
    pub answered: u64,
    /// That ended without.
    pub failed: u64,
}

/// Which of a list, which is newest first.
#[derive(Clone, Debug, Default)]
pub struct Listed<'a> {
    /// Those behind this one.
    pub after: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
    /// The oldest first instead.
    pub oldest_first: bool,
}

/// The batches of one folder.
#[derive(Debug)]
pub struct BatchStore(Mutex<Connection>);

impl BatchStore {
    /// Opens the file, making it where there is none.
    ///
    /// # Errors
    /// It is of another version, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, String> {
        let opened = state_file::open(path, TABLES, VERSION);
        opened.map(|database| Self(Mutex::new(database))).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R>(&self, act: impl FnOnce(&Connection) -> Result<R, Error>) -> Result<R, String> {
        act(&self.lock()).map_err(|fault| fault.to_string())
    }

    /// All of it or nothing.
    fn write<R>(&self, act: impl FnOnce(&Transaction<'_>) -> Result<R, Error>) -> Result<R, String> {
        let write = || {
            let mut database = self.lock();
            let transaction = state_file::writing(&mut database)?;
            let done = act(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        write().map_err(|fault: Error| fault.to_string())
    }

    /// Keeps a file that stands in the folder already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_file(&self, file: &KeptFile) -> Result<(), String> {
        self.write(|write| insert_file(write, file))
    }

    /// A file of this owner.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn file(&self, owner: &str, id: &str) -> Result<Option<KeptFile>, String> {
        let text = format!("SELECT {FILE} FROM files WHERE id = ?1 AND owner = ?2");
        self.read(|read| read.query_row(&text, [id, owner], file_of).optional())
    }

    /// The files of this owner, those of one purpose where one is named.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn files(&self, owner: &str, purpose: Option<&str>, listed: &Listed<'_>) -> Result<Vec<KeptFile>, String> {
        let text = list(FILE, "files", "(?2 IS NULL OR purpose = ?2)", listed);
        self.read(|read| {
            let mut statement = read.prepare(&text)?;
            let found = statement.query_map(params![owner, purpose, listed.after, size(listed.limit)], file_of)?;
            found.collect()
        })
    }

    /// Every id there is of files.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn file_ids(&self) -> Result<Vec<String>, String> {
        self.read(|read| read.prepare("SELECT id FROM files")?.query_map([], |row| row.get(0))?.collect())
    }

    /// Bytes of all files of an owner.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn bytes_of(&self, owner: &str) -> Result<u64, String> {
        let text = "SELECT coalesce(sum(bytes), 0) FROM files WHERE owner = ?1";
        self.read(|read| read.query_row(text, [owner], |row| count(row, 0)))
    }

    /// Whether a batch that is not at its end reads this file.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_read(&self, file: &str) -> Result<bool, String> {
        let text = "SELECT EXISTS (SELECT 1 FROM batches WHERE input = ?1 AND open)";
        self.read(|read| read.query_row(text, [file], |row| row.get(0)))
    }

    /// Keeps a file no longer.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_file(&self, id: &str) -> Result<(), String> {
        self.write(|write| write.execute("DELETE FROM files WHERE id = ?1", [id]).map(drop))
    }

    /// Files whose time is over and that no batch reads.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn expired_files(&self, now_ms: u64) -> Result<Vec<String>, String> {
        let text = "SELECT id FROM files WHERE expires_ms <= ?1 AND NOT EXISTS (SELECT 1 FROM batches WHERE input = files.id AND open)";
        self.read(|read| read.prepare(text)?.query_map([whole(now_ms)], |row| row.get(0))?.collect())
    }

    /// Keeps a batch.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_batch(&self, batch: &KeptBatch) -> Result<(), String> {
        self.write(|write| {
            let number = "(SELECT coalesce(max(number), 0) + 1 FROM batches)";
            let text = format!("INSERT INTO batches (id, number, owner, input, open, created_ms, about) VALUES (?1, {number}, ?2, ?3, ?4, ?5, ?6)");
            let KeptBatch { id, owner, input, open, created_ms, about, .. } = batch;
            write.execute(&text, params![id, owner, input, open, whole(*created_ms), about]).map(drop)
        })
    }

    /// A batch, whoever's it is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn batch(&self, id: &str) -> Result<Option<KeptBatch>, String> {
        let text = format!("SELECT {BATCH} FROM batches WHERE id = ?1");
        self.read(|read| read.query_row(&text, [id], batch_of).optional())
    }

    /// The batches of an owner.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn batches(&self, owner: &str, listed: &Listed<'_>) -> Result<Vec<KeptBatch>, String> {
        let text = list(BATCH, "batches", "?2 IS NULL", listed);
        self.read(|read| {
            let mut statement = read.prepare(&text)?;
            let none: Option<&str> = None;
            let found = statement.query_map(params![owner, none, listed.after, size(listed.limit)], batch_of)?;
            found.collect()
        })
    }

    /// Those for which something is left to do, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open_batches(&self) -> Result<Vec<KeptBatch>, String> {
        let text = format!("SELECT {BATCH} FROM batches WHERE open ORDER BY number");
        self.read(|read| read.prepare(&text)?.query_map([], batch_of)?.collect())
    }

    /// Changes what is told of a batch, and whether anything is left to do. `change` is told what was, and says what is, with files to be
    /// kept from then on.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn change_batch(
        &self,
        id: &str,
        change: impl FnOnce(&str) -> (String, bool, Vec<KeptFile>),
    ) -> Result<(), String> {
        self.write(|write| {
            let before: String = write.query_row("SELECT about FROM batches WHERE id = ?1", [id], |row| row.get(0))?;
            let (about, open, files) = change(&before);
            files.iter().try_for_each(|file| insert_file(write, file))?;
            write.execute("UPDATE batches SET about = ?2, open = ?3 WHERE id = ?1", params![id, about, open]).map(drop)
        })
    }

    /// It is at work now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn touch(&self, id: &str, now_ms: u64) -> Result<(), String> {
        let text = "UPDATE batches SET touched_ms = ?2 WHERE id = ?1";
        self.write(|write| write.execute(text, params![id, whole(now_ms)]).map(drop))
    }

    /// Forgets batches at their end that were made before then, and lines of all that are.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_before(&self, created_ms: u64) -> Result<(), String> {
        self.write(|write| {
            write.execute("DELETE FROM batches WHERE NOT open AND created_ms < ?1", [whole(created_ms)])?;
            // A process may have died before it forgot them.
            write.execute("DELETE FROM lines WHERE batch NOT IN (SELECT id FROM batches WHERE open)", []).map(drop)
        })
    }

    /// Adds lines of a batch. Of two with the same name the later ones are not added; they are the answer.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_lines(&self, batch: &str, lines: &[LinePlace]) -> Result<Vec<u64>, String> {
        self.write(|write| {
            let text = "INSERT OR IGNORE INTO lines (batch, place, custom_id, model, start, length) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let mut insert = write.prepare(text)?;
            let mut twice = Vec::new();
            for line in lines {
                let LinePlace { place, custom_id, model, start, length } = line;
                let row = params![batch, whole(*place), custom_id, model, whole(*start), whole(*length)];
                if insert.execute(row)? == 0 {
                    twice.push(*place);
                }
            }
            Ok(twice)
        })
    }

    /// Forgets the lines of a batch.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_lines(&self, batch: &str) -> Result<(), String> {
        self.write(|write| write.execute("DELETE FROM lines WHERE batch = ?1", [batch]).map(drop))
    }

    /// How many there are, and how they ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn counts(&self, batch: &str) -> Result<LineCounts, String> {
        self.read(|read| {
            let mut statement = read.prepare("SELECT state, count(*) FROM lines WHERE batch = ?1 GROUP BY state")?;
            let mut counts = LineCounts::default();
            let mut rows = statement.query([batch])?;
            while let Some(row) = rows.next()? {
                let (state, lines): (String, u64) = (row.get(0)?, count(row, 1)?);
                counts.total += lines;
                match state.as_str() {
                    "answered" => counts.answered = lines,
                    "failed" => counts.failed = lines,
                    _ => {}
                }
            }
            Ok(counts)
        })
    }

    /// The models that lines without an end ask.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn models(&self, batch: &str) -> Result<Vec<String>, String> {
        let text = "SELECT DISTINCT model FROM lines WHERE batch = ?1 AND state = 'waiting' ORDER BY model";
        self.read(|read| read.prepare(text)?.query_map([batch], |row| row.get(0))?.collect())
    }

    /// The model that all lines ask; `None` where there are several, or no lines.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn only_model(&self, batch: &str) -> Result<Option<String>, String> {
        let text = "SELECT min(model) FROM lines WHERE batch = ?1 GROUP BY batch HAVING min(model) = max(model)";
        self.read(|read| read.query_row(text, [batch], |row| row.get(0)).optional())
    }

    /// The next lines of a model without an end, behind the one with this number.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn waiting(&self, batch: &str, model: &str, after: u64, limit: usize) -> Result<Vec<LinePlace>, String> {
        let text = "SELECT place, custom_id, model, start, length FROM lines \
                    WHERE batch = ?1 AND state = 'waiting' AND model = ?2 AND place > ?3 ORDER BY place LIMIT ?4";
        self.read(|read| {
            let line = |row: &Row<'_>| {
                Ok(LinePlace {
                    place: count(row, 0)?,
                    custom_id: row.get(1)?,
                    model: row.get(2)?,
                    start: count(row, 3)?,
                    length: count(row, 4)?,
                })
            };
            let mut statement = read.prepare(text)?;
            statement.query_map(params![batch, model, whole(after), size(limit)], line)?.collect()
        })
    }

    /// Keeps how these ended, all or nothing. One that has ended stays as it is.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn ended(&self, batch: &str, ends: &[LineEnd]) -> Result<(), String> {
        self.write(|write| {
            let text =
                "UPDATE lines SET state = ?3, outcome = ?4 WHERE batch = ?1 AND place = ?2 AND state = 'waiting'";
            let mut update = write.prepare(text)?;
            for end in ends {
                let state = if end.answered { "answered" } else { "failed" };
                update.execute(params![batch, whole(end.place), state, end.outcome])?;
            }
            Ok(())
        })
    }

    /// Ends every line that has no end: `outcome` says how, by its number and name.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn end_all(&self, batch: &str, outcome: impl Fn(u64, &str) -> String) -> Result<(), String> {
        loop {
            let left = self.read(|read| {
                let text =
                    "SELECT place, custom_id FROM lines WHERE batch = ?1 AND state = 'waiting' ORDER BY place LIMIT 1000";
                let line = |row: &Row<'_>| Ok((count(row, 0)?, row.get::<_, String>(1)?));
                read.prepare(text)?.query_map([batch], line)?.collect::<Result<Vec<_>, _>>()
            })?;
            if left.is_empty() {
                return Ok(());
            }
            let end = |(place, custom_id): &(u64, String)| LineEnd {
                place: *place,
                answered: false,
                outcome: outcome(*place, custom_id),
            };
            self.ended(batch, &left.iter().map(end).collect::<Vec<_>>())?;
        }
    }

    /// Has those that failed asked again.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn retry_failed_lines(&self, batch: &str) -> Result<usize, String> {
        let text = "UPDATE lines SET state = 'waiting', outcome = NULL WHERE batch = ?1 AND state = 'failed'";
        self.write(|write| write.execute(text, [batch]))
    }

    /// What is told of the next lines that have ended, behind the one with this number, with theirs; those with an answer, or those
    /// without, where `answered` says so.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn outcomes(&self, batch: &str, answered: Option<bool>, after: u64) -> Result<Vec<(u64, String)>, String> {
        let state = answered.map(|answered| if answered { "answered" } else { "failed" });
        let text = "SELECT place, outcome FROM lines \
                    WHERE batch = ?1 AND place > ?2 AND outcome IS NOT NULL AND (?3 IS NULL OR state = ?3) ORDER BY place LIMIT ?4";
        self.read(|read| {
            let mut statement = read.prepare(text)?;
            let line = |row: &Row<'_>| Ok((count(row, 0)?, row.get(1)?));
            statement.query_map(params![batch, whole(after), state, size(PAGE)], line)?.collect()
        })
    }
}

const FILE: &str = "id, owner, name, purpose, bytes, created_ms, expires_ms";
const BATCH: &str = "id, owner, input, open, created_ms, touched_ms, about";

fn file_of(row: &Row<'_>) -> Result<KeptFile, Error> {
    let expires: Option<i64> = row.get(6)?;
    Ok(KeptFile {
        id: row.get(0)?,
        owner: row.get(1)?,
        name: row.get(2)?,
        purpose: row.get(3)?,
        bytes: count(row, 4)?,
        created_ms: count(row, 5)?,
        expires_ms: expires.and_then(|at| u64::try_from(at).ok()),
    })
}

fn batch_of(row: &Row<'_>) -> Result<KeptBatch, Error> {
    Ok(KeptBatch {
        id: row.get(0)?,
        owner: row.get(1)?,
        input: row.get(2)?,
        open: row.get(3)?,
        created_ms: count(row, 4)?,
        touched_ms: count(row, 5)?,
        about: row.get(6)?,
    })
}

fn insert_file(write: &Transaction<'_>, file: &KeptFile) -> Result<(), Error> {
    let KeptFile { id, owner, name, purpose, bytes, created_ms, expires_ms } = file;
    let text = "INSERT INTO files (id, number, owner, name, purpose, bytes, created_ms, expires_ms) \
                VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM files), ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![id, owner, name, purpose, whole(*bytes), whole(*created_ms), expires_ms.map(whole)];
    write.execute(text, row).map(drop)
}

/// A page of an owner's: parameters are the owner, what `filter` takes, the id it begins behind, and its length.
fn list(columns: &str, table: &str, filter: &str, listed: &Listed<'_>) -> String {
    let (behind, order) = if listed.oldest_first { (">", "ASC") } else { ("<", "DESC") };
    format!(
        "SELECT {columns} FROM {table} WHERE owner = ?1 AND {filter} \
         AND (?3 IS NULL OR number {behind} (SELECT number FROM {table} WHERE id = ?3 AND owner = ?1)) ORDER BY number {order} LIMIT ?4"
    )
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

/// SQLite's integers have a sign.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn size(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, BatchStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = BatchStore::open(&folder.path().join("batches.db")).expect("a store");
        (folder, store)
    }

    fn line(place: u64, custom_id: &str, model: &str) -> LinePlace {
        LinePlace { place, custom_id: custom_id.to_owned(), model: model.to_owned(), start: place * 10, length: 10 }
    }

    #[test]
    fn a_line_ends_once_and_one_of_two_names_is_refused() {
        let (_folder, store) = store();
        let lines = [line(1, "a", "m"), line(2, "b", "n"), line(3, "a", "m"), line(4, "c", "m")];
        assert_eq!(store.add_lines("x", &lines), Ok(vec![3]));
        assert_eq!(store.add_lines("y", &lines[..1]), Ok(vec![]), "another batch's names are its own");
        assert_eq!(store.models("x"), Ok(vec!["m".to_owned(), "n".to_owned()]));
        assert_eq!((store.only_model("x"), store.only_model("none")), (Ok(None), Ok(None)));
        assert_eq!(store.only_model("y"), Ok(Some("m".to_owned())));
        assert_eq!(store.waiting("x", "m", 1, 9), Ok(vec![line(4, "c", "m")]));
        let end = |place, answered, outcome: &str| LineEnd { place, answered, outcome: outcome.to_owned() };
        store.ended("x", &[end(1, true, "first"), end(2, false, "why")]).expect("kept");
        store.ended("x", &[end(1, false, "later")]).expect("kept");
        assert_eq!(store.counts("x"), Ok(LineCounts { total: 3, answered: 1, failed: 1 }));
        assert_eq!(store.outcomes("x", None, 0), Ok(vec![(1, "first".to_owned()), (2, "why".to_owned())]));
        assert_eq!(store.outcomes("x", Some(false), 0), Ok(vec![(2, "why".to_owned())]));
        assert_eq!(store.retry_failed_lines("x"), Ok(1));
        store.end_all("x", |place, name| format!("{place}{name}")).expect("ended");
        assert_eq!(store.outcomes("x", Some(false), 2), Ok(vec![(4, "4c".to_owned())]));
        assert_eq!(store.counts("y").map(|counts| counts.total), Ok(1));
    }

    #[test]
    fn a_list_is_its_owner_s_in_pages() {
        let (_folder, store) = store();
        let file = |id: &str, owner: &str| KeptFile {
            id: id.to_owned(),
            owner: owner.to_owned(),
            name: "n".to_owned(),
            purpose: "batch".to_owned(),
            bytes: 7,
            created_ms: 1,
            expires_ms: (id == "c").then_some(5),
        };
        for (id, owner) in [("b", "me"), ("a", "me"), ("x", "other"), ("c", "me")] {
            store.add_file(&file(id, owner)).expect("kept");
        }
        let ids = |after, limit, oldest_first| {
            let found = store.files("me", Some("batch"), &Listed { after, limit, oldest_first }).expect("read");
            found.into_iter().map(|file| file.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(None, 2, false), ["c", "a"]);
        assert_eq!(ids(Some("a"), 2, false), ["b"]);
        assert_eq!(ids(Some("b"), 9, true), ["a", "c"]);
        assert!(ids(Some("x"), 9, false).is_empty(), "another's is no place in a list");
        assert_eq!((store.file("me", "x"), store.bytes_of("me")), (Ok(None), Ok(21)));
        assert_eq!(store.expired_files(5), Ok(vec!["c".to_owned()]));
    }
}
