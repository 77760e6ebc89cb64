//! What a router may ask to be told, checked by name.

use super::bindings::exports::witgate::policy::routing as wit;
use super::types::Needs;
use crate::policy::host::PolicyProblem;
use crate::signal::{Feature, Signal};

/// Columns, features or attributes a policy may ask for: each costs something on every request.
const MOST_NEEDS: usize = 32;

/// # Errors
/// There is no such signal or feature, or it wants too many.
pub(super) fn needs(wanted: wit::Needs) -> Result<Needs, PolicyProblem> {
    let counts =
        [("signal", wanted.signals.len()), ("feature", wanted.features.len()), ("attribute", wanted.attributes.len())];
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
    let feature = |name: &String| {
        Feature::parse(name).ok_or_else(|| unknown("feature", name, Feature::ALL.map(Feature::as_str).to_vec()))
    };
    Ok(Needs {
        signals: wanted.signals.iter().map(signal).collect::<Result<_, _>>()?,
        features: wanted.features.iter().map(feature).collect::<Result<_, _>>()?,
        attributes: wanted.attributes,
        exact_tokens: wanted.exact_tokens,
        pure: wanted.pure,
    })
}
