//! Prometheus metrics. A registry per gateway, none global: tests run side by side.
//!
//! Labels are bounded by the configuration (groups, deployments, kinds), never by what clients send.

mod usual;

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::lately::Lately;
use super::limits::{self, StateFigures};
use super::log::DroppedLines;
use super::policies::{self, PolicyFigures};
use crate::chat::Usage;
use crate::id::{DeploymentId, GroupName, ProviderName};
use crate::record::Record;
use usual::Usual;

/// A name as a label: looking a metric up copies no text.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Name<N>(N);

impl<N: fmt::Debug + AsRef<str>> EncodeLabelValue for Name<N> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0.as_ref(), encoder)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    group: Name<GroupName>,
    api: &'static str,
    ending: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    deployment: Name<DeploymentId>,
    provider: Name<ProviderName>,
    fault: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    group: Name<GroupName>,
    deployment: Name<DeploymentId>,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeploymentLabels {
    deployment: Name<DeploymentId>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupLabels {
    group: Name<GroupName>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChosenLabels {
    group: Name<GroupName>,
    deployment: Name<DeploymentId>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FallbackLabels {
    group: Name<GroupName>,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    group: Name<GroupName>,
    outcome: &'static str,
}

/// What is counted of an attempt's tokens, by kind.
fn kinds(usage: &Usage) -> [(&'static str, u64); 3] {
    [("input", usage.input_tokens), ("cache_read", usage.cache_read_tokens), ("output", usage.output_tokens)]
}

type Histograms = Family<GroupLabels, Histogram, fn() -> Histogram>;

/// The gateway's metrics.
pub struct Metrics {
    /// Who was chosen lately, for people to look at.
    pub lately: Lately,
    usual: Usual,
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    usage_refused: Family<DeploymentLabels, Counter>,
    fallbacks: Family<FallbackLabels, Counter>,
    cost_nano_usd: Family<GroupLabels, Counter>,
    judgements: Family<OutcomeLabels, Counter>,
    embeddings: Family<OutcomeLabels, Counter>,
    chosen: Family<ChosenLabels, Counter>,
    quality: Family<ChosenLabels, Histogram, fn() -> Histogram>,
    latency: Histograms,
    ttft: Histograms,
    waited: Histograms,
    under_way: Gauge,
    generation: Gauge,
    reload_ok: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(DroppedLines::default())
    }
}

/// Seconds, from a simulated reply to a long piece of reasoning.
fn seconds() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0])
}

