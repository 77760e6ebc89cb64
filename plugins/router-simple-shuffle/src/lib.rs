//! Simple shuffle: a weighted draw, place after place, among the deployments not drawn yet.
//!
//! The rule of LiteLLM's `simple-shuffle`. The weights of a draw are the first of these that has a positive value
//! among those still in it: `weight`, `rpm`, `tpm`; where a deployment has none it weighs 0; where none has any, all
//! weigh the same. Each choice says how probable it was in its own draw.
//!
//! Because every place follows the rule, a gateway that has to pass over the first (its limit is reached, its
//! breaker open) takes the second as LiteLLM would have drawn it from the rest. Differences, on purpose: a weight
//! that is negative or no number is 0 (LiteLLM's draw then depends on the order of the list). No settings.

use witgate_policy::{
    Ask, Choice, Deployment, Needs, Random, Ranking, Refusal, Router, Settings, Setup, Signals, export_router,
};

struct SimpleShuffle {
    /// One after another: those with a weight, then of the rest those with `rpm`, and so on.
    draws: Vec<Draw>,
}

/// Deployments that are drawn among each other, by weights of one kind.
struct Draw {
    weights: Vec<f64>,
    /// In the order of the weights. Where all weigh the same, each place's share is known beforehand.
    choices: Vec<Choice>,
    alike: bool,
}

/// `weight`, `rpm`, `tpm`, all alike.
const SETS: usize = 4;

/// What is not a positive number weighs nothing. Bounded so that no sum or quotient overflows.
fn weighs(value: f64) -> f64 {
    if value > 0.0 { value.clamp(1e-200, 1e200) } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a limit's weight needs no more digits than f64 has")]
fn weights(deployment: &Deployment) -> [f64; SETS] {
    let limit = |limit: Option<u64>| limit.unwrap_or(0) as f64;
    [weighs(deployment.weight.unwrap_or(0.0)), limit(deployment.rpm), limit(deployment.tpm), 1.0]
}

impl SimpleShuffle {
    fn new(weights: &[[f64; SETS]]) -> Self {
        let mut rest: Vec<(u32, &[f64; SETS])> = (0..).zip(weights).collect();
        let mut draws = Vec::new();
        for set in 0..SETS {
            let (members, left): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, weights)| weights[set] > 0.0);
            rest = left;
            if !members.is_empty() {
                draws.push(Draw::new(members.into_iter().map(|(deployment, weights)| (deployment, weights[set]))));
            }
        }
        Self { draws }
    }

    fn rank(&self, random: &mut Random) -> Vec<Choice> {
        let mut choices = Vec::with_capacity(self.draws.iter().map(|draw| draw.choices.len()).sum());
        for draw in &self.draws {
            if draw.alike { draw.evenly(random, &mut choices) } else { draw.by_weight(random, &mut choices) }
        }
        choices
    }
}

impl Draw {
    #[expect(clippy::cast_precision_loss, reason = "a group has fewer than 2⁵³ deployments")]
    fn new(members: impl Iterator<Item = (u32, f64)>) -> Self {
        let (deployments, weights): (Vec<u32>, Vec<f64>) = members.unzip();
        let shares = (1..=deployments.len()).rev().map(|left| share(1.0, left as f64));
        let choices = deployments.iter().zip(shares);
        let choices = choices.map(|(&deployment, propensity)| Choice { deployment, propensity }).collect();
        let alike = weights.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
        Self { weights, choices, alike }
    }

    /// Fisher and Yates: any of those left takes the next place.
    fn evenly(&self, random: &mut Random, choices: &mut Vec<Choice>) {
        let start = choices.len();
        choices.extend_from_slice(&self.choices);
        let mut left = choices.get_mut(start..).unwrap_or_default();
        while let Ok(count @ 2..) = u32::try_from(left.len()) {
            let drawn = random.below(count) as usize;
            let deployment = left[drawn].deployment;
            left[drawn].deployment = std::mem::replace(&mut left[0].deployment, deployment);
            left = &mut left[1..];
        }
    }

    /// Efraimidis and Spirakis, 2006: in the order of exponential draws, each divided by its weight, every place is
    /// drawn by weight among those left. One sort in the place of a search for every place.
    #[expect(clippy::cast_possible_truncation, reason = "an index fits its own type")]
    fn by_weight(&self, random: &mut Random, choices: &mut Vec<Choice>) {
        let start = choices.len();
        // Positive numbers are in the order of their bits; the last of them make room for the index.
        let index = self.weights.len().next_power_of_two() as u64 - 1;
        let key = |(at, weight): (u64, &f64)| (random.exponential() / weight).to_bits() & !index | at;
        let mut keys: Vec<u64> = (0..).zip(&self.weights).map(key).collect();
        keys.sort_unstable();
        let member = |key: u64| (key & index) as usize;
        choices.extend(keys.iter().filter_map(|&key| self.choices.get(member(key)).copied()));
        let mut total = 0.0;
        for (&key, choice) in keys.iter().zip(&mut choices[start..]).rev() {
            let weight = self.weights[member(key)];
            total += weight;
            choice.propensity = share(weight, total);
        }
    }
}

impl Router for SimpleShuffle {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        let weights: Vec<_> = setup.deployments.iter().map(weights).collect();
        Ok((Self::new(&weights), Needs { pure: true, ..Needs::signals(&[]) }))
    }

    fn route(&mut self, ask: &Ask, _: Signals<'_>) -> Result<Ranking, Refusal> {
        Ok(self.rank(&mut Random::new(ask.seed)).into_iter().collect())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share needs no f64")]
fn share(weight: f64, total: f64) -> f32 {
    // One too small for f32 must still read as one that can happen.
    ((weight / total) as f32).max(f32::MIN_POSITIVE)
}

export_router!(SimpleShuffle);

#[cfg(test)]
mod tests;
