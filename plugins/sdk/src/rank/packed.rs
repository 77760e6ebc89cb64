//! The same rankings by sorting whole numbers, without a branch that the processor cannot foresee.

use super::{Score, lanes, share, within};
use crate::{Random, Ranking};

/// So few are sorted faster one by one.
const FEW: usize = 16;

/// So many are done in one turn of a loop, which costs as much as several.
const BLOCK: usize = 8;

/// What deployments are ranked by.
pub(super) trait Ranked: Copy {
    /// In the place of one that is not there.
    const NONE: Self;
    /// Of what its key is made.
    fn bits(self) -> u32;
    /// The first bits of what compares as it does. Below the greatest number by more than any index.
    fn key(bits: u32) -> u32;
    /// Compares as it does, to the last bit.
    fn whole(self) -> (u32, u64);
    /// Whether it is the worse one of two whose keys are alike but for an index.
    fn is_behind(self, other: Self) -> bool;
}

impl Ranked for f64 {
    const NONE: Self = 0.0;

    fn bits(self) -> u32 {
        (self.to_bits() >> 32) as u32
    }

    fn key(bits: u32) -> u32 {
        let size = bits & u32::MAX >> 1;
        // No number is infinite, and both zeros are one.
        let bits = if size > INFINITE { INFINITE } else { bits };
        let bits = if bits == 1 << 31 { 0 } else { bits };
        bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31)
    }

    fn whole(self) -> (u32, u64) {
        (0, ordered(if self.is_nan() { Self::INFINITY } else { self }))
    }

    /// One that is no number has the key of infinity, and nothing else has.
    fn is_behind(self, other: Self) -> bool {
        self > other
    }
}

impl Ranked for Score {
    const NONE: Self = Self { wait: 0.0, value: 0.0 };

    /// For a deployment that may start now a zero and the first bits of its value, for another a one and the first bits of the wait.
    fn bits(self) -> u32 {
        let (wait, now) = (self.waits(), (ordered(self.value) >> 33) as u32);
        // All ones where there is a wait: a branch in its place would be taken or not as by chance.
        let later = u32::from(wait != 0).wrapping_neg();
        now & !later | (wait | 1 << 31) & later
    }

    fn key(bits: u32) -> u32 {
        bits
    }

    fn whole(self) -> (u32, u64) {
        (self.waits(), ordered(self.value))
    }

    fn is_behind(self, other: Self) -> bool {
        self.whole() > other.whole()
    }
}

impl Score {
    /// Bits that compare as the waits do; none is zero.
    fn waits(self) -> u32 {
        self.wait.to_bits() & u32::from(self.wait > 0.0).wrapping_neg()
    }
}

pub(super) fn lowest_first(values: impl Iterator<Item = f64>) -> Ranking {
    ranked(&listed(values))
}

pub(super) fn best_first(scores: impl Iterator<Item = Score>) -> Ranking {
    ranked(&listed(scores))
}

/// Made by the rule of a policy, and here so that its arithmetic is done for several at once, too.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn listed<S>(scores: impl Iterator<Item = S>) -> Vec<S> {
    scores.collect()
}

fn ranked<S: Ranked>(scores: &[S]) -> Ranking {
    let (order, mut keys) = Order::of(scores);
    if order.any_wrong(&keys) {
        order.put_right(&mut keys, |_, _| {});
    }
    order.ranking(keys)
}

pub(super) fn best_first_within(scores: impl Iterator<Item = Score>, slack: f64, random: &mut Random) -> Ranking {
    let scores = listed(scores);
    let (order, mut keys) = Order::of(&scores);
    let mut shares = Vec::new();
    if slack > 0.0 {
        order.put_right(&mut keys, |_, _| {});
        order.draw(&mut keys, slack, random, |place, share| put(&mut shares, scores.len(), place, share));
    } else {
        // Equal values are alike, so the others keep their places.
        order.put_right(&mut keys, |from, run| {
            order.draw(run, 0.0, random, |place, share| put(&mut shares, scores.len(), from + place, share));
        });
    }
    Ranking { propensities: shares, ..order.ranking(keys) }
}

/// Writes down the share of a draw; where nothing was drawn it is 1.0.
fn put(shares: &mut Vec<f32>, count: usize, place: usize, share: f32) {
    shares.resize(count, 1.0);
    if let Some(slot) = shares.get_mut(place) {
        *slot = share;
    }
}

/// Scores to be put in order by whole numbers, which is several times as fast as by the scores themselves. A number, or key, begins with
/// the first bits of what its deployment is ranked by and ends in the deployment's index, so equals stay in the order of the
/// configuration. Where two begin alike, the scores decide.
struct Order<'a, S> {
    scores: &'a [S],
    /// The bits that an index takes.
    index: u32,
}

