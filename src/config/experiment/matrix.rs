//! `matrix`: models and parameters, each with each; or a list of runs. `execution.matrix` is the same.

use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::{Located, Reading, Spot};
use crate::config::reader::FROM_ENVIRONMENT;
use crate::config::section::{Kind, Section};
use crate::config::yaml::{Node, Value};

/// One run: a model with parameters over some of the texts.
#[derive(Clone, Debug)]
pub struct RunShape {
    /// What results call it.
    pub id: String,
    /// Where it stands.
    pub at: Spot,
    /// The group that is asked.
    pub model: Located<String>,
    /// Which texts.
    pub subset: Option<Located<Subset>>,
    /// The file of the variable `framework`, for this run.
    pub framework: Option<Located<PathBuf>>,
    /// Fields of its requests: `temperature`, `max_tokens` and so on.
    pub parameters: Map<String, Json>,
}

/// Some of the texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Subset {
    /// The first so many.
    First(u64),
    /// Those with these names.
    Named(Vec<String>),
    /// Those whose names fit, `*` standing for any letters.
    Pattern(String),
}

impl<'r, 'e> Reading<'r, 'e> {
    /// Every run of the file.
    pub(super) fn runs(&self, top: &mut Section<'r, 'e>) -> Vec<RunShape> {
        let own = top.descend("matrix", Kind::Any);
        let node = if top.get("execution", Kind::Any).is_some() {
            let mut execution = top.inner("execution", "execution");
            let matrix = execution.descend("matrix", Kind::Any);
            execution.finish();
            own.or(matrix)
        } else {
            own
        };
        let Some(node) = node else {
            let hint = "matrix: {models: [NAME]}";
            top.places.error_at("matrix", "`matrix` does not say which models are asked", hint);
            return Vec::new();
        };
        let runs = match &node.value {
            Value::List(items) => items.iter().filter_map(|item| self.run(item)).collect(),
            _ => self.product(node),
        };
        self.doubled(&runs);
        if runs.is_empty() && self.reader.is_sound() {
            self.reader.problem(node.at, "`matrix` has no run", "matrix: {models: [NAME]}");
        }
        runs
    }

    /// Two runs of one name could not be told apart in the results.
    fn doubled(&self, runs: &[RunShape]) {
        for (number, run) in runs.iter().enumerate() {
            if let Some(first) = runs[..number].iter().find(|first| first.id == run.id) {
                let at = crate::config::yaml::Place { file: 0, line: run.at.line, column: run.at.column };
                let message = format!("two runs are named `{}`; the first in line {}", run.id, first.at.line);
                self.reader.problem(at, message, "give each a `run_id` of its own");
            }
        }
    }

    /// Models × parameters.
    fn product(&self, node: &'r Node) -> Vec<RunShape> {
        let mut section = self.reader.section(node, "matrix", "matrix").strict();
        let models = section.get("models", Kind::Texts).map_or(&[] as &[Node], |node| self.reader.list(node, "models"));
        let parameters =
            section.get("parameters", Kind::List).map_or(&[] as &[Node], |node| self.reader.list(node, "parameters"));
        section.finish();
        let sets: Vec<Map<String, Json>> = match parameters {
            [] => vec![Map::new()],
            some => some.iter().map(|node| self.parameters(node)).collect(),
        };
        let mut runs = Vec::new();
        for model in models {
            let Some(name) = self.reader.text(model, "models") else { continue };
            for (number, parameters) in sets.iter().enumerate() {
                let id = if sets.len() > 1 { format!("{name}-{}", number + 1) } else { name.clone() };
                let at = self.spot(model.at);
                let model = Located { value: name.clone(), at: at.clone() };
                runs.push(RunShape { id, at, model, subset: None, framework: None, parameters: parameters.clone() });
            }
        }
        runs
    }

    fn run(&self, node: &'r Node) -> Option<RunShape> {
        let mut section = self.reader.section(node, "matrix", "matrix").strict();
        let model = self.located(&mut section, "model");
        let id = section.text("run_id");
        let framework = self.path(&mut section, "framework");
        let subset = section.get("corpus_subset", Kind::Any).and_then(|node| self.subset(node));
        let parameters = section.get("parameters", Kind::Map);
        let parameters = parameters.map(|node| self.parameters(node)).unwrap_or_default();
        if model.is_none() {
            section.places.error_at("model", "a run needs a `model`", "");
        }
        section.finish();
        let model = model?;
        let id = id.unwrap_or_else(|| model.value.clone());
        Some(RunShape { id, at: self.spot(node.at), model, subset, framework, parameters })
    }

    /// Fields of requests. None is looked up in the environment: the manifest, which is there to be shown, tells them.
    fn parameters(&self, node: &'r Node) -> Map<String, Json> {
        let entries = self.reader.map(node, "parameters");
        for entry in entries {
            if names_variable(&entry.node) {
                let message = format!("`{}` names a variable, and parameters stand in the run's manifest", entry.key);
                self.reader.problem(entry.node.at, message, "write the value itself");
            }
            let (key, one) = (entry.key.as_str(), matches!(entry.node.value, Value::Integer(1)));
            if key == "num_retries" || (key == "n" && !one) {
                let message = format!(
                    "`{key}` is not a run's to set: of a request one reply is read, and paid for as often as it is asked for"
                );
                self.reader.problem(
                    entry.node.at,
                    message,
                    "`repetitions`, or `num_retries` of the gateway's configuration",
                );
            }
        }
        entries.iter().map(|entry| (entry.key.clone(), self.reader.json(&entry.node))).collect()
    }

    fn subset(&self, node: &'r Node) -> Option<Located<Subset>> {
        let value = match &node.value {
            Value::Integer(first) => Subset::First(u64::try_from(*first).ok()?),
            Value::Text(all) if all == "all" => return None,
            Value::Text(pattern) => Subset::Pattern(pattern.clone()),
            Value::List(items) => {
                Subset::Named(items.iter().filter_map(|item| self.reader.text(item, "corpus_subset")).collect())
            }
            _ => {
                let wanted = "a number of texts, a list of their names, or a pattern with `*`";
                self.reader.mismatch(node, "corpus_subset", wanted);
                return None;
            }
        };
        Some(Located { value, at: self.spot(node.at) })
    }
}

fn names_variable(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.starts_with(FROM_ENVIRONMENT),
        Value::List(items) => items.iter().any(names_variable),
        Value::Map(entries) => entries.iter().any(|entry| names_variable(&entry.node)),
        _ => false,
    }
}
