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
    /// Requests it refused and replies it complained about since then, as it may.
    pub refusals: u64,
    /// Faults since then by kind, every kind once.
    pub faults: Vec<(&'static str, u64)>,
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FaultLabels {
    group: String,
    policy: String,
    role: &'static str,
    kind: &'static str,
}

impl PolicyFigures {
    /// Whose they are: no two figures of one scrape may be the same one's.
    fn key(&self) -> (&str, &str, &str) {
        (&self.group, &self.policy, self.role)
    }

    /// Takes in the figures of another one of the same name: a group has as many instances of a provider's policy as deployments.
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.refusals += other.refusals;
        self.call_seconds += other.call_seconds;
        for ((_, own), (_, more)) in self.faults.iter_mut().zip(&other.faults) {
            *own += more;
        }
        for ((_, own), (_, more)) in self.call_buckets.iter_mut().zip(&other.call_buckets) {
            *own += more;
        }
    }
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

    fn faults(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Faults of a policy since it was loaded, and calls that its quarantine refused";
        let mut encoder = encoder.encode_descriptor("policy_faults", help, None, MetricType::Counter)?;
        for (Labels { group, policy, role }, figures) in &self.0 {
            for (kind, count) in &figures.faults {
                let labels = FaultLabels { group: group.clone(), policy: policy.clone(), role, kind };
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(count, None)?;
            }
        }
        Ok(())
    }
}

impl Collector for PolicyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counter(&mut encoder, "policy_calls", "Calls of a policy since it was loaded", |of| of.calls)?;
        let help = "Requests a policy refused and replies it complained about since it was loaded";
        self.counter(&mut encoder, "policy_refusals", help, |of| of.refusals)?;
        self.faults(&mut encoder)?;
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
pub(super) fn encode(text: &mut String, mut policies: Vec<PolicyFigures>) -> fmt::Result {
    if policies.is_empty() {
        return Ok(());
    }
    policies.sort_by(|one, other| one.key().cmp(&other.key()));
    policies.dedup_by(|next, kept| {
        let same = next.key() == kept.key();
        if same {
            kept.add(next);
        }
        same
    });
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

    fn figures(role: &'static str) -> PolicyFigures {
        PolicyFigures {
            group: "g".to_owned(),
            policy: "p@1".to_owned(),
            role,
            calls: 17,
            refusals: 4,
            faults: vec![("trap", 2), ("memory", 0)],
            call_seconds: 0.5,
            call_buckets: vec![(0.001, 2), (f64::INFINITY, 1)],
        }
    }

    #[test]
    fn figures_are_text_of_their_own_moment() {
        let mut text = String::new();
        // A group has a provider's policy once for each of its deployments.
        encode(&mut text, vec![figures("router"), figures("provider"), figures("provider")]).unwrap();
        for line in [
            "# TYPE witgate_policy_calls counter",
            "witgate_policy_calls_total{group=\"g\",policy=\"p@1\",role=\"router\"} 17",
            "witgate_policy_calls_total{group=\"g\",policy=\"p@1\",role=\"provider\"} 34",
            "witgate_policy_refusals_total{group=\"g\",policy=\"p@1\",role=\"router\"} 4",
            "witgate_policy_faults_total{group=\"g\",policy=\"p@1\",role=\"router\",kind=\"trap\"} 2",
            "witgate_policy_faults_total{group=\"g\",policy=\"p@1\",role=\"provider\",kind=\"trap\"} 4",
            "witgate_policy_faults_total{group=\"g\",policy=\"p@1\",role=\"router\",kind=\"memory\"} 0",
            "witgate_policy_call_seconds_sum{group=\"g\",policy=\"p@1\",role=\"router\"} 0.5",
            "witgate_policy_call_seconds_count{group=\"g\",policy=\"p@1\",role=\"router\"} 3",
            "witgate_policy_call_seconds_bucket{le=\"0.001\",group=\"g\",policy=\"p@1\",role=\"router\"} 2",
            "witgate_policy_call_seconds_bucket{le=\"+Inf\",group=\"g\",policy=\"p@1\",role=\"router\"} 3",
        ] {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line} in:\n{text}");
        }
    }
}
