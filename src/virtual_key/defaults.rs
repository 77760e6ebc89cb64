//! What a key or a team has that is made while the gateway runs, where whoever makes it says nothing of it.

use serde_json::{Map, Value};

use super::{Allowance, KeptTeam, KeyHash, VirtualKey};
use crate::budgets::Period;
use crate::moment::Moment;

/// Of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyDefaults {
    /// What it may use.
    pub allowance: Allowance,
    /// The models it may ask for; empty is all.
    pub models: Vec<String>,
    /// Whose it is.
    pub team: Option<String>,
    /// Who holds it.
    pub user: Option<String>,
    /// What is remembered of it.
    pub metadata: Map<String, Value>,
    /// How long it is good for.
    pub duration: Option<Period>,
}

impl KeyDefaults {
    /// A key of which nothing is said.
    #[must_use]
    pub fn key(&self, key: &str, now: Moment) -> VirtualKey {
        let Self { allowance, models, team, user, metadata, duration } = self.clone();
        let expires = duration.map(|duration| duration.after(now));
        let new = VirtualKey::new(KeyHash::of(key), VirtualKey::tail_of(key), now);
        VirtualKey { models, allowance, team, user, metadata, expires, ..new }
    }
}

/// Of teams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeamDefaults {
    /// What its keys may use together.
    pub allowance: Allowance,
    /// The models its keys may ask for; empty is all.
    pub models: Vec<String>,
}

impl TeamDefaults {
    /// A team of which nothing is said.
    #[must_use]
    pub fn team(&self, id: String, now: Moment) -> KeptTeam {
        let Self { allowance, models } = self.clone();
        KeptTeam { models, allowance, ..KeptTeam::new(id, now) }
    }
}
