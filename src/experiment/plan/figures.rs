//! The sums of a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Figures, MOST_TOLD, ModelPlan, NeverFits, Plan};
use crate::catalog::{Deployment, Group, Origin};
use crate::experiment::items::Counts;
use crate::experiment::planned::Expectations;
use crate::experiment::{Answer, Call, End, Experiment, Run};
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

/// What became of items, added up one by one: it grows with models and minutes, and not with items.
#[derive(Debug)]
pub(in crate::experiment) struct Sums {
    begin: Moment,
    models: BTreeMap<GroupName, ModelSums>,
    failing: usize,
    /// The first that failed, and why.
    told: Vec<(usize, String)>,
}

/// The sums of one model.
#[derive(Debug, Default)]
struct ModelSums {
    items: usize,
    input: u64,
    output: u64,
    last_ms: u64,
    last_sent_ms: u64,
    /// Items by how many were asked together, from which calls follow.
    together: BTreeMap<u32, u64>,
    by_minute: Vec<u64>,
    waited_ms: u64,
    longest_wait_ms: u64,
    rate_limited: u64,
    /// What it costs: as billed, at least and at most. `None`: a price is not known.
    cost: Option<(NanoUsd, f64, f64)>,
}

impl Sums {
    /// Of a plan or a run that began then.
    pub(in crate::experiment) fn new(experiment: &Experiment, begin: Moment) -> Self {
        let at = begin.as_millis();
        let nothing = Some((NanoUsd::default(), 0.0, 0.0));
        let model = |name: &GroupName| {
            (name.clone(), ModelSums { last_ms: at, last_sent_ms: at, cost: nothing, ..ModelSums::default() })
        };
        let models = experiment.models().into_iter().map(model).collect();
        Self { begin, models, failing: 0, told: Vec::new() }
    }

    /// Adds an item's end.
    pub(in crate::experiment) fn add(&mut self, experiment: &Experiment, item: usize, end: &End) {
        let run = experiment.run_of(item);
        match end {
            End::Answered(answer) => {
                let group = experiment.settings.catalog.groups.get(&run.model);
                if let (Some(sums), Some(group)) = (self.models.get_mut(&run.model), group) {
                    sums.add(run, group, answer, self.begin);
                }
            }
            End::Failed(failure) => {
                self.failing += 1;
                if self.told.len() < MOST_TOLD {
                    self.told.push((item, failure.reason.clone()));
                }
            }
        }
    }

    /// In figures. `calls`: those that were to be made of each model, where that is known.
    pub(in crate::experiment) fn plan(
        &self,
        experiment: &Experiment,
        calls: &BTreeMap<GroupName, usize>,
        expectations: &Expectations,
    ) -> Plan {
        let model = |(name, sums): (&GroupName, &ModelSums)| {
            let planned = calls.get(name).copied().unwrap_or_default();
            sums.plan(experiment, name, planned, expectations, self.begin)
        };
        let models: Vec<ModelPlan> = self.models.iter().map(model).collect();
        let never_fits = self.told.iter().map(|(item, why)| never(experiment, *item, why)).collect();
        let mut reasons = Vec::new();
        if self.failing > 0 {
            reasons.push(format!("{} of {} items cannot be answered", self.failing, experiment.items.len()));
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
            failing: self.failing,
            recommendations: Vec::new(),
        }
    }
}

fn sum(mut all: impl Iterator<Item = Option<Figures>>) -> Option<Figures> {
    all.try_fold(Figures::default(), |sum, one| {
        let one = one?;
        Some(Figures { low: sum.low + one.low, expected: sum.expected + one.expected, high: sum.high + one.high })
    })
}

impl ModelSums {
    fn add(&mut self, run: &Run, group: &Group, answer: &Answer, begin: Moment) {
        self.items += 1;
        self.input += answer.input_tokens;
        self.output += answer.output_tokens;
        self.last_ms = self.last_ms.max(answer.ended_ms);
        self.last_sent_ms = self.last_sent_ms.max(answer.sent_ms);
        *self.together.entry(answer.together.max(1)).or_default() += 1;
        let minute = usize::try_from(answer.sent_ms.saturating_sub(begin.as_millis()) / MINUTE).unwrap_or_default();
        if self.by_minute.len() <= minute {
            self.by_minute.resize(minute + 1, 0);
        }
        self.by_minute[minute] += answer.input_tokens + answer.output_tokens;
        self.waited_ms += answer.waited_ms;
        self.longest_wait_ms = self.longest_wait_ms.max(answer.waited_ms);
        self.rate_limited += u64::from(answer.rate_limited);
        self.cost = self.cost.and_then(|sum| costs(sum, run, group, answer));
    }

