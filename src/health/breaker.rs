//! The breaker of one deployment: closed, open until a moment, half-open from then on. The rules stand in `health`.

use std::time::Duration;

use super::averages::Minute;
use super::{Admission, BreakerRule, Cooldown};
use crate::attempt::AttemptOutcome;
use crate::fault::{Cause, FaultKind};
use crate::moment::Moment;

/// Attempts in a minute below which a share of failures says nothing.
const ENOUGH: u32 = 5;
/// Failures without a success between them that say enough, however well the minute went before.
const IN_A_ROW: u32 = 5;
/// The same for a deployment that is alone in its group.
const ENOUGH_ALONE: u32 = 20;

/// How often a wait is doubled that a failed probe prolongs.
const DOUBLINGS: u32 = 2;
/// The first and the longest wait of a credential that is refused.
const FIRST_OF_CREDENTIAL: Duration = Duration::from_secs(5);
const LONGEST_OF_CREDENTIAL: Duration = Duration::from_secs(600);

/// How long the first probe may take to begin its answer before another follows; each one has twice as long as the one before.
const FIRST_PROBE: Duration = Duration::from_secs(5);
/// The longest any probe has.
const LONGEST_PROBE: Duration = Duration::from_secs(60);

/// What an ended attempt says about the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// It works.
    Good,
    /// It failed, which counts towards the thresholds.
    Bad {
        /// If it opens, then for this long.
        length: Cooldown,
        /// Failures a minute that are borne; `None`: by the share.
        allowed: Option<u32>,
    },
    /// It failed in a way that opens at once for this long.
    Fatal(Cooldown),
    /// Its provider's limit is met, which does the same: much may wait for the end of it.
    Limited(Cooldown),
}

/// How long each step takes of those in which more and more is let through after a limit was met, and how much in the first.
const STEP: Duration = Duration::from_secs(1);
const FIRST_STEP: u32 = 1;

/// A provider that asks for more (some send a date where seconds belong) is probed after this long.
const LONGEST: Duration = Duration::from_secs(3600);

impl Verdict {
    pub(super) fn of(outcome: &AttemptOutcome, rule: &BreakerRule) -> Self {
        let asked = outcome.retry_after.map(|asked| Cooldown::Fixed(asked.min(LONGEST)));
        let length = asked.unwrap_or(rule.cooldown);
        let of_class = outcome.class.and_then(|class| rule.allowed_fails_policy.of(class));
        match outcome.fault {
            None => Self::Good,
            // Its account's breaker has it.
            Some(_) if outcome.cause == Some(Cause::Credential) && rule.account.is_some() => Self::Nothing,
            Some(FaultKind::Rejected | FaultKind::Cancelled | FaultKind::Unparsed | FaultKind::Gateway) => {
                Self::Nothing
            }
            // Nobody takes over, and limits and the queue answer it better. But where the provider asks for a time and does not say what it
            // counts, they know nothing, and what it asks for holds for whoever is asked.
            Some(FaultKind::RateLimited) if (rule.alone || rule.single) && (asked.is_none() || outcome.limit_told) => {
                Self::Nothing
            }
            Some(FaultKind::RateLimited) if of_class.is_none() => Self::Limited(length),
            Some(FaultKind::Misconfigured) if !rule.alone && of_class.is_none() => Self::Fatal(length),
            Some(_) => Self::Bad { length, allowed: of_class.or(rule.allowed_fails) },
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// `None` is closed. From this moment on it is half-open.
    until: Option<Moment>,
    /// The probe under way, and when its time is over.
    probing: Option<Probe>,
    /// How many probes there were.
    probes: u64,
    /// Probes up to this number began before the breaker last opened: they decide nothing any more.
    outdated: u64,
    /// Probes since it opened of which nothing was heard in time.
    unheard: u32,
    /// Probes that failed since it was last closed.
    failed_probes: u32,
    /// Failures since the last success.
    in_a_row: u32,
    minute: Minute,
    /// It was opened because a limit was met.
    limited: bool,
    /// It is closed again after that, and not everybody comes at once.
    ramp: Option<Ramp>,
}

/// What is let through within a step: twice as much as in the one before, for as long as each is full.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    since: Moment,
    begun: u32,
    most: u32,
}

impl Ramp {
    const FIRST: Self = Self { since: Moment::from_nanos(0), begun: 0, most: FIRST_STEP };

    /// The end of its step, where that is full.
    fn full_until(&self, now: Moment) -> Option<Moment> {
        let end = self.since + STEP;
        (self.begun >= self.most && now < end).then_some(end)
    }

    /// One more goes through; nothing, once as many as want to may.
    fn begin(mut self, now: Moment) -> Option<Self> {
        if self.begun > 0 && now >= self.since + STEP {
            let next = Self { begun: 0, most: self.most.saturating_mul(2), ..self };
            self = (self.begun >= self.most).then_some(next)?;
        }
        let since = if self.begun == 0 { now } else { self.since };
        Some(Self { since, begun: self.begun + 1, ..self })
    }
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u64,
    expires: Moment,
}

impl Breaker {
    pub(super) fn admission(&self, now: Moment, rule: &BreakerRule) -> Admission {
        match self.until {
            _ if rule.disabled => Admission::Yes,
            None => {
                let full = self.ramp.and_then(|ramp| ramp.full_until(now));
                full.map_or(Admission::Yes, |until| Admission::No { until })
            }
            Some(until) if now < until => Admission::No { until },
            Some(_) => match self.probing {
                Some(probe) if now < probe.expires => Admission::No { until: probe.expires },
                _ => Admission::Probe,
            },
        }
    }

