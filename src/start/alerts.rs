//! Who is told of budgets that come to an end: LiteLLM's webhook and Slack, each mark of a budget once in its period.
//!
//! Telling never keeps a request waiting, and is not tried twice: the log has it too.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::budgets::{BudgetReport, Mark, Reached};
use crate::http;
use crate::limits::Scope;
use crate::money::NanoUsd;
use crate::pipeline::Alarm;
use crate::snapshot::Snapshot;
use crate::virtual_key::KeyHash;

/// Tells.
#[derive(Debug, Default)]
pub(super) struct Alerts;

impl Alarm for Alerts {
    fn reached(&self, snapshot: &Snapshot, reached: &Reached) {
        let budget = &reached.budget;
        let (spent, max, soft) = (budget.spent, budget.max.unwrap_or_default(), budget.soft.unwrap_or_default());
        let event = event(snapshot, reached);
        let what = event["event_message"].as_str().unwrap_or_default();
        tracing::warn!(of = ?budget.scope, %spent, %max, %soft, what, "a budget has reached a threshold");
        let alerts = &snapshot.settings.payers.alerts;
        send(alerts.webhook.as_ref(), event.to_string());
        send(alerts.slack.as_ref(), json!({"text": in_words(&event)}).to_string());
    }
}

/// Sends it beside all else, where anybody is to be told.
fn send(url: Option<&SecretString>, body: String) {
    let (Some(url), Ok(runtime)) = (url, tokio::runtime::Handle::try_current()) else { return };
    let url = url.clone();
    drop(runtime.spawn(async move {
        if let Err(why) = http::tell(url.expose_secret(), body.into_bytes()).await {
            tracing::error!(why, "an alert about a budget could not be sent");
        }
    }));
}

/// LiteLLM's `WebhookEvent`.
fn event(snapshot: &Snapshot, reached: &Reached) -> Value {
    let BudgetReport { scope, max, soft, spent, .. } = &reached.budget;
    let usd = |money: &Option<NanoUsd>| money.map(NanoUsd::as_usd);
    let (name, what) = match reached.mark {
        Mark::Soft => ("soft_budget_crossed", format!("Total Soft Budget:`{}`", soft.unwrap_or_default())),
        Mark::Little => ("threshold_crossed", "15% or less of budget remaining".to_owned()),
        Mark::VeryLittle => ("threshold_crossed", "5% or less of budget remaining".to_owned()),
        Mark::Refuses(asked) => {
            ("threshold_crossed", format!("Requests are refused: one may cost `{asked}`, which is more than remains"))
        }
        Mark::Spent => ("budget_crossed", format!("Budget Crossed\n Total Budget:`{}`", max.unwrap_or_default())),
    };
    let known = match scope {
        Scope::Key(key) => KeyHash::parse(key.as_str()).and_then(|hash| snapshot.callers.keys.get(hash)),
        _ => None,
    };
    let key = known.as_ref().map(|known| &known.key);
    let team = match scope {
        Scope::Team(team) => Some(team.to_string()),
        _ => key.and_then(|key| key.team.clone()),
    };
    let (group, whose) = match scope {
        Scope::Key(_) => ("key", "Key Budget: ".to_owned()),
        Scope::Team(team) => ("team", format!("Team Budget `{team}`: ")),
        Scope::Tag(tag) => ("tag", format!("Tag Budget `{tag}`: ")),
        Scope::Group(group) => ("model_access_group", format!("Model Budget `{group}`: ")),
        Scope::Provider(provider) => ("proxy", format!("Provider Budget `{provider}`: ")),
        Scope::Deployment(deployment) => ("proxy", format!("Deployment Budget `{deployment}`: ")),
        Scope::Global | Scope::Quota(_) => ("proxy", "Proxy Budget: ".to_owned()),
    };
    json!({
        "event": name,
        "event_group": group,
        "event_message": format!("{whose}{what}"),
        "spend": spent.as_usd(),
        "max_budget": usd(max),
        "soft_budget": usd(soft),
        "token": key.map(|key| key.hash),
        "key_alias": key.and_then(|key| key.alias.clone()),
        "user_id": key.and_then(|key| key.user.clone()),
        "team_id": team,
        "budget_reset_at": reached.budget.resets.map(crate::moment::Moment::iso),
    })
}

/// The same for people.
fn in_words(event: &Value) -> String {
    let words = event["event_message"].as_str().unwrap_or_default().to_owned();
    let fields = ["spend", "max_budget", "soft_budget", "key_alias", "team_id", "budget_reset_at"];
    let told = fields.iter().filter_map(|field| {
        let value = event.get(field).filter(|value| !value.is_null())?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(format!("*{field}:* `{value}`"))
    });
    std::iter::once(words).chain(told).collect::<Vec<_>>().join("\n")
}
