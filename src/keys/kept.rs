//! What is kept beside a ledger, taken up: at a start, and where another gateway may have changed it.
//!
//! What cannot be read is in force as a key or a team that is blocked. That it is so is told once, and once that it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::KeyBook;
use crate::id::TeamId;
use crate::moment::Moment;
use crate::store::{KeyStore, Loaded};
use crate::virtual_key::{KeptTeam, KeyHash, VirtualKey};

/// What is kept and cannot be read.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    /// What is wrong with each, by what names it.
    why: BTreeMap<String, String>,
    keys: BTreeSet<KeyHash>,
    teams: BTreeSet<TeamId>,
}

impl Rows {
    fn of(keys: &Loaded<VirtualKey>, teams: &Loaded<KeptTeam>) -> Self {
        let of_keys = keys.unread.iter().map(|row| (row.name.clone(), row.why.clone()));
        let of_teams = teams.unread.iter().map(|row| (row.name.clone(), row.why.clone()));
        Self {
            why: of_keys.chain(of_teams).collect(),
            keys: keys.unread.iter().filter_map(|row| Some(row.stand_in.as_ref()?.hash)).collect(),
            teams: teams.unread.iter().filter_map(|row| Some(row.stand_in.as_ref()?.team_id())).collect(),
        }
    }
}

impl Unreadable {
    /// These are all there are now. Returns those there were not before, with what is wrong, and those that can be read again or are gone.
    fn turn(&self, now: Rows) -> (Vec<(String, String)>, Vec<String>) {
        let mut rows = self.lock();
        let begun = now.why.iter().filter(|(row, _)| !rows.why.contains_key(*row));
        let begun = begun.map(|(row, why)| (row.clone(), why.clone())).collect();
        let ended = rows.why.keys().filter(|row| !now.why.contains_key(*row)).cloned().collect();
        *rows = now;
        (begun, ended)
    }

    fn tell(&self, now: Rows) {
        let (begun, ended) = self.turn(now);
        for (row, why) in begun {
            tracing::error!(
                row,
                why,
                "what is kept of it cannot be read: a newer version wrote it, or it is damaged; it is refused and left as it is"
            );
        }
        for row in ended {
            tracing::info!(row, "what could not be read of it is gone, or can be read again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyBook {
    /// Puts in force what `store` keeps, and says whether that is other than what was. `now` tells the time. Blocks; nobody else may change a
    /// key meanwhile ([`KeyBook::change`]).
    ///
    /// # Errors
    /// The store cannot be read, in words; nothing is other than it was.
    pub fn take_up(&self, store: &KeyStore, now: impl Fn() -> Moment) -> Result<bool, String> {
        let (keys, teams) = (store.load()?, store.load_teams()?);
        let unread = Rows::of(&keys, &teams);
        let (keys, teams) = (keys.with_stand_ins(), teams.with_stand_ins());
        let mut renewed = Vec::new();
        for gone in self.gone(&keys) {
            let hash = store.renewed_to(gone)?.and_then(|hash| KeyHash::parse(&hash));
            renewed.extend(hash.map(|hash| (gone, hash)));
        }
        self.unreadable.tell(unread);
        let teams = self.teams.load(&now, teams);
        let changed = self.load(now, keys, &renewed) | teams;
        self.awaited.store(false, Ordering::Release);
        Ok(changed)
    }

    /// What is kept cannot be read at the start: until it is, a key that is not known may be one of those.
    pub fn await_kept(&self) {
        self.awaited.store(true, Ordering::Release);
    }

    /// Whether what is kept is yet to be read.
    #[must_use]
    pub fn is_awaiting(&self) -> bool {
        self.awaited.load(Ordering::Acquire)
    }

    /// Whether what is kept of this key cannot be read, so that it is blocked.
    #[must_use]
    pub fn is_unreadable(&self, hash: KeyHash) -> bool {
        self.unreadable.lock().keys.contains(&hash)
    }

    /// The same of a team.
    #[must_use]
    pub fn is_unreadable_team(&self, id: &TeamId) -> bool {
        self.unreadable.lock().teams.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;
    use std::sync::Arc;

    use super::*;
    use crate::limits::Limits;
    use crate::store::{Ledger, Unchanged};

    #[test]
    fn a_row_that_cannot_be_read_is_blocked_alone_told_once_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap();
        let (store, now) = (ledger.keys(), Moment::from_millis(1));
        let key = |secret: &str| VirtualKey::new(KeyHash::of(secret), String::new(), now);
        let [sound, damaged] = ["sk-sound", "sk-damaged"].map(key);
        let damaged = VirtualKey { alias: Some("a".to_owned()), team: Some("lab".to_owned()), ..damaged };
        store.put(None, &sound).unwrap();
        store.put(None, &damaged).unwrap();
        store.put_team(None, &KeptTeam::new("lab".to_owned(), now)).unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        let write = |text: &str| {
            let token = damaged.hash.to_string();
            database.execute("UPDATE keys SET key = ?1 WHERE token = ?2", rusqlite::params![text, token]).unwrap();
        };
        let whole = serde_json::to_string(&damaged).unwrap();
        write(r#"{"hash": "sk-secret"}"#);
        database.execute("UPDATE teams SET team = 'no JSON'", []).unwrap();

        let book = KeyBook::new(Arc::new(Limits::new(&BTreeMap::new())), Arc::default());
        book.await_kept();
        assert!(book.is_awaiting());
        assert_eq!(book.take_up(store, || now), Ok(true));
        assert!(!book.is_awaiting());
        let blocked = |key: &VirtualKey| book.get(key.hash).map(|known| known.key.blocked);
        assert_eq!((blocked(&sound), blocked(&damaged)), (Some(false), Some(true)));
        assert!(book.is_unreadable(damaged.hash) && !book.is_unreadable(sound.hash));
        let stand_in = book.get(damaged.hash).unwrap().key;
        assert_eq!((stand_in.alias.as_deref(), stand_in.team.as_deref()), (Some("a"), Some("lab")));
        let lab = book.teams.get(&TeamId::from("lab")).unwrap().team;
        assert!(lab.blocked && book.is_unreadable_team(&lab.team_id()));
        assert_eq!(book.take_up(store, || now), Ok(false));

        let named = || Unchanged::Unread(format!("the key {}", damaged.hash));
        let open = VirtualKey { blocked: false, ..VirtualKey::clone(&stand_in) };
        assert_eq!(store.put(Some(&*stand_in), &open), Err(named()));
        assert_eq!(store.delete(from_ref(&*stand_in)), Err(named()));
        assert_eq!(store.replace(&stand_in, &key("sk-new")), Err(named()));
        assert_eq!(store.delete_teams(from_ref(&*lab)), Err(Unchanged::Unread("the team `lab`".to_owned())));
        let loaded = store.load().unwrap();
        assert_eq!((loaded.read.as_slice(), loaded.unread.len()), (&[sound][..], 1));
        assert!(!format!("{:?}", loaded.unread).contains("sk-secret"), "{loaded:?}");

        let unread = |store: &KeyStore| Rows::of(&store.load().unwrap(), &store.load_teams().unwrap());
        let (begun, ended) = book.unreadable.turn(unread(store));
        assert!(begun.is_empty() && ended.is_empty(), "they were told already");
        write(&whole);
        assert_eq!(book.unreadable.turn(unread(store)), (Vec::new(), vec![format!("the key {}", damaged.hash)]));
        assert_eq!(book.take_up(store, || now), Ok(true));
        assert_eq!((blocked(&damaged), book.is_unreadable(damaged.hash)), (Some(false), false));
    }
}
