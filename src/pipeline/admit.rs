//! Reserve, or wait exactly as long as it must, or refuse at once what can never fit.
//!
//! The first deployment of the plan whose limits and breaker let the request through is taken; if none
//! does now, the request queues behind its group's others until the moment the limits name.

use std::time::Duration;

use crate::fault::{Refusal, RefusalKind};
use crate::health::Admission;
use crate::limits::{Decision, Demand, Dimension, Excess, Scope, ScopeId, Wait};
use crate::moment::Moment;
use crate::snapshot::DeploymentRuntime;

use super::{Estimate, Plan, RequestContext, RequestGuard};

/// What one look at limits and breakers gave.
enum Look {
    Granted(usize),
    /// It depends on the count of tokens, in the words of this deployment's model.
    Count(usize),
    /// Until then, or until something under way ends.
    Wait(Option<Moment>, Why),
    Never(Refusal),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Limit,
    Breaker,
}

/// Reserves at the best deployment that can take the request and opens the attempt there.
///
/// # Errors
/// `NeverFits` where no deployment can ever take it, `RateLimited` or `Unavailable` where the wait would be
/// too long or the queue is full, with the time after which trying again makes sense.
pub(super) async fn admit(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    plan: &Plan,
    failed: &[usize],
    estimate: &mut Estimate,
) -> Result<usize, Refusal> {
    let queue = &context.group.queue;
    let arrived = context.gateway.clock.now();
    let wait_deadline = context.wait_deadline(arrived);
    // A retry holds the shared scopes already. Those in the queue may be waiting for just them, so it must not
    // stand behind anybody.
    let holds_shared = guard.shared.is_some();
    if (queue.is_empty() || holds_shared)
        && let Seen::Granted(index) = see(context, guard, plan, failed, estimate, wait_deadline).await?
    {
        return Ok(index);
    }
    let capacity = context.snapshot.settings.queue.max_waiting;
    let Some(_place) = queue.join(capacity) else {
        let message =
            format!("the queue of `{}` is full ({capacity} requests wait for a limit)", context.group.config.name);
        return Err(Refusal::new(RefusalKind::RateLimited, message).after(Duration::from_secs(1)));
    };
    let waiting = async {
        let _turn = if holds_shared { None } else { queue.turn().await };
        head(context, guard, plan, failed, estimate, wait_deadline).await
    };
    let admitted = tokio::time::timeout_at(context.gateway.clock.instant(wait_deadline), waiting).await;
    guard.record.waited += context.gateway.clock.now().since(arrived);
    admitted.unwrap_or_else(|_elapsed| {
        let waited = context.snapshot.settings.queue.max_wait.as_secs_f64();
        let message = format!(
            "no capacity came free for `{}` within {waited} s, the longest wait the configuration allows",
            context.group.config.name
        );
        Err(Refusal::new(RefusalKind::RateLimited, message).after(Duration::from_secs(1)))
    })
}

/// Waits for capacity, first in line.
async fn head(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    plan: &Plan,
    failed: &[usize],
    estimate: &mut Estimate,
    wait_deadline: Moment,
) -> Result<usize, Refusal> {
    loop {
        let freed = context.gateway.capacity.notified();
        tokio::pin!(freed);
        // Registered before the look, so that nothing freed in between goes unheard.
        freed.as_mut().enable();
        match see(context, guard, plan, failed, estimate, wait_deadline).await? {
            Seen::Granted(index) => return Ok(index),
            Seen::Wait(Some(until)) => {
                tokio::select! { biased; () = freed => {}, () = context.gateway.clock.sleep_until(until) => {} }
            }
            Seen::Wait(None) => freed.await,
        }
    }
}

/// What can be done now.
enum Seen {
    Granted(usize),
    Wait(Option<Moment>),
}

/// Looks, counts if it turns out that it must, and looks again.
async fn see(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    plan: &Plan,
    failed: &[usize],
    estimate: &mut Estimate,
    wait_deadline: Moment,
) -> Result<Seen, Refusal> {
    loop {
        match look(context, guard, plan, failed, estimate) {
            Look::Granted(index) => return Ok(Seen::Granted(index)),
            Look::Never(refusal) => return Err(refusal),
            Look::Count(index) => estimate.count(context, &context.group.deployments[index].config.model).await,
            Look::Wait(until, why) => {
                bearable(context, until, why, wait_deadline)?;
                return Ok(Seen::Wait(until));
            }
        }
    }
}

/// Refuses a wait that is known to be longer than allowed, instead of waiting in vain.
fn bearable(
    context: &RequestContext<'_>,
    until: Option<Moment>,
    why: Why,
    wait_deadline: Moment,
) -> Result<(), Refusal> {
    let Some(until) = until.filter(|until| *until > wait_deadline) else { return Ok(()) };
    let wait = until.since(context.gateway.clock.now());
    let group = &context.group.config.name;
    let (kind, what) = match why {
        Why::Limit => (RefusalKind::RateLimited, "every deployment is at a limit"),
        Why::Breaker => (RefusalKind::Unavailable, "every deployment is cooling down after failures"),
    };
    let message = format!(
        "`{group}`: {what}; the next can start in {:.1} s, which is longer than requests may wait here ({} s)",
        wait.as_secs_f64(),
        context.snapshot.settings.queue.max_wait.as_secs_f64()
    );
    Err(Refusal::new(kind, message).after(wait))
}

