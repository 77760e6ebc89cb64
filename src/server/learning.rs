//! What routers come to: of each group that a policy decides for, who was chosen over the last two hours, and what replies were worth.
//! Behind the admin key. It is read from counts that are kept anyway (`telemetry::Lately`), for any policy, and asks none.
//!
//! A reply's worth is that of the router's own settings (`reward`), in the words of `bandit`: quality less cost and latency. Quality is the mean
//! of what was told: by feedback, by a judge, or by the gateway, which sees replies that were cut or not taken. Where nothing was, no worth is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::evaluate::Objective;
use crate::fault::{Refusal, RefusalKind};
use crate::format::spoken_at;
use crate::id::{DeploymentId, GroupName};
use crate::moment::Moment;
use crate::snapshot::{GroupRuntime, Snapshot};
use crate::telemetry::{ByMinute, Happened, Lately, MINUTES};

use super::{App, learning_page, probe, refusal, shortened};

/// What is shown of a group.
pub(super) struct GroupShown {
    pub(super) group: GroupName,
    /// `NAME@DIGEST`.
    pub(super) policy: Arc<str>,
    pub(super) objective: Objective,
    /// Those of the configuration in its order, then those that are gone.
    pub(super) deployments: Vec<DeploymentShown>,
}

/// What is shown of a deployment.
pub(super) struct DeploymentShown {
    pub(super) deployment: DeploymentId,
    /// Its share of all that the group was asked.
    pub(super) share: f64,
    /// What happened, all of it,
    pub(super) all: Happened,
    /// and by minutes ago.
    pub(super) minutes: ByMinute,
    /// The mean quality, where any was told.
    pub(super) quality: Option<Around>,
    /// What a reply is worth.
    pub(super) worth: Option<Around>,
}

/// A mean, and where it is at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Around {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// `/admin/learning`: every group that a policy decides for, or the `group` that is asked for.
pub(super) async fn figures(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    match shown(&app, &uri) {
        Ok(groups) => {
            let groups: Vec<Value> = groups.iter().map(as_json).collect();
            probe::json_response(StatusCode::OK, &json!({"minutes": MINUTES, "groups": groups}))
        }
        Err(why) => refusal::unrecorded(&app, spoken_at(uri.path(), &headers), &why),
    }
}

/// `/admin/learning/page`: the same for people.
pub(super) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    match shown(&app, &uri) {
        Ok(groups) => {
            // It runs nothing and loads nothing; the key may stand in its address, which nobody else is to be told.
            let head = [
                (CONTENT_TYPE, "text/html; charset=utf-8"),
                (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
                (REFERRER_POLICY, "no-referrer"),
                (CACHE_CONTROL, "no-store"),
            ];
            (head, learning_page::page(&groups)).into_response()
        }
        Err(why) => refusal::unrecorded(&app, spoken_at(uri.path(), &headers), &why),
    }
}

/// What is asked for, groups by their names.
fn shown(app: &App, uri: &Uri) -> Result<Vec<GroupShown>, Refusal> {
    let (snapshot, now) = (app.gateway.live.read(), app.gateway.clock.now());
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let only = query.find(|(name, _)| name == "group").map(|(_, group)| group.into_owned());
    let groups =
        of_policies(&snapshot).filter(|group| only.as_ref().is_none_or(|only| group.config.name.as_str() == only));
    let groups: Vec<GroupShown> = groups.map(|group| of_group(group, &app.metrics.lately, now)).collect();
    match only {
        Some(only) if groups.is_empty() => {
            let message =
                format!("no policy decides for a group `{}`; `/admin/policies` lists those that do", shortened(&only));
            let mut refusal = Refusal::new(RefusalKind::UnknownPath, message);
            refusal.code = Some("unknown_group".to_owned());
            Err(refusal)
        }
        _ => Ok(groups),
    }
}

fn of_policies(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<GroupRuntime>> {
    snapshot.groups.values().filter(|group| group.router.is_some())
}

fn of_group(group: &GroupRuntime, lately: &Lately, now: Moment) -> GroupShown {
    let settings = serde_json::from_str(&group.config.router.settings).unwrap_or_default();
    // Settings of another policy may mean something else by these words.
    let objective = Objective::of(&settings).unwrap_or_default();
    let mut happened: BTreeMap<DeploymentId, ByMinute> = lately.of(now, &group.config.name);
    let configured: Vec<DeploymentId> = group.deployments.iter().map(|one| one.config.id.clone()).collect();
    let gone: BTreeSet<DeploymentId> = happened.keys().filter(|id| !configured.contains(id)).cloned().collect();
    let mut deployments: Vec<DeploymentShown> = configured
        .into_iter()
        .chain(gone)
        .map(|id| {
            let minutes = happened.remove(&id).unwrap_or_default();
            of_deployment(id, minutes, &objective)
        })
        .collect();
    let all: u64 = deployments.iter().map(|one| one.all.chosen).sum();
    for one in &mut deployments {
        one.share = number(one.all.chosen) / number(all).max(1.0);
    }
    GroupShown { group: group.config.name.clone(), policy: Arc::clone(&group.policy), objective, deployments }
}

fn of_deployment(deployment: DeploymentId, minutes: ByMinute, objective: &Objective) -> DeploymentShown {
    let mut all = Happened::default();
    for happened in minutes.values() {
        all.add(happened);
    }
    let quality = quality(&all);
    let cost = mean_of_logarithms(all.ln_cost, all.priced).unwrap_or_default();
    let latency = mean_of_logarithms(all.ln_latency, all.replied);
    let worth = quality.map(|quality| {
        let of = |quality| objective.worth(quality, cost, latency);
        Around { mean: of(quality.mean), low: of(quality.low), high: of(quality.high) }
    });
    DeploymentShown { deployment, share: 0.0, all, minutes, quality, worth }
}

/// By how much qualities of replies usually vary, as a standard deviation: what few of them say of it counts as one more.
const VARY: f64 = 0.3;

/// The mean of what was told, and where the true one is at 95 %.
fn quality(all: &Happened) -> Option<Around> {
    let count = number(all.judged);
    let mean = all.quality / count.max(1.0);
    let variance = ((all.quality_squared - count * mean * mean).max(0.0) + VARY * VARY) / count.max(1.0);
    let margin = 1.96 * (variance / count.max(1.0)).sqrt();
    (all.judged > 0).then(|| Around { mean, low: (mean - margin).max(0.0), high: (mean + margin).min(1.0) })
}

fn mean_of_logarithms(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| (sum / number(count)).exp())
}

