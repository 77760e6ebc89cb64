//! One that chooses, played over the data once: a router's component, or a rule that needs none.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::data::{DataSet, Example, Replied};
use super::objective::Objective;
use super::show::count;
use crate::moment::Moment;
use crate::policy::{
    Choice, Component, Decision, DeploymentInfo, Needs, Outcome, Rerun, RouteError, RouteRequest, Setup, Traits,
};
use crate::seed;
use crate::signal::{Grants, Signal};
use crate::tokens::Precision;

/// When data begin to be played; a prompt arrives each second.
const BEGIN: u64 = 1_800_000_000_000;

/// Rules to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Each model as often as any other.
    Random,
    /// Always the model whose replies are best on average over all of the data.
    AlwaysBest,
    /// Always the one that costs least on average.
    AlwaysCheapest,
    /// Of each prompt the model whose reply is worth most: what nobody can know.
    Oracle,
}

impl Rule {
    /// All of them, the oracle last.
    pub const ALL: [Self; 4] = [Self::Random, Self::AlwaysBest, Self::AlwaysCheapest, Self::Oracle];

    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::AlwaysBest => "always-best",
            Self::AlwaysCheapest => "always-cheapest",
            Self::Oracle => "oracle",
        }
    }
}

/// One choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The prompt's place in the data.
    pub example: usize,
    /// The model's place among the models.
    pub model: usize,
    /// The probability with which it was drawn.
    pub propensity: f32,
}

/// All choices of one that was played once, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// The choices.
    pub steps: Vec<Chosen>,
}

/// Plays a rule over prompts in an order.
#[must_use]
pub fn play_rule(rule: Rule, data: &DataSet, order: &[usize], objective: &Objective, seed: u64) -> Played {
    let models = data.models.len();
    let highest =
        |values: &[f64]| (0..models).reduce(|best, next| if values[next] > values[best] { next } else { best });
    let fixed = match rule {
        Rule::AlwaysBest => highest(&data.means(|reply| reply.reward)),
        Rule::AlwaysCheapest => highest(&data.means(|reply| -reply.cost)),
        Rule::Random | Rule::Oracle => None,
    };
    let choose = |(number, example): (u64, &usize)| {
        let model = match rule {
            Rule::Random => usize::try_from(seed::derive(seed, number) % models as u64).unwrap_or_default(),
            Rule::Oracle => {
                let worths: Vec<f64> =
                    data.examples[*example].replies.iter().map(|reply| worth(objective, reply)).collect();
                highest(&worths).unwrap_or_default()
            }
            Rule::AlwaysBest | Rule::AlwaysCheapest => fixed.unwrap_or_default(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "a probability")]
        let propensity = if rule == Rule::Random { 1.0 / count(models) as f32 } else { 1.0 };
        Chosen { example: *example, model, propensity }
    };
    Played { steps: (0..).zip(order).map(choose).collect() }
}

/// What a reply of the data is worth.
pub(super) fn worth(objective: &Objective, reply: &Replied) -> f64 {
    objective.worth(reply.reward, reply.cost, reply.latency_ms)
}

/// Plays a router over prompts in an order. Of each it is told what a gateway would tell it, deployments all free and healthy, and
/// expected to cost what their model's replies cost on average, which stands for a table of prices; then how the reply it chose turned out.
///
/// # Errors
/// It cannot be set up, or does not answer.
pub(super) fn play(
    component: &Arc<Component>,
    settings: &Value,
    data: &DataSet,
    order: &[usize],
    seed: u64,
) -> Result<Played, String> {
    let mut rerun = started(component, settings, data, seed)?;
    let needs = rerun.needs().clone();
    let signals = signals(&needs, data);
    let mut played = Played { steps: Vec::with_capacity(order.len()) };
    for (number, &place) in (0..).zip(order) {
        let example = &data.examples[place];
        let asked = asked(&needs, example, number, seed, &signals);
        let first = match rerun.route(&asked) {
            Ok(ranking) => ranking.first().copied(),
            Err(RouteError::Fault(fault)) => return Err(format!("decision {}: it {fault}", number + 1)),
            Err(RouteError::Wait(_) | RouteError::Reject(_)) => None,
        };
        let Some(Choice { deployment, propensity }) = first else {
            return Err(format!("decision {}: it chose no deployment, though all are free", number + 1));
        };
        let model = usize::try_from(deployment).unwrap_or_default();
        played.steps.push(Chosen { example: place, model, propensity });
        let told = outcome(asked.request.seed, deployment, &example.replies[model]);
        rerun.observe(&told).map_err(|fault| format!("told of decision {}, it {fault}", number + 1))?;
    }
    Ok(played)
}