/// From 0 to 1.
fn tenths() -> Histogram {
    Histogram::new([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
}

impl Metrics {
    /// Metrics that have counted nothing yet. `dropped` is of the log that is written beside them.
    #[must_use]
    pub fn new(dropped: DroppedLines) -> Self {
        let mut metrics = Self {
            lately: Lately::default(),
            usual: Usual::default(),
            registry: Registry::with_prefix("witgate"),
            requests: Family::default(),
            attempts: Family::default(),
            tokens: Family::default(),
            usage_refused: Family::default(),
            fallbacks: Family::default(),
            cost_nano_usd: Family::default(),
            judgements: Family::default(),
            embeddings: Family::default(),
            chosen: Family::default(),
            quality: Family::new_with_constructor(tenths),
            latency: Family::new_with_constructor(seconds),
            ttft: Family::new_with_constructor(seconds),
            waited: Family::new_with_constructor(seconds),
            under_way: Gauge::default(),
            generation: Gauge::default(),
            reload_ok: Gauge::default(),
        };
        metrics.register(dropped);
        metrics.reload_ok.set(1);
        metrics
    }

    fn register(&mut self, dropped: DroppedLines) {
        let Self { registry, .. } = self;
        registry.register("requests", "Finished requests by group, API, ending and status", self.requests.clone());
        registry.register("attempts", "Calls to providers by deployment and fault", self.attempts.clone());
        registry.register("tokens", "Tokens by group, deployment and kind", self.tokens.clone());
        registry.register(
            "usage_refused",
            "Replies that claimed more tokens than any can have used, so that the estimate counted",
            self.usage_refused.clone(),
        );
        registry.register("fallbacks", "Requests another group took over, by group and cause", self.fallbacks.clone());
        registry.register("cost_nano_usd", "Cost in billionths of a dollar", self.cost_nano_usd.clone());
        registry.register(
            "judgements",
            "Replies drawn to be judged, by group and what became of them",
            self.judgements.clone(),
        );
        registry.register(
            "embeddings",
            "Vectors of questions that routers wanted, by group and what became of them",
            self.embeddings.clone(),
        );
        registry.register("chosen", "Requests by group and the deployment that was called first", self.chosen.clone());
        registry.register("quality", "What replies were said to be worth, from 0 to 1", self.quality.clone());
        registry.register("latency_seconds", "From arrival to the end of the reply", self.latency.clone());
        registry.register("ttft_seconds", "From arrival to the first content sent", self.ttft.clone());
        registry.register("waited_seconds", "Time spent waiting for a limit", self.waited.clone());
        registry.register("under_way", "Requests under way", self.under_way.clone());
        registry.register("generation", "Generation of configuration and policies in use", self.generation.clone());
        registry.register(
            "reload_ok",
            "1 if the last reload was applied, 0 if the old state was kept",
            self.reload_ok.clone(),
        );
        registry.register_collector(Box::new(dropped));
    }

    /// A request arrived.
    pub fn begun(&self) {
        self.under_way.inc();
    }

    /// Requests under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        u64::try_from(self.under_way.get()).unwrap_or_default()
    }

    /// Generation `generation` is in force.
    pub fn applied(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// Whether what stands on disk is what is in force.
    pub fn reload_ok(&self, ok: bool) {
        self.reload_ok.set(i64::from(ok));
    }

    /// Counts a reply that was drawn to be judged.
    pub fn judged(&self, group: &GroupName, outcome: &'static str) {
        self.judgements.get_or_create(&OutcomeLabels { group: Name(group.clone()), outcome }).inc();
    }

    /// Counts a vector that a router wanted.
    pub fn embedded(&self, group: &GroupName, outcome: &'static str) {
        self.embeddings.get_or_create(&OutcomeLabels { group: Name(group.clone()), outcome }).inc();
    }

    /// Counts what a reply was said to be worth.
    pub fn worth(&self, group: &GroupName, deployment: &DeploymentId, quality: f32) {
        let labels = ChosenLabels { group: Name(group.clone()), deployment: Name(deployment.clone()) };
        self.quality.get_or_create(&labels).observe(quality.into());
    }

    /// Counts a finished request.
    pub fn write(&self, record: &Record) {
        self.under_way.dec();
        match usual::only_attempt(record) {
            Some(only) => self.usual.count(self, record, only),
            None => self.count(record),
        }
    }

    fn count(&self, record: &Record) {
        let group = Name(record.group.clone().unwrap_or_else(|| GroupName::from("")));
        let ending = record.ending.as_str();
        self.requests
            .get_or_create(&RequestLabels { group: group.clone(), api: record.api, ending, status: record.status })
            .inc();
        for attempt in &record.attempts {
            let fault = attempt.fault.map_or("none", |kind| kind.as_str());
            let labels = AttemptLabels {
                deployment: Name(attempt.deployment.clone()),
                provider: Name(attempt.provider.clone()),
                fault,
            };
            self.attempts.get_or_create(&labels).inc();
            if attempt.usage_refused {
                let deployment = Name(attempt.deployment.clone());
                self.usage_refused.get_or_create(&DeploymentLabels { deployment }).inc();
            }
        }
        if let Some(first) = record.attempts.first() {
            let labels = ChosenLabels { group: Name(first.group.clone()), deployment: Name(first.deployment.clone()) };
            self.chosen.get_or_create(&labels).inc();
        }
        for (group, cause) in &record.handed_over {
            self.fallbacks.get_or_create(&FallbackLabels { group: Name(group.clone()), cause }).inc();
        }
        let labels = GroupLabels { group };
        let observe = |histograms: &Histograms, length: Duration| {
            histograms.get_or_create(&labels).observe(length.as_secs_f64());
        };
        observe(&self.latency, record.latency);
        observe(&self.waited, record.waited);
        if let Some(ttft) = record.ttft {
            observe(&self.ttft, ttft);
        }
        if let Some(cost) = record.cost {
            self.cost_nano_usd.get_or_create(&labels).inc_by(cost.0);
        }
        self.count_tokens(record, &labels.group);
    }

    fn count_tokens(&self, record: &Record, group: &Name<GroupName>) {
        for attempt in &record.attempts {
            for (kind, tokens) in kinds(&attempt.usage).into_iter().filter(|(_, tokens)| *tokens > 0) {
                let labels = TokenLabels { group: group.clone(), deployment: Name(attempt.deployment.clone()), kind };
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
    }

    /// All metrics in Prometheus' text format, with the policies' figures as they are now.
    ///
    /// # Errors
    /// Only where formatting itself fails.
    pub fn render(&self, policies: Vec<PolicyFigures>) -> Result<String, fmt::Error> {
        self.render_with(policies, StateFigures::default())
    }

    /// The same with those of queues, limits and budgets.
    ///
    /// # Errors
    /// Only where formatting itself fails.
    pub fn render_with(&self, policies: Vec<PolicyFigures>, state: StateFigures) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        policies::encode(&mut text, policies)?;
        limits::encode(&mut text, state)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
