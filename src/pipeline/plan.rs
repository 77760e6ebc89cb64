//! What serving a request would come to now, by the same estimate and the same routing as serving it, and why. Nothing is
//! reserved, waited for or recorded, and the policy is told no outcome.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::catalog::WhenNone;
use crate::chat::ChatRequest;
use crate::fault::{Refusal, RefusalKind};
use crate::format::ClientApi;
use crate::id::{DeploymentId, GroupName};
use crate::limits::{Demand, Wait};
use crate::moment::Moment;
use crate::policy::{Choice, RouteError};
use crate::record::{Explanation, PromptBuilt, Removal};
use crate::signal::Signal;
use crate::snapshot::{Caller, GroupRuntime};
use crate::tokens::Precision;

use super::admit::{NotHere, foreseen, not_now};
use super::auth::{check_model, may_use};
use super::context::{self, Arrival, RequestContext};
use super::estimate::Estimate;
use super::route::{Question, RouteDecision};
use super::wishes::Wishes;
use super::{Gateway, attributes, route};

/// Facts about a request by name; NaN is unknown.
pub type Features = Vec<(Cow<'static, str>, f32)>;
/// Facts about a caller by name; empty where unknown.
pub type Attributes = Vec<(String, String)>;

/// Where a request would go, and why.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// The group that `model` names, aliases resolved.
    pub group: GroupName,
    /// Who decided, `NAME@DIGEST` or `built-in`.
    pub policy: Arc<str>,
    /// Why the policy's own answer does not count, where it does not.
    pub policy_fault: Option<String>,
    /// Input tokens: counted where the decision depended on it, else an upper bound.
    pub input_tokens: u64,
    /// What that number is.
    pub precision: Precision,
    /// Why the request would be refused, by a policy or because it would have to wait too long; nothing is refused where it is `None`.
    pub refused: Option<String>,
    /// Why it would not wait for this group's deployments, where another group takes over if one can.
    pub elsewhere: Option<String>,
    /// How long limits and breakers keep it: not at all where it is called at once, and `None` where nobody knows, or it is kept by something
    /// else.
    pub starts: Option<Duration>,
    /// How long the policy wants the request to wait before it is called again.
    pub wait: Option<Duration>,
    /// What becomes of it, where the policy finds no deployment fit.
    pub none: Option<WhenNone>,
    /// Facts about the request that the policy was shown, by name.
    pub features: Features,
    /// Facts about the caller that the policy was shown, by name.
    pub attributes: Attributes,
    /// Every deployment of the group: first those to be tried, best first, then those that are not.
    pub candidates: Vec<PlannedAttempt>,
    /// What the policy logged while it decided: its reasons, where it gives any.
    pub said: Vec<String>,
    /// What a version on trial would answer, where there is one.
    pub trial: Option<PlannedTrial>,
    /// What the group's prompt builder did, where there is one.
    pub prompt: Option<PromptBuilt>,
}

/// What a plan foresees for one deployment.
#[derive(Clone, Debug)]
pub struct PlannedAttempt {
    /// Which.
    pub deployment: DeploymentId,
    /// Its place in the policy's ranking, from 0.
    pub rank: Option<usize>,
    /// The probability with which it was drawn for that place.
    pub propensity: Option<f32>,
    /// What the policy was shown of it; NaN is unknown.
    pub signals: Vec<(Signal, f32)>,
    /// What would be reserved there: tokens, and billionths of a dollar.
    pub demand: Demand,
    /// How long the deployment's own limits would have it wait.
    pub wait: Wait,
    /// Why it would not be called now, whatever its limits.
    pub removed: Option<Removal>,
    /// The policy that speaks to its provider, `NAME@DIGEST`; `None` where that is built in.
    pub spoken_by: Option<String>,
}

/// What a version on trial would answer beside the one in force.
#[derive(Clone, Debug)]
pub struct PlannedTrial {
    /// `NAME@DIGEST`.
    pub policy: Arc<str>,
    /// `shadow` or `canary`.
    pub mode: &'static str,
    /// Its ranking, best first, with each one's probability.
    pub ranking: Vec<(DeploymentId, f32)>,
    /// Its answer, where that is no ranking.
    pub instead: Option<String>,
}

impl RequestPlan {
    /// The deployment that would be called at once.
    #[must_use]
    pub fn called_now(&self) -> Option<&DeploymentId> {
        let free = |one: &&PlannedAttempt| one.removed.is_none() && one.wait == Wait::Now;
        self.candidates.iter().filter(|_| self.starts == Some(Duration::ZERO)).find(free).map(|one| &one.deployment)
    }
}

impl Gateway {
    /// Whether requests of `caller` for `model` are served.
    ///
    /// # Errors
    /// The refusal that a request for it would get.
    pub fn known_model(&self, caller: &Caller, model: &str) -> Result<(), Refusal> {
        let snapshot = self.live.read();
        if snapshot.group(model).is_some() && may_use(&snapshot, caller, model) {
            Ok(())
        } else {
            Err(context::unknown(&snapshot, model))
        }
    }

