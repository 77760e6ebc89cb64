//! What came of one contender, over all the times it was played.

use serde::Serialize;

use super::contender::{Played, worth};
use super::data::DataSet;
use super::objective::Objective;
use super::show::count;

/// Requests that a point of a learning curve is the mean of.
const WINDOW: usize = 100;
/// Points of a learning curve.
const POINTS: usize = 60;
/// The share of the final reward at which one has converged.
const CONVERGED: f64 = 0.95;

/// A mean over the times it was played, and how far it is off at 95 %, by Student's distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width; `None` where it was played once, which says nothing of how far it is off.
    pub margin: Option<f64>,
}

impl Interval {
    /// Of one number for each time.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let n = count(values.len());
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        if values.len() < 2 {
            return Self { mean, margin: None };
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean, margin: Some(student(values.len() - 1) * (variance / n).sqrt()) }
    }
}

/// The 97.5th percentile of Student's distribution.
fn student(freedom: usize) -> f64 {
    const FEW: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    // From there on within 0.002 (Abramowitz and Stegun, 26.7.5, two terms).
    let n = count(freedom);
    FEW.get(freedom.wrapping_sub(1)).copied().unwrap_or(1.96 + 2.3723 / n + 2.8225 / (n * n))
}

/// One contender.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Its name.
    pub name: String,
    /// The mean quality of replies.
    pub quality: Interval,
    /// The mean cost of a request, US dollars.
    pub cost_usd: Interval,
    /// The mean worth of a reply.
    pub worth: Interval,
    /// What the oracle's replies were worth more, all of them together.
    pub regret: Interval,
    /// Requests until a hundred in a row are worth 95 % of what they are worth in the end.
    pub converged: Interval,
    /// Requests until a hundred in a row gain 95 % over random of what they gain in the end; `None` where nothing is gained.
    pub gain_converged: Option<Interval>,
    /// Share of each model, in the order of the data's models.
    pub shares: Vec<f64>,
    /// Requests, and the mean worth of the last hundred over all times: the learning curve.
    pub curve: Vec<(usize, f64)>,
}

/// Sums up what came of one that was played several times.
#[must_use]
pub fn figures(name: &str, runs: &[Played], data: &DataSet, objective: &Objective) -> Figures {
    let of = |figure: &dyn Fn(&Played) -> f64| Interval::of(&runs.iter().map(figure).collect::<Vec<_>>());
    let reply = |run: &Played, what: &dyn Fn(&super::Replied) -> f64| {
        let sum: f64 = run.steps.iter().map(|step| what(&data.examples[step.example].replies[step.model])).sum();
        sum / count(run.steps.len()).max(1.0)
    };
    let worths = |run: &Played| -> Vec<f64> {
        run.steps.iter().map(|step| worth(objective, &data.examples[step.example].replies[step.model])).collect()
    };
    let others = |run: &Played, pick: fn(&[f64]) -> f64| -> Vec<f64> {
        let all = |step: &super::Chosen| -> Vec<f64> {
            data.examples[step.example].replies.iter().map(|reply| worth(objective, reply)).collect()
        };
        run.steps.iter().map(|step| pick(&all(step))).collect()
    };
    let best = |all: &[f64]| all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let even = |all: &[f64]| all.iter().sum::<f64>() / count(all.len());
    let regret = |run: &Played| others(run, best).iter().sum::<f64>() - worths(run).iter().sum::<f64>();
    let gains = |run: &Played| -> Vec<f64> {
        worths(run).iter().zip(others(run, even)).map(|(own, random)| own - random).collect()
    };
    let mut shares = vec![0.0; data.models.len()];
    for step in runs.iter().flat_map(|run| &run.steps) {
        shares[step.model] += 1.0;
    }
    let steps = shares.iter().sum::<f64>().max(1.0);
    let gained: Vec<f64> = runs.iter().filter_map(|run| converged(&gains(run))).collect();
    Figures {
        name: name.to_owned(),
        quality: of(&|run| reply(run, &|one| one.reward)),
        cost_usd: of(&|run| reply(run, &|one| one.cost)),
        worth: of(&|run| reply(run, &|one| worth(objective, one))),
        regret: of(&regret),
        converged: of(&|run| converged(&worths(run)).unwrap_or_else(|| count(run.steps.len()))),
        gain_converged: (gained.len() == runs.len()).then(|| Interval::of(&gained)),
        shares: shares.into_iter().map(|share| share / steps).collect(),
        curve: curve(&runs.iter().map(worths).collect::<Vec<_>>()),
    }
}

/// Requests until the mean of a hundred first reaches 95 % of what it is in the last quarter; `None` where that is nothing.
fn converged(worths: &[f64]) -> Option<f64> {
    let mean = |some: &[f64]| some.iter().sum::<f64>() / count(some.len()).max(1.0);
    let last = mean(&worths[worths.len() - worths.len() / 4..]);
    if last <= 0.0 {
        return None;
    }
    let reached = worths.windows(WINDOW).position(|some| mean(some) >= CONVERGED * last);
    // It counts from the first of the hundred on: one that starts there needs none.
    Some(reached.map_or_else(|| count(worths.len()), count))
}

fn curve(runs: &[Vec<f64>]) -> Vec<(usize, f64)> {
    let length = runs.iter().map(Vec::len).min().unwrap_or_default();
    let ends = (1..=POINTS).map(|point| length * point / POINTS).filter(|end| *end > 0);
    let mean = |end: usize| {
        let from = end.saturating_sub(WINDOW);
        runs.iter().map(|run| run[from..end].iter().sum::<f64>()).sum::<f64>() / (count(end - from) * count(runs.len()))
    };
    ends.map(|end| (end, mean(end))).collect()
}
