//! Where routers of a group get the vectors of questions from, and what that may take.

use std::path::PathBuf;
use std::time::Duration;

use crate::budgets::{BudgetSpec, Period};
use crate::id::{GroupName, KeyId};
use crate::money::NanoUsd;

/// The source of a group's vectors; without one they are made of words and pairs of words, hashed.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingChoice {
    /// What makes them.
    pub source: EmbeddingSource,
    /// How long a decision waits for one.
    pub timeout: Duration,
    /// What this group's vectors may cost in a day.
    pub max_per_day: Option<NanoUsd>,
}

/// What makes vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddingSource {
    /// The group, or another name of one, whose deployments answer requests for vectors.
    Group(GroupName),
    /// The model in this folder, as sentence-transformers writes it, run in this process.
    Folder(PathBuf),
}

impl EmbeddingChoice {
    /// The name that the vectors of `group` go by in the ledger: an account of its own.
    #[must_use]
    pub fn account(group: &GroupName) -> KeyId {
        KeyId::from(format!("embedding:{group}"))
    }

    /// Its budget, where it has one.
    #[must_use]
    pub fn budget(&self) -> Option<BudgetSpec> {
        let max = self.max_per_day?;
        Some(BudgetSpec { max: Some(max), period: Period::parse("1d"), ..BudgetSpec::default() })
    }
}
