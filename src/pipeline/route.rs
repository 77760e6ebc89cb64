//! The deployments to try, best first. A policy ranks them; where it fails, the built-in order takes its place: the configuration's
//! `order`, then position.
//!
//! A deployment the policy leaves out is not called; where it leaves out all, the request waits or is refused, as the group is
//! configured (`when_none`). The configuration's `order` stands above the
//! policy's ranking: all deployments of a lower `order` come before those of a higher one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::WhenNone;
use crate::chat::{ImageSource, OutputFormat, PartKind};
use crate::fault::{Refusal, RefusalKind};
use crate::health::{Admission, HealthReport};
use crate::limits::{Demand, Dimension, Reading, Used, Wait};
use crate::moment::Moment;
use crate::policy::{Choice, LogLine, PolicyFault, RouteError, RouteRequest, Router, Traits};
use crate::signal::Signal;
use crate::snapshot::{DeploymentRuntime, GroupRuntime};
use crate::tokens;

use super::admit::queue_is_full;
use super::attributes::attribute;
use super::{BlockingPool, Estimate, RequestContext, RequestGuard, rollout};

/// The wait in milliseconds shown to a policy where it depends on requests under way, so that nobody knows it.
const UNKNOWN_WAIT_MS: f32 = 1000.0;

/// The longest a policy may delay a request before it is called again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Between two questions about a request that no deployment is fit for, at least and at most.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// A routing decision.
pub(super) struct RouteDecision {
    /// The deployments to try, best first, as indices into the group.
    pub(super) order: Vec<usize>,
    /// Who decided, `NAME@DIGEST` or `built-in`.
    pub(super) policy: Arc<str>,
    /// The policy wants the request to wait so long and to be called again; where it is not called again, `order` is the built-in one.
    pub(super) wait: Option<Duration>,
    /// The policy finds no deployment fit: `order` is empty.
    pub(super) none: bool,
    /// What its versions made of the request, where a new one is tried.
    pub(super) versions: Versions,
}

/// What the versions of a router made of a request. It is counted when the request is decided for good, however often they were asked.
#[derive(Clone, Copy, Default)]
pub(super) struct Versions {
    /// The new one was asked and gave the answer that counts, though the built-in order may be what came of it.
    pub(super) by_candidate: bool,
    /// The new one refused it.
    pub(super) candidate_refused: bool,
    /// The one in force refused it.
    pub(super) live_refused: bool,
}

/// The deployments to try. A policy that delays the request is called once more afterwards.
///
/// # Errors
/// As [`decide`]; or `Unavailable` where the policy finds no deployment fit.
pub(super) async fn order(
    context: &RequestContext<'_>,
    estimate: &mut Estimate,
    guard: &mut RequestGuard,
) -> Result<Vec<usize>, Refusal> {
    // Named in the record of a request that the policy refuses, too.
    guard.record.policy = Some(Arc::clone(&context.group.policy));
    let (decision, waited) = decided(context, estimate, guard).await?;
    if let Some(rollout) = &context.group.rollout {
        rollout::tell(rollout, &decision);
    }
    guard.versions = decision.versions;
    if decision.none {
        return Err(none_fit(context.group, waited));
    }
    guard.record.policy = Some(decision.policy);
    Ok(decision.order)
}

/// The decision that counts, and how long one was waited for that finds somebody fit.
///
/// # Errors
/// As [`decide`]; or nobody may wait any more.
async fn decided(
    context: &RequestContext<'_>,
    estimate: &mut Estimate,
    guard: &mut RequestGuard,
) -> Result<(RouteDecision, Option<Duration>), Refusal> {
    let mut decision = decide(context, estimate, false).await?;
    if let Some(wanted) = decision.wait {
        let clock = context.gateway.clock;
        let now = clock.now();
        clock.sleep_until((now + wanted.min(LONGEST_WAIT)).min(context.wait_deadline(now))).await;
        guard.record.waited += clock.now().since(now);
        decision = decide(context, estimate, true).await?;
    }
    if decision.none && context.group.config.router.when_none == WhenNone::Wait {
        let most = context.snapshot.settings.queue.max_wait;
        return Ok((Box::pin(until_one_is_fit(context, estimate, guard)).await?, Some(most)));
    }
    Ok((decision, None))
}

