//! Virtual keys, as they are kept: a digest and what the key may do, never the key.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, params};

use super::postgres::{Postgres, collated, numbered};
use super::renewed::Renewed;
use super::schema;
use super::spent::{Layout, Question};
use crate::virtual_key::{KeyHash, VirtualKey};

/// The keys beside a ledger, over a connection of their own: who changes a key waits until it is written.
#[derive(Debug)]
pub struct KeyStore(pub(super) Source, pub(super) Renewed);

/// How many keys and teams a server has, and the sums of the transactions that wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysVersion([i64; 4]);

const VERSION: &str = "SELECT (SELECT count(*) FROM keys), (SELECT coalesce(sum(xmin::text::bigint), 0)::bigint FROM keys), \
     (SELECT count(*) FROM teams), (SELECT coalesce(sum(xmin::text::bigint), 0)::bigint FROM teams)";

#[derive(Debug)]
pub(super) enum Source {
    File(Mutex<Connection>),
    Server(Postgres),
}

impl KeyStore {
    /// Opens them in the file of a ledger.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        schema::open(path).map(|database| Self(Source::File(Mutex::new(database)), Renewed::default()))
    }

    /// Those that a server has.
    pub(super) fn of(server: Postgres) -> Self {
        Self(Source::Server(server), Renewed::default())
    }

    pub(super) const fn source(&self) -> &Source {
        &self.0
    }

    /// What a question answers, a text a row.
    pub(super) fn texts(&self, all: &'static str) -> Result<Vec<String>, String> {
        match &self.0 {
            Source::File(database) => {
                let database = lock(database);
                let mut statement = database.prepare(all).map_err(words)?;
                let texts = statement.query_map([], |row| row.get::<_, String>(0)).map_err(words)?;
                texts.collect::<Result<_, _>>().map_err(words)
            }
            Source::Server(server) => {
                server.run(move |client| client.query(all, &[])?.iter().map(|row| row.try_get(0)).collect())
            }
        }
    }

    /// Whether other gateways may change them, too.
    #[must_use]
    pub const fn are_shared(&self) -> bool {
        matches!(self.0, Source::Server(_))
    }

    /// What is another one after each change of a key or a team, whoever made it.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub fn version(&self) -> Result<KeysVersion, String> {
        match &self.0 {
            Source::File(_) => Ok(KeysVersion::default()),
            Source::Server(server) => server.run(|client| {
                let row = client.query_one(VERSION, &[])?;
                let number = |column| row.try_get::<_, i64>(column);
                Ok(KeysVersion([number(0)?, number(1)?, number(2)?, number(3)?]))
            }),
        }
    }

    /// All of them. Those that another gateway renewed are read anew with them.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub fn load(&self) -> Result<Vec<VirtualKey>, String> {
        self.1.forget();
        let texts = self.texts("SELECT key FROM keys ORDER BY token")?;
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
        let hash = key.hash.to_string();
        match &self.0 {
            Source::File(database) => {
                let parameters = params![hash, key.alias, key.team, text];
                let written = lock(database).execute("INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4)", parameters);
                written.map(drop).map_err(words)
            }
            Source::Server(server) => {
                let (alias, team) = (key.alias.clone(), key.team.as_ref().map(ToString::to_string));
                server.change(move |client| {
                    let put = "INSERT INTO keys VALUES ($1, $2, $3, $4) ON CONFLICT (token) DO UPDATE SET \
                         key_alias = excluded.key_alias, team = excluded.team, key = excluded.key";
                    client.execute(put, &[&hash, &alias, &team, &text]).map(drop)
                })
            }
        }
    }

    /// Forgets these keys, all of them or none.
    ///
    /// # Errors
    /// As [`KeyStore::put`].
    pub fn delete(&self, hashes: &[KeyHash]) -> Result<(), String> {
        let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
        match &self.0 {
            Source::File(database) => {
                let mut database = lock(database);
                let transaction = database.transaction().map_err(words)?;
                for hash in hashes {
                    transaction.execute("DELETE FROM keys WHERE token = ?1", params![hash]).map_err(words)?;
                }
                transaction.commit().map_err(words)
            }
            Source::Server(server) => {
                let forget = "DELETE FROM keys WHERE token = ANY($1)";
                server.change(move |client| client.execute(forget, &[&hashes]).map(drop))
            }
        }
    }

    /// One number out of the same tables, over an index that is made where there is none.
    ///
    /// # Errors
    /// It cannot be read, in words.
    pub(super) fn sum(&self, question: &Question<'_>) -> Result<Option<i64>, String> {
        let Question { name, span: [since, before], .. } = question;
        match &self.0 {
            Source::File(database) => {
                let (indices, sum) = (question.indices(Layout::File), question.sum(Layout::File));
                let database = lock(database);
                let told = database
                    .execute_batch(&indices)
                    .and_then(|()| database.query_row(&sum, params![name, since, before], |row| row.get(0)));
                told.map_err(|fault| fault.to_string())
            }
            Source::Server(server) => {
                let (indices, sum) = (question.indices(Layout::Server), question.sum(Layout::Server));
                let (indices, sum, name) = (collated(&indices), collated(&numbered(&sum)), (*name).to_owned());
                let (since, before) = (since.clone(), before.clone());
                server.run_long(move |client| {
                    client.batch_execute(&indices)?;
                    client.query_one(sum.as_str(), &[&name, since.as_sql(), before.as_sql()])?.try_get(0)
                })
            }
        }
    }
}

pub(super) fn lock(database: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    database.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn words(fault: Error) -> String {
    format!("the store of keys: {fault}")
}
