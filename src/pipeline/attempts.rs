//! The attempts of one request within one group: who is called, how often, after which pause.
//!
//! What just failed is not called again while another deployment can be; only when none can, after a pause. Where budgets have no money for
//! another call, nobody waits: the last fault is told at once. A deployment that refused the request, or our credential, or says not to ask
//! again, is not called again for this request at all. When the retries of one `order` are
//! used up, those of the next begin.

use std::time::Duration;

use crate::failover::{FaultClass, RetryRule, classify};
use crate::fault::{AttemptFault, Cause, FaultKind, Refusal, RefusalKind};
use crate::health::Admission;
use crate::moment::Moment;

use super::admit::{AdmissionControl, still_known};
use super::estimate::{Counted, Estimate};
use super::parser::{self, CallFailure, Unparsed};
use super::{RequestContext, RequestGuard, Served, call, prompt, route, stream};

/// Routes, reserves and calls until something of a reply is there or nothing is left to try. `elsewhere` says that another
/// group takes over: then nobody waits for a breaker, and what is counted here is left in `counted` for it.
///
/// # Errors
/// The last fault, as the client would read it.
pub(super) async fn within_group(
    guard: &mut RequestGuard,
    context: &mut RequestContext<'_>,
    elsewhere: bool,
    counted: &mut Counted,
) -> Result<Served<Box<stream::Begun>>, Refusal> {
    let mut estimate = Estimate::knowing(&context.request, counted);
    let before = guard.attempts();
    let served = attempts(guard, context, elsewhere, &mut estimate).await;
    if let Err(refusal) = &served {
        counted.keep(&context.request, &estimate);
        let too_large = refusal.kind == RefusalKind::NeverFits || refusal.cause == Some(Cause::ContextWindow);
        // What a provider refused is an attempt that failed.
        if too_large && guard.attempts() == before {
            prompt::unfit(context);
        }
    }
    served
}

async fn attempts(
    guard: &mut RequestGuard,
    context: &mut RequestContext<'_>,
    elsewhere: bool,
    estimate: &mut Estimate,
) -> Result<Served<Box<stream::Begun>>, Refusal> {
    let order = route::order(context, estimate, guard).await?;
    context.may_lose = order.len() == 1;
    paid_together(context, guard, &order, estimate, elsewhere).await?;
    let mut tries = Tries {
        order,
        failed: Vec::new(),
        barred: Vec::new(),
        unable: Vec::new(),
        last: None,
        again: Vec::new(),
        rule: context.retry,
        retries: 0,
    };
    let mut unparsed: Option<Unparsed> = None;
    loop {
        if let Some(last) = &tries.last {
            // Of what was refused before it was sent nothing was tried yet.
            let asked = last.kind != FaultKind::Rejected || last.was_sent();
            if asked && guard.is_spent(context.snapshot) || !tries.again(context, guard, estimate, elsewhere).await {
                break;
            }
        }
        if guard.attempts() > 0 || !guard.record.waited.is_zero() {
            still_known(context)?;
        }
        let Tries { order, failed, .. } = &tries;
        let mut admission = AdmissionControl { context, guard, order, failed, estimate, elsewhere };
        let index = match (admission.admit().await, &tries.last) {
            (Ok(index), _) => index,
            (Err(refusal), None) => return Err(refusal),
            (Err(refusal), Some(_)) if tries.is_final(&refusal) => return Err(refusal),
            // Nobody else can take it: those that failed may, after a pause.
            (Err(_), Some(_)) => {
                tries.failed.clone_from(&tries.order);
                continue;
            }
        };
        tries.last = None;
        guard.goes_alone();
        match call::call(context, guard, index).await {
            Ok(served) => return Ok(served),
            Err(CallFailure::Complaint(complained)) => {
                // The provider did its part; what it is asked next is another request to it.
                guard.count_to_bill(None).await;
                guard.complained(&complained.complaint.problem);
                let asked_again = complained.asked_again(&context.request.messages);
                let Some(messages) =
                    asked_again.filter(|_| tries.retries < tries.rule.retries && !guard.is_spent(context.snapshot))
                else {
                    return Err(complained.into());
                };
                tries.retries += 1;
                parser::ask_again(context, messages);
                *estimate = Estimate::of(&context.request);
                tries.failed.clone_from(&tries.barred);
                unparsed = Some(complained);
            }
            Err(CallFailure::Fault(mut fault)) => {
                classify(&mut fault);
                if let Some(count) = guard.count_to_bill(Some(&fault)).await {
                    estimate.learn(&context.group.deployments[index].config.model, count);
                }
                guard.fail_attempt(&fault);
                if !tries.may_lose(context, index, &fault) {
                    tries.failed(context, index, fault)?;
                }
            }
        }
    }
    let complained = unparsed.filter(|_| tries.last.is_none()).map(Refusal::from);
    let wait = tries.wait(context.gateway.clock.now());
    let last = tries.last.map(|fault| Refusal { retry_after: wait, ..Refusal::from(fault) });
    Err(complained.or(last).unwrap_or_else(|| Refusal::new(RefusalKind::Internal, "no attempt was made")))
}

