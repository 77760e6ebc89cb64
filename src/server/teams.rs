//! `/team/*`: teams of keys, in LiteLLM's paths and shapes. Behind the operator's key.
//!
//! A team is made, written and put in force as a key is. Who belongs to it is said by its keys; it has no members beside them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::budgets::BudgetReport;
use crate::config::TeamSpec;
use crate::fault::{Refusal, RefusalKind};
use crate::id::TeamId;
use crate::keys::KnownTeam;
use crate::moment::Moment;
use crate::virtual_key::{Allowance, KeptTeam};

use super::App;
use super::keys::fields::{Fields, shown_team};
use super::keys::{answer, answered, changed, known_names, missing, query, shown as shown_key};

/// Letters of a team's name at most.
const NAME: usize = 200;

/// `POST /team/new`.
pub(super) async fn new(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let now = app.gateway.clock.now();
        let mut fields = Fields::read(body)?.of_new();
        let id = match fields.take_text("team_id")? {
            Some(id) if id.chars().count() <= NAME && !id.chars().any(char::is_control) => id,
            Some(_) => {
                let message = format!("a `team_id` has at most {NAME} letters, and no control characters");
                return Err(Refusal::new(RefusalKind::InvalidRequest, message).at("team_id"));
            }
            // Ordered by time, and no two the same.
            None => app.gateway.new_id().to_string(),
        };
        if find(app, &id).is_ok() {
            return Err(Refusal::new(RefusalKind::InvalidRequest, "this team is there already").at("team_id"));
        }
        let defaults = &app.gateway.live.read().settings.payers.new_teams;
        let made = fields.over_team(defaults.team(id, now), now)?;
        keep(app, None, made).map(|known| Value::Object(shown(app, &known, now)))
    })
    .await
}

/// `POST /team/update`: the fields that are given, null takes one away.
pub(super) async fn update(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let now = app.gateway.clock.now();
        let mut fields = Fields::read(body)?;
        let id = fields.take_text("team_id")?.ok_or_else(|| missing("team_id"))?;
        let before = changeable(app, &id)?;
        let changed = fields.over_team(before.clone(), now)?;
        let known = keep(app, Some(&before), changed)?;
        Ok(json!({"team_id": id, "data": shown(app, &known, now)}))
    })
    .await
}

/// `POST /team/block`: its keys are refused.
pub(super) async fn block(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    set_blocked(&app, request, true).await
}

/// `POST /team/unblock`.
pub(super) async fn unblock(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    set_blocked(&app, request, false).await
}

async fn set_blocked(app: &Arc<App>, request: Request<Body>, blocked: bool) -> Response {
    answered(app, request, move |app, body| {
        let id = Fields::read(body)?.take_text("team_id")?.ok_or_else(|| missing("team_id"))?;
        let now = app.gateway.clock.now();
        let before = changeable(app, &id)?;
        let known = keep(app, Some(&before), KeptTeam { blocked, updated: now, ..before.clone() })?;
        Ok(Value::Object(shown(app, &known, now)))
    })
    .await
}

/// `POST /team/delete`: `team_ids`, and the keys of these teams with them, as in LiteLLM.
pub(super) async fn delete(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    answered(&app, request, |app, body| {
        let ids = Fields::read(body)?.texts("team_ids")?;
        if ids.is_empty() {
            return Err(missing("team_ids"));
        }
        // All of them are there, or none is taken away.
        let gone = ids.iter().map(|id| changeable(app, id)).collect::<Result<Vec<_>, Refusal>>()?;
        changed(app, |keys| keys.delete_teams(&gone))?;
        let (keys, now) = (Arc::clone(&app.gateway.live.read().callers.keys), app.gateway.clock.now());
        let of_these = keys
            .all()
            .into_iter()
            .filter(|known| !known.configured && known.key.team.as_ref().is_some_and(|team| ids.contains(team)));
        for known in of_these {
            keys.remove(now, known.key.hash);
        }
        for id in &ids {
            keys.teams.remove(now, &TeamId::from(id.as_str()));
        }
        Ok(json!({"deleted_teams": ids}))
    })
    .await
}

/// `GET /team/info?team_id=…`.
pub(super) async fn info(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let told = || {
        known_names(&uri, &["team_id"])?;
        let id = query(&uri, "team_id").ok_or_else(|| missing("team_id"))?;
        let now = app.gateway.clock.now();
        let found = find(&app, &id)?;
        Ok(json!({
            "team_id": id,
            "team_info": found.shown(&app, now),
            "keys": keys_of(&app, &id, now),
            "team_memberships": [],
        }))
    };
    answer(&app, &uri, &headers, told())
}

