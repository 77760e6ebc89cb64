//! Rule 1: a policy advises, the host decides. What a ranking must be before anyone acts on it.

use super::bindings::exports::witgate::policy::routing as wit;
use super::types::Choice;
use crate::policy::host::PolicyFault;

/// A ranking names deployments that were offered, each once, with probabilities. It may be shorter than the list; an empty one
/// says that none is fit.
pub(in crate::policy) fn validate(
    ranking: &wit::Ranking,
    deployments: usize,
    out: &mut Vec<Choice>,
) -> Result<(), PolicyFault> {
    let wit::Ranking { deployments: named, propensities } = ranking;
    let mut good = true;
    if propensities.is_empty() {
        out.extend(named.iter().map(|&deployment| Choice { deployment, propensity: 1.0 }));
    } else {
        good &= propensities.len() == named.len();
        let choices = named.iter().zip(propensities);
        out.extend(choices.map(|(&deployment, &propensity)| Choice { deployment, propensity }));
        good &= propensities.iter().fold(true, |all, &propensity| all & is_probability(propensity));
    }
    good &= each_once(named, deployments);
    if good {
        return Ok(());
    }
    out.clear();
    if named.is_empty() && propensities.len() == 1 {
        return Err(PolicyFault::of_its_own());
    }
    Err(PolicyFault::Contract(fault(ranking, deployments)))
}

/// So many fit into what is cleared for each ranking.
const FEW: usize = 128;

/// Whether all of them are there and no two the same.
fn each_once(named: &[u32], deployments: usize) -> bool {
    if deployments > FEW {
        let mut seen = SeenSet::new(deployments);
        return named.iter().fold(true, |all, &deployment| all & seen.insert(deployment));
    }
    // A byte each, which is only written: bits of a word are waited for at each.
    let (mut seen, mut there) = ([0_u8; FEW], true);
    for &deployment in named {
        there &= (deployment as usize) < deployments;
        seen[deployment as usize % FEW] = 1;
    }
    there && usize::from(seen.iter().sum::<u8>()) == named.len()
}

/// What is wrong with a ranking that is not good: looked for only now, because nearly all are.
fn fault(ranking: &wit::Ranking, deployments: usize) -> String {
    let wit::Ranking { deployments: named, propensities } = ranking;
    if !propensities.is_empty() && propensities.len() != named.len() {
        return format!("the ranking has {} deployments and {} propensities", named.len(), propensities.len());
    }
    let mut seen = SeenSet::new(deployments);
    for (place, &deployment) in named.iter().enumerate() {
        if deployment as usize >= deployments {
            return format!("place {place} names deployment {deployment} of {deployments}");
        }
        if !seen.insert(deployment) {
            return format!("place {place} names deployment {deployment} again");
        }
        if let Some(&propensity) = propensities.get(place).filter(|propensity| !is_probability(**propensity)) {
            return format!("place {place} has propensity {propensity}, which is not above 0 to 1");
        }
    }
    "it is broken".to_owned()
}

/// No NaN, and nothing that cannot have happened.
fn is_probability(propensity: f32) -> bool {
    propensity > 0.0 && propensity <= 1.0
}

/// Which deployments were named; without an allocation for groups of up to 128.
struct SeenSet {
    size: usize,
    first: [u64; 2],
    more: Vec<u64>,
}

impl SeenSet {
    fn new(size: usize) -> Self {
        Self { size, first: [0; 2], more: vec![0; size.saturating_sub(128).div_ceil(64)] }
    }

    /// False if there is none like it, or it was in already.
    fn insert(&mut self, deployment: u32) -> bool {
        let index = deployment as usize;
        let words = if index < 128 { &mut self.first[..] } else { &mut self.more[..] };
        let Some(word) = words.get_mut(index / 64 - if index < 128 { 0 } else { 2 }) else { return false };
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new && index < self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_deployment_is_an_answer_and_one_propensity_of_none_is_a_failure() {
        let answer = |deployments: &[u32], propensities: &[f32]| {
            let ranking = wit::Ranking { deployments: deployments.into(), propensities: propensities.into() };
            validate(&ranking, 3, &mut Vec::new())
        };
        assert!(answer(&[], &[]).is_ok());
        assert!(answer(&[2, 0], &[]).is_ok());
        let failed = answer(&[], &[0.0]).unwrap_err();
        assert!(failed.to_string().contains("it failed"), "{failed}");
        for size in [3, 64, 65, 128, 129, 300] {
            let all: Vec<u32> = (0..size).rev().collect();
            let judged = |deployments: &[u32]| {
                let ranking = wit::Ranking { deployments: deployments.into(), propensities: Vec::new() };
                validate(&ranking, size as usize, &mut Vec::new()).map_err(|fault| fault.to_string())
            };
            assert_eq!(judged(&all), Ok(()));
            assert!(judged(&[&all[1..], &[0]].concat()).unwrap_err().contains("again"));
            assert!(judged(&[0, size]).unwrap_err().contains("names deployment"));
            assert!(judged(&[0, u32::MAX]).unwrap_err().contains("names deployment"));
        }
        assert!(answer(&[1], &[0.5, 0.5]).unwrap_err().to_string().contains("1 deployments and 2 propensities"));
    }
}
