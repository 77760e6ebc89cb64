//! Why a request went as it did: what its prompt builder and parser did, and what kept it from being sent elsewhere.
//!
//! It is made only where decisions are kept, and is numbers and names. The words in which policies refuse, complain and fail may
//! quote a prompt or a reply; they are kept where the operator says so (`witgate.decisions.words`) and nowhere else.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is told of one request beside its record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Whether policies' own words are kept.
    pub words: bool,
    /// What the prompt builder did; `None` where the group has none.
    pub prompt: Option<PromptBuilt>,
    /// Deployments that were not taken, attempt by attempt.
    pub passed_over: Vec<PassedOver>,
    /// What the response parser made of each reply.
    pub replies: Vec<ReplyRead>,
}

/// What a prompt builder did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptBuilt {
    /// `NAME@DIGEST`.
    pub policy: String,
    /// How it ended.
    pub end: PromptEnd,
    /// The kind of its fault, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Its words, where it refused or failed and they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// Messages the client sent.
    pub messages_before: usize,
    /// Messages that are sent on; 0 where there is no prompt.
    pub messages_after: usize,
    /// What the client sent has at most so many tokens, its items and variables left out.
    pub tokens_before: u64,
    /// What is sent on has at most so many.
    pub tokens_after: u64,
    /// Items the client sent.
    pub items: usize,
    /// Those that are in the prompt.
    pub items_kept: usize,
    /// Whether the response parser got a note.
    pub note: bool,
}

/// How building a prompt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptEnd {
    /// There is a prompt.
    #[default]
    Built,
    /// The builder refused the request.
    Refused,
    /// It failed, and nothing was sent.
    Failed,
    /// It failed, and what the client wrote was sent.
    PassedOver,
}

/// A deployment that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Before which attempt, from 1.
    pub attempt: usize,
    /// Which.
    pub deployment: String,
    /// The rule's stable name.
    pub rule: String,
    /// The same in words.
    pub why: String,
}

/// What a response parser made of one reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplyRead {
    /// The reply to which attempt, from 1.
    pub attempt: usize,
    /// `NAME@DIGEST`.
    pub policy: String,
    /// Bytes it was told.
    pub bytes_in: usize,
    /// Bytes it answered.
    pub bytes_out: usize,
    /// The kind of its fault, after which the reply passed as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What it complained about, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<ComplaintMade>,
}

/// A parser's complaint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComplaintMade {
    /// The alternative, from 0.
    pub choice: u32,
    /// Whether it says what to tell the model.
    pub repair: bool,
    /// Its words, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// Why a deployment is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It does not serve the model that was asked for, or its tags do not fit the request's.
    NotEligible,
    /// The policy does not rank it.
    LeftOut,
    /// It failed this request before.
    Failed,
    /// The request is longer than the tokens its model takes.
    ContextWindow(u32),
    /// Its breaker is open so much longer.
    CoolingDown(Duration),
    /// The request is larger than one of its limits.
    NeverFits,
    /// One of its limits is full: so much longer, where that is known.
    Full(Option<Duration>),
    /// A limit of its key, its group or the gateway keeps the request, wherever it goes.
    Shared,
}

impl Removal {
    /// The rule's stable name.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::NotEligible => "not-eligible",
            Self::LeftOut => "left-out",
            Self::Failed => "failed-before",
            Self::ContextWindow(_) => "context-window",
            Self::CoolingDown(_) => "breaker",
            Self::NeverFits => "never-fits",
            Self::Full(_) => "limit",
            Self::Shared => "shared-limit",
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEligible => f.write_str(
                "it serves another model, its model does not take what the request has, or its tags do not fit",
            ),
            Self::LeftOut => f.write_str("the policy does not rank it"),
            Self::Failed => f.write_str("it failed this request before"),
            Self::ContextWindow(window) => write!(f, "its model takes {window} tokens"),
            Self::CoolingDown(left) => write!(f, "its breaker is open for {:.1} s more", left.as_secs_f64()),
            Self::NeverFits => f.write_str("the request is larger than one of its limits"),
            Self::Full(Some(left)) => write!(f, "one of its limits is full for {:.1} s more", left.as_secs_f64()),
            Self::Shared => f.write_str("a limit of the key, the group or the gateway keeps the request"),
            Self::Full(None) => f.write_str("one of its limits is full until a request under way ends"),
        }
    }
}

impl Explanation {
    /// A deployment is not taken in this attempt; what was said of it before in the same attempt no longer counts.
    pub fn passes_over(&mut self, attempt: usize, deployment: &str, removal: Removal) {
        let (rule, why) = (removal.rule().to_owned(), removal.to_string());
        let known = self.passed_over.iter_mut().find(|one| one.attempt == attempt && one.deployment == deployment);
        match known {
            Some(known) => (known.rule, known.why) = (rule, why),
            None => self.passed_over.push(PassedOver { attempt, deployment: deployment.to_owned(), rule, why }),
        }
    }

    /// What is told of the reply to an attempt.
    pub fn reply(&mut self, attempt: usize, policy: impl FnOnce() -> String) -> &mut ReplyRead {
        let known = self.replies.iter().position(|one| one.attempt == attempt);
        let at = known.unwrap_or_else(|| {
            self.replies.push(ReplyRead { attempt, policy: policy(), ..ReplyRead::default() });
            self.replies.len() - 1
        });
        &mut self.replies[at]
    }
}
