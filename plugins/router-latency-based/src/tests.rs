use super::history::{Figure, History, Rule};
use super::{Learned, state};

fn filled(rule: &Rule, samples: &[(u64, f64)]) -> History {
    let mut history = History::default();
    for &(at, seconds) in samples {
        history.push(at, seconds, rule);
    }
    history
}

#[test]
fn the_newest_samples_count() {
    let rule = Rule::new(10.0, 2);
    let mut history = filled(&rule, &[(0, 100.0), (1, 1.0), (2, 3.0)]);
    assert_eq!(history.figure(3, &rule, Figure::Mean), Some(2.0));
}

#[test]
fn each_sample_is_forgotten_in_its_own_time() {
    let rule = Rule::new(10.0, 10);
    let mut history = filled(&rule, &[(0, 1.0), (4_000, 5.0)]);
    let means = [0, 9_999, 10_000, 13_999, 14_000].map(|now| history.figure(now, &rule, Figure::Mean));
    assert_eq!(means, [Some(3.0), Some(3.0), Some(5.0), Some(5.0), None]);
}

#[test]
fn a_percentile_is_a_sample() {
    let rule = Rule::new(10.0, 10);
    let samples: Vec<_> = (1..=4).map(|n| (0, f64::from(n))).rev().collect();
    let at = |share| filled(&rule, &samples).figure(0, &rule, Figure::Percentile(share));
    assert_eq!([0.01, 0.25, 0.26, 0.5, 1.0].map(at), [1.0, 1.0, 2.0, 2.0, 4.0].map(Some));
}

#[test]
fn what_cannot_be_a_time_is_left_out() {
    let rule = Rule::new(10.0, 10);
    let history = filled(&rule, &[(0, f64::NAN), (0, -1.0), (0, f64::INFINITY)]);
    assert_eq!(history, History::default());
}

#[test]
fn what_is_saved_comes_back_and_damage_is_noticed() {
    let rule = Rule::new(10.0, 10);
    let learned = Learned { replies: filled(&rule, &[(1, 2.0), (3, 4.0)]), first_tokens: filled(&rule, &[(5, 6.0)]) };
    let ids = ["a".to_owned(), "é".to_owned()];
    let pairs = [learned, Learned::default()];
    let saved = state::write(7, ids.iter().zip(&pairs));
    let (now, back) = state::read(&saved).unwrap();
    assert_eq!(now, 7);
    assert_eq!(ids.iter().map(|id| &back[id]).collect::<Vec<_>>(), pairs.iter().collect::<Vec<_>>());
    for end in 0..saved.bytes.len() {
        let mut cut = saved.clone();
        cut.bytes.truncate(end);
        assert!(state::read(&cut).is_err(), "{end}");
    }
    let mut long = saved.clone();
    long.bytes.push(0);
    assert!(state::read(&long).unwrap_err().contains("after its end"));
    let mut huge = saved.clone();
    huge.bytes[8..12].fill(0xFF);
    assert!(state::read(&huge).is_err());
    let other = witgate_policy::SavedState { schema: "count".into(), bytes: vec![] };
    assert!(state::read(&other).unwrap_err().contains("`count`"));
}

#[test]
fn what_came_before_any_time_was_known_counts_from_the_first_time() {
    let rule = Rule::new(10.0, 10);
    let mut history = filled(&rule, &[(0, 1.0)]);
    history.date(1_000_000);
    assert_eq!(history.figure(1_009_999, &rule, Figure::Mean), Some(1.0));
    assert_eq!(history.figure(1_010_000, &rule, Figure::Mean), None);
}
