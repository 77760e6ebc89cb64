//! The guard of a request: whatever happens, what it reserved is settled and one record is written.
//!
//! It holds the record, the reservation on the shared scopes, which is settled with what all attempts together used, and the
//! guard of the attempt under way.

mod left;
mod money;

use std::sync::Arc;
use std::time::Duration;

use super::estimate::AttemptEstimate;
use crate::attempt::{AttemptProgress, Billing};
use crate::budgets::{BudgetId, Hold};
use crate::chat::ChatRequest;
use crate::fault::{AttemptFault, FaultKind, Refusal, Tried};
use crate::format::ClientApi;
use crate::health;
use crate::id::RequestId;
use crate::limits::{Demand, Reservation};
use crate::moment::Moment;
use crate::policy::Role;
use crate::record::{self, Explanation, Record, ReplyRead};
use crate::rollout::Trial;
use crate::snapshot::{Caller, GroupRuntime, Snapshot};
use crate::tokens::Count;
use crate::upstream::Sent;

use super::Gateway;
use super::admit::Member;
use super::asked_again;
use super::attempt_guard::AttemptGuard;
use super::background::{Followed, Following};
use super::judging::ToJudge;
use super::memory::HeldMemory;
use super::route::Versions;

pub use record::Ending;

/// One request, from its arrival to its record.
pub struct RequestGuard {
    gateway: Arc<Gateway>,
    snapshot: Arc<Snapshot>,
    api: &'static dyn ClientApi,
    caller: Option<Arc<Caller>>,
    pub(super) record: Record,
    pub(super) seed: u64,
    /// The reservation on the shared scopes and what all attempts together used.
    pub(super) shared: Option<Reservation>,
    used: Demand,
    /// The money held for all of its attempts together.
    money: Option<Hold>,
    /// Set until its money is held, where it is one of several that are one request for their client.
    pub(super) together: Option<Member>,
    /// Budgets that were in force when it began, of all there ever were, and of which it held since, where more were added.
    knew: u64,
    held: Vec<BudgetId>,
    /// Whether any attempt reached a provider.
    sent: bool,
    /// Retries and fallbacks so far.
    tried: Tried,
    /// Attempts before this group's first.
    before_group: usize,
    attempt: Option<Box<AttemptGuard>>,
    memory: HeldMemory,
    /// Set where somebody follows it.
    background: Option<Following>,
    /// The reply under way, where it is drawn to be judged.
    to_judge: Option<Box<ToJudge>>,
    /// What is asked, as a digest, where somebody wants to know when it is asked again.
    question: Option<u64>,
    /// Whether it judges another's reply: its own is not judged.
    is_a_judges: bool,
    /// Which version of the router was asked who serves it, where a new one is tried.
    pub(super) versions: Versions,
    /// The roles of whose versions, where one is tried, one has worked for an attempt of this group.
    roles_tried: Vec<Role>,
    /// How long providers were waited for.
    on_wire: Duration,
    /// Until when its client waits, where that is less than the configuration gives it.
    own_deadline: Option<Moment>,
    written: bool,
}

