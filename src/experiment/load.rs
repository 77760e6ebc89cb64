//! From a file to an experiment whose every part was found. All that is missing is told together, each at its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, json};

use super::inputs::{read, text_of};
use super::items::items;
use super::prompt::names;
use super::{Experiment, Run, Text};
use crate::catalog::Pattern;
use crate::config::{
    self, ExperimentFile, Located, Problem, Problems, RunShape, Settings, Spot, Subset, VariableValue, load_experiment,
};
use crate::id::GroupName;
use crate::policy::{Digest, SettingsSchema};

/// The variable of a run's `framework`.
const FRAMEWORK: &str = "framework";

/// Reads the experiment at `path` and all it names. `config`: another configuration than the one it names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, config: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Experiment, Problems> {
    let mut file = load_experiment(path, env)?;
    if let Some(config) = config {
        let at = Spot { file: path.display().to_string().into(), line: 0, column: 0 };
        file.config = Some(Located { value: config.to_owned(), at });
    }
    let loaded = match &file.config {
        Some(config) => config::load(&config.value, env),
        None => config::builtin(env),
    };
    let config::Loaded { settings, left_out, .. } = loaded?;
    let (mut problems, mut sources) = (Vec::new(), BTreeMap::new());
    if let Err(why) = text_of(path, &mut sources) {
        problems.push(Spot { file: path.display().to_string().into(), line: 0, column: 0 }.problem(why, ""));
    }
    if let Some(config) = &file.config
        && let Err(why) = text_of(&config.value, &mut sources)
    {
        problems.push(config.at.problem(why, ""));
    }
    if let Err(problem) = read_schema(&mut file, &mut sources) {
        problems.push(problem);
    }
    let texts = Arc::new(read(&file.inputs, &mut sources, &mut problems));
    let mut experiment =
        Experiment { file, settings, texts, runs: Vec::new(), items: Vec::new(), digest: String::new(), sources };
    let found = problems.len();
    experiment.resolve(&mut problems);
    if problems.len() > found {
        // A model that is missing may be one of these.
        problems.extend(left_out);
    }
    experiment.check(&mut problems);
    match Problems::collect(problems) {
        Some(problems) => Err(problems),
        None => Ok(experiment),
    }
}

impl Experiment {
    fn resolve(&mut self, problems: &mut Vec<Problem>) {
        let ExperimentFile { variables, runs, .. } = &self.file;
        let mut shared = Map::new();
        for variable in variables {
            let value = match &variable.value {
                VariableValue::Inline(value) => value.clone(),
                VariableValue::File(path) => match text_of(path, &mut self.sources) {
                    Ok(text) => text.into(),
                    Err(why) => {
                        problems.push(variable.at.problem(why, "paths are beside the experiment's file"));
                        continue;
                    }
                },
            };
            shared.insert(variable.name.clone(), value);
        }
        let shared = Arc::new(shared);
        for shape in runs {
            let Some(model) = group(&self.settings, &shape.model.value) else {
                problems.push(unknown(&self.settings, shape));
                continue;
            };
            let mut variables = Arc::clone(&shared);
            if let Some(framework) = &shape.framework {
                match text_of(&framework.value, &mut self.sources) {
                    Ok(text) => {
                        Arc::make_mut(&mut variables).insert(FRAMEWORK.to_owned(), text.into());
                    }
                    Err(why) => problems.push(framework.at.problem(why, "paths are beside the experiment's file")),
                }
            }
            let texts = chosen(&self.texts, shape.subset.as_ref(), problems);
            let parameters = shape.parameters.clone();
            self.runs.push(Run { id: shape.id.clone(), model, parameters, variables, texts });
        }
        self.list();
    }

    /// Lists its items.
    fn list(&mut self) {
        let schema = self.file.schema.as_ref().map(|schema| &schema.value);
        let prompt = json!([self.builder(), self.parser(), self.file.seed, schema, self.file.send_schema]);
        self.items = items(&self.texts, &self.runs, self.file.repetitions, &prompt);
        let ids: Vec<&str> = self.items.iter().map(|item| item.id.as_str()).collect();
        let models: Vec<serde_json::Value> = self.models().into_iter().map(|name| self.who_answers(name)).collect();
        self.digest = Digest::of(json!([ids, models]).to_string().as_bytes()).to_string();
    }

    /// What stands behind the name of a model, as far as results hang on it: who is asked, and the group's own policies that are used.
    fn who_answers(&self, name: &GroupName) -> serde_json::Value {
        let Some(group) = self.settings.catalog.groups.get(name) else { return json!(null) };
        let asked: BTreeSet<String> =
            group.deployments.iter().map(|one| format!("{}/{}", one.provider, one.model)).collect();
        let builder = group.builder.as_ref().filter(|_| self.builder().is_none());
        let parser = group.parser.as_ref().filter(|_| self.parser().is_none());
        json!([
            asked,
            builder.map(|own| json!([own.policy, &*own.settings])),
            parser.map(|own| json!([own.policy, &*own.settings]))
        ])
    }

