//! What is asked: each text of each run, as often as it is repeated, in one order; and the calls that ask it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{Experiment, Run, Text};
use crate::id::GroupName;
use crate::policy::Digest;
use crate::tokens::{Encoding, count_text};

/// Tokens around a text in a batch.
const AROUND: u64 = 24;

/// One question: a text, asked of a run's model once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Follows from what is asked: the same question has the same id.
    pub id: String,
    /// The run, by place.
    pub run: usize,
    /// The text, by place.
    pub text: usize,
    /// Which of the repetitions, from 1.
    pub repetition: u32,
}

impl Item {
    /// A number that follows from its id.
    pub(super) fn number(&self) -> u64 {
        u64::from_str_radix(self.id.get(..15).unwrap_or_default(), 16).unwrap_or_default()
    }
}

/// One request: an item, or a batch of one run's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The items, by place.
    pub items: Vec<usize>,
}

/// Every item, in the order of the results.
pub(super) fn items(texts: &[Text], runs: &[Run], repetitions: u32, prompt: &Value) -> Vec<Item> {
    let of_texts: Vec<Digest> =
        texts.iter().map(|text| Digest::of(json!([text.id, text.fields]).to_string().as_bytes())).collect();
    let mut items = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let asked = json!([run.id, run.model.as_str(), run.parameters, *run.variables, prompt]);
        let of_run = Digest::of(asked.to_string().as_bytes());
        for text in &run.texts {
            for repetition in 1..=repetitions {
                let whole = format!("{of_run} {} {repetition}", of_texts[*text]);
                let mut id = Digest::of(whole.as_bytes()).to_string();
                id.truncate(24);
                items.push(Item { id, run: place, text: *text, repetition });
            }
        }
    }
    items
}

impl Experiment {
    /// The calls that ask `items`, by group, each group's in order.
    #[must_use]
    pub fn calls(&self, items: impl Iterator<Item = usize>) -> BTreeMap<GroupName, Vec<Call>> {
        let mut by_run: BTreeMap<(usize, u32), Vec<usize>> = BTreeMap::new();
        for item in items {
            let Item { run, repetition, .. } = &self.items[item];
            // A text must not be twice in one call, so that repetitions are calls of their own.
            by_run.entry((*run, *repetition)).or_default().push(item);
        }
        let mut calls: BTreeMap<GroupName, Vec<Call>> = BTreeMap::new();
        let mut counts = Counts::default();
        for ((run, _), items) in by_run {
            let packed = match &self.file.batch {
                None => items.into_iter().map(|item| Call { items: vec![item] }).collect(),
                Some(batch) => self.pack(items, batch.max_tokens.saturating_sub(batch.instruction_tokens), &mut counts),
            };
            calls.entry(self.runs[run].model.clone()).or_default().extend::<Vec<Call>>(packed);
        }
        calls
    }

    /// As many items in each call as its tokens allow, in order, none in part: the builder in the gateway has the last word.
    fn pack(&self, items: Vec<usize>, most: u32, counts: &mut Counts) -> Vec<Call> {
        let Some(first) = items.first() else { return Vec::new() };
        let run = self.run_of(*first);
        let model = self.counted_as(&run.model);
        let system = self.file.system.as_ref().map_or(0, |system| about_all(&system.value, run, model));
        let room = u64::from(most).saturating_sub(system);
        let around = self.file.user.as_ref().map_or(0, |user| about_all(&user.value, run, model));
        let (mut calls, mut used) = (Vec::<Call>::new(), 0);
        for item in items {
            let tokens = counts.of(self, self.items[item].text, model) + around + AROUND;
            if let Some(call) = calls.last_mut().filter(|_| used + tokens <= room) {
                call.items.push(item);
            } else {
                calls.push(Call { items: vec![item] });
                used = 0;
            }
            used += tokens;
        }
        calls
    }

    /// Input tokens of a call as they are held against a budget before it is made: every column counts, named or not.
    pub(super) fn tokens_of(&self, call: &Call, counts: &mut Counts) -> u64 {
        let Some(first) = call.items.first() else { return 0 };
        let run = self.run_of(*first);
        let model = self.counted_as(&run.model);
        let templates = [&self.file.system, &self.file.user].into_iter().flatten();
        let about: u64 = templates.map(|template| about_all(&template.value, run, model)).sum();
        let instructions = self.file.batch.as_ref().map_or(0, |batch| u64::from(batch.instruction_tokens));
        let texts = call.items.iter().map(|item| counts.of(self, self.items[*item].text, model) + AROUND);
        let schema = self.file.schema.as_ref().filter(|_| self.file.send_schema);
        let schema = schema.map_or(0, |schema| count_text(&schema.value.to_string(), model).tokens + AROUND);
        about + instructions + schema + texts.sum::<u64>() + AROUND
    }
}

/// Tokens of a template without the columns of texts.
fn about_all(template: &str, run: &Run, model: &str) -> u64 {
    let named = super::prompt::names(template);
    let variables = run.variables.iter().filter(|(name, _)| named.contains(name.as_str()));
    count_text(template, model).tokens + variables.map(|(_, value)| tokens_of_value(value, model)).sum::<u64>()
}

/// Tokens of a value as a template writes it.
fn tokens_of_value(value: &Value, model: &str) -> u64 {
    match value {
        Value::String(text) => count_text(text, model).tokens,
        other => count_text(&other.to_string(), model).tokens,
    }
}

/// Tokens of texts, counted once by each encoding.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<(Option<u8>, usize), u64>);

impl Counts {
    fn of(&mut self, experiment: &Experiment, text: usize, model: &str) -> u64 {
        let counted = || {
            let fields = experiment.texts[text].fields.values();
            fields.map(|field| tokens_of_value(field, model)).sum()
        };
        *self.0.entry((Encoding::of(model).map(|encoding| encoding as u8), text)).or_insert_with(counted)
    }
}
