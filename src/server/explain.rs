//! `POST /route/explain`: a request in, where it would go and why out. It is not served, and costs nobody anything.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::catalog::WhenNone;
use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientApi, ClientRequest, spoken_at};
use crate::limits::Wait;
use crate::pipeline::{PlannedAttempt, PlannedTrial, RequestPlan};
use crate::snapshot::Caller;

use super::{App, access, probe, refusal};

/// Explains a chat request, in the API its headers speak: with `anthropic-version` that one's, else OpenAI's.
pub(super) async fn explain(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let api = spoken_at(request.uri().path(), request.headers());
    match plan(&app, api, request).await {
        Ok(plan) => probe::json_response(StatusCode::OK, &shown(&plan)),
        Err(why) => refusal::unrecorded(&app, api, &why),
    }
}

async fn plan(app: &App, api: &'static dyn ClientApi, request: Request<Body>) -> Result<RequestPlan, Refusal> {
    let snapshot = app.gateway.live.read();
    let (head, body) = request.into_parts();
    let caller = head.extensions.get::<Arc<Caller>>().cloned();
    let caller = caller.unwrap_or_else(|| Arc::clone(&snapshot.callers.anonymous));
    access::is_json(&snapshot, &head.headers)?;
    let limit = snapshot.settings.server.max_request_bytes;
    let body = to_bytes(body, limit).await.map_err(|fault| {
        let message = format!("the request body could not be read, or has more than {limit} bytes: {fault}");
        Refusal::new(RefusalKind::InvalidRequest, message)
    })?;
    let request = ClientRequest::new(head.method, head.uri, head.headers, body);
    app.gateway.plan(caller, api, &request.headers, api.parse(&request)?).await
}

fn shown(plan: &RequestPlan) -> Value {
    let features: Map<String, Value> =
        plan.features.iter().map(|(name, value)| (name.clone().into_owned(), number(*value))).collect();
    let (reasons, said) = reasons(&plan.said);
    let attributes: Map<String, Value> =
        plan.attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "group": plan.group.as_str(),
        "policy": &*plan.policy,
        "policy_fault": plan.policy_fault,
        "input_tokens": plan.input_tokens,
        "input_tokens_are": plan.precision.as_str(),
        "next": next(plan),
        "features": features,
        "attributes": attributes,
        "deployments": plan.candidates.iter().map(|one| candidate(one, &reasons)).collect::<Vec<_>>(),
        "said": said,
        "trial": plan.trial.as_ref().map(trial),
        "prompt": plan.prompt,
    })
}

/// What would be done with the request.
fn next(plan: &RequestPlan) -> String {
    if let Some(why) = &plan.refused {
        return format!("refuse: {why}");
    }
    if let Some(why) = &plan.elsewhere {
        return format!("another group takes over, where one can: {why}");
    }
    match (plan.none, plan.wait, plan.called_now()) {
        (Some(WhenNone::Refuse), ..) => "refuse: the policy finds no deployment fit".to_owned(),
        (Some(WhenNone::Wait), ..) => "wait until the policy finds a deployment fit".to_owned(),
        (None, Some(wait), _) => format!("wait {} ms, then ask the policy again", wait.as_millis()),
        (None, None, Some(deployment)) => format!("call {deployment}"),
        (None, None, None) => match plan.starts {
            Some(wait) => format!("wait {:.1} s for a limit or a breaker", wait.as_secs_f64()),
            None => "wait for a limit or a breaker, or refuse".to_owned(),
        },
    }
}

/// Of a policy's log lines, those that are objects about a deployment, by its id; and all others.
fn reasons(lines: &[String]) -> (Map<String, Value>, Vec<&str>) {
    let (mut reasons, mut said) = (Map::new(), Vec::new());
    for line in lines {
        let about = serde_json::from_str::<Map<String, Value>>(line).ok().and_then(|mut object| {
            let id = object.remove("deployment")?.as_str()?.to_owned();
            Some((id, Value::Object(object)))
        });
        match about {
            Some((id, object)) => drop(reasons.insert(id, object)),
            None => said.push(line.as_str()),
        }
    }
    (reasons, said)
}

/// What a version on trial would answer.
fn trial(trial: &PlannedTrial) -> Value {
    let ranked = trial.ranking.iter().enumerate();
    let ranking = ranked.map(|(place, (deployment, propensity))| {
        json!({"deployment": deployment.as_str(), "rank": place + 1, "propensity": propensity})
    });
    json!({
        "policy": &*trial.policy,
        "mode": trial.mode,
        "ranking": ranking.collect::<Vec<_>>(),
        "instead": trial.instead,
    })
}

fn candidate(one: &PlannedAttempt, reasons: &Map<String, Value>) -> Value {
    let signals: Map<String, Value> =
        one.signals.iter().map(|(signal, value)| (signal.as_str().to_owned(), number(*value))).collect();
    let limits = match one.wait {
        Wait::Now => "free".to_owned(),
        Wait::At(_) => "full until something leaves the window".to_owned(),
        Wait::Unknown => "full until a request under way ends".to_owned(),
        Wait::Never => "the request is larger than one of them".to_owned(),
    };
    json!({
        "deployment": one.deployment.as_str(),
        "rank": one.rank.map(|rank| rank + 1),
        "propensity": one.propensity,
        "reasons": reasons.get(one.deployment.as_str()),
        "removed": one.removed.map(|removal| removal.to_string()),
        "spoken_by": one.spoken_by,
        "limits": limits,
        "signals": signals,
        "would_reserve": {
            "input_tokens": one.demand.input_tokens,
            "output_tokens": one.demand.output_tokens,
            "cost_usd": one.demand.cost.as_usd(),
        },
    })
}

/// JSON has no NaN and no infinity: unknown is null, and never is said as such.
fn number(value: f32) -> Value {
    match value {
        value if value.is_nan() => Value::Null,
        value if value.is_infinite() => json!("infinite"),
        value => json!(value),
    }
}
