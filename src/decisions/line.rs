//! The lines of a run file: one JSON object with one key each, which says what the line is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::exact::{Exact, Hex, all, plain};
use super::outcome_line::{FaultLine, OutcomeLine};
use crate::id::{DeploymentId, GroupName, PolicyName, RequestId};
use crate::moment::Moment;
use crate::policy::{
    Choice, Decision, DeploymentInfo, Digest, Needs, RouteError, RouteRequest, RouterFacts, RunStart, SavedState,
    Setup, Traits,
};
use crate::record::{Explanation, PassedOver, PromptBuilt, Record, ReplyRead};
use crate::signal::{Attribute, Feature, Grants, Signal};
use crate::tokens::Precision;

/// The version of these shapes.
pub(super) const FORMAT: u32 = 1;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// The first: the checkpoint.
    Run(Box<RunLine>),
    /// A decision.
    Route(Box<RouteLine>),
    /// An outcome was told, or came of what a pure router, which is told none, decided.
    Observe(OutcomeLine),
    /// The router was asked to save.
    Save(SaveLine),
    /// What became of a request; no call of the router.
    Request(RequestLine),
    /// The last: why the run ended.
    End(EndLine),
}

/// The checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunLine {
    format: u32,
    witgate: String,
    group: Option<String>,
    policy: String,
    digest: String,
    settings: String,
    seed: Hex,
    now_ms: u64,
    state: Option<StateLine>,
    signals: Vec<String>,
    features: Vec<String>,
    attributes: Vec<String>,
    exact_tokens: bool,
    pure: bool,
    /// What its router read by a grant and what it said are digests, and its state is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) withheld: bool,
    deployments: Vec<DeploymentLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StateLine {
    schema: String,
    /// Base64.
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct DeploymentLine {
    id: String,
    provider: String,
    model: String,
    tags: Vec<String>,
    weight: Option<Exact<f64>>,
    order: u32,
    input_price: Option<Exact<f64>>,
    output_price: Option<Exact<f64>>,
    context_window: Option<u32>,
    rpm: Option<u64>,
    tpm: Option<u64>,
    itpm: Option<u64>,
    otpm: Option<u64>,
}

/// A decision.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RouteLine {
    pub(super) id: Option<String>,
    now_ms: u64,
    seed: Hex,
    input_tokens: u32,
    expected_output_tokens: u32,
    max_output_tokens: Option<u32>,
    priority: i32,
    deadline_ms: Option<u32>,
    traits: Vec<String>,
    signals: Vec<Exact<f32>>,
    features: Vec<Exact<f32>>,
    attributes: Vec<String>,
    answer: AnswerLine,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AnswerLine {
    Ranking {
        deployments: Vec<u32>,
        /// Empty where each is 1.
        propensities: Vec<Exact<f32>>,
    },
    WaitMs(u64),
    Reject(String),
    Fault(FaultLine),
}

/// The router was asked to save.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SaveLine {
    /// SHA-256 of the schema's length, the schema and the bytes.
    pub(super) state: Option<String>,
    pub(super) fault: Option<FaultLine>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestLine {
    /// The request.
    pub id: String,
    /// The status the client got.
    pub status: u16,
    /// How it ended.
    pub ending: String,
    /// Who decided in the end: the policy, or `built-in`.
    pub policy: Option<String>,
    /// How long it waited for limits.
    pub waited_ms: f64,
    /// From its arrival to its end.
    pub latency_ms: f64,
    /// What was tried, in order.
    pub attempts: Vec<AttemptLine>,
    /// The group it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What the prompt builder did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptBuilt>,
    /// Deployments that were not taken, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// What the response parser made of each reply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replies: Vec<ReplyRead>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptLine {
    /// Where.
    pub deployment: String,
    /// Why it failed, where it did.
    pub fault: Option<String>,
    /// How long it took.
    pub latency_ms: f64,
}

/// Why a run ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndLine {
    /// Calls of the router that the file holds.
    pub(super) calls: u64,
    /// Why it ended before its length, where it did.
    pub(super) early: Option<String>,
}

