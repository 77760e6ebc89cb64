//! What an experiment will take, before a cent is spent: its calls through the gateway's own pipeline on virtual time, providers simulated.
//!
//! Input is counted by each deployment's encoding, so that it is exact where the encoding is known. Output and the time replies take are
//! what the ledger has seen of the model, else what the file expects, else stated defaults; cost is given as an interval, from half
//! of the expected output to twice as much. Nothing of a plan is reckoned beside the pipeline but sums.

mod advice;
mod figures;
mod show;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::budget::RunBudget;
use super::planned::{Expectations, PlannedUpstream};
use super::{Assemble, End, Experiment, Heard, Journal, Runner, Wanted, WhatIf, for_plan};
use crate::clock::Clock;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::Recorder;
use crate::store::Paid;
use crate::tokens;

pub use advice::Recommendation;
pub(super) use figures::Sums;
pub(crate) use figures::{limit_per_minute, number};

/// When virtual time begins: the start of a minute.
const BEGIN: Moment = Moment::from_millis(1_800_000_000_000);
/// Failed items that are told one by one.
const MOST_TOLD: usize = 20;

/// A number that is expected, and between which it will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// At least.
    pub low: f64,
    /// As expected.
    pub expected: f64,
    /// At most.
    pub high: f64,
}

/// What one model will take.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelPlan {
    /// The group.
    pub model: String,
    /// Items, and the calls that ask them.
    pub items: usize,
    /// Calls.
    pub calls: usize,
    /// Input tokens.
    pub input_tokens: u64,
    /// Whether the model's own encoding counted them.
    pub exact: bool,
    /// Output tokens.
    pub output_tokens: Figures,
    /// Dollars; `None` where a price is unknown.
    pub cost_usd: Option<Figures>,
    /// Minutes from the start to the last reply.
    pub minutes: f64,
    /// The share of its tightest limit that is used while it runs; 0 where it has none.
    pub utilization: f64,
    /// The limit that decides how long it takes, in words; `None`: no limit does, replies take that long.
    pub bound_by: Option<String>,
    /// Tokens sent in each minute.
    pub tokens_by_minute: Vec<u64>,
    /// Tokens that may be used in a minute, over all deployments.
    pub tokens_per_minute: Option<u64>,
    /// Minutes that calls waited for limits, on average.
    pub waited_minutes: f64,
    /// Refusals by providers' limits.
    pub rate_limited: u64,
    /// Where the length and pace of replies come from.
    pub expects: String,
}

/// An item that no deployment of its model can ever take, or that fails otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NeverFits {
    /// The text.
    pub text: String,
    /// The run.
    pub run: String,
    /// The gateway's words.
    pub why: String,
    /// A deployment of the configuration that would take it.
    pub would_take: Option<String>,
}

/// What all of it will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The experiment's name.
    pub experiment: String,
    /// What was tried.
    pub what_if: Vec<String>,
    /// Whether it can be carried out as it is wanted.
    pub feasible: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Items and calls of all models.
    pub items: usize,
    /// Calls.
    pub calls: usize,
    /// Input and expected output tokens of all models.
    pub total_estimated_tokens: u64,
    /// Dollars of all models; `None` where a price is unknown.
    pub cost_usd: Option<Figures>,
    /// Minutes from the start to the last reply.
    pub estimated_duration_minutes: f64,
    /// The share of its tightest limit that each model uses.
    pub model_utilization: BTreeMap<String, f64>,
    /// Model by model.
    pub models: Vec<ModelPlan>,
    /// What never fits; the first of them.
    pub never_fits: Vec<NeverFits>,
    /// How many items fail.
    pub failing: usize,
    /// What would help, with what it would gain.
    pub recommendations: Vec<Recommendation>,
}

