//! `POST /spend/calculate`: what the input of a request would cost, or what a reply did cost, in LiteLLM's path and shape. Behind the admin
//! key; nothing is sent, held or recorded.
//!
//! Where the deployments of a group have different prices, it is the dearest that counts, as for a budget.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;

use crate::config;
use crate::fault::{Refusal, RefusalKind};
use crate::format::{self, ClientApi, ClientRequest, spoken_at};
use crate::money::{NanoUsd, Prices};
use crate::snapshot::{Caller, Snapshot};

use super::{App, count, probe, refusal, shortened};

/// The field that holds a reply.
const REPLY: &str = "completion_response";

/// What of a body says what is to be calculated.
#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    messages: Option<IgnoredAny>,
    completion_response: Option<Box<RawValue>>,
}

/// `model` with `messages`, or a `completion_response`.
pub(super) async fn calculate(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let api = spoken_at(request.uri().path(), request.headers());
    match cost(&app, api, request).await {
        Ok(cost) => probe::json_response(StatusCode::OK, &json!({"cost": cost.as_usd()})),
        Err(why) => refusal::unrecorded(&app, api, &why),
    }
}

async fn cost(app: &App, api: &'static dyn ClientApi, request: Request<Body>) -> Result<NanoUsd, Refusal> {
    let (caller, request) = count::read(app, request).await?;
    let unread = |fault: serde_json::Error| {
        Refusal::new(RefusalKind::InvalidRequest, format!("the body cannot be read: {fault}"))
    };
    let asked: Asked = serde_json::from_slice(&request.body).map_err(unread)?;
    match asked {
        Asked { model: Some(_), messages: Some(_), .. } => of_input(app, &caller, api, &request).await,
        Asked { model: Some(_), messages: None, .. } => {
            Err(wrong("messages", "`messages` is missing, whose cost with this `model` is asked for"))
        }
        Asked { model: None, completion_response: Some(reply), .. } => of_reply(&app.gateway.live.read(), &reply),
        Asked { model: None, completion_response: None, .. } => {
            Err(wrong("model", "`model` with `messages`, or `completion_response`, is missing"))
        }
    }
}

/// What the input costs of which nothing is cached, as it is counted for limits.
async fn of_input(
    app: &App,
    caller: &Caller,
    api: &'static dyn ClientApi,
    request: &ClientRequest,
) -> Result<NanoUsd, Refusal> {
    let snapshot = app.gateway.live.read();
    let request = api.countable(request)?;
    let name = request.model.clone();
    let counted = if snapshot.group(&name).is_some() {
        app.gateway.count(caller, request).await?
    } else {
        let model = name.split_once('/').map_or(&*name, |(_, model)| model).to_owned();
        app.gateway.count_by(request, model).await?
    };
    let cost = dearest(&snapshot, &name, |prices| prices.of(counted.tokens, 0));
    cost.ok_or_else(|| unpriced(&name))
}

/// What a reply cost whose model is a group's name, or a provider's.
fn of_reply(snapshot: &Snapshot, reply: &RawValue) -> Result<NanoUsd, Refusal> {
    let (own, _) = format::own();
    let unread = |why: &str| wrong(REPLY, &format!("`{REPLY}` is no whole reply of chat completions: {why}"));
    let reply = own.decode(reply.get().as_bytes()).map_err(|fault| unread(&fault.message))?;
    let usage = reply.usage.ok_or_else(|| unread("it has no `usage`"))?;
    let cost = dearest(snapshot, &reply.model, |prices| prices.cost(&usage));
    cost.or(usage.told_cost).ok_or_else(|| unpriced(&reply.model))
}

/// The most that prices known under this name come to: those of a group's deployments, else of the deployments with this model, else of the
/// table of models.
fn dearest(snapshot: &Snapshot, name: &str, cost: impl Fn(&Prices) -> NanoUsd) -> Option<NanoUsd> {
    let group = snapshot.group(name);
    let of_group = group.iter().flat_map(|group| group.deployments.iter()).map(|deployment| &deployment.config);
    let all = snapshot.groups.values().flat_map(|group| group.deployments.iter()).map(|deployment| &deployment.config);
    let of_model = all.filter(|deployment| *deployment.model == *name);
    let of_group = of_group.filter_map(|deployment| deployment.prices.as_ref()).map(&cost).max();
    let of_model = || of_model.filter_map(|deployment| deployment.prices.as_ref()).map(&cost).max();
    of_group.or_else(of_model).or_else(|| config::prices_of(name).as_ref().map(&cost))
}

fn unpriced(name: &str) -> Refusal {
    let name = shortened(name);
    let why = format!(
        "no price of `{name}` is known; give its deployments `input_cost_per_token` and `output_cost_per_token`, or ask for a model of `/v1/models`"
    );
    wrong("model", &why)
}

fn wrong(field: &str, why: &str) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, why).at(field)
}
