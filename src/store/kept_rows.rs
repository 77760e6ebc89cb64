//! Rows of keys and teams: what this version can read of them, and what stands in the place of one that it cannot.
//!
//! The rule: a row that cannot be read holds up no other, and is neither written over nor taken away. Whoever it is stays refused.

use postgres::types::ToSql;
use postgres::{Error as ServerError, Transaction};
use rusqlite::{Connection, Error, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::{KeyStore, Source, lock, words};
use super::postgres::{KEYS_LOCK, numbered};
use crate::moment::Moment;
use crate::virtual_key::{KeptTeam, KeyHash, VirtualKey};

/// What is kept, as far as this version can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<T> {
    /// What can be read.
    pub read: Vec<T>,
    /// Rows that cannot.
    pub unread: Vec<Unread<T>>,
}

/// A row that cannot be read: a newer version wrote it, or it is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread<T> {
    /// What names it, which is no secret.
    pub name: String,
    /// What is wrong with it, without a word of what it holds.
    pub why: String,
    /// One that is blocked, with what stands beside the part that cannot be read; `None` where nobody knows whose it is.
    pub stand_in: Option<T>,
}

impl<T> Loaded<T> {
    /// All that is known, blocked ones in the place of those that cannot be read.
    #[must_use]
    pub fn with_stand_ins(self) -> Vec<T> {
        self.read.into_iter().chain(self.unread.into_iter().filter_map(|row| row.stand_in)).collect()
    }
}

/// The columns of a row. What is no text is none.
pub(super) type Texts = Vec<Option<String>>;

/// A key or a team, as a row of its table: its name first, all of it as JSON last, and between them what is asked for by itself.
pub(super) trait Kept: Clone + PartialEq + Serialize + DeserializeOwned + Send + 'static {
    const ALL: &'static str;
    const ONE: &'static str;
    const INSERT: &'static str;
    const UPDATE: &'static str;
    const DELETE: &'static str;

    /// What names its row.
    fn name(&self) -> String;

    /// What stands between the name and the JSON.
    fn between(&self) -> Texts;

    /// What people are told of a row with this name.
    fn told(name: &str) -> String;

    /// One that is blocked, in the place of a row that cannot be read.
    fn stand_in(row: &[Option<String>]) -> Option<Self>;
}

impl Kept for VirtualKey {
    const ALL: &'static str = "SELECT token, key_alias, team, key FROM keys ORDER BY token";
    const ONE: &'static str = "SELECT token, key_alias, team, key FROM keys WHERE token = ?1";
    const INSERT: &'static str = "INSERT INTO keys VALUES (?1, ?2, ?3, ?4)";
    const UPDATE: &'static str = "UPDATE keys SET key_alias = ?2, team = ?3, key = ?4 WHERE token = ?1";
    const DELETE: &'static str = "DELETE FROM keys WHERE token = ?1";

    fn name(&self) -> String {
        self.hash.to_string()
    }

    fn between(&self) -> Texts {
        vec![self.alias.clone(), self.team.clone()]
    }

    fn told(name: &str) -> String {
        // Whoever wrote a key in the place of its digest did not mean it to be read.
        let unnamed = || "a key whose `token` is no digest".to_owned();
        KeyHash::parse(name).map_or_else(unnamed, |hash| format!("the key {hash}"))
    }

    fn stand_in(row: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| row.get(at).cloned().flatten();
        let key = Self::new(KeyHash::parse(&text(0)?)?, String::new(), Moment::default());
        Some(Self { alias: text(1), team: text(2), blocked: true, ..key })
    }
}

impl Kept for KeptTeam {
    const ALL: &'static str = "SELECT team_id, team FROM teams ORDER BY team_id";
    const ONE: &'static str = "SELECT team_id, team FROM teams WHERE team_id = ?1";
    const INSERT: &'static str = "INSERT INTO teams VALUES (?1, ?2)";
    const UPDATE: &'static str = "UPDATE teams SET team = ?2 WHERE team_id = ?1";
    const DELETE: &'static str = "DELETE FROM teams WHERE team_id = ?1";

    fn name(&self) -> String {
        self.id.clone()
    }

    fn between(&self) -> Texts {
        Vec::new()
    }

    fn told(name: &str) -> String {
        format!("the team `{name}`")
    }

    fn stand_in(row: &[Option<String>]) -> Option<Self> {
        let team = Self::new(row.first().cloned().flatten()?, Moment::default());
        Some(Self { blocked: true, ..team })
    }
}

/// What names a row.
pub(super) fn name_of(row: &[Option<String>]) -> &str {
    row.first().and_then(Option::as_deref).unwrap_or_default()
}

