//! What a router may ask to be told, checked by name.

use super::bindings::exports::witgate::policy::routing as wit;
use super::types::Needs;
use crate::policy::host::{MOST_NEEDS, PolicyProblem, attributes};
use crate::signal::{Feature, Grants, Signal};

/// # Errors
/// There is no such signal, feature or attribute, it wants too many, or one that nobody granted it.
pub(super) fn needs(wanted: &wit::Needs, grants: &Grants) -> Result<Needs, PolicyProblem> {
    let counts = [("signal", wanted.signals.len()), ("feature", wanted.features.len())];
    if let Some((kind, asked)) = counts.into_iter().find(|(_, asked)| *asked > MOST_NEEDS) {
        return Err(PolicyProblem::TooManyNeeds { kind, asked, limit: MOST_NEEDS });
    }
    let unknown = |kind, name: &String, known: Vec<&str>| PolicyProblem::UnknownNeed {
        kind,
        name: name.clone(),
        known: known.join(", "),
    };
    let signal = |name: &String| {
        Signal::parse(name).ok_or_else(|| unknown("signal", name, Signal::ALL.map(Signal::as_str).to_vec()))
    };
    let feature = |name: &String| Feature::asked(name).ok_or_else(|| unknown("feature", name, vec![Feature::KNOWN]));
    let features: Vec<Vec<Feature>> = wanted.features.iter().map(feature).collect::<Result<_, _>>()?;
    Ok(Needs {
        signals: wanted.signals.iter().map(signal).collect::<Result<_, _>>()?,
        features: features.concat(),
        attributes: attributes(&wanted.attributes, grants)?,
        exact_tokens: wanted.exact_tokens,
        pure: wanted.pure,
    })
}
