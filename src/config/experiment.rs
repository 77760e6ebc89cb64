//! The experiment file: which texts go to which models, with what prompt, within what budget.
//!
//! It is read as the configuration is: whole or not at all, every problem with its line and column. What it names (files, columns, models)
//! is looked for by whoever carries the experiment out, who reports what is missing at the same places: each value that can be
//! wrong in that way keeps where it stands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::problem::{Problem, Problems};
use super::reader::Reader;
use super::section::{Kind, Section};
use super::yaml::{self, Node, Place};

mod matrix;

pub use matrix::{RunShape, Subset};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl Spot {
    /// A problem here; an empty hint is none.
    #[must_use]
    pub fn problem(&self, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        let hint = hint.into();
        Problem {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            message: message.into(),
            hint: (!hint.is_empty()).then_some(hint),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Spot,
}

/// What an experiment file says, defaults filled in.
#[derive(Clone, Debug)]
pub struct ExperimentFile {
    /// Its name; the file's stem unless given.
    pub name: String,
    /// The gateway's configuration; `None`: the built-in one.
    pub config: Option<Located<PathBuf>>,
    /// The texts.
    pub inputs: InputShape,
    /// What prompts name beside the columns of the texts.
    pub variables: Vec<VariableShape>,
    /// The template of the system message.
    pub system: Option<Located<String>>,
    /// The template of the user's message.
    pub user: Option<Located<String>>,
    /// Every run: a model, its parameters and its texts.
    pub runs: Vec<RunShape>,
    /// How often each text is asked about in each run.
    pub repetitions: u32,
    /// The parent of the seeds that models are given; `None` gives none.
    pub seed: Option<u64>,
    /// The schema of what is to come back for each text.
    pub schema: Option<Located<Value>>,
    /// Whether models are sent the schema too.
    pub send_schema: bool,
    /// Several texts in one call; `None`: each alone.
    pub batch: Option<BatchShape>,
    /// What may be spent, in dollars.
    pub budget: Option<Located<f64>>,
    /// How long it may take.
    pub deadline: Option<Located<Duration>>,
    /// What is expected of replies where nothing is known.
    pub expect: ExpectShape,
    /// Calls of one model that are in flight at once, those that wait for a limit among them.
    pub concurrency: u32,
    /// How often a call is made again that failed in a way that may pass.
    pub retries: u32,
    /// The folder of results.
    pub output: Located<PathBuf>,
}

/// Where texts come from.
#[derive(Clone, Debug)]
pub struct InputShape {
    /// What they are.
    pub kind: InputKind,
    /// The folder or file.
    pub path: Located<PathBuf>,
    /// Of a folder: which files, with `*`.
    pub pattern: String,
    /// The column that names a text; `None`: the file's name, or the number of the row.
    pub id: Option<Located<String>>,
    /// The first so many alone.
    pub limit: Option<u64>,
}

/// What holds texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// A folder with one text a file, whose column is `text`.
    Folder,
    /// A file of comma-separated values, the first row naming the columns.
    Csv,
    /// A file with one JSON object a line.
    Jsonl,
}

/// A variable of prompts.
#[derive(Clone, Debug)]
pub struct VariableShape {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub at: Spot,
    /// What it is.
    pub value: VariableValue,
}

/// What a variable is.
#[derive(Clone, Debug)]
pub enum VariableValue {
    /// This.
    Inline(Value),
    /// The text of this file.
    File(PathBuf),
}

/// Several texts in one call.
#[derive(Clone, Debug)]
pub struct BatchShape {
    /// Where it stands.
    pub at: Spot,
    /// Tokens of a call, prompt and all.
    pub max_tokens: u32,
    /// Tokens kept free for the instructions.
    pub instruction_tokens: u32,
    /// What the model is to do with several texts; `None`: the builder's own words.
    pub instructions: Option<String>,
}

/// What is expected of replies: to a text, whatever the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectShape {
    /// Output tokens.
    pub output_tokens: Option<u32>,
    /// Seconds until the first token.
    pub first_token: Duration,
    /// Output tokens a second.
    pub tokens_per_second: f64,
}

