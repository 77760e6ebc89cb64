//! What goes wrong, in two sentences: an [`AttemptFault`] ends one call to one provider and may be
//! retried elsewhere; a [`Refusal`] ends the request and is what the client reads.
//!
//! Neither ever carries a secret: messages of providers are scrubbed before they are put in here.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::chat::Usage;

/// Why one call to a provider failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The provider's own limit (429).
    RateLimited,
    /// The provider is down, overloaded or cannot be reached (5xx, connection faults), or another request is in the way
    /// (409, 425), or a service tier has no room (498).
    Unavailable,
    /// It took longer than one of the timeouts.
    TimedOut,
    /// The provider refused the request itself (4xx); another deployment would too.
    Rejected,
    /// The provider does not accept our credential or does not know the model (401, 402; 403 and 404 whose words are not about
    /// the request).
    Misconfigured,
    /// The reply was cut off or is not what its dialect says.
    BrokenStream,
    /// The client went away.
    Cancelled,
    /// The provider did its part, and the group's response parser does not take the reply. It says nothing about the deployment.
    Unparsed,
    /// The gateway itself ended it: it had no memory for the reply, or is stopping. It says nothing about the deployment.
    Gateway,
}

impl FaultKind {
    /// Every kind, for documentation and its test.
    pub const ALL: [Self; 9] = [
        Self::RateLimited,
        Self::Unavailable,
        Self::TimedOut,
        Self::Rejected,
        Self::Misconfigured,
        Self::BrokenStream,
        Self::Cancelled,
        Self::Unparsed,
        Self::Gateway,
    ];

    /// The stable name: metric label and error code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
            Self::BrokenStream => "broken-stream",
            Self::Cancelled => "cancelled",
            Self::Unparsed => "parse",
            Self::Gateway => "gateway",
        }
    }

    /// Whether the same deployment may succeed a moment later.
    #[must_use]
    pub const fn may_succeed_again(self) -> bool {
        self.may_succeed_elsewhere() && !matches!(self, Self::Misconfigured)
    }

    /// Whether another deployment may succeed where this one failed.
    #[must_use]
    pub const fn may_succeed_elsewhere(self) -> bool {
        !matches!(self, Self::Rejected | Self::Cancelled | Self::Unparsed | Self::Gateway)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a fault is about, where that decides what may help: told by the provider's code or words (`failover`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The prompt is longer than the model takes.
    ContextWindow,
    /// The provider's moderation refuses what is said.
    ContentPolicy,
    /// No model of the group takes what the request has beside text.
    Capability,
    /// The provider does not take our key, or its account is empty: all deployments of this key have it.
    Credential,
}

impl Cause {
    /// The stable name: metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContextWindow => "context-window",
            Self::ContentPolicy => "content-policy",
            Self::Capability => "capability",
            Self::Credential => "credential",
        }
    }
}

/// One failed call to a provider.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct AttemptFault {
    /// What happened.
    pub kind: FaultKind,
    /// The provider's HTTP status, where it answered.
    pub status: Option<u16>,
    /// The provider's error type or code (`context_length_exceeded`, `overloaded_error` …).
    pub code: Option<String>,
    /// The provider's words, or ours where it said nothing.
    pub message: String,
    /// The field of the request the provider blames.
    pub param: Option<String>,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it is about, where known.
    pub cause: Option<Cause>,
    /// Whether it came before a byte of the request was sent.
    pub unsent: bool,
    /// Whether the provider says not to ask it the same again (`x-should-retry: false`, which the vendors' SDKs obey).
    pub final_there: bool,
    /// A reply was made, and is billed, though nothing of it is given out.
    pub made: bool,
    /// What the provider says that it used all the same, which it bills.
    pub used: Option<Box<Usage>>,
}

impl AttemptFault {
    /// The code of a fault that came before the provider was reached.
    const NOT_SENT: &str = "not-connected";

    /// The same fault, known to have come before a byte of the request was sent: nothing was spent. What refuses the request
    /// itself keeps its own words.
    #[must_use]
    pub fn before_sending(mut self) -> Self {
        self.unsent = true;
        if self.kind != FaultKind::Rejected {
            self.code = Some(Self::NOT_SENT.to_owned());
        }
        self
    }

