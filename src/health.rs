//! How each deployment does: what is under way, how fast it was, how often it failed, and whether it may be called.
//!
//! Rules, in prose.
//!
//! *What counts.* A rate limit, an unavailable or timed-out provider, a broken stream and a misconfigured deployment
//! are failures. A request the provider rejected (also with a 403, a 404 or a 429 whose words
//! are about the request alone), one that was in another's way, too early or in a service tier without room (409, 425, 498),
//! a client that went away or whose own time was over, and what the gateway itself ended say nothing about the deployment: they
//! count neither as failure nor as success. Means are over the last 10 replies that were whole; the failure share is
//! over the last 20 attempts that counted. All start unknown.
//!
//! *When the breaker opens.* A deployment whose group has others opens at once on a rate limit and on a
//! misconfiguration. On other failures it opens after five without a success between them, or if the last minute held at least 5
//! attempts of which more than half failed; or, where `allowed_fails` is set, if the last minute held more failures than that, the
//! number being the one of the last failure's class where `allowed_fails_policy` gives one. A deployment that is alone in
//! its group, with no other group to take over, has nobody to hand over to: it opens only if the last minute held at least 20 attempts and all of them
//! failed. A rate limit opens the only deployment of a group just where its provider says for how long (`Retry-After`), which holds for
//! everybody; without that the limits and the queue answer it better.
//!
//! *Credentials.* A credential that is refused, or whose account is empty, opens the breaker of the account (`account`), and so leaves
//! alone every deployment that has it. A request that is refused never opens anything.
//!
//! *For how long.* For as long as the provider's `Retry-After` or its words say (at most an hour), else for the cooldown that is configured; where
//! none is, for 5 s, doubled for each probe that failed before, to four times at most. A length of zero
//! does not open. Opening again never brings the end nearer. While it is open, attempts begun before may still end:
//! only a rate limit or a misconfiguration among them moves the end.
//!
//! *How it closes.* When the time is over it is half-open: one attempt at a time goes through as a probe. A probe of which
//! nothing is heard for 5 s is followed by another, that one after 10 s, and so on up to a minute: one that hangs must not keep
//! its group waiting. A probe that begins to answer or succeeds closes the breaker, and the last minute is forgotten. A probe that fails opens it
//! again. A probe that says nothing (rejected, cancelled) leaves it half-open for the next one. Where it was a rate limit that had opened it, one
//! attempt may begin within a second after the probe's success, two within the next, four then, and so on until fewer want to: what has waited
//! must not come all at once to a provider of which nobody knows how much it takes.
//!
//! Breakers and means belong to a deployment's id and survive reloads.

mod account;
mod averages;
mod breaker;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::attempt::AttemptOutcome;
use crate::failover::ByClass;
use crate::fault::FaultKind;
use crate::id::DeploymentId;
use crate::moment::Moment;
use crate::signal::Signal;
use account::Account;
use averages::{Mean, Shares};
use breaker::{Breaker, Verdict};

/// When a deployment's breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures per minute that are borne; one more opens. `None`: more than half of at least 5 attempts.
    pub allowed_fails: Option<u32>,
    /// How long it stays open where the provider does not say.
    pub cooldown: Cooldown,
    /// It never opens.
    pub disabled: bool,
    /// Nobody else can serve its group's requests.
    pub alone: bool,
    /// It is the only one of its group, but other groups take over.
    pub single: bool,
    /// The same by class of the last failure.
    pub allowed_fails_policy: ByClass,
    /// The account that its credential is of; `None` where it has no credential.
    pub account: Option<AccountId>,
}

/// How long a deployment is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cooldown {
    /// So long each time.
    Fixed(Duration),
    /// So long at first, and longer for each probe that fails.
    Growing(Duration),
}

impl Cooldown {
    /// How long it is at first.
    #[must_use]
    pub const fn first(self) -> Duration {
        match self {
            Self::Fixed(length) | Self::Growing(length) => length,
        }
    }
}

/// A provider account: an origin and a credential there, as one number that tells neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId(pub u64);

