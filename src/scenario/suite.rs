//! A scenario file made sense of: names are places, what was left out is filled in, mistakes are told at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::config::yaml;
use crate::fault::FaultKind;
use crate::id::DeploymentId;
use crate::moment::Moment;
use crate::policy::{DeploymentInfo, Needs, Outcome, PolicyFault, RouteRequest, Setup, Traits};
use crate::signal::{Attribute, Feature, Grants, Signal};
use crate::tokens::Precision;

use super::file::{CaseFile, DeploymentFile, ExpectFile, OutcomeFile, RequestFile, SuiteFile};

/// The seed of a file that gives none.
pub(super) const SEED: u64 = 1;
/// The start of a file that gives none: 2026-01-01T00:00:00Z.
pub(super) const START_MS: u64 = 1_767_225_600_000;
/// Repetitions of one case at most; each is one call.
const MOST_REPEATS: u32 = 100_000;

/// A scenario.
#[derive(Clone, Debug)]
pub(super) struct Suite {
    pub(super) setup: Setup,
    pub(super) start: Moment,
    pub(super) forgets: bool,
    pub(super) signals: Table,
    pub(super) cases: Vec<Case>,
}

/// A case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) advance_ms: u64,
    pub(super) settings: Option<Arc<str>>,
    pub(super) restart: bool,
    pub(super) signals: Vec<(usize, Signal, f32)>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) request: RequestFile,
    pub(super) repeat: u32,
    pub(super) expect: ExpectFile,
}

/// One question, all of it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) question: RouteRequest,
    pub(super) signals: Vec<f32>,
    pub(super) features: Vec<f32>,
    pub(super) attributes: Vec<String>,
}

/// The signals said of each deployment; what is not said reads as of an idle one.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(BTreeMap<(usize, Signal), f32>);

/// All that is the same in files of every role.
#[derive(Debug, Deserialize)]
struct Head {
    policy: String,
}

/// The policy a scenario file names, whatever else it says. `name` is how problems call the file.
pub(super) fn policy(text: &str, name: &str) -> Result<String, String> {
    // Alone: numbers that a role's own key takes (`.inf`) are none where nobody says what they are.
    let line = text.lines().find(|line| line.starts_with("policy:")).unwrap_or(text);
    yaml::read::<Head>(line, name).map(|head| head.policy).map_err(|problems| problems.to_string())
}

impl Suite {
    /// Reads a scenario file. `name` is how problems call it.
    pub(super) fn read(text: &str, name: &str) -> Result<Self, String> {
        let file: SuiteFile = yaml::read(text, name).map_err(|problems| problems.to_string())?;
        Self::of(&file).map_err(|problems| problems.join("\n"))
    }

    fn of(file: &SuiteFile) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let ids: Vec<&str> = file.deployments.0.iter().map(|(id, _)| id.as_str()).collect();
        if ids.is_empty() {
            problems.push("`deployments` is empty".to_owned());
        }
        let mut signals = Table::default();
        let mut deployments = Vec::new();
        for (index, (id, own)) in file.deployments.0.iter().enumerate() {
            let own = own.clone().unwrap_or_default();
            for (name, value) in file.defaults.signals.iter().chain(&own.signals) {
                match signal(name) {
                    Ok(signal) => signals.set(index, signal, *value),
                    Err(problem) => problems.push(format!("deployment `{id}`: {problem}")),
                }
            }
            deployments.push(facts(id, &file.defaults, &own));
        }
        if file.cases.is_empty() {
            problems.push("`cases` is empty".to_owned());
        }
        let mut cases = Vec::new();
        for case in &file.cases {
            match Case::of(case, &ids) {
                Ok(case) => cases.push(case),
                Err(found) => problems.extend(found.into_iter().map(|found| format!("case `{}`: {found}", case.name))),
            }
        }
        let setup = Setup {
            group: None,
            settings: file.settings.as_ref().map_or_else(|| Arc::from("{}"), settings_text),
            deployments,
            seed: file.seed.unwrap_or(SEED),
            may_read: Grants::All,
        };
        let start = Moment::from_millis(file.start_ms.unwrap_or(START_MS));
        let suite = Self { setup, start, forgets: file.forgets, signals, cases };
        if problems.is_empty() { Ok(suite) } else { Err(problems) }
    }
}

impl Suite {
    /// The signals that the file says something of.
    pub(super) fn signals_said(&self) -> impl Iterator<Item = Signal> {
        let first = self.signals.0.keys().map(|(_, signal)| *signal);
        first.chain(self.cases.iter().flat_map(|case| case.signals.iter().map(|(_, signal, _)| *signal)))
    }
}