impl RequestGuard {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        snapshot: Arc<Snapshot>,
        api: &'static dyn ClientApi,
        record: Record,
        (seed, knew): (u64, u64),
    ) -> Self {
        let memory = HeldMemory::new(Arc::clone(&gateway.memory), snapshot.settings.server.max_memory);
        Self {
            gateway,
            snapshot,
            api,
            caller: None,
            record,
            seed,
            shared: None,
            used: Demand::default(),
            money: None,
            together: None,
            knew,
            held: Vec::new(),
            sent: false,
            tried: Tried::default(),
            before_group: 0,
            attempt: None,
            memory,
            background: None,
            to_judge: None,
            question: None,
            is_a_judges: false,
            versions: Versions::default(),
            roles_tried: Vec::new(),
            on_wire: Duration::ZERO,
            own_deadline: None,
            written: false,
        }
    }

    /// The request's id, for headers and error bodies.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.record.id
    }

    /// The API it came through, whose format its answers have.
    #[must_use]
    pub fn api(&self) -> &'static dyn ClientApi {
        self.api
    }

    /// What the request was begun under and keeps to its end.
    #[must_use]
    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Sets the caller, which is known before anything of the request is read.
    pub fn set_caller(&mut self, caller: Option<Arc<Caller>>) {
        self.record.caller = caller.as_ref().map(|caller| caller.key.clone());
        self.record.team = caller.as_ref().and_then(|caller| caller.team.clone());
        self.caller = caller;
    }

    /// Nobody waits for it: it comes last wherever requests wait. Whoever made it can see how far it is.
    pub fn follow(&mut self) -> Arc<Followed> {
        self.followed(true)
    }

    /// Somebody waits for it, and may give it up.
    pub fn watch(&mut self) -> Arc<Followed> {
        self.followed(false)
    }

    fn followed(&mut self, is_last: bool) -> Arc<Followed> {
        let following = self.background.get_or_insert_with(|| Following { followed: Arc::default(), is_last });
        Arc::clone(&following.followed)
    }

    /// It judges another's reply, and its own is never judged.
    pub fn judges(&mut self) {
        self.is_a_judges = true;
    }

    pub(super) const fn is_a_judges(&self) -> bool {
        self.is_a_judges
    }

    /// What is to be judged once it has ended well.
    pub(super) fn set_to_judge(&mut self, reply: Option<Box<ToJudge>>) {
        self.to_judge = reply;
    }

    /// It is to be known when the same is asked again.
    pub(super) const fn set_question(&mut self, question: Option<u64>) {
        self.question = question;
    }

    /// The urgency it has whatever its client says.
    pub(super) fn priority(&self) -> Option<i32> {
        self.background.as_ref().filter(|following| following.is_last).map(|_| Followed::PRIORITY)
    }

    /// A call of it is about to be sent to a provider.
    pub(super) fn sending(&self) {
        self.gateway.recorder.sending(self.id());
        if let Some(Following { followed, .. }) = &self.background {
            followed.sending(self.record.streamed);
        }
    }

    /// That call has no reply.
    pub(super) fn unanswered(&self) {
        self.gateway.recorder.unanswered(self.id());
        if let Some(Following { followed, .. }) = &self.background {
            followed.unanswered();
        }
    }

    /// Who asks; `None` before it is known.
    #[must_use]
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    /// Takes so many bytes more of what all requests may hold; they are given back when the request ends.
    ///
    /// # Errors
    /// `Unavailable` where there are no more.
    pub fn hold_memory(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.memory.take(bytes)
    }

    /// What is to be told of it beside its record; `None` where nobody will ask.
    pub(super) fn explanation(&mut self) -> Option<&mut Explanation> {
        self.record.explanation.as_deref_mut()
    }

    /// The same of the reply to the attempt under way, or to the last.
    pub(super) fn reply_told(&mut self, policy: impl FnOnce() -> String) -> Option<&mut ReplyRead> {
        let attempt = self.attempts();
        Some(self.explanation()?.reply(attempt, policy))
    }

    fn keep_complaint(&mut self, words: &str) {
        let attempt = self.attempts();
        let Some(told) = self.explanation().filter(|told| told.words) else { return };
        if let Some(complaint) = &mut told.reply(attempt, String::new).complaint {
            complaint.words = Some(words.to_owned());
        }
    }

    /// The bound of output that the attempt under way is sent with where its format must have one and the client gave none.
    pub(super) fn default_bound(&self) -> u32 {
        self.attempt.as_ref().map_or(1, |attempt| attempt.default_bound())
    }

    /// Whoever sends the attempt's request of so many bytes tells this when its last byte is on its way: its provider must have
    /// read it a slack later, from when on it counts.
    pub(super) fn sent(&self, bytes: usize) -> Sent {
        let Some(attempt) = &self.attempt else { return Sent::default() };
        let (own, slack) = (attempt.reservation(), attempt.slack(bytes));
        let shared = self.shared.as_ref().map(Reservation::handle);
        let gateway = Arc::clone(&self.gateway);
        Sent::new(move || {
            let now = gateway.clock.now();
            match shared {
                Some(shared) => gateway.limits.sent_together(now, &[own, shared], now + slack),
                None => gateway.limits.sent(now, own, now + slack),
            }
            // Those who wait for it to end know now when it will.
            gateway.capacity.notify();
        })
    }

    /// The attempt's provider told its limits in the head of its answer.
    pub(super) fn told(&self, headers: &http::HeaderMap) {
        if let Some(attempt) = &self.attempt {
            attempt.told(&self.gateway, headers);
        }
    }

    pub(super) fn attempts(&self) -> usize {
        self.record.attempts.len() + usize::from(self.attempt.is_some())
    }

    /// A reservation was granted: an attempt begins, of this request.
    pub(super) fn begin_attempt(
        &mut self,
        group: &GroupRuntime,
        index: usize,
        health: health::Attempt,
        (reservation, money): (Reservation, Hold),
        (estimate, request): (AttemptEstimate, &Arc<ChatRequest>),
    ) {
        self.tried.retries += u32::from(self.record.attempts.len() > self.before_group);
        let tells_cost = group.deployments[index].config.counting.tells_cost;
        let progress = AttemptProgress::begin(self.gateway.clock.now(), self.record.streamed, estimate.assumed_input)
            .asking(estimate.tier, estimate.surcharges)
            .believing(tells_cost);
        self.attempt = Some(Box::new(AttemptGuard::begin(
            group,
            self.versions.by_candidate,
            index,
            health,
            (reservation, money.of(self.record.id)),
            (progress, estimate),
            request,
        )));
    }

    /// One of the versions of a builder or parser works for the attempt under way while a new one is tried.
    pub(super) fn worked_for(&mut self, trial: Arc<dyn Trial>, by_candidate: bool) {
        let Some(attempt) = &mut self.attempt else { return };
        // A parser works for the first attempt that brings a reply.
        let role = trial.role();
        let first = !self.roles_tried.contains(&role);
        self.roles_tried.extend(first.then_some(role));
        attempt.tried(trial, by_candidate, first);
    }

    /// Retries and fallbacks so far.
    pub(super) const fn tried(&self) -> Tried {
        self.tried
    }

    /// Whether the request was tried again as often as the configuration allows in all, in whatever group.
    pub(super) fn is_spent(&self, snapshot: &Snapshot) -> bool {
        let so_far = self.tried.retries.saturating_add(self.tried.fallbacks);
        snapshot.settings.retries_per_request.is_some_and(|most| so_far >= most)
    }

    /// Another group takes over: what this one used is settled, and the next reserves for itself.
    pub(super) fn change_group(&mut self) {
        self.settle_shared(self.gateway.clock.now());
        self.sent = false;
        self.tried.fallbacks += 1;
        self.before_group = self.record.attempts.len();
        self.roles_tried.clear();
        self.record.fallbacks = self.tried.fallbacks;
    }

    /// Settles or gives back what is reserved of the shared scopes.
    fn settle_shared(&mut self, now: Moment) {
        let used = std::mem::take(&mut self.used);
        let had_money = self.settle_money(used.cost);
        match self.shared.take() {
            Some(shared) if self.sent => self.gateway.limits.settle(now, shared, used),
            Some(shared) => self.gateway.limits.refund(now, shared),
            None if had_money => {}
            None => return,
        }
        self.gateway.capacity.notify();
    }

    /// The attempt under way, to be told what happens to it.
    pub(super) fn progress(&mut self) -> Option<&mut AttemptProgress> {
        self.attempt.as_mut().map(|attempt| &mut attempt.progress)
    }

    /// A provider was waited for.
    pub(super) fn was_on_wire(&mut self, since: Moment, until: Moment) {
        self.on_wire += until.since(since);
    }

    /// How long the request took so far, and how much of it neither providers nor limits did.
    pub(super) fn times(&self) -> (Duration, Duration) {
        let took = self.gateway.clock.now().since(self.record.arrived);
        (took, took.saturating_sub(self.record.waited).saturating_sub(self.on_wire))
    }

    /// The provider's response head has come.
    pub(super) fn response_head(&mut self, success: bool) {
        let now = self.gateway.clock.now();
        let own = self.attempt.as_ref().map(|attempt| attempt.held());
        // A refusal's head says nothing about the request as a whole: another attempt may follow.
        match (own, self.shared.as_ref().filter(|_| success)) {
            (Some(own), Some(shared)) => self.gateway.limits.response_heads(now, &[own, shared]),
            (one, other) => one.or(other).into_iter().for_each(|held| self.gateway.limits.response_head(now, held)),
        }
        // What was waiting for an answer now has a moment to wait for.
        self.gateway.capacity.notify();
    }

    /// The first piece of the reply itself has come.
    pub(super) fn first_content(&mut self) {
        let now = self.gateway.clock.now();
        if let Some(attempt) = &mut self.attempt {
            attempt.first_content(now);
        }
        self.record.ttft.get_or_insert(now.since(self.record.arrived));
        // A probe that begins to answer closes its breaker.
        self.gateway.capacity.notify();
    }

    /// Counts the request if the attempt under way, ending so, is billed by what is known of it here and that is a bound: whoever can wait
    /// for it asks before it ends. What was counted for its bill, now or before.
    pub(super) async fn count_to_bill(&mut self, fault: Option<&AttemptFault>) -> Option<Count> {
        self.attempt.as_mut()?.count(&self.gateway, fault).await
    }

    /// The attempt ended with a fault; the request may go on.
    pub(super) fn fail_attempt(&mut self, fault: &AttemptFault) {
        self.end_attempt(Some(fault));
    }

    /// The reply came and the parser does not take it, in these words without secrets: what follows is a request of its own to all
    /// limits.
    pub(super) fn complained(&mut self, words: &str) {
        self.keep_complaint(words);
        self.end_attempt(Some(&AttemptFault::new(FaultKind::Unparsed, "the response parser complained")));
        if let Some(shared) = self.shared.take() {
            let used = std::mem::take(&mut self.used);
            self.settle_money(used.cost);
            self.gateway.limits.settle(self.gateway.clock.now(), shared, used);
            self.gateway.capacity.notify();
        }
        // Of what is asked next nothing was sent yet, and its first content is the one the client gets.
        self.sent = false;
        self.record.ttft = None;
    }

    fn end_attempt(&mut self, fault: Option<&AttemptFault>) {
        let left = self.left_in_time(fault);
        let fault = left.as_ref().or(fault);
        if let Some(attempt) = &mut self.attempt {
            attempt.count_here(fault);
        }
        let Some(attempt) = self.attempt.take() else { return };
        self.note(attempt.money().budgets());
        let number = self.record.attempts.len().saturating_sub(self.before_group);
        let (outcome, record, reached) = attempt.end(&self.gateway, (self.record.arrived, self.seed), number, fault);
        for reached in &reached {
            self.gateway.alarm.reached(&self.snapshot, reached);
        }
        self.sent |= outcome.billing.is_sent();
        let demand = outcome.demand();
        self.used.input_tokens = self.used.input_tokens.saturating_add(demand.input_tokens);
        self.used.output_tokens = self.used.output_tokens.saturating_add(demand.output_tokens);
        self.used.cost += record.charged;
        self.record.charged += record.charged;
        if let Some(cost) = outcome.cost {
            self.record.cost = Some(self.record.cost.unwrap_or_default() + cost);
        }
        self.record.usage.add(&outcome.usage);
        self.record.usage_estimated |= outcome.billing == Billing::Estimated;
        if self.record.attempts.is_empty() {
            // Nearly every request has one, and a ledger holds them until they are written.
            self.record.attempts.reserve_exact(1);
        }
        self.record.attempts.push(record);
        self.gateway.capacity.notify();
    }

    /// The client is refused; nothing of a reply was sent.
    #[cold]
    #[must_use]
    pub fn refuse(mut self: Box<Self>, mut refusal: Refusal) -> Refusal {
        refusal.tried = (!self.record.attempts.is_empty()).then_some(self.tried);
        self.end(Ending::Refused(refusal.kind), refusal.status);
        refusal
    }

    /// The client got a whole reply.
    pub fn complete(mut self: Box<Self>) {
        self.end_attempt(None);
        self.end(Ending::Whole, 200);
        if let Some(reply) = self.to_judge.take() {
            reply.hand_over(&self.gateway);
        }
    }

    /// The reply broke off after it had begun.
    pub(super) fn broke(mut self: Box<Self>, fault: &AttemptFault) {
        if fault.kind == FaultKind::Unparsed {
            self.keep_complaint(&fault.message);
        }
        self.end_attempt(Some(fault));
        // While it is stopping the gateway ends what it waits for no longer.
        let stopped = fault.kind == FaultKind::Gateway && self.gateway.cutoff.is_cancelled();
        let (ending, status) = if stopped { (Ending::Stopped, 503) } else { (Ending::Broken(fault.kind), 200) };
        self.end(ending, status);
    }

    fn end(&mut self, ending: Ending, status: u16) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let now = self.gateway.clock.now();
        self.settle_shared(now);
        self.settle_added(now);
        self.record.ending = ending;
        self.record.status = status;
        self.record.latency = now.since(self.record.arrived);
        self.gateway.recorder.ended(&self.record);
        if let Some(question) = self.question {
            asked_again::answered(&self.gateway, question, &self.record);
        }
        if let Some(ledger) = &self.gateway.ledger {
            // Nobody looks at it any more.
            let Record { id, arrived, api, .. } = self.record;
            ledger.keep(std::mem::replace(&mut self.record, Record::new(id, arrived, api)));
        }
    }
}