    /// Plans one request of `caller`, as [`Gateway::serve`] would serve it now.
    ///
    /// # Errors
    /// The refusal that the client would read because of the request itself: an unknown model, a field that steers. That a policy refuses it,
    /// or that it would have to wait too long, is part of the plan.
    pub async fn plan(
        &self,
        caller: Arc<Caller>,
        api: &'static dyn ClientApi,
        headers: &HeaderMap,
        mut request: ChatRequest,
    ) -> Result<RequestPlan, Refusal> {
        let snapshot = self.live.read();
        let now = self.clock.now();
        let deadline = now + snapshot.settings.server.request_timeout;
        let mut wishes = Wishes::of_headers(headers);
        wishes.take(&snapshot, &mut request)?;
        let tags = attributes::header_tags(headers);
        let headers = attributes::keep(&snapshot.headers_read, headers);
        let arrival = Box::new(Arrival {
            id: None,
            caller,
            api: api.name(),
            seed: self.seeds.draw(),
            large: false,
            deadline,
            headers,
            tags,
            wishes,
        });
        // Who asks wrote the request, and may read what policies say of it.
        let mut told = Explanation { words: true, ..Explanation::default() };
        check_model(&snapshot, &arrival.caller, &request.model)?;
        let group = context::find(&snapshot, &request.model)?;
        let written = Estimate::of(&request);
        let context = RequestContext::new(self, &snapshot, &group, arrival, Box::new(request), Some(&mut told)).await;
        let context = match context {
            Err(why) if matches!(why.kind, RefusalKind::PolicyRefused | RefusalKind::PromptFailed) => {
                return Ok(unbuilt(&group, &written, why, told.prompt));
            }
            context => context?,
        };
        let mut plan = routed(&context, now).await;
        plan.prompt = told.prompt;
        Ok(plan)
    }
}

/// The plan for a request of which no prompt can be built: nobody is asked where it goes.
fn unbuilt(group: &GroupRuntime, written: &Estimate, why: Refusal, prompt: Option<PromptBuilt>) -> RequestPlan {
    RequestPlan {
        group: group.config.name.clone(),
        policy: Arc::clone(&group.policy),
        policy_fault: None,
        input_tokens: written.input(),
        precision: written.precision(),
        refused: Some(why.message),
        elsewhere: None,
        starts: None,
        wait: None,
        none: None,
        features: Vec::new(),
        attributes: Vec::new(),
        candidates: Vec::new(),
        said: Vec::new(),
        trial: None,
        prompt,
    }
}

/// Where a request whose prompt is built would go.
async fn routed(context: &RequestContext<'_>, now: Moment) -> RequestPlan {
    let mut estimate = Estimate::of(&context.request);
    for deployment in &context.group.deployments {
        if deployment.config.context_window.is_some_and(|window| estimate.may_overflow(window)) {
            estimate.count(context, &deployment.config.model).await;
        }
    }
    let (question, answer, said) = match &context.group.router {
        Some(router) => {
            let question = route::question(context, router, &mut estimate).await;
            // With the shadows, whose calls keep nobody waiting: an instance is made for it.
            let (answer, said) = route::explained_on(&context.gateway.shadows, router, &question).await;
            (Some(question), Some(answer), said)
        }
        None => (None, None, Vec::new()),
    };
    let trial = trial(context, &mut estimate).await;
    let ranking = answer.as_ref().and_then(|answer| answer.as_ref().ok()).cloned().unwrap_or_default();
    let policy_fault = match &answer {
        Some(Err(RouteError::Fault(fault))) => Some(fault.to_string()),
        Some(Err(RouteError::Reject(words))) if !context.group.config.router.may_reject => {
            Some(format!("it refused the request, without the grant to: {words}"))
        }
        _ => None,
    };
    let policy = &context.group.policy;
    let (decision, refused) = match answer.map(|answer| route::conclude(context, policy, answer)) {
        None => (route::built_in(context), None),
        Some(Ok(decision)) => (decision, None),
        Some(Err(why)) => {
            let nobody = RouteDecision { order: Vec::new(), policy: Arc::clone(policy), ..route::built_in(context) };
            (nobody, Some(why.message))
        }
    };
    let kept = match refused {
        None => admission(context, &mut estimate, &decision).await,
        Some(why) => Err(NotHere::Refused(why)),
    };
    let (starts, refused, elsewhere) = match kept {
        Ok(starts) => (starts, None, None),
        Err(NotHere::Refused(why)) => (None, Some(why), None),
        Err(NotHere::Elsewhere(why)) => (None, None, Some(why)),
    };
    let planning = Planning { context, estimate: &estimate, question: question.as_ref(), ranking: &ranking, now };
    let count = context.group.deployments.len();
    let left_out = (0..count).filter(|index| !decision.order.contains(index));
    let candidates = decision.order.iter().copied().chain(left_out);
    let candidates = candidates.map(|index| planning.candidate(index, decision.order.contains(&index))).collect();
    let (features, attributes) = planning.shown();
    RequestPlan {
        group: context.group.config.name.clone(),
        policy: decision.policy,
        policy_fault,
        input_tokens: estimate.input(),
        precision: estimate.precision(),
        refused,
        elsewhere,
        starts,
        wait: decision.wait,
        none: decision.none.then_some(context.group.config.router.when_none),
        features,
        attributes,
        candidates,
        said: said.into_iter().map(|line| line.message).collect(),
        trial,
        prompt: None,
    }
}

