//! Compares what came of a case with what was expected.

use std::collections::BTreeMap;

use super::answer::{Answer, id};
use super::file::ExpectFile;
use super::runner::Run;
use super::suite::{Case, Suite};
use crate::policy::{Choice, Setup};

/// How far a share may be off where a file does not say.
const TOLERANCE: f64 = 0.05;

/// Everything that is not as expected; empty where all is.
pub(super) fn judge(suite: &Suite, case: &Case, run: &Run, again: &Run) -> Vec<String> {
    let (setup, expect) = (&suite.setup, &case.expect);
    let mut problems = Vec::new();
    for (turn, answer) in (1..).zip(&run.answers) {
        if let Some(wanted) = unmet(setup, expect, answer) {
            let turn = if case.repeat > 1 { format!("question {turn}: ") } else { String::new() };
            problems.push(format!("{turn}expected {wanted}, got {}", answer.told(setup, &run.said)));
            problems.extend(difference(setup, expect, answer));
            // One example says it all.
            break;
        }
    }
    if let Some(shares) = &expect.distribution {
        let tolerance = expect.tolerance.unwrap_or(TOLERANCE);
        problems.extend(off(setup, &run.answers, shares, tolerance));
    }
    if let Some(most) = expect.max_fuel.filter(|most| run.fuel > *most) {
        problems.push(format!("expected at most {most} fuel, a call used {}", run.fuel));
    }
    if let Some(words) = expect.log.as_ref().filter(|words| !run.log.iter().any(|line| line.message.contains(*words))) {
        problems.push(format!("expected a log line with `{words}`, got {}", run.log.len()));
    }
    if run.answers != again.answers {
        problems.push("another fresh instance, asked the same, decided otherwise".to_owned());
    }
    let first = run.answers.first();
    if let Some((restored, said)) = run.restored.as_ref().filter(|(restored, _)| first != Some(restored)) {
        let words = "an instance started from what this one saved decides otherwise";
        problems.push(format!("{words}: {} (`forgets: true` if that is meant)", restored.told(setup, said)));
    }
    problems
}

/// Whether the case ends, each time alike, in another way than expected.
pub(super) fn ends_otherwise(suite: &Suite, case: &Case, run: &Run, again: &Run) -> bool {
    let (setup, expect) = (&suite.setup, &case.expect);
    let shares = expect.distribution.as_ref();
    run.answers == again.answers
        && (run.answers.iter().any(|answer| unmet(setup, expect, answer).is_some())
            || shares.is_some_and(|shares| {
                !off(setup, &run.answers, shares, expect.tolerance.unwrap_or(TOLERANCE)).is_empty()
            }))
}

/// What an answer should have been, where it is not.
fn unmet(setup: &Setup, expect: &ExpectFile, answer: &Answer) -> Option<String> {
    let ranking: &[Choice] = if let Answer::Ranked(ranking) = answer { ranking } else { &[] };
    let first = ranking.first().map(|choice| id(setup, choice.deployment));
    if let Some(wanted) = &expect.choose
        && first != Some(wanted)
    {
        return Some(format!("`{wanted}` first"));
    }
    if let Some(wanted) = &expect.one_of
        && !first.is_some_and(|first| wanted.iter().any(|id| id == first))
    {
        return Some(format!("one of {} first", wanted.join(", ")));
    }
    if let Some(wanted) = &expect.ranked
        && !ranking.iter().map(|choice| id(setup, choice.deployment)).eq(wanted.iter().map(String::as_str))
    {
        return Some(format!("the ranking {}", wanted.join(" ")));
    }
    if let Some(wanted) = expect.propensity {
        let claimed = ranking.first().map_or(0.0, |choice| choice.propensity);
        if (claimed - wanted).abs() > 0.001 {
            return Some(format!("the first with propensity {wanted} (it says {claimed})"));
        }
    }
    if expect.distribution.is_some() && first.is_none() {
        return Some("a ranking".to_owned());
    }
    let end = match answer {
        Answer::Wait(length) => expect.wait.is_some_and(|wanted| length.as_millis() == u128::from(wanted)),
        Answer::Reject(words) => expect.reject.as_ref().is_some_and(|wanted| words.contains(wanted)),
        Answer::Refused(words) => expect.config_error.as_ref().is_some_and(|wanted| words.contains(wanted)),
        Answer::Fault(fault) => expect.fault.as_ref().is_some_and(|wanted| fault.kind() == wanted),
        Answer::NotStarted(_) => false,
        Answer::Ranked(ranking) if ranking.is_empty() => expect.none,
        Answer::Ranked(_) => {
            let other = [&expect.reject, &expect.config_error, &expect.fault];
            !expect.none && expect.wait.is_none() && other.into_iter().all(Option::is_none)
        }
    };
    (!end).then(|| other_end(expect))
}

/// Two rankings side by side, place by place, where they differ in some and not in length alone.
fn difference(setup: &Setup, expect: &ExpectFile, answer: &Answer) -> Option<String> {
    let (Some(wanted), Answer::Ranked(ranking)) = (&expect.ranked, answer) else { return None };
    let found: Vec<&str> = ranking.iter().map(|choice| id(setup, choice.deployment)).collect();
    let places = 0..wanted.len().max(found.len());
    let cell = |id: Option<&str>| id.unwrap_or("-").to_owned();
    let lines = places.map(|place| {
        let (one, other) = (cell(wanted.get(place).map(String::as_str)), cell(found.get(place).copied()));
        let mark = if one == other { ' ' } else { '!' };
        format!("{mark} {:>3}. expected {one:<24} got {other}", place + 1)
    });
    Some(lines.collect::<Vec<_>>().join("\n        "))
}

/// The expected end other than a ranking, in words.
fn other_end(expect: &ExpectFile) -> String {
    let none = expect.none.then(|| "none of them".to_owned());
    let wait = expect.wait.map(|wanted| format!("a wait of {wanted} ms"));
    let reject = expect.reject.as_ref().map(|words| format!("a rejection with `{words}`"));
    let refused = expect.config_error.as_ref().map(|words| format!("refused settings with `{words}`"));
    let fault = expect.fault.as_ref().map(|kind| format!("the fault `{kind}`"));
    none.or(wait).or(reject).or(refused).or(fault).unwrap_or_else(|| "a ranking".to_owned())
}

/// Every share that is off.
fn off(setup: &Setup, answers: &[Answer], wanted: &BTreeMap<String, f64>, tolerance: f64) -> Vec<String> {
    let mut counts: BTreeMap<&str, u32> = wanted.keys().map(|id| (id.as_str(), 0)).collect();
    for answer in answers {
        if let Answer::Ranked(ranking) = answer
            && let Some(first) = ranking.first()
        {
            *counts.entry(id(setup, first.deployment)).or_default() += 1;
        }
    }
    let total = u32::try_from(answers.len()).unwrap_or(u32::MAX);
    let share = |(id, count): (&str, u32)| {
        let found = f64::from(count) / f64::from(total);
        let wanted = wanted.get(id).copied().unwrap_or(0.0);
        // What is not named, or has no share, must not come first at all.
        let met = if wanted == 0.0 { count == 0 } else { (found - wanted).abs() <= tolerance };
        (!met)
            .then(|| format!("expected `{id}` first in {wanted} of {total}, within {tolerance}; it was in {found:.4}"))
    };
    counts.into_iter().filter_map(share).collect()
}
