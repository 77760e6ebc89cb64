//! Reserve, or wait exactly as long as it must, or refuse at once what can never fit.
//!
//! The first deployment of the plan whose limits and breaker let the request through is taken; if none
//! does now, the request queues with its group's others until it is called: when there is room for it and its turn has come.

mod caller;
mod digest;
mod foreseen;
mod money;
mod refusals;
mod sent_away;
mod together;

use std::sync::Arc;

use crate::fault::{Refusal, RefusalKind};
use crate::health::Admission;
use crate::limits::{Certainty, Decision, Demand, ReserveRequest, ScopeId, Wait};
use crate::moment::Moment;
use crate::queue::{Candidate, Place, Want};
use crate::record::Removal;
use crate::snapshot::DeploymentRuntime;

use super::{Estimate, RequestContext, RequestGuard};
use digest::digest;
use refusals::{behind_refusal, context_refusal, excess_refusal, unreachable_refusal, wait_refusal};

pub(super) use caller::still_known;
pub(super) use foreseen::{NotHere, foreseen};
pub(super) use refusals::{not_now, queue_is_full};
pub(super) use together::{Member, Together};

/// What limits and breakers say of a request now.
enum AdmissionCheck {
    /// Reserved at this deployment, and the attempt begun.
    Granted(usize),
    /// It depends on the count of tokens, in the words of this deployment's model.
    CountFirst(usize),
    /// Less is expected of it than before, which may fit.
    Lessened,
    /// Until then, or until something under way ends.
    Wait(Option<Moment>, WaitReason),
    /// Not ever.
    Never(Refusal),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitReason {
    Limit,
    /// Others hold it, and may give it back before the moment that is told, at which its budget begins anew.
    Money,
    Breaker,
}

/// A check after which nothing has to be counted.
enum Attempted {
    Granted(usize),
    Wait(Option<Moment>),
}

/// Admission of one attempt: everything that decides where and when it may begin.
pub(super) struct AdmissionControl<'a, 'c> {
    pub(super) context: &'a RequestContext<'c>,
    pub(super) guard: &'a mut RequestGuard,
    /// The deployments to try, best first.
    pub(super) order: &'a [usize],
    /// Deployments that failed this request; they are passed over.
    pub(super) failed: &'a [usize],
    pub(super) estimate: &'a mut Estimate,
    /// Another group takes over: nobody waits for a breaker.
    pub(super) elsewhere: bool,
}

impl<'a> AdmissionControl<'a, '_> {
    /// Reserves at the best deployment that can take the request and begins the attempt there.
    ///
    /// # Errors
    /// `NeverFits` where no deployment can ever take it, `RateLimited` or `Unavailable` where the wait would be
    /// too long or the queue is full, with the time after which trying again makes sense.
    pub(super) async fn admit(&mut self) -> Result<usize, Refusal> {
        let context = self.context;
        let (queue, clock) = (&context.group.queue, context.gateway.clock);
        let arrived = clock.now();
        let wait_deadline = context.wait_deadline(arrived);
        // A retry holds the shared scopes already. Those in the queue may be waiting for just them, so it must not
        // stand behind anybody.
        let holds_shared = self.guard.shared.is_some();
        let found = queue.look(arrived);
        let skips = !found.waited_for || holds_shared || self.is_hopeless(arrived);
        let tried = if skips { Some(self.try_admit(wait_deadline, None).await) } else { None };
        if let Some(Err(refusal)) = tried {
            // Whoever is told to come back comes before those who come meanwhile.
            let waits = !holds_shared && matches!(refusal.kind, RefusalKind::RateLimited | RefusalKind::Unavailable);
            if waits {
                self.keep(&refusal, arrived);
            }
            return Err(refusal);
        }
        if let Some(Ok(Attempted::Granted(index))) = tried {
            if found.keeps {
                queue.give_up(&context.caller.key, digest(&context.request), arrived);
            }
            // Where limits are far from full nobody counts, and nobody's share matters.
            if self.estimate.is_counted() && !holds_shared {
                let Demand { input_tokens, output_tokens, .. } =
                    self.estimate.demand(&context.group.deployments[index]);
                queue.passed(arrived, &context.caller.key, input_tokens.saturating_add(output_tokens));
            }
            return Ok(index);
        }
        let capacity = context.snapshot.settings.queue.max_waiting;
        let full = || queue_is_full(&context.group.config.name, capacity);
        let waited = if holds_shared {
            let _standing = queue.stand(capacity).ok_or_else(full)?;
            self.guard.lend_money();
            let waiting = Box::pin(self.wait_for_capacity(wait_deadline));
            tokio::time::timeout_at(clock.instant(wait_deadline), waiting).await
        } else {
            // What waits has the time to be counted, and is packed by it.
            let model = self.order.first().map(|index| context.group.deployments[*index].config.model.clone());
            if let Some(model) = model.filter(|_| self.limits_tokens(arrived)) {
                self.estimate.count(context, &model).await;
            }
            let Some(place) = queue.join(capacity, self.want(), arrived) else {
                let refusal = full().after(queue.next_place(arrived));
                self.keep(&refusal, arrived);
                return Err(refusal);
            };
            // Nobody waits for what is known to come too late.
            let limits = context.gateway.limits.local();
            if place.starts(limits, arrived).is_some_and(|starts| starts > wait_deadline) {
                let starts = place.will_start(limits, arrived).unwrap_or(arrived);
                return Err(self.come_back(&place, behind_refusal(context, arrived, starts, wait_deadline)));
            }
            let waited = Box::pin(self.wait_in_queue(&place, wait_deadline));
            let waited = tokio::time::timeout_at(clock.instant(wait_deadline), waited).await;
            if waited.is_err() {
                let refusal = self.waited_in_vain(arrived, Some(&place));
                self.guard.record.waited += clock.now().since(arrived);
                return Err(self.come_back(&place, refusal));
            }
            waited
        };
        self.guard.record.waited += clock.now().since(arrived);
        waited.unwrap_or_else(|_elapsed| Err(self.waited_in_vain(arrived, None)))
    }

