#![expect(clippy::cast_precision_loss, reason = "counts of a test are small")]

use super::{SimpleShuffle, weighs};
use witgate_policy::Random;

const ROUNDS: u64 = 8_000;

/// How often each deployment took each place; checks every propensity against the weights of those left.
fn places<const N: usize>(weights: [f64; N]) -> [[u32; N]; N] {
    let shuffle = SimpleShuffle::new(&weights.map(|weight| [weight, 0.0, 0.0, 1.0]));
    let mut seen = [[0; N]; N];
    for seed in 0..ROUNDS {
        let choices = shuffle.rank(&mut Random::new(seed));
        let mut left: Vec<usize> = (0..N).collect();
        for (place, choice) in choices.iter().enumerate() {
            let drawn = choice.deployment as usize;
            seen[place][drawn] += 1;
            let total: f64 = left.iter().map(|&one| weights[one]).sum();
            let share = if total > 0.0 { weights[drawn] / total } else { 1.0 / left.len() as f64 };
            assert!((f64::from(choice.propensity) - share).abs() < 1e-6, "{choice:?}: {share}");
            left.retain(|&one| one != drawn);
        }
        assert!(left.is_empty(), "all are ranked");
    }
    seen
}

fn near(count: u32, share: f64) {
    let (count, rounds) = (f64::from(count), ROUNDS as f64);
    let deviation = (rounds * share * (1.0 - share)).sqrt();
    assert!((count - rounds * share).abs() <= 4.0 * deviation, "{count} of {rounds}, expected {share}");
}

#[test]
fn every_place_is_drawn_by_weight_among_those_left() {
    let [first, second, third] = places([3.0, 2.0, 1.0]);
    [0.5, 1.0 / 3.0, 1.0 / 6.0].into_iter().zip(first).for_each(|(share, count)| near(count, share));
    // 2/6 x 3/4 + 1/6 x 3/5, and so on.
    [0.35, 0.4, 0.25].into_iter().zip(second).for_each(|(share, count)| near(count, share));
    [0.15, 4.0 / 15.0, 7.0 / 12.0].into_iter().zip(third).for_each(|(share, count)| near(count, share));
}

#[test]
fn those_of_one_weight_take_every_place_alike() {
    places([7.0; 5]).iter().flatten().for_each(|&count| near(count, 0.2));
}

#[test]
fn a_weight_of_a_thousand_times_as_much_leaves_a_thousandth() {
    let [first, ..] = places([1_000.0, 1.0]);
    near(first[1], 1.0 / 1_001.0);
}

#[test]
fn what_weighs_nothing_comes_after_what_does() {
    let [first, second, third] = places([0.0, 1.0, 0.0]);
    assert_eq!(first[1], 8_000);
    near(second[0], 0.5);
    near(third[2], 0.5);
}

#[test]
fn what_is_not_a_positive_number_weighs_nothing() {
    let weighed = [f64::NAN, -1.0, 0.0, f64::NEG_INFINITY, f64::INFINITY, 0.5, 5e-324].map(weighs);
    assert_eq!(weighed.map(f64::to_bits), [0.0, 0.0, 0.0, 0.0, 1e200, 0.5_f64, 1e-200].map(f64::to_bits));
}

#[test]
fn no_deployments_no_choices() {
    assert_eq!(SimpleShuffle::new(&[]).rank(&mut Random::new(1)), []);
}
