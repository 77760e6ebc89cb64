//! The sums of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Figures, MOST_TOLD, ModelPlan, NeverFits, Plan};
use crate::catalog::{Deployment, Group, Origin};
use crate::experiment::items::Counts;
use crate::experiment::planned::Expectations;
use crate::experiment::{Answer, Call, End, Experiment};
use crate::id::GroupName;
use crate::limits::Dimension;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::tokens::Encoding;

/// Who waits so long, in milliseconds, waits for a limit.
const WAITED: u64 = 1_000;
/// What output may be, as multiples of what is expected.
const SPREAD: [f64; 2] = [0.5, 2.0];
const MINUTE: u64 = 60_000;

/// Adds up what became of items.
pub(in crate::experiment) fn plan(
    experiment: &Experiment,
    ends: &[(usize, End)],
    calls: &BTreeMap<GroupName, usize>,
    expectations: &Expectations,
    begin: Moment,
) -> Plan {
    let mut models = Vec::new();
    for model in experiment.models() {
        let answers: Vec<(usize, &Answer)> = ends
            .iter()
            .filter(|(item, _)| experiment.run_of(*item).model == *model)
            .filter_map(|(item, end)| match end {
                End::Answered(answer) => Some((*item, &**answer)),
                End::Failed(_) => None,
            })
            .collect();
        let planned = calls.get(model).copied().unwrap_or_default();
        models.push(of_model(experiment, model, &answers, planned, expectations, begin));
    }
    let failing: Vec<(usize, &str)> = ends
        .iter()
        .filter_map(|(item, end)| match end {
            End::Failed(failure) => Some((*item, failure.reason.as_str())),
            End::Answered(_) => None,
        })
        .collect();
    let never_fits = failing.iter().take(MOST_TOLD).map(|(item, why)| never(experiment, *item, why)).collect();
    let mut reasons = Vec::new();
    if !failing.is_empty() {
        reasons.push(format!("{} of {} items cannot be answered", failing.len(), experiment.items.len()));
    }
    let tokens = |model: &ModelPlan| whole(model.output_tokens.expected) + model.input_tokens;
    Plan {
        experiment: experiment.file.name.clone(),
        what_if: Vec::new(),
        feasible: true,
        reasons,
        items: experiment.items.len(),
        calls: models.iter().map(|model| model.calls).sum(),
        total_estimated_tokens: models.iter().map(tokens).sum(),
        cost_usd: sum(models.iter().map(|model| model.cost_usd)),
        estimated_duration_minutes: models.iter().map(|model| model.minutes).fold(0.0, f64::max),
        model_utilization: models.iter().map(|model| (model.model.clone(), model.utilization)).collect(),
        models,
        never_fits,
        failing: failing.len(),
        recommendations: Vec::new(),
    }
}

fn sum(mut all: impl Iterator<Item = Option<Figures>>) -> Option<Figures> {
    all.try_fold(Figures::default(), |sum, one| {
        let one = one?;
        Some(Figures { low: sum.low + one.low, expected: sum.expected + one.expected, high: sum.high + one.high })
    })
}

