//! The guard of one attempt: the deployment's reservation and the breaker's admission, from the moment they are granted to the
//! one outcome that limits, health and router receive.
//!
//! It is kept by the request's guard and not by the stage that calls: a client that leaves and a request whose time is over
//! drop the stages wherever they are, and what remains must know why the attempt ended.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::attempt::Billing;
use crate::attempt::{AttemptOutcome, AttemptProgress};
use crate::budgets::{Hold, Reached};
use crate::catalog::Deployment;
use crate::chat::ChatRequest;
use crate::failover::FaultClass;
use crate::fault::{AttemptFault, FaultKind};
use crate::format::limit_in_words;
use crate::health::{self, Change};
use crate::id::{DeploymentId, GroupName};
use crate::limits::{Demand, Dimension, News, Observation, OutputCounting, Reservation, ReservationHandle};
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::policy::{Outcome, Router};
use crate::record::AttemptRecord;
use crate::rollout::{Rollout, Trial};
use crate::snapshot::{DeploymentRuntime, GroupRuntime};
use crate::tokens::{self, Count};

use super::estimate::{self, AttemptEstimate};
use super::{Gateway, rollout};

/// What a reply is worth to a router that was cut short, though nobody had bounded it.
const TRUNCATED: f32 = 0.5;

/// One attempt under way.
pub(super) struct AttemptGuard {
    deployment: Arc<DeploymentRuntime>,
    router: Option<Arc<Router>>,
    group: GroupName,
    /// A new version that is tried, and whether it was asked about this.
    rollout: Option<(Arc<Rollout>, bool)>,
    /// Versions of the other roles that are tried, whether they worked for this, and whether it is the first of its request that a version
    /// of the role did work for.
    trials: Vec<(Arc<dyn Trial>, bool, bool)>,
    index: usize,
    reservation: Reservation,
    /// Money held at its deployment and its provider.
    money: Hold,
    health: health::Attempt,
    estimate: AttemptEstimate,
    /// What is asked, where no more than a bound of its tokens is known.
    uncounted: Option<Arc<ChatRequest>>,
    /// What was counted of it because its provider tells nothing.
    count: Option<Count>,
    pub(super) progress: AttemptProgress,
}

impl AttemptGuard {
    /// Begins an attempt at the group's deployment `index`, for which a reservation was granted. `by_candidate` says that a new version of the
    /// router was asked, and not the one in force.
    pub(super) fn begin(
        group: &GroupRuntime,
        by_candidate: bool,
        index: usize,
        health: health::Attempt,
        (reservation, money): (Reservation, Hold),
        (progress, estimate): (AttemptProgress, AttemptEstimate),
        request: &Arc<ChatRequest>,
    ) -> Self {
        let uncounted = estimate.counted_input.is_none().then(|| Arc::clone(request));
        let deployment = Arc::clone(&group.deployments[index]);
        let rollout = group.rollout.as_ref();
        let rollout = rollout.map(|rollout| (Arc::clone(rollout), by_candidate));
        let name = group.config.name.clone();
        let router = group.router.clone();
        Self {
            deployment,
            router,
            group: name,
            rollout,
            trials: Vec::new(),
            index,
            reservation,
            money,
            health,
            estimate,
            uncounted,
            count: None,
            progress,
        }
    }

    /// What is to be counted before it ends so, since it would be billed by a bound.
    fn to_count(&self, fault: Option<&AttemptFault>) -> Option<&Arc<ChatRequest>> {
        let is_told = fault.is_some_and(|fault| fault.used.is_some());
        self.uncounted.as_ref().filter(|_| !is_told && self.progress.assumes_input(of_provider(fault)))
    }

    /// Whether that takes longer than a thread that serves may do it.
    pub(super) fn counts_long(&self, fault: Option<&AttemptFault>) -> bool {
        let model = &self.deployment.config.model;
        self.to_count(fault).is_some() && !estimate::is_short(self.estimate.upper_bound, model)
    }

