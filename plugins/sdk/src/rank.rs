//! Rankings the shipped routers share. Each place of a ranking is decided by the same rule among those not
//! placed yet, so whichever of them the gateway may take first, it is the one the rule would have chosen.

use crate::signals::Column;
use crate::{Choice, Random};

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
    /// A score in the table's `wait-ms` and the rule's own value. An unknown or negative wait counts as none (the
    /// gateway checks again anyway), an unknown value as the worst.
    #[must_use]
    pub fn new(wait: Column<'_>, index: usize, value: f64) -> Self {
        Self { wait: wait.at(index), value: if value.is_nan() { f64::INFINITY } else { value } }
    }
}

/// Every deployment, best first; of equals the one named first in the configuration.
#[must_use]
pub fn best_first(scores: &[Score]) -> Vec<Choice> {
    let (order, mut keys) = Order::of(scores);
    order.put_right(&mut keys, |_, _| {});
    order.choices(&keys)
}

/// Every deployment, best first, where those whose value is within `slack` of the best count as equal
/// (0.1: up to a tenth more) and equals are drawn. A draw never crosses from one wait to another.
#[must_use]
pub fn best_first_within(scores: &[Score], slack: f64, random: &mut Random) -> Vec<Choice> {
    let (order, mut keys) = Order::of(scores);
    let mut choices = order.choices(&keys);
    if slack > 0.0 {
        order.put_right(&mut keys, |_, _| {});
        order.draw(&mut keys, slack, random, &mut choices);
    } else {
        // Equal values are alike, so the others keep their places.
        order.put_right(&mut keys, |from, run| {
            if let Some(places) = choices.get_mut(from..) {
                order.draw(run, 0.0, random, places);
            }
        });
    }
    choices
}

/// Scores to be put in order by whole numbers, which is twice as fast as by the scores themselves. A number, or
/// key, ends in the deployment's index, so equals stay in the order of the configuration. Before it stand, for a
/// deployment that may start now, a zero and the first bits of its value; for another a one, the wait and fewer
/// bits of the value. Where these are alike, the rest of the value decides.
struct Order<'a> {
    scores: &'a [Score],
    /// How many bits the index takes.
    bits: u32,
    /// These bits.
    index: u64,
}

impl<'a> Order<'a> {
    /// The scores, and their keys in order, as far as keys tell.
    fn of(scores: &'a [Score]) -> (Self, Vec<u64>) {
        let rows = scores.len();
        let bits = rows.saturating_sub(1).checked_ilog2().map_or(1, |log| log + 1);
        let index = (1 << bits) - 1;
        let order = Self { scores, bits, index };
        let mut keys: Vec<u64> = (0..).zip(scores).map(|(at, &score)| key(score) & !index | at).collect();
        keys.sort_unstable();
        (order, keys)
    }

    /// Whether two keys tell no difference between their deployments.
    const fn alike(&self, one: u64, other: u64) -> bool {
        (one ^ other) & !self.index == 0
    }

    /// Puts every run of alike keys in order and hands it on, with its place.
    fn put_right(&self, keys: &mut [u64], mut each: impl FnMut(usize, &mut [u64])) {
        let mut done = 0;
        let mut base = 0;
        // Runs are few and anywhere. Marking in one word who is like his neighbour takes no branch for those who are not.
        while base + 1 < keys.len() {
            let neighbours = keys[base..].iter().zip(&keys[base + 1..]).take(64);
            let mark = |marks, (at, (one, next)): (u32, (&u64, &u64))| marks | u64::from(self.alike(*one, *next)) << at;
            let mut marks = (0..).zip(neighbours).fold(0, mark);
            while marks != 0 {
                let from = base + marks.trailing_zeros() as usize;
                marks &= marks - 1;
                if from >= done {
                    let like = keys[from + 1..].iter().take_while(|&&next| self.alike(keys[from], next)).count();
                    done = from + 1 + like;
                    let run = &mut keys[from..done];
                    self.put_run_right(run);
                    each(from, run);
                }
            }
            base += 64;
        }
    }

    fn put_run_right(&self, run: &mut [u64]) {
        let first = run.first().map_or(0, |&key| key & !self.index);
        let held = if first >> 63 == 0 { 63 - self.bits } else { 32 - self.bits };
        let rest = |key: u64| ordered(self.score(key).value) << held;
        if !run.is_sorted_by_key(|&key| rest(key)) {
            for key in run.iter_mut() {
                *key = rest(*key) & !self.index | *key & self.index;
            }
            run.sort_unstable();
            for key in run {
                *key = first | *key & self.index;
            }
        }
    }

    fn choices(&self, keys: &[u64]) -> Vec<Choice> {
        keys.iter().map(|&key| self.choice(key, 1.0)).collect()
    }

