//! A decision for people and programs: by the names of what the router saw.

use serde_json::{Map, Value, json};

use super::line::{RequestLine, trait_names};
use crate::id::GroupName;
use crate::policy::{Decision, RouteError, RouterFacts};
use crate::record::{PassedOver, Removal};

/// Everything about one decision.
#[must_use]
pub fn decision_json(facts: &RouterFacts, decision: &Decision, ended: Option<&RequestLine>) -> Value {
    let RouterFacts { policy, digest, setup, needs } = facts;
    let Decision { request, features, attributes, answer, .. } = decision;
    let features: Map<String, Value> =
        needs.features.iter().zip(features).map(|(name, value)| (name.name().into_owned(), number(*value))).collect();
    let attributes: Map<String, Value> =
        needs.attributes.iter().zip(attributes).map(|(name, value)| (name.to_string(), json!(value))).collect();
    let outcome = match answer {
        Ok(_) => json!("ranking"),
        Err(RouteError::Wait(wait)) => json!(format!("wait {} ms", wait.as_millis())),
        Err(RouteError::Reject(words)) if built_in_decided(facts, ended) => {
            json!(format!("rejected without the grant `may_reject`, so that the built-in order applied: {words}"))
        }
        Err(RouteError::Reject(words)) => json!(format!("refused: {words}")),
        Err(RouteError::Fault(fault)) => json!(format!("fault: it {fault}; the built-in order applied")),
    };
    json!({
        "id": request.id.map(|id| id.to_string()),
        "group": setup.group.as_ref().map(ToString::to_string),
        "policy": format!("{policy}@{}", digest.short()),
        "now_ms": request.now.as_millis(),
        "input_tokens": request.input_tokens,
        "expected_output_tokens": request.expected_output_tokens,
        "max_output_tokens": request.max_output_tokens,
        "priority": request.priority,
        "deadline_ms": request.deadline_ms,
        "traits": trait_names(request.traits),
        "features": features,
        "attributes": attributes,
        "answer": outcome,
        "deployments": candidates(facts, decision, ended),
        "host": ended,
    })
}

/// Whether the built-in order decided in the group of this decision, as it does where a router may not refuse.
fn built_in_decided(facts: &RouterFacts, ended: Option<&RequestLine>) -> bool {
    let group = facts.setup.group.as_ref().map(GroupName::as_str);
    ended.is_some_and(|ended| ended.policy.as_deref() == Some("built-in") && ended.group.as_deref() == group)
}

/// The same of a request that no router was asked about.
pub(super) fn undecided_json(ended: &RequestLine) -> Value {
    json!({
        "id": ended.id,
        "group": ended.group,
        "policy": ended.policy,
        "answer": "no router was asked",
        "deployments": [],
        "host": ended,
    })
}

/// Every deployment: those ranked, best first, then the others.
fn candidates(facts: &RouterFacts, decision: &Decision, ended: Option<&RequestLine>) -> Vec<Value> {
    let ranking = decision.answer.as_deref().unwrap_or_default();
    let count = facts.setup.deployments.len();
    let ranked = ranking.iter().map(|choice| choice.deployment as usize).filter(|index| *index < count);
    let ranked: Vec<usize> = ranked.collect();
    let others = (0..count).filter(|index| !ranked.contains(index));
    let candidate = |index: usize| {
        let rank = ranked.iter().position(|ranked| *ranked == index);
        let facts_of = &facts.setup.deployments[index];
        let id = facts_of.id.as_str();
        let left_out = decision.answer.is_ok() && rank.is_none();
        json!({
            "deployment": id,
            "rank": rank.map(|rank| rank + 1),
            "propensity": rank.map(|rank| ranking[rank].propensity),
            "order": facts_of.order,
            "signals": signals_of(facts, decision, index),
            "called": ended.map(|ended| ended.attempts.iter().any(|attempt| attempt.deployment == id)),
            "removed": if left_out { Some(Removal::LeftOut.to_string()) } else { removed(id, ended) },
        })
    };
    ranked.iter().copied().chain(others).map(candidate).collect()
}

/// What kept a request from a deployment, attempt by attempt; one it waited for is called after all.
fn removed(id: &str, ended: Option<&RequestLine>) -> Option<String> {
    let passed_over = &ended?.passed_over;
    let all: Vec<&PassedOver> = passed_over.iter().filter(|one| one.deployment == id).collect();
    match &all[..] {
        [] => None,
        [one] if one.attempt == 1 => Some(one.why.clone()),
        several => {
            let said = several.iter().map(|one| format!("attempt {}: {}", one.attempt, one.why));
            Some(said.collect::<Vec<_>>().join("; "))
        }
    }
}

/// What the router was shown of one deployment.
pub(super) fn signals_of(facts: &RouterFacts, decision: &Decision, index: usize) -> Value {
    let count = facts.setup.deployments.len();
    let cell = |column: usize| decision.signals.get(column * count + index).copied();
    let signals = facts.needs.signals.iter().enumerate();
    let signals = signals.filter_map(|(column, signal)| Some((signal.as_str().to_owned(), number(cell(column)?))));
    Value::Object(signals.collect())
}

/// JSON has no NaN and no infinity: unknown is null, and never is said as such.
#[must_use]
pub fn number(value: f32) -> Value {
    match value {
        value if value.is_nan() => Value::Null,
        value if value.is_infinite() => json!("infinite"),
        value => json!(value),
    }
}