    /// Counts what is to be counted before it ends so. What was counted for its bill, now or before.
    pub(super) async fn count(&mut self, gateway: &Gateway, fault: Option<&AttemptFault>) -> Option<Count> {
        // Still there for whoever ends it, should nobody wait for the count.
        if let Some(request) = self.to_count(fault).cloned() {
            let model = &self.deployment.config.model;
            let count = estimate::count(gateway, &request, self.estimate.upper_bound, model).await;
            self.was_counted(count);
        }
        self.count
    }

    /// The same on this thread.
    pub(super) fn count_here(&mut self, fault: Option<&AttemptFault>) {
        if self.to_count(fault).is_none() {
            return;
        }
        // Taken out first: what panics is not counted again when it is dropped for that.
        if let Some(request) = self.uncounted.take() {
            let count = tokens::count(&request, &self.deployment.config.model);
            self.was_counted(Some(count));
        }
    }

    /// Where the thread that was to count has ended, the bound stands.
    fn was_counted(&mut self, count: Option<Count>) {
        (self.uncounted, self.count) = (None, count);
        if let Some(count) = count {
            self.progress.assume_input(estimate::provider_count(&self.deployment, count.tokens));
        }
    }

    /// One of the versions of a builder or parser works for it while a new one is tried.
    pub(super) fn tried(&mut self, trial: Arc<dyn Trial>, by_candidate: bool, first: bool) {
        self.trials.push((trial, by_candidate, first));
    }

    /// The bound of output where its format must have one and the client gave none.
    pub(super) const fn default_bound(&self) -> u32 {
        self.estimate.default_bound
    }

    /// What was reserved for it, for those who do not end it.
    pub(super) const fn reservation(&self) -> ReservationHandle {
        self.reservation.handle()
    }

    /// What is held for it.
    pub(super) const fn money(&self) -> &Hold {
        &self.money
    }

    /// How long after its last byte its provider has surely read it.
    pub(super) fn slack(&self, bytes: usize) -> Duration {
        self.deployment.learned.slack(bytes)
    }

    /// Its provider told its limits in the head of its answer.
    pub(super) fn told(&self, gateway: &Gateway, headers: &HeaderMap) {
        let mut told = self.deployment.format.limits_in_headers(headers);
        if !told.is_empty() {
            let now = gateway.clock.now();
            for told in &mut told {
                told.age = self.progress.age(now);
            }
            gateway.limits.told(now, self.deployment.scope, &told, false, Box::new(drop));
        }
    }

    /// What was reserved for it.
    pub(super) const fn held(&self) -> &Reservation {
        &self.reservation
    }

    /// Its client left before its end can be told: its breaker need not wait for that.
    pub(super) fn leave(&mut self) {
        self.health.leave();
    }

    /// The first piece of the reply itself has come: a probe has shown what it was to show.
    pub(super) fn first_content(&mut self, now: Moment) {
        self.progress.first_content(now);
        self.health.answering();
    }