/// Tokens of a batch where none are given: what prompts of several texts are usually held to.
const BATCH_TOKENS: u32 = 15_000;
const INSTRUCTION_TOKENS: u32 = 500;
const CONCURRENCY: u32 = 128;
const RETRIES: u32 = 3;

/// Reads the experiment file at `path`; `env` answers for the environment.
///
/// # Errors
/// Everything that is wrong with it, in its order; or that it cannot be read.
pub fn load_experiment(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<ExperimentFile, Problems> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        Problems::one(Problem { file: file.clone(), line: 0, column: 0, message, hint: None })
    })?;
    parse_experiment(&text, &file, env)
}

/// The same for text that is at hand. `file` is what problems call it; what it names is beside it.
///
/// # Errors
/// As [`load_experiment`].
pub fn parse_experiment(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<ExperimentFile, Problems> {
    let root = yaml::tree(text, file, 0)?;
    let files = [file.to_owned()];
    let reader = Reader::new(&files, env);
    let mut doubled = Vec::new();
    yaml::duplicates(&root, &mut doubled);
    for (at, key, first) in doubled {
        reader.problem(at, format!("`{key}` is written twice; first in line {}", first.line), "remove one");
    }
    let read = Reading { reader: &reader, file: file.into() }.file(&root);
    let (problems, ..) = reader.finish();
    match (Problems::collect(problems), read) {
        (None, Some(read)) => Ok(read),
        (Some(problems), _) => Err(problems),
        // What is missing is a problem of its own.
        (None, None) => Err(Problems::one(Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: "it is no experiment".to_owned(),
            hint: None,
        })),
    }
}

/// Reads one file.
struct Reading<'r, 'e> {
    reader: &'r Reader<'e>,
    file: Arc<str>,
}

impl<'r, 'e> Reading<'r, 'e> {
    fn spot(&self, at: Place) -> Spot {
        Spot { file: Arc::clone(&self.file), line: at.line, column: at.column }
    }

    /// A path, beside the file.
    fn beside(&self, name: &str) -> PathBuf {
        Path::new(&*self.file).parent().unwrap_or(Path::new("")).join(name)
    }

    fn located(&self, section: &mut Section<'r, 'e>, key: &'static str) -> Option<Located<String>> {
        let node = section.get(key, Kind::Text)?;
        let value = self.reader.text(node, key)?;
        Some(Located { value, at: self.spot(node.at) })
    }

    fn path(&self, section: &mut Section<'r, 'e>, key: &'static str) -> Option<Located<PathBuf>> {
        let Located { value, at } = self.located(section, key)?;
        Some(Located { value: self.beside(&value), at })
    }