fn of_model(
    experiment: &Experiment,
    model: &GroupName,
    answers: &[(usize, &Answer)],
    calls: usize,
    expectations: &Expectations,
    begin: Moment,
) -> ModelPlan {
    let Some(group) = experiment.settings.catalog.groups.get(model) else { return ModelPlan::default() };
    let input: u64 = answers.iter().map(|(_, answer)| answer.input_tokens).sum();
    let output: u64 = answers.iter().map(|(_, answer)| answer.output_tokens).sum();
    let last = answers.iter().map(|(_, answer)| answer.ended_ms).max().unwrap_or(begin.as_millis());
    let last_sent = answers.iter().map(|(_, answer)| answer.sent_ms).max().unwrap_or(begin.as_millis());
    let requests: BTreeSet<&str> = answers.iter().map(|(_, answer)| answer.request.as_str()).collect();
    let minutes = |until: u64| number(until.saturating_sub(begin.as_millis())) / number(MINUTE);
    let mut by_minute: Vec<u64> = Vec::new();
    for (_, answer) in answers {
        let minute = usize::try_from(answer.sent_ms.saturating_sub(begin.as_millis()) / MINUTE).unwrap_or_default();
        if by_minute.len() <= minute {
            by_minute.resize(minute + 1, 0);
        }
        by_minute[minute] += answer.input_tokens + answer.output_tokens;
    }
    // From the first start to the last, and the window that the first could use all of.
    let window = group.deployments.iter().map(|deployment| deployment.limits.window).max().unwrap_or_default();
    let windows = minutes(last_sent) + (window.as_secs_f64() / 60.0).max(f64::MIN_POSITIVE);
    let used = [
        (Dimension::Tokens, input + output, "tokens"),
        (Dimension::InputTokens, input, "input tokens"),
        (Dimension::OutputTokens, output, "output tokens"),
        (Dimension::Requests, requests.len() as u64, "requests"),
    ];
    let shares = used.into_iter().filter_map(|(dimension, used, name)| {
        let limit = limit_per_minute(group, dimension)?;
        Some((number(used) / (number(limit) * windows), format!("{limit} {name} a minute")))
    });
    let waits = answers.iter().any(|(_, answer)| answer.waited_ms >= WAITED);
    let tightest = shares.max_by(|one, other| one.0.total_cmp(&other.0));
    let (utilization, bound_by) = tightest.map_or((0.0, None), |(share, limit)| (share, waits.then_some(limit)));
    let expected = expectations.of(experiment.counted_as(model));
    let first = group.deployments.first();
    let simulated = first.is_some_and(|first| matches!(first.origin, Origin::Simulated(_)));
    ModelPlan {
        model: model.to_string(),
        items: answers.len(),
        calls: requests.len().max(calls),
        input_tokens: input,
        exact: Encoding::of(experiment.counted_as(model)).is_some(),
        output_tokens: spread(number(output)),
        cost_usd: cost(experiment, group, answers),
        minutes: minutes(last),
        utilization: round(utilization),
        bound_by,
        tokens_by_minute: by_minute,
        tokens_per_minute: limit_per_minute(group, Dimension::Tokens),
        waited_minutes: mean(answers.iter().map(|(_, answer)| number(answer.waited_ms) / number(MINUTE))),
        rate_limited: answers.iter().map(|(_, answer)| u64::from(answer.rate_limited)).sum(),
        expects: match (simulated, expected.learned, experiment.file.expect.output_tokens.is_some()) {
            (true, ..) => "the simulated provider's own".to_owned(),
            (_, true, _) => "the ledger".to_owned(),
            (_, _, true) => "the file".to_owned(),
            _ => "defaults".to_owned(),
        },
    }
}

/// The limit of a group over all its deployments, for a minute; `None` where one has none.
pub(crate) fn limit_per_minute(group: &Group, dimension: Dimension) -> Option<u64> {
    let mut scopes = BTreeMap::new();
    for deployment in &group.deployments {
        let spec = &deployment.limits;
        let seconds = spec.window.as_secs_f64();
        let limit = number(spec.limits[dimension]?) * spec.margin * 60.0 / seconds;
        scopes.insert(deployment.scope.clone(), limit);
    }
    (!scopes.is_empty()).then(|| whole(scopes.values().sum()))
}

fn cost(experiment: &Experiment, group: &Group, answers: &[(usize, &Answer)]) -> Option<Figures> {
    let deployments: BTreeMap<&str, &Arc<Deployment>> =
        group.deployments.iter().map(|deployment| (deployment.id.as_str(), deployment)).collect();
    let (mut low, mut high) = (0.0, 0.0);
    let mut expected = NanoUsd::default();
    for (item, answer) in answers {
        expected += answer.cost_nano_usd?;
        let prices = deployments.get(answer.deployment.as_str())?.prices?;
        let rates = prices.at(answer.input_tokens.saturating_mul(answer.together.into()));
        let parameters = &experiment.run_of(*item).parameters;
        let most = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| parameters.get(*name)?.as_u64());
        let [less, more] = SPREAD.map(|factor| whole(number(answer.output_tokens) * factor));
        let more = most.map_or(more, |most| more.min(most));
        let of = |output: u64| (rates.input.of(answer.input_tokens) + rates.output.of(output)).as_usd();
        low += of(less);
        high += of(more.max(answer.output_tokens));
    }
    let expected = expected.as_usd();
    Some(Figures { low: f64::min(low, expected), expected, high: f64::max(high, expected) })
}

/// An item that fails, and who would take it.
fn never(experiment: &Experiment, item: usize, why: &str) -> NeverFits {
    let needed = experiment.tokens_of(&Call { items: vec![item] }, &mut Counts::default());
    let takes = |deployment: &&Arc<Deployment>| {
        let limits = &deployment.limits.limits;
        let fits = |dimension: Dimension| limits[dimension].is_none_or(|limit| limit >= needed);
        let fits = fits(Dimension::Tokens) && fits(Dimension::InputTokens);
        fits && deployment.context_window.is_none_or(|window| u64::from(window) >= needed)
    };
    let all = experiment.settings.catalog.groups.values().flat_map(|group| &group.deployments);
    NeverFits {
        text: experiment.texts[experiment.items[item].text].id.clone(),
        run: experiment.run_of(item).id.clone(),
        why: why.to_owned(),
        would_take: all.filter(|deployment| !deployment.makes_vectors).find(takes).map(|found| found.id.to_string()),
    }
}

fn spread(expected: f64) -> Figures {
    Figures { low: expected * SPREAD[0], expected, high: expected * SPREAD[1] }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn round(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "sums for people")]
pub(crate) const fn number(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and nothing here is below 0"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}