impl RequestLine {
    /// Of a request's record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let ms = |length: std::time::Duration| length.as_secs_f64() * 1e3;
        let attempts = record.attempts.iter().map(|attempt| AttemptLine {
            deployment: attempt.deployment.to_string(),
            fault: attempt.fault.map(|fault| fault.as_str().to_owned()),
            latency_ms: ms(attempt.latency),
        });
        let Explanation { prompt, passed_over, replies, .. } =
            record.explanation.as_deref().cloned().unwrap_or_default();
        Self {
            id: record.id.to_string(),
            status: record.status,
            ending: record.ending.as_str().to_owned(),
            policy: record.policy.as_deref().map(str::to_owned),
            waited_ms: ms(record.waited),
            latency_ms: ms(record.latency),
            attempts: attempts.collect(),
            group: record.group.as_ref().map(ToString::to_string),
            prompt,
            passed_over,
            replies,
        }
    }
}

impl RunLine {
    /// `withheld`: the router is shown what was said, which is not to be kept.
    pub(super) fn of(start: &RunStart, withheld: bool) -> Self {
        let RunStart { facts, state, now } = start;
        let RouterFacts { policy, digest, setup, needs } = &**facts;
        Self {
            format: FORMAT,
            witgate: env!("CARGO_PKG_VERSION").to_owned(),
            group: setup.group.as_ref().map(ToString::to_string),
            policy: policy.to_string(),
            digest: digest.to_string(),
            settings: setup.settings.to_string(),
            seed: Hex(setup.seed),
            now_ms: now.as_millis(),
            state: state
                .as_ref()
                .filter(|_| !withheld)
                .map(|state| StateLine { schema: state.schema.clone(), bytes: BASE64.encode(&state.bytes) }),
            signals: needs.signals.iter().map(|signal| signal.as_str().to_owned()).collect(),
            features: needs.features.iter().map(|feature| feature.name().into_owned()).collect(),
            attributes: needs.attributes.iter().map(ToString::to_string).collect(),
            exact_tokens: needs.exact_tokens,
            pure: needs.pure,
            withheld,
            deployments: setup.deployments.iter().map(DeploymentLine::of).collect(),
        }
    }

    pub(super) fn start(self) -> Result<RunStart, String> {
        if self.format != FORMAT {
            return Err(format!("its format is {}, this version reads {FORMAT}", self.format));
        }
        let state = self.state.map(|state| {
            let bytes = BASE64.decode(&state.bytes).map_err(|fault| format!("the state is no base64: {fault}"))?;
            Ok::<_, String>(SavedState { schema: state.schema, bytes })
        });
        let signal = |name: &String| Signal::parse(name).ok_or_else(|| format!("no signal is named `{name}`"));
        let feature = |name: &String| Feature::parse(name).ok_or_else(|| format!("no feature is named `{name}`"));
        let attribute = |name: &String| Attribute::parse(name).map_err(|why| why.to_string());
        let needs = Needs {
            signals: self.signals.iter().map(signal).collect::<Result<_, _>>()?,
            features: self.features.iter().map(feature).collect::<Result<_, _>>()?,
            attributes: self.attributes.iter().map(attribute).collect::<Result<_, _>>()?,
            exact_tokens: self.exact_tokens,
            pure: self.pure,
        };
        let setup = Setup {
            group: self.group.map(GroupName::from),
            settings: self.settings.into(),
            deployments: self.deployments.into_iter().map(DeploymentLine::facts).collect(),
            seed: self.seed.0,
            // What it was shown is in the run; who let it read that does not matter any more.
            may_read: Grants::All,
        };
        let digest = Digest::parse(&self.digest).ok_or("its policy's digest is not 64 hexadecimal digits")?;
        let facts = Arc::new(RouterFacts { policy: PolicyName::from(self.policy), digest, setup, needs });
        Ok(RunStart { facts, state: state.transpose()?, now: Moment::from_millis(self.now_ms) })
    }
}

impl DeploymentLine {
    fn of(facts: &DeploymentInfo) -> Self {
        Self {
            id: facts.id.to_string(),
            provider: facts.provider.clone(),
            model: facts.model.clone(),
            tags: facts.tags.clone(),
            weight: facts.weight.map(Exact),
            order: facts.order,
            input_price: facts.input_price.map(Exact),
            output_price: facts.output_price.map(Exact),
            context_window: facts.context_window,
            rpm: facts.rpm,
            tpm: facts.tpm,
            itpm: facts.itpm,
            otpm: facts.otpm,
        }
    }

