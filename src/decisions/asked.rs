//! A decision put to another router than the one that made it: what that one asks for, out of what this one was told.

use super::reader::Run;
use crate::policy::{Decision, Needs, RouterFacts};
use crate::signal::Signal;

/// Whether a router with these needs reads what the run holds digests of alone.
#[must_use]
pub fn withheld_from(run: &Run, wanted: &Needs) -> bool {
    let recorded = &run.start.facts.needs.attributes;
    run.withheld && wanted.attributes.iter().any(|one| one.needs_grant() && recorded.contains(one))
}

/// What another policy asks for and the run does not hold.
#[must_use]
pub fn unheld(recorded: &Needs, wanted: &Needs) -> Option<String> {
    let signals = wanted.signals.iter().filter(|signal| !recorded.signals.contains(signal));
    let signals = signals.map(|signal| signal.as_str().to_owned());
    let features = wanted.features.iter().filter(|one| !recorded.features.contains(one));
    let features = features.map(|one| one.name().into_owned());
    let attributes = wanted.attributes.iter().filter(|one| !recorded.attributes.contains(one)).map(ToString::to_string);
    let missing: Vec<String> = signals.chain(features).chain(attributes).collect();
    let told = "it asks for what the run does not hold, and is told that it is unknown";
    (!missing.is_empty()).then(|| format!("{told}: {}", missing.join(", ")))
}

/// The question as a policy with other needs is asked it; `None` where it is the same.
#[must_use]
pub fn asked_as(decision: &Decision, facts: &RouterFacts, wanted: &Needs) -> Option<Decision> {
    let recorded = &facts.needs;
    let same = recorded.signals == wanted.signals
        && recorded.features == wanted.features
        && recorded.attributes == wanted.attributes;
    if same {
        return None;
    }
    let count = facts.setup.deployments.len();
    let column = |signal: &Signal| recorded.signals.iter().position(|known| known == signal);
    let cells = |signal: &Signal| match column(signal) {
        Some(at) => decision.signals[at * count..(at + 1) * count].to_vec(),
        None => vec![f32::NAN; count],
    };
    let feature = |wanted| {
        let place = recorded.features.iter().position(|known| known == wanted);
        place.and_then(|place| decision.features.get(place)).copied().unwrap_or(f32::NAN)
    };
    let attribute = |wanted| {
        let place = recorded.attributes.iter().position(|known| known == wanted);
        place.and_then(|place| decision.attributes.get(place)).cloned().unwrap_or_default()
    };
    Some(Decision {
        request: decision.request.clone(),
        signals: wanted.signals.iter().flat_map(cells).collect(),
        features: wanted.features.iter().map(feature).collect(),
        attributes: wanted.attributes.iter().map(attribute).collect(),
        answer: decision.answer.clone(),
    })
}
