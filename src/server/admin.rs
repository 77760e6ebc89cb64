//! What operators ask: which policies decide, how they fare. Behind the admin key.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::id::RequestId;
use crate::moment::Moment;
use crate::policy::PolicyFault;
use crate::telemetry::PolicyFigures;

use super::{App, probe, refusal};

/// Every policy in force: `witgate policies` prints this.
pub(super) async fn policies(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.gateway.live.read();
    let begun = snapshot.rollouts.history.begun();
    let list: Vec<Value> = snapshot
        .groups
        .values()
        .flat_map(|group| group.reports().map(move |(role, report)| (group, role, report)))
        .map(|(group, role, report)| {
            let tried = group.trial(role).filter(|trial| trial.digest() == report.digest);
            let mode = tried.map_or("in force", |trial| trial.mode().as_str());
            json!({
                "name": report.policy.as_str(),
                "role": role.as_str(),
                "digest": report.digest.to_string(),
                "group": group.config.name.as_str(),
                "mode": mode,
                "generation": begun.of(group.config.name.as_str(), role, report.policy.as_str(), report.digest),
                "calls": report.calls,
                "outcomes": report.outcomes,
                "faults": report.faults,
                "faults_by_kind": by_kind(&report.faults_by_kind),
                "refusals": report.refusals,
                "quarantined": report.quarantined,
                "next_probe_ms": report.next_probe.map(Moment::as_millis),
                "slow": report.slow,
                "mean_us": report.times.mean.as_secs_f64() * 1e6,
            })
        })
        .collect();
    let problems = app.gateway.live.problems();
    let answer = json!({
        "generation": snapshot.generation,
        "policies": list,
        "rollouts": super::rollout::figures(&snapshot),
        "compiling": snapshot.rollouts.compiling(),
        "problems": *problems,
    });
    probe::json_response(StatusCode::OK, &answer)
}

/// Those kinds of which there were any.
fn by_kind(faults: &[u64]) -> Value {
    let some = PolicyFault::KINDS.into_iter().zip(faults).filter(|(_, count)| **count > 0);
    Value::Object(some.map(|(kind, count)| (kind.to_owned(), json!(count))).collect())
}

/// Why a recent request was decided as it was.
pub(super) async fn decision(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let api = spoken_at(uri.path(), &headers);
    let refuse = |why: &str| {
        let mut refusal = Refusal::new(RefusalKind::UnknownPath, why);
        refusal.code = Some("unknown_decision".to_owned());
        refusal::unrecorded(&app, api, &refusal)
    };
    let Some(request) = RequestId::parse(&id) else {
        return refuse("this is no request's id; it is the header `x-request-id` (or `request-id`) of a reply");
    };
    let decisions = &app.gateway.decisions;
    match decisions.recent(request) {
        Some(shown) => probe::json_response(StatusCode::OK, &shown),
        None if decisions.is_on() => {
            refuse("it is none of the last 1,000 requests; `witgate explain` looks into the runs that are kept")
        }
        None => refuse("no decisions are kept; set `witgate.decisions` in the configuration"),
    }
}

/// The same for `/metrics`.
pub(super) fn figures(app: &App) -> Vec<PolicyFigures> {
    let snapshot = app.gateway.live.read();
    let reports =
        snapshot.groups.values().flat_map(|group| group.reports().map(move |(role, report)| (group, role, report)));
    let figures = reports.map(|(group, role, report)| PolicyFigures {
        group: group.config.name.to_string(),
        policy: format!("{}@{}", report.policy, report.digest.short()),
        role: role.as_str(),
        calls: report.calls,
        refusals: report.refusals,
        faults: PolicyFault::KINDS.into_iter().zip(report.faults_by_kind).collect(),
        call_seconds: report.histogram.total.as_secs_f64(),
        call_buckets: report.histogram.in_seconds(),
    });
    figures.collect()
}
