//! Worlds that change in the middle: a model that turns bad is left, one that turns good is found again. Each time it is played counts, and
//! not the mean of all times.

use serde_json::json;
use witgate::evaluate::{Contender, DataSet, Interval, LEARNER, Played, Players};

use crate::say;

/// Requests before the favourite turns bad, and until it turns good again.
const TURNS: [usize; 2] = [1_200, 2_400];
/// Requests in all: prompts come again where there are no more.
const ALL: usize = 6_000;
/// What is left of its replies' quality while it is bad.
const BAD: f64 = 0.3;
/// Requests within which one that turned bad is to be left,
const LEFT: usize = 200;
/// but for so much of the hundred after them.
const REST: f64 = 0.1;
const HUNDRED: usize = 100;
/// Requests within which one that turned good has half of its share again, over a hundred of them. A model that was left is tried by one
/// request in 150.
const AGAIN: f64 = 1_200.0;

/// What was wrong.
pub(super) fn prove(
    data: &DataSet,
    orders: &[(u64, Vec<usize>)],
    players: &mut Players,
) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    say(&format!(
        "the favourite's replies are worth {BAD} of what they were from request {} to {}; shares of it, and requests until it has half of its share again",
        TURNS[0], TURNS[1]
    ));
    say(&format!(
        "{:<14} {:>12} {:>22} {:>16} {:>22}",
        "", "before", "after 200 requests", "while it is bad", "found again, at worst"
    ));
    for algorithm in ["ucb1-linucb", "ucb1", "linucb", "thompson"] {
        let contender = Contender {
            name: algorithm.to_owned(),
            router: LEARNER.to_owned(),
            settings: json!({"algorithm": algorithm}),
        };
        let mut seen: [Vec<f64>; 4] = Default::default();
        for (seed, order) in orders {
            let favourite = favourite(&players.play(&contender, data, order, *seed)?, data);
            let world = turning(data, order, favourite);
            let places: Vec<usize> = (0..world.examples.len()).collect();
            let run = players.play(&contender, &world, &places, *seed)?;
            let share = |from: usize, to: usize| share(&run, favourite, from, to);
            let before = share(TURNS[0] - HUNDRED, TURNS[0]);
            let last = places.len() - HUNDRED;
            let again = (TURNS[1]..=last).find(|from| share(*from, from + HUNDRED) >= before / 2.0);
            let again = again.map_or(places.len(), |from| from + HUNDRED) - TURNS[1];
            let figures = [
                before,
                share(TURNS[0] + LEFT, TURNS[0] + LEFT + HUNDRED),
                share(TURNS[0] + LEFT, TURNS[1]),
                super::count(again),
            ];
            for (seen, figure) in seen.iter_mut().zip(figures) {
                seen.push(figure);
            }
        }
        let worst = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
        let (most_left, latest) = (worst(&seen[1]), worst(&seen[3]));
        let [before, left, bad, again] = seen.map(|seen| Interval::of(&seen));
        let shown = |one: Interval, digits: usize| {
            format!("{:.digits$} ± {:.digits$}", one.mean, one.margin.unwrap_or_default())
        };
        say(&format!(
            "{algorithm:<14} {:>12} {:>22} {:>16} {:>22}",
            shown(before, 2),
            shown(left, 2),
            shown(bad, 2),
            format!("{}, {latest:.0}", shown(again, 0))
        ));
        if most_left > REST {
            wrong.push(format!(
                "{algorithm}: one that turned bad has {most_left:.2} of the requests after {LEFT}, {REST} at most wanted"
            ));
        }
        if latest > AGAIN {
            wrong.push(format!(
                "{algorithm}: one that turned good is found again after {latest:.0} requests, {AGAIN} at most wanted"
            ));
        }
    }
    Ok(wrong)
}

/// The model that was chosen most.
fn favourite(run: &Played, data: &DataSet) -> usize {
    let chosen = |model: &usize| run.steps.iter().filter(|step| step.model == *model).count();
    (0..data.models.len()).max_by_key(chosen).unwrap_or_default()
}

/// The prompts in an order, the replies of one model bad in the middle.
fn turning(data: &DataSet, order: &[usize], model: usize) -> DataSet {
    let example = |(number, place): (usize, &usize)| {
        let mut example = data.examples[*place].clone();
        if (TURNS[0]..TURNS[1]).contains(&number) {
            example.replies[model].reward *= BAD;
        }
        example
    };
    DataSet { models: data.models.clone(), examples: order.iter().cycle().take(ALL).enumerate().map(example).collect() }
}

fn share(run: &Played, model: usize, from: usize, to: usize) -> f64 {
    let chosen: Vec<f64> = run.steps[from..to].iter().map(|step| if step.model == model { 1.0 } else { 0.0 }).collect();
    Interval::of(&chosen).mean
}