    /// The requests that were answered: each of them is as many items as were asked together.
    fn requests(&self) -> u64 {
        whole(self.together.iter().map(|(together, items)| number(*items) / f64::from(*together)).sum())
    }

    fn plan(
        &self,
        experiment: &Experiment,
        model: &GroupName,
        calls: usize,
        expectations: &Expectations,
        begin: Moment,
    ) -> ModelPlan {
        let Some(group) = experiment.settings.catalog.groups.get(model) else { return ModelPlan::default() };
        let minutes = |until: u64| number(until.saturating_sub(begin.as_millis())) / number(MINUTE);
        // From the first start to the last, and the window that the first could use all of.
        let window = group.deployments.iter().map(|deployment| deployment.limits.window).max().unwrap_or_default();
        let windows = minutes(self.last_sent_ms) + (window.as_secs_f64() / 60.0).max(f64::MIN_POSITIVE);
        let requests = self.requests();
        let used = [
            (Dimension::Tokens, self.input + self.output, "tokens"),
            (Dimension::InputTokens, self.input, "input tokens"),
            (Dimension::OutputTokens, self.output, "output tokens"),
            (Dimension::Requests, requests, "requests"),
        ];
        let shares = used.into_iter().filter_map(|(dimension, used, name)| {
            let limit = limit_per_minute(group, dimension)?;
            Some((number(used) / (number(limit) * windows), format!("{limit} {name} a minute")))
        });
        let waits = self.longest_wait_ms >= WAITED;
        let tightest = shares.max_by(|one, other| one.0.total_cmp(&other.0));
        let (utilization, bound_by) = tightest.map_or((0.0, None), |(share, limit)| (share, waits.then_some(limit)));
        let expected = expectations.of(experiment.counted_as(model));
        let first = group.deployments.first();
        let simulated = first.is_some_and(|first| matches!(first.origin, Origin::Simulated(_)));
        let cost = self.cost.map(|(billed, low, high)| {
            let expected = billed.as_usd();
            Figures { low: f64::min(low, expected), expected, high: f64::max(high, expected) }
        });
        ModelPlan {
            model: model.to_string(),
            items: self.items,
            calls: usize::try_from(requests).unwrap_or(usize::MAX).max(calls),
            input_tokens: self.input,
            exact: Encoding::of(experiment.counted_as(model)).is_some(),
            output_tokens: spread(number(self.output)),
            cost_usd: cost,
            minutes: minutes(self.last_ms),
            utilization: round(utilization),
            bound_by,
            tokens_by_minute: self.by_minute.clone(),
            tokens_per_minute: limit_per_minute(group, Dimension::Tokens),
            waited_minutes: number(self.waited_ms) / number(self.items.max(1) as u64) / number(MINUTE),
            rate_limited: self.rate_limited,
            expects: match (simulated, expected.learned, experiment.file.expect.output_tokens.is_some()) {
                (true, ..) => "the simulated provider's own".to_owned(),
                (_, true, _) => "the ledger".to_owned(),
                (_, _, true) => "the file".to_owned(),
                _ => "defaults".to_owned(),
            },
        }
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

/// What an answer cost, in addition; `None` where its price is not known.
fn costs(
    (billed, low, high): (NanoUsd, f64, f64),
    run: &Run,
    group: &Group,
    answer: &Answer,
) -> Option<(NanoUsd, f64, f64)> {
    let deployment = group.deployments.iter().find(|deployment| deployment.id.as_str() == answer.deployment)?;
    let prices = deployment.prices.as_ref()?;
    let rates = prices.at(answer.input_tokens.saturating_mul(answer.together.into()));
    let most = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| run.parameters.get(*name)?.as_u64());
    let [less, more] = SPREAD.map(|factor| whole(number(answer.output_tokens) * factor));
    let more = most.map_or(more, |most| more.min(most)).max(answer.output_tokens);
    let of = |output: u64| (rates.input.of(answer.input_tokens) + rates.output.of(output)).as_usd();
    Some((billed + answer.cost_nano_usd?, low + of(less), high + of(more)))
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