    fn file(&self, root: &'r Node) -> Option<ExperimentFile> {
        let mut top = self.reader.section(root, "experiment", "experiment").strict();
        let stem = Path::new(&*self.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = top.text("name").or(stem).unwrap_or_else(|| "experiment".to_owned());
        let config = self.path(&mut top, "config");
        let inputs = self.inputs(&mut top);
        let variables = self.variables(&mut top);
        let mut prompt = top.inner("prompt", "prompt");
        let (system, user) = (self.located(&mut prompt, "system"), self.located(&mut prompt, "user"));
        prompt.finish();
        let runs = self.runs(&mut top);
        let repetitions = top.small("repetitions").unwrap_or(1);
        let seed = top.count("seed");
        let mut parser = top.inner("parser", "parser");
        let schema = parser.get("schema", Kind::Map);
        let schema = schema.map(|node| Located { value: self.reader.json(node), at: self.spot(node.at) });
        if let Some(schema) = schema.as_ref().filter(|schema| !schema.value.is_object()) {
            parser.places.error_at("schema", format!("`schema` is no JSON schema but {}", kind(&schema.value)), "");
        }
        let send_schema = parser.flag("send").unwrap_or(true);
        parser.finish();
        let batch = self.batch(&mut top);
        let budget_at = top.places.at;
        let budget = top.amount("budget_usd");
        let budget = budget.map(|value| Located { value, at: self.spot(place(&top, "budget_usd", budget_at)) });
        let deadline = top.amount("deadline_minutes");
        let deadline = deadline.map(|minutes| Located {
            value: Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX),
            at: self.spot(place(&top, "deadline_minutes", budget_at)),
        });
        let mut expect = top.inner("expect", "expect");
        let expected = ExpectShape {
            output_tokens: expect.small("output_tokens"),
            first_token: expect.seconds_or_none("first_token_seconds").unwrap_or(Duration::from_secs(1)),
            tokens_per_second: expect.amount("tokens_per_second").filter(|speed| *speed > 0.0).unwrap_or(60.0),
        };
        expect.finish();
        let concurrency = top.small("concurrency").unwrap_or(CONCURRENCY).max(1);
        let retries = top.small("retries").unwrap_or(RETRIES);
        let output = self.path(&mut top, "output");
        if repetitions == 0 {
            top.places.error_at("repetitions", "`repetitions` must be 1 or more", "");
        }
        let output = output.unwrap_or_else(|| Located {
            value: self.beside(&format!("{name}-results")),
            at: self.spot(top.places.at),
        });
        top.finish();
        Some(ExperimentFile {
            name,
            config,
            inputs: inputs?,
            variables,
            system,
            user,
            runs,
            repetitions,
            seed,
            schema,
            send_schema,
            batch,
            budget,
            deadline,
            expect: expected,
            concurrency,
            retries,
            output,
        })
    }

    fn inputs(&self, top: &mut Section<'r, 'e>) -> Option<InputShape> {
        let mut section = top.inner("inputs", "inputs");
        let kinds = [("folder", InputKind::Folder), ("csv", InputKind::Csv), ("jsonl", InputKind::Jsonl)];
        let mut found: Vec<(InputKind, Located<PathBuf>)> =
            kinds.into_iter().filter_map(|(key, kind)| Some((kind, self.path(&mut section, key)?))).collect();
        let hint = "`folder: FOLDER`, `csv: FILE` or `jsonl: FILE`";
        match found.len() {
            1 => {}
            0 => section.places.reader.problem(section.places.at, "`inputs` does not say where the texts are", hint),
            _ => section.places.error_at("inputs", "`inputs` names more than one source of texts", hint),
        }
        let pattern = section.text("pattern").unwrap_or_else(|| "*".to_owned());
        let id = self.located(&mut section, "id");
        let limit = section.count("limit");
        section.finish();
        let (kind, path) = found.pop()?;
        Some(InputShape { kind, path, pattern, id, limit })
    }

    fn variables(&self, top: &mut Section<'r, 'e>) -> Vec<VariableShape> {
        let Some(node) = top.get("variables", Kind::Map) else { return Vec::new() };
        let entries = self.reader.map(node, "variables").iter();
        let variable = |entry: &'r yaml::Entry| {
            let value = self.reader.json(&entry.node);
            let file = match value.as_object() {
                Some(fields) if fields.len() == 1 => fields.get("file").and_then(Value::as_str),
                _ => None,
            };
            let value = match file {
                Some(name) => VariableValue::File(self.beside(name)),
                None => VariableValue::Inline(value),
            };
            VariableShape { name: entry.key.clone(), at: self.spot(entry.node.at), value }
        };
        entries.map(variable).collect()
    }

    fn batch(&self, top: &mut Section<'r, 'e>) -> Option<BatchShape> {
        let at = self.spot(top.get("batch", Kind::Map)?.at);
        let mut section = top.inner("batch", "batch");
        let shape = BatchShape {
            at,
            max_tokens: section.small("max_tokens").unwrap_or(BATCH_TOKENS),
            instruction_tokens: section.small("instruction_tokens").unwrap_or(INSTRUCTION_TOKENS),
            instructions: section.text("instructions"),
        };
        section.finish();
        Some(shape)
    }
}

fn place(section: &Section<'_, '_>, key: &str, otherwise: Place) -> Place {
    section.places.entries.iter().find(|entry| entry.key == key).map_or(otherwise, |entry| entry.node.at)
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
