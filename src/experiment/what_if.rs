//! What may be tried in a plan: other batches, another key, a higher limit, a model whose calls others take too.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use super::Experiment;
use crate::catalog::Deployment;
use crate::config::{BatchShape, Settings};
use crate::id::{DeploymentId, GroupName};
use crate::limits::{Dimension, Scope};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// Texts are packed into calls of so many tokens; 0: each is asked alone.
    Batch(u32),
    /// The model has another key of the same limits.
    AddKey(GroupName),
    /// Every deployment of the model has this limit of tokens a minute.
    Tpm(GroupName, u64),
    /// What is asked of the model is asked of the experiment's other models too, whichever has room.
    Spread(GroupName),
    /// Texts are asked so often.
    Repetitions(u32),
}

impl FromStr for WhatIf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "`{text}` cannot be tried; known: batch=TOKENS, add-key MODEL, tpm MODEL=TOKENS, spread MODEL, repetitions=N"
            )
        };
        let number = |text: &str| text.trim().replace('_', "").parse::<u64>().map_err(|_| unknown());
        let small = |text: &str| number(text).and_then(|number| u32::try_from(number).map_err(|_| unknown()));
        let text = text.trim();
        if let Some(tokens) = text.strip_prefix("batch=") {
            return small(tokens).map(Self::Batch);
        }
        if let Some(times) = text.strip_prefix("repetitions=") {
            return small(times).map(|times| Self::Repetitions(times.max(1)));
        }
        if let Some(model) = text.strip_prefix("add-key ") {
            return Ok(Self::AddKey(model.trim().into()));
        }
        if let Some(model) = text.strip_prefix("spread ") {
            return Ok(Self::Spread(model.trim().into()));
        }
        let (model, limit) = text.strip_prefix("tpm ").and_then(|rest| rest.split_once('=')).ok_or_else(unknown)?;
        Ok(Self::Tpm(model.trim().into(), number(limit)?))
    }
}

impl WhatIf {
    /// As it is written.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Batch(tokens) => format!("batch={tokens}"),
            Self::AddKey(model) => format!("add-key {model}"),
            Self::Tpm(model, limit) => format!("tpm {model}={limit}"),
            Self::Spread(model) => format!("spread {model}"),
            Self::Repetitions(times) => format!("repetitions={times}"),
        }
    }

    fn model(&self) -> Option<&GroupName> {
        match self {
            Self::AddKey(model) | Self::Tpm(model, _) | Self::Spread(model) => Some(model),
            Self::Batch(_) | Self::Repetitions(_) => None,
        }
    }
}

impl Experiment {
    /// The same experiment with what is tried of it; what is tried of its gateway changes the settings too.
    ///
    /// # Errors
    /// A model that is none of its.
    pub fn tried(&self, tried: &[WhatIf]) -> Result<Self, String> {
        let mut experiment = self.clone();
        for change in tried {
            if let Some(model) = change.model().filter(|model| !self.models().contains(model)) {
                let known: Vec<&str> = self.models().into_iter().map(GroupName::as_str).collect();
                return Err(format!(
                    "`{}`: no model `{model}` is asked here; known: {}",
                    change.told(),
                    known.join(", ")
                ));
            }
            match change {
                WhatIf::Batch(0) => experiment.file.batch = None,
                WhatIf::Batch(tokens) => {
                    let at = experiment.file.inputs.path.at.clone();
                    let fresh = BatchShape { at, max_tokens: *tokens, instruction_tokens: 500, instructions: None };
                    experiment.file.batch.get_or_insert(fresh).max_tokens = *tokens;
                }
                WhatIf::Repetitions(times) => experiment.repeat(*times),
                WhatIf::AddKey(_) | WhatIf::Tpm(..) | WhatIf::Spread(_) => {}
            }
        }
        apply(tried, &self.models(), &mut experiment.settings);
        Ok(experiment)
    }
}

/// Changes a gateway's settings; these models are asked.
pub(super) fn apply(tried: &[WhatIf], models: &BTreeSet<&GroupName>, settings: &mut Settings) {
    for (place, change) in tried.iter().enumerate() {
        let others = if let WhatIf::Spread(model) = change { others(model, models, settings) } else { Vec::new() };
        let Some(group) = change.model().and_then(|model| settings.catalog.groups.get_mut(model)) else { continue };
        let group = Arc::make_mut(group);
        match change {
            WhatIf::Tpm(_, limit) => {
                for deployment in &mut group.deployments {
                    let limits = &mut Arc::make_mut(deployment).limits;
                    limits.limits[Dimension::Tokens] = Some(*limit);
                }
            }
            WhatIf::AddKey(_) => {
                if let Some(first) = group.deployments.first() {
                    group.deployments.push(Arc::new(another(first, place)));
                }
            }
            WhatIf::Spread(_) => group.deployments.extend(others),
            WhatIf::Batch(_) | WhatIf::Repetitions(_) => {}
        }
    }
}

/// The deployments of the other models that are asked: with their own limits, which they share with what is asked of them.
fn others(model: &GroupName, models: &BTreeSet<&GroupName>, settings: &Settings) -> Vec<Arc<Deployment>> {
    let groups = settings.catalog.groups.iter().filter(|(name, _)| *name != model && models.contains(name));
    groups.flat_map(|(_, group)| group.deployments.iter().cloned()).collect()
}

/// The same model by another account.
fn another(deployment: &Deployment, place: usize) -> Deployment {
    let id = DeploymentId::from(format!("{}-another-key-{}", deployment.id, place + 1));
    Deployment { scope: Scope::Deployment(id.clone()), id, ..deployment.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_is_read_as_it_is_written() {
        for text in ["batch=15000", "add-key gpt", "tpm gpt=60000", "spread gpt", "repetitions=3"] {
            assert_eq!(text.parse::<WhatIf>().expect("known").told(), text);
        }
        for text in ["batch", "batch=x", "tpm gpt", "more"] {
            assert!(text.parse::<WhatIf>().is_err(), "{text}");
        }
    }
}
