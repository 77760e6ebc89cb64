//! What crosses the boundary, as plain Rust: nothing above this module sees a type of wasmtime's.

use std::sync::Arc;
use std::time::Duration;

use crate::attempt::AttemptOutcome;
use crate::catalog::Deployment;
use crate::fault::FaultKind;
use crate::id::{DeploymentId, GroupName, RequestId};
use crate::limits::Dimension;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::policy::host::PolicyFault;
use crate::signal::{Attribute, Feature, Grants, Signal};
use crate::tokens::Precision;

/// What a router is told about one deployment and what never changes while it lives.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentInfo {
    /// The deployment's id; outcomes follow it over a swap.
    pub id: DeploymentId,
    /// The API family.
    pub provider: String,
    /// The model as the provider names it.
    pub model: String,
    /// Free words.
    pub tags: Vec<String>,
    /// Share of the traffic, where given.
    pub weight: Option<f64>,
    /// Lower is preferred.
    pub order: u32,
    /// US dollars per million fresh input tokens; `None` is unknown.
    pub input_price: Option<f64>,
    /// US dollars per million output tokens; `None` is unknown.
    pub output_price: Option<f64>,
    /// Tokens that fit in, input and output together; `None` is unknown.
    pub context_window: Option<u32>,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Input tokens per minute.
    pub itpm: Option<u64>,
    /// Output tokens per minute.
    pub otpm: Option<u64>,
}

impl DeploymentInfo {
    /// A deployment of which nothing else is known.
    #[must_use]
    pub fn named(id: &str, provider: &str, model: &str) -> Self {
        Self {
            id: DeploymentId::from(id),
            provider: provider.to_owned(),
            model: model.to_owned(),
            tags: Vec::new(),
            weight: None,
            order: 0,
            input_price: None,
            output_price: None,
            context_window: None,
            rpm: None,
            tpm: None,
            itpm: None,
            otpm: None,
        }
    }

    /// The facts of a deployment. Limits of another window than a minute are scaled to one.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Self {
        let limits = &deployment.limits;
        let a_minute = |dimension| limits.limits[dimension].map(|limit| per_minute(limit, limits.window));
        Self {
            id: deployment.id.clone(),
            provider: deployment.provider.to_string(),
            model: deployment.model.to_string(),
            tags: deployment.tags.clone(),
            weight: deployment.weight,
            order: deployment.order,
            input_price: deployment.prices.as_ref().map(|prices| prices.base.input.as_usd_per_million()),
            output_price: deployment.prices.as_ref().map(|prices| prices.base.output.as_usd_per_million()),
            context_window: deployment.context_window,
            rpm: a_minute(Dimension::Requests),
            tpm: a_minute(Dimension::Tokens),
            itpm: a_minute(Dimension::InputTokens),
            otpm: a_minute(Dimension::OutputTokens),
        }
    }
}

fn per_minute(limit: u64, window: Duration) -> u64 {
    let scaled = u128::from(limit) * 60_000 / window.as_millis().max(1);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// What a router is configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The group it decides for; `None` where it is tried alone.
    pub group: Option<GroupName>,
    /// The policy's settings, a JSON object as text.
    pub settings: Arc<str>,
    /// The group's deployments; indexes in answers and outcomes are places in this list.
    pub deployments: Vec<DeploymentInfo>,
    /// The instance's own seed.
    pub seed: u64,
    /// What the operator lets it read of a request.
    pub may_read: Grants,
}

/// What a router asked to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Columns of the signal matrix, in this order.
    pub signals: Vec<Signal>,
    /// Facts about the prompt, in this order; a vector is all its numbers.
    pub features: Vec<Feature>,
    /// Facts as text, in this order; an absent one is told as "".
    pub attributes: Vec<Attribute>,
    /// Whether `input_tokens` must be counted; otherwise an upper bound will do.
    pub exact_tokens: bool,
    /// Whether `route` depends on its arguments alone, so that several instances may serve.
    pub pure: bool,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the interface's flags, one to one")]
pub struct Traits {
    /// The client wants a stream.
    pub streaming: bool,
    /// Tools are offered.
    pub tools: bool,
    /// Images are sent.
    pub images: bool,
    /// JSON is asked for.
    pub json: bool,
}

/// One request, as a router sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteRequest {
    /// The request it is for, which the policy is not told; `None` for one that is not served.
    pub id: Option<RequestId>,
    /// The moment of the decision.
    pub now: Moment,
    /// The request's seed: every draw comes from it, and outcomes name it.
    pub seed: u64,
    /// Input tokens.
    pub input_tokens: u32,
    /// What that number is.
    pub input_precision: Precision,
    /// Output tokens reckoned with.
    pub expected_output_tokens: u32,
    /// The client's own bound.
    pub max_output_tokens: Option<u32>,
    /// Lower is more urgent, as in LiteLLM; 0 where the client said nothing.
    pub priority: i32,
    /// Milliseconds left.
    pub deadline_ms: Option<u32>,
    /// What kind of request it is.
    pub traits: Traits,
}

/// One place of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Index in [`Setup::deployments`].
    pub deployment: u32,
    /// The probability with which it was drawn for this place, above 0 to 1.
    pub propensity: f32,
}

/// How one attempt ended, or a quality score that came late.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The seed of the request it belongs to.
    pub seed: u64,
    /// Which attempt of the request, from 0.
    pub attempt: u32,
    /// Index in the [`Setup::deployments`] of the router it is reported to.
    pub deployment: u32,
    /// Why it failed; `None` where the reply was whole.
    pub fault: Option<FaultKind>,
    /// Input tokens used.
    pub input_tokens: u32,
    /// Output tokens used.
    pub output_tokens: u32,
    /// What it cost, US dollars; NaN where the price is unknown.
    pub cost_usd: f64,
    /// Milliseconds from call to last byte.
    pub latency_ms: f32,
    /// Milliseconds to the first token, on a stream.
    pub ttft_ms: Option<f32>,
    /// A score, where one was given.
    pub quality: Option<f32>,
}

impl Outcome {
    /// What a router is told of an attempt: the `number`th (from 0) of the request with this seed, at its deployment `index`.
    #[must_use]
    pub fn of_attempt(attempt: &AttemptOutcome, seed: u64, number: usize, index: usize) -> Self {
        let millis = |length: Duration| length.as_secs_f32() * 1e3;
        let narrow = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        let unknown = if attempt.billing.is_billed() { f64::NAN } else { 0.0 };
        Self {
            seed,
            attempt: u32::try_from(number).unwrap_or(u32::MAX),
            deployment: u32::try_from(index).unwrap_or(u32::MAX),
            fault: attempt.fault,
            input_tokens: narrow(attempt.usage.input_tokens),
            output_tokens: narrow(attempt.usage.output_tokens),
            cost_usd: attempt.cost.map_or(unknown, NanoUsd::as_usd),
            latency_ms: millis(attempt.latency),
            ttft_ms: attempt.ttft.map(millis),
            quality: None,
        }
    }
}

/// Why a call to `route` gave no ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// The policy failed; the built-in order applies.
    Fault(PolicyFault),
    /// The policy wants the request asked again after this time. The caller caps it.
    Wait(Duration),
    /// The policy refuses the request with these words (at most 1 KiB). Needs a grant.
    Reject(String),
}

impl From<PolicyFault> for RouteError {
    fn from(fault: PolicyFault) -> Self {
        Self::Fault(fault)
    }
}
