//! The guard of a request: whatever happens, what it reserved is settled and one record is written.
//!
//! Settled is what the provider reported, else the input estimate and the output seen. Given back is only
//! what was never sent, and the tokens of what the provider refused with a 4xx.

use std::sync::Arc;
use std::time::Duration;

use crate::chat::Usage;
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::health::{self, Ended};
use crate::id::{KeyId, RequestId};
use crate::limits::{Demand, Hold};
use crate::moment::Moment;
use crate::policy::{Outcome, Router};
use crate::record::{self, AttemptRecord, Record};
use crate::snapshot::{DeploymentRuntime, GroupRuntime, Snapshot};

use super::Gateway;

pub use record::Ending;

/// One request, from its arrival to its record.
pub struct RequestGuard {
    gateway: Arc<Gateway>,
    snapshot: Arc<Snapshot>,
    pub(super) record: Record,
    pub(super) seed: u64,
    /// The hold on the shared scopes and what all attempts together used.
    pub(super) shared: Option<Hold>,
    used: Demand,
    /// Whether any attempt reached a provider.
    sent: bool,
    attempt: Option<Attempt>,
    written: bool,
}

/// The attempt under way.
struct Attempt {
    deployment: Arc<DeploymentRuntime>,
    router: Option<Arc<Router>>,
    index: usize,
    hold: Option<Hold>,
    health: health::Attempt,
    begun: Moment,
    first_content: Option<Moment>,
    sent: bool,
    estimated: Demand,
    usage: Option<Usage>,
    seen: OutputSeen,
}

/// Output that has come by, for replies whose usage is never reported.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutputSeen {
    /// Bytes of text, reasoning and arguments.
    pub(super) bytes: u64,
    /// Pieces; providers send about a token in each.
    pub(super) pieces: u64,
}

impl OutputSeen {
    fn tokens(self) -> u64 {
        self.pieces.max(self.bytes.div_ceil(4))
    }
}

impl RequestGuard {
    pub(super) fn new(gateway: Arc<Gateway>, snapshot: Arc<Snapshot>, record: Record, seed: u64) -> Self {
        Self {
            gateway,
            snapshot,
            record,
            seed,
            shared: None,
            used: Demand::default(),
            sent: false,
            attempt: None,
            written: false,
        }
    }

