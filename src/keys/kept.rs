//! What is kept beside a ledger, taken up: at a start, and where another gateway may have changed it.

use super::KeyBook;
use crate::moment::Moment;
use crate::store::KeyStore;
use crate::virtual_key::KeyHash;

impl KeyBook {
    /// Puts in force what `store` keeps, and says whether that is other than what was. `now` tells the time. Blocks; nobody else may change a
    /// key meanwhile ([`KeyBook::change`]).
    ///
    /// # Errors
    /// It cannot be read, in words; nothing is other than it was.
    pub fn take_up(&self, store: &KeyStore, now: impl Fn() -> Moment) -> Result<bool, String> {
        let (keys, teams) = (store.load()?, store.load_teams()?);
        let mut renewed = Vec::new();
        for gone in self.gone(&keys) {
            let hash = store.renewed_to(gone)?.and_then(|hash| KeyHash::parse(&hash));
            renewed.extend(hash.map(|hash| (gone, hash)));
        }
        let teams = self.teams.load(&now, teams);
        Ok(self.load(now, keys, &renewed) | teams)
    }
}
