//! Changes of keys and teams that other gateways may change, too: each is made to the rows as they were read, or nothing is changed.
//!
//! What a change was made for is compared with what is kept by now, in the transaction that writes it, and while nobody else writes. So of two
//! gateways that change one key at once the second is told, and what neither knew of is never written over.

use super::kept_rows::{Kept, Tables, Texts, name_of, read, row_of};
use super::keys::{KeyStore, Source, lock, words};
use super::renewed;
use super::state_file::writing;
use crate::virtual_key::{KeptTeam, VirtualKey};

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// Somebody else has changed the same meanwhile: whoever reads it anew may do it again.
    Overtaken,
    /// Another key has this alias by now.
    AliasTaken(String),
    /// What is named so would be written over, and cannot be read.
    Unread(String),
    /// It cannot be written, in words.
    Failed(String),
}

/// One row, as it was read and as it is to be; `None` is no row.
pub(super) struct Step<T> {
    name: String,
    before: Option<T>,
    after: Option<T>,
    row: Texts,
}

/// How a row is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    AsRead,
    /// As it is to be: where a commit's answer was lost, the same is asked once more.
    Done,
    Other,
}

/// A change, all of it or nothing.
#[derive(Default)]
pub(super) struct Change {
    pub(super) keys: Vec<Step<VirtualKey>>,
    pub(super) teams: Vec<Step<KeptTeam>>,
    /// Teams whose keys go with them, whoever made these.
    pub(super) with_keys_of: Vec<String>,
    /// The digests of a key before and after it is renewed.
    pub(super) renewed: Option<[String; 2]>,
}

impl<T: Kept> Step<T> {
    /// # Errors
    /// It cannot be written as a row.
    pub(super) fn new(before: Option<&T>, after: Option<&T>) -> Result<Self, Unchanged> {
        let row = after.map(row_of).transpose().map_err(Unchanged::Failed)?.unwrap_or_default();
        let name = after.or(before).map(Kept::name).unwrap_or_default();
        Ok(Self { name, before: before.cloned(), after: after.cloned(), row })
    }

    fn find<C: Tables>(&self, tables: &mut C) -> Result<Result<Found, Unchanged>, C::Fault> {
        let row = tables.ask(&format!("{}{}", T::ONE, C::TO_CHANGE), &[&self.name])?.pop();
        let Ok(found) = row.as_deref().map(read::<T>).transpose() else {
            return Ok(Err(Unchanged::Unread(T::told(&self.name))));
        };
        Ok(Ok(if found == self.before {
            Found::AsRead
        } else if found == self.after {
            Found::Done
        } else {
            Found::Other
        }))
    }

    fn write<C: Tables>(&self, tables: &mut C) -> Result<(), C::Fault> {
        match (&self.before, &self.after) {
            (_, None) => tables.tell(T::DELETE, &[Some(self.name.clone())]),
            (None, Some(_)) => tables.tell(T::INSERT, &self.row),
            (Some(_), Some(_)) => tables.tell(T::UPDATE, &self.row),
        }
    }
}

impl Change {
    fn apply<C: Tables>(&self, tables: &mut C) -> Result<Result<(), Unchanged>, C::Fault> {
        tables.be_alone()?;
        let mut found = Vec::new();
        for step in &self.keys {
            found.push(step.find(tables)?);
        }
        for step in &self.teams {
            found.push(step.find(tables)?);
        }
        let found = match found.into_iter().collect::<Result<Vec<Found>, Unchanged>>() {
            Ok(found) => found,
            Err(unread) => return Ok(Err(unread)),
        };
        // That nothing is there any more may be somebody else's doing, who put another one in its place.
        let puts =
            self.keys.iter().any(|step| step.after.is_some()) || self.teams.iter().any(|step| step.after.is_some());
        if puts && found.iter().all(|found| *found == Found::Done) {
            return Ok(Ok(()));
        }
        if found.iter().any(|found| *found != Found::AsRead) {
            return Ok(Err(Unchanged::Overtaken));
        }
        if let Some(taken) = self.taken_alias(tables)? {
            return Ok(Err(taken));
        }
        if let Some(unread) = self.unread_member(tables)? {
            return Ok(Err(unread));
        }
        self.write(tables).map(Ok)
    }

    /// An alias that is new to its key, where another key has it.
    fn taken_alias<C: Tables>(&self, tables: &mut C) -> Result<Option<Unchanged>, C::Fault> {
        for alias in self.keys.iter().filter_map(|step| step.after.as_ref()?.alias.as_deref()) {
            let had =
                |step: &Step<VirtualKey>| step.before.as_ref().and_then(|key| key.alias.as_deref()) == Some(alias);
            if self.keys.iter().any(had) {
                continue;
            }
            let others = tables.ask("SELECT token FROM keys WHERE key_alias = ?1", &[alias])?;
            if others.iter().any(|row| !self.keys.iter().any(|step| step.name == name_of(row))) {
                return Ok(Some(Unchanged::AliasTaken(alias.to_owned())));
            }
        }
        Ok(None)
    }

    /// A key that would go with its team and cannot be read.
    fn unread_member<C: Tables>(&self, tables: &mut C) -> Result<Option<Unchanged>, C::Fault> {
        let members = format!("SELECT token, key_alias, team, key FROM keys WHERE team = ?1{}", C::TO_CHANGE);
        for team in &self.with_keys_of {
            let members = tables.ask(&members, &[team])?;
            if let Some(unread) = members.iter().find(|row| read::<VirtualKey>(row).is_err()) {
                return Ok(Some(Unchanged::Unread(VirtualKey::told(name_of(unread)))));
            }
        }
        Ok(None)
    }

    fn write<C: Tables>(&self, tables: &mut C) -> Result<(), C::Fault> {
        if let Some([old, new]) = &self.renewed {
            for text in renewed::NOTED {
                tables.tell(text, &[Some(old.clone()), Some(new.clone())])?;
            }
        }
        for team in &self.with_keys_of {
            tables.tell("DELETE FROM keys WHERE team = ?1", &[Some(team.clone())])?;
        }
        for step in &self.keys {
            step.write(tables)?;
        }
        for step in &self.teams {
            step.write(tables)?;
        }
        Ok(())
    }
}

impl KeyStore {
    /// Makes a change; it is written when this returns.
    ///
    /// # Errors
    /// Nothing was changed, and why.
    pub(super) fn change(&self, change: Change) -> Result<(), Unchanged> {
        match self.source() {
            Source::File(database) => {
                let failed = |fault| Unchanged::Failed(words(fault));
                let mut database = lock(database);
                let transaction = writing(&mut database).map_err(failed)?;
                change.apply(&mut &*transaction).map_err(failed)??;
                transaction.commit().map_err(failed)
            }
            Source::Server(server) => {
                server.change(move |transaction| change.apply(transaction)).map_err(Unchanged::Failed)?
            }
        }
    }
}
