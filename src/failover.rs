//! What may help after a fault, as data: which class a fault is of, how often each class is tried again, and which groups take
//! over from one whose deployments all failed.
//!
//! The classes and their names are LiteLLM's, since its files use them (`retry_policy`, `allowed_fails_policy`). A fault of the
//! request itself is never repeated at the deployment that refused it, whatever a policy says: it would be refused again.

mod causes;
mod litellm_names;
mod overrides;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::fault::{AttemptFault, Cause, FaultKind, RefusalKind};
use crate::id::GroupName;

pub use causes::{cause_of, classify};
pub use litellm_names::is_litellms;
pub use overrides::{Overrides, steering_field};

/// LiteLLM's classes of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// The request is refused as it is.
    BadRequest,
    /// The credential is refused, or its account is empty.
    Authentication,
    /// It took too long.
    Timeout,
    /// The provider's limit.
    RateLimit,
    /// The provider's moderation.
    ContentPolicy,
    /// The provider failed, or its reply broke off.
    InternalServer,
    /// The provider is down, or cannot be reached.
    ServiceUnavailable,
    /// Something before the provider failed.
    BadGateway,
    /// The provider does not know the model or the path.
    NotFound,
}

impl FaultClass {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::Authentication,
        Self::Timeout,
        Self::RateLimit,
        Self::ContentPolicy,
        Self::InternalServer,
        Self::ServiceUnavailable,
        Self::BadGateway,
        Self::NotFound,
    ];

    /// The class of a fault; `None` where it says nothing about the provider.
    #[must_use]
    pub const fn of(kind: FaultKind, status: Option<u16>, cause: Option<Cause>) -> Option<Self> {
        Some(match (cause, kind, status) {
            (Some(Cause::ContentPolicy), ..) => Self::ContentPolicy,
            (Some(Cause::ContextWindow | Cause::Capability), ..) | (None, FaultKind::Rejected, _) => Self::BadRequest,
            (None, FaultKind::RateLimited, _) => Self::RateLimit,
            (None, FaultKind::TimedOut, _) => Self::Timeout,
            (None, FaultKind::Misconfigured, Some(400 | 404)) => Self::NotFound,
            (Some(Cause::Credential), ..) | (None, FaultKind::Misconfigured, _) => Self::Authentication,
            (None, FaultKind::Unavailable, Some(502)) => Self::BadGateway,
            (None, FaultKind::Unavailable, Some(503) | None) => Self::ServiceUnavailable,
            (None, FaultKind::Unavailable | FaultKind::BrokenStream, _) => Self::InternalServer,
            (None, FaultKind::Cancelled | FaultKind::Unparsed | FaultKind::Gateway, _) => return None,
        })
    }
}

/// A number for each class of faults, where one is given.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ByClass {
    numbers: [Option<u32>; FaultClass::ALL.len()],
    /// For the classes that have none.
    pub default: Option<u32>,
}

impl fmt::Debug for ByClass {
    /// Only what is given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = FaultClass::ALL.into_iter().zip(self.numbers).filter_map(|(class, number)| Some((class, number?)));
        f.debug_map().entries(given).finish()?;
        self.default.map_or(Ok(()), |number| write!(f, " else {number}"))
    }
}

impl ByClass {
    /// The same with `number` for `class`.
    #[must_use]
    pub const fn with(mut self, class: FaultClass, number: Option<u32>) -> Self {
        self.numbers[class as usize] = number;
        self
    }

    /// The number that is given for `class`, or for all that have none.
    #[must_use]
    pub fn of(&self, class: FaultClass) -> Option<u32> {
        self.numbers[class as usize].or(self.default)
    }
}

/// How often a request is tried again within its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryRule {
    /// After a fault whose class has no number of its own.
    pub retries: u32,
    /// By class of the last fault (`retry_policy`).
    pub by_class: ByClass,
}

impl RetryRule {
    /// Retries after a fault of this class; `None` is a reply that the parser does not take.
    #[must_use]
    pub fn allowed(&self, class: Option<FaultClass>) -> u32 {
        class.and_then(|class| self.by_class.of(class)).unwrap_or(self.retries)
    }

    /// The number that says that a refused request is worth a try elsewhere: the one a policy gives for the class of `fault` by
    /// name, and that of its class where only the limit of this deployment's account is too small for it.
    #[must_use]
    pub fn named(&self, fault: &AttemptFault) -> Option<u32> {
        let class = FaultClass::of(fault.kind, fault.status, fault.cause)?;
        let by_name = self.by_class.numbers[class as usize];
        by_name.or_else(|| fault.is_over_limit().then(|| self.allowed(Some(class))))
    }
}

/// A group that takes over, and what of the request is different there.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The group.
    pub group: GroupName,
    /// What is asked otherwise there.
    pub overrides: Option<Arc<Overrides>>,
}

/// The groups that take over from one, by what its fault was about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fallbacks {
    /// Whatever failed.
    pub generic: Vec<Target>,
    /// The prompt is longer than the group's models take.
    pub context_window: Vec<Target>,
    /// The providers' moderation refuses what is said.
    pub content_policy: Vec<Target>,
}

impl Fallbacks {
    /// Whether there is no group to take over.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.generic.is_empty() && self.context_window.is_empty() && self.content_policy.is_empty()
    }

    /// Who takes over after a fault about `cause`: the list for it where there is one, else the one for all faults.
    #[must_use]
    pub fn after(&self, cause: Option<Cause>) -> &[Target] {
        match cause {
            Some(Cause::ContextWindow) if !self.context_window.is_empty() => &self.context_window,
            Some(Cause::ContentPolicy) if !self.content_policy.is_empty() => &self.content_policy,
            _ => &self.generic,
        }
    }
}

/// What is done about failures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailurePolicy {
    /// How often a request may be tried again after a retryable fault, over all deployments.
    pub retry: RetryRule,
    /// The groups that take over.
    pub fallbacks: Fallbacks,
}

/// What is done about the failures of one group, by the name that it is asked for by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailurePolicies {
    /// By a name of which nothing is said.
    pub own: FailurePolicy,
    /// By other names than the group's: aliases, and those that fit its pattern, with their provider or without.
    pub named: BTreeMap<String, FailurePolicy>,
}

impl FailurePolicies {
    /// What is done about a request for this name.
    #[must_use]
    pub fn of(&self, asked: &str) -> &FailurePolicy {
        // Nearly always there is no other name of which anything is said.
        if self.named.is_empty() {
            return &self.own;
        }
        let stripped = || asked.split_once('/').and_then(|(_, model)| self.named.get(model));
        self.named.get(asked).or_else(stripped).unwrap_or(&self.own)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &FailurePolicy> {
        std::iter::once(&self.own).chain(self.named.values())
    }
}

/// Whether another group may serve what ended so in this one. What is wrong with the request itself, or with who asks,
/// is wrong everywhere.
#[must_use]
pub const fn may_fall_back(kind: RefusalKind, cause: Option<Cause>) -> bool {
    match kind {
        RefusalKind::NeverFits
        | RefusalKind::GroupOverBudget
        | RefusalKind::RateLimited
        | RefusalKind::Rejected
        | RefusalKind::Upstream
        | RefusalKind::Unavailable
        | RefusalKind::TimedOut
        | RefusalKind::Unparsed => true,
        RefusalKind::InvalidRequest => cause.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
