//! What budgets say of a request: which deployments it can pay for, and what it is told where it can pay for none.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::budgets::{BudgetId, Short};
use crate::catalog::UnknownPrice;
use crate::fault::{Refusal, RefusalKind};
use crate::limits::{Demand, Scope};
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::snapshot::DeploymentRuntime;

use super::super::{Estimate, RequestContext, RequestGuard};
use super::refusals::{unreachable_refusal, whose};
use super::{AdmissionCheck, AdmissionControl, WaitReason};

/// Why a deployment cannot be paid for.
pub(super) enum Unaffordable {
    /// A budget of its own has no room, or its provider's; asked for this deployment.
    Short(usize, Short),
    /// Nobody knows what it costs, and that is not to be.
    NoPrice(usize),
    /// What others spend of its budgets is not heard, and nothing is to be spent meanwhile.
    OutOfReach,
}

impl Unaffordable {
    /// Whether that may be over by then: others give back what they hold, or tell again what they spend, or a budget begins anew.
    fn may_end(&self, by: Moment) -> bool {
        match self {
            Self::Short(_, short) => short.may_wait() || short.resets.is_some_and(|resets| resets <= by),
            Self::NoPrice(_) => false,
            Self::OutOfReach => true,
        }
    }
}

impl AdmissionCheck {
    /// What waits looks again at this moment already: the breaker of another deployment may let it through then.
    pub(super) fn or_at(self, open_until: Option<Moment>) -> Self {
        match self {
            Self::Wait(until, reason) => Self::Wait(until.into_iter().chain(open_until).min(), reason),
            found => found,
        }
    }
}

impl AdmissionControl<'_, '_> {
    /// Whether the request may be able to pay for one of its deployments at this moment to come: who cannot need not wait for it. Its tokens
    /// are counted where that may decide it.
    pub(in crate::pipeline) async fn may_pay(&mut self, by: Moment) -> bool {
        let context = self.context;
        let candidates = self.order.iter().filter(|index| !self.failed.contains(index));
        let candidates: Vec<usize> = candidates.copied().collect();
        loop {
            let now = context.gateway.clock.now();
            let own = (self.guard.held_money(), self.guard.pending_cost());
            let (found, shorts) = affordable(context, self.estimate, &candidates, own, now);
            if !found.is_empty() || shorts.iter().any(|short| short.may_end(by)) {
                return true;
            }
            let Some(index) = to_count(self.estimate, &shorts) else { return false };
            self.estimate.count(context, &context.group.deployments[index].config.model).await;
        }
    }
}

/// Of `candidates`, those that the request can pay for; and why not the others. `held` is what it holds of its payers' budgets already, and
/// `pending` what its attempts so far cost: a retry is paid beside that, and asks for what both are more than it holds.
pub(super) fn affordable<'c>(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    candidates: &'c [usize],
    (held, pending): (Option<NanoUsd>, NanoUsd),
    now: Moment,
) -> (Cow<'c, [usize]>, Vec<Unaffordable>) {
    let mut shorts = Vec::new();
    // Most requests have no budget.
    let unbudgeted = |index: &usize| context.group.deployments[*index].budgets.is_empty();
    if context.paying.budgets.is_empty() && candidates.iter().all(unbudgeted) {
        return (Cow::Borrowed(candidates), shorts);
    }
    let (budgets, payers) = (&context.gateway.budgets, &context.paying.budgets);
    if budgets.is_out_of_reach() {
        // What no budget counts is spent all the same.
        let found = candidates.iter().copied().filter(|index| payers.is_empty() && unbudgeted(index));
        return (Cow::Owned(found.collect()), vec![Unaffordable::OutOfReach]);
    }
    let cost = |index: usize| estimate.demand(&context.group.deployments[index]).cost;
    let payers_are_short = |cost: NanoUsd| match held {
        Some(held) if pending + cost <= held => None,
        held => budgets.short_beside(now, payers, pending + cost, held.unwrap_or_default()),
    };
    // Mostly there is room for the dearest, and so for each.
    let dearest = if payers.is_empty() { None } else { candidates.iter().map(|index| cost(*index)).max() };
    let tight = dearest.is_some_and(|cost| payers_are_short(cost).is_some());
    let affords = |index: &usize| {
        let deployment = &context.group.deployments[*index];
        if lacks_price(context, deployment) {
            shorts.push(Unaffordable::NoPrice(*index));
            return false;
        }
        if deployment.budgets.is_empty() && !tight {
            return true;
        }
        let cost = cost(*index);
        let short = if tight { payers_are_short(cost) } else { None };
        let short = short.or_else(|| budgets.short(now, &deployment.budgets, cost));
        shorts.extend(short.map(|short| Unaffordable::Short(*index, short)));
        !matches!(shorts.last(), Some(Unaffordable::Short(last, _)) if last == index)
    };
    let found: Vec<usize> = candidates.iter().copied().filter(affords).collect();
    (Cow::Owned(found), shorts)
}