/// How long limits and breakers keep a request that is decided so; `None` where nobody knows, or it is not decided yet.
///
/// # Errors
/// It would be refused at once, or go to another group: why.
async fn admission(
    context: &RequestContext<'_>,
    estimate: &mut Estimate,
    decision: &RouteDecision,
) -> Result<Option<Duration>, NotHere> {
    let RouteDecision { order, policy, .. } = decision;
    if decision.none || decision.wait.is_some() {
        return Ok(None);
    }
    let kept = foreseen(context, estimate, order, policy);
    let first = order.first().filter(|_| kept != Ok(Some(Duration::ZERO)) && !estimate.is_counted());
    let Some(first) = first else { return kept };
    // What is bounded by bytes alone may fit once it is counted, as admission does.
    estimate.count(context, &context.group.deployments[*first].config.model).await;
    foreseen(context, estimate, order, policy)
}

/// Asks the version on trial: on the thread of shadows, whose calls keep nobody waiting.
async fn trial(context: &RequestContext<'_>, estimate: &mut Estimate) -> Option<PlannedTrial> {
    let rollout = context.group.rollout.as_ref()?;
    let router = rollout.candidate();
    let question = route::question(context, router, estimate).await;
    let (answer, _said) = route::explained_on(&context.gateway.shadows, router, &question).await;
    let choice = |choice: &Choice| {
        let deployment = context.group.deployments.get(choice.deployment as usize)?;
        Some((deployment.config.id.clone(), choice.propensity))
    };
    let (ranking, instead) = match answer {
        Ok(choices) if choices.is_empty() => (Vec::new(), Some("it finds no deployment fit".to_owned())),
        Ok(choices) => (choices.iter().filter_map(choice).collect(), None),
        Err(RouteError::Wait(wait)) => (Vec::new(), Some(format!("wait {} ms", wait.as_millis()))),
        Err(RouteError::Reject(words)) => (Vec::new(), Some(format!("refuse: {words}"))),
        Err(RouteError::Fault(fault)) => (Vec::new(), Some(format!("a fault: it {fault}"))),
    };
    let (policy, mode) = (Arc::clone(rollout.policy()), rollout.mode().as_str());
    Some(PlannedTrial { policy, mode, ranking, instead })
}

/// What a plan is made from.
struct Planning<'a, 'c> {
    context: &'a RequestContext<'c>,
    estimate: &'a Estimate,
    question: Option<&'a Question<'a>>,
    ranking: &'a [Choice],
    now: Moment,
}

impl Planning<'_, '_> {
    fn candidate(&self, index: usize, ordered: bool) -> PlannedAttempt {
        let Self { context, estimate, ranking, now, .. } = *self;
        let group = context.group;
        let deployment = &group.deployments[index];
        let demand = estimate.demand(deployment);
        let wait = context.gateway.limits.local().wait(now, deployment.scope, demand);
        let rank = ranking.iter().position(|choice| choice.deployment as usize == index);
        // What waits for a limit is not removed: `wait` tells it.
        let removed = match ordered {
            _ if !context.eligible.has(index) => Some(Removal::NotEligible),
            true => not_now(context, estimate, deployment),
            false => Some(Removal::LeftOut),
        };
        let removed = removed.filter(|removal| !matches!(removal, Removal::Full(_)));
        let wanted = group.router.as_ref().map_or(&[] as &[Signal], |router| &router.needs().signals);
        let columns = self.question.map_or(&[] as &[f32], |question| &question.signals).chunks(group.deployments.len());
        let signals = wanted.iter().copied().zip(columns.filter_map(|column| column.get(index).copied())).collect();
        PlannedAttempt {
            deployment: deployment.config.id.clone(),
            rank,
            propensity: rank.map(|rank| ranking[rank].propensity),
            signals,
            demand,
            wait,
            removed,
            spoken_by: deployment.format.policy().map(|policy| policy.component().label()),
        }
    }

    /// Features and attributes by name, as the policy was shown them.
    fn shown(&self) -> (Features, Attributes) {
        let (Some(router), Some(question)) = (&self.context.group.router, self.question) else {
            return (Vec::new(), Vec::new());
        };
        let needs = router.needs();
        let features = needs.features.iter().map(|feature| feature.name()).zip(question.features.iter().copied());
        let attributes = needs.attributes.iter().map(ToString::to_string);
        let attributes = attributes.zip(question.attributes.iter().map(|value| value.clone().into_owned()));
        (features.collect(), attributes.collect())
    }
}