    /// The code of a request that went into a connection the provider was closing.
    const CLOSED: &str = "connection-closed";

    /// The same fault, known to come from a kept connection that the provider closed before it said anything to the request.
    #[must_use]
    pub fn on_closed_connection(mut self) -> Self {
        self.code = Some(Self::CLOSED.to_owned());
        self
    }

    /// Whether the request only met a connection that was being closed: another one may carry it.
    #[must_use]
    pub fn met_closed_connection(&self) -> bool {
        self.status.is_none() && self.code.as_deref() == Some(Self::CLOSED)
    }

    /// Whether the provider can have seen the request.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.status.is_some() || !self.unsent
    }

    /// Whether the request alone is larger than the provider's limit (a 429, or Groq's 413, with numbers that say so): it never
    /// fits there, however long one waits, and may fit another deployment.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        let told = match self.status {
            Some(429) => true,
            // Of a prompt that is longer than the model takes, the code says that.
            Some(413) => self.code.as_deref() != Some("context_length_exceeded"),
            _ => false,
        };
        told && self.kind == FaultKind::Rejected && self.cause == Some(Cause::ContextWindow)
    }

    /// Whether it passes by itself and says nothing about the deployment: another request was in the way (409), this one came
    /// too early (425), or the service tier that it wants has no room (498).
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!((self.kind, self.status), (FaultKind::Unavailable, Some(409 | 425 | 498)))
    }

    /// A fault the provider gave no details of. (Cold, so that what makes one stands behind all that a request usually needs.)
    #[cold]
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            kind,
            status: None,
            code: None,
            message,
            param: None,
            retry_after: None,
            cause: None,
            unsent: false,
            final_there: false,
            made: false,
            used: None,
        }
    }
}

/// Why a request ends without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The body is not a request this surface understands (400).
    InvalidRequest,
    /// No key, or one that is not known (401).
    Unauthorized,
    /// The request comes from where it may not (403).
    Forbidden,
    /// The group's policy refuses the request and has the grant to (403).
    PolicyRefused,
    /// The group's prompt builder failed, or refused without the grant to (500).
    PromptFailed,
    /// The group's response parser does not take the reply, and asking again did not help (502).
    Unparsed,
    /// No group has this name (404).
    UnknownModel,
    /// No such path, or not with this method (404, 405).
    UnknownPath,
    /// The client took too long to send its request (408).
    SlowRequest,
    /// The body is larger than `max_request_size_mb` (413).
    TooLarge,
    /// No deployment's limit can ever hold this request (413: of a 429 clients think that waiting helps, and ask again for ever).
    NeverFits,
    /// A budget of the caller's has no money left for it (422, or as configured).
    BudgetExceeded,
    /// The budgets of its group, its deployments or their providers have none (422, or as configured).
    GroupOverBudget,
    /// A limit is reached and the queue is full or the wait too long (429).
    RateLimited,
    /// The provider refused the request itself (its own status).
    Rejected,
    /// Every attempt failed (502).
    Upstream,
    /// No deployment may be called: all are cooling down, or the gateway is stopping (503).
    Unavailable,
    /// The total time ran out (504).
    TimedOut,
    /// A fault of the gateway (500).
    Internal,
}

impl RefusalKind {
    /// Every kind, for documentation and its test.
    pub const ALL: [Self; 19] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::PolicyRefused,
        Self::PromptFailed,
        Self::Unparsed,
        Self::UnknownModel,
        Self::UnknownPath,
        Self::SlowRequest,
        Self::TooLarge,
        Self::NeverFits,
        Self::BudgetExceeded,
        Self::GroupOverBudget,
        Self::RateLimited,
        Self::Rejected,
        Self::Upstream,
        Self::Unavailable,
        Self::TimedOut,
        Self::Internal,
    ];

    /// The stable name: metric label and error code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::PolicyRefused => "policy-refused",
            Self::PromptFailed => "prompt-failed",
            Self::Unparsed => "parse",
            Self::UnknownModel => "unknown-model",
            Self::UnknownPath => "unknown-path",
            Self::SlowRequest => "slow-request",
            Self::TooLarge => "too-large",
            Self::NeverFits => "never-fits",
            Self::BudgetExceeded => "budget-exceeded",
            Self::GroupOverBudget => "group-over-budget",
            Self::RateLimited => "rate-limited",
            Self::Rejected => "rejected",
            Self::Upstream => "upstream",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status, unless the refusal carries the provider's own.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::Rejected => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::PolicyRefused => 403,
            Self::UnknownModel | Self::UnknownPath => 404,
            Self::SlowRequest => 408,
            Self::TooLarge | Self::NeverFits => 413,
            Self::BudgetExceeded | Self::GroupOverBudget => 422,
            Self::RateLimited => 429,
            Self::Upstream | Self::Unparsed => 502,
            Self::Unavailable => 503,
            Self::TimedOut => 504,
            Self::PromptFailed | Self::Internal => 500,
        }
    }
}

