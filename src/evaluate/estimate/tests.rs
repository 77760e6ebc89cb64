//! Logs that are simulated, of which the truth is known.

use super::*;
use crate::seed;

type Pick = fn(&Estimates) -> Estimate;

const DEPLOYMENTS: usize = 3;
const DECISIONS: usize = 400;

fn unit(seed: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let number = (seed >> 11) as f64 / (1_u64 << 53) as f64;
    number
}

/// What replies are worth on average: no straight line of the question's number, so that the regression is wrong.
fn worth(deployment: usize, question: f64) -> f64 {
    match deployment {
        0 => 0.3 + 0.4 * question,
        1 => 0.8 - 0.5 * (question - 0.5).powi(2),
        _ => 0.9 - 0.6 * question,
    }
}

/// The log's router learned something: it has a favourite for each question.
fn logs(question: f64) -> [f64; DEPLOYMENTS] {
    if question > 0.6 { [0.6, 0.3, 0.1] } else { [0.15, 0.25, 0.6] }
}

/// The other router has another one, and now and then a third.
fn others(question: f64) -> [f64; DEPLOYMENTS] {
    if question > 0.4 { [0.1, 0.9, 0.0] } else { [0.0, 0.2, 0.8] }
}

fn drawn(chances: [f64; DEPLOYMENTS], unit: f64) -> usize {
    let mut left = unit;
    for (place, chance) in chances.into_iter().enumerate() {
        if left < chance {
            return place;
        }
        left -= chance;
    }
    DEPLOYMENTS - 1
}

/// What a router that chooses so gets on average over all questions.
fn truth(chances: fn(f64) -> [f64; DEPLOYMENTS]) -> f64 {
    let mean = |question: f64| {
        chances(question).into_iter().enumerate().map(|(place, chance)| chance * worth(place, question)).sum::<f64>()
    };
    (0..10_000).map(|step| mean((f64::from(step) + 0.5) / 10_000.0)).sum::<f64>() / 10_000.0
}

/// A log, of which a share of values is told. They are 0 or 1, with the chance that their reply is worth.
fn log(seed: u64, told: f64) -> Vec<Sample> {
    let sample = |number: u64| {
        let own = seed::derive(seed, number);
        let draw = |n| unit(seed::derive(own, n));
        let question = draw(0);
        let logged = drawn(logs(question), draw(1));
        let value = if draw(3) < worth(logged, question) { 1.0 } else { 0.0 };
        Sample {
            features: vec![question],
            logged,
            propensity: logs(question)[logged],
            value: (draw(4) < told).then_some(value),
            told,
            chosen: drawn(others(question), draw(2)),
        }
    };
    (0..DECISIONS as u64).map(sample).collect()
}

/// The claim of issue and documentation: at nominal 95 %, 90 % at least.
#[test]
fn intervals_hold_the_true_value_in_nine_of_ten_logs() {
    let (true_log, true_other) = (truth(logs), truth(others));
    assert!(true_other - true_log > 0.05, "{true_log} {true_other}");
    for told in [1.0, 0.3] {
        let estimates: Vec<Estimates> = (0..200).map(|seed| estimate(&log(seed, told), DEPLOYMENTS)).collect();
        let cases: [(&str, f64, Pick); 5] = [
            ("logged", true_log, |all| all.logged),
            ("IPS", true_other, |all| all.ips),
            ("SNIPS", true_other, |all| all.snips),
            ("doubly robust", true_other, |all| all.doubly_robust),
            ("better by", true_other - true_log, |all| all.better_by),
        ];
        let width = |pick: Pick| {
            estimates.iter().map(|all| pick(all).high - pick(all).low).sum::<f64>() / count(estimates.len())
        };
        for (name, truth, pick) in cases {
            let held = estimates.iter().filter(|all| (pick(all).low..=pick(all).high).contains(&truth)).count();
            assert!((180..200).contains(&held), "{name}, {told} told: {held} of 200 hold {truth}");
            let mean = estimates.iter().map(|all| pick(all).value).sum::<f64>() / count(estimates.len());
            // The mean of 200 is off by a fourteenth of what one is.
            assert!((mean - truth).abs() < width(pick) / 4.0 / 14.0 * 3.5, "{name}, {told} told: {mean}, not {truth}");
        }
        assert!(width(|all| all.doubly_robust) < width(|all| all.ips), "the regression is of use");
    }
}

#[test]
fn what_the_log_never_chose_shows_in_the_mean_weight() {
    let mut samples = log(1, 1.0);
    let full = estimate(&samples, DEPLOYMENTS);
    assert!(full.weight.low < 1.0 && full.weight.high > 1.0, "{:?}", full.weight);
    for sample in &mut samples {
        sample.propensity = 1.0;
        sample.chosen = DEPLOYMENTS - 1;
    }
    let certain = estimate(&samples, DEPLOYMENTS);
    assert!(certain.weight.high < 0.9, "{:?}", certain.weight);
    let none = estimate(&[], DEPLOYMENTS);
    assert!(none.decisions == 0 && none.logged.value.is_nan() && none.snips.value.is_nan() && none.curve.is_empty());
}

#[test]
fn one_router_against_itself_gets_the_same() {
    let mut samples = log(2, 1.0);
    for sample in &mut samples {
        (sample.propensity, sample.chosen) = (1.0, sample.logged);
    }
    let same = estimate(&samples, DEPLOYMENTS);
    assert!((same.ips.value - same.logged.value).abs() < 1e-12 && same.better_by.value.abs() < 1e-12, "{same:?}");
    assert!(same.agreed == DECISIONS && (same.effective - count(DECISIONS)).abs() < 1e-6);
}