    /// Draws every place among those that count as equal to the best one left.
    fn draw(&self, keys: &mut [u64], slack: f64, random: &mut Random, places: &mut [Choice]) {
        // Sorted, so the equals of a place stand together at the front of the rest, and where they end only grows.
        let mut end = 0;
        for (place, choice) in (0..keys.len()).zip(places) {
            let best = self.score(keys[place]);
            end = end.max(place + 1);
            while keys.get(end).is_some_and(|&next| within(slack, best, self.score(next))) {
                end += 1;
            }
            let equals = &mut keys[place..end];
            if equals.len() > 1 {
                let drawn = random.below(u32::try_from(equals.len()).unwrap_or(u32::MAX)) as usize;
                if slack > 0.0 && equals.last().is_some_and(|&last| self.score(last).value > best.value) {
                    // The rest must stay sorted.
                    equals[..=drawn].rotate_right(1);
                } else {
                    equals.swap(0, drawn);
                }
            }
            *choice = self.choice(equals[0], share(equals.len()));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the index has at most 32 bits, as the contract's type")]
    const fn choice(&self, key: u64, propensity: f32) -> Choice {
        Choice { deployment: (key & self.index) as u32, propensity }
    }

    fn score(&self, key: u64) -> Score {
        // Every index is that of a score.
        self.scores.get(self.choice(key, 1.0).deployment as usize).copied().unwrap_or(Score { wait: 0.0, value: 0.0 })
    }
}

/// Whether `next`, which is not the better one, counts as equal.
fn within(slack: f64, best: Score, next: Score) -> bool {
    if slack <= 0.0 {
        // Of a run of alike keys, which have one wait.
        return next.value <= best.value;
    }
    // Where the best is infinite so is the worst; 0 times infinity would be no number.
    let worst = if best.value.is_finite() { best.value + slack * best.value } else { best.value };
    next.wait.max(0.0) <= best.wait.max(0.0) && next.value <= worst
}

#[expect(clippy::cast_precision_loss, reason = "a probability needs no more than f32 has")]
fn share(of: usize) -> f32 {
    1.0 / of as f32
}

/// The bits of a key, those that the index takes included.
const fn key(score: Score) -> u64 {
    let (wait, value) = (score.wait.to_bits(), ordered(score.value));
    let (now, later) = (value >> 1, (wait as u64 | 1 << 31) << 32 | value >> 32);
    // All ones where the wait is above 0: a branch in its place would be taken or not as by chance.
    let waits = ((score.wait > 0.0) as u64).wrapping_neg();
    now & !waits | later & waits
}

/// Bits that compare as the values do; both zeros are one.
const fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    let bits = if bits == 1 << 63 { 0 } else { bits };
    // All ones where it is negative.
    let negative = (bits >> 63).wrapping_neg();
    bits ^ (negative | 1 << 63)
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
    fn the_bits_are_in_the_order_of_the_floats() {
        let values = [f64::NEG_INFINITY, -1e300, -1e-300, 0.0, 1e-300, 1.0, 1.0 + f64::EPSILON, f64::INFINITY];
        assert!(values.map(super::ordered).is_sorted_by(|one, other| one < other));
        assert_eq!(super::ordered(-0.0), super::ordered(0.0));
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

    /// What the packed keys must come to, said with a comparison: wait, value, index.
    fn plainly_sorted(table: &[Score]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..).take(table.len()).collect();
        let score = |index: &u32| table[*index as usize];
        order.sort_by(|a, b| {
            let (a, b) = (score(a), score(b));
            a.wait.total_cmp(&b.wait).then_with(|| a.value.partial_cmp(&b.value).unwrap())
        });
        order
    }

    #[test]
    fn keys_too_short_for_a_value_order_it_all_the_same() {
        let mut random = Random::new(3);
        for round in 0..400 {
            let rows = random.below(300);
            // Values that differ in their first bits, in their last bits only, or not at all.
            let spread = [1.0, 1e-9, f64::EPSILON, 0.0][round % 4];
            let table: Vec<Score> = (0..rows)
                .map(|_| Score {
                    wait: [0.0, 0.0, 250.0, 251.0, f32::INFINITY][random.below(5) as usize],
                    value: 1.0 + f64::from(random.below(7)) * spread,
                })
                .collect();
            assert_eq!(places(&best_first(&table)), plainly_sorted(&table));
            let drawn = best_first_within(&table, 0.0, &mut random);
            let shown: Vec<Score> = drawn.iter().map(|choice| table[choice.deployment as usize]).collect();
            assert!(shown.is_sorted_by_key(|score| (score.wait.to_bits(), super::ordered(score.value))));
            for (place, choice) in drawn.iter().enumerate() {
                let equals = shown[place..].iter().filter(|score| **score == shown[place]).count();
                assert!((choice.propensity - super::share(equals)).abs() < 1e-6);
            }
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
