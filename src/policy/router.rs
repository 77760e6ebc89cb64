//! Routers: what is asked of a component in this role, and what of its answers counts.

use std::time::Duration;

use super::host::{PolicyRuntime, Succession, cut};

mod bindings;
mod calls;
mod needs;
mod trial;
mod types;
mod validate;

pub use types::{Choice, DeploymentInfo, Needs, Outcome, RouteError, RouteRequest, Setup, Traits};

pub use calls::Routing;

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
        out.clear();
        let deployments = self.setup().deployments.len();
        debug_assert_eq!(signals.len(), self.needs().signals.len() * deployments, "a whole matrix");
        let answer =
            self.ask(request.now, |instance, budget| instance.route(budget, request, signals, features, attributes));
        let ranking = match answer? {
            Ok(ranking) => ranking,
            Err(wit::Refusal::Wait(millis)) => return Err(RouteError::Wait(Duration::from_millis(millis.into()))),
            Err(wit::Refusal::Reject(mut words)) => {
                cut(&mut words, REJECT_BYTES);
                return Err(RouteError::Reject(words));
            }
        };
        validate(&ranking, deployments, out).map_err(|fault| self.failed(fault).into())
    }
}
