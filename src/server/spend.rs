//! What requests cost, in LiteLLM's paths and shapes, out of the ledger. Behind the admin key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::store::{By, Logged, Period, Reader, Spend};
use crate::virtual_key::KeyHash;

use super::{App, probe, refusal};

/// Requests that are told at once.
const MOST: u32 = 1000;

/// `/spend/logs`: the last requests, or one by `request_id`; of a period by `start_date` and `end_date`.
pub(super) async fn logs(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = Asked::of(&uri);
    let read = move |reader: Reader| {
        let requests = reader.requests(asked.request.as_deref(), &asked.period, MOST)?;
        Ok(requests.iter().map(logged).collect())
    };
    answer(&app, &uri, &headers, read).await
}

/// `/global/spend`: all of it.
pub(super) async fn total(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = Asked::of(&uri);
    let read = move |reader: Reader| {
        let lines = reader.spend(By::Day, &asked.period)?;
        let spent: crate::money::NanoUsd = lines.iter().map(|line| line.cost_nano_usd).sum();
        Ok(json!({"spend": spent.as_usd(), "max_budget": null}))
    };
    answer(&app, &uri, &headers, read).await
}

/// `/spend/tags`.
pub(super) async fn tags(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let line = |line: &Spend| json!({"individual_request_tag": line.name, "log_count": line.requests, "total_spend": line.cost_nano_usd.as_usd()});
    sums(&app, &uri, &headers, By::Tag, line).await
}

/// `/global/spend/keys`.
pub(super) async fn keys(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let snapshot = app.gateway.live.read();
    let line = move |line: &Spend| {
        let known = KeyHash::parse(&line.name).and_then(|hash| snapshot.callers.keys.get(hash));
        let alias = match &known {
            Some(known) => known.key.alias.clone(),
            // It has been deleted, or was never one that has another name.
            None => line.alias.clone().or_else(|| KeyHash::parse(&line.name).is_none().then(|| line.name.clone())),
        };
        let name = known.map_or_else(|| line.name.clone(), |known| known.key.name());
        json!({"api_key": line.name, "key_name": name, "key_alias": alias, "total_spend": line.cost_nano_usd.as_usd()})
    };
    sums(&app, &uri, &headers, By::Key, line).await
}

/// `/global/spend/models`.
pub(super) async fn models(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let line = |line: &Spend| json!({"model": line.name, "total_spend": line.cost_nano_usd.as_usd()});
    sums(&app, &uri, &headers, By::Model, line).await
}

async fn sums(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    by: By,
    line: impl Fn(&Spend) -> Value + Send + 'static,
) -> Response {
    let asked = Asked::of(uri);
    let read = move |reader: Reader| Ok(reader.spend(by, &asked.period)?.iter().map(&line).collect());
    answer(app, uri, headers, read).await
}

/// What a path's query says.
struct Asked {
    request: Option<String>,
    period: Period,
}

impl Asked {
    fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default().as_bytes();
        let value = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query);
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        };
        Self { request: value("request_id"), period: Period { since: value("start_date"), until: value("end_date") } }
    }
}

/// Reads the ledger on another thread.
async fn answer(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    read: impl FnOnce(Reader) -> Result<Value, String> + Send + 'static,
) -> Response {
    let refuse = |kind, why: String| refusal::unrecorded(app, spoken_at(uri.path(), headers), &Refusal::new(kind, why));
    let Some(ledger) = &app.gateway.ledger else {
        let why = "no ledger is kept; set `witgate.ledger` in the configuration and start again";
        return refuse(RefusalKind::UnknownPath, why.to_owned());
    };
    let ledger = Arc::clone(ledger);
    let read = app.gateway.blocking.run(move || ledger.reader().and_then(read)).await;
    match read {
        Some(Ok(answer)) => probe::json_response(StatusCode::OK, &answer),
        Some(Err(why)) => refuse(RefusalKind::InvalidRequest, why),
        None => refuse(RefusalKind::Internal, "the ledger could not be read".to_owned()),
    }
}

fn logged(request: &Logged) -> Value {
    json!({
        "request_id": request.id,
        "call_type": request.api,
        "api_key": request.key,
        "team_id": request.team,
        "model": request.model_group,
        "model_group": request.model_group,
        "spend": request.cost_nano_usd.map(crate::money::NanoUsd::as_usd),
        "prompt_tokens": request.input_tokens,
        "completion_tokens": request.output_tokens,
        "total_tokens": request.input_tokens.saturating_add(request.output_tokens),
        "startTime": request.arrived,
        "endTime": request.ended,
        "status": if request.status < 400 { "success" } else { "failure" },
        "metadata": {"status": request.status, "ending": request.ending},
    })
}
