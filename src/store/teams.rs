//! Teams, as they are kept beside the keys.

use super::changes::{Change, Step, Unchanged};
use super::kept_rows::Loaded;
use super::keys::KeyStore;
use crate::virtual_key::{KeptTeam, VirtualKey};

impl KeyStore {
    /// All teams that can be read, and which cannot.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub fn load_teams(&self) -> Result<Loaded<KeptTeam>, String> {
        self.loaded()
    }

    /// Keeps a team in the place of what was read of it, `None` where it is new. It is written when this returns.
    ///
    /// # Errors
    /// Nothing was changed: another one is kept by now, or it cannot be written.
    pub fn put_team(&self, before: Option<&KeptTeam>, team: &KeptTeam) -> Result<(), Unchanged> {
        self.change(Change { teams: vec![Step::new(before, Some(team))?], ..Change::default() })
    }

    /// Forgets these teams as they were read and all keys of theirs, or nothing.
    ///
    /// # Errors
    /// As [`KeyStore::put_team`]; or one of the keys cannot be read.
    pub fn delete_teams(&self, teams: &[KeptTeam]) -> Result<(), Unchanged> {
        let with_keys_of = teams.iter().map(|team| team.id.clone()).collect();
        let teams = teams.iter().map(|team| Step::new(Some(team), None)).collect::<Result<_, _>>()?;
        self.change(Change { teams, with_keys_of, ..Change::default() })
    }

    /// Keeps a key in the place of another as that was read, or changes nothing. What the other has spent counts as the new one's.
    ///
    /// # Errors
    /// As [`KeyStore::put`].
    pub fn replace(&self, old: &VirtualKey, key: &VirtualKey) -> Result<(), Unchanged> {
        let names = [old, key].map(|key| key.hash.to_string());
        // Its table is made where it is missing.
        self.known_before(&names[1]).map_err(Unchanged::Failed)?;
        let keys = vec![Step::new(Some(old), None)?, Step::new(None, Some(key))?];
        self.change(Change { keys, renewed: Some(names.clone()), ..Change::default() })?;
        self.1.note(&names);
        Ok(())
    }
}