/// `GET /team/list`: all of them, by name.
pub(super) async fn list(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    if let Err(why) = known_names(&uri, &[]) {
        return answer(&app, &uri, &headers, Err(why));
    }
    let now = app.gateway.clock.now();
    let snapshot = app.gateway.live.read();
    let configured = snapshot.settings.payers.teams.keys().map(ToString::to_string);
    let kept = snapshot.callers.keys.teams.all();
    let mut ids: Vec<String> = configured.chain(kept.into_iter().map(|known| known.team.id.clone())).collect();
    ids.sort();
    let teams = ids.iter().filter_map(|id| {
        let mut told = find(&app, id).ok()?.shown(&app, now);
        told.insert("keys".to_owned(), keys_of(&app, id, now));
        told.insert("team_memberships".to_owned(), json!([]));
        Some(Value::Object(told))
    });
    answer(&app, &uri, &headers, Ok(teams.collect()))
}

/// A team, and where it comes from.
pub(super) enum Found {
    Kept(KnownTeam),
    Configured(Box<KeptTeam>),
}

impl Found {
    fn shown(&self, app: &App, now: Moment) -> Map<String, Value> {
        match self {
            Self::Kept(known) => shown(app, known, now),
            Self::Configured(team) => {
                let reports = app.gateway.budgets.reports(now);
                shown_team(team, reports.iter().find(|report| report.scope == team.scope()), true)
            }
        }
    }
}

pub(super) fn find(app: &App, id: &str) -> Result<Found, Refusal> {
    let snapshot = app.gateway.live.read();
    let team = TeamId::from(id);
    if let Some(spec) = snapshot.settings.payers.teams.get(&team) {
        return Ok(Found::Configured(Box::new(of_configuration(id, spec))));
    }
    snapshot.callers.keys.teams.get(&team).map(Found::Kept).ok_or_else(|| {
        let mut refusal = Refusal::new(RefusalKind::UnknownPath, "there is no such team").at("team_id");
        refusal.code = Some("team_not_found".to_owned());
        refusal
    })
}

/// A team of the configuration, as it is shown.
fn of_configuration(id: &str, spec: &TeamSpec) -> KeptTeam {
    let limits = spec.payer.limits.as_ref().map(Allowance::of_limits);
    let budget = spec.payer.budgets.first();
    KeptTeam {
        models: spec.models.clone(),
        allowance: Allowance {
            max_budget: budget.and_then(|budget| budget.max),
            soft_budget: budget.and_then(|budget| budget.soft),
            period: budget.and_then(|budget| budget.period.clone()),
            ..limits.unwrap_or_default()
        },
        ..KeptTeam::new(id.to_owned(), Moment::default())
    }
}

/// A team that is kept, to be changed.
fn changeable(app: &App, id: &str) -> Result<KeptTeam, Refusal> {
    match find(app, id)? {
        Found::Kept(known) => Ok((*known.team).clone()),
        Found::Configured(_) => {
            let message = "this team is one of the configuration's; change it there, under `witgate.teams`";
            Err(Refusal::new(RefusalKind::InvalidRequest, message).at("team_id"))
        }
    }
}

/// Writes a team in the place of what was read of it, and puts it in force. Blocks.
fn keep(app: &App, before: Option<&KeptTeam>, team: KeptTeam) -> Result<KnownTeam, Refusal> {
    changed(app, |keys| keys.put_team(before, &team))?;
    let (keys, id) = (Arc::clone(&app.gateway.live.read().callers.keys), team.team_id());
    keys.teams.put(app.gateway.clock.now(), team);
    // Who waits for its limits or its budget may have more room now.
    app.gateway.capacity.notify();
    let known = keys.teams.get(&id);
    known.ok_or_else(|| Refusal::new(RefusalKind::Internal, "the team was written and is not in force"))
}

fn shown(app: &App, known: &KnownTeam, now: Moment) -> Map<String, Value> {
    let budget: Option<BudgetReport> = known.budgets.first().and_then(|id| app.gateway.budgets.report(now, *id));
    let mut told = shown_team(&known.team, budget.as_ref(), false);
    if app.gateway.live.read().callers.keys.is_unreadable_team(&known.team.team_id()) {
        told.insert("unreadable".to_owned(), json!(true));
    }
    told
}

/// Its keys.
fn keys_of(app: &App, id: &str, now: Moment) -> Value {
    let keys = app.gateway.live.read().callers.keys.all();
    let own = keys.iter().filter(|known| known.key.team.as_deref() == Some(id));
    own.map(|known| Value::Object(shown_key(app, known, now))).collect()
}
