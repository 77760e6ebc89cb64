//! Virtual keys, as they are kept: a digest and what the key may do, never the key.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, params};

use super::changes::{Change, Step, Unchanged};
use super::kept_rows::Loaded;
use super::postgres::{Postgres, collated, numbered};
use super::renewed::Renewed;
use super::schema;
use super::spent::{Layout, Question};
use crate::virtual_key::VirtualKey;

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

    /// All of them that can be read, and which cannot. Those that another gateway renewed are read anew with them.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub fn load(&self) -> Result<Loaded<VirtualKey>, String> {
        self.1.forget();
        self.loaded()
    }

    /// Keeps a key in the place of what was read of it, `None` where it is new. It is written when this returns.
    ///
    /// # Errors
    /// Nothing was changed: another one is kept by now, its alias is another key's, or it cannot be written.
    pub fn put(&self, before: Option<&VirtualKey>, key: &VirtualKey) -> Result<(), Unchanged> {
        self.change(Change { keys: vec![Step::new(before, Some(key))?], ..Change::default() })
    }

    /// Forgets these keys as they were read, all of them or none.
    ///
    /// # Errors
    /// As [`KeyStore::put`].
    pub fn delete(&self, keys: &[VirtualKey]) -> Result<(), Unchanged> {
        let keys = keys.iter().map(|key| Step::new(Some(key), None)).collect::<Result<_, _>>()?;
        self.change(Change { keys, ..Change::default() })
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
