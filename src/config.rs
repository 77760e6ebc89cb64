//! Configuration: LiteLLM's file format with sections of our own, read whole or not at all.
//!
//! A file becomes [`Settings`] in which every default is filled in, and a report that grades every key of it
//! (exact, approximate, not yet, unsupported): nothing is passed over in silence. Where anything is wrong, all
//! problems of the file are told together, with line, column and what to do.
//!
//! What is ours stands under the one top-level key `witgate`, which LiteLLM passes over. An unknown key there is
//! a problem; in LiteLLM's own sections it is reported only, since its newer versions have keys we do not know.
//!
//! The environment is an argument. Secrets are wrapped as soon as they are read and never told.

use std::path::Path;

mod builtin;
mod compose;
mod experiment;
mod models;
mod problem;
mod providers;
mod reader;
pub mod report;
mod resolve;
mod schema;
mod section;
mod settings;
mod shape;
pub mod yaml;

pub use compose::Open;
pub use experiment::{
    BatchShape, ExpectShape, ExperimentFile, InputKind, InputShape, Located, RunShape, Spot, Subset, VariableShape,
    VariableValue, load_experiment, parse_experiment,
};
pub use models::prices_of;
pub use problem::{Problem, Problems, closest, nearest_first};
pub use report::{Grade, KeyReport};
pub use resolve::{Filled, filled, known_models};
pub use schema::schema;
pub use settings::{
    AlertSettings, Alias, BreakerSettings, DecisionSettings, LedgerSettings, PayerSettings, PayerSpec, PolicySettings,
    QueueSettings, ServerSettings, Settings, SharedLimitSettings, TeamSpec,
};

use crate::catalog::Supports;
use crate::money::Prices;
use reader::Reader;
use shape::Shape;

/// A configuration that can be served, and what became of its keys.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it comes to.
    pub settings: Settings,
    /// Every key of the file, in its order.
    pub report: Vec<KeyReport>,
    /// Deployments that are left out, and why: no key, a provider that is not spoken. All else is served.
    pub left_out: Vec<Problem>,
}

/// Reads the configuration file at `path`; `env` answers for the environment.
///
/// # Errors
/// Everything that is wrong with it, in its order; or that it cannot be read.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        Problems::one(Problem { file: file.clone(), line: 0, column: 0, message, hint: None })
    })?;
    parse_with(&text, &file, env, &|path| std::fs::read_to_string(path).map_err(|error| error.to_string()))
}

/// The same for text that is at hand. `file` is what problems call it.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    parse_with(text, file, env, &|_| Err("other files are not read here".to_owned()))
}

/// The same for text that may include other files, which `open` reads.
///
/// # Errors
/// As [`load`].
pub fn parse_with(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    open: &Open<'_>,
) -> Result<Loaded, Problems> {
    let compose::Composed { root, files, replaced, problems: mut included } = compose::compose(text, file, open)?;
    let reader = Reader::new(&files, env);
    for (key, at, by) in replaced {
        let note = format!("replaced by the same section of {}, as in LiteLLM", reader.told(by));
        let file = reader.other_file(at);
        reader.report(at, KeyReport { key, file, line: at.line, grade: Grade::Approximate, note });
    }
    let settings = read(&reader, &root);
    let (mut problems, mut left_out, report) = reader.finish();
    problems.append(&mut included);
    if problems.is_empty() && settings.catalog.groups.is_empty() {
        let message = "nothing can be called: `model_list` has no deployment".to_owned();
        let hint = Some("add one; examples/quickstart.yaml needs no key".to_owned());
        problems.push(Problem { file: file.to_owned(), line: 0, column: 0, message, hint });
    }
    if !problems.is_empty() {
        // Where the file is refused, all of it is told at once.
        problems.append(&mut left_out);
    }
    match Problems::collect(problems) {
        Some(problems) => Err(problems),
        None => Ok(Loaded { settings, report, left_out: problem::in_order(left_out) }),
    }
}

/// What is served without a file: the group `simulated`, and a group for each main model of OpenAI and Anthropic
/// where `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` is set.
///
/// # Errors
/// Where a variable it goes by cannot be used, such as an `OPENAI_BASE_URL` that is no address.
pub fn builtin(env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    parse(&builtin::text(env), builtin::FILE, env)
}

/// The provider LiteLLM would take `model` to be one of, where its name alone says.
#[must_use]
pub fn provider_of(model: &str) -> Option<&'static str> {
    match providers::find(model, None, None) {
        providers::Found::Spoken(row, _) => Some(&row.name),
        _ => None,
    }
}

/// What is publicly known of a provider's model that no entry of a configuration names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownModel {
    /// `None` is unknown, which is not free.
    pub prices: Option<Prices>,
    /// Input tokens it takes.
    pub context_window: Option<u32>,
    /// Output tokens it gives at most.
    pub max_output_tokens: Option<u32>,
    /// The version of the provider's API that it needs.
    pub api_version: Option<String>,
    /// What it does beside text.
    pub supports: Supports,
}

/// What is known of `model` of `provider`, as the table of models names it.
fn known_model(provider: &str, model: &str) -> KnownModel {
    let row = models::of_provider(provider, model);
    KnownModel {
        prices: row.and_then(models::Model::prices),
        context_window: row.and_then(|row| row.max_input),
        max_output_tokens: row.and_then(|row| row.max_output),
        api_version: models::api_version(provider, model).map(str::to_owned),
        supports: row.map(models::Model::supports).unwrap_or_default(),
    }
}

fn read(reader: &Reader<'_>, root: &yaml::Node) -> Settings {
    let mut doubled = Vec::new();
    yaml::duplicates(root, &mut doubled);
    for (at, key, first) in doubled {
        let message = format!("`{key}` is written twice; first in line {}", first.line);
        reader.problem(at, message, "YAML tools take the last one in silence: remove one");
    }
    resolve::settings(reader, Shape::read(reader, root))
}

#[cfg(test)]
mod tests;
