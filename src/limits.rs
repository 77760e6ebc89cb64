//! Limits that hold: nothing is spent before it is reserved.
//!
//! One reservation is one step over the shared scopes (all must grant) and the ranked candidates (the first
//! that grants is taken). What is held counts until one window after the provider answered; a settled hold
//! counts what was really used.

use std::time::Duration;

use crate::id::{DeploymentId, GroupName, KeyId};
use crate::moment::Moment;

/// Who a limit applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything that passes through this gateway.
    Global,
    /// One caller.
    Key(KeyId),
    /// One group of deployments.
    Group(GroupName),
    /// One deployment.
    Deployment(DeploymentId),
}

/// The limits of one scope. `None` is unlimited.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSpec {
    /// Requests per window.
    pub requests: Option<u64>,
    /// Tokens per window, input and output together.
    pub tokens: Option<u64>,
    /// Input tokens per window.
    pub input_tokens: Option<u64>,
    /// Output tokens per window.
    pub output_tokens: Option<u64>,
    /// Requests under way at once.
    pub in_flight: Option<u32>,
    /// The window's length; LiteLLM's `token_usage_window`. Limits are per window, whatever its length.
    pub window: Duration,
    /// The share of each limit that is used, above 0 to 1. In-flight is not scaled.
    pub margin: f64,
}

impl Default for LimitSpec {
    fn default() -> Self {
        Self {
            requests: None,
            tokens: None,
            input_tokens: None,
            output_tokens: None,
            in_flight: None,
            window: Duration::from_secs(60),
            margin: 1.0,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Requests per window (`rpm`).
    Requests,
    /// Tokens per window (`tpm`).
    Tokens,
    /// Input tokens per window (`itpm`).
    InputTokens,
    /// Output tokens per window (`otpm`).
    OutputTokens,
    /// Requests under way at once (`max_parallel_requests`).
    InFlight,
}

/// What a request asks for: estimates before the call, real usage after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
}

/// A reservation under way. It is settled or refunded exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a hold that is neither settled nor refunded keeps its tokens until it expires"]
pub struct Hold(u64);

/// The answer to a reservation.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Reserved.
    Granted {
        /// Which candidate.
        index: usize,
        /// The hold on the shared scopes, for the whole request. `None` on a retry.
        shared: Option<Hold>,
        /// The hold on the candidate's own scope, for this attempt.
        own: Hold,
    },
    /// Not now. The earliest moment at which a bucket that is known to expire frees enough; `None` where
    /// it depends on requests still under way.
    Until(Option<Moment>),
    /// Not ever, at any candidate: larger than a whole limit.
    Never(Excess),
}

/// A request larger than a whole limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Whose limit.
    pub scope: Scope,
    /// Which limit.
    pub dimension: Dimension,
    /// What is usable of it, margin applied.
    pub limit: u64,
    /// What the request asks for.
    pub asked: u64,
}
