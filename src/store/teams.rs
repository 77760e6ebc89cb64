//! Teams, as they are kept beside the keys.

use rusqlite::params;

use super::keys::{KeyStore, Source, lock, words};
use super::postgres::numbered;
use super::renewed;
use crate::virtual_key::{KeptTeam, KeyHash, VirtualKey};

impl KeyStore {
    /// All teams.
    ///
    /// # Errors
    /// They cannot be read, in words.
    pub fn load_teams(&self) -> Result<Vec<KeptTeam>, String> {
        let texts = self.texts("SELECT team FROM teams ORDER BY team_id")?;
        let read =
            |text: &String| serde_json::from_str(text).map_err(|fault| format!("a kept team cannot be read: {fault}"));
        texts.iter().map(read).collect()
    }

    /// Keeps a team, new or changed. It is written when this returns.
    ///
    /// # Errors
    /// It cannot be written, in words.
    pub fn put_team(&self, team: &KeptTeam) -> Result<(), String> {
        let text = serde_json::to_string(team).map_err(|fault| fault.to_string())?;
        let id = team.id.clone();
        match self.source() {
            Source::File(database) => {
                let written = lock(database).execute("INSERT OR REPLACE INTO teams VALUES (?1, ?2)", params![id, text]);
                written.map(drop).map_err(words)
            }
            Source::Server(server) => server.change(move |client| {
                let put = "INSERT INTO teams VALUES ($1, $2) ON CONFLICT (team_id) DO UPDATE SET team = excluded.team";
                client.execute(put, &[&id, &text]).map(drop)
            }),
        }
    }

    /// Forgets these teams and their keys, all of them or none.
    ///
    /// # Errors
    /// As [`KeyStore::put_team`].
    pub fn delete_teams(&self, ids: &[String]) -> Result<(), String> {
        const KEYS: &str = "DELETE FROM keys WHERE team = ";
        const TEAMS: &str = "DELETE FROM teams WHERE team_id = ";
        let ids = ids.to_vec();
        match self.source() {
            Source::File(database) => {
                let mut database = lock(database);
                let transaction = database.transaction().map_err(words)?;
                for (id, from) in ids.iter().flat_map(|id| [(id, KEYS), (id, TEAMS)]) {
                    transaction.execute(&format!("{from}?1"), params![id]).map_err(words)?;
                }
                transaction.commit().map_err(words)
            }
            Source::Server(server) => server.change(move |client| {
                for from in [KEYS, TEAMS] {
                    client.execute(&format!("{from}ANY($1)"), &[&ids])?;
                }
                Ok(())
            }),
        }
    }

    /// Keeps a key in the place of another, or changes nothing. What the other has spent counts as the new one's.
    ///
    /// # Errors
    /// As [`KeyStore::put_team`].
    pub fn replace(&self, old: KeyHash, key: &VirtualKey) -> Result<(), String> {
        const FORGET: &str = "DELETE FROM keys WHERE token = ";
        // Its table is made where it is missing.
        self.known_before(&key.hash.to_string())?;
        let text = serde_json::to_string(key).map_err(|fault| fault.to_string())?;
        let (old, hash) = (old.to_string(), key.hash.to_string());
        let (alias, team) = (key.alias.clone(), key.team.clone());
        let names = [old.clone(), hash.clone()];
        let replaced = match self.source() {
            Source::File(database) => {
                let mut database = lock(database);
                let transaction = database.transaction().map_err(words)?;
                for text in renewed::NOTED {
                    transaction.execute(text, params![old, hash]).map_err(words)?;
                }
                transaction.execute(&format!("{FORGET}?1"), params![old]).map_err(words)?;
                let put = "INSERT INTO keys VALUES (?1, ?2, ?3, ?4)";
                transaction.execute(put, params![hash, alias, team, text]).map_err(words)?;
                transaction.commit().map_err(words)
            }
            Source::Server(server) => server.change(move |client| {
                for text in renewed::NOTED {
                    client.execute(&numbered(text), &[&old, &hash])?;
                }
                client.execute(&format!("{FORGET}$1"), &[&old])?;
                client.execute("INSERT INTO keys VALUES ($1, $2, $3, $4)", &[&hash, &alias, &team, &text]).map(drop)
            }),
        };
        replaced.inspect(|()| self.1.note(&names))
    }
}
