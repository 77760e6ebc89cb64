//! What becomes of an item: an answer with what it took, or a failure with its reason.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Experiment;
use crate::fault::{FaultKind, RefusalKind};
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::policy::SettingsSchema;
use crate::record::Record;

/// How an item ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// There is a result.
    Answered(Box<Answer>),
    /// There is none.
    Failed(Failure),
}

/// An item's result and what it took. Of a batch, tokens and cost are the item's share; times are the call's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What came back: JSON where a schema asks for it, else text.
    pub result: Value,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// What it cost; `None` where the price is unknown.
    pub cost_nano_usd: Option<NanoUsd>,
    /// The deployment that replied.
    pub deployment: String,
    /// The router that decided, with its digest.
    pub policy: String,
    /// The request's id.
    pub request: String,
    /// Items that were asked together.
    pub together: u32,
    /// Calls to providers it took.
    pub attempts: u32,
    /// Of them, those that a provider refused because of its limits.
    pub rate_limited: u32,
    /// When its request was sent first, milliseconds of the Unix epoch.
    pub sent_ms: u64,
    /// When it was answered.
    pub ended_ms: u64,
    /// How long it waited for limits.
    pub waited_ms: u64,
}

/// Why there is no result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The class: the refusal's name.
    pub kind: String,
    /// In words.
    pub reason: String,
    /// Requests that were made.
    pub tries: u32,
    /// What they cost all the same.
    pub cost_nano_usd: Option<NanoUsd>,
    /// When the last ended, milliseconds of the Unix epoch.
    pub ended_ms: u64,
}

/// Whether one of several that were asked together may be why all were refused, or that they are so many: a provider that fails would
/// fail each of them too.
pub(super) const fn may_be_one(kind: RefusalKind) -> bool {
    !matches!(
        kind,
        RefusalKind::UnknownModel
            | RefusalKind::RateLimited
            | RefusalKind::Upstream
            | RefusalKind::Unavailable
            | RefusalKind::Internal
    )
}

/// Whether no request of the run can succeed any more: there is no money left.
pub(super) const fn is_out_of_money(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::BudgetExceeded | RefusalKind::GroupOverBudget)
}

/// The share of `whole` that falls to one of `parts`; the first has what does not divide.
const fn share(whole: u64, parts: u64, part: u64) -> u64 {
    let parts = if parts == 0 { 1 } else { parts };
    whole / parts + if part == 0 { whole % parts } else { 0 }
}

/// What a call took, to be shared by its items.
pub(super) struct Took<'a> {
    pub(super) record: &'a Record,
    pub(super) sent: Option<Moment>,
    pub(super) ended: Moment,
}

impl Took<'_> {
    /// The answer of the `part`-th of `parts` items.
    pub(super) fn answer(&self, result: Value, part: usize, parts: usize) -> Answer {
        let Self { record, sent, ended } = self;
        let (part, parts) = (part as u64, parts as u64);
        let limited = record.attempts.iter().filter(|attempt| attempt.fault == Some(FaultKind::RateLimited)).count();
        Answer {
            result,
            input_tokens: share(record.usage.input_tokens, parts, part),
            output_tokens: share(record.usage.output_tokens, parts, part),
            cost_nano_usd: record.cost.map(|cost| NanoUsd(share(cost.0, parts, part))),
            deployment: record.attempts.last().map_or_else(String::new, |attempt| attempt.deployment.to_string()),
            policy: record.policy.as_deref().unwrap_or_default().to_owned(),
            request: record.id.to_string(),
            together: u32::try_from(parts).unwrap_or(u32::MAX),
            attempts: u32::try_from(record.attempts.len()).unwrap_or(u32::MAX),
            rate_limited: u32::try_from(limited).unwrap_or(u32::MAX),
            sent_ms: sent.unwrap_or(*ended).as_millis(),
            ended_ms: ended.as_millis(),
            waited_ms: u64::try_from(record.waited.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The result of each item that `body` answers; an item without one is asked again. `placed`: the items that were in the prompt.
pub(super) fn results(
    experiment: &Experiment,
    body: &[u8],
    placed: Option<&[u32]>,
    planned: bool,
) -> Vec<Option<Value>> {
    let reply: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = reply.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or_default();
    if experiment.file.batch.is_none() {
        let result = match &experiment.file.schema {
            Some(_) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            None => text.into(),
        };
        return vec![Some(result)];
    }
    let placed = placed.unwrap_or_default();
    if planned {
        return placed.iter().map(|_| Some(text.into())).collect();
    }
    let schema = experiment.file.schema.as_ref();
    let schema = schema.and_then(|schema| SettingsSchema::read(schema.value.to_string().as_bytes()).ok());
    let elements: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let result = |place: usize| {
        let element =
            elements.iter().find(|element| element.get("item").and_then(Value::as_u64) == Some(place as u64))?;
        let result = element.get("result")?;
        schema.as_ref().is_none_or(|schema| schema.mistakes(result).is_empty()).then(|| result.clone())
    };
    (0..placed.len()).map(result).collect()
}
