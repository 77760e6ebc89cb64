//! What is counted of two versions over the same period, and what a canary's rules make of it.
//!
//! A fault of its own counts at once. All else is compared only when both versions have a minimum of attempts, so that one slow
//! reply decides nothing; and none takes over that was not compared, unless the minimum is 0, with which nothing is.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attempt::AttemptOutcome;
use crate::catalog::CanaryRules;
use crate::fault::FaultKind;

/// Failures that are always borne beside the ratio: two versions that hardly fail must not be told apart by one failure.
const SLACK: f64 = 0.02;

/// How a canary ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the version in force from now on.
    Promoted,
    /// The version before decides on.
    RolledBack,
}

impl Verdict {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled back",
        }
    }
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How it ended.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
}

/// What one version decided, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Requests whose first attempt ended, or that failed before it.
    pub requests: u64,
    /// Attempts that say something of the choice, and requests that failed before the first.
    pub attempts: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those of them whose reply the group's parser complained about: told of builders and parsers alone.
    pub complained: u64,
    /// Requests it refused.
    pub refused: u64,
    priced: u64,
    usd: f64,
    whole: u64,
    millis: f64,
}

impl Share {
    /// Counts an attempt. What a provider refuses is the client's own doing, unless the version `wrote` it: clients' own mistakes meet
    /// both versions alike.
    pub(super) fn add(&mut self, first: bool, outcome: &AttemptOutcome, wrote: bool) {
        self.requests += u64::from(first);
        match outcome.fault {
            // The client's own doing, or ours: they say nothing of the choice.
            Some(FaultKind::Cancelled | FaultKind::Gateway) => return,
            Some(FaultKind::Rejected) if !wrote => return,
            Some(kind) => {
                self.failed += 1;
                self.complained += u64::from(kind == FaultKind::Unparsed);
            }
            None => {
                self.whole += 1;
                self.millis += outcome.latency.as_secs_f64() * 1e3;
            }
        }
        self.attempts += 1;
        if let Some(cost) = outcome.cost {
            self.priced += 1;
            self.usd += cost.as_usd();
        }
    }

    /// Counts a request that failed before there was an attempt.
    pub(super) const fn lose(&mut self) {
        self.requests += 1;
        self.attempts += 1;
        self.failed += 1;
    }

    /// The share of failed attempts and refused requests.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        mean(float(self.failed + self.refused), self.attempts + self.refused)
    }

    /// Mean cost of an attempt, US dollars.
    #[must_use]
    pub fn cost_usd(&self) -> Option<f64> {
        mean(self.usd, self.priced)
    }

    /// Mean time of a whole reply, milliseconds.
    #[must_use]
    pub fn latency_ms(&self) -> Option<f64> {
        mean(self.millis, self.whole)
    }

    fn compared(&self) -> u64 {
        self.attempts + self.refused
    }
}

/// What a shadow would have done, beside what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Both prefer the same deployment; of builders: both made the same messages.
    pub same_first: bool,
    /// Both rank alike; of builders: both keep the same items and leave the same note, too.
    pub same_ranking: bool,
    /// What the shadow's first choice is expected to cost more, US dollars, where a version asked for it.
    pub cost_usd: Option<f64>,
    /// How much longer the shadow's first choice is expected to take, milliseconds, where a version asked for it.
    pub latency_ms: Option<f64>,
}

/// What a shadow answered to a question that the version in force answered too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compared {
    /// Both gave a ranking, or a prompt.
    Both(Comparison),
    /// The version in force gave one, and the shadow did not.
    Silent,
    /// The version in force gave none: it waits, refuses or finds nobody fit. Whether the shadow answered in the same way.
    Unserved {
        /// It did.
        same: bool,
    },
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// What the version in force decided.
    pub live: Share,
    /// What the new version decided.
    pub candidate: Share,
    /// The new version's own faults.
    pub faults: u64,
    /// Requests it was to decide, and on which it failed.
    pub fallbacks: u64,
    /// Decisions of a shadow that were compared.
    pub compared: u64,
    /// Decisions in which a shadow gave no ranking, and the version in force one.
    pub silent: u64,
    /// Decisions in which the version in force gave no ranking.
    pub unserved: u64,
    /// Those of them in which a shadow answered in the same way.
    pub same_unserved: u64,
    /// Work that was left out, because too much waited.
    pub skipped: u64,
    /// Compared decisions with the same first place.
    pub same_first: u64,
    /// Compared decisions with the same ranking.
    pub same_ranking: u64,
    costs: (u64, f64),
    latencies: (u64, f64),
}

