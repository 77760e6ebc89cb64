//! The experiment's own budget: what is spent and what may still be spent by the calls in flight are never more together.

use super::items::Counts;
use super::{Call, Experiment};
use crate::money::NanoUsd;

/// Output tokens a reply may have where neither its request nor its model bounds them.
const UNBOUNDED_OUTPUT: u64 = 8_192;

/// Keeps the budget.
pub(super) struct RunBudget<'a> {
    experiment: &'a Experiment,
    most: Option<NanoUsd>,
    spent: NanoUsd,
    held: NanoUsd,
    counts: Counts,
}

impl<'a> RunBudget<'a> {
    /// With so much spent before.
    pub(super) fn new(experiment: &'a Experiment, spent: NanoUsd) -> Self {
        let most = experiment.file.budget.as_ref().and_then(|budget| NanoUsd::from_usd(budget.value));
        Self { experiment, most, spent, held: NanoUsd::default(), counts: Counts::default() }
    }

    /// Holds what a call may cost at most; `None` where that would pass the budget.
    pub(super) fn hold(&mut self, call: &Call) -> Option<NanoUsd> {
        let Some(most) = self.most else { return Some(NanoUsd::default()) };
        let cost = self.most_of(call);
        if self.spent + self.held + cost > most {
            return None;
        }
        self.held += cost;
        Some(cost)
    }

    /// A call ended: what was held is free, what it cost is spent.
    pub(super) fn settle(&mut self, held: NanoUsd, cost: NanoUsd) {
        self.held = NanoUsd(self.held.0.saturating_sub(held.0));
        self.spent += cost;
    }

    /// The most that a call may cost, at the dearest deployment of its group.
    fn most_of(&mut self, call: &Call) -> NanoUsd {
        let Some(first) = call.items.first() else { return NanoUsd::default() };
        let experiment = self.experiment;
        let run = experiment.run_of(*first);
        let input = experiment.tokens_of(call, &mut self.counts);
        let asked = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| run.parameters.get(*name)?.as_u64());
        let group = experiment.settings.catalog.groups.get(&run.model);
        let deployments = group.into_iter().flat_map(|group| &group.deployments);
        let cost = |deployment: &std::sync::Arc<crate::catalog::Deployment>| {
            let bound = deployment.max_output_tokens.map_or(UNBOUNDED_OUTPUT, u64::from);
            let output = asked.map_or(bound, |asked| asked.min(bound));
            deployment.charged_prices().map(|prices| prices.of(input, output))
        };
        let most = deployments.filter_map(cost).max().unwrap_or_default();
        // A reply that cannot be read is asked for again, within the same request.
        let asks_again = experiment.parser().is_some() || group.is_some_and(|group| group.parser.is_some());
        let retries = group.map_or(0, |group| u64::from(group.failures.of(run.model.as_str()).retry.retries));
        NanoUsd(most.0.saturating_mul(if asks_again { 1 + retries } else { 1 }))
    }
}