    /// Ends it and reports the outcome to all but the request, with what is to be told of budgets. When the request arrived, its
    /// `seed` and `number` say which attempt of which request it was.
    pub(super) fn end(
        self: Box<Self>,
        gateway: &Gateway,
        (arrived, seed): (Moment, u64),
        number: usize,
        fault: Option<&AttemptFault>,
    ) -> (AttemptOutcome, AttemptRecord, Vec<Reached>) {
        let now = gateway.clock.now();
        let config = &self.deployment.config;
        let unparsed = fault.is_some_and(|fault| fault.kind == FaultKind::Unparsed);
        let mut progress = self.progress;
        if let Some(used) = fault.and_then(|fault| fault.used.as_deref()) {
            progress.reported(used);
        }
        let by_price = progress.told_cost().is_none();
        let mut outcome = progress.end(now, of_provider(fault), config.prices.as_ref());
        if by_price {
            tell_unpriced(&self.deployment, &outcome);
        }
        let lesson = Lesson { gateway, now, deployment: &self.deployment, estimate: &self.estimate };
        lesson.learn(&outcome);
        if outcome.billing.is_sent() {
            let counted = counted(&self.deployment, &self.estimate, &outcome);
            gateway.limits.settle(now, self.reservation, counted);
        } else {
            gateway.limits.refund(now, self.reservation);
        }
        let charged = charged(config, &outcome);
        let reached = gateway.budgets.settle(now, arrived, self.money, charged);
        // After it was given back: what its provider has counted is without it.
        outcome.limit_told = lesson.refused(fault);
        // One that stands for many models is well though its provider lacks the one that somebody made up.
        let unknown = config.wildcard.is_some() && outcome.class == Some(FaultClass::NotFound);
        let passing = fault.is_some_and(AttemptFault::is_passing);
        let refused = (unknown || passing).then(|| AttemptOutcome {
            fault: Some(FaultKind::Rejected),
            class: None,
            ..outcome.clone()
        });
        if let Some(change) = self.health.end(now, refused.as_ref().unwrap_or(&outcome)) {
            log(&config.id, change, now, fault);
        }
        if let Some(router) = self.router {
            // What was asked to be short is no worse for ending there.
            let cut = outcome.truncated && outcome.fault.is_none() && self.estimate.bound.is_none();
            let quality = if unparsed { Some(0.0) } else { cut.then_some(TRUNCATED) };
            if let Some(quality) = quality {
                gateway.recorder.worth(&self.group, &config.id, quality);
            }
            let event = Outcome { quality, ..Outcome::of_attempt(&outcome, seed, number, self.index) };
            if let Some((rollout, by_candidate)) = self.rollout {
                rollout.attempted(by_candidate, number == 0, &outcome);
                rollout::observe(gateway, rollout, event.clone());
            }
            if router.is_slow() {
                gateway.slow_policies.spawn(move || router.observe(&event));
            } else {
                router.observe(&event);
            }
        }
        if !self.trials.is_empty() {
            // That the parser does not take a reply may be the doing of its new version, or of the prompt's.
            let fault = if unparsed { Some(FaultKind::Unparsed) } else { outcome.fault };
            let outcome = AttemptOutcome { fault, ..outcome.clone() };
            self.trials
                .iter()
                .for_each(|(trial, by_candidate, first)| trial.attempted(*by_candidate, *first, &outcome));
        }
        let record = AttemptRecord {
            group: self.group,
            deployment: config.id.clone(),
            provider: config.provider.clone(),
            model: config.model.clone(),
            fault: if unparsed { Some(FaultKind::Unparsed) } else { outcome.fault },
            latency: outcome.latency,
            usage: outcome.usage.clone(),
            usage_refused: outcome.usage_refused,
            cost: outcome.cost,
            charged,
        };
        (outcome, record, reached)
    }
}

/// A reply that only the parser does not take is the provider's whole reply: bad, but there.
fn of_provider(fault: Option<&AttemptFault>) -> Option<&AttemptFault> {
    fault.filter(|fault| fault.kind != FaultKind::Unparsed)
}

/// Tells an operator what is left alone, why and for how long. The provider's words are scrubbed already.
fn log(deployment: &DeploymentId, change: Change, now: Moment, fault: Option<&AttemptFault>) {
    let why = fault.map_or("", |fault| fault.message.as_str());
    match change {
        Change::Opened(until) => {
            let seconds = until.since(now).as_secs_f64();
            tracing::warn!(%deployment, seconds, why, "a deployment is left alone after failures");
        }
        Change::CredentialRefused(until) => {
            let seconds = until.since(now).as_secs_f64();
            tracing::error!(%deployment, seconds, why, "the provider does not take the credential, or its account is empty: every deployment of it is left alone");
        }
        Change::Closed => tracing::info!(%deployment, "a deployment answers again"),
    }
}

/// Tells an operator, once, of what replies use that no price is known of: their cost is without it, or as of text.
fn tell_unpriced(deployment: &DeploymentRuntime, outcome: &AttemptOutcome) {
    let config = &deployment.config;
    let Some(prices) = config.prices.as_ref().filter(|_| outcome.billing.is_billed()) else { return };
    for unknown in prices.lacking(&outcome.usage).filter(|&unknown| deployment.learned.is_first_unpriced(unknown)) {
        tracing::warn!(deployment = %config.id, unknown, "replies cost more than is counted for them: a price is not known");
    }
}

