//! Who was chosen lately, and what came of it: by minute, group and deployment.
//!
//! The rule: of groups that a policy decides for, the last [`MINUTES`] minutes; counts and sums alone, no more of them than [`MOST`], whatever
//! clients do. Where that many would not hold all minutes, the oldest are given up. A request costs one short lock and two look-ups.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::id::{DeploymentId, GroupName};
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::record::{AttemptRecord, Record};

/// Minutes that are remembered, the one under way included.
pub const MINUTES: usize = 120;
/// Sums that are kept, one for each minute and deployment: some twelve megabytes.
const MOST: usize = 100_000;
/// What happened at a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Happened {
    /// Requests that it was the first to be called for in its group.
    pub chosen: u64,
    /// Qualities that were told of its replies, 0 to 1, their sum and the sum of their squares.
    pub judged: u64,
    /// Their sum.
    pub quality: f64,
    /// The sum of their squares.
    pub quality_squared: f64,
    /// Replies whose cost is known and above nothing.
    pub priced: u64,
    /// The sum of the logarithms of what they cost, US dollars.
    pub ln_cost: f64,
    /// Whole replies.
    pub replied: u64,
    /// The sum of the logarithms of what they took, milliseconds.
    pub ln_latency: f64,
}

impl Happened {
    fn replied(&mut self, attempt: &AttemptRecord) {
        self.replied += 1;
        self.ln_latency += (attempt.latency.as_secs_f64() * 1e3).max(1e-3).ln();
        if let Some(cost) = attempt.cost.map(NanoUsd::as_usd).filter(|cost| *cost > 0.0) {
            self.priced += 1;
            self.ln_cost += cost.ln();
        }
    }

    /// Takes in what happened at another time.
    pub fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.judged += other.judged;
        self.quality += other.quality;
        self.quality_squared += other.quality_squared;
        self.priced += other.priced;
        self.ln_cost += other.ln_cost;
        self.replied += other.replied;
        self.ln_latency += other.ln_latency;
    }
}

/// What happened in one minute, by group and deployment.
type Minute = HashMap<GroupName, HashMap<DeploymentId, Happened>>;

/// The last minutes of all groups.
#[derive(Debug, Default)]
pub struct Lately(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By minutes since the Unix epoch.
    minutes: BTreeMap<u64, Minute>,
    /// Sums in all of them.
    sums: usize,
}

/// A deployment's minutes: how many ago, and what happened in it; those in which nothing did are left out.
pub type ByMinute = BTreeMap<usize, Happened>;

impl Lately {
    /// A request ended.
    pub fn ended(&self, record: &Record) {
        let last = record.group.as_ref().filter(|_| record.is_decided());
        if last.is_none() && record.left_decided.is_empty() {
            return;
        }
        let mut kept = self.kept();
        let minute = minute(record.arrived + record.latency);
        let mut before = None;
        for attempt in &record.attempts {
            // Of each group the one that was called first was chosen.
            let chosen = before.replace(&attempt.group) != Some(&attempt.group);
            let decided = last == Some(&attempt.group) || record.left_decided.contains(&attempt.group);
            let replied = attempt.fault.is_none();
            if decided && (chosen || replied) {
                kept.sum(minute, &attempt.group, &attempt.deployment, |sum| {
                    sum.chosen += u64::from(chosen);
                    if replied {
                        sum.replied(attempt);
                    }
                });
            }
        }
    }

    /// Somebody said what a reply was worth, 0 to 1.
    pub fn worth(&self, now: Moment, group: &GroupName, deployment: &DeploymentId, quality: f32) {
        self.kept().sum(minute(now), group, deployment, |sum| {
            let quality = f64::from(quality);
            sum.judged += 1;
            sum.quality += quality;
            sum.quality_squared += quality * quality;
        });
    }

