//! What serving a request would come to now, by the same estimate and the same routing as serving it. Nothing is reserved,
//! waited for or recorded, and the policy is told no outcome.

use std::sync::Arc;
use std::time::Duration;

use crate::chat::ChatRequest;
use crate::fault::Refusal;
use crate::format::ClientApi;
use crate::id::{DeploymentId, GroupName};
use crate::limits::{Demand, Wait};
use crate::moment::Moment;
use crate::snapshot::Caller;

use super::context::{Arrival, RequestContext};
use super::estimate::Estimate;
use super::{Gateway, route};

/// Where a request would go.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// The group that `model` names, aliases resolved.
    pub group: GroupName,
    /// Who decided, `NAME@DIGEST` or `built-in`.
    pub policy: Arc<str>,
    /// Input tokens: counted where the decision depended on it, else an upper bound.
    pub input_tokens: u64,
    /// Whether they were counted in the model's own way.
    pub exact: bool,
    /// How long the policy wants the request to wait before it is asked again.
    pub wait: Option<Duration>,
    /// Where it would go, best first; empty while the policy wants it to wait.
    pub candidates: Vec<PlannedAttempt>,
}

/// An attempt that a plan foresees.
#[derive(Clone, Debug)]
pub struct PlannedAttempt {
    /// Where.
    pub deployment: DeploymentId,
    /// What would be reserved there: tokens, and billionths of a dollar.
    pub demand: Demand,
    /// How long the deployment's own limits would have it wait.
    pub wait: Wait,
}

impl Gateway {
    /// Plans one request of `caller`, as [`Gateway::serve`] would serve it now.
    ///
    /// # Errors
    /// The refusal that the client would read: an unknown model, a field that steers, a policy that refuses.
    pub async fn plan(
        &self,
        caller: Arc<Caller>,
        api: &'static dyn ClientApi,
        request: ChatRequest,
    ) -> Result<RequestPlan, Refusal> {
        let snapshot = self.live.read();
        let now = self.clock.now();
        let deadline = now + snapshot.settings.server.request_timeout;
        let arrival = Arrival { caller, api: api.name(), seed: self.seeds.draw(), large: false, deadline };
        let context = RequestContext::new(self, &snapshot, arrival, request)?;
        let mut estimate = Estimate::of(&context.request);
        let decision = route::decide(&context, &mut estimate).await?;
        let (policy, wait) = (Arc::clone(&decision.policy), decision.wait);
        let order = if wait.is_some() { Vec::new() } else { decision.order };
        let candidates = order.into_iter().map(|index| planned(&context, &estimate, now, index)).collect();
        let group = context.group.config.name.clone();
        Ok(RequestPlan { group, policy, input_tokens: estimate.input(), exact: estimate.is_exact(), wait, candidates })
    }
}

fn planned(context: &RequestContext<'_>, estimate: &Estimate, now: Moment, index: usize) -> PlannedAttempt {
    let deployment = &context.group.deployments[index];
    let demand = estimate.demand(&deployment.config);
    let wait = context.gateway.limits.local().wait(now, deployment.scope, demand);
    PlannedAttempt { deployment: deployment.config.id.clone(), demand, wait }
}
