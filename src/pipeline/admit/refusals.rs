//! What those are told who cannot start: whose limit it is, how much of it is used, and when it frees.

use std::time::Duration;

use crate::fault::{Cause, Refusal, RefusalKind};
use crate::health::Admission;
use crate::id::GroupName;
use crate::limits::{Dimension, Excess, Scope, Wait};
use crate::moment::Moment;
use crate::record::Removal;
use crate::snapshot::DeploymentRuntime;

use super::super::{Estimate, RequestContext};
use super::WaitReason;

/// As many wait as may.
pub(in crate::pipeline) fn queue_is_full(group: &GroupName, capacity: usize) -> Refusal {
    let message = format!("the queue of `{group}` is full ({capacity} requests wait)");
    Refusal::new(RefusalKind::RateLimited, message).after(Duration::from_secs(1))
}

/// Tells when the next of `order`, which `policy` ranked, can start, where that is later than requests may wait, or another group takes over.
pub(super) fn wait_refusal(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    order: &[usize],
    policy: Option<&str>,
    (until, reason): (Moment, WaitReason),
    wait_deadline: Moment,
) -> Refusal {
    let now = context.gateway.clock.now();
    let wait = until.since(now);
    let all = || all_of(context, order, policy);
    let (kind, what) = match reason {
        WaitReason::Limit | WaitReason::Money => {
            let whose = at_limit(context, estimate, now);
            (RefusalKind::RateLimited, whose.unwrap_or_else(|| format!("{} is at a limit", all())))
        }
        WaitReason::Breaker => (RefusalKind::Unavailable, format!("{} is cooling down after failures", all())),
    };
    let name = &context.group.config.name;
    let mut message = format!("`{name}`: {what}; the next can start in {:.1} s", wait.as_secs_f64());
    // Where another group takes over nobody waits for a breaker, however soon that is.
    if until > wait_deadline {
        let may_wait = wait_deadline.since(now).as_secs_f64();
        message = format!("{message}, which is longer than it may wait here ({may_wait:.1} s)");
    }
    let away = if reason == WaitReason::Limit { away(wait, wait_deadline.since(now)) } else { wait };
    Refusal::new(kind, message).after(away)
}

/// The deployments of `order`, in words: others may be free that the policy does not rank.
fn all_of(context: &RequestContext<'_>, order: &[usize], policy: Option<&str>) -> String {
    let is_left_out = |index: usize| context.eligible.has(index) && !order.contains(&index);
    match policy.filter(|_| (0..context.group.deployments.len()).any(is_left_out)) {
        Some(policy) => format!("every deployment that `{policy}` ranks"),
        None => "every deployment".to_owned(),
    }
}

/// Tells when it could start behind those who wait, where that is later than it may wait.
pub(super) fn behind_refusal(
    context: &RequestContext<'_>,
    now: Moment,
    starts: Moment,
    wait_deadline: Moment,
) -> Refusal {
    let report = context.group.queue.report(now);
    let message = format!(
        "`{}`: {} requests with {} tokens wait, and behind those before it this one can start in {:.1} s at the earliest, which is longer than it may wait here ({:.1} s)",
        context.group.config.name,
        report.waiting.saturating_sub(1),
        report.tokens,
        starts.since(now).as_secs_f64(),
        wait_deadline.since(now).as_secs_f64()
    );
    let away = away(starts.since(now), wait_deadline.since(now));
    Refusal::new(RefusalKind::RateLimited, message).after(away)
}

/// How long somebody stays away who can start after `wait` and may wait for a part of it: it need not be back before, and has its place then.
/// Who came back at the moment itself would find that others had waited for it.
pub(super) fn away(wait: Duration, may_wait: Duration) -> Duration {
    // Not so close that its time to wait is over just when it can start.
    let rest = wait.saturating_sub(may_wait) + Duration::from_millis(250);
    rest.max(Duration::from_secs(1)).min(wait).max(Duration::from_millis(1))
}

/// The configuration wants nothing sent that is not reserved for all gateways.
pub(super) fn unreachable_refusal() -> Refusal {
    let message = "the store that keeps the limits of all gateways does not answer, and the configuration wants requests refused meanwhile (`witgate.shared_limits.when_unreachable`)";
    Refusal::new(RefusalKind::Unavailable, message).after(Duration::from_secs(1))
}

pub(super) fn context_refusal(input: u64, window: u32) -> Refusal {
    let message = format!(
        "the request has {input} input tokens and the largest context window here holds {window}; shorten it or use a model with a larger window"
    );
    let mut refusal = Refusal::new(RefusalKind::InvalidRequest, message).at("messages");
    refusal.code = Some("context_length_exceeded".to_owned());
    refusal.cause = Some(Cause::ContextWindow);
    refusal
}