/// The end of a request that gets no reply, in any caller's dialect.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What happened.
    pub kind: RefusalKind,
    /// The HTTP status sent.
    pub status: u16,
    /// The provider's error code, where the refusal is the provider's.
    pub code: Option<String>,
    /// What, where, and what to do about it.
    pub message: String,
    /// The field of the request to blame.
    pub param: Option<String>,
    /// When trying again makes sense; sent as `Retry-After`.
    pub retry_after: Option<Duration>,
    /// What it is about, where that decides which fallback may help.
    pub cause: Option<Cause>,
    /// Retries within groups and fallbacks to other groups before it, where any attempt was made.
    pub tried: Option<Tried>,
}

/// What was done for a request beside its first attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Calls after the first of each group.
    pub retries: u32,
    /// Groups tried after the first.
    pub fallbacks: u32,
}

impl Refusal {
    /// A refusal of the gateway's own. (Cold, as a fault is.)
    #[cold]
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: kind.status(),
            code: None,
            message: message.into(),
            param: None,
            retry_after: None,
            cause: None,
            tried: None,
        }
    }

    /// The same, blaming a field of the request.
    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same of a limit that lets no request through: to wait for it is of no use.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.code = Some(RefusalKind::NeverFits.as_str().to_owned());
        self
    }

    /// Whether time alone changes nothing about the limit or the budget that refuses, whatever clients read from the status.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        match self.kind {
            RefusalKind::NeverFits | RefusalKind::BudgetExceeded | RefusalKind::GroupOverBudget => true,
            RefusalKind::RateLimited => self.code.as_deref() == Some(RefusalKind::NeverFits.as_str()),
            _ => false,
        }
    }

    /// Whether the same request may succeed a while later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let passes = matches!(
            self.kind,
            RefusalKind::RateLimited
                | RefusalKind::Upstream
                | RefusalKind::Unavailable
                | RefusalKind::TimedOut
                | RefusalKind::Unparsed
                | RefusalKind::Internal
        );
        passes && !self.is_for_good()
    }

    /// The same, telling when to come back.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<AttemptFault> for Refusal {
    /// The last attempt's fault, as the client reads it. A provider's own words and status pass through
    /// where they are about the request; a fault between us and the provider becomes a gateway status.
    fn from(fault: AttemptFault) -> Self {
        if fault.is_over_limit() {
            // Clients ask again after a 429, and by the code of one. This one they would repeat for ever.
            let refusal = Self::new(RefusalKind::NeverFits, fault.message);
            return Self { param: fault.param, cause: fault.cause, ..refusal };
        }
        let kind = match fault.kind {
            FaultKind::RateLimited => RefusalKind::RateLimited,
            FaultKind::Rejected => RefusalKind::Rejected,
            FaultKind::TimedOut => RefusalKind::TimedOut,
            FaultKind::Gateway => RefusalKind::Unavailable,
            FaultKind::Unparsed => RefusalKind::Unparsed,
            FaultKind::Unavailable | FaultKind::Misconfigured | FaultKind::BrokenStream | FaultKind::Cancelled => {
                RefusalKind::Upstream
            }
        };
        let status = match (kind, fault.status) {
            (RefusalKind::Rejected, Some(status)) => status,
            _ => kind.status(),
        };
        Self {
            kind,
            status,
            code: fault.code,
            message: fault.message,
            param: fault.param,
            retry_after: fault.retry_after,
            cause: fault.cause,
            tried: None,
        }
    }
}