    /// Waits among the others until it is called and has reserved.
    async fn wait_in_queue(&mut self, place: &Place<'_>, wait_deadline: Moment) -> Result<usize, Refusal> {
        let context = self.context;
        let gateway = context.gateway;
        let strict = context.snapshot.settings.queue.strict;
        let mut missed = None;
        loop {
            let scope = tokio::select! {
                biased;
                scope = place.called() => scope,
                () = place.attend(&*gateway.limits, &gateway.capacity, gateway.clock, strict, missed) => continue,
            };
            still_known(context)?;
            // What ends from here on may be what it then waits for.
            missed = Some(gateway.capacity.count());
            match self.try_admit(wait_deadline, Some(scope)).await? {
                Attempted::Granted(index) => return Ok(index),
                Attempted::Wait(again) => place.missed(again),
            }
        }
    }

    /// What it waits for.
    fn want(&self) -> Want {
        let (context, estimate) = (self.context, &*self.estimate);
        let group = context.group;
        // Only who holds none of them waits in the queue.
        let (shared, own) = context.paying.parts();
        let held = self.guard.held_money().unwrap_or_default();
        let deployments = self.order.iter().filter(|index| !self.failed.contains(index));
        let deployments = deployments.map(|index| &group.deployments[*index]);
        let fits = |deployment: &&Arc<DeploymentRuntime>| {
            deployment.config.context_window.is_none_or(|window| !estimate.overflows(window))
        };
        let candidates = deployments.filter(fits).map(|deployment| {
            let (estimate, learning) = (*estimate, Arc::clone(deployment));
            Candidate {
                scope: deployment.scope,
                demand: Box::new(move || estimate.demand(&learning)),
                health: Arc::clone(&deployment.health),
                affordable: money::affordable_later(context, self.estimate, deployment, held),
            }
        });
        Want {
            group: group.config.name.clone(),
            priority: context.priority,
            caller: context.caller.key.clone(),
            digest: digest(&context.request),
            shared: shared.to_vec(),
            own: own.to_vec(),
            candidates: candidates.collect(),
        }
    }

