//! What one generation has that the one before had not, in words for the log and for whoever asks: groups that came, went or were
//! configured otherwise, and policies that another version decides in the place of.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{BuilderChoice, Deployment, Group, Identity, ParserChoice, ProviderChoice, RouterChoice};
use crate::policy::Role;
use crate::snapshot::{GroupRuntime, Snapshot};

/// Lines that are told one by one: a file of ten thousand groups may change in each.
const MOST_TOLD: usize = 50;

/// What is new in `after`, one line each; empty where nothing is that a request could meet.
pub(super) fn changes(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, group) in &after.groups {
        match before.groups.get(name) {
            None => lines.push(format!("group `{name}` added, decided by {}", group.policy)),
            Some(old) => {
                let mut parts = policies(old, group);
                if before.fingerprint != after.fingerprint {
                    parts.extend(configured(&old.config, &group.config));
                }
                if !parts.is_empty() {
                    lines.push(format!("group `{name}`: {}", parts.join(", ")));
                }
            }
        }
    }
    let gone = before.groups.keys().filter(|name| !after.groups.contains_key(*name));
    lines.extend(gone.map(|name| format!("group `{name}` removed")));
    match (before.settings.asks_for_keys(), after.settings.asks_for_keys()) {
        (false, true) => lines.push("configuration: keys are asked for".to_owned()),
        (true, false) => lines.push("configuration: no key is asked for any more".to_owned()),
        _ => {}
    }
    if lines.is_empty() && before.fingerprint != after.fingerprint {
        lines.push("configuration: no group's deployments, rules or policies".to_owned());
    }
    let more = lines.len().saturating_sub(MOST_TOLD);
    lines.truncate(MOST_TOLD);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// Policies whose version is another, or that came or went: `router a@1 → a@2`.
fn policies(before: &GroupRuntime, after: &GroupRuntime) -> Vec<String> {
    let (before, after) = (versions(before), versions(after));
    let mut roles: Vec<&String> = before.keys().chain(after.keys()).collect();
    roles.sort();
    roles.dedup();
    let told = roles.into_iter().map(|role| match (before.get(role), after.get(role)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{role} {old} → {new}")),
        (None, Some(new)) => Some(format!("{role} {new}")),
        (Some(old), None) => Some(format!("{role} {old} gone")),
        (None, None) => None,
    });
    told.flatten().collect()
}

/// Who decides what for a group, as `NAME@DIGEST`.
fn versions(group: &GroupRuntime) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([("router".to_owned(), group.policy.to_string())]);
    found.extend(group.trials().map(|trial| {
        let mode = trial.mode().as_str();
        let what = match trial.role() {
            Role::Router => mode.to_owned(),
            role => format!("{} ({mode})", role.as_str().replace('-', " ")),
        };
        (what, trial.component().label())
    }));
    let builder = group.builder.as_ref().map(|policy| ("prompt builder", policy.component()));
    let parser = group.parser.as_ref().map(|policy| ("response parser", policy.component()));
    found.extend([builder, parser].into_iter().flatten().map(|(role, of)| (role.to_owned(), of.label())));
    let providers = group.provider_policies().map(|policy| policy.component());
    // Deployments of a group that name one policy have one version of it.
    found.extend(providers.map(|component| (format!("provider {}", component.name()), component.label())));
    found
}

/// What a group is configured with otherwise than before.
fn configured(before: &Group, after: &Group) -> Vec<String> {
    let mut parts = Vec::new();
    let of = |group: &Group| -> BTreeMap<String, Arc<Deployment>> {
        let list = group.deployments.iter();
        list.map(|deployment| (deployment.id.to_string(), Arc::clone(deployment))).collect()
    };
    let (old, new) = (of(before), of(after));
    for (id, deployment) in &new {
        match old.get(id) {
            None => parts.push(format!("deployment `{id}` added")),
            Some(other) if !same_deployment(other, deployment) => parts.push(format!("deployment `{id}` changed")),
            Some(_) => {}
        }
    }
    parts.extend(old.keys().filter(|id| !new.contains_key(*id)).map(|id| format!("deployment `{id}` removed")));
    let ids = |group: &Group| group.deployments.iter().map(|deployment| deployment.id.clone()).collect::<Vec<_>>();
    if parts.is_empty() && ids(before) != ids(after) {
        parts.push("order of the deployments".to_owned());
    }
    // Where in the file something stands is no part of what it says.
    let router = |group: &Group| RouterChoice { at: Arc::default(), ..group.router.clone() };
    let builder = |group: &Group| group.builder.clone().map(|choice| BuilderChoice { at: Arc::default(), ..choice });
    let parser = |group: &Group| group.parser.clone().map(|choice| ParserChoice { at: Arc::default(), ..choice });
    let rules = |group: &Group| format!("{:?}{:?}", group.tag_filter, group.failures);
    let others = [
        (router(before) != router(after), "router's entry"),
        (builder(before) != builder(after), "prompt builder's entry"),
        (parser(before) != parser(after), "response parser's entry"),
        (rules(before) != rules(after), "retries, fallbacks or tags"),
    ];
    parts.extend(others.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what.to_owned()));
    parts
}

/// The file that says who a deployment's requests are from.
fn path(deployment: &Deployment) -> Option<&Path> {
    let Identity::AwsRole(role) = deployment.identity.as_ref()? else { return None };
    role.token_file()
}

/// Whether two deployments are configured alike: by all that they show of themselves, and by the secrets they do not show.
fn same_deployment(one: &Deployment, other: &Deployment) -> bool {
    let shown = |deployment: &Deployment| {
        let policy = deployment.policy.clone().map(|choice| ProviderChoice { at: Arc::default(), ..choice });
        format!("{:?}", Deployment { policy, ..deployment.clone() })
    };
    one.account() == other.account()
        && path(one) == path(other)
        && one.headers == other.headers
        && one.secrets() == other.secrets()
        && shown(one) == shown(other)
}
