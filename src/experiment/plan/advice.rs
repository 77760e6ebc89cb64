//! What would help. Each recommendation is a plan of its own, and its gain is what that plan takes less; one without a gain is not given.

use std::sync::Arc;

use serde::Serialize;

use super::{Plan, simulate};
use crate::experiment::planned::Expectations;
use crate::experiment::{Assemble, Experiment, WhatIf};
use crate::id::GroupName;

/// From so many tokens on, batches are looked at.
const MANY_TOKENS: u64 = 500_000;
/// A model that takes longer is better spread.
const LONG_MINUTES: f64 = 180.0;
/// Gains below this share are none.
const WORTH: f64 = 0.03;
/// Models that are looked at, the slowest first.
const MODELS: usize = 3;
/// Tokens of a batch that is recommended.
const BATCH: u32 = 15_000;
/// What vendors' batch interfaces cost of the usual price, and within what time they answer.
const VENDORS_BATCH: (f64, &str) = (0.5, "24 hours");

/// Something that would help, and how much.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// In words.
    pub what: String,
    /// As `--what-if` takes it, where it does.
    pub what_if: Option<String>,
    /// Minutes less.
    pub saves_minutes: f64,
    /// Dollars less, where prices are known.
    pub saves_usd: Option<f64>,
    /// Tokens less.
    pub saves_tokens: i64,
}

/// What would help `plan`.
pub(super) fn recommend(
    experiment: &Experiment,
    tried: &[WhatIf],
    expectations: &Arc<Expectations>,
    plan: &Plan,
    assemble: &Assemble<'_>,
) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let mut measure = |what: String, change: WhatIf| {
        let told = change.told();
        let changed: Vec<WhatIf> = tried.iter().cloned().chain([change]).collect();
        // What cannot be planned is not recommended.
        let Ok(other) = simulate(experiment, &changed, expectations, assemble) else { return };
        found.extend(gain(what, Some(told), plan, &other));
    };
    let mut bound: Vec<_> = plan.models.iter().filter(|model| model.bound_by.is_some()).collect();
    bound.sort_by(|one, other| other.minutes.total_cmp(&one.minutes));
    for model in bound.into_iter().take(MODELS) {
        let name = GroupName::from(model.model.as_str());
        let limit = model.bound_by.clone().unwrap_or_default();
        measure(
            format!("another key or deployment for `{name}`, which {limit} hold back"),
            WhatIf::AddKey(name.clone()),
        );
        if model.minutes > LONG_MINUTES && plan.models.len() > 1 {
            measure(
                format!(
                    "`{name}` takes over {LONG_MINUTES:.0} minutes: its texts spread over the other models too, whichever has room"
                ),
                WhatIf::Spread(name.clone()),
            );
        }
        if let Some(tokens) = model.tokens_per_minute.filter(|_| !limit.contains("requests")) {
            let deployments = experiment.settings.catalog.groups.get(&name).map_or(1, |group| group.deployments.len());
            let each = 2 * tokens / deployments.max(1) as u64;
            measure(format!("a tier with twice the tokens a minute for `{name}`"), WhatIf::Tpm(name, each));
        }
    }
    let batched = experiment.file.batch.is_some() || tried.iter().any(|change| matches!(change, WhatIf::Batch(_)));
    if !batched && plan.total_estimated_tokens >= MANY_TOKENS {
        let what =
            format!("several texts in one call, {BATCH} tokens at most: what is said about all is paid for once");
        measure(what, WhatIf::Batch(BATCH));
    }
    if let Some(cost) = plan.cost_usd.filter(|cost| cost.expected > 0.0) {
        let (share, within) = VENDORS_BATCH;
        found.push(Recommendation {
            what: format!(
                "where the vendor has a batch interface, it answers within {within} at about {:.0} % of the price",
                share * 100.0
            ),
            what_if: None,
            saves_minutes: 0.0,
            saves_usd: Some(cost.expected * (1.0 - share)),
            saves_tokens: 0,
        });
    }
    found
}

fn gain(what: String, what_if: Option<String>, plan: &Plan, other: &Plan) -> Option<Recommendation> {
    let saves_minutes = plan.estimated_duration_minutes - other.estimated_duration_minutes;
    let saves_usd = plan.cost_usd.zip(other.cost_usd).map(|(own, other)| own.expected - other.expected);
    let tokens = |plan: &Plan| i64::try_from(plan.total_estimated_tokens).unwrap_or(i64::MAX);
    let worth = saves_minutes > plan.estimated_duration_minutes * WORTH
        || saves_usd.zip(plan.cost_usd).is_some_and(|(saved, cost)| saved > cost.expected * WORTH);
    let fails_no_more = other.failing <= plan.failing;
    (worth && fails_no_more).then(|| Recommendation {
        what,
        what_if,
        saves_minutes,
        saves_usd,
        saves_tokens: tokens(plan).saturating_sub(tokens(other)),
    })
}