/// Holds so much of the budgets of those who pay, beside what the attempts before cost. Close to the end of one that several gateways spend
/// of, what the others hold is heard before it stands; what does not is given back, so that a second look hears them anew. Returns the moment
/// it is, which is `now` where nobody was waited for. `turned_away` is how often somebody was before.
///
/// # Errors
/// One of them has not so much.
pub(super) async fn hold(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    amount: NanoUsd,
    (now, turned_away): (Moment, Option<u64>),
) -> Result<Moment, Short> {
    let (gateway, payers, before) = (context.gateway, &context.paying.budgets, guard.held_money());
    guard.hold_money(payers, amount)?;
    let held = guard.held_money();
    if held == before || !gateway.budgets.is_close(payers, amount) {
        return Ok(now);
    }
    // All that is its own: what is held beside that is held by others.
    let amount = held.unwrap_or(amount);
    let (say, verdict) = oneshot::channel();
    let (budgets, clock, ids) = (Arc::clone(&gateway.budgets), gateway.clock, payers.clone());
    // Asked at the answer: what is heard after it was held later, and is given back by whoever holds it.
    gateway.limits.when_money_is_told(Box::new(move || {
        let _gone = say.send(budgets.exceeded(clock.now(), &ids, amount));
    }));
    let verdict = verdict.await;
    let verdict = verdict.unwrap_or_else(|_unheard| gateway.budgets.exceeded(gateway.clock.now(), payers, amount));
    let Some(short) = verdict else { return Ok(gateway.clock.now()) };
    guard.lower_money(before);
    // As where limits have no room.
    if turned_away.is_some_and(|before| before != gateway.budgets.turned_away()) {
        gateway.capacity.notify();
    }
    Err(short)
}

/// One that may be paid for once its tokens are counted: its cost is taken for the most that it can be until then.
pub(super) fn to_count(estimate: &Estimate, shorts: &[Unaffordable]) -> Option<usize> {
    let may_do = |one: &Unaffordable| match one {
        Unaffordable::Short(index, short) => (short.spent < short.max).then_some(*index),
        Unaffordable::NoPrice(_) | Unaffordable::OutOfReach => None,
    };
    if estimate.is_counted() { None } else { shorts.iter().find_map(may_do) }
}

/// Whether budgets have the money for a call of this deployment, asked while the request waits, which holds so much of its payers' already;
/// else when one that has not begins anew, where that is while it may wait. One that waiting does not help finds out itself, and says so.
pub(super) fn affordable_later(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    deployment: &Arc<DeploymentRuntime>,
    held: NanoUsd,
) -> Box<dyn Fn(Moment) -> Result<(), Option<Moment>> + Send + Sync> {
    let payers: Vec<BudgetId> = context.paying.budgets.clone();
    if payers.is_empty() && deployment.budgets.is_empty() {
        return Box::new(|_| Ok(()));
    }
    let waits_until = context.wait_deadline(context.gateway.clock.now());
    let (budgets, estimate) = (Arc::clone(&context.gateway.budgets), *estimate);
    let deployment = Arc::clone(deployment);
    Box::new(move |now| {
        let cost = estimate.demand(&deployment).cost;
        let of_payers = if cost <= held { None } else { budgets.short_beside(now, &payers, cost, held) };
        let own = budgets.short(now, &deployment.budgets, cost);
        let shorts = of_payers.iter().chain(&own);
        if (of_payers.is_none() && own.is_none()) || shorts.clone().any(|short| !short.may_wait()) {
            return Ok(());
        }
        Err(anew(shorts, waits_until))
    })
}

/// When the first of these begins anew, where that is by then: what is held of it is held no more. Others may give it back before.
fn anew<'s>(shorts: impl Iterator<Item = &'s Short>, by: Moment) -> Option<Moment> {
    shorts.filter_map(|short| short.resets).filter(|resets| *resets <= by).min()
}