/// One look: breakers and context windows first, then one reservation over all that remain.
fn look(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    plan: &Plan,
    failed: &[usize],
    estimate: &Estimate,
) -> Look {
    let gateway = context.gateway;
    let now = gateway.clock.now();
    let deployments = &context.group.deployments;
    let mut closed: Vec<Option<Moment>> = Vec::new();
    let mut too_long = None;
    let mut candidates: Vec<usize> = Vec::with_capacity(plan.order.len());
    for &index in plan.order.iter().filter(|index| !failed.contains(index)) {
        let deployment = &deployments[index];
        if let Some(window) = deployment.config.context_window {
            if estimate.may_overflow(window) && !estimate.is_counted() {
                return Look::Count(index);
            }
            if estimate.overflows(window) {
                too_long = Some(too_long.unwrap_or(0).max(window));
                continue;
            }
        }
        match deployment.health.admission(now) {
            Admission::Yes | Admission::Probe => candidates.push(index),
            // One that could never take the request is no reason to wait for its breaker; it is left to the limits to
            // say so.
            Admission::No { .. } if never_fits(context, deployment, estimate, now) => {
                if !estimate.is_counted() {
                    return Look::Count(index);
                }
                candidates.push(index);
            }
            Admission::No { until } => closed.push(until),
        }
    }
    // The first breaker to let a probe through; one whose probe is under way tells when that has ended.
    let open_until = closed.iter().flatten().min().copied();
    if candidates.is_empty() {
        return match too_long {
            _ if !closed.is_empty() => Look::Wait(open_until, Why::Breaker),
            Some(window) => Look::Never(context_refusal(estimate.input(), window)),
            None => Look::Never(Refusal::new(RefusalKind::Unavailable, "no deployment is left to try")),
        };
    }
    reserve(context, guard, &candidates, estimate, now, open_until)
}

/// Whether the request is larger than a whole limit of this deployment, as far as it is known.
fn never_fits(context: &RequestContext<'_>, deployment: &DeploymentRuntime, estimate: &Estimate, now: Moment) -> bool {
    matches!(context.gateway.limits.wait(now, deployment.scope, estimate.demand(&deployment.config)), Wait::Never)
}

fn reserve(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    candidates: &[usize],
    estimate: &Estimate,
    now: Moment,
    open_until: Option<Moment>,
) -> Look {
    let gateway = context.gateway;
    let deployments = &context.group.deployments;
    let shared: &[ScopeId] = if guard.shared.is_some() { &[] } else { &[context.snapshot.global, context.group.scope] };
    let scopes: Vec<ScopeId> =
        shared.iter().copied().chain(candidates.iter().map(|index| deployments[*index].scope)).collect();
    let largest = |estimate: &Estimate| {
        let output = candidates.iter().map(|index| estimate.demand(&deployments[*index].config).output_tokens).max();
        Demand { input_tokens: estimate.input(), output_tokens: output.unwrap_or(0) }
    };
    if !estimate.is_counted() && !gateway.limits.at_most_half(now, &scopes, largest(estimate)) {
        return Look::Count(candidates[0]);
    }
    guard.record.estimated_input_tokens = estimate.input();
    let offers: Vec<(ScopeId, Demand)> = candidates
        .iter()
        .map(|index| (deployments[*index].scope, estimate.demand(&deployments[*index].config)))
        .collect();
    match gateway.limits.reserve(now, shared, largest(estimate), &offers) {
        Decision::Granted { index, shared, own } => {
            let deployment = &deployments[candidates[index]];
            match deployment.health.begin(now) {
                Ok(attempt) => {
                    guard.shared = shared.or(guard.shared.take());
                    guard.begin_attempt(context.group, candidates[index], attempt, own, offers[index].1);
                    Look::Granted(candidates[index])
                }
                // Another thread took the breaker's probe since we looked.
                Err(open) => {
                    shared.into_iter().chain([own]).for_each(|hold| gateway.limits.refund(now, hold));
                    gateway.capacity.notify();
                    Look::Wait(open.until, Why::Breaker)
                }
            }
        }
        Decision::Until(until) => {
            let until = match (until, open_until) {
                (Some(limit), Some(breaker)) => Some(limit.min(breaker)),
                (limit, breaker) => limit.or(breaker),
            };
            Look::Wait(until, Why::Limit)
        }
        // One that is cooling down may be larger than those that are not.
        Decision::Never(_) if open_until.is_some() => Look::Wait(open_until, Why::Breaker),
        Decision::Never(excess) => Look::Never(excess_refusal(&excess, context, estimate)),
    }
}

fn context_refusal(input: u64, window: u32) -> Refusal {
    let message = format!(
        "the request has {input} input tokens and the largest context window here holds {window}; shorten it or use a model with a larger window"
    );
    let mut refusal = Refusal::new(RefusalKind::InvalidRequest, message).at("messages");
    refusal.code = Some("context_length_exceeded".to_owned());
    refusal
}

fn excess_refusal(excess: &Excess, context: &RequestContext<'_>, estimate: &Estimate) -> Refusal {
    let whose = match &excess.scope {
        Scope::Global => "the gateway".to_owned(),
        Scope::Key(key) => format!("the key `{key}`"),
        Scope::Group(group) => format!("the group `{group}`"),
        Scope::Deployment(deployment) => {
            format!("the deployment `{deployment}`, the largest of `{}`", context.group.config.name)
        }
    };
    let what = match excess.dimension {
        Dimension::Requests => "requests per window",
        Dimension::Tokens => "tokens per window",
        Dimension::InputTokens => "input tokens per window",
        Dimension::OutputTokens => "output tokens per window",
        Dimension::InFlight => "requests at once",
    };
    let counted = if estimate.is_exact() { "" } else { " (estimated)" };
    let message = format!(
        "request too large: it needs {} {what} ({} input{counted} and the output bound) and the limit of {whose} is {}; waiting does not help: shorten the prompt, lower `max_tokens` or raise the limit",
        excess.asked,
        estimate.input(),
        excess.limit
    );
    Refusal::new(RefusalKind::NeverFits, message)
}