    /// An attempt that is no probe begins.
    pub(super) fn begin(&mut self, now: Moment) {
        self.ramp = self.ramp.and_then(|ramp| ramp.begin(now));
    }

    /// Lets a probe through, and gives its number.
    pub(super) fn probe(&mut self, now: Moment) -> u64 {
        if self.probing.is_some() {
            self.unheard += 1;
        }
        self.probes += 1;
        let length = FIRST_PROBE.saturating_mul(1 << self.unheard.min(6)).min(LONGEST_PROBE);
        self.probing = Some(Probe { number: self.probes, expires: now + length });
        self.probes
    }

    /// A probe that said nothing.
    pub(super) fn abandon(&mut self, probe: u64) {
        if self.probing.is_some_and(|probing| probing.number == probe) {
            self.probing = None;
        }
    }

    /// A probe that succeeded, late or not. One that was overtaken by another opening is only over.
    pub(super) fn close(&mut self, probe: u64) {
        if self.until.is_some() && probe > self.outdated {
            let ramp = self.limited.then_some(Ramp::FIRST);
            *self = Self { probes: self.probes, outdated: self.probes, ramp, ..Self::default() };
        }
    }

    pub(super) fn record(&mut self, now: Moment, probe: Option<u64>, verdict: Verdict, rule: &BreakerRule) {
        let probe = probe.filter(|probe| *probe > self.outdated);
        if let (Some(probe), Verdict::Good) = (probe, verdict) {
            self.close(probe);
        } else if let Some(probe) = probe {
            self.abandon(probe);
        }
        match verdict {
            Verdict::Nothing => return,
            Verdict::Good => {
                self.minute.add(now, false);
                self.in_a_row = 0;
            }
            Verdict::Bad { .. } | Verdict::Fatal(_) | Verdict::Limited(_) => {
                self.minute.add(now, true);
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.failed_probes = self.failed_probes.saturating_add(probe.is_some().into());
            }
        }
        match verdict {
            Verdict::Fatal(length) => self.open(now, length, rule),
            Verdict::Limited(length) => {
                self.open(now, length, rule);
                self.limited = self.until.is_some();
            }
            Verdict::Bad { length, allowed }
                if probe.is_some() || (self.until.is_none() && self.tripped(now, rule, allowed)) =>
            {
                self.open(now, length, rule);
            }
            _ => {}
        }
    }

    fn tripped(&self, now: Moment, rule: &BreakerRule, allowed: Option<u32>) -> bool {
        let (attempts, failures) = self.minute.counts(now);
        if rule.alone {
            return attempts >= ENOUGH_ALONE && failures == attempts;
        }
        match allowed {
            Some(allowed) => failures > allowed,
            None if self.in_a_row.min(failures) >= IN_A_ROW => true,
            None => attempts >= ENOUGH && u64::from(failures) * 2 > u64::from(attempts),
        }
    }

    fn open(&mut self, now: Moment, length: Cooldown, rule: &BreakerRule) {
        let length = match length {
            Cooldown::Fixed(length) => length,
            Cooldown::Growing(length) => length.saturating_mul(1 << self.failed_probes.min(DOUBLINGS)),
        };
        if !rule.disabled && !length.is_zero() {
            self.open_for(now, length);
        }
    }

    /// The provider does not take the credential: an account's breaker.
    pub(super) fn refused(&mut self, now: Moment, probe: Option<u64>, cooldown: Duration) {
        if let Some(probe) = probe.filter(|probe| *probe > self.outdated) {
            self.abandon(probe);
            self.failed_probes = self.failed_probes.saturating_add(1);
        }
        // Attempts that began before it opened say nothing new.
        if self.until.is_none_or(|until| now >= until) {
            let first = cooldown.max(FIRST_OF_CREDENTIAL);
            self.open_for(now, first.saturating_mul(1 << self.failed_probes.min(10)).min(LONGEST_OF_CREDENTIAL));
        }
    }

    /// Until when it is open, whether or not a probe may go through then; `None` is closed.
    pub(super) const fn opened_until(&self) -> Option<Moment> {
        self.until
    }

    /// Probes that failed since it was last closed.
    pub(super) const fn failed_probes(&self) -> u32 {
        self.failed_probes
    }

    /// As it was before a restart.
    pub(super) const fn restore(&mut self, until: Moment, failed_probes: u32) {
        (self.until, self.failed_probes) = (Some(until), failed_probes);
    }

    fn open_for(&mut self, now: Moment, length: Duration) {
        let until = now + length;
        self.until = Some(self.until.map_or(until, |other| other.max(until)));
        // Probes under way must not close what has just opened.
        self.outdated = self.probes;
        self.probing = None;
        self.unheard = 0;
    }
}