impl<'a, S: Ranked> Order<'a, S> {
    /// The scores, and their keys in order, as far as keys tell.
    fn of(scores: &'a [S]) -> (Self, Vec<u32>) {
        let bits = scores.len().saturating_sub(1).checked_ilog2().map_or(1, |log| log + 1);
        let order = Self { scores, index: u32::MAX >> (32 - bits.min(32)) };
        let mut keys = order.keys();
        if keys.len() > FEW {
            lanes::sort(&mut keys);
        } else {
            keys.sort_unstable();
        }
        (order, keys)
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn keys(&self) -> Vec<u32> {
        // First every number becomes a short one: of these twice as many are worked on at once.
        let mut keys: Vec<u32> = self.scores.iter().map(|score| score.bits()).collect();
        for (at, key) in (0..).zip(&mut keys) {
            *key = S::key(*key) & !self.index | at;
        }
        keys
    }

    /// Whether two keys tell no difference between their deployments.
    const fn alike(&self, one: u32, other: u32) -> bool {
        (one ^ other) & !self.index == 0
    }

    /// Puts every run of alike keys in order and hands it on, with its place.
    fn put_right(&self, keys: &mut [u32], mut each: impl FnMut(usize, &mut [u32])) {
        if keys.len() > FEW && !self.any_alike(keys) {
            return;
        }
        let mut from = 0;
        for next in 1..=keys.len() {
            if keys.get(next).is_some_and(|&next_key| self.alike(keys[next - 1], next_key)) {
                continue;
            }
            if from + 1 < next {
                let run = &mut keys[from..next];
                self.put_run_right(run);
                each(from, run);
            }
            from = next;
        }
    }

    /// Whether keys were too short to tell who is better.
    #[inline(never)]
    fn any_wrong(&self, keys: &[u32]) -> bool {
        let score = |key| self.score(key).unwrap_or(S::NONE);
        let Some(&first) = keys.first() else { return false };
        let (blocks, rest) = keys.as_chunks::<BLOCK>();
        let mut before = score(first);
        let mut wrong = false;
        for block in blocks {
            let scores = block.map(score);
            wrong |= before.is_behind(scores[0]);
            for pair in scores.windows(2) {
                wrong |= pair[0].is_behind(pair[1]);
            }
            before = scores[BLOCK - 1];
        }
        for &key in rest {
            let next = score(key);
            wrong |= before.is_behind(next);
            before = next;
        }
        wrong
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn any_alike(&self, keys: &[u32]) -> bool {
        let neighbours = keys.iter().zip(keys.get(1..).unwrap_or_default());
        neighbours.fold(false, |alike, (&one, &next)| alike | self.alike(one, next))
    }

    fn put_run_right(&self, run: &mut [u32]) {
        let whole = |key: u32| (self.score(key).map(S::whole), key);
        if !run.is_sorted_by_key(|&key| whole(key)) {
            run.sort_unstable_by_key(|&key| whole(key));
        }
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn ranking(&self, mut keys: Vec<u32>) -> Ranking {
        for key in &mut keys {
            *key &= self.index;
        }
        Ranking { deployments: keys, propensities: Vec::new() }
    }

    fn score(&self, key: u32) -> Option<S> {
        // Every index is that of a score.
        self.scores.get((key & self.index) as usize).copied()
    }
}

impl Order<'_, Score> {
    /// Draws every place among those that count as equal to the best one left, and tells the share that each had.
    fn draw(&self, keys: &mut [u32], slack: f64, random: &mut Random, mut drawn: impl FnMut(usize, f32)) {
        let score = |key| self.score(key).unwrap_or(Score { wait: 0.0, value: 0.0 });
        // Sorted, so the equals of a place stand together at the front of the rest, and where they end only grows.
        let mut end = 0;
        for place in 0..keys.len() {
            let best = score(keys[place]);
            end = end.max(place + 1);
            while keys.get(end).is_some_and(|&next| within(slack, best, score(next))) {
                end += 1;
            }
            let equals = &mut keys[place..end];
            if equals.len() > 1 {
                let one = random.below(u32::try_from(equals.len()).unwrap_or(u32::MAX)) as usize;
                if slack > 0.0 && equals.last().is_some_and(|&last| score(last).value > best.value) {
                    // The rest must stay sorted.
                    equals[..=one].rotate_right(1);
                } else {
                    equals.swap(0, one);
                }
                drawn(place, share(equals.len()));
            }
        }
    }
}

/// The upper half of infinity.
const INFINITE: u32 = 0x7ff0_0000;

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
    use super::Ranked;

    #[test]
    fn the_bits_are_in_the_order_of_the_floats() {
        let key = |value: f64| f64::key(value.bits());
        let values = [f64::NEG_INFINITY, -1e300, -1e-300, 0.0, 1e-300, 1.0, 1.0 + f64::EPSILON, f64::INFINITY];
        assert!(values.map(super::ordered).is_sorted_by(|one, other| one < other));
        assert!(values.map(key).is_sorted());
        assert_eq!(super::ordered(-0.0), super::ordered(0.0));
        assert_eq!([-0.0, f64::NAN, -f64::NAN].map(key), [0.0, f64::INFINITY, f64::INFINITY].map(key));
    }
}
