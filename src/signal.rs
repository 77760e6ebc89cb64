//! What a policy may ask for, by name: columns of numbers, facts about the prompt, facts as text. The host computes those asked
//! for and nothing else.

mod attribute;

use std::borrow::Cow;

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
    /// How much work the question looks like, 0 to 1.
    Complexity,
    /// How far it is about code, 0 to 1.
    Code,
    /// How far it asks for thought, 0 to 1.
    Analysis,
    /// How far it asks for invention, 0 to 1.
    Creative,
    /// 1 for one short question of fact, else 0.
    SimpleQuestion,
    /// How far it is in English, 0 to 1.
    English,
    /// One number of a vector that is alike for questions with words in common: which, and of how many.
    Embedding {
        /// Which number of it, from 0.
        place: u8,
        /// How many the vector has.
        of: u8,
    },
}

/// The numbers a vector may have.
const LONGEST_VECTOR: u8 = 64;

impl Feature {
    /// Every feature that is one number, in documentation order.
    pub const SINGLE: [Self; 9] = [
        Self::Length,
        Self::CodeShare,
        Self::Messages,
        Self::Complexity,
        Self::Code,
        Self::Analysis,
        Self::Creative,
        Self::SimpleQuestion,
        Self::English,
    ];

    /// The names that policies use, for people.
    pub const KNOWN: &str = "length, code-share, messages, complexity, code, analysis, creative, simple-question, english and embedding/N, a vector of N numbers from 1 to 64";

    /// The name of this number: of a vector's, `embedding/32.0` and so on.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Length => "length",
            Self::CodeShare => "code-share",
            Self::Messages => "messages",
            Self::Complexity => "complexity",
            Self::Code => "code",
            Self::Analysis => "analysis",
            Self::Creative => "creative",
            Self::SimpleQuestion => "simple-question",
            Self::English => "english",
            Self::Embedding { place, of } => return Cow::Owned(format!("embedding/{of}.{place}")),
        })
    }

    /// The number of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let Some(vector) = name.strip_prefix("embedding/") else {
            return Self::SINGLE.into_iter().find(|feature| feature.name() == name);
        };
        let (of, place) = vector.split_once('.')?;
        let (of, place) = (of.parse().ok()?, place.parse().ok()?);
        (place < of && of <= LONGEST_VECTOR).then_some(Self::Embedding { place, of })
    }

    /// The numbers that a policy asks for by this name: one, or a vector's.
    #[must_use]
    pub fn asked(name: &str) -> Option<Vec<Self>> {
        let Some(of) = name.strip_prefix("embedding/") else { return Self::parse(name).map(|one| vec![one]) };
        let of = of.parse().ok().filter(|of| (1..=LONGEST_VECTOR).contains(of))?;
        Some((0..of).map(|place| Self::Embedding { place, of }).collect())
    }
}