/// Asks again until the policy finds a deployment fit or the time is over: whenever capacity may have become free, but no oftener than
/// [`AT_MOST_EVERY`], and every [`AT_LEAST_EVERY`], because limits and breakers move with time too.
async fn until_one_is_fit(
    context: &RequestContext<'_>,
    estimate: &mut Estimate,
    guard: &mut RequestGuard,
) -> Result<RouteDecision, Refusal> {
    let (gateway, group, queue) = (context.gateway, context.group, &context.snapshot.settings.queue);
    let began = gateway.clock.now();
    let deadline = context.wait_deadline(began);
    // A place without a turn: it counts among those that may wait, and holds nobody up.
    let Some(_place) = group.queue.stand(queue.max_waiting) else {
        return Err(queue_is_full(&group.config.name, queue.max_waiting));
    };
    let found = loop {
        let notified = gateway.capacity.notified();
        tokio::pin!(notified);
        // Registered before the question, so that nothing freed in between goes unheard.
        notified.as_mut().enable();
        let decision = decide(context, estimate, true).await;
        let now = gateway.clock.now();
        match decision {
            Ok(decision) if decision.none && now < deadline => {
                let (soon, late) = ((now + AT_MOST_EVERY).min(deadline), (now + AT_LEAST_EVERY).min(deadline));
                tokio::select! {
                    biased;
                    () = notified => gateway.clock.sleep_until(soon).await,
                    () = gateway.clock.sleep_until(late) => {}
                }
            }
            decision => break decision,
        }
    };
    guard.record.waited += gateway.clock.now().since(began);
    found
}

/// No deployment is fit: at once, or after a wait.
fn none_fit(group: &GroupRuntime, waited: Option<Duration>) -> Refusal {
    let within = waited.map_or_else(String::new, |waited| format!(" within {} s", waited.as_secs_f64()));
    let message = format!(
        "the policy `{}` finds no deployment of `{}` fit for this request{within}",
        group.policy, group.config.name
    );
    Refusal::new(RefusalKind::Unavailable, message).after(Duration::from_secs(1))
}

/// Calls the group's policy once; `again` where it did not rank anybody when it was called for this request before.
///
/// # Errors
/// As [`conclude`].
pub(super) async fn decide(
    context: &RequestContext<'_>,
    estimate: &mut Estimate,
    again: bool,
) -> Result<RouteDecision, Refusal> {
    let Some(router) = &context.group.router else { return Ok(built_in(context)) };
    if let Some(rollout) = &context.group.rollout {
        return rollout::decide(context, router, rollout, estimate, again).await;
    }
    let question = question(context, router, estimate).await;
    let answer = ask(context, router, &question).await;
    conclude(context, &context.group.policy, answer)
}

/// What the answer of `policy` comes to.
///
/// # Errors
/// `PolicyRefused` where the policy refuses the request and the configuration grants it that; nothing else.
pub(super) fn conclude(
    context: &RequestContext<'_>,
    policy: &Arc<str>,
    answer: Result<Vec<Choice>, RouteError>,
) -> Result<RouteDecision, Refusal> {
    let group = context.group;
    match answer {
        Ok(choices) => {
            let eligible = |index: &usize| context.eligible.has(*index);
            let mut order = Vec::with_capacity(choices.len());
            order.extend(choices.iter().map(|choice| choice.deployment as usize).filter(eligible));
            let none = choices.is_empty();
            if order.is_empty() && !none {
                // It ranks none of those that remain.
                return Ok(RouteDecision { policy: Arc::clone(policy), ..built_in(context) });
            }
            let (order, policy) = (by_order(group, order), Arc::clone(policy));
            Ok(RouteDecision { order, policy, wait: None, none, versions: Versions::default() })
        }
        Err(RouteError::Reject(words)) if group.config.router.may_reject => Err(rejected(policy, words)),
        Err(RouteError::Reject(words)) => {
            let id = context.id.map(tracing::field::display);
            tracing::warn!(id, group = %group.config.name, policy = &**policy, %words, "the policy refused a request, which needs `may_reject` of `witgate.routers`");
            Ok(built_in(context))
        }
        Err(RouteError::Wait(wanted)) => Ok(RouteDecision { wait: Some(wanted), ..built_in(context) }),
        // Logged and counted where it happened.
        Err(RouteError::Fault(_)) => Ok(built_in(context)),
    }
}

/// The configuration's `order` stands above the policy's ranking.
pub(super) fn by_order(group: &GroupRuntime, mut order: Vec<usize>) -> Vec<usize> {
    order.sort_by_key(|index| group.deployments[*index].config.order);
    order
}

