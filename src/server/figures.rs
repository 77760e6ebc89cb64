//! What `/metrics` tells of queues and limits: as they are when it is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::Scope;
use crate::telemetry::{BudgetFigures, LimitFigures, QueueFigures, StateFigures};
use crate::virtual_key::KeyHash;

use super::App;

/// All of it.
pub(super) fn state(app: &App) -> StateFigures {
    StateFigures {
        queues: queues(app),
        limits: limits(app),
        budgets: budgets(app),
        shared_limits_up: app.gateway.limits.shared_is_up(),
    }
}

/// Every budget that bounds something, keys by the names people gave them.
fn budgets(app: &App) -> Vec<BudgetFigures> {
    let snapshot = app.gateway.live.read();
    let reports = app.gateway.budgets.reports(app.gateway.clock.now()).into_iter();
    let bounding = reports.filter(|report| report.max.or(report.soft).is_some());
    let figures = bounding.map(|report| {
        let known = match &report.scope {
            Scope::Key(key) => KeyHash::parse(key.as_str()).and_then(|hash| snapshot.callers.keys.get(hash)),
            _ => None,
        };
        BudgetFigures {
            scope: known.map_or_else(|| name(&report.scope), |known| format!("key:{}", known.key.label())),
            period: report.period.as_ref().map(ToString::to_string).unwrap_or_default(),
            max_usd: report.max.map(crate::money::NanoUsd::as_usd),
            spent_usd: report.spent.as_usd(),
            held_usd: report.held.as_usd(),
        }
    });
    figures.collect()
}

/// Every queue, once for all groups that share it.
fn queues(app: &App) -> Vec<QueueFigures> {
    let (snapshot, now) = (app.gateway.live.read(), app.gateway.clock.now());
    let mut shared: BTreeMap<usize, (String, _)> = BTreeMap::new();
    for (name, group) in &snapshot.groups {
        let (names, _) =
            shared.entry(Arc::as_ptr(&group.queue).addr()).or_insert_with(|| (String::new(), Arc::clone(&group.queue)));
        if !names.is_empty() {
            names.push(',');
        }
        names.push_str(name.as_str());
    }
    let mut figures: Vec<QueueFigures> = shared
        .into_values()
        .map(|(groups, queue)| {
            let report = queue.report(now);
            let next_start_seconds = match report.next_start {
                _ if report.waiting == 0 => 0.0,
                Some(next) => next.since(now).as_secs_f64(),
                None => f64::NAN,
            };
            QueueFigures {
                groups,
                waiting: report.waiting as u64,
                tokens: report.tokens,
                oldest_seconds: report.oldest.as_secs_f64(),
                next_start_seconds,
            }
        })
        .collect();
    figures.sort_by(|one, other| one.groups.cmp(&other.groups));
    figures
}

/// The limits of all, and of every deployment or what several share, where there are any.
fn limits(app: &App) -> Vec<LimitFigures> {
    let (snapshot, now) = (app.gateway.live.read(), app.gateway.clock.now());
    let limits = app.gateway.limits.local();
    let deployments = snapshot.groups.values().flat_map(|group| &group.deployments);
    let scopes = deployments.map(|one| (name(&one.config.scope), one.scope));
    let global = snapshot.callers.anonymous.scopes.first().map(|scope| ("global".to_owned(), *scope));
    let all: BTreeMap<String, _> = scopes.chain(global).collect();
    all.into_iter().map(|(scope, id)| LimitFigures { scope, windows: limits.reports(now, id) }).collect()
}

fn name(scope: &Scope) -> String {
    match scope {
        Scope::Deployment(deployment) => deployment.to_string(),
        Scope::Quota(quota) => quota.to_string(),
        Scope::Global => "global".to_owned(),
        Scope::Key(key) => format!("key:{key}"),
        Scope::Team(team) => format!("team:{team}"),
        Scope::Tag(tag) => format!("tag:{tag}"),
        Scope::Provider(provider) => format!("provider:{provider}"),
        Scope::Group(group) => format!("group:{group}"),
    }
}