    fn facts(self) -> DeploymentInfo {
        let plain = |value: Option<Exact<f64>>| value.map(|value| value.0);
        DeploymentInfo {
            id: DeploymentId::from(self.id),
            provider: self.provider,
            model: self.model,
            tags: self.tags,
            weight: plain(self.weight),
            order: self.order,
            input_price: plain(self.input_price),
            output_price: plain(self.output_price),
            context_window: self.context_window,
            rpm: self.rpm,
            tpm: self.tpm,
            itpm: self.itpm,
            otpm: self.otpm,
        }
    }
}

impl RouteLine {
    pub(super) fn of(decision: &Decision) -> Self {
        let Decision { request, signals, features, attributes, answer } = decision;
        Self {
            id: request.id.map(|id| id.to_string()),
            now_ms: request.now.as_millis(),
            seed: Hex(request.seed),
            input_tokens: request.input_tokens,
            expected_output_tokens: request.expected_output_tokens,
            max_output_tokens: request.max_output_tokens,
            priority: request.priority,
            deadline_ms: request.deadline_ms,
            traits: trait_names(request.traits).into_iter().chain(precision_name(request.input_precision)).collect(),
            signals: all(signals),
            features: all(features),
            attributes: attributes.clone(),
            answer: AnswerLine::of(answer),
        }
    }

    pub(super) fn decision(self) -> Result<Decision, String> {
        let id = self.id.as_deref().map(|id| RequestId::parse(id).ok_or_else(|| format!("`{id}` is no request's id")));
        let has = |name: &str| self.traits.iter().any(|known| known == name);
        let traits =
            Traits { streaming: has("streaming"), tools: has("tools"), images: has("images"), json: has("json") };
        Ok(Decision {
            request: RouteRequest {
                id: id.transpose()?,
                now: Moment::from_millis(self.now_ms),
                seed: self.seed.0,
                input_tokens: self.input_tokens,
                input_precision: match (has(INPUT_EXACT), has(INPUT_BOUND)) {
                    (true, _) => Precision::Exact,
                    (_, true) => Precision::UpperBound,
                    _ => Precision::Estimate,
                },
                expected_output_tokens: self.expected_output_tokens,
                max_output_tokens: self.max_output_tokens,
                priority: self.priority,
                deadline_ms: self.deadline_ms,
                traits,
            },
            signals: plain(&self.signals),
            features: plain(&self.features),
            attributes: self.attributes,
            answer: self.answer.answer()?,
        })
    }
}

/// How exact the count is, by the interface's names; an estimate has none.
const INPUT_EXACT: &str = "input-exact";
const INPUT_BOUND: &str = "input-bound";

fn precision_name(precision: Precision) -> Option<String> {
    match precision {
        Precision::Exact => Some(INPUT_EXACT.to_owned()),
        Precision::UpperBound => Some(INPUT_BOUND.to_owned()),
        Precision::Estimate => None,
    }
}

/// The kinds of a request, by the interface's names.
pub(super) fn trait_names(traits: Traits) -> Vec<String> {
    let Traits { streaming, tools, images, json } = traits;
    let flags = [(streaming, "streaming"), (tools, "tools"), (images, "images"), (json, "json")];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()).collect()
}

impl AnswerLine {
    fn of(answer: &Result<Vec<Choice>, RouteError>) -> Self {
        match answer {
            Ok(ranking) => {
                let propensities: Vec<f32> = ranking.iter().map(|choice| choice.propensity).collect();
                let certain = propensities.iter().all(|propensity| propensity.to_bits() == 1.0_f32.to_bits());
                Self::Ranking {
                    deployments: ranking.iter().map(|choice| choice.deployment).collect(),
                    propensities: if certain { Vec::new() } else { all(&propensities) },
                }
            }
            Err(RouteError::Wait(wait)) => Self::WaitMs(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            Err(RouteError::Reject(words)) => Self::Reject(words.clone()),
            Err(RouteError::Fault(fault)) => Self::Fault(FaultLine::of(fault)),
        }
    }

    fn answer(self) -> Result<Result<Vec<Choice>, RouteError>, String> {
        Ok(match self {
            Self::Ranking { deployments, propensities } => {
                let propensity = |place: usize| propensities.get(place).map_or(1.0, |propensity| propensity.0);
                let choice = |(place, deployment)| Choice { deployment, propensity: propensity(place) };
                Ok(deployments.into_iter().enumerate().map(choice).collect())
            }
            Self::WaitMs(wait) => Err(RouteError::Wait(std::time::Duration::from_millis(wait))),
            Self::Reject(words) => Err(RouteError::Reject(words)),
            Self::Fault(fault) => Err(RouteError::Fault(fault.fault()?)),
        })
    }
}