    /// The scopes it must have room in whichever deployment is taken; none for a retry, which holds them.
    fn shared_scopes(&self) -> &'a [ScopeId] {
        let context = self.context;
        match self.guard.shared {
            None => &context.paying.scopes,
            Some(_) => &[],
        }
    }

    /// Whether no wait can help it as far as it is known, so that it need not wait to be told so.
    fn is_hopeless(&self, now: Moment) -> bool {
        let never = |index: &usize| self.never_fits(&self.context.group.deployments[*index], now);
        self.order.iter().filter(|index| !self.failed.contains(index)).all(never)
    }

    /// Whether any deployment it may go to limits tokens.
    fn limits_tokens(&self, now: Moment) -> bool {
        let limits = self.context.gateway.limits.local();
        let scopes = self.order.iter().map(|index| self.context.group.deployments[*index].scope);
        scopes
            .chain(self.shared_scopes().iter().copied())
            .any(|scope| limits.used(now, scope).tightest_tokens().is_some())
    }

    /// Waits beside the queue, and is woken at the moment the limits name or when anything ends.
    async fn wait_for_capacity(&mut self, wait_deadline: Moment) -> Result<usize, Refusal> {
        let gateway = self.context.gateway;
        loop {
            let notified = gateway.capacity.notified();
            tokio::pin!(notified);
            // Registered before the check, so that nothing freed in between goes unheard.
            notified.as_mut().enable();
            match self.try_admit(wait_deadline, None).await? {
                Attempted::Granted(index) => return Ok(index),
                Attempted::Wait(until) => {
                    // What other gateways give back is told by nobody: it is looked for.
                    let again = gateway.limits.recheck().map(|every| gateway.clock.now() + every);
                    match until.into_iter().chain(again).min() {
                        Some(until) => {
                            tokio::select! { biased; () = notified => {}, () = gateway.clock.sleep_until(until) => {} }
                        }
                        None => notified.await,
                    }
                }
            }
            still_known(self.context)?;
        }
    }

    /// Checks, counts if it turns out that it must, and checks again. A wait that is known to be longer than allowed is
    /// refused instead of waited for in vain. Deployments with `preferred` limits come first: there it was called to.
    async fn try_admit(&mut self, wait_deadline: Moment, preferred: Option<ScopeId>) -> Result<Attempted, Refusal> {
        loop {
            let found = self.check(preferred).await;
            self.tell(&found);
            match found {
                AdmissionCheck::Granted(index) => return Ok(Attempted::Granted(index)),
                AdmissionCheck::Never(refusal) => return Err(refusal),
                AdmissionCheck::CountFirst(index) => {
                    let model = &self.context.group.deployments[index].config.model;
                    self.estimate.count(self.context, model).await;
                }
                AdmissionCheck::Lessened => {}
                AdmissionCheck::Wait(Some(until), reason)
                    if (until > wait_deadline && reason != WaitReason::Money)
                        || (self.elsewhere && reason == WaitReason::Breaker) =>
                {
                    let policy = self.guard.record.policy.as_deref();
                    let waits = (until, reason);
                    return Err(wait_refusal(self.context, self.estimate, self.order, policy, waits, wait_deadline));
                }
                AdmissionCheck::Wait(until, _) => return Ok(Attempted::Wait(until)),
            }
        }
    }

    /// Tells why those before the one that is taken, or all of them, are not: by the rules of [`Self::check`], once more and only
    /// where somebody may ask.
    fn tell(&mut self, found: &AdmissionCheck) {
        if matches!(found, AdmissionCheck::CountFirst(_) | AdmissionCheck::Lessened)
            || self.guard.explanation().is_none()
        {
            return;
        }
        let granted = if let AdmissionCheck::Granted(index) = found { Some(*index) } else { None };
        let attempt = (self.guard.attempts() + usize::from(granted.is_none())).max(1);
        for index in self.order.iter().copied().take_while(|index| Some(*index) != granted) {
            let deployment = &self.context.group.deployments[index];
            let removal = if self.failed.contains(&index) {
                Some(Removal::Failed)
            } else {
                // Where nobody is taken and nothing of this one's own is against it, it is what all of them share.
                not_now(self.context, self.estimate, deployment).or(granted.is_none().then_some(Removal::Shared))
            };
            if let Some((told, removal)) = self.guard.explanation().zip(removal) {
                told.passes_over(attempt, deployment.config.id.as_str(), removal);
            }
        }
    }

    /// Breakers and context windows first, then one reservation over all that remain.
    async fn check(&mut self, preferred: Option<ScopeId>) -> AdmissionCheck {
        let now = self.context.gateway.clock.now();
        let deployments = &self.context.group.deployments;
        let mut closed: Vec<Moment> = Vec::new();
        let mut too_long = None;
        let mut candidates: Vec<usize> = Vec::with_capacity(self.order.len());
        for &index in self.order.iter().filter(|index| !self.failed.contains(index)) {
            let deployment = &deployments[index];
            if let Some(window) = deployment.config.context_window {
                if self.estimate.may_overflow(window) && !self.estimate.is_counted() {
                    return AdmissionCheck::CountFirst(index);
                }
                if self.estimate.overflows(window) {
                    too_long = Some(too_long.unwrap_or(0).max(window));
                    continue;
                }
            }
            match deployment.health.admission(now) {
                Admission::Yes | Admission::Probe => candidates.push(index),
                // One that could never take the request is no reason to wait for its breaker; it is left to the limits
                // to say so.
                Admission::No { .. } if self.never_fits(deployment, now) => {
                    if !self.estimate.is_counted() {
                        return AdmissionCheck::CountFirst(index);
                    }
                    candidates.push(index);
                }
                Admission::No { until } => closed.push(until),
            }
        }
        // The first breaker to let a probe through.
        let open_until = closed.iter().min().copied();
        if candidates.is_empty() {
            return match too_long {
                _ if !closed.is_empty() => AdmissionCheck::Wait(open_until, WaitReason::Breaker),
                Some(window) => AdmissionCheck::Never(context_refusal(self.estimate.input(), window)),
                None => AdmissionCheck::Never(Refusal::new(RefusalKind::Unavailable, "no deployment is left to try")),
            };
        }
        if let Some(scope) = preferred {
            candidates.sort_by_key(|index| deployments[*index].scope != scope);
        }
        self.reserve(&candidates, now, open_until).await
    }

    /// Whether the request is larger than a whole limit of this deployment, as far as it is known.
    fn never_fits(&self, deployment: &DeploymentRuntime, now: Moment) -> bool {
        let demand = self.estimate.demand(deployment);
        matches!(self.context.gateway.limits.local().wait(now, deployment.scope, demand), Wait::Never)
    }

    async fn reserve(&mut self, candidates: &[usize], now: Moment, open_until: Option<Moment>) -> AdmissionCheck {
        let shared = self.shared_scopes();
        let Self { context, guard, estimate, .. } = self;
        let (gateway, group) = (context.gateway, context.group);
        let offer = |index: &usize| {
            let deployment = &group.deployments[*index];
            (deployment.scope, estimate.demand(deployment))
        };
        let held = guard.held_money();
        let (candidates, shorts) = money::affordable(context, estimate, candidates, (held, guard.pending_cost()), now);
        if let Some(index) = money::to_count(estimate, &shorts) {
            return AdmissionCheck::CountFirst(index);
        }
        if candidates.is_empty() {
            return money::unaffordable(context, estimate, &shorts).or_at(open_until);
        }
        let candidates = &*candidates;
        let offers: Vec<(ScopeId, Demand)> = candidates.iter().map(offer).collect();
        let shared_demand = money::shared_demand(estimate, offers.iter().map(|(_, demand)| *demand));
        let turned_away = (!context.paying.budgets.is_empty()).then(|| gateway.budgets.turned_away());
        let now = match money::hold(context, guard, shared_demand.cost, (now, turned_away)).await {
            Ok(now) => now,
            Err(short) => return money::short_of(context, estimate, candidates[0], &short).or_at(open_until),
        };
        let certainty = if estimate.is_counted() { Certainty::Counted } else { Certainty::UpperBound };
        let request = ReserveRequest {
            request: guard.id(),
            attempt: u32::try_from(guard.attempts()).unwrap_or(u32::MAX),
            shared,
            shared_demand,
            candidates: &offers,
            certainty,
        };
        let decision = gateway.limits.reserve(now, request).await;
        if decision != Decision::CountFirst {
            guard.record.estimated_input_tokens = estimate.input();
        }
        if !matches!(decision, Decision::Granted { .. }) {
            guard.lower_money(held);
            // Told only where somebody missed it: those who wait for limits would else wake each other for ever.
            if turned_away.is_some_and(|before| before != gateway.budgets.turned_away()) {
                gateway.capacity.notify();
            }
        }
        match decision {
            Decision::Granted { index, shared, own } => {
                let deployment = &group.deployments[candidates[index]];
                // Others may have been faster since it was asked: they have the breaker's probe, or hold the money. An attempt that is
                // dropped gives its probe back; money would be held for good, so that it comes last.
                let begun = deployment.health.begin(now).map_err(|open| Some(open.until)).and_then(|attempt| {
                    let money = gateway.budgets.hold(now, &deployment.budgets, offers[index].1.cost);
                    money.map(|money| (attempt, money)).map_err(|_short| None)
                });
                match begun {
                    Ok((attempt, money)) => {
                        guard.shared = shared.or(guard.shared.take());
                        let asked = (estimate.attempt(deployment), &context.request);
                        guard.begin_attempt(group, candidates[index], attempt, (own, money), asked);
                        AdmissionCheck::Granted(candidates[index])
                    }
                    Err(until) => {
                        shared.into_iter().chain([own]).for_each(|one| gateway.limits.refund(now, one));
                        guard.lower_money(held);
                        gateway.capacity.notify();
                        let reason = if until.is_some() { WaitReason::Breaker } else { WaitReason::Limit };
                        AdmissionCheck::Wait(until, reason)
                    }
                }
            }
            Decision::CountFirst => AdmissionCheck::CountFirst(candidates[0]),
            Decision::Until(until) => AdmissionCheck::Wait(until, WaitReason::Limit).or_at(open_until),
            Decision::Never(excess) if estimate.lessen(&excess) => AdmissionCheck::Lessened,
            // One that is cooling down may be larger than those that are not.
            Decision::Never(_) if open_until.is_some() => AdmissionCheck::Wait(open_until, WaitReason::Breaker),
            Decision::Unreachable => AdmissionCheck::Never(unreachable_refusal()),
            Decision::Never(excess) => AdmissionCheck::Never(excess_refusal(&excess, context, estimate)),
        }
    }
}

#[cfg(test)]
mod tests;
