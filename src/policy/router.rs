//! Routers: what is asked of a component in this role, and what of its answers counts.

use std::time::Duration;

use super::host::{CallContext, LogLine, PolicyRuntime, Succession, cut};
use crate::id::RequestId;

mod bindings;
mod calls;
mod needs;
mod recorder;
mod rerun;
mod trial;
mod types;
mod validate;

pub use types::{Choice, DeploymentInfo, Needs, Outcome, RouteError, RouteRequest, Setup, Traits};

pub use calls::Routing;
pub(super) use calls::most_instances;
pub use recorder::{Decision, DecisionLog, RecordedCall, RouterFacts, RunId, RunStart, Stretch};
pub use rerun::Rerun;

use bindings::exports::witgate::policy::routing as wit;
use validate::validate;

/// Bytes of a rejection's words that are kept.
const REJECT_BYTES: usize = 1024;

/// A router in service.
pub type Router = PolicyRuntime<Routing>;

/// A router about to take over from another.
pub type RouterSuccession = Succession<Routing>;

impl PolicyRuntime<Routing> {
    /// Asks for a ranking, best first, into `out` (emptied first). `signals` holds the columns of
    /// [`Needs::signals`] one after another, `features` and `attributes` one value for each asked for.
    ///
    /// # Errors
    /// The policy failed (use the built-in order), wants the request to wait, or refuses it.
    pub fn route(
        &self,
        request: &RouteRequest,
        signals: &[f32],
        features: &[f32],
        attributes: &[&str],
        out: &mut Vec<Choice>,
    ) -> Result<(), RouteError> {
        self.beside(request.id, request, signals, features, attributes, out)
    }

    /// The same beside a request that another one decides: `request` is then none's, so that what is kept of the decision is not
    /// taken for the request's own, and what is logged of the call, a fault above all, is told with the id `of`.
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn beside(
        &self,
        of: Option<RequestId>,
        request: &RouteRequest,
        signals: &[f32],
        features: &[f32],
        attributes: &[&str],
        out: &mut Vec<Choice>,
    ) -> Result<(), RouteError> {
        out.clear();
        let deployments = self.setup().deployments.len();
        debug_assert_eq!(signals.len(), self.needs().signals.len() * deployments, "a whole matrix");
        let question = recorder::Question { request, signals, features, attributes };
        let mut called = false;
        let answer = self.ask(CallContext::new(request.now, of), |instance, budget| {
            called = true;
            let answer = instance.route(budget, request, signals, features, attributes);
            let answer = answer.map(|answer| judge(answer, deployments, out));
            let told = answer.as_ref().map_or_else(|fault| Err(fault.clone().into()), Clone::clone);
            self.recorder().routed(&question, &told, out);
            answer
        });
        match answer {
            Ok((Err(RouteError::Fault(fault)), _)) => Err(self.failed_for(fault, of).into()),
            Ok((judged, probe)) => {
                // Not one that no one may act on, though it came.
                if let Some(probe) = probe {
                    self.passed(probe);
                }
                if matches!(judged, Err(RouteError::Reject(_))) {
                    self.refused();
                }
                judged
            }
            Err(fault) => {
                if !called {
                    self.recorder().routed(&question, &Err(fault.clone().into()), &[]);
                }
                Err(fault.into())
            }
        }
    }

    /// As [`Self::route`] for somebody who only asks, and wants to know why: `said` is what the policy logged meanwhile. An instance of
    /// its own answers from what the policy saved last, a few seconds ago at most; nothing is counted or kept of it, and no fault leads to
    /// quarantine.
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn explain(
        &self,
        request: &RouteRequest,
        signals: &[f32],
        features: &[f32],
        attributes: &[&str],
        out: &mut Vec<Choice>,
        said: &mut Vec<LogLine>,
    ) -> Result<(), RouteError> {
        out.clear();
        let deployments = self.setup().deployments.len();
        debug_assert_eq!(signals.len(), self.needs().signals.len() * deployments, "a whole matrix");
        self.save_aside(request.now);
        let answer = self.ask_aside(|instance, budget| {
            instance.listen();
            let answer = instance.route(budget, request, signals, features, attributes);
            *said = instance.heard();
            answer
        })?;
        judge(answer, deployments, out)
    }
}

/// What an answer comes to: a ranking that may be acted on, in `out`, or why there is none.
fn judge(
    answer: Result<wit::Ranking, wit::Refusal>,
    deployments: usize,
    out: &mut Vec<Choice>,
) -> Result<(), RouteError> {
    match answer {
        Ok(ranking) => validate(&ranking, deployments, out).map_err(RouteError::Fault),
        Err(wit::Refusal::Wait(millis)) => Err(RouteError::Wait(Duration::from_millis(millis.into()))),
        Err(wit::Refusal::Reject(mut words)) => {
            cut(&mut words, REJECT_BYTES);
            Err(RouteError::Reject(words))
        }
    }
}