impl Counts {
    pub(super) const fn of(&mut self, by_candidate: bool) -> &mut Share {
        if by_candidate { &mut self.candidate } else { &mut self.live }
    }

    pub(super) fn compare(&mut self, compared: &Compared) {
        let one = match compared {
            Compared::Both(one) => one,
            Compared::Silent => {
                self.silent += 1;
                return;
            }
            Compared::Unserved { same } => {
                self.unserved += 1;
                self.same_unserved += u64::from(*same);
                return;
            }
        };
        self.compared += 1;
        self.same_first += u64::from(one.same_first);
        self.same_ranking += u64::from(one.same_ranking);
        for (sum, difference) in [(&mut self.costs, one.cost_usd), (&mut self.latencies, one.latency_ms)] {
            if let Some(difference) = difference.filter(|difference| difference.is_finite()) {
                sum.0 += 1;
                sum.1 += difference;
            }
        }
    }

    /// What the shadow's first choices are expected to cost more, US dollars a decision.
    #[must_use]
    pub fn cost_difference_usd(&self) -> Option<f64> {
        mean(self.costs.1, self.costs.0)
    }

    /// How much longer the shadow's first choices are expected to take, milliseconds.
    #[must_use]
    pub fn latency_difference_ms(&self) -> Option<f64> {
        mean(self.latencies.1, self.latencies.0)
    }
}

/// The counts of one pair of versions; they survive a reload that leaves both.
#[derive(Debug, Default)]
pub struct Figures {
    counts: Mutex<Counts>,
    told: Mutex<Option<Told>>,
    /// The verdict again, for the hot path: 0 is none.
    verdict: AtomicU8,
}

impl Figures {
    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    /// How it ended; `None` while it goes on.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self.verdict.load(Ordering::Acquire) {
            1 => Some(Verdict::Promoted),
            2 => Some(Verdict::RolledBack),
            _ => None,
        }
    }

    /// The verdict with its reason.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        lock(&self.told).clone()
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut lock(&self.counts));
    }

    /// What the rules say now; once only.
    pub(super) fn judge(&self, rules: &CanaryRules, quarantined: bool) -> Option<Told> {
        let found = judge(rules, &self.counts(), quarantined)?;
        let mut told = lock(&self.told);
        if told.is_some() {
            return None;
        }
        *told = Some(found.clone());
        let number = if found.verdict == Verdict::Promoted { 1 } else { 2 };
        self.verdict.store(number, Ordering::Release);
        Some(found)
    }
}

/// The rules, applied.
fn judge(rules: &CanaryRules, counts: &Counts, quarantined: bool) -> Option<Told> {
    let Counts { live, candidate, faults, .. } = counts;
    let rolled_back = |why: String| Some(Told { verdict: Verdict::RolledBack, why });
    if *faults > rules.max_faults || quarantined {
        let most = rules.max_faults;
        return rolled_back(format!("{faults} faults of its own in {} requests, {most} are borne", candidate.requests));
    }
    let comparable = live.compared() >= rules.minimum && candidate.compared() >= rules.minimum;
    if comparable && rules.minimum > 0 {
        let pairs = [
            ("share of failures", live.failure_rate(), candidate.failure_rate(), rules.failure_ratio, SLACK),
            ("mean cost of an attempt (USD)", live.cost_usd(), candidate.cost_usd(), rules.cost_ratio, 0.0),
            ("mean time of a reply (ms)", live.latency_ms(), candidate.latency_ms(), rules.latency_ratio, 0.0),
        ];
        for (what, live, candidate, ratio, slack) in pairs {
            let (Some(live), Some(candidate)) = (live, candidate) else { continue };
            if candidate > live * ratio + slack {
                return rolled_back(format!("{what}: {candidate:.6} against {live:.6} of the version in force"));
            }
        }
    }
    let enough = candidate.requests >= rules.requests && comparable;
    enough.then(|| Told {
        verdict: Verdict::Promoted,
        why: format!("{} requests within the rules, {} faults", candidate.requests, faults),
    })
}