impl Case {
    fn of(file: &CaseFile, ids: &[&str]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut signals = Vec::new();
        for (id, patch) in &file.signals {
            let place = place(ids, id).unwrap_or_else(|problem| {
                problems.push(problem);
                0
            });
            for (name, value) in patch {
                match signal(name) {
                    Ok(signal) => signals.push((place, signal, *value)),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let mut outcomes = Vec::new();
        for told in &file.outcomes {
            match outcome(told, ids) {
                Ok(outcome) => outcomes.extend(std::iter::repeat_n(outcome, told.repeat.unwrap_or(1) as usize)),
                Err(problem) => problems.push(problem),
            }
        }
        for name in file.request.features.keys().filter(|name| Feature::parse(name).is_none()) {
            problems.push(format!(
                "no feature is called `{name}`; there are {}, its first written `embedding/N.0`",
                Feature::KNOWN
            ));
        }
        let attributes = file.request.attributes.keys().filter_map(|name| Attribute::parse(name).err());
        problems.extend(attributes.map(|error| format!("{error}; there are {}", Attribute::KNOWN)));
        if let Some(written) = file.request.input_tokens_are.as_ref().filter(|written| precision(written).is_none()) {
            let known = list(Precision::ALL.map(Precision::as_str));
            problems.push(format!("`input_tokens_are` is no `{written}`; it is one of {known}"));
        }
        problems.extend(mistakes(file, ids));
        let case = Self {
            name: file.name.clone(),
            advance_ms: file.advance_ms,
            settings: file.settings.as_ref().map(settings_text),
            restart: file.restart,
            signals,
            outcomes,
            request: file.request.clone(),
            repeat: file.repeat.unwrap_or(1),
            expect: file.expect.clone(),
        };
        if problems.is_empty() { Ok(case) } else { Err(problems) }
    }

    /// The question of this case.
    pub(super) fn ask(&self, now: Moment, seed: u64, table: &Table, setup: &Setup, needs: &Needs) -> Ask {
        let request = &self.request;
        let usual = if needs.exact_tokens { Precision::Exact } else { Precision::UpperBound };
        let question = RouteRequest {
            id: None,
            now,
            seed: request.seed.unwrap_or(seed),
            input_tokens: request.input_tokens.unwrap_or(1_000),
            input_precision: request.input_tokens_are.as_deref().and_then(precision).unwrap_or(usual),
            expected_output_tokens: request.expected_output_tokens.unwrap_or(500),
            max_output_tokens: request.max_output_tokens,
            priority: request.priority,
            deadline_ms: request.deadline_ms,
            traits: Traits {
                streaming: request.streaming,
                tools: request.tools,
                images: request.images,
                json: request.json,
            },
        };
        let feature = |feature: &Feature| request.features.get(&*feature.name()).copied().unwrap_or(f32::NAN);
        let attribute = |name: &Attribute| request.attributes.get(&name.to_string()).cloned().unwrap_or_default();
        Ask {
            question,
            signals: table.matrix(setup, &needs.signals),
            features: needs.features.iter().map(feature).collect(),
            attributes: needs.attributes.iter().map(attribute).collect(),
        }
    }
}

impl Table {
    pub(super) fn set(&mut self, deployment: usize, signal: Signal, value: f32) {
        self.0.insert((deployment, signal), value);
    }

    fn matrix(&self, setup: &Setup, columns: &[Signal]) -> Vec<f32> {
        let column =
            |&signal| setup.deployments.iter().enumerate().map(move |(index, facts)| self.at(index, signal, facts));
        columns.iter().flat_map(column).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "signals are f32")]
    fn at(&self, index: usize, signal: Signal, facts: &DeploymentInfo) -> f32 {
        let left = |limit: Option<u64>, used| {
            limit.map_or(f32::INFINITY, |limit| (limit as f32 - self.at(index, used, facts)).max(0.0))
        };
        match self.0.get(&(index, signal)) {
            Some(&value) => value,
            None => match signal {
                Signal::WaitMs | Signal::InFlight | Signal::FailureRate | Signal::TokensUsed | Signal::RequestsUsed => {
                    0.0
                }
                Signal::Healthy => 1.0,
                Signal::TokensFree => left(facts.tpm, Signal::TokensUsed),
                Signal::RequestsFree => left(facts.rpm, Signal::RequestsUsed),
                Signal::LatencyMs | Signal::LatencyPerTokenMs | Signal::TtftMs | Signal::CostUsd => f32::NAN,
            },
        }
    }
}

/// A deployment of which nothing is known but its name.
pub(super) fn plain_facts(id: &str) -> DeploymentInfo {
    facts(id, &DeploymentFile::default(), &DeploymentFile::default())
}

fn facts(id: &str, common: &DeploymentFile, own: &DeploymentFile) -> DeploymentInfo {
    let text = |own: &Option<String>, common: &Option<String>, other: &str| {
        own.clone().or_else(|| common.clone()).unwrap_or_else(|| other.to_owned())
    };
    DeploymentInfo {
        id: DeploymentId::from(id),
        provider: text(&own.provider, &common.provider, "simulated"),
        model: text(&own.model, &common.model, "model"),
        tags: own.tags.clone().or_else(|| common.tags.clone()).unwrap_or_default(),
        weight: own.weight.or(common.weight),
        order: own.order.or(common.order).unwrap_or(0),
        input_price: own.input_price.or(common.input_price),
        output_price: own.output_price.or(common.output_price),
        context_window: own.context_window.or(common.context_window),
        rpm: own.rpm.or(common.rpm),
        tpm: own.tpm.or(common.tpm),
        itpm: own.itpm.or(common.itpm),
        otpm: own.otpm.or(common.otpm),
    }
}

/// Text is handed on as it is, so that a file can try what is no JSON; anything else is written as JSON.
pub(super) fn settings_text(given: &serde_json::Value) -> Arc<str> {
    match given {
        serde_json::Value::String(text) => Arc::from(text.as_str()),
        other => Arc::from(other.to_string()),
    }
}

fn outcome(file: &OutcomeFile, ids: &[&str]) -> Result<Outcome, String> {
    let deployment = place(ids, &file.deployment)?;
    let fault = match &file.fault {
        None => None,
        Some(name) => match FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name) {
            None => {
                return Err(format!(
                    "no fault is called `{name}`; there are {}",
                    list(FaultKind::ALL.map(FaultKind::as_str))
                ));
            }
            known => known,
        },
    };
    Ok(Outcome {
        seed: 0,
        attempt: 0,
        deployment: u32::try_from(deployment).unwrap_or(u32::MAX),
        fault,
        input_tokens: file.input_tokens,
        output_tokens: file.output_tokens,
        cost_usd: file.cost_usd,
        latency_ms: file.latency_ms,
        ttft_ms: file.ttft_ms,
        quality: file.quality,
    })
}

/// What is wrong with the expectations of a case.
fn mistakes(file: &CaseFile, ids: &[&str]) -> Vec<String> {
    let expect = &file.expect;
    let ends = [
        expect.choose.is_some(),
        expect.one_of.is_some(),
        expect.ranked.is_some(),
        expect.none,
        expect.wait.is_some(),
        expect.reject.is_some(),
        expect.fault.is_some(),
        expect.config_error.is_some(),
        expect.distribution.is_some(),
    ];
    let mut problems = Vec::new();
    if ends.into_iter().filter(|given| *given).count() != 1 {
        problems.push(
            "`expect` needs exactly one of choose, one_of, ranked, none, wait, reject, fault, config_error, distribution"
                .to_owned(),
        );
    }
    let ranked = expect.ranked.iter().flatten();
    let named = expect.choose.iter().chain(expect.one_of.iter().flatten()).chain(ranked);
    let shared = expect.distribution.iter().flat_map(BTreeMap::keys);
    problems.extend(named.chain(shared).filter_map(|id| place(ids, id).err()));
    if let Some(kind) = expect.fault.as_ref().filter(|kind| !PolicyFault::KINDS.contains(&kind.as_str())) {
        problems.push(format!("no policy fault is called `{kind}`; there are {}", PolicyFault::KINDS.join(", ")));
    }
    if expect.distribution.is_some() && file.repeat.unwrap_or(1) < 2 {
        problems.push("a `distribution` needs a `repeat`".to_owned());
    }
    if expect.config_error.is_some() && file.settings.is_none() {
        problems.push("a `config_error` needs `settings` in its case".to_owned());
    }
    if !(1..=MOST_REPEATS).contains(&file.repeat.unwrap_or(1)) {
        problems.push(format!("`repeat` must be from 1 to {MOST_REPEATS}"));
    }
    problems
}

fn place(ids: &[&str], id: &str) -> Result<usize, String> {
    ids.iter()
        .position(|known| *known == id)
        .ok_or_else(|| format!("no deployment is called `{id}`; there are {}", ids.join(", ")))
}

fn signal(name: &str) -> Result<Signal, String> {
    Signal::parse(name)
        .ok_or_else(|| format!("no signal is called `{name}`; there are {}", list(Signal::ALL.map(Signal::as_str))))
}

fn list<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

fn precision(name: &str) -> Option<Precision> {
    Precision::ALL.into_iter().find(|known| known.as_str() == name)
}