/// Plans an experiment. `advise`: each recommendation is measured by a plan of its own.
///
/// # Errors
/// It cannot be planned: a gateway for it cannot be assembled, or what is tried is none of its.
pub fn plan(
    experiment: &Experiment,
    tried: &[WhatIf],
    expectations: &Arc<Expectations>,
    advise: bool,
    assemble: &Assemble<'_>,
) -> Result<Plan, Vec<String>> {
    // Each plan counts every text for its limits and for its provider, and each change is a plan.
    let _remembering = tokens::remember();
    let mut plan = simulate(experiment, tried, expectations, assemble)?;
    if advise {
        plan.recommendations = advice::recommend(experiment, tried, expectations, &plan, assemble);
    }
    Ok(plan)
}

/// Adds ends up as they come.
struct Adding {
    experiment: Arc<Experiment>,
    sums: Mutex<Sums>,
}

impl Adding {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for Adding {
    fn sent(&self, _items: &[usize]) {}

    fn ended(&self, ends: &[(usize, End)], _paid: &Paid<'_>) -> Result<(), String> {
        let mut sums = self.sums();
        for (item, end) in ends {
            sums.add(&self.experiment, *item, end);
        }
        Ok(())
    }
}

/// One plan, without advice.
fn simulate(
    experiment: &Experiment,
    tried: &[WhatIf],
    expectations: &Arc<Expectations>,
    assemble: &Assemble<'_>,
) -> Result<Plan, Vec<String>> {
    let mut experiment = experiment.tried(tried).map_err(|why| vec![why])?;
    // What it would cost is to be told, not to be stopped at.
    let (budget, deadline) = (experiment.file.budget.take(), experiment.file.deadline.take());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|fault| vec![format!("no runtime: {fault}")])?;
    let calls = experiment.calls(0..experiment.items.len());
    let counts = calls.iter().map(|(model, calls)| (model.clone(), calls.len())).collect();
    let first = calls.values().next().and_then(|calls| calls.first());
    let too_dear = budget.as_ref().is_some_and(|budget| {
        experiment.file.budget = Some(budget.clone());
        let mut budget = RunBudget::new(&experiment, NanoUsd::default());
        first.is_some_and(|first| budget.hold(first).is_none())
    });
    experiment.file.budget = None;
    let experiment = Arc::new(experiment);
    let journal =
        Arc::new(Adding { experiment: Arc::clone(&experiment), sums: Mutex::new(Sums::new(&experiment, BEGIN)) });
    runtime.block_on(async {
        let clock = Clock::starting_at(BEGIN);
        let adjust = for_plan(&experiment, tried, expectations);
        let upstream = Arc::new(PlannedUpstream(Arc::clone(expectations)));
        let mut gateway = assemble(Wanted { adjust, upstream: Some(upstream), clock })?;
        let heard = Arc::new(Heard::new(clock, Arc::clone(&gateway.recorder)));
        gateway.recorder = Arc::clone(&heard) as Arc<dyn Recorder>;
        let runner = Runner {
            experiment: &experiment,
            gateway: &Arc::new(gateway),
            heard: &heard,
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            progress: Arc::default(),
            stop: CancellationToken::new(),
            spent: NanoUsd::default(),
            time: None,
            planned: Some(&**expectations),
            shared: None,
        };
        runner.run(calls).await.map_err(|why| vec![why])
    })?;
    let mut plan = journal.sums().plan(&experiment, &counts, expectations);
    plan.what_if = tried.iter().map(WhatIf::told).collect();
    if let Some(budget) = &budget {
        if too_dear {
            plan.reasons.push(format!("the budget of ${} is below what the first request may cost", budget.value));
        }
        if let Some(cost) = plan.cost_usd.filter(|cost| cost.expected > budget.value) {
            plan.reasons.push(format!("it costs about ${:.2}, and the budget is ${}", cost.expected, budget.value));
        }
    }
    if let Some(deadline) = deadline {
        let minutes = deadline.value.as_secs_f64() / 60.0;
        if plan.estimated_duration_minutes > minutes {
            plan.reasons.push(format!(
                "it takes about {:.0} minutes, and {minutes:.0} are allowed",
                plan.estimated_duration_minutes
            ));
        }
    }
    plan.feasible = plan.reasons.is_empty();
    Ok(plan)
}