    /// What happened in a group, by deployment and minutes ago.
    #[must_use]
    pub fn of(&self, now: Moment, group: &GroupName) -> BTreeMap<DeploymentId, ByMinute> {
        let (this, mut found) = (minute(now), BTreeMap::<DeploymentId, ByMinute>::new());
        for (number, groups) in &self.kept().minutes {
            let ago = usize::try_from(this.saturating_sub(*number)).unwrap_or(MINUTES);
            for (deployment, happened) in groups.get(group).into_iter().flatten().filter(|_| ago < MINUTES) {
                found.entry(deployment.clone()).or_default().entry(ago).or_default().add(happened);
            }
        }
        found
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Adds to where this is summed up; to nothing where the minute is forgotten.
    fn sum(&mut self, number: u64, group: &GroupName, deployment: &DeploymentId, add: impl FnOnce(&mut Happened)) {
        // Each name is hashed, and found, once.
        let minute = self.minutes.entry(number).or_default();
        let Some(of_group) = minute.get_mut(group) else {
            let mut sum = Happened::default();
            add(&mut sum);
            minute.insert(group.clone(), HashMap::from([(deployment.clone(), sum)]));
            return self.grew();
        };
        if let Some(sum) = of_group.get_mut(deployment) {
            return add(sum);
        }
        add(of_group.entry(deployment.clone()).or_default());
        self.grew();
    }

    fn grew(&mut self) {
        self.sums += 1;
        self.forget();
    }

    /// Minutes that are too long ago, and those for which there is no room.
    fn forget(&mut self) {
        let last = self.minutes.last_key_value().map_or(0, |(number, _)| *number);
        while let Some(oldest) = self.minutes.first_entry()
            && (last - oldest.key() >= MINUTES as u64 || self.sums > MOST)
        {
            self.sums -= oldest.remove().values().map(HashMap::len).sum::<usize>();
        }
    }
}

fn minute(moment: Moment) -> u64 {
    moment.as_millis() / u64::try_from(Duration::from_mins(1).as_millis()).unwrap_or(60_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;
    use crate::id::RequestId;
    use crate::record::AttemptRecord;

    const NOW: Moment = Moment::from_millis(1_800_000_000_000);

    fn at(minutes: u64) -> Moment {
        NOW + Duration::from_mins(minutes)
    }

    fn record(now: Moment, policy: &str, attempts: Vec<AttemptRecord>) -> Record {
        let mut record = Record::new(RequestId::derive(now, 1), now, "openai");
        record.group = attempts.last().map(|attempt| attempt.group.clone());
        record.policy = Some(policy.into());
        record.attempts = attempts;
        record
    }

    fn ended(lately: &Lately, now: Moment, deployment: &str) {
        lately.ended(&record(now, "bandit@1", vec![AttemptRecord::sample(deployment, None)]));
    }

    #[test]
    fn the_first_that_is_called_was_chosen_and_the_one_that_replies_has_the_reply() {
        let lately = Lately::default();
        let failed = vec![AttemptRecord::sample("a", Some(FaultKind::TimedOut)), AttemptRecord::sample("b", None)];
        lately.ended(&record(at(0), "bandit@1", failed));
        lately.ended(&record(at(0), "built-in", vec![AttemptRecord::sample("a", None)]));
        lately.worth(at(3), &"g".into(), &"b".into(), 0.5);
        let found = lately.of(at(4), &"g".into());
        let (first, second) = (&found[&DeploymentId::from("a")], &found[&DeploymentId::from("b")]);
        assert_eq!(first.iter().map(|(ago, of)| (*ago, of.chosen, of.replied)).collect::<Vec<_>>(), [(4, 1, 0)]);
        assert_eq!(second.keys().copied().collect::<Vec<_>>(), [1, 4]);
        assert!((second[&4].ln_cost.exp() - 0.001).abs() < 1e-9 && (second[&4].ln_latency.exp() - 200.0).abs() < 1e-6);
        assert_eq!((second[&1].judged, second[&1].chosen, second[&4].priced), (1, 0, 1));
        assert!((second[&1].quality_squared - 0.25).abs() < 1e-9);
        assert!(lately.of(at(4), &"other".into()).is_empty());
    }

    #[test]
    fn each_group_that_a_policy_decided_for_counts_whichever_replied() {
        let (lately, of) = (Lately::default(), |group: &str, deployment| AttemptRecord {
            group: group.into(),
            ..AttemptRecord::sample(deployment, None)
        });
        let failed =
            |group: &str, deployment| AttemptRecord { fault: Some(FaultKind::TimedOut), ..of(group, deployment) };
        let attempts = vec![failed("g", "a"), failed("g", "b"), failed("plain", "c"), failed("h", "d"), of("h", "e")];
        let mut fell_back = record(at(0), "bandit@1", attempts.clone());
        fell_back.left_decided = vec!["g".into()];
        lately.ended(&fell_back);
        // The same where the last one is no policy's.
        let mut fell_back = record(at(0), "built-in", attempts);
        fell_back.left_decided = vec!["g".into()];
        lately.ended(&fell_back);
        let told = |group: &str| {
            let found = lately.of(at(0), &group.into());
            found
                .into_iter()
                .map(|(id, minutes)| (id.to_string(), minutes[&0].chosen, minutes[&0].replied))
                .collect::<Vec<_>>()
        };
        assert_eq!(told("g"), [("a".to_owned(), 2, 0)]);
        assert_eq!(told("h"), [("d".to_owned(), 1, 0), ("e".to_owned(), 0, 1)]);
        assert_eq!(told("plain"), []);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_a_clock_that_stands_still_harms_nobody() {
        let lately = Lately::default();
        (0..300).for_each(|minute| ended(&lately, at(minute), "a"));
        // One that ends late, and one that ended before all that is kept.
        ended(&lately, at(298), "a");
        ended(&lately, at(0), "a");
        let found = lately.of(at(299), &"g".into());
        let minutes = &found[&DeploymentId::from("a")];
        assert_eq!((minutes.len(), minutes[&1].chosen, minutes[&0].chosen), (MINUTES, 2, 1));
        assert!(lately.of(at(299 + MINUTES as u64), &"g".into()).is_empty());
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let lately = Lately::default();
        for minute in 0..30 {
            for number in 0..4_000_u32 {
                lately.worth(at(minute), &format!("g{number}").into(), &"a".into(), 1.0);
            }
        }
        let kept = lately.kept();
        assert!(kept.sums <= MOST && kept.minutes.len() == 25, "{} in {} minutes", kept.sums, kept.minutes.len());
        let counted: usize = kept.minutes.values().flat_map(|minute| minute.values().map(HashMap::len)).sum();
        assert_eq!(counted, kept.sums);
    }
}