impl Default for BreakerRule {
    fn default() -> Self {
        Self {
            allowed_fails: None,
            cooldown: Cooldown::Growing(Duration::from_secs(5)),
            disabled: false,
            alone: false,
            single: false,
            allowed_fails_policy: ByClass::default(),
            account: None,
        }
    }
}

/// Whether a deployment may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Yes,
    /// It may, once: the attempt decides whether the breaker closes.
    Probe,
    /// Not before this moment, at which a probe may go through.
    No {
        /// When the breaker lets a probe through.
        until: Moment,
    },
}

/// What is known of a deployment now. Milliseconds; NaN is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthReport {
    /// Attempts under way.
    pub in_flight: u32,
    /// Mean time of the last 10 whole replies.
    pub latency_ms: f32,
    /// Mean time per output token of the last 10 whole replies.
    pub latency_per_token_ms: f32,
    /// Mean time to the first token of the last 10 streamed replies.
    pub ttft_ms: f32,
    /// Share of failures among the last 20 attempts, 0 to 1.
    pub failure_rate: f32,
    /// Whether it may be called.
    pub admission: Admission,
}

impl HealthReport {
    /// The value of a signal that is about health; `None` for those that are not.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> Option<f32> {
        match signal {
            #[expect(clippy::cast_precision_loss, reason = "nobody runs 16 million attempts at once")]
            Signal::InFlight => Some(self.in_flight as f32),
            Signal::LatencyMs => Some(self.latency_ms),
            Signal::LatencyPerTokenMs => Some(self.latency_per_token_ms),
            Signal::TtftMs => Some(self.ttft_ms),
            Signal::FailureRate => Some(self.failure_rate),
            Signal::Healthy => Some(f32::from(!matches!(self.admission, Admission::No { .. }))),
            Signal::WaitMs
            | Signal::CostUsd
            | Signal::TokensUsed
            | Signal::RequestsUsed
            | Signal::TokensFree
            | Signal::RequestsFree => None,
        }
    }
}

/// One deployment's health, behind a short mutex of its own.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rule: BreakerRule,
    /// What it shares with all deployments of its credential.
    account: Option<Arc<Account>>,
    in_flight: u32,
    latency: Mean,
    per_token: Mean,
    ttft: Mean,
    failures: Shares,
    breaker: Breaker,
}

impl Health {
    /// Whether an attempt may begin; asking changes nothing.
    #[must_use]
    pub fn admission(&self, now: Moment) -> Admission {
        self.lock().admission(now)
    }

    /// Its breaker, where that is not closed.
    #[must_use]
    pub fn open(&self) -> Option<OpenBreaker> {
        let state = self.lock();
        let until = state.breaker.opened_until()?;
        Some(OpenBreaker { until, failed_probes: state.breaker.failed_probes() })
    }

    /// Its breaker is as it was before a restart, unless it has opened since.
    pub fn restore(&self, open: OpenBreaker) {
        let mut state = self.lock();
        if state.breaker.opened_until().is_none() && !state.rule.disabled {
            state.breaker.restore(open.until, open.failed_probes);
        }
    }

    /// The breaker of its credential's account, where that is not closed.
    #[must_use]
    pub fn open_account(&self) -> Option<(AccountId, OpenBreaker)> {
        let state = self.lock();
        Some((state.rule.account?, state.account.as_deref()?.open()?))
    }

