//! What an experiment changes of a gateway's settings: its groups build its prompts and read its replies, requests may wait for as long as
//! it takes, and no other model takes over. For a plan, providers on the network become simulated ones.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::planned::{Expectations, origin};
use super::{Experiment, WhatIf, what_if};
use crate::catalog::{BuilderChoice, Deployment, Group, Origin, ParserChoice, PolicyPlaces, RollOut};
use crate::config::{LedgerSettings, Settings};
use crate::failover::Fallbacks;
use crate::format::{self, NO_QUIRKS};
use crate::id::PolicyName;
use crate::reload::Adjust;
use crate::signal::Grants;
use crate::upstream::Timeouts;

/// How long a request of an experiment may wait and take in all.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Requests that may wait.
const WAITING: usize = 1 << 20;
/// Bytes of a request: several texts may be in one.
const LARGEST_BODY: usize = 256 << 20;

/// The settings of a run. `ledger`: the file of a ledger that is to be kept and is named nowhere.
#[must_use]
pub fn for_run(experiment: &Experiment, ledger: Option<std::path::PathBuf>) -> Adjust {
    let experiment = experiment.clone();
    Adjust::new(move |settings| {
        own(&experiment, settings);
        ledger_in(settings, ledger.as_deref());
        for (name, group) in &mut settings.catalog.groups {
            if experiment.models().contains(name) {
                let group = Arc::make_mut(group);
                dress(&experiment, group);
            }
        }
    })
}

/// The settings of a plan, with what is tried, and what is expected of each provider that would be called.
#[must_use]
pub fn for_plan(experiment: &Experiment, tried: &[WhatIf], expectations: &Arc<Expectations>) -> Adjust {
    let (experiment, tried, expectations) = (experiment.clone(), tried.to_vec(), Arc::clone(expectations));
    Adjust::new(move |settings| {
        own(&experiment, settings);
        what_if::apply(&tried, &experiment.models(), settings);
        settings.ledger = None;
        settings.shared_limits = None;
        settings.payers = crate::config::PayerSettings::default();
        for (name, group) in &mut settings.catalog.groups {
            let used = experiment.models().contains(name);
            let group = Arc::make_mut(group);
            if used {
                dress(&experiment, group);
            }
            let mut planned = false;
            for deployment in &mut group.deployments {
                let deployment = Arc::make_mut(deployment);
                deployment.budget = None;
                if matches!(deployment.origin, Origin::Http(_)) {
                    plan(deployment, &expectations);
                    planned = true;
                }
            }
            if planned {
                // What a simulated reply says is nothing that could be read.
                group.parser = None;
            }
        }
    })
}

/// What a gateway has that works for a command alone: its requests wait for as long as it takes, and it leaves no state of its own.
pub fn patient(settings: &mut Settings) {
    settings.queue.max_wait = LONGEST;
    settings.queue.max_waiting = WAITING;
    settings.server.request_timeout = LONGEST;
    settings.server.max_request_bytes = LARGEST_BODY;
    settings.server.host = std::net::Ipv4Addr::LOCALHOST.into();
    settings.state_dir = None;
    settings.decisions = None;
}

/// The file of a ledger that is to be kept and is named nowhere.
pub fn ledger_in(settings: &mut Settings, ledger: Option<&std::path::Path>) {
    if settings.need_a_ledger() {
        settings.ledger.get_or_insert_with(LedgerSettings::default);
    }
    if let Some(kept) = settings.ledger.as_mut().filter(|kept| kept.server.is_none()) {
        kept.file = kept.file.take().or_else(|| ledger.map(std::path::Path::to_owned));
    }
}

/// What every gateway of an experiment has.
fn own(experiment: &Experiment, settings: &mut Settings) {
    patient(settings);
    let used = experiment.models();
    // Groups that are not asked cost their policies' compiling.
    settings.catalog.groups.retain(|name, _| used.contains(name));
    settings.aliases.retain(|_, alias| used.contains(&alias.group));
}

/// A group that serves the experiment alone.
fn dress(experiment: &Experiment, group: &mut Group) {
    group.failures.own.fallbacks = Fallbacks::default();
    group.failures.named.values_mut().for_each(|one| one.fallbacks = Fallbacks::default());
    // A study repeats itself, and means nothing by it.
    group.router.asked_again = None;
    let settings = |value: Value| Arc::from(value.to_string());
    if let Some((policy, value)) = experiment.builder() {
        let may_read = group.builder.as_ref().map_or_else(Grants::default, |builder| builder.may_read.clone());
        group.builder = Some(BuilderChoice {
            policy: PolicyName::from(policy),
            settings: settings(value),
            may_reject: true,
            may_read,
            roll_out: RollOut::Replace,
            at: Arc::default(),
            pass_on_fault: false,
        });
    }
    if let Some((policy, value)) = experiment.parser() {
        let at = experiment.file.schema.as_ref().map(|schema| {
            let spot = &schema.at;
            Arc::from(format!("{}:{}:{}", spot.file, spot.line, spot.column))
        });
        group.parser = Some(ParserChoice {
            policy: PolicyName::from(policy),
            settings: settings(value),
            hold: false,
            may_read: Grants::default(),
            roll_out: RollOut::Replace,
            at: Arc::new(PolicyPlaces { entry: at, ..PolicyPlaces::default() }),
        });
    }
}

/// A deployment that is asked nothing: simulated, with the limits, prices and encoding of the real one.
fn plan(deployment: &mut Deployment, expectations: &Expectations) {
    deployment.origin = Origin::Http(origin(expectations.place(deployment)).into());
    spoken_as_simulated(deployment);
    let patient = Timeouts { connect: LONGEST, first_byte: LONGEST, idle: LONGEST };
    (deployment.timeouts, deployment.stream_timeouts) = (patient, patient);
}

/// As simulated providers are spoken to: in our own format, without credentials.
pub(crate) fn spoken_as_simulated(deployment: &mut Deployment) {
    let (format, _) = format::own();
    deployment.format = format;
    deployment.quirks = &NO_QUIRKS;
    deployment.policy = None;
    deployment.credential = None;
    deployment.identity = None;
    deployment.api_version = None;
    deployment.headers = HeaderMap::new();
    deployment.query = None;
}
