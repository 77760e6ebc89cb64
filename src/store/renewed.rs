//! Keys that took the place of others: what the others have spent, and what is still under way for them, counts as theirs.
//!
//! The rows of a ledger keep the digest that a request was asked with. Which digests were one key is in a table of its own, which is made by
//! whoever looks for it first: no version of a ledger is bound to have it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::keys::{KeyStore, Source, lock};
use super::postgres::LOCK;
use super::spend::{Columns, Reader, Spend};
use crate::virtual_key::KeyHash;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS renewed_keys (old TEXT PRIMARY KEY, token TEXT NOT NULL)";
const ALL: &str = "SELECT old, token FROM renewed_keys";
const IS_IN_FILE: &str = "SELECT name FROM sqlite_master WHERE name = 'renewed_keys'";
const IS_ON_SERVER: &str = "SELECT CAST(to_regclass('renewed_keys') AS TEXT)";
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

impl Reader {
    /// What took the place of each key that was renewed, by their digests.
    fn renewals(&self) -> Result<HashMap<String, String>, String> {
        let is_there = self.all(self.either(IS_IN_FILE, IS_ON_SERVER), |row| row.text(0))?;
        // Who only reads makes no table.
        if !is_there.iter().any(Option::is_some) {
            return Ok(HashMap::new());
        }
        let pair = |row: &Columns<'_>| Ok((row.text(0)?.unwrap_or_default(), row.text(1)?.unwrap_or_default()));
        let pairs = self.all(ALL, pair)?;
        Ok(pairs.into_iter().filter(|(old, _)| KeyHash::parse(old).is_some()).collect())
    }

    /// Lines of keys, those of one that was renewed in the line of what took its place; the dearest first.
    pub(super) fn together(&self, lines: Vec<Spend>) -> Result<Vec<Spend>, String> {
        let renewed = self.renewals()?;
        let mut all: BTreeMap<String, Spend> = BTreeMap::new();
        for line in lines {
            let name = renewed.get(&line.name).unwrap_or(&line.name).clone();
            if let Some(one) = all.get_mut(&name) {
                one.add(line);
            } else {
                all.insert(name.clone(), Spend { name, ..line });
            }
        }
        let mut all: Vec<Spend> = all.into_values().collect();
        all.sort_by_key(|line| Reverse(line.cost_nano_usd));
        Ok(all)
    }
}

impl Spend {
    /// Another line of the same.
    fn add(&mut self, other: Self) {
        let Self { name: _, alias, requests, input_tokens, output_tokens, cost_nano_usd, unpriced } = other;
        self.alias = self.alias.take().or(alias);
        self.requests += requests;
        self.input_tokens += input_tokens;
        self.output_tokens += output_tokens;
        self.cost_nano_usd += cost_nano_usd;
        self.unpriced += unpriced;
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
