//! What is found while a run's items are read, for its page: it grows with models, minutes and kinds of failures, and not with items.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plan::number;
use super::{Answer, Failure};
use crate::moment::Moment;

/// Failures that are told one by one; the others are in their file.
const MOST_TOLD: usize = 200;
/// A minute, in milliseconds.
const MINUTE: u64 = 60_000;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) measured: Measured,
    pub(super) failures: Failures,
    pub(super) waits: Waits,
}

/// The first field of results that is a number: what is taken for quality.
#[derive(Debug, Default)]
pub(super) struct Measured {
    field: Option<String>,
    /// The sum of it and how many there are, by model.
    sums: BTreeMap<String, (f64, f64)>,
}

impl Measured {
    /// Takes note of a model's result.
    pub(super) fn see(&mut self, model: &str, result: &Value) {
        let Some(result) = result.as_object() else { return };
        if self.field.is_none() {
            self.field = result.iter().find(|(_, value)| value.is_number()).map(|(name, _)| name.clone());
        }
        let field = self.field.as_ref().and_then(|field| result.get(field)?.as_f64());
        if let Some(value) = field {
            let (sum, count) = self.sums.entry(model.to_owned()).or_default();
            *sum += value;
            *count += 1.0;
        }
    }

    /// Its name.
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// A model's mean of it.
    pub(super) fn mean(&self, model: &str) -> Option<f64> {
        self.sums.get(model).map(|(sum, count)| sum / count)
    }
}

/// The first failures, and how many there are of each kind.
#[derive(Debug, Default)]
pub(super) struct Failures {
    told: Vec<(usize, Failure)>,
    kinds: BTreeMap<String, usize>,
}

impl Failures {
    /// Takes note of an item's failure.
    pub(super) fn add(&mut self, item: usize, failure: &Failure) {
        *self.kinds.entry(failure.kind.clone()).or_default() += 1;
        if self.told.len() < MOST_TOLD {
            self.told.push((item, failure.clone()));
        }
    }

    /// The first of them, with their items.
    pub(super) fn told(&self) -> &[(usize, Failure)] {
        &self.told
    }

    /// How many there are of each kind.
    pub(super) const fn kinds(&self) -> &BTreeMap<String, usize> {
        &self.kinds
    }
}

/// How long answers waited for limits, by model and by the minute in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<String, Vec<(u64, u64)>>);

impl Waits {
    /// Takes note of an answer of a run that began then.
    pub(super) fn add(&mut self, model: &str, answer: &Answer, begin: Moment) {
        let minute = usize::try_from(answer.sent_ms.saturating_sub(begin.as_millis()) / MINUTE).unwrap_or_default();
        if !self.0.contains_key(model) {
            self.0.insert(model.to_owned(), Vec::new());
        }
        let Some(minutes) = self.0.get_mut(model) else { return };
        if minutes.len() <= minute {
            minutes.resize(minute + 1, (0, 0));
        }
        let (waited_ms, answers) = &mut minutes[minute];
        *waited_ms += answer.waited_ms;
        *answers += 1;
    }

    /// The mean of each minute in which anything was sent, in seconds, by model.
    pub(super) fn by_minute(&self) -> BTreeMap<String, Vec<Option<f64>>> {
        let mean =
            |(waited_ms, answers): &(u64, u64)| (*answers > 0).then(|| number(*waited_ms) / number(*answers) / 1000.0);
        self.0.iter().map(|(model, minutes)| (model.clone(), minutes.iter().map(mean).collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_bounded_by_models_minutes_and_kinds() {
        let mut found = Found::default();
        for number in 0..1_000_u64 {
            let kind = if number % 2 == 0 { "upstream" } else { "unparsed" };
            found.failures.add(0, &Failure { kind: kind.to_owned(), ..Failure::default() });
            let answer =
                Answer { sent_ms: 5_000 + number % 3 * MINUTE, waited_ms: 1_000 * (number % 3), ..Answer::default() };
            found.waits.add("m", &answer, Moment::from_millis(5_000));
            found.measured.see("m", &serde_json::json!({ "topic": "x", "score": number % 2 }));
        }
        assert_eq!(found.failures.told().len(), MOST_TOLD);
        assert_eq!(found.failures.kinds().values().sum::<usize>(), 1_000);
        assert_eq!(found.waits.by_minute()["m"], [Some(0.0), Some(1.0), Some(2.0)]);
        assert_eq!((found.measured.field(), found.measured.mean("m")), (Some("score"), Some(0.5)));
    }
}
