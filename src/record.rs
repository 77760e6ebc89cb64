//! The record: one per request, whatever its ending. Logs, metrics and later the ledger are made of it.

mod explanation;

use std::sync::Arc;
use std::time::Duration;

use crate::chat::Usage;
use crate::fault::{FaultKind, RefusalKind};
use crate::id::{DeploymentId, GroupName, KeyId, ProviderName, RequestId, TeamId};
use crate::moment::Moment;
use crate::money::NanoUsd;

pub use explanation::{ComplaintMade, Explanation, PassedOver, PromptBuilt, PromptEnd, Removal, ReplyRead};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client got a whole reply.
    Whole,
    /// The client got a refusal and nothing else.
    Refused(RefusalKind),
    /// The reply broke off after it had begun; the client got an error event.
    Broken(FaultKind),
    /// The client went away first.
    Cancelled,
    /// The gateway stopped before the reply was whole: a second signal came, or the time of the stop was over.
    Stopped,
}

impl Ending {
    /// The stable name: metric label and log field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Refused(kind) => kind.as_str(),
            Self::Broken(kind) => kind.as_str(),
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }
}

/// One call to a provider, as the record keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// The group it was called for.
    pub group: GroupName,
    /// The deployment called.
    pub deployment: DeploymentId,
    /// Its API family.
    pub provider: ProviderName,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// What went wrong; `None` for a whole reply.
    pub fault: Option<FaultKind>,
    /// From the call to its end.
    pub latency: Duration,
    /// Tokens it used, as reported or as estimated.
    pub usage: Usage,
    /// Whether the provider reported more than its model can take or give, so that the estimate stands here.
    pub usage_refused: bool,
    /// What it cost; `None` where the price is unknown or nothing is billed.
    pub cost: Option<NanoUsd>,
    /// What budgets are charged: the cost, or what an unknown price is taken for.
    pub charged: NanoUsd,
}

/// What is kept of one request. Never a prompt, a reply or a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Identity.
    pub id: RequestId,
    /// When the request arrived.
    pub arrived: Moment,
    /// The seed its routers were asked with: what they are told later names the request by it.
    pub seed: u64,
    /// The name of the API it came through.
    pub api: &'static str,
    /// The caller's key; `None` before authentication succeeded.
    pub caller: Option<KeyId>,
    /// The caller's team.
    pub team: Option<TeamId>,
    /// The group that served it; `None` where none was found.
    pub group: Option<GroupName>,
    /// The deciding policy, `NAME@DIGEST`, or `built-in`.
    pub policy: Option<Arc<str>>,
    /// Its tags that a ledger keeps, where there is one.
    pub tags: Vec<String>,
    /// Whether the reply was streamed.
    pub streamed: bool,
    /// Every call made, in order.
    pub attempts: Vec<AttemptRecord>,
    /// Groups tried after the first.
    pub fallbacks: u32,
    /// The groups it left for others, and why.
    pub handed_over: Vec<(GroupName, &'static str)>,
    /// Of those, the groups that a policy had decided for.
    pub left_decided: Vec<GroupName>,
    /// Input tokens as estimated before the call.
    pub estimated_input_tokens: u64,
    /// Tokens of all attempts, as reported, or as estimated where the provider reported none.
    pub usage: Usage,
    /// Whether any of `usage` is our estimate.
    pub usage_estimated: bool,
    /// What it cost; `None` where the price is unknown.
    pub cost: Option<NanoUsd>,
    /// What budgets are charged: the cost, or what an unknown price is taken for.
    pub charged: NanoUsd,
    /// Time spent waiting for a limit.
    pub waited: Duration,
    /// From arrival to the first content sent.
    pub ttft: Option<Duration>,
    /// From arrival to the end.
    pub latency: Duration,
    /// The HTTP status sent.
    pub status: u16,
    /// How it ended.
    pub ending: Ending,
    /// Why it went so; `None` where no decisions are kept.
    pub explanation: Option<Box<Explanation>>,
}

/// What a policy's name has, and the built-in order's has not: `NAME@DIGEST`.
const DECIDED: char = '@';

impl Record {
    /// Whether a policy decided for the group that it is in.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.contains(DECIDED))
    }

    /// The record of a request that has just arrived; until set, its ending is that the client left.
    #[must_use]
    pub fn new(id: RequestId, arrived: Moment, api: &'static str) -> Self {
        Self {
            id,
            arrived,
            seed: 0,
            api,
            caller: None,
            team: None,
            group: None,
            policy: None,
            tags: Vec::new(),
            streamed: false,
            attempts: Vec::new(),
            fallbacks: 0,
            handed_over: Vec::new(),
            left_decided: Vec::new(),
            estimated_input_tokens: 0,
            usage: Usage::default(),
            usage_estimated: false,
            cost: None,
            charged: NanoUsd::default(),
            waited: Duration::ZERO,
            ttft: None,
            latency: Duration::ZERO,
            status: 499,
            ending: Ending::Cancelled,
            explanation: None,
        }
    }

    /// The one call that was all there is to it, in its own group and whole: as of nearly every request.
    #[must_use]
    pub fn only_attempt(&self) -> Option<&AttemptRecord> {
        let [only] = &self.attempts[..] else { return None };
        (only.fault.is_none() && self.group.as_ref() == Some(&only.group)).then_some(only)
    }
}

#[cfg(test)]
impl AttemptRecord {
    /// A call for the group `g` in 200 ms and for a tenth of a cent.
    pub(crate) fn sample(deployment: &str, fault: Option<FaultKind>) -> Self {
        Self {
            group: "g".into(),
            deployment: deployment.into(),
            provider: "p".into(),
            model: "m".into(),
            fault,
            latency: Duration::from_millis(200),
            usage: Usage { input_tokens: 7, output_tokens: 9, ..Usage::default() },
            usage_refused: false,
            cost: Some(NanoUsd(1_000_000)),
            charged: NanoUsd(1_000_000),
        }
    }
}
