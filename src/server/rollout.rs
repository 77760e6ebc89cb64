//! What operators ask about versions of policies, and what they have done with them. Behind the admin key.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::policy::Role;
use crate::rollout::{Action, Mode, Share, Trial};
use crate::snapshot::Snapshot;

use super::{App, access, probe, refusal, shortened};

/// Bytes of an order.
const LARGEST: usize = 64 << 10;
/// The longest that a build may keep somebody waiting: a large component compiles for half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an order says beside its path.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    /// The first digits of a version's digest.
    to: Option<String>,
    /// The policy's role; a router unless given, which it must be where another role alone has a version that is tried.
    role: Option<String>,
    /// The policy's name, where the group has several of that role.
    policy: Option<String>,
}

/// `POST /admin/policies/GROUP/ACTION`.
pub(super) async fn act(
    State(app): State<Arc<App>>,
    Path((group, action)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let api = spoken_at(request.uri().path(), request.headers());
    match ordered(&app, &group, &action, request).await {
        Ok(words) => {
            let generation = app.gateway.live.read().generation;
            probe::json_response(StatusCode::OK, &json!({"done": words, "generation": generation}))
        }
        Err(why) => refusal::unrecorded(&app, api, &why),
    }
}

async fn ordered(app: &App, group: &str, action: &str, request: Request<Body>) -> Result<String, Refusal> {
    let wrong = |words: String| Refusal::new(RefusalKind::InvalidRequest, words);
    access::is_json(&app.gateway.live.read(), request.headers())?;
    let body = to_bytes(request.into_body(), LARGEST).await.map_err(|fault| wrong(format!("the body: {fault}")))?;
    let details: Details = serde_json::from_slice(&body).map_err(|fault| {
        wrong(format!("the body is an object with `to`, `role` and `policy`, all of which may be left out: {fault}"))
    })?;
    let action = Action::ALL.into_iter().find(|known| known.as_str() == action).ok_or_else(|| {
        let known: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
        wrong(format!("`{action}` cannot be done; known: {}", known.join(", ")))
    })?;
    let roles = [Role::Router, Role::PromptBuilder, Role::ResponseParser, Role::Provider];
    let named = details.role.as_deref().unwrap_or(Role::Router.as_str());
    let role = roles
        .into_iter()
        .find(|known| known.as_str() == named)
        .ok_or_else(|| wrong(format!("there is no role `{named}`; known: {}", roles.map(Role::as_str).join(", "))))?;
    let snapshot = app.gateway.live.read();
    let Some(group) = snapshot.groups.get(group) else {
        return Err(no_group(group));
    };
    // What is tried is what is meant, mostly: the router must not pay for a word that was left out.
    if let Some(other) = group.trials().next().filter(|_| details.role.is_none() && group.trial(role).is_none()) {
        let (group, other) = (&group.config.name, other.role().as_str());
        return Err(wrong(format!(
            "group `{group}` tries a {other} and no router: name the one that is meant with `role` (--role {other}, --role router)"
        )));
    }
    let control = &snapshot.rollouts;
    if !control.is_watched() {
        return Err(Refusal::new(RefusalKind::Unavailable, "this gateway does not look for changes"));
    }
    let tried = group.trial(role).map(Trial::digest);
    let answer = control.order((group.config.name.clone(), tried), (role, details.policy), action, details.to);
    let late = "the order waits: a component is being compiled; `witgate policies history` shows what comes of it";
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(done)) => done.map_err(wrong),
        Ok(Err(_)) if app.gateway.live.problems().is_empty() => Err(wrong("nothing was changed".to_owned())),
        Ok(Err(_)) => Err(wrong("nothing was changed; `witgate policies` lists the problems".to_owned())),
        Err(_) => Err(Refusal::new(RefusalKind::Unavailable, late)),
    }
}

fn no_group(group: &str) -> Refusal {
    let why = format!("there is no group `{}`; `witgate policies` lists them", shortened(group));
    Refusal::new(RefusalKind::InvalidRequest, why)
}

/// `GET /admin/policies/history?group=GROUP`: the newest last.
pub(super) async fn history(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let group = form_urlencoded::parse(query).find(|(name, _)| name == "group").map(|(_, group)| group);
    let snapshot = app.gateway.live.read();
    let changes = snapshot.rollouts.history.of(group.as_deref());
    // One that is no more has what happened to it.
    let unknown = |group: &str| changes.is_empty() && !snapshot.groups.contains_key(group);
    if let Some(group) = group.as_deref().filter(|group| unknown(group)) {
        let api = spoken_at(request.uri().path(), request.headers());
        return refusal::unrecorded(&app, api, &no_group(group));
    }
    let waiting = snapshot.rollouts.history.waiting(group.as_deref());
    let mut answer = json!({"generation": snapshot.generation, "changes": changes, "waiting": waiting});
    if group.is_none() {
        // Of all groups, and of what is no policy's.
        answer["generations"] = json!(snapshot.rollouts.generations.all());
    }
    probe::json_response(StatusCode::OK, &answer)
}

/// What is being tried, with all that was counted.
pub(super) fn figures(snapshot: &Snapshot) -> Vec<Value> {
    let tried = snapshot.groups.values().flat_map(|group| group.trials().map(move |trial| (group, trial)));
    let shown = tried.map(|(group, rollout)| {
        let in_force = group.in_force().find(|component| component.digest() == rollout.live());
        let counts = rollout.figures().counts();
        let told = rollout.figures().told();
        json!({
            "group": group.config.name.as_str(),
            "role": rollout.role().as_str(),
            "mode": rollout.mode().as_str(),
            "in_force": in_force.map(|component| component.label()),
            "tried": rollout.component().label(),
            "verdict": told.as_ref().map(|told| told.verdict.as_str()),
            "why": told.as_ref().map(|told| told.why.as_str()),
            "rules": match rollout.mode() {
                Mode::Shadow => Value::Null,
                Mode::Canary(rules) => json!({
                    "share": rules.share, "requests": rules.requests, "max_faults": rules.max_faults,
                    "minimum": rules.minimum, "failure_ratio": rules.failure_ratio, "cost_ratio": rules.cost_ratio,
                    "latency_ratio": rules.latency_ratio,
                }),
            },
            "faults": counts.faults,
            "fallbacks": counts.fallbacks,
            "live": share(&counts.live),
            "candidate": share(&counts.candidate),
            "compared": counts.compared,
            "without_ranking": counts.silent,
            "in_force_without_ranking": counts.unserved,
            "both_without_ranking": counts.same_unserved,
            "left_out": counts.skipped,
            "same_first": counts.same_first,
            "same_ranking": counts.same_ranking,
            "cost_difference_usd": counts.cost_difference_usd(),
            "latency_difference_ms": counts.latency_difference_ms(),
        })
    });
    shown.collect()
}

fn share(share: &Share) -> Value {
    json!({
        "requests": share.requests,
        "attempts": share.attempts,
        "failed": share.failed,
        "complained": share.complained,
        "refused": share.refused,
        "failure_rate": share.failure_rate(),
        "cost_usd": share.cost_usd(),
        "latency_ms": share.latency_ms(),
    })
}
