//! What a policy may ask for, by name: columns of numbers, facts about the prompt, facts as text. The host computes those asked
//! for and nothing else.

mod attribute;

pub use attribute::{Attribute, AttributeError, Grant, Grants};

/// A read-only fact about each deployment at the moment of a decision; NaN where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Milliseconds until this request may start there: 0 now, +inf never (too large, or its breaker is open
    /// with no known end).
    WaitMs,
    /// Requests under way.
    InFlight,
    /// Mean time of the last 10 whole replies, milliseconds.
    LatencyMs,
    /// Mean time per output token of the last 10 whole replies, milliseconds.
    LatencyPerTokenMs,
    /// Mean time to the first token of the last 10 streamed replies, milliseconds.
    TtftMs,
    /// Share of failed attempts among the last 20, 0 to 1.
    FailureRate,
    /// What this request is expected to cost, US dollars.
    CostUsd,
    /// Tokens reserved or used in the current window.
    TokensUsed,
    /// Requests reserved or used in the current window.
    RequestsUsed,
    /// Tokens that may still be reserved now, the tightest token limit counting; +inf without a limit.
    TokensFree,
    /// Requests that may still be reserved now; +inf without a limit.
    RequestsFree,
    /// 1 while the breaker lets requests through, 0 while it does not.
    Healthy,
}

impl Signal {
    /// Every signal, in documentation order.
    pub const ALL: [Self; 12] = [
        Self::WaitMs,
        Self::InFlight,
        Self::LatencyMs,
        Self::LatencyPerTokenMs,
        Self::TtftMs,
        Self::FailureRate,
        Self::CostUsd,
        Self::TokensUsed,
        Self::RequestsUsed,
        Self::TokensFree,
        Self::RequestsFree,
        Self::Healthy,
    ];

    /// The name policies use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitMs => "wait-ms",
            Self::InFlight => "in-flight",
            Self::LatencyMs => "latency-ms",
            Self::LatencyPerTokenMs => "latency-per-token-ms",
            Self::TtftMs => "ttft-ms",
            Self::FailureRate => "failure-rate",
            Self::CostUsd => "cost-usd",
            Self::TokensUsed => "tokens-used",
            Self::RequestsUsed => "requests-used",
            Self::TokensFree => "tokens-free",
            Self::RequestsFree => "requests-free",
            Self::Healthy => "healthy",
        }
    }

    /// The signal of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.as_str() == name)
    }
}

/// Facts about a prompt a router may ask for: numbers, computed from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Bytes of all text in the request.
    Length,
    /// Share of the text that stands in code fences, 0 to 1.
    CodeShare,
    /// Messages in the conversation.
    Messages,
}

impl Feature {
    /// Every feature, in documentation order.
    pub const ALL: [Self; 3] = [Self::Length, Self::CodeShare, Self::Messages];

    /// The name policies use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::CodeShare => "code-share",
            Self::Messages => "messages",
        }
    }

    /// The feature of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == name)
    }
}
