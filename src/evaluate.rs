//! Routers judged before they decide anything: on data that say what every model's reply to every prompt was worth.
//!
//! The rule: no learner is here a second time. Routers are components, run by the host's own instance as a replay runs them, told of a
//! prompt what the gateway would tell (features are computed by the same code), and told afterwards what the model they chose replied.
//! Rules that need no component (random, always one model, the best in hindsight) are there to compare with.
//!
//! What is compared is a reply's worth, in the words of the router `bandit`'s settings: quality less cost and latency ([`Objective`]).

mod contender;
mod data;
mod figures;
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
pub use figures::{Figures, Interval};
pub use objective::Objective;
pub use page::page;
pub use show::Table;

use contender::{Chosen, Played, Rule, play, play_rule};
use figures::figures;

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
    let engine = engine()?;
    let mut loaded: BTreeMap<String, Arc<Component>> = BTreeMap::new();
    for (name, router, settings) in routers(comparison) {
        let component = match loaded.get(&router) {
            Some(component) => Arc::clone(component),
            None => Arc::clone(loaded.entry(router.clone()).or_insert(component(&engine, &router)?)),
        };
        let runs = orders.iter().map(|(seed, order)| play(&component, &settings, data, order, *seed));
        let runs = runs.collect::<Result<_, _>>().map_err(|why| format!("{name}: {why}"))?;
        played.push((name, runs));
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

/// Name, router and settings of each that is run by its component: the learner with every algorithm, then the one that is asked about.
fn routers(comparison: &Comparison) -> Vec<(String, String, Value)> {
    let other = comparison.router.as_ref().filter(|router| router.as_str() != LEARNER);
    let shared = if other.is_some() { Map::new() } else { comparison.settings.clone() };
    let learner = |algorithm: &&str| {
        let mut settings = shared.clone();
        settings.insert(ALGORITHM.to_owned(), json!(algorithm));
        ((*algorithm).to_owned(), LEARNER.to_owned(), Value::Object(settings))
    };
    let mut routers: Vec<_> = ALGORITHMS.iter().map(learner).collect();
    routers.extend(other.map(|router| {
        let name = Path::new(router).file_stem().map_or_else(|| router.clone(), |stem| stem.display().to_string());
        (name, router.clone(), Value::Object(comparison.settings.clone()))
    }));
    routers
}

/// The order of the prompts when they are played for the `n`th time, and the parent of its draws.
fn order(data: &DataSet, comparison: &Comparison, n: u32) -> (u64, Vec<usize>) {
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
