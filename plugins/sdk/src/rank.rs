//! Rankings the shipped routers share. Each place of a ranking is decided by the same rule among those not
//! placed yet, so whichever of them the gateway may take first, it is the one the rule would have chosen.

use std::cmp::Ordering;

use crate::signals::Column;
use crate::{Choice, Random};

/// How good one deployment is for one request. Less is better: first the shorter wait, then the lower value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Milliseconds until the request may start; +inf never.
    pub wait: f32,
    /// What the rule weighs, on any scale.
    pub value: f64,
}

impl Score {
    /// A score in the table's `wait-ms` and the rule's own value. An unknown or negative wait counts as none (the
    /// gateway checks again anyway), an unknown value as the worst.
    #[must_use]
    pub fn new(wait: Column<'_>, index: usize, value: f64) -> Self {
        let wait = wait.at(index);
        Self { wait: if wait > 0.0 { wait } else { 0.0 }, value: if value.is_nan() { f64::INFINITY } else { value } }
    }

    fn order(&self, other: &Self) -> Ordering {
        self.wait.total_cmp(&other.wait).then(self.value.total_cmp(&other.value))
    }
}

/// Every deployment, best first; of equals the one named first in the configuration.
#[must_use]
pub fn best_first(scores: &[Score]) -> Vec<Choice> {
    sorted(scores).into_iter().map(|(deployment, _)| Choice { deployment, propensity: 1.0 }).collect()
}

/// Every deployment, best first, where those whose value is within `slack` of the best count as equal
/// (0.1: up to a tenth more) and equals are drawn. A draw never crosses from one wait to another.
#[must_use]
pub fn best_first_within(scores: &[Score], slack: f64, random: &mut Random) -> Vec<Choice> {
    let mut order = sorted(scores);
    let mut choices = Vec::with_capacity(order.len());
    // Sorted, so the equals of a place stand together at the front of the rest, and where they end only grows.
    let mut end = 0;
    for place in 0..order.len() {
        let best = order[place].1;
        // Where the best is infinite so is the worst; 0 times infinity would be no number.
        let worst = if best.value.is_finite() { best.value + slack * best.value } else { best.value };
        end = end.max(place + 1);
        while order.get(end).is_some_and(|(_, next)| next.wait <= best.wait && next.value <= worst) {
            end += 1;
        }
        let equals = &mut order[place..end];
        if equals.len() > 1 {
            let drawn = random.below(u32::try_from(equals.len()).unwrap_or(u32::MAX)) as usize;
            if equals.last().is_some_and(|(_, last)| last.value > best.value) {
                // The rest must stay sorted.
                equals[..=drawn].rotate_right(1);
            } else {
                equals.swap(0, drawn);
            }
        }
        let propensity = share(equals.len());
        choices.push(Choice { deployment: order[place].0, propensity });
    }
    choices
}

#[expect(clippy::cast_precision_loss, reason = "a probability needs no more than f32 has")]
fn share(of: usize) -> f32 {
    1.0 / of as f32
}

fn sorted(scores: &[Score]) -> Vec<(u32, Score)> {
    let mut order: Vec<(u32, Score)> = (0..).zip(scores.iter().copied()).collect();
    order.sort_unstable_by(|one, other| one.1.order(&other.1).then(one.0.cmp(&other.0)));
    order
}

#[cfg(test)]
mod tests {
    use super::{Score, best_first, best_first_within};
    use crate::Random;

    fn scores(pairs: &[(f32, f64)]) -> Vec<Score> {
        pairs.iter().map(|&(wait, value)| Score { wait, value }).collect()
    }

    fn places(choices: &[crate::Choice]) -> Vec<u32> {
        choices.iter().map(|choice| choice.deployment).collect()
    }

    #[test]
    fn a_shorter_wait_beats_a_better_value() {
        let table = scores(&[(f32::INFINITY, 0.0), (20.0, 1.0), (0.0, 9.0), (20.0, 0.5), (0.0, 9.0)]);
        assert_eq!(places(&best_first(&table)), [2, 4, 3, 1, 0]);
    }

    #[test]
    fn equals_are_drawn_evenly_and_say_so() {
        let table = scores(&[(0.0, 1.0), (0.0, 1.05), (0.0, 2.0)]);
        let mut firsts = [0; 3];
        for seed in 0..2_000 {
            let choices = best_first_within(&table, 0.1, &mut Random::new(seed));
            firsts[choices[0].deployment as usize] += 1;
            assert_eq!(choices.iter().map(|choice| choice.propensity).collect::<Vec<_>>(), [0.5, 1.0, 1.0]);
        }
        assert!((900..1_100).contains(&firsts[0]), "{firsts:?}");
        assert_eq!(firsts[2], 0);
    }

    #[test]
    fn the_next_place_counts_from_its_own_best() {
        // 10 and 11 are equal within a tenth, 11 and 12 are, 10 and 12 are not.
        let table = scores(&[(0.0, 10.0), (0.0, 11.0), (0.0, 12.0)]);
        for seed in 0..200 {
            let order = places(&best_first_within(&table, 0.1, &mut Random::new(seed)));
            assert_ne!(order[0], 2);
        }
    }

    #[test]
    fn a_draw_never_crosses_waits_and_survives_infinities() {
        let table = scores(&[(5.0, 1.0), (0.0, f64::INFINITY), (0.0, f64::INFINITY), (f32::INFINITY, 0.0)]);
        for seed in 0..100 {
            let order = places(&best_first_within(&table, 1.0, &mut Random::new(seed)));
            assert_eq!(order[2..], [0, 3]);
        }
    }
}
