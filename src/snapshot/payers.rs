//! Who pays for requests beside their keys: all together, teams, tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::budgets::{BudgetId, Change};
use crate::config::{PayerSettings, PayerSpec};
use crate::id::TeamId;
use crate::limits::{Limits, Scope, ScopeId};
use crate::moment::Moment;

/// Where requests count beside their group.
#[derive(Clone, Debug, Default)]
pub struct Payer {
    /// Its limits, where it has any.
    pub scope: Option<ScopeId>,
    /// Its budgets.
    pub budgets: Vec<BudgetId>,
}

/// A team of keys.
#[derive(Clone, Debug, Default)]
pub struct Team {
    /// Its limits and budgets.
    pub payer: Payer,
    /// The models it may ask for, stars allowed; empty is all.
    pub models: Vec<String>,
}

/// Those who pay.
#[derive(Clone, Debug, Default)]
pub struct Payers {
    /// The budgets of all together.
    pub global: Vec<BudgetId>,
    /// Teams by name.
    pub teams: BTreeMap<TeamId, Team>,
    /// Tags by name.
    pub tags: BTreeMap<Arc<str>, Payer>,
}

impl Payers {
    /// Those of a configuration.
    #[must_use]
    pub fn new(settings: &PayerSettings, limits: &Limits, change: &Change<'_>, now: Moment) -> Self {
        let payer = |scope: &Scope, spec: &PayerSpec| Payer {
            scope: spec.limits.as_ref().map(|_| limits.id(scope)),
            budgets: change.set(now, scope, &spec.budgets),
        };
        let teams = settings.teams.iter().map(|(name, spec)| {
            let payer = payer(&Scope::Team(name.clone()), &spec.payer);
            (name.clone(), Team { payer, models: spec.models.clone() })
        });
        let tags =
            settings.tags.iter().map(|(name, spec)| (Arc::clone(name), payer(&Scope::Tag(Arc::clone(name)), spec)));
        Self { global: change.set(now, &Scope::Global, &settings.global), teams: teams.collect(), tags: tags.collect() }
    }
}
