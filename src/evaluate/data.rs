//! Data of full information: of each prompt, what every model's reply was worth and cost.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::chat::{ChatRequest, Dialect, Message, Part, Rest, Role};
use crate::pipeline::Vector;
use crate::policy::Needs;
use crate::sentences::Sentences;
use crate::tokens;

/// Problems that are told at a time.
const MOST_TOLD: usize = 20;

/// What one model replied.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replied {
    /// What the reply was worth without regard to its cost, 0 to 1.
    pub reward: f64,
    /// What it cost, US dollars.
    pub cost: f64,
    /// What it took, milliseconds; `None` is unknown.
    #[serde(default)]
    pub latency_ms: Option<f64>,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What was asked; "" where only features of the models count.
    pub prompt: String,
    /// Its vector, as a model made it; `None` is one of its words.
    pub vector: Option<Vector>,
    /// The replies, in the order of [`DataSet::models`].
    pub replies: Vec<Replied>,
}

/// All prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    /// The models, in the order of their names.
    pub models: Vec<String>,
    /// The prompts, in the order of the file.
    pub examples: Vec<Example>,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    embedding: Option<Vec<f64>>,
    models: Models,
}

/// The replies by their models, each named once.
struct Models(BTreeMap<String, Replied>);

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EachOnce;

        impl<'de> Visitor<'de> for EachOnce {
            type Value = Models;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of models and what they replied")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Models, A::Error> {
                let mut models = BTreeMap::new();
                while let Some(model) = object.next_key::<String>()? {
                    // The last would count in silence, and the first may be the one that is meant.
                    if models.contains_key(&model) {
                        return Err(A::Error::custom(format_args!("the model `{model}` stands here twice")));
                    }
                    models.insert(model, object.next_value()?);
                }
                Ok(Models(models))
            }
        }

        deserializer.deserialize_map(EachOnce)
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    data: Option<DataSet>,
    /// How many numbers the vectors have, by the first one.
    numbers: Option<usize>,
}

impl DataSet {
    /// Reads a file of JSON lines: `{"prompt": "…", "models": {"NAME": {"reward": 0.9, "cost": 0.0004, "latency_ms": 800}, …}}`, each with an
    /// `embedding` of its prompt, or none.
    ///
    /// # Errors
    /// What is wrong with it, the first of it, each with its place; it cannot be read; it is empty.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let file = File::open(path).map_err(|fault| vec![format!("{}: {fault}", path.display())])?;
        read_lines(&path.display().to_string(), BufReader::new(file))
    }

    /// Has the vectors of all prompts made by the sentence-transformers model of a folder. Blocks for some milliseconds a prompt.
    ///
    /// # Errors
    /// The folder cannot be read, a prompt has a vector already, or the model fails.
    pub fn embed(&mut self, folder: &Path) -> Result<(), String> {
        if self.examples.iter().any(|example| example.vector.is_some()) {
            return Err(
                "the data has vectors already (`embedding`)\nhint: leave out `--embeddings`, or the vectors".to_owned()
            );
        }
        let sentences = Sentences::load(folder)?;
        for example in &mut self.examples {
            let text = tokens::embedded_text(&asking(&example.prompt));
            if !text.trim().is_empty() {
                let numbers: Vec<f64> = sentences.vector(&text)?.into_iter().map(f64::from).collect();
                example.vector = Vector::of(&numbers);
            }
        }
        Ok(())
    }

    /// The mean cost of each model, US dollars.
    #[must_use]
    pub fn mean_costs(&self) -> Vec<f64> {
        self.means(|reply| reply.cost)
    }

    /// The mean of something over the replies of each model.
    pub(super) fn means(&self, of: impl Fn(&Replied) -> f64) -> Vec<f64> {
        let mean = |model: usize| self.examples.iter().map(|example| of(&example.replies[model])).sum::<f64>();
        (0..self.models.len()).map(|model| mean(model) / super::show::count(self.examples.len())).collect()
    }
}

