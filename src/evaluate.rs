//! Routers judged before they decide anything: on data that say what every model's reply to every prompt was worth.
//!
//! The rule: no learner is here a second time. Routers are components, run by the host's own instance as a replay runs them, told of a
//! prompt what the gateway would tell (features are computed by the same code), and told afterwards what the model they chose replied.
//! Rules that need no component (random, always one model, the best in hindsight) are there to compare with.
//!
//! Or on what a gateway did: the log of its decisions, with the probabilities of its choices, says what another router would have got
//! (`log`, `estimate`).
//!
//! What is compared is a reply's worth, in the words of the router `bandit`'s settings: quality less cost and latency ([`Objective`]).

mod contender;
mod data;
mod estimate;
mod figures;
mod log;
mod log_show;
mod objective;
mod page;
mod show;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::builtin_policies::SHIPPED;
use crate::id::PolicyName;
use crate::policy::{Component, Engine, EngineOptions};
use crate::seed;

pub use data::{DataSet, Example, Replied};
pub use estimate::{Estimate, Estimates};
pub use figures::{Figures, Interval};
pub use log::{LogQuestion, LogReport, Share, evaluate_log, no_worse_by};
pub use log_show::{LogTable, log_page};
pub use objective::Objective;
pub use page::page;
pub use show::Table;

pub use contender::{Chosen, Played, Rule, play_rule};
pub use figures::figures;

use contender::{needs, play};

/// Fuel of one call: a second's work, as in replays.
const FUEL: u64 = 1_000_000_000;
/// The router that learns.
pub const LEARNER: &str = "bandit";
/// Its algorithms; the setting that chooses one.
const ALGORITHMS: [&str; 4] = ["ucb1", "linucb", "thompson", "ucb1-linucb"];
const ALGORITHM: &str = "algorithm";

/// How routers are compared on data.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// A shipped router's name or a component's file that is compared too.
    pub router: Option<String>,
    /// Its settings, or the learner's where no other router is named: a JSON object.
    pub settings: Map<String, Value>,
    /// How often everything is played, each time in another order and with other draws.
    pub seeds: u32,
    /// The parent of all draws.
    pub seed: u64,
    /// Prompts come in the order of the file each time.
    pub in_order: bool,
}

/// What came of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Prompts of the data.
    pub prompts: usize,
    /// Models, in the order of the data.
    pub models: Vec<String>,
    /// Times that each contender played.
    pub seeds: u32,
    /// What a reply's worth was taken for.
    pub objective: Objective,
    /// The contenders.
    pub contenders: Vec<Figures>,
}

/// A router that is run by its component, with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// What it is called where it is shown.
    pub name: String,
    /// A shipped router's name, or a component's file.
    pub router: String,
    /// Its settings, a JSON object.
    pub settings: Value,
}

/// Plays all contenders over the data.
///
/// # Errors
/// A router cannot be loaded or set up, or the settings make no sense.
pub fn compare(data: &DataSet, comparison: &Comparison) -> Result<Evaluation, String> {
    let objective = Objective::of(&comparison.settings)?;
    let orders: Vec<(u64, Vec<usize>)> = (0..comparison.seeds).map(|n| order(data, comparison, n)).collect();
    let mut played: Vec<(String, Vec<Played>)> = Vec::new();
    for rule in Rule::ALL {
        let runs = orders.iter().map(|(seed, order)| play_rule(rule, data, order, &objective, *seed));
        played.push((rule.as_str().to_owned(), runs.collect()));
    }
    let mut players = Players::new()?;
    for contender in contenders(comparison) {
        let runs = orders.iter().map(|(seed, order)| players.play(&contender, data, order, *seed));
        let runs = runs.collect::<Result<_, _>>()?;
        played.push((contender.name, runs));
    }
    let contenders = played.iter().map(|(name, runs)| figures(name, runs, data, &objective)).collect();
    Ok(Evaluation {
        prompts: data.examples.len(),
        models: data.models.clone(),
        seeds: comparison.seeds,
        objective,
        contenders,
    })
}