    /// Asks each text so often.
    pub(super) fn repeat(&mut self, times: u32) {
        self.file.repetitions = times;
        self.list();
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        if let Some(budget) = &self.file.budget {
            let groups = self.runs.iter().filter_map(|run| self.settings.catalog.groups.get(&run.model));
            let unknown: BTreeSet<&str> = groups
                .flat_map(|group| &group.deployments)
                .filter(|deployment| deployment.charged_prices().is_none())
                .map(|deployment| deployment.id.as_str())
                .collect();
            if !unknown.is_empty() {
                let named = unknown.into_iter().collect::<Vec<_>>().join(", ");
                let message = format!("nobody knows what a request costs at {named}, and a budget counts it");
                let hint = "set `input_cost_per_token` and `output_cost_per_token` (0 is free), or `witgate.unknown_price: estimate`";
                problems.push(budget.at.problem(message, hint));
            }
        }
        let columns = self.columns();
        let templates = [&self.file.system, &self.file.user].into_iter().flatten();
        for template in templates.filter(|_| !self.texts.is_empty()) {
            for name in names(&template.value) {
                let known = |run: &Run| columns.contains(name) || run.variables.contains_key(name);
                if let Some(run) = self.runs.iter().find(|run| !known(run)) {
                    let known: BTreeSet<&str> =
                        columns.iter().copied().chain(run.variables.keys().map(String::as_str)).collect();
                    let message = format!(
                        "`{{{{{name}}}}}` is neither a column of every text nor a variable of the run `{}`",
                        run.id
                    );
                    let hint = format!("known: {}", known.into_iter().collect::<Vec<_>>().join(", "));
                    problems.push(template.at.problem(message, hint));
                }
            }
        }
        if let Some(system) = self.file.system.as_ref().filter(|_| self.file.batch.is_some()) {
            let named = names(&system.value);
            let variable = |name: &&&str| self.runs.iter().all(|run| run.variables.contains_key(**name));
            if let Some(column) = columns.iter().find(|name| named.contains(**name) && !variable(name)) {
                let message =
                    format!("`{{{{{column}}}}}` is a column, and a batch has one system message for several texts");
                problems.push(system.at.problem(message, "name columns in `prompt.user`"));
            }
        }
        if !self.has_prompt() && self.file.batch.is_none() {
            let without =
                |run: &&Run| self.settings.catalog.groups.get(&run.model).is_none_or(|group| group.builder.is_none());
            if let Some(run) = self.runs.iter().find(without) {
                let message =
                    format!("there is no `prompt`, and the group `{}` has no prompt builder of its own", run.model);
                problems.push(self.file.inputs.path.at.problem(message, "prompt: {user: \"{{text}}\"}"));
            }
        }
        if let (Some(schema), Some(_)) = (&self.file.schema, &self.file.batch)
            && let Err(why) = SettingsSchema::read(schema.value.to_string().as_bytes())
        {
            let message = format!("elements of a batch cannot be checked by this schema: {why}");
            let hint = "of a batch: type, properties, required, additionalProperties, enum, minimum, maximum, items, minLength";
            problems.push(schema.at.problem(message, hint));
        }
    }
}

/// Puts the schema that `schema: {file: FILE}` names in its place.
fn read_schema(file: &mut ExperimentFile, sources: &mut BTreeMap<String, String>) -> Result<(), Problem> {
    let Some(schema) = &mut file.schema else { return Ok(()) };
    let named =
        schema.value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.get("file")?.as_str());
    let Some(named) = named else { return Ok(()) };
    let beside = Path::new(&*schema.at.file).parent().unwrap_or(Path::new("")).join(named);
    let text =
        text_of(&beside, sources).map_err(|why| schema.at.problem(why, "paths are beside the experiment's file"))?;
    let read: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if !read.is_object() {
        return Err(schema.at.problem(format!("{}: it is no JSON schema", beside.display()), ""));
    }
    schema.value = read;
    Ok(())
}

/// The group that serves `model`.
fn group(settings: &Settings, model: &str) -> Option<GroupName> {
    let groups = &settings.catalog.groups;
    let named = groups.get_key_value(model).map(|(name, _)| name.clone());
    named.or_else(|| Some(settings.aliases.get(model)?.group.clone()))
}

fn unknown(settings: &Settings, shape: &RunShape) -> Problem {
    let known: Vec<&str> = settings.catalog.groups.keys().map(GroupName::as_str).take(20).collect();
    let message = format!("no model is named `{}` in the gateway's configuration", shape.model.value);
    shape.model.at.problem(message, format!("known: {}", known.join(", ")))
}

fn chosen(texts: &[Text], subset: Option<&Located<Subset>>, problems: &mut Vec<Problem>) -> Vec<usize> {
    let Some(subset) = subset else { return (0..texts.len()).collect() };
    let chosen: Vec<usize> = match &subset.value {
        Subset::First(count) => (0..texts.len().min(usize::try_from(*count).unwrap_or(usize::MAX))).collect(),
        Subset::Named(names) => {
            let mut chosen = Vec::new();
            for name in names {
                match texts.iter().position(|text| text.id == *name) {
                    Some(text) if chosen.contains(&text) => {
                        problems
                            .push(subset.at.problem(format!("`{name}` is named twice"), "`repetitions` asks again"));
                    }
                    Some(text) => chosen.push(text),
                    None if texts.is_empty() => {}
                    None => problems.push(subset.at.problem(format!("no text is named `{name}`"), "")),
                }
            }
            chosen
        }
        Subset::Pattern(pattern) => match Pattern::parse(pattern) {
            Some(fits) => (0..texts.len()).filter(|text| fits.parts(&texts[*text].id).is_some()).collect(),
            None => (0..texts.len()).filter(|text| texts[*text].id == *pattern).collect(),
        },
    };
    if chosen.is_empty() && !texts.is_empty() {
        problems.push(
            subset.at.problem("no text is among these", "names of texts are those of their files, or of `inputs.id`"),
        );
    }
    chosen
}
