//! What a request waits for: where it may go, and what must have room for it.

use std::fmt;
use std::sync::Arc;

use crate::health::Health;
use crate::id::{GroupName, KeyId};
use crate::limits::{Demand, ScopeId};
use crate::moment::Moment;

/// What a request waits for.
#[derive(Debug)]
pub struct Want {
    /// Its group.
    pub group: GroupName,
    /// Lower is more urgent.
    pub priority: i32,
    /// Whose request it is.
    pub caller: KeyId,
    /// The same for the same request of one caller, so that it finds its place when it comes back.
    pub digest: u64,
    /// Scopes that must all have room, for the most that any candidate needs.
    pub shared: Vec<ScopeId>,
    /// The same of which others that wait know nothing: of its key, team and tags. Nobody waits behind it for them.
    pub own: Vec<ScopeId>,
    /// Where it may go.
    pub candidates: Vec<Candidate>,
}

/// Where a request may go.
pub struct Candidate {
    /// Whose limits.
    pub scope: ScopeId,
    /// What they must have room for, as far as it is known when it is asked: those who start first teach it.
    pub demand: Box<dyn Fn() -> Demand + Send + Sync>,
    /// Whether it may be called.
    pub health: Arc<Health>,
    /// Whether budgets have the money for it; else when the one that is waited for begins anew, where that is soon.
    pub affordable: Box<dyn Fn(Moment) -> Result<(), Option<Moment>> + Send + Sync>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Want {
    pub(super) fn shared_demand(&self) -> Demand {
        self.candidates.iter().map(|one| (one.demand)()).fold(Demand::default(), |most, one| Demand {
            input_tokens: most.input_tokens.max(one.input_tokens),
            output_tokens: most.output_tokens.max(one.output_tokens),
            cost: most.cost.max(one.cost),
        })
    }

    /// Its tokens.
    pub(super) fn size(&self) -> u64 {
        let Demand { input_tokens, output_tokens, .. } = self.shared_demand();
        input_tokens.saturating_add(output_tokens)
    }
}
