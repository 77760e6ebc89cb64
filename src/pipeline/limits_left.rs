//! What is left of a deployment's own limits, for the client that was served by it.

use std::time::Duration;

use crate::limits::{Dimension, LimitSpec, WindowModel};
use crate::moment::Moment;
use crate::snapshot::DeploymentRuntime;

use super::{LimitLeft, RequestContext};

/// Where the deployment's limits stand, for the client to see.
pub(super) fn limits_left(context: &RequestContext<'_>, runtime: &DeploymentRuntime) -> Vec<LimitLeft> {
    let limits = &runtime.config.limits.limits;
    let known = [("requests", Dimension::Requests), ("tokens", Dimension::Tokens)];
    let mut known =
        known.into_iter().filter_map(|(what, dimension)| Some((what, dimension, limits[dimension]?))).peekable();
    if known.peek().is_none() {
        return Vec::new();
    }
    let gateway = context.gateway;
    let now = gateway.clock.now();
    let used = gateway.limits.local().used(now, runtime.scope);
    known
        .map(|(what, dimension, limit)| {
            let left = used.free[dimension].unwrap_or(limit);
            LimitLeft { what, limit, left, reset: reset(&runtime.config.limits, now, limit, left) }
        })
        .collect()
}

/// When all of a limit is there again, if nothing else is asked: this request itself was counted just now.
fn reset(spec: &LimitSpec, now: Moment, limit: u64, left: u64) -> Duration {
    match spec.model {
        WindowModel::Sliding => spec.window,
        WindowModel::Fixed => {
            let millis = u64::try_from(spec.window.as_millis()).unwrap_or(u64::MAX).max(1);
            Duration::from_millis(millis - now.as_millis() % millis)
        }
        WindowModel::TokenBucket => {
            let used = limit.saturating_sub(left);
            let nanos = spec.window.as_nanos().saturating_mul(used.into()) / u128::from(limit.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        }
    }
}