    /// The request's id, for headers and error bodies.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.record.id
    }

    /// What the request was begun under and keeps to its end.
    #[must_use]
    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Who asks: to be known before anything of the request is read.
    pub fn set_caller(&mut self, caller: Option<KeyId>) {
        self.record.caller = caller;
    }

    /// Output tokens held for the attempt under way.
    pub(super) fn held_output(&self) -> u64 {
        self.attempt.as_ref().map_or(0, |attempt| attempt.estimated.output_tokens)
    }

    pub(super) fn attempts(&self) -> usize {
        self.record.attempts.len() + usize::from(self.attempt.is_some())
    }

    /// A reservation was granted: the attempt begins.
    pub(super) fn begin_attempt(
        &mut self,
        group: &GroupRuntime,
        index: usize,
        health: health::Attempt,
        hold: Hold,
        estimated: Demand,
    ) {
        let begun = self.gateway.clock.now();
        self.attempt = Some(Attempt {
            deployment: Arc::clone(&group.deployments[index]),
            health,
            router: group.router.clone(),
            index,
            hold: Some(hold),
            begun,
            first_content: None,
            sent: false,
            estimated,
            usage: None,
            seen: OutputSeen::default(),
        });
    }

    /// The call is about to leave: from here on nothing is given back for free.
    pub(super) fn sent(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.sent = true;
        }
    }

    /// The provider's response head has come: it has counted the request by now.
    pub(super) fn answered(&mut self, success: bool) {
        let now = self.gateway.clock.now();
        let limits = &self.gateway.limits;
        if let Some(hold) = self.attempt.as_ref().and_then(|attempt| attempt.hold.as_ref()) {
            limits.answered(now, hold);
        }
        // A refusal's head says nothing about the request as a whole: another attempt may follow.
        if success && let Some(shared) = &self.shared {
            limits.answered(now, shared);
        }
        // What was waiting for an answer now has a moment to wait for.
        self.gateway.capacity.notify();
    }

    /// The first piece of the reply itself has come.
    pub(super) fn first_content(&mut self) {
        let now = self.gateway.clock.now();
        if let Some(attempt) = &mut self.attempt {
            attempt.first_content.get_or_insert(now);
            attempt.health.answering();
        }
        self.record.ttft.get_or_insert(now.since(self.record.arrived));
        // A probe that begins to answer closes its breaker.
        self.gateway.capacity.notify();
    }

    pub(super) fn saw(&mut self, bytes: usize) {
        if let Some(attempt) = &mut self.attempt {
            attempt.seen.bytes += bytes as u64;
            attempt.seen.pieces += 1;
        }
    }

    pub(super) fn usage(&mut self, usage: &Usage) {
        if let Some(attempt) = &mut self.attempt {
            attempt.usage = Some(usage.clone());
        }
    }

    /// The attempt ended with a fault; the request may go on.
    pub(super) fn fail_attempt(&mut self, fault: &AttemptFault) {
        self.end_attempt(Some(fault));
    }

    fn end_attempt(&mut self, fault: Option<&AttemptFault>) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let now = self.gateway.clock.now();
        let refused = fault.is_some_and(|fault| fault.status.is_some_and(|status| (400..500).contains(&status)));
        let sent = attempt.sent && fault.is_none_or(AttemptFault::was_sent);
        self.sent |= sent;
        let given_back = refused || !sent;
        let (usage, estimated) = attempt.final_usage(given_back, fault.is_none());
        let demand = Demand { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens };
        if let Some(hold) = attempt.hold.take() {
            // A refused request gives its tokens back; it was a request all the same.
            if sent {
                self.gateway.limits.settle(now, hold, demand);
            } else {
                self.gateway.limits.refund(now, hold);
            }
        }
        self.used.input_tokens += demand.input_tokens;
        self.used.output_tokens += demand.output_tokens;
        let latency = now.since(attempt.begun);
        let ttft = attempt.first_content.map(|at| at.since(attempt.begun));
        attempt.health.end(
            now,
            &Ended {
                fault: fault.map(|fault| fault.kind),
                retry_after: fault.and_then(|fault| fault.retry_after),
                latency,
                ttft: ttft.filter(|_| self.record.streamed),
                output_tokens: usage.output_tokens,
            },
        );
        let deployment = &attempt.deployment.config;
        let cost = if given_back { None } else { deployment.prices.map(|prices| prices.cost(&usage)) };
        if let Some(cost) = cost {
            self.record.cost = Some(self.record.cost.unwrap_or_default() + cost);
        }
        if let Some(router) = &attempt.router {
            router.observe(&Outcome {
                seed: self.seed,
                attempt: u32::try_from(self.record.attempts.len()).unwrap_or(u32::MAX),
                deployment: u32::try_from(attempt.index).unwrap_or(u32::MAX),
                fault: fault.map(|fault| fault.kind),
                input_tokens: narrow(usage.input_tokens),
                output_tokens: narrow(usage.output_tokens),
                cost_usd: if given_back { 0.0 } else { cost.map_or(f64::NAN, crate::money::NanoUsd::as_usd) },
                latency_ms: millis(latency),
                ttft_ms: ttft.map(millis),
                quality: None,
            });
        }
        self.record.attempts.push(AttemptRecord {
            deployment: deployment.id.clone(),
            provider: deployment.provider.clone(),
            fault: fault.map(|fault| fault.kind),
            latency,
            usage: usage.clone(),
        });
        self.record.usage.add(&usage);
        self.record.usage_estimated |= estimated && !given_back;
        self.gateway.capacity.notify();
    }

    /// The client is refused; nothing of a reply was sent.
    #[must_use]
    pub fn refuse(mut self, refusal: Refusal) -> Refusal {
        self.end(Ending::Refused(refusal.kind), refusal.status);
        refusal
    }

    /// The client got a whole reply.
    pub fn complete(mut self) {
        self.end_attempt(None);
        self.end(Ending::Whole, 200);
    }

    /// The reply broke off after it had begun.
    pub(super) fn broke(mut self, fault: &AttemptFault) {
        self.end_attempt(Some(fault));
        self.end(Ending::Broken(fault.kind), 200);
    }

    fn end(&mut self, ending: Ending, status: u16) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let now = self.gateway.clock.now();
        if let Some(shared) = self.shared.take() {
            if self.sent {
                self.gateway.limits.settle(now, shared, self.used);
            } else {
                self.gateway.limits.refund(now, shared);
            }
            self.gateway.capacity.notify();
        }
        self.record.ending = ending;
        self.record.status = status;
        self.record.latency = now.since(self.record.arrived);
        self.gateway.recorder.ended(&self.record);
    }
}

impl Attempt {
    /// What the attempt used, and whether that is our estimate.
    fn final_usage(&mut self, given_back: bool, whole: bool) -> (Usage, bool) {
        if given_back {
            return (Usage::default(), true);
        }
        if let Some(mut usage) = self.usage.take() {
            // Usage told on the way is what was used so far; the output that came since counts too.
            let seen = if whole { 0 } else { self.seen.tokens() };
            let estimated = !whole;
            usage.output_tokens = usage.output_tokens.max(seen);
            return (usage, estimated);
        }
        let estimate =
            Usage { input_tokens: self.estimated.input_tokens, output_tokens: self.seen.tokens(), ..Usage::default() };
        (estimate, true)
    }
}

impl Drop for RequestGuard {
    /// The client went away, or the gateway gave up on it: the one ending nobody calls.
    fn drop(&mut self) {
        if !self.written {
            self.end_attempt(Some(&AttemptFault::new(FaultKind::Cancelled, "the client went away")));
            self.end(Ending::Cancelled, 499);
        }
    }
}

fn narrow(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

fn millis(length: Duration) -> f32 {
    length.as_secs_f32() * 1e3
}
