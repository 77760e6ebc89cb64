//! Rule 1: a policy advises, the host decides. What a ranking must be before anyone acts on it.

use super::bindings::exports::witgate::policy::routing as wit;
use super::words::{Choice, PolicyFault};

/// A ranking names deployments that were offered, each once, with probabilities.
/// It may be shorter than the list; empty it may be only where nothing was offered.
pub(super) fn validate(ranking: &[wit::Choice], deployments: usize, out: &mut Vec<Choice>) -> Result<(), PolicyFault> {
    let broken = |words: String| Err(PolicyFault::Contract(words));
    if ranking.is_empty() && deployments > 0 {
        return broken("the ranking is empty".to_owned());
    }
    let mut seen = SeenSet::new(deployments);
    for (place, choice) in ranking.iter().enumerate() {
        let wit::Choice { deployment, propensity } = *choice;
        let index = deployment as usize;
        let fault = if index >= deployments {
            format!("place {place} names deployment {deployment} of {deployments}")
        } else if !seen.insert(index) {
            format!("place {place} names deployment {deployment} again")
        } else if propensity.is_nan() || propensity <= 0.0 || propensity > 1.0 {
            format!("place {place} has propensity {propensity}, which is not above 0 to 1")
        } else {
            out.push(Choice { deployment, propensity });
            continue;
        };
        out.clear();
        return broken(fault);
    }
    Ok(())
}

/// Which deployments were named; without an allocation for groups of up to 128.
struct SeenSet {
    first: u128,
    more: Vec<bool>,
}

impl SeenSet {
    fn new(size: usize) -> Self {
        Self { first: 0, more: vec![false; size.saturating_sub(128)] }
    }

    /// False if it was in already.
    fn insert(&mut self, index: usize) -> bool {
        if let Some(beyond) = index.checked_sub(128) {
            return self.more.get_mut(beyond).is_some_and(|seen| !std::mem::replace(seen, true));
        }
        let bit = 1_u128 << index;
        let new = self.first & bit == 0;
        self.first |= bit;
        new
    }
}
