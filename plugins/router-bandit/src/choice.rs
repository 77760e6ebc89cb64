//! From what is believed of each deployment to the probabilities with which it is chosen. Every choice is drawn, so that what another
//! router would have got can be estimated from what this one chose.

/// What is believed of one choice's worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Belief {
    /// The worth that is expected.
    pub(crate) worth: f32,
    /// How far it may be off, as a standard deviation; infinite where nothing is known.
    pub(crate) spread: f32,
}

impl Belief {
    /// The worth it may have at best.
    pub(crate) fn upper(self) -> f32 {
        self.worth + self.spread
    }
}

/// The one that may be best, for certain; the first of equals.
pub(crate) fn optimistic(beliefs: &[Belief]) -> Vec<f32> {
    let mut chances = vec![0.0; beliefs.len()];
    let best = (0..beliefs.len())
        .reduce(|best, next| if beliefs[next].upper().total_cmp(&beliefs[best].upper()).is_gt() { next } else { best });
    if let Some(chance) = best.and_then(|best| chances.get_mut(best)) {
        *chance = 1.0;
    }
    chances
}

/// Steps between the lowest and the highest worth.
const STEPS: usize = 48;
/// So many spreads to either side hold all that matters.
const TAILS: f32 = 3.5;

/// Each as often as it is the best, if worths are normal: what Thompson's sampling draws by, as numbers.
pub(crate) fn probably_best(beliefs: &[Belief]) -> Vec<f32> {
    let sound = |belief: &Belief| Belief { worth: belief.worth, spread: belief.spread.clamp(1e-4, 10.0) };
    let beliefs: Vec<Belief> = beliefs.iter().map(sound).collect();
    let low = beliefs.iter().map(|one| one.worth - TAILS * one.spread).fold(f32::INFINITY, f32::min);
    let high = beliefs.iter().map(|one| one.worth + TAILS * one.spread).fold(f32::NEG_INFINITY, f32::max);
    let mut chances = vec![0.0_f32; beliefs.len()];
    let mut below: Vec<f32> = beliefs.iter().map(|one| normal((low - one.worth) / one.spread)).collect();
    let mut until = below.clone();
    for step in 1..=STEPS {
        #[expect(clippy::cast_precision_loss, reason = "a few steps")]
        let edge = low + (high - low) * step as f32 / STEPS as f32;
        for (until, one) in until.iter_mut().zip(&beliefs) {
            *until = normal((edge - one.worth) / one.spread);
        }
        for (own, chance) in chances.iter_mut().enumerate() {
            let within = until[own] - below[own];
            if within > 0.0 {
                let others = (0..beliefs.len()).filter(|other| *other != own);
                *chance += within * others.map(|other| f32::midpoint(below[other], until[other])).product::<f32>();
            }
        }
        below.copy_from_slice(&until);
    }
    let sum: f32 = chances.iter().sum();
    if sum > 0.0 { chances.into_iter().map(|chance| chance / sum).collect() } else { optimistic(&beliefs) }
}

/// The standard normal distribution, within 1e-5 (Abramowitz and Stegun, 26.2.16).
fn normal(z: f32) -> f32 {
    let x = z.abs();
    let t = 1.0 / (1.0 + 0.332_67 * x);
    let tail = (-0.5 * x * x).exp() * 0.398_942_3 * t * (0.436_183_6 + t * (-0.120_167_6 + t * 0.937_298));
    if z > 0.0 { 1.0 - tail } else { tail }
}

/// Some of all choices are drawn by these weights alone; evenly, where there are none.
pub(crate) fn mix(chances: &mut [f32], uniform: f32, weights: Option<&[f32]>) {
    let Some(weights) = weights else {
        #[expect(clippy::cast_precision_loss, reason = "deployments of a group")]
        let part = uniform / chances.len().max(1) as f32;
        for chance in chances.iter_mut() {
            *chance = (1.0 - uniform) * *chance + part;
        }
        return;
    };
    let part = uniform / weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    for (chance, weight) in chances.iter_mut().zip(weights) {
        *chance = (1.0 - uniform) * *chance + part * weight;
    }
}

/// The place that `unit`, from 0 to 1, falls on.
pub(crate) fn draw(chances: &[f32], unit: f32) -> usize {
    let mut left = unit * chances.iter().sum::<f32>();
    let last = chances.iter().rposition(|chance| *chance > 0.0).unwrap_or(0);
    for (place, chance) in chances.iter().enumerate() {
        if left < *chance {
            return place;
        }
        left -= chance;
    }
    last
}
