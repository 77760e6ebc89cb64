//! Who judges a sample of a group's replies, and what that may cost.

use std::sync::Arc;

use crate::budgets::{BudgetSpec, Period};
use crate::id::{GroupName, KeyId};
use crate::money::NanoUsd;

/// What replies are judged by where the configuration does not say.
pub const RUBRIC: &str = "Is the reply correct, complete, to the point, and what was asked for?";

/// The judge of a group's replies.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeChoice {
    /// The group, or another name of one, whose models judge.
    pub group: GroupName,
    /// The share of replies that is judged, 0 to 1.
    pub sample: f64,
    /// What makes a reply good, in words.
    pub rubric: Arc<str>,
    /// What judging this group's replies may cost in a day.
    pub max_per_day: NanoUsd,
}

impl JudgeChoice {
    /// The name that judging the replies of `group` goes by in the ledger: an account of its own.
    #[must_use]
    pub fn account(group: &GroupName) -> KeyId {
        KeyId::from(format!("judge:{group}"))
    }

    /// Its budget.
    #[must_use]
    pub fn budget(&self) -> BudgetSpec {
        BudgetSpec { max: Some(self.max_per_day), period: Period::parse("1d"), ..BudgetSpec::default() }
    }
}