/// What is kept, as a row.
///
/// # Errors
/// It cannot be written as JSON, in words.
pub(super) fn row_of<T: Kept>(kept: &T) -> Result<Texts, String> {
    let text = serde_json::to_string(kept).map_err(|fault| fault.to_string())?;
    let mut row = vec![Some(kept.name())];
    row.extend(kept.between());
    row.push(Some(text));
    Ok(row)
}

/// What a row holds.
///
/// # Errors
/// It cannot be read; why, in words that repeat nothing of it.
pub(super) fn read<T: Kept>(row: &[Option<String>]) -> Result<T, String> {
    let text = row.last().and_then(Option::as_deref).unwrap_or_default();
    match serde_json::from_str::<T>(text) {
        Ok(kept) if kept.name() == name_of(row) => Ok(kept),
        Ok(_) => Err("its name and what it holds do not belong together".to_owned()),
        Err(fault) if fault.is_data() => {
            Err(format!("this version does not know what it holds, at column {}", fault.column()))
        }
        Err(fault) => Err(format!("it is no JSON from column {} on", fault.column())),
    }
}

impl KeyStore {
    /// All keys, or all teams.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub(super) fn loaded<T: Kept>(&self) -> Result<Loaded<T>, String> {
        let rows = match self.source() {
            Source::File(database) => {
                let database = lock(database);
                let mut tables: &Connection = &database;
                tables.ask(T::ALL, &[]).map_err(words)?
            }
            Source::Server(server) => {
                server.run(|client| Ok(client.query(T::ALL, &[])?.iter().map(texts).collect::<Vec<_>>()))?
            }
        };
        let mut loaded = Loaded { read: Vec::new(), unread: Vec::new() };
        for row in rows {
            match read(&row) {
                Ok(kept) => loaded.read.push(kept),
                Err(why) => {
                    let name = T::told(name_of(&row));
                    loaded.unread.push(Unread { name, why, stand_in: T::stand_in(&row) });
                }
            }
        }
        Ok(loaded)
    }
}

/// The tables, in a file or on a server, within one transaction.
pub(super) trait Tables {
    /// What goes wrong with them.
    type Fault;

    /// What stands behind a question for rows that are to be changed.
    const TO_CHANGE: &'static str;

    /// Waits until nobody else changes keys or teams.
    fn be_alone(&mut self) -> Result<(), Self::Fault>;

    fn ask(&mut self, text: &str, names: &[&str]) -> Result<Vec<Texts>, Self::Fault>;

    fn tell(&mut self, text: &str, values: &[Option<String>]) -> Result<(), Self::Fault>;
}

impl Tables for &Connection {
    type Fault = Error;

    const TO_CHANGE: &'static str = "";

    /// Whoever has begun to write is.
    fn be_alone(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn ask(&mut self, text: &str, names: &[&str]) -> Result<Vec<Texts>, Error> {
        let mut statement = self.prepare(text)?;
        let columns = statement.column_count();
        let rows = statement.query_map(params_from_iter(names), |row| {
            (0..columns)
                .map(|at| Ok(row.get_ref(at)?.as_str().ok().map(str::to_owned)))
                .collect::<Result<Texts, Error>>()
        })?;
        rows.collect()
    }

    fn tell(&mut self, text: &str, values: &[Option<String>]) -> Result<(), Error> {
        self.execute(text, params_from_iter(values)).map(drop)
    }
}

impl Tables for Transaction<'_> {
    type Fault = ServerError;

    /// Gateways of a version that waits for nobody are waited for, and wait.
    const TO_CHANGE: &'static str = " FOR UPDATE";

    fn be_alone(&mut self) -> Result<(), ServerError> {
        self.execute("SELECT pg_advisory_xact_lock($1)", &[&KEYS_LOCK]).map(drop)
    }

    fn ask(&mut self, text: &str, names: &[&str]) -> Result<Vec<Texts>, ServerError> {
        let names: Vec<&(dyn ToSql + Sync)> = names.iter().map(|name| name as &(dyn ToSql + Sync)).collect();
        Ok(self.query(numbered(text).as_str(), &names)?.iter().map(texts).collect())
    }

    fn tell(&mut self, text: &str, values: &[Option<String>]) -> Result<(), ServerError> {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.execute(numbered(text).as_str(), &values).map(drop)
    }
}

/// The columns of a server's row.
fn texts(row: &postgres::Row) -> Texts {
    (0..row.len()).map(|at| row.try_get::<_, Option<String>>(at).ok().flatten()).collect()
}