/// The refusal in the policy's own words, which are bounded already.
fn rejected(policy: &str, words: String) -> Refusal {
    let silent = words.trim().is_empty();
    let words = if silent { format!("the policy `{policy}` refuses this request") } else { words };
    Refusal::new(RefusalKind::PolicyRefused, words)
}

pub(super) fn built_in(context: &RequestContext<'_>) -> RouteDecision {
    let group = context.group;
    let order = (0..group.deployments.len()).filter(|index| context.eligible.has(*index)).collect();
    let order = by_order(group, order);
    // A group without a router is named so already.
    let policy = if group.router.is_none() { Arc::clone(&group.policy) } else { "built-in".into() };
    RouteDecision { order, policy, wait: None, none: false, versions: Versions::default() }
}

/// Everything a policy is shown of a request.
pub(super) struct Question<'c> {
    pub(super) request: RouteRequest,
    /// The wanted columns, one after another.
    pub(super) signals: Vec<f32>,
    pub(super) features: Vec<f32>,
    pub(super) attributes: Vec<Cow<'c, str>>,
}

impl Question<'_> {
    fn attributes(&self) -> Vec<&str> {
        self.attributes.iter().map(AsRef::as_ref).collect()
    }

    /// The same for another thread.
    fn kept(&self) -> Question<'static> {
        let Self { request, signals, features, attributes } = self;
        let attributes = attributes.iter().map(|value| Cow::Owned(value.clone().into_owned())).collect();
        Question { request: request.clone(), signals: signals.clone(), features: features.clone(), attributes }
    }
}

/// What `router` is to be shown, its tokens counted and its vector waited for where it wants them.
pub(super) async fn question<'c>(
    context: &'c RequestContext<'_>,
    router: &Router,
    estimate: &mut Estimate,
) -> Question<'c> {
    if router.needs().exact_tokens {
        let first = &context.group.deployments[context.eligible.first()];
        estimate.count(context, &first.config.model).await;
    }
    context.embed_for(router).await;
    shown(context, router, estimate)
}

/// What `router` is to be shown, its tokens as far as they are counted already.
pub(super) fn shown<'c>(context: &'c RequestContext<'_>, router: &Router, estimate: &Estimate) -> Question<'c> {
    let needs = router.needs();
    let deployments = &context.group.deployments;
    let now = context.gateway.clock.now();
    let expected_output = estimate.demand(&deployments[context.eligible.first()]).output_tokens;
    Question {
        signals: signals(context, &needs.signals, now, estimate),
        features: tokens::features(&needs.features, &context.request, context.embedded()),
        attributes: needs.attributes.iter().map(|wanted| attribute(wanted, context.facts())).collect(),
        request: RouteRequest {
            id: context.id,
            now,
            seed: context.seed,
            input_tokens: u32::try_from(estimate.input()).unwrap_or(u32::MAX),
            input_precision: estimate.precision(),
            expected_output_tokens: u32::try_from(expected_output).unwrap_or(u32::MAX),
            max_output_tokens: context.request.max_tokens,
            priority: context.priority,
            deadline_ms: u32::try_from(context.deadline.since(now).as_millis()).ok(),
            traits: traits(context),
        },
    }
}

/// The policy's answer; a slow one's comes from another thread.
pub(super) async fn ask(
    context: &RequestContext<'_>,
    router: &Arc<Router>,
    question: &Question<'_>,
) -> Result<Vec<Choice>, RouteError> {
    let Question { request, signals, features, .. } = question;
    let mut choices = Vec::with_capacity(context.group.deployments.len());
    if !router.is_slow() {
        router.route(request, signals, features, &question.attributes(), &mut choices)?;
        return Ok(choices);
    }
    let (own, id, kept) = (Arc::clone(router), request.id, question.kept());
    let beside = context.gateway.slow_policies.run(move || {
        let Question { request, signals, features, .. } = &kept;
        own.route(request, signals, features, &kept.attributes(), &mut choices).map(|()| choices)
    });
    beside.await.unwrap_or_else(|| Err(router.thread_ended(id).into()))
}

/// What the policy would answer, for somebody who only asks, and what it logged meanwhile: its reasons, where it gives any. It is asked on a
/// thread of `pool`, and nothing of it counts.
pub(super) async fn explained_on(
    pool: &BlockingPool,
    router: &Arc<Router>,
    question: &Question<'_>,
) -> (Result<Vec<Choice>, RouteError>, Vec<LogLine>) {
    let (own, kept) = (Arc::clone(router), question.kept());
    let beside = pool.run(move || {
        let Question { request, signals, features, .. } = &kept;
        let (mut choices, mut said) = (Vec::new(), Vec::new());
        let answer = own.explain(request, signals, features, &kept.attributes(), &mut choices, &mut said);
        (answer.map(|()| choices), said)
    });
    beside.await.unwrap_or_else(|| (Err(PolicyFault::thread_ended().into()), Vec::new()))
}