/// What budgets are charged for it: what it cost, or what an unknown price is taken for.
fn charged(config: &Deployment, outcome: &AttemptOutcome) -> NanoUsd {
    let assumed = || config.charged_prices().filter(|_| outcome.billing.is_billed());
    outcome.cost.or_else(|| assumed().map(|prices| prices.cost(&outcome.usage))).unwrap_or_default()
}

/// What its provider counts of an attempt that is over.
fn counted(deployment: &DeploymentRuntime, estimate: &AttemptEstimate, outcome: &AttemptOutcome) -> Demand {
    let used = outcome.demand();
    match outcome.billing {
        Billing::Failed => return Demand { input_tokens: estimate.demand.input_tokens, ..used },
        Billing::Unsent | Billing::Refused => return used,
        Billing::Reported | Billing::Estimated => {}
    }
    // Where nothing bounded it, the provider assumed something on arrival; the usual length is as good as any.
    let usual = || deployment.learned.expected().output.unwrap_or(0).min(estimate.demand.output_tokens);
    let bound = estimate.bound.unwrap_or_else(usual);
    deployment.config.counting.settled(used, outcome.usage.cache_read_tokens, bound)
}

/// What an attempt that is over teaches about its deployment's limits.
struct Lesson<'a> {
    gateway: &'a Gateway,
    now: Moment,
    deployment: &'a DeploymentRuntime,
    estimate: &'a AttemptEstimate,
}

impl Lesson<'_> {
    /// The provider's own limit was met: its words tell what it counts. Whether they do, and of a window that is counted here.
    fn refused(&self, fault: Option<&AttemptFault>) -> bool {
        let Self { gateway, now, deployment, .. } = *self;
        let met = |fault: &&AttemptFault| fault.kind == FaultKind::RateLimited || fault.is_over_limit();
        let Some(fault) = fault.filter(met) else { return false };
        let mut told = limit_in_words(&fault.message);
        // Words may say how much, and a header alone when.
        if let Some(told) = &mut told {
            told.again = told.again.or(fault.retry_after);
        }
        let (learned, id) = (Arc::clone(&deployment.learned), deployment.config.id.clone());
        let hear = move |news: News| {
            if news.forgotten_early {
                learned.contradicted();
            }
            tracing::info!(deployment = %id, ?news, "the provider refused a request at its limit");
            if news.slides {
                tracing::warn!(deployment = %id, "a refusal contradicts `rate_limit_window`: the limit is taken to be one of a sliding window");
            }
        };
        gateway.limits.told(now, deployment.scope, told.as_slice(), true, Box::new(hear));
        let counted = told.is_some_and(|told| gateway.limits.local().counts(deployment.scope, &told));
        counted && fault.retry_after.is_none_or(|asked| asked <= deployment.config.limits.window)
    }

    /// A whole reply says what it used.
    fn learn(&self, outcome: &AttemptOutcome) {
        let Self { gateway, now, deployment, estimate } = *self;
        let limits = gateway.limits.local();
        if outcome.billing != Billing::Reported {
            return;
        }
        let unbounded = estimate.bound.is_none() || deployment.config.counting.output == OutputCounting::Made;
        let seen = Observation {
            counted_input: estimate.counted_input,
            input: outcome.usage.input_tokens,
            output: unbounded.then_some(outcome.usage.output_tokens),
        };
        deployment.learned.observe(seen);
        deployment.learned_of_model.observe(seen);
        let used = limits.used(now, deployment.scope);
        let nearly_full = |dimension| {
            let used: u64 = used[dimension];
            move |free: u64| used > free.saturating_mul(4)
        };
        let full = |dimension: Dimension| used.free[dimension].is_some_and(nearly_full(dimension));
        if full(Dimension::Tokens) || full(Dimension::Requests) || full(Dimension::InputTokens) {
            deployment.learned.confirmed();
        }
    }
}