pub(super) fn excess_refusal(excess: &Excess, context: &RequestContext<'_>, estimate: &Estimate) -> Refusal {
    let whose = match (whose(&excess.scope, context), &excess.scope) {
        (whose, Scope::Quota(_) | Scope::Deployment(_)) => {
            format!("{whose}, the largest of `{}`", context.group.config.name)
        }
        (whose, _) => whose,
    };
    let what = what(excess.dimension, excess.window);
    if matches!(excess.dimension, Dimension::Requests | Dimension::InFlight) {
        // No request is small enough: whoever operates the gateway can help, and nobody who asks.
        let message = format!(
            "no request is let through here: the limit of {whose} is {} {what}; waiting does not help: whoever operates the gateway can raise the limit",
            excess.limit
        );
        return Refusal::new(RefusalKind::RateLimited, message).for_good();
    }
    let counted = if estimate.is_exact() { "" } else { " (estimated)" };
    let message = format!(
        "request too large: it needs {} {what} ({} input{counted} and the output bound) and the limit of {whose} is {}; waiting does not help: shorten the prompt, lower `max_tokens` or raise the limit",
        excess.asked,
        estimate.input(),
        excess.limit
    );
    Refusal::new(RefusalKind::NeverFits, message)
}

/// Somebody, in words.
pub(super) fn whose(scope: &Scope, context: &RequestContext<'_>) -> String {
    match scope {
        Scope::Global => "the gateway".to_owned(),
        // By the name people gave it.
        Scope::Key(_) => format!("the key `{}`", context.caller.name),
        Scope::Team(team) => format!("the team `{team}`"),
        Scope::Tag(tag) => format!("the tag `{tag}`"),
        Scope::Provider(provider) => format!("the provider `{provider}`"),
        Scope::Group(group) => format!("the group `{group}`"),
        Scope::Quota(quota) => format!("the quota `{quota}`"),
        Scope::Deployment(deployment) => format!("the deployment `{deployment}`"),
    }
}

fn what(dimension: Dimension, window: Duration) -> String {
    let counted = match dimension {
        Dimension::Requests => "requests",
        Dimension::Tokens => "tokens",
        Dimension::InputTokens => "input tokens",
        Dimension::OutputTokens => "output tokens",
        Dimension::Cost => "billionths of a dollar",
        Dimension::InFlight => return "requests at once".to_owned(),
    };
    let hours = window.as_secs() / 3600;
    if hours > 0 { format!("{counted} per {hours} h") } else { format!("{counted} per window") }
}

/// Which of the limits that it takes from whichever deployment is called keeps a request, where one does.
fn at_limit(context: &RequestContext<'_>, estimate: &Estimate, now: Moment) -> Option<String> {
    let limits = context.gateway.limits.local();
    let demands = context.group.deployments.iter().map(|deployment| estimate.demand(deployment));
    let demand = super::money::shared_demand(estimate, demands);
    let scope = context.paying.scopes.iter().find(|scope| limits.wait(now, **scope, demand) != Wait::Now)?;
    let amounts = demand.amounts();
    // Of two windows that are full the longer one frees later.
    let (report, dimension) = limits.reports(now, *scope).into_iter().rev().find_map(|report| {
        let full = |dimension: &Dimension| {
            report.limits[*dimension].is_some_and(|limit| report.used[*dimension] + amounts[*dimension] > limit)
        };
        Dimension::ALL.into_iter().find(full).map(|dimension| (report, dimension))
    })?;
    Some(format!(
        "{} is at its limit: {} of {} {} are used and {} are asked for",
        whose(&limits.name(*scope)?, context),
        report.used[dimension],
        report.limits[dimension]?,
        what(dimension, report.window),
        amounts[dimension]
    ))
}

/// Why a deployment cannot take the request now, where it cannot: what its model takes, its limits' size, its breaker, and how
/// full they are.
pub(in crate::pipeline) fn not_now(
    context: &RequestContext<'_>,
    estimate: &Estimate,
    deployment: &DeploymentRuntime,
) -> Option<Removal> {
    let (now, config) = (context.gateway.clock.now(), &deployment.config);
    if let Some(window) = config.context_window.filter(|window| estimate.overflows(*window)) {
        return Some(Removal::ContextWindow(window));
    }
    let wait = context.gateway.limits.local().wait(now, deployment.scope, estimate.demand(deployment));
    match (wait, deployment.health.admission(now)) {
        (Wait::Never, _) => Some(Removal::NeverFits),
        (_, Admission::No { until }) => Some(Removal::CoolingDown(until.since(now))),
        (Wait::At(until), _) => Some(Removal::Full(Some(until.since(now)))),
        (Wait::Unknown, _) => Some(Removal::Full(None)),
        (Wait::Now, Admission::Yes | Admission::Probe) => None,
    }
}