/// The wanted columns, one after another, all at one moment.
fn signals(context: &RequestContext<'_>, wanted: &[Signal], now: Moment, estimate: &Estimate) -> Vec<f32> {
    if wanted.is_empty() {
        return Vec::new();
    }
    // Each deployment's own lock is taken once, and none of them under the lock of the limits.
    let rows: Vec<Row<'_>> = context
        .group
        .deployments
        .iter()
        .enumerate()
        .map(|(index, deployment)| Row {
            deployment,
            eligible: context.eligible.has(index),
            health: deployment.health.report(now),
            demand: estimate.demand(deployment),
        })
        .collect();
    let reads_usage = wanted.iter().any(|signal| {
        use Signal::{RequestsFree, RequestsUsed, TokensFree, TokensUsed};
        matches!(signal, TokensUsed | RequestsUsed | TokensFree | RequestsFree)
    });
    let mut cells = vec![f32::NAN; wanted.len() * rows.len()];
    context.gateway.limits.local().read(now, |limits| {
        for (at, row) in rows.iter().enumerate() {
            // Once for all columns that are of it.
            let used = if reads_usage { limits.used(row.deployment.scope) } else { Used::default() };
            for (signal, cell) in wanted.iter().zip(cells.iter_mut().skip(at).step_by(rows.len())) {
                *cell = value(limits, &used, now, *signal, row);
            }
        }
    });
    cells
}

/// What is known of one deployment at the moment of a decision.
struct Row<'a> {
    deployment: &'a DeploymentRuntime,
    eligible: bool,
    health: HealthReport,
    demand: Demand,
}

fn traits(context: &RequestContext<'_>) -> Traits {
    let request = &context.request;
    let pictures =
        |kind: &PartKind| matches!(kind, PartKind::Image(ImageSource::Url { .. } | ImageSource::Base64 { .. }));
    Traits {
        streaming: request.stream,
        tools: !request.tools.is_empty(),
        images: request.messages.iter().any(|message| message.parts.iter().any(|part| pictures(&part.kind))),
        json: matches!(request.output, Some(OutputFormat::JsonObject | OutputFormat::JsonSchema { .. })),
    }
}

/// One signal of one deployment, as `signal.rs` defines it.
fn value(limits: &mut Reading<'_>, used: &Used, now: Moment, signal: Signal, row: &Row<'_>) -> f32 {
    let Row { deployment, health, demand, eligible } = row;
    let free = |amount: Option<u64>| amount.map_or(f32::INFINITY, small);
    match signal {
        Signal::WaitMs if !eligible => f32::INFINITY,
        Signal::WaitMs => wait(limits, now, row),
        Signal::CostUsd => deployment.config.prices.as_ref().map_or(f32::NAN, |prices| {
            let cost = prices.of(demand.input_tokens, demand.output_tokens);
            small(cost.0) / 1e9
        }),
        Signal::TokensUsed => small(used[Dimension::Tokens]),
        Signal::RequestsUsed => small(used[Dimension::Requests]),
        Signal::TokensFree => free(used.tightest_tokens()),
        Signal::RequestsFree => free(used.free[Dimension::Requests]),
        Signal::InFlight
        | Signal::LatencyMs
        | Signal::LatencyPerTokenMs
        | Signal::TtftMs
        | Signal::FailureRate
        | Signal::Healthy => health.signal(signal).unwrap_or(f32::NAN),
    }
}

/// Limits and breaker together: whichever keeps the request longer.
fn wait(limits: &mut Reading<'_>, now: Moment, row: &Row<'_>) -> f32 {
    let limited = match limits.wait(row.deployment.scope, row.demand) {
        Wait::Now => 0.0,
        Wait::At(moment) => millis(moment.since(now)),
        Wait::Unknown => UNKNOWN_WAIT_MS,
        Wait::Never => f32::INFINITY,
    };
    match row.health.admission {
        Admission::Yes | Admission::Probe => limited,
        Admission::No { until } => limited.max(millis(until.since(now))),
    }
}

fn millis(length: Duration) -> f32 {
    length.as_secs_f32() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "signals are single precision by contract")]
const fn small(amount: u64) -> f32 {
    amount as f32
}
