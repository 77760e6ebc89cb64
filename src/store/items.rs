//! The items of an experiment's run, in a file of their own: what each has come to, so that a run goes on where it was, whatever ended it.
//!
//! An item is marked before its call is sent and ends with its result in one transaction that is on the disk when it returns. What
//! was sent and has no end was under way when the process died: it is asked again, and is all that may be paid twice.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, OptionalExtension, params};

use super::state_file;
use crate::money::NanoUsd;

/// What was paid is kept under this name, in billionths of a US dollar.
const PAID: &str = "paid_nano_usd";
/// The version of the tables.
const VERSION: u32 = 1;
/// Items that are read at once: each may hold a long answer.
pub(super) const PAGE: i64 = 64;
const TABLES: &str = "
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, state TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0, changed_ms INTEGER NOT NULL DEFAULT 0,
    outcome TEXT) WITHOUT ROWID;
";

/// What an item has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemState {
    /// It was not asked.
    Waiting,
    /// It was asked, and nothing is known.
    Sent,
    /// There is an answer.
    Answered,
    /// There is none, and it is not asked again by itself.
    Failed,
}

impl ItemState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }

    pub(super) fn of(text: &str) -> Self {
        match text {
            "sent" => Self::Sent,
            "answered" => Self::Answered,
            "failed" => Self::Failed,
            _ => Self::Waiting,
        }
    }
}

/// An item as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptItem {
    /// Its id.
    pub id: String,
    /// Where it is in the order of the run's items.
    pub place: u64,
    /// What it has come to.
    pub state: ItemState,
    /// How often it was sent.
    pub sent: u32,
    /// When that changed last, milliseconds of the Unix epoch; 0: never.
    pub changed_ms: u64,
    /// Its answer or failure, as JSON.
    pub outcome: Option<String>,
}

/// What keeps the items of a run: a file, or a server that several workers share.
pub trait Items: Send + Sync {
    /// What is kept beside the items under this name.
    ///
    /// # Errors
    /// It cannot be read.
    fn about(&self, name: &str) -> Result<Option<String>, String>;

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    fn set_about(&self, name: &str, value: &str) -> Result<(), String>;

    /// What was paid for all calls that have ended, well or not.
    ///
    /// # Errors
    /// It cannot be read.
    fn paid(&self) -> Result<NanoUsd, String>;

    /// Notes that these are about to be sent.
    ///
    /// # Errors
    /// It cannot be written.
    fn sent(&self, ids: &[&str], now_ms: u64) -> Result<(), String>;

    /// Has those that failed asked again.
    ///
    /// # Errors
    /// It cannot be written.
    fn retry_failed(&self) -> Result<usize, String>;

    /// Keeps how these ended and what was paid for it, all or nothing. One that is answered already stays as it is.
    ///
    /// # Errors
    /// It cannot be written.
    fn ended(&self, ends: &[(&str, ItemState, String)], paid: &Paid<'_>, now_ms: u64) -> Result<(), String>;

    /// The first items behind this place, in order, as many as are read at once: none where there are no more.
    ///
    /// # Errors
    /// It cannot be read.
    fn page(&self, after: Option<u64>) -> Result<Vec<KeptItem>, String>;

    /// Every item, in order, a page in memory at a time.
    ///
    /// # Errors
    /// It cannot be read, or what `each` says.
    fn each(&self, each: &mut dyn FnMut(KeptItem) -> Result<(), String>) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.page(after)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.place);
            page.into_iter().try_for_each(&mut *each)?;
        }
    }
}

/// What a call cost, under a name that no other call of its worker has: told twice, it counts once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paid<'a> {
    /// The call.
    pub call: &'a str,
    /// What was paid for it.
    pub cost: NanoUsd,
}

/// The items of one run, in a file.
#[derive(Debug)]
pub struct ItemStore(Mutex<Connection>);

