//! The facts about a request that a policy of any role may ask for as text, checked by name against what it is granted.

use super::problem::PolicyProblem;
use crate::signal::{Attribute, AttributeError, Grants};

/// As many as a policy may ask for, of each kind: each costs something on every request.
pub(in crate::policy) const MOST_NEEDS: usize = 32;

/// What these names stand for.
///
/// # Errors
/// There is none of one of these names, it takes a grant that is not given, or they are too many.
pub(in crate::policy) fn attributes(names: &[String], grants: &Grants) -> Result<Vec<Attribute>, PolicyProblem> {
    if names.len() > MOST_NEEDS {
        return Err(PolicyProblem::TooManyNeeds { kind: "attribute", asked: names.len(), limit: MOST_NEEDS });
    }
    let attribute = |name: &String| match Attribute::parse(name) {
        Ok(attribute) if grants.allow(&attribute) => Ok(attribute),
        Ok(attribute) => Err(PolicyProblem::Ungranted(attribute.to_string())),
        Err(AttributeError::Unknown(name)) => {
            Err(PolicyProblem::UnknownNeed { kind: "attribute", name, known: Attribute::KNOWN.to_owned() })
        }
        Err(error @ AttributeError::Credential(_)) => Err(PolicyProblem::NeverTold(error.to_string())),
    };
    names.iter().map(attribute).collect()
}