#[expect(clippy::cast_precision_loss, reason = "counts of two hours")]
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}

fn as_json(shown: &GroupShown) -> Value {
    let deployments: Vec<Value> = shown.deployments.iter().map(deployment).collect();
    json!({
        "group": shown.group.as_str(),
        "policy": &*shown.policy,
        "reward": shown.objective,
        "requests": shown.deployments.iter().map(|one| one.all.chosen).sum::<u64>(),
        "deployments": deployments,
    })
}

fn deployment(one: &DeploymentShown) -> Value {
    let mut by_minute = vec![0_u64; MINUTES];
    for (ago, happened) in &one.minutes {
        // The last one is the minute under way.
        by_minute[MINUTES - 1 - ago] = happened.chosen;
    }
    let around = |around: Option<Around>| {
        around.map(|Around { mean, low, high }| json!({"mean": mean, "low": low, "high": high}))
    };
    json!({
        "deployment": one.deployment.as_str(),
        "requests": one.all.chosen,
        "share": one.share,
        "replies": one.all.replied,
        "judged": one.all.judged,
        "quality": around(one.quality),
        "worth": around(one.worth),
        "cost_usd": mean_of_logarithms(one.all.ln_cost, one.all.priced),
        "latency_ms": mean_of_logarithms(one.all.ln_latency, one.all.replied),
        "requests_by_minute": by_minute,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wide_where_little_was_told_and_never_beyond_what_there_is() {
        assert_eq!(quality(&Happened::default()), None);
        let told = |judged: u64, each: f64| Happened {
            judged,
            quality: number(judged) * each,
            quality_squared: number(judged) * each * each,
            ..Happened::default()
        };
        let one = quality(&told(1, 0.5)).unwrap();
        assert!((one.mean - 0.5).abs() < 1e-9 && one.low < 0.01 && one.high > 0.99, "{one:?}");
        // 0.3 / 100 · 1.96
        let many = quality(&told(100, 0.5)).unwrap();
        assert!((many.high - many.low - 2.0 * 0.005_88).abs() < 1e-4, "{many:?}");
        let best = quality(&told(3, 1.0)).unwrap();
        assert!(best.high <= 1.0 && best.low > 0.7, "{best:?}");
        // Half of them worth 0 and half 1: a deviation of 0.5.
        let split = Happened { judged: 400, quality: 200.0, quality_squared: 200.0, ..Happened::default() };
        let split = quality(&split).unwrap();
        assert!((split.high - 0.5 - 1.96 * 0.5 / 20.0).abs() < 1e-4, "{split:?}");
    }

    #[test]
    fn worth_is_quality_less_what_it_costs_by_the_routers_own_weights() {
        let happened = Happened {
            chosen: 10,
            judged: 10,
            quality: 8.0,
            quality_squared: 6.4,
            priced: 10,
            ln_cost: 10.0 * 0.001_f64.ln(),
            replied: 10,
            ln_latency: 10.0 * 200.0_f64.ln(),
        };
        let shown = of_deployment("a".into(), ByMinute::from([(3, happened)]), &Objective::default());
        // A tenth of a cent is half way from 0.001 cents to 10.
        assert!((shown.worth.unwrap().mean - (0.8 - 0.2 * 0.5)).abs() < 1e-9, "{:?}", shown.worth);
        let told = deployment(&shown);
        assert_eq!((&told["requests_by_minute"][MINUTES - 4], &told["requests"]), (&json!(10), &json!(10)));
        assert!((told["latency_ms"].as_f64().unwrap() - 200.0).abs() < 1e-6 && told["quality"]["low"].is_number());
        let nothing = deployment(&of_deployment("b".into(), ByMinute::new(), &Objective::default()));
        assert!(nothing["worth"].is_null() && nothing["cost_usd"].is_null() && nothing["share"] == 0.0, "{nothing}");
    }
}