/// Where it is one of several that are one request for their client, waits until the money for all of them is held.
async fn paid_together(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    order: &[usize],
    estimate: &mut Estimate,
    elsewhere: bool,
) -> Result<(), Refusal> {
    if guard.together.is_none() {
        return Ok(());
    }
    let mut admission = AdmissionControl { context, guard, order, failed: &[], estimate, elsewhere };
    Box::pin(admission.hold_together()).await
}

/// What was tried, and what may be.
struct Tries {
    /// Best first.
    order: Vec<usize>,
    /// Those that failed since all could last be called.
    failed: Vec<usize>,
    /// Those that would only refuse it again.
    barred: Vec<usize>,
    /// Those that cannot take all of the request, and are to leave out what they cannot.
    unable: Vec<usize>,
    last: Option<AttemptFault>,
    /// When those that failed may be asked again, as far as they said so last.
    again: Vec<(usize, Moment)>,
    rule: RetryRule,
    /// Retries so far, of this `order`.
    retries: u32,
}

impl Tries {
    /// Whether `index` could only not take a parameter that it is to leave out, and nobody is left who can take it: then it, and
    /// whoever is like it, may be asked without.
    fn may_lose(&mut self, context: &mut RequestContext<'_>, index: usize, fault: &AttemptFault) -> bool {
        if context.may_lose {
            return false;
        }
        let rules = &context.group.deployments[index].config.left_out;
        let blamed = fault.param.as_deref().filter(|_| fault.kind == FaultKind::Rejected && !fault.was_sent());
        if blamed.is_some_and(|blamed| context.wishes.left_out(rules).may_lose(blamed)) {
            self.unable.push(index);
        }
        if self.unable.is_empty() || self.order.iter().any(|other| *other != index && !self.failed.contains(other)) {
            return false;
        }
        context.may_lose = true;
        let Self { failed, barred, unable, .. } = self;
        failed.retain(|index| !unable.contains(index));
        barred.retain(|index| !unable.contains(index));
        unable.contains(&index)
    }

    /// Whether no pause changes what admission says: its caller may not ask for it any more, or no deployment that failed stands in the way.
    fn is_final(&self, refusal: &Refusal) -> bool {
        match refusal.kind {
            RefusalKind::Unauthorized | RefusalKind::Forbidden => true,
            RefusalKind::RateLimited | RefusalKind::NeverFits => self.asks_all_again(),
            _ => false,
        }
    }

    /// Whether all that may be asked at all may be asked now, after a pause.
    fn asks_all_again(&self) -> bool {
        self.retries > 0 && self.failed == self.barred && self.barred.len() < self.order.len()
    }

