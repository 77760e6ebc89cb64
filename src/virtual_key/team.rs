//! A team as it is kept: what its keys may use together, and which models they may ask for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Allowance, tags_in};
use crate::budgets::BudgetSpec;
use crate::id::TeamId;
use crate::limits::Scope;
use crate::moment::Moment;
use crate::money::NanoUsd;

/// A team of keys, made while the gateway runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptTeam {
    /// What keys name it by.
    pub id: String,
    /// What people call it.
    pub alias: Option<String>,
    /// The models its keys may ask for, stars allowed; empty is all.
    pub models: Vec<String>,
    /// What its keys may use together.
    pub allowance: Allowance,
    /// Whatever its makers want to remember.
    pub metadata: Map<String, Value>,
    /// Whether its keys are refused for now.
    pub blocked: bool,
    /// When it was made.
    pub created: Moment,
    /// When it was changed.
    pub updated: Moment,
}

impl KeptTeam {
    /// A team with no bounds.
    #[must_use]
    pub fn new(id: String, now: Moment) -> Self {
        Self {
            id,
            alias: None,
            models: Vec::new(),
            allowance: Allowance::default(),
            metadata: Map::new(),
            blocked: false,
            created: now,
            updated: now,
        }
    }

    /// Its name.
    #[must_use]
    pub fn team_id(&self) -> TeamId {
        TeamId::from(self.id.as_str())
    }

    /// The tags that each request of its keys has: those in its metadata.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        tags_in(&self.metadata)
    }

    /// Where its limits and its budget count.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::Team(self.team_id())
    }

    /// Its budget: what is spent is counted from when it was made.
    #[must_use]
    pub fn budget(&self) -> BudgetSpec {
        BudgetSpec { counted: Some((self.created, NanoUsd::default())), ..self.allowance.account() }
    }
}
