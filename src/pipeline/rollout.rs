//! A decision while a new version of the router is tried: which version makes it, and what the other would have said.
//!
//! Nothing here can fail a request or hold it up: a new version that fails is replaced by the one in force for that request, and a
//! shadow is asked beside, after the decision, with what the request has been counted for already.

use std::borrow::Cow;
use std::sync::Arc;

use super::route::{self, Question, RouteDecision, Versions};
use super::{Estimate, Gateway, RequestContext};
use crate::fault::Refusal;
use crate::policy::{Choice, Outcome, RouteError, RouteRequest, Router};
use crate::rollout::{Comparison, Decider, Mode, Rollout};
use crate::signal::Signal;

/// Has one of the versions decide.
///
/// # Errors
/// As [`route::conclude`].
pub(super) async fn decide(
    context: &RequestContext<'_>,
    router: &Arc<Router>,
    rollout: &Arc<Rollout>,
    estimate: &mut Estimate,
) -> Result<RouteDecision, Refusal> {
    let decider = rollout.decider(context.seed);
    let mut versions = Versions::default();
    if decider == Decider::Candidate {
        let question = route::question(context, rollout.candidate(), estimate).await;
        match route::ask(context, rollout.candidate(), &question).await {
            Err(RouteError::Fault(_)) => rollout.failed(),
            // What it finds nobody fit for, the version in force may still serve.
            Ok(none) if none.is_empty() => versions.candidate_refused = true,
            answer => {
                let candidate_refused = matches!(&answer, Err(RouteError::Reject(_)));
                return concluded(
                    context,
                    rollout,
                    answer,
                    Versions { by_candidate: true, candidate_refused, ..versions },
                );
            }
        }
    }
    let question = route::question(context, router, estimate).await;
    let answer = route::ask(context, router, &question).await;
    if decider == Decider::LiveWithShadow
        && let Ok(choices) = &answer
    {
        beside(context, router, rollout, &question, choices, estimate);
    }
    let live_refused = matches!(&answer, Err(RouteError::Reject(_))) || matches!(&answer, Ok(none) if none.is_empty());
    concluded(context, rollout, answer, Versions { live_refused, ..versions })
}

fn concluded(
    context: &RequestContext<'_>,
    rollout: &Rollout,
    answer: Result<Vec<Choice>, RouteError>,
    versions: Versions,
) -> Result<RouteDecision, Refusal> {
    let policy = if versions.by_candidate { rollout.policy() } else { &context.group.policy };
    match route::conclude(context, policy, answer) {
        Ok(decision) => Ok(RouteDecision { versions, ..decision }),
        // The request ends here: nobody asks again.
        Err(refusal) => {
            count(rollout, versions);
            Err(refusal)
        }
    }
}

/// Counts what the versions made of a request that is decided for good. One that wants to wait again is not asked a third time:
/// it gave no ranking, and that is as if it had refused.
pub(super) fn tell(rollout: &Rollout, decision: &RouteDecision) {
    let (mut versions, waits) = (decision.versions, decision.wait.is_some());
    versions.candidate_refused |= waits && versions.by_candidate;
    versions.live_refused |= waits && !versions.by_candidate;
    count(rollout, versions);
}

fn count(rollout: &Rollout, versions: Versions) {
    for (by_candidate, refused) in [(true, versions.candidate_refused), (false, versions.live_refused)] {
        if refused {
            rollout.refused(by_candidate);
        }
    }
}

/// Asks the shadow, and compares.
fn beside(
    context: &RequestContext<'_>,
    router: &Router,
    rollout: &Arc<Rollout>,
    question: &Question<'_>,
    live: &[Choice],
    estimate: &Estimate,
) {
    let Some(place) = rollout.place() else { return };
    let group = Arc::clone(context.group);
    let shadow = Arc::clone(rollout);
    let Question { request, signals, mut features, attributes } = route::shown(context, rollout.candidate(), estimate);
    let embedding = context.embed_beside(rollout.candidate());
    // It serves no request: what is kept of its decisions must not be taken for the request's own.
    let request = RouteRequest { id: None, ..request };
    let attributes: Vec<String> = attributes.into_iter().map(Cow::into_owned).collect();
    let order = |choices: &[Choice]| choices.iter().map(|choice| choice.deployment as usize).collect();
    let live = route::by_order(&group, order(live));
    // What a version asked for tells what both first choices are expected to cost and to take.
    let column = |wanted: Signal| {
        let shown = [(rollout.candidate().needs(), &signals), (router.needs(), &question.signals)];
        shown.into_iter().find_map(|(needs, cells)| {
            let at = needs.signals.iter().position(|signal| *signal == wanted)?;
            cells.chunks(group.deployments.len()).nth(at).map(<[f32]>::to_vec)
        })
    };
    let (costs, latencies) = (column(Signal::CostUsd), column(Signal::LatencyMs));
    context.gateway.shadows.spawn(move || {
        let _place = place;
        if let Some(embedding) = embedding {
            embedding.fill(&shadow.candidate().needs().features, &mut features);
        }
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let mut choices = Vec::new();
        let answer = shadow.candidate().route(&request, &signals, &features, &attributes, &mut choices);
        // That nobody is fit is no ranking either.
        let comparison = (answer.is_ok() && !choices.is_empty()).then(|| {
            let own = route::by_order(&group, order(&choices));
            let more = |column: Option<Vec<f32>>| difference(&column?, *own.first()?, *live.first()?);
            Comparison {
                same_first: own.first() == live.first(),
                same_ranking: own == live,
                cost_usd: more(costs),
                latency_ms: more(latencies),
            }
        });
        shadow.compared(comparison.as_ref());
    });
}

/// Tells the new version how an attempt ended.
pub(super) fn observe(gateway: &Gateway, rollout: Arc<Rollout>, event: Outcome) {
    if *rollout.mode() == Mode::Shadow {
        // Behind what it is asked, so that it learns in the order in which things happen.
        if let Some(place) = rollout.place() {
            gateway.shadows.spawn(move || {
                let _place = place;
                rollout.observe(&event);
            });
        }
    } else if rollout.candidate().is_slow() {
        gateway.slow_policies.spawn(move || rollout.observe(&event));
    } else {
        rollout.observe(&event);
    }
}

fn difference(column: &[f32], own: usize, live: usize) -> Option<f64> {
    Some(f64::from(*column.get(own)?) - f64::from(*column.get(live)?))
}