    /// How long nobody that failed is to be asked, where the last of them said that it is not: others may be back before it.
    fn wait(&self, now: Moment) -> Option<Duration> {
        let own = self.last.as_ref()?.retry_after?;
        let others = self.again.iter().map(|(_, again)| again.since(now));
        Some(others.fold(own, Duration::min))
    }

    /// Notes a fault.
    ///
    /// # Errors
    /// The fault, where trying again cannot help.
    fn failed(&mut self, context: &RequestContext<'_>, index: usize, fault: AttemptFault) -> Result<(), Refusal> {
        let deployment = &context.group.deployments[index].config;
        // A deployment's own number counts where the request says none.
        if self.failed.is_empty() && self.retries == 0 && context.wishes.retries.is_none() {
            self.rule.retries = deployment.failures.retries.unwrap_or(self.rule.retries);
        }
        self.failed.push(index);
        if !fault.kind.may_succeed_again() || fault.final_there {
            self.barred.push(index);
        }
        self.again.retain(|(other, _)| *other != index);
        self.again.extend(fault.retry_after.map(|wait| (index, context.gateway.clock.now() + wait)));
        let untried = self.order.iter().any(|index| !self.failed.contains(index));
        // A field that one format lacks another deployment's may have; what one provider refused, others would refuse too,
        // unless a policy says that it is worth a try.
        let worth = !fault.was_sent() || self.rule.named(&fault).is_some();
        if !(fault.kind.may_succeed_elsewhere() || untried && worth) {
            return Err(fault.into());
        }
        self.last = Some(fault);
        Ok(())
    }

    /// Whether the request is tried again after the last fault; waits until it may be, and not where no budget pays for that.
    async fn again(
        &mut self,
        context: &RequestContext<'_>,
        guard: &mut RequestGuard,
        estimate: &mut Estimate,
        elsewhere: bool,
    ) -> bool {
        let Some(fault) = &self.last else { return true };
        let clock = context.gateway.clock;
        let allowed = self.rule.allowed(FaultClass::of(fault.kind, fault.status, fault.cause));
        // Where nothing could be sent in one format, the next is no retry: nobody was asked yet.
        let free = fault.kind == FaultKind::Rejected && !fault.was_sent();
        if !free && self.retries >= allowed {
            return self.next_order(context);
        }
        self.retries += u32::from(!free);
        let now = clock.now();
        let callable = |index: &usize| {
            let health = &context.group.deployments[*index].health;
            !self.failed.contains(index) && !matches!(health.admission(now), Admission::No { .. })
        };
        if self.order.iter().any(callable) {
            return true;
        }
        if free && self.retries >= allowed {
            return self.next_order(context);
        }
        // Another group is asked before this one is waited for, unless what failed may be called at once.
        let open =
            |index: &usize| matches!(context.group.deployments[*index].health.admission(now), Admission::No { .. });
        if self.order.iter().all(|index| self.barred.contains(index) || (elsewhere && open(index))) {
            return false;
        }
        let pause = call::pause(context, self.wait(now), self.retries, guard.seed);
        let Some(until) = pause.map(|pause: Duration| now + pause).filter(|until| *until < context.deadline) else {
            return false;
        };
        let (order, failed) = (&self.order, &self.barred);
        if !(AdmissionControl { context, guard, order, failed, estimate, elsewhere }).may_pay(until).await {
            return false;
        }
        self.failed.clone_from(&self.barred);
        guard.lend_money();
        clock.sleep_until(until).await;
        true
    }

    /// Goes on to the deployments of the next `order`, where there are any that were not tried.
    fn next_order(&mut self, context: &RequestContext<'_>) -> bool {
        let order_of = |index: &usize| context.group.deployments[*index].config.order;
        let Some(tried) = self.failed.iter().map(order_of).max() else { return false };
        let (before, after): (Vec<usize>, Vec<usize>) = self.order.iter().partition(|index| order_of(index) <= tried);
        if after.is_empty() {
            return false;
        }
        (self.retries, self.failed) = (0, before);
        true
    }
}