impl ItemStore {
    /// Opens the file, making it where there is none.
    ///
    /// # Errors
    /// It is of another version, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, String> {
        let opened = state_file::open(path, TABLES, VERSION).and_then(|database| {
            // Files that were begun earlier have none.
            database.execute_batch("CREATE INDEX IF NOT EXISTS items_place ON items (place)")?;
            Ok(database)
        });
        opened.map(|database| Self(Mutex::new(database))).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    /// Opens a file that somebody else may be writing, to look.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open_to_read(path: &Path) -> Result<Self, String> {
        let opened = state_file::open_to_read(path, VERSION);
        opened.map(|database| Self(Mutex::new(database))).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with these items, in their order, and what is kept beside them: all of it or nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin<'a>(&self, about: &[(&str, &str)], ids: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let add = || {
            let mut database = self.lock();
            let transaction = state_file::writing(&mut database)?;
            transaction.execute_batch("DELETE FROM about; DELETE FROM items")?;
            for (name, value) in about {
                transaction.execute("INSERT INTO about VALUES (?1, ?2)", [name, value])?;
            }
            {
                let mut insert =
                    transaction.prepare("INSERT OR IGNORE INTO items (id, place, state) VALUES (?1, ?2, 'waiting')")?;
                for (id, place) in ids.zip(0_i64..) {
                    insert.execute(params![id, place])?;
                }
            }
            transaction.commit()
        };
        add().map_err(|fault: Error| fault.to_string())
    }

    /// Whether any item was ever sent, or has come to an end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn any_sent(&self) -> Result<bool, String> {
        let found = self.lock().query_row(
            "SELECT EXISTS (SELECT 1 FROM items WHERE sent > 0 OR state <> 'waiting')",
            [],
            |row| row.get(0),
        );
        found.map_err(|fault| fault.to_string())
    }
}

impl Items for ItemStore {
    fn about(&self, name: &str) -> Result<Option<String>, String> {
        let found =
            self.lock().query_row("SELECT value FROM about WHERE name = ?1", [name], |row| row.get(0)).optional();
        found.map_err(|fault| fault.to_string())
    }

    fn set_about(&self, name: &str, value: &str) -> Result<(), String> {
        let kept = self.lock().execute("INSERT OR REPLACE INTO about VALUES (?1, ?2)", [name, value]);
        kept.map(drop).map_err(|fault| fault.to_string())
    }

    fn paid(&self) -> Result<NanoUsd, String> {
        let text = self.about(PAID)?.unwrap_or_default();
        Ok(NanoUsd(text.parse().unwrap_or_default()))
    }

    fn sent(&self, ids: &[&str], now_ms: u64) -> Result<(), String> {
        let note = || {
            let mut database = self.lock();
            let transaction = state_file::writing(&mut database)?;
            {
                let text = "UPDATE items SET state = 'sent', sent = sent + 1, changed_ms = ?2 WHERE id = ?1";
                let mut update = transaction.prepare(text)?;
                for id in ids {
                    update.execute(params![id, whole(now_ms)])?;
                }
            }
            transaction.commit()
        };
        note().map_err(|fault: Error| fault.to_string())
    }

    fn retry_failed(&self) -> Result<usize, String> {
        let changed =
            self.lock().execute("UPDATE items SET state = 'waiting', outcome = NULL WHERE state = 'failed'", []);
        changed.map_err(|fault| fault.to_string())
    }

