use super::{SETS, SimpleShuffle, weighs};
use witgate_policy::Random;

fn shuffle(weights: &[[f64; SETS]]) -> SimpleShuffle {
    SimpleShuffle { weights: weights.to_vec(), tree: vec![0.0; 2 * weights.len().next_power_of_two()] }
}

#[test]
fn the_tree_draws_by_weight_and_tells_the_share() {
    let mut shuffle = shuffle(&[[3.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]]);
    let mut firsts = [0; 3];
    for seed in 0..4_000 {
        let mut random = Random::new(seed);
        shuffle.plant(0, &[false; 3]);
        let (first, share) = shuffle.draw(&mut random).unwrap();
        firsts[first] += 1;
        assert!((share - [0.75, 0.0, 0.25][first]).abs() < 1e-12);
        assert_eq!(shuffle.draw(&mut random), Some((2 - first, 1.0)));
        assert_eq!(shuffle.draw(&mut random), None, "what weighs nothing is not in this draw");
    }
    assert!((2_850..3_150).contains(&firsts[0]), "{firsts:?}");
}

#[test]
fn what_is_not_a_positive_number_weighs_nothing() {
    let weighed = [f64::NAN, -1.0, 0.0, f64::NEG_INFINITY, f64::INFINITY, 0.5].map(weighs);
    assert_eq!(weighed.map(f64::to_bits), [0.0, 0.0, 0.0, 0.0, 1e200, 0.5_f64].map(f64::to_bits));
}

#[test]
fn an_empty_tree_gives_nothing() {
    let mut shuffle = shuffle(&[]);
    shuffle.plant(0, &[]);
    assert_eq!(shuffle.draw(&mut Random::new(1)), None);
}
