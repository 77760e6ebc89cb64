//! The same rankings by sorting whole numbers, without a branch that the processor cannot foresee.

use super::{Score, share, within};
use crate::{Choice, Random};

pub(super) fn best_first(scores: &[Score]) -> Vec<Choice> {
    let (order, mut keys) = Order::of(scores);
    order.put_right(&mut keys, |_, _| {});
    order.choices(&keys)
}

pub(super) fn best_first_within(scores: &[Score], slack: f64, random: &mut Random) -> Vec<Choice> {
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
    #[test]
    fn the_bits_are_in_the_order_of_the_floats() {
        let values = [f64::NEG_INFINITY, -1e300, -1e-300, 0.0, 1e-300, 1.0, 1.0 + f64::EPSILON, f64::INFINITY];
        assert!(values.map(super::ordered).is_sorted_by(|one, other| one < other));
        assert_eq!(super::ordered(-0.0), super::ordered(0.0));
    }
}
