//! Experiments: a list of texts, asked of several models, planned before a cent is spent and carried out to the end.
//!
//! The rule: nothing of the gateway is here a second time. Every call of an experiment is a request to the pipeline, in this process. A
//! plan is the same list of calls through the same pipeline on virtual time, its providers simulated; a run is it on the system's
//! time, and keeps the state of every item before and after its call. Items have names that follow from what they ask, so that a run
//! that is started again knows what is answered already.
//!
//! Who assembles a gateway is given ([`Assemble`]): an experiment changes its settings, and knows no sockets.

mod adjust;
mod answer;
mod budget;
mod execute;
mod found;
mod heard;
mod inputs;
mod items;
mod keeping;
mod left;
mod load;
mod looking;
mod manifest;
mod plan;
mod planned;
mod progress;
mod prompt;
mod report;
mod results;
mod runner;
mod what_if;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::config::{ExperimentFile, Settings};
use crate::id::GroupName;
use crate::pipeline::Gateway;
use crate::reload::Adjust;
use crate::upstream::Upstream;

pub(crate) use adjust::spoken_as_simulated;
pub use adjust::{for_plan, for_run, ledger_in, patient};
pub use answer::{Answer, End, Failure};
pub use execute::{RunFolder, Worker};
pub use heard::Heard;
pub use items::{Call, Item};
pub use keeping::Journal;
pub use load::load;
pub use looking::{Look, SharedMark, look};
pub use plan::{Figures, ModelPlan, NeverFits, Plan, Recommendation, plan};
pub(crate) use plan::{limit_per_minute, number};
pub use planned::{Expectation, Expectations};
pub use progress::{ModelProgress, Progress};
pub(crate) use report::{Axes, Curve, STYLE, by_minute, curves, escaped};
pub use runner::{Finish, Runner};
pub use what_if::WhatIf;

/// What a gateway for an experiment is made of: the change of its settings, what carries calls to providers (`None`: the network), and the
/// clock.
pub struct Wanted {
    /// The change.
    pub adjust: Adjust,
    /// Where calls go.
    pub upstream: Option<Arc<dyn Upstream>>,
    /// The clock.
    pub clock: Clock,
}

/// Assembles a gateway over the experiment's configuration.
pub type Assemble<'a> = dyn Fn(Wanted) -> Result<Gateway, Vec<String>> + 'a;

/// An experiment whose every part was found.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What its file says.
    pub file: ExperimentFile,
    /// What the gateway's configuration says.
    pub settings: Settings,
    /// The texts, in their order.
    pub texts: Arc<Vec<Text>>,
    /// The runs, in their order.
    pub runs: Vec<Run>,
    /// What is asked: each text of each run, as often as it is repeated.
    pub items: Vec<Item>,
    /// Tells this experiment from any other: of all its items, in order.
    pub digest: String,
    /// Digests of the files it was read from, by their names.
    pub sources: BTreeMap<String, String>,
}

/// One text, with its columns.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its name.
    pub id: String,
    /// What prompts may name.
    pub fields: Map<String, Value>,
}

/// A model, its parameters, and its texts.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// The group that is asked.
    pub model: GroupName,
    /// Fields of its requests.
    pub parameters: Map<String, Value>,
    /// What prompts may name beside columns.
    pub variables: Arc<Map<String, Value>>,
    /// Which texts, by place.
    pub texts: Vec<usize>,
}

impl Experiment {
    /// The groups it asks.
    #[must_use]
    pub fn models(&self) -> BTreeSet<&GroupName> {
        self.runs.iter().map(|run| &run.model).collect()
    }

    /// The run of an item.
    #[must_use]
    pub fn run_of(&self, item: usize) -> &Run {
        &self.runs[self.items[item].run]
    }

    /// The model of the first deployment of a group, by whose encoding texts are counted beforehand.
    fn counted_as(&self, group: &GroupName) -> &str {
        let group = self.settings.catalog.groups.get(group);
        group.and_then(|group| group.deployments.first()).map_or("", |deployment| &*deployment.model)
    }
}

#[cfg(test)]
mod tests;