    /// The account of its credential.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.lock().rule.account
    }

    /// The account's breaker is as it was before a restart, if it is the same account still: another credential may be taken.
    pub fn restore_account(&self, of: AccountId, open: OpenBreaker) {
        let state = self.lock();
        if let Some(account) = state.account.as_deref().filter(|_| state.rule.account == Some(of)) {
            account.restore(open);
        }
    }

    /// Whether it is left alone because its provider does not take the credential.
    #[must_use]
    pub fn is_credential_refused(&self) -> bool {
        self.lock().consulted().is_some_and(Account::is_shut)
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// The breaker is open or its one probe is under way: when it lets the next one through.
    pub fn begin(self: &Arc<Self>, now: Moment) -> Result<Attempt, BreakerOpen> {
        let mut state = self.lock();
        let rule = state.rule;
        if let Admission::No { until } = state.breaker.admission(now, &rule) {
            return Err(BreakerOpen { until });
        }
        // Before the deployment's own probe is taken: it must not be lost where the account has none to give.
        let account_probe = match state.consulted() {
            Some(account) => account.begin(now)?,
            None => None,
        };
        let probe = (state.breaker.admission(now, &rule) == Admission::Probe).then(|| state.breaker.probe(now));
        if probe.is_none() {
            state.breaker.begin(now);
        }
        state.in_flight += 1;
        let account = state.account.clone();
        drop(state);
        Ok(Attempt { health: Arc::clone(self), account, probe, account_probe, over: false })
    }

    /// All that is known, under one lock.
    #[must_use]
    pub fn report(&self, now: Moment) -> HealthReport {
        let state = self.lock();
        HealthReport {
            in_flight: state.in_flight,
            latency_ms: state.latency.value(),
            latency_per_token_ms: state.per_token.value(),
            ttft_ms: state.ttft.value(),
            failure_rate: state.failures.value(),
            admission: state.admission(now),
        }
    }

    fn restrict(&self, rule: BreakerRule, account: Option<Arc<Account>>) {
        let mut state = self.lock();
        (state.rule, state.account) = (rule, account);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The breaker does not let an attempt through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOpen {
    /// When it lets a probe through.
    pub until: Moment,
}

impl fmt::Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deployment is cooling down after failures")
    }
}

impl std::error::Error for BreakerOpen {}

/// An attempt under way. Dropping it without [`Attempt::end`] ends it as cancelled, so that no ending leaks.
#[derive(Debug)]
#[must_use = "dropping an attempt ends it as cancelled"]
pub struct Attempt {
    health: Arc<Health>,
    /// The account of the credential that it is sent with: a reload may give the deployment another.
    account: Option<Arc<Account>>,
    /// The number of the probe this attempt is.
    probe: Option<u64>,
    /// The same of its account's.
    account_probe: Option<u64>,
    over: bool,
}

/// What the end of an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The deployment is left alone until then.
    Opened(Moment),
    /// Its credential is refused: all deployments of it are left alone until then.
    CredentialRefused(Moment),
    /// The deployment is called again.
    Closed,
}

impl Attempt {
    /// Whether this attempt decides about the breaker.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.probe.is_some() || self.account_probe.is_some()
    }

    /// The reply has begun: a probe closes the breaker without waiting for a long stream to end.
    pub fn answering(&mut self) {
        if self.is_probe() {
            if let Some(probe) = self.probe.take() {
                self.health.lock().breaker.close(probe);
            }
            if let Some((probe, account)) = self.account_probe.take().zip(self.account.as_deref()) {
                account.close(probe);
            }
        }
    }

    /// Its client left, and its end is told later: it is under way no more, and a probe gives its place back. Such an end changes nothing.
    pub fn leave(&mut self) {
        self.finish(None);
    }

    /// Ends the attempt, and says what it changed.
    #[expect(clippy::must_use_candidate, reason = "it is ended for its effect; who logs looks at the change")]
    pub fn end(mut self, now: Moment, outcome: &AttemptOutcome) -> Option<Change> {
        self.finish(Some((now, outcome)))
    }

    fn finish(&mut self, ended: Option<(Moment, &AttemptOutcome)>) -> Option<Change> {
        if std::mem::replace(&mut self.over, true) {
            return None;
        }
        let probe = self.probe.take();
        let mut state = self.health.lock();
        let state = &mut *state;
        let before = state.breaker.opened_until();
        let refused = self.account.as_deref().and_then(|account| {
            let cooldown = state.rule.cooldown.first();
            account.end(self.account_probe.take(), ended.filter(|_| !state.rule.disabled), cooldown)
        });
        state.in_flight = state.in_flight.saturating_sub(1);
        let verdict = match ended {
            None => Verdict::Nothing,
            Some((_, outcome)) => Verdict::of(outcome, &state.rule),
        };
        if let Some((now, outcome)) = ended {
            match outcome.fault {
                None => state.succeeded(outcome),
                Some(FaultKind::Rejected | FaultKind::Cancelled | FaultKind::Unparsed | FaultKind::Gateway) => {}
                Some(_) => state.failures.add(true),
            }
            state.breaker.record(now, probe, verdict, &state.rule);
        } else if let Some(probe) = probe {
            state.breaker.abandon(probe);
        }
        match (before, state.breaker.opened_until()) {
            _ if refused.is_some() => refused.map(Change::CredentialRefused),
            (before, Some(until)) if before != Some(until) => Some(Change::Opened(until)),
            (Some(_), None) => Some(Change::Closed),
            _ => None,
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.finish(None);
    }
}

