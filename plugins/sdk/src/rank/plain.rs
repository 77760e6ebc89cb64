//! Rankings by comparing scores.

use std::cmp::Ordering;

use super::{Score, share, within};
use crate::{Choice, Random, Ranking};

pub(super) fn lowest_first(values: impl Iterator<Item = f64>) -> Ranking {
    best_first(values.map(|value| Score::new(0.0, value)))
}

pub(super) fn best_first(scores: impl Iterator<Item = Score>) -> Ranking {
    sorted(&scores.collect::<Vec<_>>()).into_iter().collect()
}

pub(super) fn best_first_within(scores: impl Iterator<Item = Score>, slack: f64, random: &mut Random) -> Ranking {
    let scores: Vec<Score> = scores.collect();
    let score = |deployment: u32| scores.get(deployment as usize).copied().unwrap_or(Score { wait: 0.0, value: 0.0 });
    let mut rest = sorted(&scores);
    let mut choices = Vec::with_capacity(rest.len());
    for place in 0..rest.len() {
        let rest = &mut rest[place..];
        let best = score(rest[0]);
        // Sorted, so those that count as equal to the best stand together at the front.
        let equals = rest.iter().take_while(|&&next| within(slack, best, score(next))).count().max(1);
        if equals > 1 {
            let drawn = random.below(u32::try_from(equals).unwrap_or(u32::MAX)) as usize;
            if score(rest[equals - 1]).value > best.value {
                // The rest must stay sorted.
                rest[..=drawn].rotate_right(1);
            } else {
                rest.swap(0, drawn);
            }
        }
        choices.push(Choice { deployment: rest[0], propensity: share(equals) });
    }
    choices.into_iter().collect()
}

/// The deployments by wait, then by value, then as the configuration names them.
fn sorted(scores: &[Score]) -> Vec<u32> {
    let mut order: Vec<(u32, Score)> = (0..).zip(scores.iter().copied()).collect();
    order.sort_by(|(_, one), (_, other)| compare(*one, *other));
    order.into_iter().map(|(deployment, _)| deployment).collect()
}

fn compare(one: Score, other: Score) -> Ordering {
    let by_wait = one.wait.max(0.0).total_cmp(&other.wait.max(0.0));
    // Both zeros are one value.
    by_wait.then_with(|| (one.value + 0.0).total_cmp(&(other.value + 0.0)))
}
