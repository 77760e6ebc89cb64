//! Virtual keys, as they are kept: a digest and what the key may do, never the key.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, params};

use super::schema;
use crate::virtual_key::{KeyHash, VirtualKey};

/// The keys in a ledger's file, over a connection of their own: who changes a key waits until it is written.
#[derive(Debug)]
pub struct KeyStore(Mutex<Connection>);

impl KeyStore {
    /// Opens them in the file of a ledger.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        schema::open(path).map(|database| Self(Mutex::new(database)))
    }

    /// All of them.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub fn load(&self) -> Result<Vec<VirtualKey>, String> {
        let database = self.lock();
        let mut statement = database.prepare("SELECT key FROM keys ORDER BY token").map_err(words)?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0)).map_err(words)?;
        let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(words)?;
        let read =
            |text: &String| serde_json::from_str(text).map_err(|fault| format!("a kept key cannot be read: {fault}"));
        texts.iter().map(read).collect()
    }

    /// Keeps a key, new or changed. It is written when this returns.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn put(&self, key: &VirtualKey) -> Result<(), String> {
        let text = serde_json::to_string(key).map_err(|fault| fault.to_string())?;
        let parameters = params![key.hash.to_string(), key.alias, key.team, text];
        let written = self.lock().execute("INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4)", parameters);
        written.map(drop).map_err(words)
    }

    /// Forgets these keys, all of them or none.
    ///
    /// # Errors
    /// As [`KeyStore::put`].
    pub fn delete(&self, hashes: &[KeyHash]) -> Result<(), String> {
        let mut database = self.lock();
        let transaction = database.transaction().map_err(words)?;
        for hash in hashes {
            transaction.execute("DELETE FROM keys WHERE token = ?1", params![hash.to_string()]).map_err(words)?;
        }
        transaction.commit().map_err(words)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn words(fault: Error) -> String {
    format!("the store of keys: {fault}")
}
