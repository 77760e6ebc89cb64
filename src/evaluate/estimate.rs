//! What another router would have got, estimated from what one got that chose with known probabilities.
//!
//! Of each decision there is what was chosen, how probable that was, and what came of it; and what the other router chooses of the same
//! question, drawn for itself. Where the two agree, what came of it counts by the inverse of its probability (IPS; SNIPS divides by the
//! sum of these weights and not by the decisions). The doubly robust estimate (Dudík et al., 2011) adds what a regression over the
//! question's numbers expects of the other's choice, and corrects it where the two agree. The regression has learned from the decisions
//! before this one only, so that no term knows its own value, and every term has the right mean given all before it: routers that learn
//! meanwhile are estimated without bias.
//!
//! A judge grades a sample: what came of a decision is then told with a probability of its own, and counts by the inverse of that too.

use serde::Serialize;

use super::show::count;

/// The regression holds its weights to zero by this.
const RIDGE: f64 = 1.0;
/// Standard deviations of an interval at 95 %.
const NORMAL: f64 = 1.96;
/// Points of a curve.
const POINTS: usize = 60;

/// One decision of the log, and what the other router chose.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// The question's numbers, as many as every other's.
    pub features: Vec<f64>,
    /// The deployment that was chosen.
    pub logged: usize,
    /// How probable that was, above 0.
    pub propensity: f64,
    /// What came of it; `None` where nobody told.
    pub value: Option<f64>,
    /// How probable it was that it would be told, above 0.
    pub told: f64,
    /// The deployment that the other router chooses, drawn independently.
    pub chosen: usize,
}

/// A value, and where it is at 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value; NaN, in JSON null, where nothing can be said.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Estimate {
    fn around(value: f64, error: f64) -> Self {
        Self { value, low: value - NORMAL * error, high: value + NORMAL * error }
    }

    /// The mean of terms that are independent, or each right given those before it.
    fn mean(terms: &[f64]) -> Self {
        let n = count(terms.len());
        let mean = terms.iter().sum::<f64>() / n;
        let variance = terms.iter().map(|term| (term - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Self::around(mean, (variance / n).sqrt())
    }
}

/// All estimates of one router.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimates {
    /// Decisions they are from.
    pub decisions: usize,
    /// Of these, how many have a value on which the two agree.
    pub agreed: usize,
    /// Decisions that would say as much as these do, were all equally probable.
    pub effective: f64,
    /// The mean weight: about 1 where the log's router now and then chose all that the other chooses, less where it never did.
    pub weight: Estimate,
    /// What the router of the log got.
    pub logged: Estimate,
    /// By inverse propensity.
    pub ips: Estimate,
    /// The same, normalised.
    pub snips: Estimate,
    /// Doubly robust.
    pub doubly_robust: Estimate,
    /// By how much the other gets more, doubly robust, decision by decision.
    pub better_by: Estimate,
    /// Decisions, and the mean up to there of the log's router and of the other one, doubly robust.
    pub curve: Vec<(usize, f64, f64)>,
}

/// Estimates from the decisions in their order. `deployments` is how many there are to choose from.
#[must_use]
pub(super) fn estimate(samples: &[Sample], deployments: usize) -> Estimates {
    let width = samples.first().map_or(1, |sample| sample.features.len() + 1);
    let mut models: Vec<Regression> = (0..deployments).map(|_| Regression::new(width)).collect();
    let mut terms = Terms::default();
    for sample in samples {
        let x: Vec<f64> = std::iter::once(1.0).chain(sample.features.iter().copied()).collect();
        let (own, other) = (models[sample.logged].expects(&x), models[sample.chosen].expects(&x));
        terms.take(sample, own, other);
        if let Some(value) = sample.value {
            models[sample.logged].learn(&x, value);
        }
    }
    terms.estimates(samples)
}

/// What each decision adds to each estimate.
#[derive(Default)]
struct Terms {
    weights: Vec<f64>,
    weighted: Vec<f64>,
    logged: Vec<f64>,
    robust: Vec<f64>,
}

impl Terms {
    /// `own` and `other` are what the regression expects of the log's choice, and of the other's.
    fn take(&mut self, sample: &Sample, own: f64, other: f64) {
        let (value, told) = sample.value.map_or((own, 0.0), |value| (value, 1.0 / sample.told));
        let weight = if sample.chosen == sample.logged { told / sample.propensity } else { 0.0 };
        self.weights.push(weight);
        self.weighted.push(weight * value);
        self.logged.push(own + told * (value - own));
        // Where the two agree, both expectations are the same.
        self.robust.push(other + weight * (value - other));
    }

    fn estimates(&self, samples: &[Sample]) -> Estimates {
        let Self { weights, weighted, logged, robust } = self;
        let sum = weights.iter().sum::<f64>();
        let snips = weighted.iter().sum::<f64>() / sum;
        let off = weights.iter().zip(weighted).map(|(weight, weighted)| (weighted - weight * snips).powi(2));
        let spread = off.sum::<f64>().sqrt() / sum;
        let squares = weights.iter().map(|weight| weight * weight).sum::<f64>();
        let better: Vec<f64> = robust.iter().zip(logged).map(|(other, own)| other - own).collect();
        let mean = |terms: &[f64]| terms.iter().sum::<f64>() / count(terms.len());
        let ends = (1..=POINTS).map(|point| samples.len() * point / POINTS).filter(|end| *end > 0);
        Estimates {
            decisions: samples.len(),
            agreed: weights.iter().filter(|weight| **weight > 0.0).count(),
            effective: if squares > 0.0 { sum * sum / squares } else { 0.0 },
            weight: Estimate::mean(weights),
            logged: Estimate::mean(logged),
            ips: Estimate::mean(weighted),
            snips: Estimate::around(snips, spread),
            doubly_robust: Estimate::mean(robust),
            better_by: Estimate::mean(&better),
            curve: ends.map(|end| (end, mean(&logged[..end]), mean(&robust[..end]))).collect(),
        }
    }
}

/// A ridge regression that learns one value at a time.
struct Regression {
    weights: Vec<f64>,
    /// The inverse of `RIDGE·I + Σ x·xᵀ`, row by row.
    inverse: Vec<f64>,
}

impl Regression {
    fn new(width: usize) -> Self {
        let cell = |cell: usize| if cell.is_multiple_of(width + 1) { 1.0 / RIDGE } else { 0.0 };
        Self { weights: vec![0.0; width], inverse: (0..width * width).map(cell).collect() }
    }

    fn expects(&self, x: &[f64]) -> f64 {
        dot(&self.weights, x)
    }

    /// The update of Sherman and Morrison.
    fn learn(&mut self, x: &[f64], value: f64) {
        let along: Vec<f64> = self.inverse.chunks_exact(x.len()).map(|row| dot(row, x)).collect();
        let scale = 1.0 / (1.0 + dot(&along, x));
        let off = value - self.expects(x);
        for (weight, along) in self.weights.iter_mut().zip(&along) {
            *weight += along * scale * off;
        }
        for (row, one) in self.inverse.chunks_exact_mut(x.len()).zip(&along) {
            for (cell, other) in row.iter_mut().zip(&along) {
                *cell -= one * other * scale;
            }
        }
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests;
