//! What was used, from one start of the gateway to the next: a restart sends nothing that the minute before forbids.
//!
//! What is under way when it is saved counts as if it had been counted at that moment: of what a process that is gone has sent,
//! nobody can say more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dimension::{Amount, Dimension};
use super::meter::Meter;
use super::{Limits, Scope};
use crate::id::{DeploymentId, GroupName, KeyId, ProviderName, TeamId};
use crate::moment::Moment;

/// The windows of every scope that counted something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedLimits {
    /// Under which name it was told to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    scopes: Vec<SavedScope>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedScope {
    kind: String,
    name: String,
    /// The deployments whose limits were kept in it: the next configuration may keep them elsewhere. Older files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployments: Option<Vec<String>>,
    windows: Vec<SavedWindow>,
}

/// One window of a scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedWindow {
    seconds: f64,
    /// Since when, and how much: requests, tokens, input, output, cost.
    counted: Vec<(Moment, [u64; 5])>,
    /// The limits that the provider told, in the same order.
    #[serde(default)]
    told: [Option<u64>; 5],
    /// It slides, whatever is configured: the provider has shown it.
    #[serde(default)]
    slides: bool,
}

/// What a window counts, in the order in which it is written.
const WRITTEN: [Dimension; 5] =
    [Dimension::Requests, Dimension::Tokens, Dimension::InputTokens, Dimension::OutputTokens, Dimension::Cost];

impl SavedLimits {
    /// Whether nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }
}

impl Scope {
    /// Its kind and name: the same in every gateway.
    #[must_use]
    pub fn path(&self) -> String {
        let (kind, name) = written(self);
        format!("{kind}:{name}")
    }
}

pub(super) fn written(scope: &Scope) -> (&'static str, String) {
    match scope {
        Scope::Global => ("global", String::new()),
        Scope::Key(key) => ("key", key.to_string()),
        Scope::Team(team) => ("team", team.to_string()),
        Scope::Tag(tag) => ("tag", tag.to_string()),
        Scope::Provider(provider) => ("provider", provider.to_string()),
        Scope::Group(group) => ("group", group.to_string()),
        Scope::Deployment(deployment) => ("deployment", deployment.to_string()),
        Scope::Quota(name) => ("quota", name.to_string()),
    }
}

fn read(kind: &str, name: &str) -> Option<Scope> {
    Some(match kind {
        "global" => Scope::Global,
        "key" => Scope::Key(KeyId::from(name)),
        "team" => Scope::Team(TeamId::from(name)),
        "tag" => Scope::Tag(name.into()),
        "provider" => Scope::Provider(ProviderName::from(name)),
        "group" => Scope::Group(GroupName::from(name)),
        "deployment" => Scope::Deployment(DeploymentId::from(name)),
        "quota" => Scope::Quota(name.into()),
        _ => return None,
    })
}

fn amount(values: [u64; 5]) -> Amount {
    let mut amount = Amount::default();
    for (dimension, value) in WRITTEN.into_iter().zip(values) {
        amount[dimension] = value;
    }
    amount
}

impl Limits {
    /// What counts now.
    #[must_use]
    pub fn save(&self, now: Moment) -> SavedLimits {
        let mut state = self.lock();
        let named: Vec<_> = state.named().collect();
        let places = Arc::clone(&state.places);
        let mut kept: BTreeMap<&Scope, Vec<String>> = BTreeMap::new();
        for (deployment, scope) in &places.0 {
            kept.entry(scope).or_default().push(deployment.to_string());
        }
        let mut scopes = Vec::new();
        for (scope, id) in named {
            let Some(usage) = state.scope(id) else { continue };
            let windows = usage.meters().map(|meter| {
                // Forgets what is too old.
                meter.used(now);
                let values = |amount: &Amount| WRITTEN.map(|dimension| amount[dimension]);
                let mut counted: Vec<_> = meter.window().counted().map(|(at, amount)| (at, values(&amount))).collect();
                let open = meter.open().windowed();
                if !open.is_nothing() {
                    counted.push((now, values(&open)));
                }
                let told = WRITTEN.map(|dimension| meter.wire().limit(dimension));
                SavedWindow { seconds: meter.length().as_secs_f64(), counted, told, slides: meter.is_contradicted() }
            });
            let says = |window: &SavedWindow| {
                !window.counted.is_empty() || window.slides || window.told.iter().any(Option::is_some)
            };
            let mut windows: Vec<_> = windows.filter(says).collect();
            windows.extend(usage.unclaimed().filter(|window| window.is_fresh(now)).cloned());
            if !windows.is_empty() {
                let (kind, name) = written(&scope);
                let of_deployments = matches!(scope, Scope::Deployment(_) | Scope::Quota(_));
                let deployments = of_deployments.then(|| kept.remove(&scope).unwrap_or_default());
                scopes.push(SavedScope { kind: kind.to_owned(), name, deployments, windows });
            }
        }
        SavedLimits { gateway: state.gateway.as_ref().map(ToString::to_string), scopes }
    }

    /// Counts what counted when it was saved, as far as it still does. A window is found again by its length, as soon as there is a limit of
    /// that length, and what was counted for deployments where their limits are kept now.
    pub fn restore(&self, now: Moment, saved: &SavedLimits) {
        let mut state = self.lock();
        state.predecessor.clone_from(&saved.gateway);
        for one in &saved.scopes {
            let Some(scope) = read(&one.kind, &one.name) else { continue };
            for id in state.heirs(&scope, one.deployments.as_deref()) {
                let Some(usage) = state.scope(id) else { continue };
                one.windows.iter().for_each(|window| usage.restore(window, now));
            }
        }
    }
}

impl SavedWindow {
    pub(super) fn length(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }

    /// Whether anything of it still counts.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        let length = self.length();
        self.counted.iter().any(|(at, _)| *at + length > now)
    }

    /// Counts it in a meter of its length.
    pub(super) fn restore(&self, now: Moment, meter: &mut Meter) {
        // What was told long ago may be another tier's, or another account's.
        let fresh = self.is_fresh(now);
        for (dimension, told) in WRITTEN.into_iter().zip(self.told) {
            if let Some(limit) = told.filter(|_| fresh) {
                meter.told(dimension, limit);
            }
        }
        if self.slides && fresh {
            // Nothing is held yet that would have to move with it.
            let _before = meter.contradict(now);
        }
        for (at, values) in &self.counted {
            // A clock that was put back must not make it count for longer than a window.
            meter.restore((*at).min(now), now, &amount(*values));
        }
    }
}
