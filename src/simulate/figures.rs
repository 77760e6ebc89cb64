//! What became of a load, added up as its requests end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::catalog::Group;
use crate::experiment::{limit_per_minute, number};
use crate::fault::FaultKind;
use crate::limits::Dimension;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::pipeline::Recorder;
use crate::record::{AttemptRecord, Ending, Record};
use crate::snapshot::Snapshot;

const MINUTE: u64 = 60_000;
/// Points of a curve of times.
const POINTS: usize = 101;

/// What became of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// The contender.
    pub name: String,
    /// Requests that arrived.
    pub requests: u64,
    /// Of them, those that got a whole reply.
    pub answered: u64,
    /// Of them, those that got none, by how they ended.
    pub refused: BTreeMap<&'static str, u64>,
    /// Requests of the load that were left out, by the model that nobody serves here.
    pub left_out: BTreeMap<String, u64>,
    /// Calls to providers.
    pub calls: u64,
    /// Of them, those that a provider's limit refused (429).
    pub rate_limited: u64,
    /// Groups that took over from others.
    pub fallbacks: u64,
    /// Input tokens of all calls.
    pub input_tokens: u64,
    /// Output tokens of all calls.
    pub output_tokens: u64,
    /// Dollars; `None` where a price is unknown.
    pub cost_usd: Option<f64>,
    /// Seconds from the first arrival to the last end.
    pub makespan_seconds: f64,
    /// The share of the most used limit that is used, on average from the first arrival to the last call; `None`: there is no limit.
    pub limit_used: Option<f64>,
    /// Seconds from arrival to the whole reply.
    pub latency_seconds: Quantiles,
    /// Of them, seconds that a limit made it wait.
    pub waited_seconds: Quantiles,
    /// Group by group.
    pub groups: Vec<GroupOutcome>,
    /// Deployment by deployment.
    pub deployments: Vec<DeploymentOutcome>,
    /// The times of replies at each hundredth of them.
    #[serde(skip)]
    pub curve: Vec<f64>,
}

/// Of all values in order, those at these shares of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are above.
    pub p50: f64,
    /// One in twenty is above.
    pub p95: f64,
    /// One in a hundred is above.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// What became of one group's requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GroupOutcome {
    /// The group.
    pub group: String,
    /// The router that decided.
    pub router: String,
    /// Calls.
    pub calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// The share of its most used limit that is used.
    pub limit_used: Option<f64>,
    /// Which limit that is.
    pub limit: Option<String>,
    /// Tokens that may be used in a minute, over all deployments.
    pub tokens_per_minute: Option<u64>,
    /// Tokens sent in each minute.
    pub tokens_by_minute: Vec<u64>,
}

/// What one deployment did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeploymentOutcome {
    /// The deployment.
    pub deployment: String,
    /// Calls.
    pub calls: u64,
    /// Of them, those with a whole reply.
    pub answered: u64,
    /// Those that its provider's limit refused.
    pub rate_limited: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Dollars; `None` where its price is unknown.
    pub cost_usd: Option<f64>,
}

/// Hears of every request's end.
pub(super) struct Tally {
    begin: Moment,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    outcome: Outcome,
    cost: NanoUsd,
    unpriced: bool,
    last: Moment,
    /// Milliseconds.
    latencies: Vec<u32>,
    waits: Vec<u32>,
    groups: BTreeMap<String, OfGroup>,
    deployments: BTreeMap<String, OfDeployment>,
}

#[derive(Default)]
struct OfGroup {
    calls: u64,
    input: u64,
    output: u64,
    last_sent: Moment,
    by_minute: Vec<u64>,
}

#[derive(Default)]
struct OfDeployment {
    outcome: DeploymentOutcome,
    cost: NanoUsd,
    unpriced: bool,
}

impl Tally {
    pub(super) fn new(begin: Moment, requests: u64) -> Self {
        let room = usize::try_from(requests).unwrap_or_default();
        let sums = Sums { latencies: Vec::with_capacity(room), last: begin, ..Sums::default() };
        Self { begin, sums: Mutex::new(sums) }
    }

    /// All of it.
    pub(super) fn outcome(&self, name: &str, snapshot: &Snapshot, left_out: BTreeMap<String, u64>) -> Outcome {
        let mut sums = std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        let mut outcome = sums.outcome;
        name.clone_into(&mut outcome.name);
        outcome.left_out = left_out;
        outcome.makespan_seconds = sums.last.since(self.begin).as_secs_f64();
        outcome.cost_usd = (!sums.unpriced).then(|| sums.cost.as_usd());
        (outcome.latency_seconds, outcome.curve) = quantiles(&mut sums.latencies);
        (outcome.waited_seconds, _) = quantiles(&mut sums.waits);
        let groups = sums.groups.into_iter().map(|(name, group)| {
            let runtime = snapshot.group(&name);
            let (config, router) =
                (runtime.as_ref().map(|group| &*group.config), runtime.as_ref().map(|it| &it.policy));
            group.outcome(name, config, router.map_or("", |router| router), self.begin)
        });
        outcome.groups = groups.collect();
        outcome.limit_used = outcome.groups.iter().filter_map(|group| group.limit_used).reduce(f64::max);
        let deployments = sums.deployments.into_values().map(|of| {
            let cost_usd = (!of.unpriced).then(|| of.cost.as_usd());
            DeploymentOutcome { cost_usd, ..of.outcome }
        });
        outcome.deployments = deployments.collect();
        outcome
    }
}

