//! The usual request: one call of one deployment, which went well. Its eight metrics are found by one look in the place of eight.
//!
//! The rule: they are the metrics of the families and no others, so that it makes no difference to what is read.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{AttemptLabels, ChosenLabels, GroupLabels, Metrics, Name, RequestLabels, TokenLabels, kinds};
use crate::id::{DeploymentId, GroupName, ProviderName};
use crate::record::{AttemptRecord, Record};

/// What tells two such requests' metrics apart. (A deployment has one provider, until a reload gives it another.)
#[derive(PartialEq, Eq, Hash)]
struct Key {
    group: GroupName,
    deployment: DeploymentId,
    provider: ProviderName,
    api: &'static str,
    ending: &'static str,
    status: u16,
}

/// The metrics of one kind of request.
struct Counted {
    requests: Counter,
    attempts: Counter,
    chosen: Counter,
    latency: Histogram,
    waited: Histogram,
    /// Made when they count something for the first time: a metric that never did is not shown as 0.
    ttft: OnceLock<Histogram>,
    cost: OnceLock<Counter>,
    tokens: [OnceLock<Counter>; 3],
}

/// The metrics that were found so far.
#[derive(Default)]
pub(super) struct Usual(RwLock<HashMap<Key, Arc<Counted>>>);

/// The attempt of a usual request.
pub(super) fn only_attempt(record: &Record) -> Option<&AttemptRecord> {
    record.only_attempt().filter(|only| !only.usage_refused && record.handed_over.is_empty())
}

impl Usual {
    /// Counts `record`, whose [`only_attempt`] is `only`.
    pub(super) fn count(&self, metrics: &Metrics, record: &Record, only: &AttemptRecord) {
        let key = Key {
            group: only.group.clone(),
            deployment: only.deployment.clone(),
            provider: only.provider.clone(),
            api: record.api,
            ending: record.ending.as_str(),
            status: record.status,
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let found = known.unwrap_or_else(|| {
            let counted = Arc::new(Counted::find(metrics, &key));
            Arc::clone(self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(counted))
        });
        found.count(metrics, record, only);
    }
}

impl Counted {
    fn find(metrics: &Metrics, key: &Key) -> Self {
        let Key { group, deployment, provider, api, ending, status } = key;
        let (group, deployment) = (Name(group.clone()), Name(deployment.clone()));
        let by_group = GroupLabels { group: group.clone() };
        let requests = RequestLabels { group: group.clone(), api, ending, status: *status };
        let attempts =
            AttemptLabels { deployment: deployment.clone(), provider: Name(provider.clone()), fault: "none" };
        Self {
            requests: metrics.requests.get_or_create_owned(&requests),
            attempts: metrics.attempts.get_or_create_owned(&attempts),
            chosen: metrics.chosen.get_or_create_owned(&ChosenLabels { group, deployment }),
            latency: metrics.latency.get_or_create_owned(&by_group),
            waited: metrics.waited.get_or_create_owned(&by_group),
            ttft: OnceLock::new(),
            cost: OnceLock::new(),
            tokens: Default::default(),
        }
    }

    fn count(&self, metrics: &Metrics, record: &Record, only: &AttemptRecord) {
        let group = || Name(only.group.clone());
        self.requests.inc();
        self.attempts.inc();
        self.chosen.inc();
        self.latency.observe(record.latency.as_secs_f64());
        self.waited.observe(record.waited.as_secs_f64());
        if let Some(ttft) = record.ttft {
            let found = || metrics.ttft.get_or_create_owned(&GroupLabels { group: group() });
            self.ttft.get_or_init(found).observe(ttft.as_secs_f64());
        }
        if let Some(cost) = record.cost {
            let found = || metrics.cost_nano_usd.get_or_create_owned(&GroupLabels { group: group() });
            self.cost.get_or_init(found).inc_by(cost.0);
        }
        for ((kind, tokens), counter) in kinds(&only.usage).into_iter().zip(&self.tokens) {
            if tokens > 0 {
                let deployment = Name(only.deployment.clone());
                let found = || metrics.tokens.get_or_create_owned(&TokenLabels { group: group(), deployment, kind });
                counter.get_or_init(found).inc_by(tokens);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::FaultKind;
    use crate::id::RequestId;
    use crate::moment::Moment;
    use crate::money::NanoUsd;

    fn record(attempts: Vec<AttemptRecord>) -> Record {
        let mut record = Record::new(RequestId::derive(Moment::default(), 1), Moment::default(), "openai");
        record.group = Some("g".into());
        record.status = 200;
        record.latency = Duration::from_millis(300);
        record.cost = Some(NanoUsd(1_000));
        record.attempts = attempts;
        record
    }

    #[test]
    fn what_is_read_is_the_same_whichever_way_it_was_counted() {
        let mut streamed = record(vec![AttemptRecord::sample("b", None)]);
        streamed.ttft = Some(Duration::from_millis(100));
        let usual =
            [record(vec![AttemptRecord::sample("a", None)]), record(vec![AttemptRecord::sample("a", None)]), streamed];
        let (short, long) = (Metrics::default(), Metrics::default());
        for record in &usual {
            assert!(only_attempt(record).is_some());
            short.write(record);
            long.under_way.dec();
            long.count(record);
        }
        let unusual =
            record(vec![AttemptRecord::sample("a", Some(FaultKind::TimedOut)), AttemptRecord::sample("b", None)]);
        assert!(only_attempt(&unusual).is_none());
        short.write(&unusual);
        long.under_way.dec();
        long.count(&unusual);
        // Rows come in the order of a hash.
        let rows = |metrics: &Metrics| {
            let text = metrics.render(Vec::new()).unwrap();
            let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
            rows.sort();
            rows
        };
        assert_eq!(rows(&short), rows(&long));
        assert!(rows(&short).iter().any(|row| row.contains("kind=\"output\"") && row.ends_with(" 27")));
    }
}
