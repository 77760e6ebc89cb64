//! The limits', queues' and budgets' figures in the text of one scrape, as they are at that moment.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::limits::{Dimension, LimitReport};

/// One queue at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueFigures {
    /// Its groups, in order, with commas between.
    pub groups: String,
    /// Requests that wait.
    pub waiting: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Seconds the oldest has waited.
    pub oldest_seconds: f64,
    /// Seconds until the next can start; NaN where it depends on requests under way, 0 where nobody waits.
    pub next_start_seconds: f64,
}

/// The limits of one deployment, or of what several share, at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitFigures {
    /// Whose.
    pub scope: String,
    /// Their state in each of its windows: first that in which most limits are, a minute mostly, which needs no name.
    pub windows: Vec<LimitReport>,
}

/// One budget at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetFigures {
    /// Whose.
    pub scope: String,
    /// Its period as it is configured; empty is for ever.
    pub period: String,
    /// Dollars that may be spent; `None` is all one wants.
    pub max_usd: Option<f64>,
    /// Dollars that are.
    pub spent_usd: f64,
    /// Dollars that calls under way hold.
    pub held_usd: f64,
}

/// What is waited for, limited and spent at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateFigures {
    /// Every queue.
    pub queues: Vec<QueueFigures>,
    /// Every scope that is told of.
    pub limits: Vec<LimitFigures>,
    /// Every budget that bounds something.
    pub budgets: Vec<BudgetFigures>,
    /// Whether the server answers that keeps the limits of several gateways; `None` where there is none.
    pub shared_limits_up: Option<bool>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BudgetLabels {
    scope: String,
    period: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    groups: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LimitLabels {
    scope: String,
    limit: Cow<'static, str>,
}

#[derive(Debug)]
struct LimitCollector(StateFigures);

const DAY: Duration = Duration::from_hours(24);

const LIMITED: [(Dimension, &str); 5] = [
    (Dimension::Requests, "requests"),
    (Dimension::Tokens, "tokens"),
    (Dimension::InputTokens, "input-tokens"),
    (Dimension::OutputTokens, "output-tokens"),
    (Dimension::InFlight, "in-flight"),
];

/// What a limit of another window than the first is called.
fn named(limit: &'static str, window: Option<Duration>) -> Cow<'static, str> {
    match window {
        None => limit.into(),
        Some(DAY) => format!("{limit}-per-day").into(),
        Some(other) => format!("{limit}-per-{}s", other.as_secs()).into(),
    }
}

impl LimitCollector {
    fn queue(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: fn(&QueueFigures) -> f64,
    ) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for figures in &self.0.queues {
            let labels = QueueLabels { groups: figures.groups.clone() };
            encoder.encode_family(&labels)?.encode_gauge(&value(figures))?;
        }
        Ok(())
    }

    fn limit(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: fn(&LimitReport, Dimension) -> Option<u64>,
    ) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for figures in &self.0.limits {
            for (number, report) in figures.windows.iter().enumerate() {
                let window = (number > 0).then_some(report.window);
                for (dimension, limit) in LIMITED {
                    // Only what is limited is told.
                    let told = report.limits[dimension].and_then(|_| value(report, dimension));
                    let Some(told) = told.and_then(|told| i64::try_from(told).ok()) else { continue };
                    let labels = LimitLabels { scope: figures.scope.clone(), limit: named(limit, window) };
                    encoder.encode_family(&labels)?.encode_gauge(&told)?;
                }
            }
        }
        Ok(())
    }

    fn budget(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: fn(&BudgetFigures) -> Option<f64>,
    ) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for figures in &self.0.budgets {
            let Some(told) = value(figures) else { continue };
            let labels = BudgetLabels { scope: figures.scope.clone(), period: figures.period.clone() };
            encoder.encode_family(&labels)?.encode_gauge(&told)?;
        }
        Ok(())
    }

    fn budgets(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.budget(encoder, ("budget_max_usd", "What may be spent within a budget's period"), |of| of.max_usd)?;
        self.budget(encoder, ("budget_spent_usd", "What is spent in it"), |of| Some(of.spent_usd))?;
        self.budget(encoder, ("budget_held_usd", "What calls under way hold of it"), |of| Some(of.held_usd))?;
        self.budget(encoder, ("budget_left_usd", "What is left of it, nothing held"), |of| {
            of.max_usd.map(|max| (max - of.spent_usd).max(0.0))
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "requests and tokens that wait are far below 2^52")]
const fn float(amount: u64) -> f64 {
    amount as f64
}

impl Collector for LimitCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.queue(encoder, ("queue_waiting", "Requests that wait for a limit"), |of| float(of.waiting))?;
        self.queue(encoder, ("queue_tokens", "Tokens of the requests that wait"), |of| float(of.tokens))?;
        self.queue(encoder, ("queue_oldest_seconds", "How long the oldest of them has waited"), |of| {
            of.oldest_seconds
        })?;
        let next = ("queue_next_start_seconds", "When the next can start; NaN where it depends on requests under way");
        self.queue(encoder, next, |of| of.next_start_seconds)?;
        self.limit(
            encoder,
            ("limit", "The limit in force: configured, or lower as the provider told"),
            |report, of| report.limits[of],
        )?;
        self.limit(encoder, ("limit_configured", "The configured limit, margin applied"), |report, of| {
            report.configured[of]
        })?;
        if !self.0.budgets.is_empty() {
            self.budgets(encoder)?;
        }
        if let Some(up) = self.0.shared_limits_up {
            let help = "1 while the server answers that keeps the limits of several gateways";
            let mut encoder = encoder.encode_descriptor("shared_limits_up", help, None, MetricType::Gauge)?;
            encoder.encode_gauge(&i64::from(up))?;
        }
        self.limit(encoder, ("limit_used", "What is held and was counted of it"), |report, of| Some(report.used[of]))?;
        self.limit(encoder, ("limit_headroom", "What is left of it"), |report, of| {
            report.limits[of].map(|limit| limit.saturating_sub(report.used[of]))
        })
    }
}

/// Appends the figures to `text`.
pub(super) fn encode(text: &mut String, figures: StateFigures) -> fmt::Result {
    if figures == StateFigures::default() {
        return Ok(());
    }
    let mut registry = Registry::with_prefix("witgate");
    registry.register_collector(Box::new(LimitCollector(figures)));
    encode_registry(text, &registry)
}