fn mean(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / float(count))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// What is guarded is whole between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::money::NanoUsd;

    fn share(requests: u64, failed: u64, usd: f64, millis: f64) -> Share {
        let attempts = requests;
        let whole = attempts - failed;
        Share {
            requests,
            attempts,
            failed,
            complained: 0,
            refused: 0,
            priced: attempts,
            usd: usd * float(attempts),
            whole,
            millis: millis * float(whole),
        }
    }

    fn verdict(live: Share, candidate: Share, faults: u64) -> Option<Verdict> {
        let counts = Counts { live, candidate, faults, ..Counts::default() };
        judge(&CanaryRules::default(), &counts, false).map(|told| told.verdict)
    }

    /// Cost, time and failures are those of the attempts themselves.
    #[test]
    fn what_attempts_came_to_is_what_is_judged() {
        let outcome = |fault, cost, millis| AttemptOutcome {
            fault,
            cost: Some(NanoUsd(cost)),
            latency: Duration::from_millis(millis),
            ..AttemptOutcome::default()
        };
        let of = |fault, cost, millis| {
            let mut share = Share::default();
            (0..500).for_each(|_| share.add(true, &outcome(None, cost, millis), false));
            (0..500).for_each(|_| share.add(false, &outcome(fault, cost, millis), false));
            share
        };
        let live = of(None, 1_000_000, 100);
        assert_eq!((live.latency_ms(), live.failure_rate()), (Some(100.0), Some(0.0)));
        assert!(live.cost_usd().is_some_and(|usd| (usd - 0.001).abs() < 1e-9));
        let (good, bad) = (Some(Verdict::Promoted), Some(Verdict::RolledBack));
        assert_eq!(verdict(live, of(None, 1_000_000, 100), 0), good);
        assert_eq!(verdict(live, of(None, 10_000_000, 100), 0), bad, "ten times as dear");
        assert_eq!(verdict(live, of(None, 1_000_000, 1000), 0), bad, "ten times as slow");
        assert_eq!(verdict(live, of(Some(FaultKind::Unavailable), 1_000_000, 100), 0), bad, "half of them fail");
        let unparsed = of(Some(FaultKind::Unparsed), 1_000_000, 100);
        assert_eq!((verdict(live, unparsed, 0), unparsed.complained), (bad, 500), "half of them are complained about");
        assert_eq!(verdict(live, of(Some(FaultKind::Cancelled), 1_000_000, 100), 0), good, "the client's own doing");
    }

    /// What providers refuse is the doing of whoever wrote the prompt.
    #[test]
    fn a_prompt_that_is_refused_has_failed_and_a_choice_for_it_has_not() {
        let of = |fault, wrote| {
            let mut share = Share::default();
            (0..500).for_each(|_| share.add(true, &AttemptOutcome { fault, ..AttemptOutcome::default() }, wrote));
            share
        };
        let (live, refused) = (of(None, true), of(Some(FaultKind::Rejected), true));
        assert_eq!((refused.failure_rate(), verdict(live, refused, 0)), (Some(1.0), Some(Verdict::RolledBack)));
        assert_eq!(of(Some(FaultKind::Rejected), false).failure_rate(), None);
        let mut lost = Share::default();
        (0..50).for_each(|_| lost.lose());
        assert_eq!((lost.requests, verdict(live, lost, 0)), (50, Some(Verdict::RolledBack)));
    }

    #[test]
    fn a_canary_is_judged_by_faults_failures_cost_and_time() {
        let live = share(1000, 10, 1.0, 100.0);
        let (good, bad) = (Some(Verdict::Promoted), Some(Verdict::RolledBack));
        for (candidate, faults, expected) in [
            (share(10, 0, 1.0, 100.0), 0, None),
            (share(499, 5, 1.0, 100.0), 0, None),
            (share(500, 5, 1.0, 100.0), 0, good),
            (share(500, 5, 1.19, 149.0), 0, good),
            (share(0, 0, 0.0, 0.0), 1, bad),
            (share(49, 49, 1.0, 100.0), 0, None),
            (share(50, 2, 1.0, 100.0), 0, bad),
            (share(50, 1, 1.0, 100.0), 0, None),
            (share(50, 0, 1.21, 100.0), 0, bad),
            (share(50, 0, 1.0, 151.0), 0, bad),
        ] {
            assert_eq!(verdict(live, candidate, faults), expected, "{candidate:?}, {faults} faults");
        }
    }

    #[test]
    fn nothing_is_compared_with_a_version_that_served_too_little() {
        let worse = share(100, 50, 9.0, 900.0);
        assert_eq!(verdict(share(49, 0, 1.0, 100.0), worse, 0), None);
        assert_eq!(verdict(share(49, 0, 1.0, 100.0), share(5000, 0, 1.0, 100.0), 0), None, "nor promoted uncompared");
        let rules = CanaryRules { requests: 10, ..CanaryRules::default() };
        let counts =
            Counts { live: share(100, 0, 1.0, 100.0), candidate: share(49, 0, 1.0, 100.0), ..Counts::default() };
        assert_eq!(judge(&rules, &counts, false), None, "a minimum above `requests` counts");
        assert_eq!(verdict(share(50, 0, 1.0, 100.0), worse, 0), Some(Verdict::RolledBack));
    }

    /// Whatever there would be to compare: a canary of all requests leaves the other version next to none.
    #[test]
    fn with_a_minimum_of_none_a_version_is_judged_by_its_own_faults_alone() {
        let rules = CanaryRules { minimum: 0, ..CanaryRules::default() };
        let verdict = |live, candidate, faults| {
            let counts = Counts { live, candidate, faults, ..Counts::default() };
            judge(&rules, &counts, false).map(|told| told.verdict)
        };
        let good = share(1000, 0, 1.0, 100.0);
        let worse = |requests| Share { refused: 50, ..share(requests, 10, 9.0, 900.0) };
        assert_eq!(verdict(good, worse(499), 0), None);
        assert_eq!(verdict(good, worse(500), 0), Some(Verdict::Promoted));
        assert_eq!(verdict(Share::default(), share(500, 0, 1.0, 100.0), 0), Some(Verdict::Promoted));
        assert_eq!(verdict(good, worse(10), 1), Some(Verdict::RolledBack));
    }

    #[test]
    fn a_version_that_refuses_what_the_other_serves_is_rolled_back() {
        let candidate = Share { refused: 50, ..Share::default() };
        assert_eq!(verdict(share(1000, 0, 1.0, 100.0), candidate, 0), Some(Verdict::RolledBack));
    }

    #[test]
    fn a_verdict_is_told_once_and_stays() {
        let figures = Figures::default();
        figures.count(|counts| counts.faults = 1);
        assert!(figures.judge(&CanaryRules::default(), false).is_some());
        assert_eq!(figures.judge(&CanaryRules::default(), false), None);
        assert_eq!(figures.verdict(), Some(Verdict::RolledBack));
    }

    #[test]
    fn a_shadow_is_compared() {
        let mut counts = Counts::default();
        counts.compare(&Compared::Silent);
        let first = Comparison { same_first: true, same_ranking: true, cost_usd: Some(0.5), latency_ms: None };
        counts.compare(&Compared::Both(first));
        let second = Comparison { same_first: true, cost_usd: Some(f64::NAN), ..Comparison::default() };
        counts.compare(&Compared::Both(second));
        for same in [true, false, true] {
            counts.compare(&Compared::Unserved { same });
        }
        assert_eq!((counts.compared, counts.silent, counts.same_first, counts.same_ranking), (2, 1, 2, 1));
        assert_eq!((counts.unserved, counts.same_unserved), (3, 2));
        assert_eq!((counts.cost_difference_usd(), counts.latency_difference_ms()), (Some(0.5), None));
    }
}