/// Reads lines, `name` being what the file is called.
pub(super) fn read_lines(name: &str, file: impl BufRead) -> Result<DataSet, Vec<String>> {
    let (mut reading, mut problems) = (Reading::default(), Vec::new());
    for (line, number) in file.lines().zip(1_u64..) {
        let taken = match line {
            Ok(line) => parse(&line).and_then(|line| reading.take(line)),
            // A line that is no text: those after it can be read.
            Err(fault) if fault.kind() == ErrorKind::InvalidData => Err((1, fault.to_string())),
            Err(fault) => {
                problems.push(format!("{name}: {fault}"));
                break;
            }
        };
        if let Err((column, why)) = taken {
            problems.push(format!("{name}:{number}:{column}: {why}"));
            if problems.len() >= MOST_TOLD {
                break;
            }
        }
    }
    match reading.data {
        _ if !problems.is_empty() => Err(problems),
        Some(data) => Ok(data),
        None => Err(vec![format!("{name}: no prompt is in it")]),
    }
}

impl Example {
    /// What a router that needs this is told of the prompt: the same as of a request with this one message.
    #[must_use]
    pub fn features(&self, needs: &Needs) -> Vec<f32> {
        let embedded =
            self.vector.as_ref().map_or(tokens::Embedded::Hashed, |vector| tokens::Embedded::Given(vector.numbers()));
        tokens::features(&needs.features, &asking(&self.prompt), embedded)
    }
}

impl Reading {
    fn take(&mut self, line: Line) -> Result<(), (usize, String)> {
        let (models, replies): (Vec<String>, Vec<Replied>) = line.models.0.into_iter().unzip();
        let data = self.data.get_or_insert_with(|| DataSet { models: models.clone(), examples: Vec::new() });
        if models != data.models {
            let (here, there) = (models.join(", "), data.models.join(", "));
            return Err((1, format!("its models are {here}, and those of the first line {there}: every line has all")));
        }
        let vector = match &line.embedding {
            Some(numbers) => Some(
                Vector::of(numbers)
                    .ok_or((1, "`embedding` has no direction: it is a list of numbers, not all 0".to_owned()))?,
            ),
            None => None,
        };
        if data.examples.first().is_some_and(|first| first.vector.is_some() != vector.is_some()) {
            return Err((1, "every line has an `embedding`, or none has".to_owned()));
        }
        // Vectors of two models lie in two spaces: what is near in one says nothing of the other.
        if let Some(here) = line.embedding.as_ref().map(Vec::len) {
            let first = *self.numbers.get_or_insert(here);
            if here != first {
                let why = "are they of two models?";
                return Err((
                    1,
                    format!("its `embedding` has {here} numbers, and that of the first line {first}: {why}"),
                ));
            }
        }
        data.examples.push(Example { prompt: line.prompt, vector, replies });
        Ok(())
    }
}

/// Reads a line. A problem has the column it is at.
fn parse(line: &str) -> Result<Line, (usize, String)> {
    let read: Line = serde_json::from_str(line).map_err(|fault| {
        let why = fault.to_string();
        let why = why.rsplit_once(" at line ").map_or(&*why, |(why, _)| why);
        let hint = "a line is a JSON object with `prompt` and `models`; see docs/learning.md";
        (fault.column().max(1), format!("{why}\nhint: {hint}"))
    })?;
    if read.models.0.len() < 2 {
        return Err((1, "`models` has two models at least: there must be a choice".to_owned()));
    }
    for (model, reply) in &read.models.0 {
        // Where the model is named is as near as its number can be told.
        let column = line.find(&format!("\"{model}\"")).map_or(1, |place| place + 1);
        let wrong = |what: &str| Err((column, format!("`{model}`: {what}")));
        if !(0.0..=1.0).contains(&reply.reward) {
            return wrong("`reward` is from 0 to 1");
        }
        if !(reply.cost >= 0.0 && reply.cost.is_finite()) {
            return wrong("`cost` is a number of US dollars, at least 0");
        }
        if reply.latency_ms.is_some_and(|latency| !(latency >= 0.0 && latency.is_finite())) {
            return wrong("`latency_ms` is a number of milliseconds, at least 0");
        }
    }
    Ok(read)
}

/// A request with one message.
fn asking(prompt: &str) -> ChatRequest {
    let message = Message { role: Role::User, parts: vec![Part::text(prompt)], name: None, rest: Rest::new() };
    // Nothing of it is sent to anybody.
    ChatRequest::bare(String::new(), vec![message], Dialect::named("data"))
}
