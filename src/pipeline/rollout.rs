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
use crate::rollout::{Compared, Comparison, Decider, Mode, Rollout};
use crate::signal::Signal;

/// Has one of the versions decide. A request is asked about `again` where it waited after an answer that ranked nobody.
///
/// # Errors
/// As [`route::conclude`].
pub(super) async fn decide(
    context: &RequestContext<'_>,
    router: &Arc<Router>,
    rollout: &Arc<Rollout>,
    estimate: &mut Estimate,
    again: bool,
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
    let kind = AnswerKind::of(&answer);
    // A request that waits is asked about over and over: that it goes on waiting is compared once.
    if decider == Decider::LiveWithShadow
        && let Some(kind) = kind.filter(|kind| !again || *kind == AnswerKind::Ranking)
    {
        let live = answer.as_ref().map_or(&[] as &[Choice], Vec::as_slice);
        beside(context, router, rollout, &question, (kind, live), estimate);
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

/// In which way a version answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerKind {
    Ranking,
    NoneFit,
    Wait,
    Refusal,
}

impl AnswerKind {
    /// `None`: it failed, and did not answer.
    fn of(answer: &Result<Vec<Choice>, RouteError>) -> Option<Self> {
        match answer {
            Ok(choices) if choices.is_empty() => Some(Self::NoneFit),
            Ok(_) => Some(Self::Ranking),
            Err(RouteError::Wait(_)) => Some(Self::Wait),
            Err(RouteError::Reject(_)) => Some(Self::Refusal),
            Err(RouteError::Fault(_)) => None,
        }
    }
}

/// Asks the shadow, and compares.
fn beside(
    context: &RequestContext<'_>,
    router: &Router,
    rollout: &Arc<Rollout>,
    question: &Question<'_>,
    (kind, live): (AnswerKind, &[Choice]),
    estimate: &Estimate,
) {
    let Some(place) = rollout.place() else { return };
    let group = Arc::clone(context.group);
    let shadow = Arc::clone(rollout);
    let Question { request, signals, mut features, attributes } = route::shown(context, rollout.candidate(), estimate);
    let embedding = context.embed_beside(rollout.candidate());
    // It serves no request: what is kept of its decisions must not be taken for the request's own. Its faults are told with it.
    let of = request.id;
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
        let answer = shadow.candidate().beside(of, &request, &signals, &features, &attributes, &mut choices);
        let answer = answer.map(|()| choices);
        let compared = match (kind, AnswerKind::of(&answer), answer) {
            (AnswerKind::Ranking, Some(AnswerKind::Ranking), Ok(choices)) => {
                let own = route::by_order(&group, order(&choices));
                let more = |column: Option<Vec<f32>>| difference(&column?, *own.first()?, *live.first()?);
                Compared::Both(Comparison {
                    same_first: own.first() == live.first(),
                    same_ranking: own == live,
                    cost_usd: more(costs),
                    latency_ms: more(latencies),
                })
            }
            (AnswerKind::Ranking, ..) => Compared::Silent,
            (kind, own, _) => Compared::Unserved { same: own == Some(kind) },
        };
        shadow.compared(&compared);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::PolicyFault;

    #[test]
    fn answers_are_alike_by_their_kind_and_a_fault_is_none() {
        let ranking = Ok(vec![Choice { deployment: 0, propensity: 1.0 }]);
        let fault = Err(RouteError::Fault(PolicyFault::CpuBudget));
        let refusal = Err(RouteError::Reject("no".to_owned()));
        let wait = |millis| Err(RouteError::Wait(Duration::from_millis(millis)));
        let answers = [ranking, Ok(Vec::new()), wait(1), wait(2), refusal, fault];
        let kinds = answers.map(|answer| AnswerKind::of(&answer));
        let alike = |one: usize, other: usize| kinds[one] == kinds[other];
        assert!(alike(2, 3) && kinds[5].is_none() && kinds[..5].iter().all(Option::is_some));
        for (one, other) in [(0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 4)] {
            assert!(!alike(one, other), "{one}, {other}");
        }
    }
}
