//! What admission would come to now, for somebody who only asks: by the same rules, and nothing is reserved.

use std::time::Duration;

use crate::limits::Wait;
use crate::record::Removal;

use super::super::{Estimate, RequestContext};
use super::refusals::{not_now, wait_refusal};
use super::{WaitReason, money};

/// Why a request would not even wait here.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum NotHere {
    /// It would be refused.
    Refused(String),
    /// Another group would be asked; where none can, it would be refused.
    Elsewhere(String),
}

/// How long limits and breakers keep a request for the deployments of `order`, which `policy` ranked: nothing where one of them takes it at
/// once, `None` where nobody knows.
///
/// # Errors
/// It would be refused at once, or go to another group: why.
pub(in crate::pipeline) fn foreseen(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    order: &[usize],
    policy: &str,
) -> Result<Option<Duration>, NotHere> {
    let (mut limit, mut breaker, mut unknown) = (None, None, false);
    for index in order {
        let deployment = &context.group.deployments[*index];
        match not_now(context, estimate, deployment) {
            None => limit = Some(Duration::ZERO),
            Some(Removal::Full(Some(wait))) => limit = Some(limit.map_or(wait, |least: Duration| least.min(wait))),
            Some(Removal::Full(None)) => unknown = true,
            Some(Removal::CoolingDown(wait)) => breaker = Some(breaker.map_or(wait, |least: Duration| least.min(wait))),
            // Of what nobody bounded less is expected then, which may fit.
            Some(Removal::NeverFits) => unknown |= context.request.max_tokens.is_none(),
            Some(_) => {}
        }
    }
    let now = context.gateway.clock.now();
    let demands = order.iter().map(|index| estimate.demand(&context.group.deployments[*index]));
    let demand = money::shared_demand(estimate, demands);
    for scope in &context.paying.scopes {
        limit = match context.gateway.limits.local().wait(now, *scope, demand) {
            Wait::Now => limit,
            Wait::At(until) => limit.map(|least| least.max(until.since(now))),
            Wait::Unknown | Wait::Never => {
                unknown |= limit.is_some();
                None
            }
        };
    }
    let reason = if limit.is_none() && !unknown { WaitReason::Breaker } else { WaitReason::Limit };
    let Some(wait) = limit.into_iter().chain(breaker).min() else {
        let never = || format!("no deployment of `{}` that it may go to can take it", context.group.config.name);
        return if unknown { Ok(None) } else { Err(NotHere::Refused(never())) };
    };
    let until = now + wait;
    let lists = &context.group.config.failures.of(&context.request.model).fallbacks;
    let elsewhere = context.snapshot.settings.max_fallbacks > 0 && context.wishes.any(lists);
    if until <= context.wait_deadline(now) && !(elsewhere && reason == WaitReason::Breaker) {
        return Ok(Some(wait));
    }
    let refusal = wait_refusal(context, estimate, order, Some(policy), (until, reason), context.wait_deadline(now));
    Err(if elsewhere { NotHere::Elsewhere(refusal.message) } else { NotHere::Refused(refusal.message) })
}