/// Those that are run by their component: the learner with every algorithm, then the one that is asked about.
fn contenders(comparison: &Comparison) -> Vec<Contender> {
    let other = comparison.router.as_ref().filter(|router| router.as_str() != LEARNER);
    let shared = if other.is_some() { Map::new() } else { comparison.settings.clone() };
    let learner = |algorithm: &&str| {
        let mut settings = shared.clone();
        settings.insert(ALGORITHM.to_owned(), json!(algorithm));
        Contender { name: (*algorithm).to_owned(), router: LEARNER.to_owned(), settings: Value::Object(settings) }
    };
    let mut contenders: Vec<_> = ALGORITHMS.iter().map(learner).collect();
    contenders.extend(other.map(|router| {
        let name = Path::new(router).file_stem().map_or_else(|| router.clone(), |stem| stem.display().to_string());
        Contender { name, router: router.clone(), settings: Value::Object(comparison.settings.clone()) }
    }));
    contenders
}

/// What plays contenders: their components, loaded once.
pub struct Players {
    engine: Engine,
    loaded: BTreeMap<String, Arc<Component>>,
}

impl Players {
    /// None is loaded yet.
    ///
    /// # Errors
    /// There is no engine on this machine.
    pub fn new() -> Result<Self, String> {
        Ok(Self { engine: engine()?, loaded: BTreeMap::new() })
    }

    /// Plays one over the prompts of an order.
    ///
    /// # Errors
    /// It cannot be loaded or set up, or does not answer.
    pub fn play(
        &mut self,
        contender: &Contender,
        data: &DataSet,
        order: &[usize],
        seed: u64,
    ) -> Result<Played, String> {
        let Contender { name, router, settings } = contender;
        let component = match self.loaded.get(router) {
            Some(component) => Arc::clone(component),
            None => Arc::clone(self.loaded.entry(router.clone()).or_insert(component(&self.engine, router)?)),
        };
        play(&component, settings, data, order, seed).map_err(|why| format!("{name}: {why}"))
    }

    /// What the learner is told of each prompt.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn features(&self, data: &DataSet) -> Result<Vec<Vec<f32>>, String> {
        let needs = needs(&component(&self.engine, LEARNER)?, data)?;
        Ok(data.examples.iter().map(|example| example.features(&needs)).collect())
    }
}

/// The order of the prompts when they are played for the `n`th time, and the parent of its draws.
#[must_use]
pub fn order(data: &DataSet, comparison: &Comparison, n: u32) -> (u64, Vec<usize>) {
    let own = seed::derive(comparison.seed, n.into());
    let mut order: Vec<usize> = (0..data.examples.len()).collect();
    if !comparison.in_order {
        order.sort_by_key(|place| seed::derive(own, *place as u64));
    }
    (own, order)
}

/// What runs the components.
///
/// # Errors
/// There is no engine on this machine.
fn engine() -> Result<Engine, String> {
    let options = EngineOptions { fuel: Some(FUEL), ..EngineOptions::default() };
    Engine::new(options).map_err(|problem| problem.to_string())
}

/// A shipped router by its name, or a component by its file.
///
/// # Errors
/// There is none, or it cannot be loaded.
fn component(engine: &Engine, router: &str) -> Result<Arc<Component>, String> {
    if let Some((name, bytes)) = SHIPPED.iter().find(|(name, _)| *name == router) {
        return engine.load(&PolicyName::from(*name), bytes).map_err(|problem| format!("`{name}`: {problem}"));
    }
    let path = Path::new(router);
    let bytes = fs::read(path).map_err(|fault| {
        format!("{router}: {fault}\nhint: a router is the name of one that is built in, or the file of a component")
    })?;
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    engine.load(&PolicyName::from(name), &bytes).map_err(|problem| format!("{router}: {problem}"))
}