    /// What is told is never told again: who cannot write here ends.
    fn ended(&self, ends: &[(&str, ItemState, String)], paid: &Paid<'_>, now_ms: u64) -> Result<(), String> {
        let end = || {
            let mut database = self.lock();
            let transaction = state_file::writing(&mut database)?;
            if paid.cost > NanoUsd::default() {
                let before: Option<String> = transaction
                    .query_row("SELECT value FROM about WHERE name = ?1", [PAID], |row| row.get(0))
                    .optional()?;
                let before: u64 = before.and_then(|text| text.parse().ok()).unwrap_or_default();
                let sum = before.saturating_add(paid.cost.0).to_string();
                transaction.execute("INSERT OR REPLACE INTO about VALUES (?1, ?2)", [PAID, &sum])?;
            }
            {
                let mut update = transaction.prepare(
                    "UPDATE items SET state = ?2, outcome = ?3, changed_ms = ?4 WHERE id = ?1 AND state <> 'answered'",
                )?;
                for (id, state, outcome) in ends {
                    update.execute(params![id, state.as_str(), outcome, whole(now_ms)])?;
                }
            }
            transaction.commit()
        };
        end().map_err(|fault: Error| fault.to_string())
    }

    fn page(&self, after: Option<u64>) -> Result<Vec<KeptItem>, String> {
        let read = || {
            let database = self.lock();
            let text = "SELECT id, place, state, sent, changed_ms, outcome FROM items WHERE place > ?1 ORDER BY place LIMIT ?2";
            let mut statement = database.prepare(text)?;
            let item = |row: &rusqlite::Row<'_>| {
                Ok(KeptItem {
                    id: row.get(0)?,
                    place: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    state: ItemState::of(&row.get::<_, String>(2)?),
                    sent: row.get(3)?,
                    changed_ms: u64::try_from(row.get::<_, i64>(4)?).unwrap_or_default(),
                    outcome: row.get(5)?,
                })
            };
            let items = statement.query_map(params![after.map_or(-1, whole), PAGE], item)?;
            items.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(|fault: Error| fault.to_string())
    }
}

/// SQLite's integers have a sign.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(cost: u64) -> Paid<'static> {
        Paid { call: "of a test", cost: NanoUsd(cost) }
    }

    fn all(store: &ItemStore) -> Vec<KeptItem> {
        let mut items = Vec::new();
        let mut keep = |item| {
            items.push(item);
            Ok(())
        };
        store.each(&mut keep).expect("items");
        items
    }

    #[test]
    fn an_answer_stays_whatever_comes_later_and_a_sent_item_is_known_as_such() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let store = ItemStore::open(&path).expect("a store");
        store.begin(&[("name", "x")], ["b", "a", "c"].into_iter()).expect("begun");
        assert_eq!((store.any_sent(), store.paid()), (Ok(false), Ok(NanoUsd(0))));
        store.sent(&["b", "a"], 5).expect("sent");
        store.ended(&[("b", ItemState::Answered, "1".to_owned())], &paid(5), 6).expect("ended");
        store.ended(&[], &paid(2), 6).expect("paid for nothing");
        store
            .ended(&[("b", ItemState::Failed, "2".to_owned()), ("c", ItemState::Failed, "3".to_owned())], &paid(0), 7)
            .expect("ended");
        drop(store);
        let store = ItemStore::open(&path).expect("the same store");
        assert_eq!((store.any_sent(), store.paid()), (Ok(true), Ok(NanoUsd(7))));
        let items = all(&store);
        let states: Vec<_> = items.iter().map(|item| (item.id.as_str(), item.state, item.outcome.as_deref())).collect();
        assert_eq!(
            states,
            [("b", ItemState::Answered, Some("1")), ("a", ItemState::Sent, None), ("c", ItemState::Failed, Some("3"))]
        );
        assert_eq!(store.retry_failed(), Ok(1));
        assert_eq!(all(&store)[2].state, ItemState::Waiting);
    }

    #[test]
    fn every_item_is_read_once_and_in_order_however_many_there_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = ItemStore::open(&folder.path().join("state.db")).expect("a store");
        let ids: Vec<String> = (0..200).map(|number| format!("{:03}", 199 - number)).collect();
        store.begin(&[], ids.iter().map(String::as_str)).expect("begun");
        assert!(store.page(None).expect("a page").len() < ids.len(), "a page is not all of it");
        assert_eq!(all(&store).into_iter().map(|item| item.id).collect::<Vec<_>>(), ids);
    }
}
