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
    Ask, Choice, Deployment, Needs, Random, Refusal, Router, Settings, Setup, Signals, export_router,
};

struct SimpleShuffle {
    /// Per deployment: weight, requests per minute, tokens per minute, and 1.
    weights: Vec<[f64; SETS]>,
    /// A complete binary tree over one set of weights: node `i` is the sum of nodes `2i` and `2i + 1`, the leaves
    /// stand in its upper half. Kept between decisions for its memory only.
    tree: Vec<f64>,
}

/// `weight`, `rpm`, `tpm`, all alike.
const SETS: usize = 4;

/// What is not a positive number weighs nothing. Bounded so that no sum overflows.
fn weighs(value: f64) -> f64 {
    if value > 0.0 { value.min(1e200) } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a limit's weight needs no more digits than f64 has")]
fn weights(deployment: &Deployment) -> [f64; SETS] {
    let limit = |limit: Option<u64>| limit.unwrap_or(0) as f64;
    [weighs(deployment.weight.unwrap_or(0.0)), limit(deployment.rpm), limit(deployment.tpm), 1.0]
}

impl SimpleShuffle {
    /// Fills the tree with one set of weights, leaving out what is drawn already.
    fn plant(&mut self, set: usize, drawn: &[bool]) {
        let half = self.tree.len() / 2;
        for (leaf, (weights, &drawn)) in self.tree[half..].iter_mut().zip(self.weights.iter().zip(drawn)) {
            *leaf = if drawn { 0.0 } else { weights[set] };
        }
        for node in (1..half).rev() {
            self.tree[node] = self.tree[2 * node] + self.tree[2 * node + 1];
        }
    }

    /// Takes one deployment out of the tree, `None` where nothing in it weighs anything.
    fn draw(&mut self, random: &mut Random) -> Option<(usize, f64)> {
        let total = *self.tree.get(1)?;
        if total <= 0.0 {
            return None;
        }
        let half = self.tree.len() / 2;
        let mut point = random.unit() * total;
        let mut node = 1;
        while node < half {
            let (left, right) = (self.tree[2 * node], self.tree[2 * node + 1]);
            // Rounding may leave a point at the end of the left sum; never step to where nothing is.
            let step = point >= left && right > 0.0;
            point -= if step { left } else { 0.0 };
            node = 2 * node + usize::from(step);
        }
        let share = self.tree[node] / total;
        let drawn = node - half;
        self.tree[node] = 0.0;
        while node > 1 {
            node /= 2;
            self.tree[node] = self.tree[2 * node] + self.tree[2 * node + 1];
        }
        Some((drawn, share))
    }
}

impl Router for SimpleShuffle {
    fn configure(setup: Setup) -> Result<(Self, Needs), String> {
        Settings::parse(&setup.settings)?.finish()?;
        let weights: Vec<_> = setup.deployments.iter().map(weights).collect();
        let tree = vec![0.0; 2 * weights.len().next_power_of_two()];
        Ok((Self { weights, tree }, Needs { pure: true, ..Needs::signals(&[]) }))
    }

    fn route(&mut self, ask: &Ask, _: Signals<'_>) -> Result<Vec<Choice>, Refusal> {
        let count = self.weights.len();
        let mut random = Random::new(ask.seed);
        let mut drawn = vec![false; count];
        let mut choices = Vec::with_capacity(count);
        for set in 0..SETS {
            if choices.len() == count {
                break;
            }
            self.plant(set, &drawn);
            while let Some((index, share)) = self.draw(&mut random) {
                drawn[index] = true;
                choices.push(choice(index, share));
            }
        }
        Ok(choices)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a list has fewer than 2³² deployments; a share needs no f64")]
fn choice(index: usize, share: f64) -> Choice {
    // A share too small for f32 must still read as one that can happen.
    Choice { deployment: index as u32, propensity: (share as f32).max(f32::MIN_POSITIVE) }
}

export_router!(SimpleShuffle);

#[cfg(test)]
mod tests;