impl Recorder for Tally {
    fn begun(&self) {}

    fn ended(&self, record: &Record) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = &mut *sums;
        let ended = record.arrived + record.latency;
        sums.last = sums.last.max(ended);
        sums.outcome.requests += 1;
        sums.outcome.fallbacks += u64::from(record.fallbacks);
        match record.ending {
            Ending::Whole => {
                sums.outcome.answered += 1;
                sums.latencies.push(millis(record.latency));
                sums.waits.push(millis(record.waited));
            }
            other => *sums.outcome.refused.entry(other.as_str()).or_default() += 1,
        }
        // The last call ends with its request; the others' tokens are few.
        for attempt in &record.attempts {
            sums.attempt(attempt, self.begin, ended);
        }
    }
}

impl Sums {
    fn attempt(&mut self, attempt: &AttemptRecord, begin: Moment, ended: Moment) {
        let (input, output) = (attempt.usage.input_tokens, attempt.usage.output_tokens);
        let limited = u64::from(attempt.fault == Some(FaultKind::RateLimited));
        let unpriced = attempt.cost.is_none() && input + output > 0;
        let cost = attempt.cost.unwrap_or_default();
        self.outcome.calls += 1;
        self.outcome.rate_limited += limited;
        self.outcome.input_tokens += input;
        self.outcome.output_tokens += output;
        self.cost += cost;
        self.unpriced |= unpriced;
        let sent = ended - attempt.latency;
        let group = match self.groups.get_mut(attempt.group.as_str()) {
            Some(group) => group,
            None => self.groups.entry(attempt.group.to_string()).or_default(),
        };
        group.calls += 1;
        group.input += input;
        group.output += output;
        group.last_sent = group.last_sent.max(sent);
        let minute = usize::try_from(sent.since(begin).as_millis() / u128::from(MINUTE)).unwrap_or_default();
        if group.by_minute.len() <= minute {
            group.by_minute.resize(minute + 1, 0);
        }
        group.by_minute[minute] += input + output;
        let name = attempt.deployment.as_str();
        let of = match self.deployments.get_mut(name) {
            Some(of) => of,
            None => self.deployments.entry(name.to_owned()).or_default(),
        };
        if of.outcome.deployment.is_empty() {
            name.clone_into(&mut of.outcome.deployment);
        }
        of.outcome.calls += 1;
        of.outcome.answered += u64::from(attempt.fault.is_none());
        of.outcome.rate_limited += limited;
        of.outcome.input_tokens += input;
        of.outcome.output_tokens += output;
        of.cost += cost;
        of.unpriced |= unpriced;
    }
}

impl OfGroup {
    fn outcome(self, name: String, config: Option<&Group>, router: &str, begin: Moment) -> GroupOutcome {
        let tightest = config.and_then(|config| self.tightest(config, begin));
        let (limit_used, limit) = tightest.unzip();
        GroupOutcome {
            group: name,
            router: router.to_owned(),
            calls: self.calls,
            tokens: self.input + self.output,
            limit_used,
            limit,
            tokens_per_minute: config.and_then(|config| limit_per_minute(config, Dimension::Tokens)),
            tokens_by_minute: self.by_minute,
        }
    }

    /// The limit of which the largest share is used, from the first arrival to the last call and the window that the first could use all of.
    fn tightest(&self, group: &Group, begin: Moment) -> Option<(f64, String)> {
        let window = group.deployments.iter().map(|deployment| deployment.limits.window).max()?;
        let minutes = (self.last_sent.since(begin) + window).as_secs_f64() / 60.0;
        let used = [
            (Dimension::Tokens, self.input + self.output, "tokens"),
            (Dimension::InputTokens, self.input, "input tokens"),
            (Dimension::OutputTokens, self.output, "output tokens"),
            (Dimension::Requests, self.calls, "requests"),
        ];
        let shares = used.into_iter().filter_map(|(dimension, used, name)| {
            let limit = limit_per_minute(group, dimension)?;
            let share = number(used) / (number(limit) * minutes);
            Some(((share * 1e4).round() / 1e4, format!("{limit} {name} a minute")))
        });
        shares.max_by(|one, other| one.0.total_cmp(&other.0))
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// In seconds; and the curve of all.
fn quantiles(values: &mut [u32]) -> (Quantiles, Vec<f64>) {
    values.sort_unstable();
    let at = |part: usize, of: usize| {
        // The nearest rank: the value that so many are not above.
        let rank = (values.len() * part).div_ceil(of).max(1) - 1;
        values.get(rank).map_or(0.0, |value| f64::from(*value) / 1e3)
    };
    let quantiles = Quantiles { p50: at(50, 100), p95: at(95, 100), p99: at(99, 100), max: at(100, 100) };
    let curve = if values.is_empty() { Vec::new() } else { (0..POINTS).map(|part| at(part, POINTS - 1)).collect() };
    (quantiles, curve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_by_rank() {
        let mut values: Vec<u32> = (1..=200).rev().map(|value| value * 1000).collect();
        let (of_all, curve) = quantiles(&mut values);
        assert_eq!(of_all, Quantiles { p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0 });
        assert_eq!((curve.len(), curve[0], curve[100]), (POINTS, 1.0, 200.0));
        assert_eq!(quantiles(&mut []), (Quantiles::default(), Vec::new()));
    }
}
