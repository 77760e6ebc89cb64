//! Keys that took the place of others: what the others have spent, and what is still under way for them, counts as theirs.
//!
//! The rows of a ledger keep the digest that a request was asked with. Which digests were one key is in a table of its own, which is made by
//! whoever looks for it first: no version of a ledger is bound to have it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::keys::{KeyStore, Source, lock};
use super::postgres::LOCK;
use crate::virtual_key::KeyHash;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS renewed_keys (old TEXT PRIMARY KEY, token TEXT NOT NULL)";
const ALL: &str = "SELECT old, token FROM renewed_keys";
/// Note that the second took the place of the first: of all that the first had taken the place of, too.
pub(super) const NOTED: [&str; 3] = [
    "UPDATE renewed_keys SET token = ?2 WHERE token = ?1",
    "DELETE FROM renewed_keys WHERE old = ?1 OR old = ?2",
    "INSERT INTO renewed_keys (old, token) VALUES (?1, ?2)",
];

/// What each key was before, once it was read. What other gateways renew is read with their keys.
#[derive(Debug, Default)]
pub(super) struct Renewed(Mutex<Option<HashMap<String, Vec<String>>>>);

impl Renewed {
    /// It is read anew by whoever asks next.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The second took the place of the first.
    pub(super) fn note(&self, [old, new]: &[String; 2]) {
        if let Some(known) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut before = known.remove(old).unwrap_or_default();
            before.extend(known.remove(new).unwrap_or_default());
            // A key may come back to what it was before.
            known.values_mut().chain([&mut before]).for_each(|names| names.retain(|name| name != old && name != new));
            before.push(old.clone());
            known.insert(new.clone(), before);
        }
    }
}

impl KeyStore {
    /// The digests that the key with this one had before.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub(super) fn known_before(&self, token: &str) -> Result<Vec<String>, String> {
        self.of_renewed(|known| known.get(token).cloned().unwrap_or_default())
    }

    /// The digest of the key that took the place of the one with this, where one did: what was spent with this counts as that one's.
    ///
    /// # Errors
    /// As [`KeyStore::load`].
    pub fn renewed_to(&self, old: KeyHash) -> Result<Option<String>, String> {
        let old = old.to_string();
        self.of_renewed(|known| known.iter().find(|(_, names)| names.contains(&old)).map(|(token, _)| token.clone()))
    }

    /// What took the place of each key that was renewed, by their digests.
    ///
    /// # Errors
    /// As [`KeyStore::load`].
    pub fn renewals(&self) -> Result<HashMap<String, String>, String> {
        let pairs = |(token, names): (&String, &Vec<String>)| {
            names.iter().map(|old| (old.clone(), token.clone())).collect::<Vec<_>>()
        };
        self.of_renewed(|known| known.iter().flat_map(pairs).collect())
    }

    /// What each key was before, read where it is not known yet.
    fn of_renewed<R>(&self, told: impl FnOnce(&HashMap<String, Vec<String>>) -> R) -> Result<R, String> {
        let mut known = self.1.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &mut *known {
            Some(known) => known,
            unread => {
                let mut read: HashMap<String, Vec<String>> = HashMap::new();
                for (old, token) in self.renewed()? {
                    read.entry(token).or_default().push(old);
                }
                unread.insert(read)
            }
        };
        Ok(told(known))
    }

    /// Every key that was renewed, and what took its place. What is no digest is nobody's.
    fn renewed(&self) -> Result<Vec<(String, String)>, String> {
        let pairs: Vec<(String, String)> = match self.source() {
            Source::File(database) => {
                let database = lock(database);
                let read = || {
                    database.execute_batch(TABLE)?;
                    let mut statement = database.prepare(ALL)?;
                    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    rows.collect::<Result<Vec<_>, _>>()
                };
                read().map_err(|fault| fault.to_string())?
            }
            Source::Server(server) => server.change(move |client| {
                // Whoever else looks for it first must not make it at the same time: of two that do, one fails.
                client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
                client.batch_execute(TABLE)?;
                client.query(ALL, &[])?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
            })?,
        };
        Ok(pairs.into_iter().filter(|(old, _)| KeyHash::parse(old).is_some()).collect())
    }
}
