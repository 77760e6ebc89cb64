//! The policies' figures in the text of one scrape. They are read from the policies at that moment and kept nowhere: two
//! scrapes at once do not share, or clear, anything.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// A policy's figures at the moment of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFigures {
    /// The group it decides for.
    pub group: String,
    /// `NAME@DIGEST`.
    pub policy: String,
    /// What it decides.
    pub role: &'static str,
    /// Calls since it was loaded.
    pub calls: u64,
    /// Traps, timeouts and bad answers since then.
    pub faults: u64,
    /// Seconds that the measured calls took together.
    pub call_seconds: f64,
    /// Measured calls by the time they took: upper bounds in seconds, ascending, the last one infinite.
    pub call_buckets: Vec<(f64, u64)>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    group: String,
    policy: String,
    role: &'static str,
}

#[derive(Debug)]
struct PolicyCollector(Vec<(Labels, PolicyFigures)>);

impl PolicyCollector {
    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: fn(&PolicyFigures) -> u64,
    ) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, figures) in &self.0 {
            encoder.encode_family(labels)?.encode_counter::<NoLabelSet, u64, f64>(&value(figures), None)?;
        }
        Ok(())
    }
}

impl Collector for PolicyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counter(&mut encoder, "policy_calls", "Calls of a policy since it was loaded", |of| of.calls)?;
        self.counter(&mut encoder, "policy_faults", "Faults of a policy since it was loaded", |of| of.faults)?;
        let help = "Time a policy takes for a call, of one call in eight";
        let mut encoder = encoder.encode_descriptor("policy_call_seconds", help, None, MetricType::Histogram)?;
        for (labels, figures) in &self.0 {
            let count = figures.call_buckets.iter().map(|(_, calls)| calls).sum();
            encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(
                figures.call_seconds,
                count,
                &figures.call_buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// Appends the figures to `text`.
pub(super) fn encode(text: &mut String, policies: Vec<PolicyFigures>) -> fmt::Result {
    if policies.is_empty() {
        return Ok(());
    }
    let labelled = policies.into_iter().map(|figures| {
        (Labels { group: figures.group.clone(), policy: figures.policy.clone(), role: figures.role }, figures)
    });
    let mut registry = Registry::with_prefix("witgate");
    registry.register_collector(Box::new(PolicyCollector(labelled.collect())));
    encode_registry(text, &registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_text_of_their_own_moment() {
        let figures = PolicyFigures {
            group: "g".to_owned(),
            policy: "p@1".to_owned(),
            role: "router",
            calls: 17,
            faults: 2,
            call_seconds: 0.5,
            call_buckets: vec![(0.001, 2), (f64::INFINITY, 1)],
        };
        let mut text = String::new();
        encode(&mut text, vec![figures]).unwrap();
        for line in [
            "# TYPE witgate_policy_calls counter",
            "witgate_policy_calls_total{group=\"g\",policy=\"p@1\",role=\"router\"} 17",
            "witgate_policy_faults_total{group=\"g\",policy=\"p@1\",role=\"router\"} 2",
            "witgate_policy_call_seconds_sum{group=\"g\",policy=\"p@1\",role=\"router\"} 0.5",
            "witgate_policy_call_seconds_count{group=\"g\",policy=\"p@1\",role=\"router\"} 3",
            "witgate_policy_call_seconds_bucket{le=\"0.001\",group=\"g\",policy=\"p@1\",role=\"router\"} 2",
            "witgate_policy_call_seconds_bucket{le=\"+Inf\",group=\"g\",policy=\"p@1\",role=\"router\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
    }
}
