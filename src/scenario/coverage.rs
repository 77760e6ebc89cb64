//! What the cases of a scenario reach of all that could be asked of its policy. No engine tells which branches of a component were
//! taken (the language's own tools tell it of its unit tests); what a file says and what came of it can be told, and a signal, a kind of
//! reply or a setting that no case is about is a branch that nothing holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::policy::{Needs, SettingsSchema};
use crate::signal::Signal;

use super::answer::{Answer, id};
use super::report::SuiteReport;
use super::runner::Run;
use super::suite::Suite;

/// What the cases of a scenario reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Cases by how they ended, counted by their first answer.
    pub ends: BTreeMap<&'static str, usize>,
    /// Deployments that some case of a router has in the first place, of all there are; `None` for the other roles.
    pub first_places: Option<(usize, usize)>,
    /// What the policy asked for (signals, attributes, kinds of deltas), what its role is asked about, and settings that its schema knows.
    pub asked: usize,
    /// Those of them that no case says anything of.
    pub untouched: Vec<String>,
    /// What the file sets and the policy asked for in no case, so that it was told nothing of it. No mistake where that is what a
    /// case is about.
    pub unasked: Vec<String>,
    /// What all these are called together.
    #[serde(skip)]
    pub(super) what: &'static str,
}

/// Something that a case may be about, and whether one is.
pub(super) type Touched = (String, bool);

impl Coverage {
    pub(super) fn of(suite: &Suite, played: &[Run], report: &SuiteReport, schema: Option<&SettingsSchema>) -> Self {
        let answers = played.iter().filter_map(|run| run.answers.first());
        let mut ends = BTreeMap::new();
        for answer in answers {
            *ends.entry(end(answer)).or_insert(0) += 1;
        }
        let all = played.iter().flat_map(|run| &run.answers);
        let first = all.filter_map(|answer| match answer {
            Answer::Ranked(ranking) => ranking.first().map(|choice| id(&suite.setup, choice.deployment)),
            _ => None,
        });
        let first_places = Some((first.collect::<BTreeSet<_>>().len(), suite.setup.deployments.len()));
        let said: BTreeSet<Signal> = suite.signals_said().collect();
        let signals = report.signals.iter().map(|name| {
            let touched = Signal::parse(name).is_some_and(|signal| said.contains(&signal));
            (format!("signal `{name}`"), touched)
        });
        let attributes = report.reads.iter().map(|name| {
            let touched = suite.cases.iter().any(|case| case.request.attributes.contains_key(name));
            (format!("attribute `{name}`"), touched)
        });
        let texts = suite.cases.iter().filter_map(|case| case.settings.as_ref()).chain([&suite.setup.settings]);
        let settings = settings(schema, texts.map(|text| &**text));
        let what = "signals, attributes and settings";
        let unasked = unasked(suite, played);
        Self { ends, first_places, unasked, ..Self::default() }.of_all(signals.chain(attributes).chain(settings), what)
    }

    /// What the cases of another role reach, which came to these ends and set what was `unasked` for; `what` is what all that they
    /// `touched`, or did not, is called together.
    pub(super) fn of_role(
        ends: BTreeMap<&'static str, usize>,
        unasked: BTreeSet<String>,
        touched: impl Iterator<Item = Touched>,
        what: &'static str,
    ) -> Self {
        Self { ends, unasked: unasked.into_iter().collect(), ..Self::default() }.of_all(touched, what)
    }

    fn of_all(self, all: impl Iterator<Item = Touched>, what: &'static str) -> Self {
        let all: Vec<Touched> = all.collect();
        let asked = all.len();
        let untouched = all.into_iter().filter(|(_, touched)| !touched).map(|(what, _)| what).collect();
        Self { asked, untouched, what, ..self }
    }
}

/// What a router's file sets and the router asked for in none of its cases, whatever their settings.
fn unasked(suite: &Suite, played: &[Run]) -> Vec<String> {
    let needs: Vec<&Needs> = played.iter().filter_map(|run| run.needs.as_ref()).collect();
    if needs.is_empty() {
        return Vec::new();
    }
    let signals: BTreeSet<&str> = needs.iter().flat_map(|needs| &needs.signals).copied().map(Signal::as_str).collect();
    let features = needs.iter().flat_map(|needs| &needs.features).map(|feature| feature.name().into_owned());
    let features: BTreeSet<String> = features.collect();
    let attributes: BTreeSet<String> =
        needs.iter().flat_map(|needs| &needs.attributes).map(ToString::to_string).collect();
    let mut unasked = BTreeSet::new();
    let said = suite.signals_said().map(Signal::as_str);
    unasked.extend(said.filter(|name| !signals.contains(name)).map(|name| format!("signal `{name}`")));
    for case in &suite.cases {
        let said = case.request.features.keys().filter(|name| !features.contains(*name));
        unasked.extend(said.map(|name| format!("feature `{name}`")));
        let said = case.request.attributes.keys().filter(|name| !attributes.contains(*name));
        unasked.extend(said.map(|name| format!("attribute `{name}`")));
    }
    unasked.into_iter().collect()
}

/// The settings that a schema knows, and whether some of these settings has them.
pub(super) fn settings<'a>(
    schema: Option<&SettingsSchema>,
    texts: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = Touched> {
    let given: Vec<Value> = texts.filter_map(|text| serde_json::from_str(text).ok()).collect();
    schema.map(SettingsSchema::names).unwrap_or_default().into_iter().map(move |name| {
        let touched = given.iter().any(|given| given.get(&name).is_some());
        (format!("setting `{name}`"), touched)
    })
}

const fn end(answer: &Answer) -> &'static str {
    match answer {
        Answer::Ranked(ranking) if ranking.is_empty() => "none fit",
        Answer::Ranked(_) => "ranked",
        Answer::Wait(_) => "wait",
        Answer::Reject(_) => "rejected",
        Answer::Fault(_) => "fault",
        Answer::Refused(_) => "settings refused",
        Answer::NotStarted(_) => "not started",
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends: Vec<String> = self.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
        write!(f, "covers {}", ends.join(", "))?;
        if let Some((first, of)) = self.first_places {
            write!(f, "; {first} of {of} deployments in the first place")?;
        }
        if self.asked > 0 {
            write!(f, "; {} of {} {}", self.asked - self.untouched.len(), self.asked, self.what)?;
        }
        if self.untouched.is_empty() { Ok(()) } else { write!(f, "; no case is about {}", self.untouched.join(", ")) }
    }
}