/// Whether nobody knows what it costs, which somebody who pays wants to know.
fn lacks_price(context: &RequestContext<'_>, deployment: &DeploymentRuntime) -> bool {
    let config = &deployment.config;
    let unknown = config.prices.is_none() && config.unknown_price == UnknownPrice::Refuse;
    unknown && !(context.paying.budgets.is_empty() && deployment.budgets.is_empty())
}

/// No deployment can be paid for.
pub(super) fn unaffordable(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    shorts: &[Unaffordable],
) -> AdmissionCheck {
    let waits_until = context.wait_deadline(context.gateway.clock.now());
    let held = shorts.iter().filter_map(|one| match one {
        Unaffordable::Short(_, short) if short.may_wait() => Some(short),
        _ => None,
    });
    if held.clone().next().is_some() {
        return AdmissionCheck::Wait(anew(held, waits_until), WaitReason::Money);
    }
    let first = shorts.iter().find_map(|one| match one {
        Unaffordable::Short(index, short) => Some((*index, short)),
        Unaffordable::NoPrice(_) | Unaffordable::OutOfReach => None,
    });
    match (first, shorts.first()) {
        (Some((index, short)), _) => short_of(context, estimate, index, short),
        (None, Some(Unaffordable::NoPrice(index))) => {
            let deployment = &context.group.deployments[*index].config.id;
            let message = format!(
                "nobody knows what a request costs at `{deployment}`, and a budget counts it; set `input_cost_per_token` and `output_cost_per_token` (0 is free), or `witgate.unknown_price: estimate`"
            );
            AdmissionCheck::Never(Refusal::new(RefusalKind::BudgetExceeded, message))
        }
        (None, Some(Unaffordable::OutOfReach)) => AdmissionCheck::Never(unreachable_refusal()),
        (None, _) => AdmissionCheck::Never(Refusal::new(RefusalKind::Unavailable, "no deployment is left to try")),
    }
}

/// A budget has no room: what is counted may have, what others hold may be given back, else it is refused.
pub(super) fn short_of(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    index: usize,
    short: &Short,
) -> AdmissionCheck {
    if short.may_wait() {
        let waits_until = context.wait_deadline(context.gateway.clock.now());
        return AdmissionCheck::Wait(anew(std::iter::once(short), waits_until), WaitReason::Money);
    }
    if !estimate.is_counted() && short.spent < short.max {
        return AdmissionCheck::CountFirst(index);
    }
    AdmissionCheck::Never(refusal(context, short))
}

/// LiteLLM's words first: people look for them.
pub(super) fn refusal(context: &RequestContext<'_>, short: &Short) -> Refusal {
    let now = context.gateway.clock.now();
    // What is only planned is refused to nobody.
    if let Some(reached) = context.id.and_then(|_| context.gateway.budgets.refused(now, short)) {
        context.gateway.alarm.reached(context.snapshot, &reached);
    }
    let resets = match short.resets {
        Some(resets) => format!("it begins anew at {} (in {} s)", resets.iso(), resets.since(now).as_secs()),
        None => "it does not begin anew by itself".to_owned(),
    };
    let asked = match short.asked.0 {
        0 => String::new(),
        _ => format!(", and this request may cost ${}", short.asked),
    };
    let message = format!(
        "Budget has been exceeded! Current cost: {}, Max budget: {}: the budget of {} has ${} left{asked}; {resets}",
        short.spent,
        short.max,
        whose(&short.scope, context),
        short.left(),
    );
    // Where a caller has nothing left, another group does not help.
    let kind = match short.scope {
        Scope::Group(_) | Scope::Provider(_) | Scope::Deployment(_) => RefusalKind::GroupOverBudget,
        _ => RefusalKind::BudgetExceeded,
    };
    let mut refusal = Refusal::new(kind, message);
    refusal.status = context.snapshot.settings.payers.budget_status;
    refusal.code = Some("budget_exceeded".to_owned());
    refusal.retry_after = short.resets.map(|resets| resets.since(now));
    refusal
}

/// The shared scopes must have room for whichever candidate is taken.
pub(super) fn shared_demand(estimate: &Estimate, candidates: impl Iterator<Item = Demand>) -> Demand {
    let least = Demand { input_tokens: estimate.input(), ..Demand::default() };
    candidates.fold(least, |most, demand| Demand {
        output_tokens: most.output_tokens.max(demand.output_tokens),
        cost: most.cost.max(demand.cost),
        ..most
    })
}
