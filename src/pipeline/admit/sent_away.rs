//! Who cannot start is sent away with a time at which to come back, and a place is kept for it until then.

use std::time::Duration;

use crate::fault::{Refusal, RefusalKind};
use crate::limits::Wait;
use crate::moment::Moment;
use crate::queue::Place;

use super::AdmissionControl;
use super::digest::digest;
use super::refusals::away;

/// How much later than it was told to a client may come back to its place in the queue.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(30);

/// Nobody's place is kept for longer: a budget may begin anew in a month.
const MOST_AWAY: Duration = Duration::from_secs(600);

impl AdmissionControl<'_, '_> {
    /// A place is kept for whoever took none in the queue.
    pub(super) fn keep(&self, refusal: &Refusal, now: Moment) {
        let context = self.context;
        if let Some(away) = refusal.retry_after.filter(|away| *away <= MOST_AWAY) {
            let until = now + away + COMES_BACK_WITHIN;
            context.group.queue.keep(&context.caller.key, digest(&context.request), now, until);
        }
    }

    /// Its place is kept for as long as it was told to stay away, and a little longer.
    pub(super) fn come_back(&self, place: &Place<'_>, refusal: Refusal) -> Refusal {
        let away = refusal.retry_after.unwrap_or_default();
        let now = self.context.gateway.clock.now();
        place.keep(now, now + away + COMES_BACK_WITHIN);
        refusal
    }

    /// Its time to wait is over.
    pub(super) fn waited_in_vain(&self, arrived: Moment, place: Option<&Place<'_>>) -> Refusal {
        let context = self.context;
        let now = context.gateway.clock.now();
        let report = context.group.queue.report(now);
        let (here, before) = (now.since(arrived), self.guard.record.waited);
        let in_all =
            if before.is_zero() { String::new() } else { format!(" ({:.1} s in all)", (here + before).as_secs_f64()) };
        let message = format!(
            "no capacity came free for `{}` within {:.1} s{in_all}, as long as it may wait here; {} requests with {} tokens wait",
            context.group.config.name,
            here.as_secs_f64(),
            report.waiting,
            report.tokens
        );
        let limits = context.gateway.limits.local();
        // Behind those before it, and it need not be back before it may wait for the rest; where that depends on requests under way, when it
        // could start if nobody else did.
        if let Some(starts) = place.and_then(|place| place.will_start(limits, now)) {
            let away = away(starts.since(now), here);
            return Refusal::new(RefusalKind::RateLimited, message).after(away);
        }
        let starts = self.order.iter().filter_map(|index| {
            let deployment = &context.group.deployments[*index];
            match limits.wait(now, deployment.scope, self.estimate.demand(deployment)) {
                Wait::At(until) => Some(until),
                Wait::Now | Wait::Unknown | Wait::Never => None,
            }
        });
        let next = starts.min().or(report.next_start);
        let next = next.map_or(Duration::from_secs(1), |next| next.since(now).max(Duration::from_millis(1)));
        Refusal::new(RefusalKind::RateLimited, message).after(next)
    }
}