impl State {
    /// The account, where it decides anything: a deployment that is alone in its group has nobody to hand over to, and its
    /// clients read the provider's own words.
    fn consulted(&self) -> Option<&Account> {
        self.account.as_deref().filter(|_| !self.rule.alone && !self.rule.disabled)
    }

    /// The breaker's and the account's: whichever keeps it longer.
    fn admission(&self, now: Moment) -> Admission {
        let own = self.breaker.admission(now, &self.rule);
        let account = self.consulted().map_or(Admission::Yes, |account| account.admission(now));
        match (own, account) {
            (Admission::No { until }, Admission::No { until: other }) => Admission::No { until: until.max(other) },
            (no @ Admission::No { .. }, _) | (_, no @ Admission::No { .. }) => no,
            (Admission::Probe, _) | (_, Admission::Probe) => Admission::Probe,
            (Admission::Yes, Admission::Yes) => Admission::Yes,
        }
    }

    fn succeeded(&mut self, outcome: &AttemptOutcome) {
        let millis = |length: Duration| length.as_secs_f64() * 1000.0;
        self.failures.add(false);
        self.latency.add(millis(outcome.latency));
        let tokens = outcome.usage.output_tokens;
        if tokens > 0 {
            #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
            self.per_token.add(millis(outcome.latency) / tokens as f64);
        }
        if let Some(ttft) = outcome.ttft.filter(|_| outcome.streamed) {
            self.ttft.add(millis(ttft));
        }
    }
}

/// A breaker that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBreaker {
    /// When a probe may go through.
    pub until: Moment,
    /// Probes that failed since it was last closed: the next wait is longer for each.
    pub failed_probes: u32,
}

/// The health of every deployment, by id. It outlives catalogues.
#[derive(Debug, Default)]
pub struct HealthBook {
    entries: Mutex<BTreeMap<DeploymentId, Arc<Health>>>,
    accounts: Mutex<BTreeMap<AccountId, Arc<Account>>>,
}

impl HealthBook {
    /// A deployment's health, to be kept by a snapshot; a new one where the id is new.
    pub fn of(&self, id: &DeploymentId) -> Arc<Health> {
        Arc::clone(self.lock().entry(id.clone()).or_default())
    }

    /// Sets the rules, as a snapshot is swapped in. Deployments without one are forgotten here; snapshots in use
    /// keep theirs.
    pub fn apply(&self, rules: &BTreeMap<DeploymentId, BreakerRule>) {
        let mut entries = self.lock();
        entries.retain(|id, _| rules.contains_key(id));
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|id, _| rules.values().any(|rule| rule.account == Some(*id)));
        for (id, rule) in rules {
            let account = rule.account.map(|account| Arc::clone(accounts.entry(account).or_default()));
            entries.entry(id.clone()).or_default().restrict(*rule, account);
        }
    }

    /// Every deployment, in the order of the ids.
    #[must_use]
    pub fn all(&self) -> Vec<(DeploymentId, Arc<Health>)> {
        self.lock().iter().map(|(id, health)| (id.clone(), Arc::clone(health))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Arc<Health>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
