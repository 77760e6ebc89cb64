//! Rankings the shipped routers share. Each place of a ranking is decided by the same rule among those not
//! placed yet, so whichever of them the gateway may take first, it is the one the rule would have chosen.
//!
//! `plain` says the rule with comparisons. With the feature `packed-keys`, which the shipped routers have, the same rankings are
//! made by sorting whole numbers, which is faster where there are many deployments; tests hold the two together.

use crate::{Random, Ranking};

#[cfg(any(test, feature = "packed-keys"))]
mod lanes;
#[cfg(any(test, feature = "packed-keys"))]
mod packed;
#[cfg(any(test, not(feature = "packed-keys")))]
mod plain;

#[cfg(feature = "packed-keys")]
use packed as chosen;
#[cfg(not(feature = "packed-keys"))]
use plain as chosen;

/// How good one deployment is for one request. Less is better: first the shorter wait, then the lower value. A wait
/// that is not above 0 is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Milliseconds until the request may start; +inf never.
    pub wait: f32,
    /// What the rule weighs, on any scale.
    pub value: f64,
}

impl Score {
    /// A score of the table's `wait-ms` and the rule's own value. An unknown or negative wait counts as none (the
    /// gateway checks again anyway), an unknown value as the worst.
    #[must_use]
    pub const fn new(wait: f32, value: f64) -> Self {
        Self { wait, value: if value.is_nan() { f64::INFINITY } else { value } }
    }
}

/// Every deployment, the one with the lowest value first; of equals the one named first in the configuration. A value that is no number
/// counts as the worst.
#[must_use]
pub fn lowest_first(values: impl IntoIterator<Item = f64>) -> Ranking {
    chosen::lowest_first(values.into_iter())
}

/// Every deployment, best first; of equals the one named first in the configuration.
#[must_use]
pub fn best_first(scores: impl IntoIterator<Item = Score>) -> Ranking {
    chosen::best_first(scores.into_iter())
}

/// Every deployment, best first, where those whose value is within `slack` of the best count as equal
/// (0.1: up to a tenth more) and equals are drawn. A draw never crosses from one wait to another.
#[must_use]
pub fn best_first_within(scores: impl IntoIterator<Item = Score>, slack: f64, random: &mut Random) -> Ranking {
    chosen::best_first_within(scores.into_iter(), slack, random)
}

/// Whether `next`, which is not the better one, counts as equal.
fn within(slack: f64, best: Score, next: Score) -> bool {
    // Where the best is infinite so is the worst; 0 times infinity would be no number.
    let worst = if best.value.is_finite() { best.value + slack.max(0.0) * best.value } else { best.value };
    next.wait.max(0.0) <= best.wait.max(0.0) && next.value <= worst
}

#[expect(clippy::cast_precision_loss, reason = "a probability needs no more than f32 has")]
fn share(of: usize) -> f32 {
    1.0 / of as f32
}

#[cfg(test)]
mod tests {
    use super::{Score, best_first, best_first_within, lowest_first, packed, plain};
    use crate::Random;

    fn scores(pairs: &[(f32, f64)]) -> Vec<Score> {
        pairs.iter().map(|&(wait, value)| Score { wait, value }).collect()
    }

    #[test]
    fn a_shorter_wait_beats_a_better_value() {
        let table = scores(&[(f32::INFINITY, 0.0), (20.0, 1.0), (0.0, 9.0), (20.0, 0.5), (0.0, 9.0)]);
        assert_eq!(best_first(table.iter().copied()).deployments, [2, 4, 3, 1, 0]);
    }

    #[test]
    fn the_lowest_value_comes_first_and_one_that_is_no_number_last() {
        assert_eq!(lowest_first([3.0, f64::NAN, -1.0, 0.0, -0.0, 3.0]).deployments, [2, 3, 4, 0, 5, 1]);
        assert_eq!(lowest_first([]).deployments, []);
    }

    #[test]
    fn equals_are_drawn_evenly_and_say_so() {
        let table = scores(&[(0.0, 1.0), (0.0, 1.05), (0.0, 2.0)]);
        let mut firsts = [0; 3];
        for seed in 0..2_000 {
            let ranking = best_first_within(table.iter().copied(), 0.1, &mut Random::new(seed));
            firsts[ranking.deployments[0] as usize] += 1;
            assert_eq!(ranking.propensities, [0.5, 1.0, 1.0]);
        }
        assert!((900..1_100).contains(&firsts[0]), "{firsts:?}");
        assert_eq!(firsts[2], 0);
    }

    #[test]
    fn the_next_place_counts_from_its_own_best() {
        // 10 and 11 are equal within a tenth, 11 and 12 are, 10 and 12 are not.
        let table = scores(&[(0.0, 10.0), (0.0, 11.0), (0.0, 12.0)]);
        for seed in 0..200 {
            let order = best_first_within(table.iter().copied(), 0.1, &mut Random::new(seed)).deployments;
            assert_ne!(order[0], 2);
        }
    }

    /// Values that differ in their first bits, in their last bits only, or not at all, so that keys are too short for some.
    #[test]
    fn packed_keys_rank_and_draw_as_comparing_does() {
        let mut random = Random::new(3);
        for round in 0..600 {
            let rows = random.below(300);
            let spread = [1.0, 1e-9, f64::EPSILON, 0.0][round % 4];
            let table: Vec<Score> = (0..rows)
                .map(|_| Score {
                    wait: [0.0, -1.0, 250.0, 251.0, f32::INFINITY][random.below(5) as usize],
                    value: [1.0, 0.0, -0.0, f64::INFINITY][random.below(4) as usize]
                        + f64::from(random.below(7)) * spread,
                })
                .collect();
            assert_eq!(packed::best_first(table.iter().copied()), plain::best_first(table.iter().copied()));
            let values = table.iter().map(|score| if random.below(9) == 0 { f64::NAN } else { score.value - 1.0 });
            let values: Vec<f64> = values.collect();
            assert_eq!(packed::lowest_first(values.iter().copied()), plain::lowest_first(values.iter().copied()));
            for slack in [0.0, 0.1, 2.0] {
                let seed = u64::from(random.below(u32::MAX));
                let [packed, plain] = [packed::best_first_within, plain::best_first_within]
                    .map(|rank| rank(table.iter().copied(), slack, &mut Random::new(seed)));
                assert_eq!(packed, plain, "slack {slack}");
            }
        }
    }

    #[test]
    fn a_draw_never_crosses_waits_and_survives_infinities() {
        let table = scores(&[(5.0, 1.0), (0.0, f64::INFINITY), (0.0, f64::INFINITY), (f32::INFINITY, 0.0)]);
        for seed in 0..100 {
            let order = best_first_within(table.iter().copied(), 1.0, &mut Random::new(seed)).deployments;
            assert_eq!(order[2..], [0, 3]);
        }
    }
}