/// A router of the data's models that knows nothing yet.
fn started(component: &Arc<Component>, settings: &Value, data: &DataSet, seed: u64) -> Result<Rerun, String> {
    let setup = Setup {
        group: None,
        settings: Arc::from(settings.to_string()),
        deployments: data.models.iter().map(|model| facts(model)).collect(),
        seed,
        may_read: Grants::All,
    };
    Rerun::start(Arc::clone(component), setup, None).map_err(|problem| problem.to_string())
}

/// What a router wants to be told where nothing is set.
///
/// # Errors
/// It cannot be set up.
pub(super) fn needs(component: &Arc<Component>, data: &DataSet) -> Result<Needs, String> {
    started(component, &Value::Object(Map::new()), data, 0).map(|router| router.needs().clone())
}

/// What is known of a deployment: its name.
pub(super) fn facts(model: &str) -> DeploymentInfo {
    DeploymentInfo::named(model, "data", model)
}

/// The matrix of signals, which is the same for every prompt.
#[expect(clippy::cast_possible_truncation, reason = "signals are f32")]
pub(super) fn signals(needs: &Needs, data: &DataSet) -> Vec<f32> {
    let costs = data.mean_costs();
    let latencies = data.means(|reply| reply.latency_ms.unwrap_or(f64::NAN));
    let cell = |signal: Signal, model: usize| match signal {
        Signal::WaitMs | Signal::InFlight | Signal::FailureRate | Signal::TokensUsed | Signal::RequestsUsed => 0.0,
        Signal::LatencyMs => latencies[model] as f32,
        Signal::LatencyPerTokenMs | Signal::TtftMs => f32::NAN,
        Signal::CostUsd => costs[model] as f32,
        Signal::TokensFree | Signal::RequestsFree => f32::INFINITY,
        Signal::Healthy => 1.0,
    };
    let column = |signal: &Signal| (0..data.models.len()).map(|model| cell(*signal, model)).collect::<Vec<_>>();
    needs.signals.iter().flat_map(column).collect()
}

/// What is asked of a router about a prompt.
pub(super) fn asked(needs: &Needs, example: &Example, number: u64, seed: u64, signals: &[f32]) -> Decision {
    Decision {
        request: RouteRequest {
            id: None,
            now: Moment::from_millis(BEGIN + 1_000 * number),
            seed: seed::derive(seed, number),
            input_tokens: u32::try_from(example.prompt.len() / 4).unwrap_or(u32::MAX),
            input_precision: Precision::Estimate,
            expected_output_tokens: 500,
            max_output_tokens: None,
            priority: 0,
            deadline_ms: None,
            traits: Traits::default(),
        },
        signals: signals.to_vec(),
        features: example.features(needs),
        attributes: vec![String::new(); needs.attributes.len()],
        answer: Ok(Vec::new()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "outcomes are f32")]
fn outcome(seed: u64, deployment: u32, reply: &Replied) -> Outcome {
    Outcome {
        seed,
        attempt: 0,
        deployment,
        fault: None,
        input_tokens: 0,
        output_tokens: 0,
        cost_usd: reply.cost,
        // An end that is told has a time, or it would be a late judgement.
        latency_ms: reply.latency_ms.unwrap_or(0.0) as f32,
        ttft_ms: None,
        quality: Some(reply.reward as f32),
    }
}
