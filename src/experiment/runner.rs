//! Carries calls out: as many of each model in flight as may be, each a request to the pipeline, until all have ended or it is told to stop.
//!
//! What has begun and is not sent when it is told to stop is dropped: nothing was paid for it. What was sent is waited for. A batch whose
//! reply lacks elements, or that the builder made smaller, has the rest asked one by one. What fails in a way that may pass is asked
//! again after a pause; what does not, rests with its reason.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use tokio_util::sync::CancellationToken;

use super::answer::{Took, is_out_of_money, may_be_one, results};
use super::budget::RunBudget;
use super::keeping::{Ended, Journal, Keeping};
use super::planned::Expectations;
use super::workers::Taking;
use super::{Call, End, Experiment, Failure, Heard, Progress};
use crate::fault::{Cause, Refusal, RefusalKind};
use crate::format::{self, ClientRequest};
use crate::id::GroupName;
use crate::money::NanoUsd;
use crate::pipeline::{Gateway, ReplyMeta, RequestGuard, Served};
use crate::store::SharedItems;

/// The first pause before a request is made again whose refusal says nothing; each later one is twice as long.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// How often a request is made again that was told when to come, beside its retries.
const WAITS: u32 = 100;

/// How often, once it is to stop, a request is looked at that was under way: one that was refused meanwhile waits for nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every item has ended.
    Done,
    /// It was told to stop.
    Stopped,
    /// The next request could have passed the budget.
    OutOfBudget,
    /// The time it may take is over.
    OutOfTime,
}

/// Carries out the calls of an experiment.
pub struct Runner<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// The gateway, which tells what happens to `heard`.
    pub gateway: &'a Arc<Gateway>,
    /// What the gateway tells.
    pub heard: &'a Arc<Heard>,
    /// Where ends are kept.
    pub journal: Arc<dyn Journal>,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// Cancelled where it is to stop.
    pub stop: CancellationToken,
    /// What was spent before.
    pub spent: NanoUsd,
    /// How long it may still take.
    pub time: Option<Duration>,
    /// What is expected of replies, where they are only planned.
    pub planned: Option<&'a Expectations>,
    /// Where more is taken from, where several workers carry the run out.
    pub shared: Option<&'a SharedItems>,
}

fn lock<'l, 'e>(budget: &'l Mutex<RunBudget<'e>>) -> MutexGuard<'l, RunBudget<'e>> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until then, or for ever.
async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What is still to be called, by group.
type Waiting = BTreeMap<GroupName, VecDeque<Call>>;

impl Runner<'_> {
    /// Carries `calls` out.
    ///
    /// # Errors
    /// The journal cannot keep what happens.
    pub async fn run(&self, calls: BTreeMap<GroupName, Vec<Call>>) -> Result<Finish, String> {
        let mut waiting: Waiting = calls.into_iter().map(|(model, calls)| (model, calls.into())).collect();
        let budget = Mutex::new(RunBudget::new(self.experiment, self.spent));
        let mut in_flight: BTreeMap<GroupName, usize> = BTreeMap::new();
        let mut running = FuturesUnordered::new();
        let (mut finish, mut refused) = (Finish::Done, None);
        let mut deadline = pin!(at(self.time.map(|time| tokio::time::Instant::now() + time)));
        let lease = self.shared.map(SharedItems::lease);
        let mut keeping = Keeping::new(&*self.journal, &self.progress, lease);
        let mut taking = self.shared.map(|items| Taking::new(items, self.experiment, Arc::clone(&self.progress)));
        loop {
            // While ends cannot be kept, nothing more is begun.
            if finish == Finish::Done && !keeping.is_behind() {
                if let Some(taking) = &mut taking {
                    taking.fill(&mut waiting, &in_flight);
                }
                let short = self.feed(&mut waiting, &mut in_flight, &budget, |call, held| {
                    running.push(self.call(call, held, &budget));
                });
                if short && running.is_empty() {
                    finish = Finish::OutOfBudget;
                }
            }
            if running.is_empty() && (finish != Finish::Done || taking.as_ref().is_none_or(Taking::is_over)) {
                if !keeping.is_behind() {
                    return refused.map_or(Ok(finish), Err);
                }
                keeping.may_go_on()?;
            }
            let (next, again) = (taking.as_ref().map(Taking::next), keeping.next());
            let ended = tokio::select! {
                biased;
                () = at(again) => {
                    keeping.try_again()?;
                    if let Err(why) = keeping.may_go_on() {
                        self.give_up(why, &mut finish, &mut refused);
                    }
                    continue;
                }
                () = at(next) => {
                    if let Some(Err(why)) = taking.as_mut().map(Taking::say) {
                        self.give_up(why, &mut finish, &mut refused);
                    }
                    continue;
                }
                () = self.stop.cancelled(), if finish == Finish::Done => {
                    finish = Finish::Stopped;
                    continue;
                }
                () = &mut deadline, if finish == Finish::Done => {
                    finish = Finish::OutOfTime;
                    self.stop.cancel();
                    continue;
                }
                ended = running.next(), if !running.is_empty() => ended,
            };
            let Some(mut ended) = ended else { continue };
            if let Some(begun) = in_flight.get_mut(&ended.model) {
                *begun -= 1;
            }
            lock(&budget).settle(ended.held, ended.unsettled());
            if ended.out_of_money {
                finish = Finish::OutOfBudget;
                self.stop.cancel();
            }
            if let Some(why) = ended.refused.take() {
                self.give_up(why, &mut finish, &mut refused);
            }
            let queue = waiting.entry(ended.model.clone()).or_default();
            let again = std::mem::take(&mut ended.again);
            again.into_iter().rev().for_each(|item| queue.push_front(Call { items: vec![item] }));
            keeping.keep(ended)?;
        }
    }

    /// Nothing more can come of it, for a reason.
    fn give_up(&self, why: String, finish: &mut Finish, refused: &mut Option<String>) {
        *finish = Finish::Stopped;
        refused.get_or_insert(why);
        self.stop.cancel();
    }

    /// Begins calls where there is room. Says whether one was left because of the budget.
    fn feed(
        &self,
        waiting: &mut Waiting,
        in_flight: &mut BTreeMap<GroupName, usize>,
        budget: &Mutex<RunBudget<'_>>,
        mut begin: impl FnMut(Call, NanoUsd),
    ) -> bool {
        let most = self.experiment.file.concurrency as usize;
        let mut short = false;
        for (model, queue) in waiting {
            let under_way = in_flight.entry(model.clone()).or_default();
            while *under_way < most
                && let Some(call) = queue.front()
            {
                let Some(held) = lock(budget).hold(call) else {
                    short = true;
                    break;
                };
                let Some(call) = queue.pop_front() else { break };
                *under_way += 1;
                self.progress.update(model, |model| model.in_flight += 1);
                begin(call, held);
            }
        }
        short
    }

    /// One call to its end, made again as often as it may be.
    async fn call(&self, call: Call, held: NanoUsd, budget: &Mutex<RunBudget<'_>>) -> Ended {
        let model = self.experiment.run_of(call.items.first().copied().unwrap_or_default()).model.clone();
        let mut ended = Ended {
            model: model.clone(),
            request: String::new(),
            held,
            cost: NanoUsd::default(),
            settled: NanoUsd::default(),
            tokens: 0,
            ends: Vec::new(),
            again: Vec::new(),
            out_of_money: false,
            refused: None,
        };
        let output = self.planned.map(|expected| self.expected_output(expected, &model) * call.items.len() as u64);
        let body = self.experiment.body(&call, output);
        let mut told_when = 0;
        for tries in 1.. {
            // Boxed: it holds a whole request.
            let Some((refusal, paid)) = Box::pin(self.once(&call, body.clone(), &mut ended)).await else {
                return ended;
            };
            let Some(refusal) = refusal else { return ended };
            ended.out_of_money = is_out_of_money(refusal.kind);
            if ended.out_of_money {
                return ended;
            }
            // No other call of this key would fare better, and each would wait for its turn to find that out.
            if refusal.cause == Some(Cause::Credential) {
                ended.refused = Some(format!("stopped, since a key or an account is refused: {}", refusal.message));
                return ended;
            }
            let own = PAUSE.saturating_mul(2_u32.saturating_pow(tries - 1)).min(LONGEST_PAUSE);
            // Who says when to come back is believed, however late that is.
            let pause = refusal.retry_after.unwrap_or(own);
            // A limit that says when there is room again is no failure, unless it never has any.
            let told = refusal.kind == RefusalKind::RateLimited && refusal.retry_after.is_some();
            told_when = (told_when + u32::from(told)).min(WAITS);
            let again = refusal.is_transient() && tries - told_when <= self.experiment.file.retries;
            if again {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return ended,
                    () = tokio::time::sleep(pause) => {}
                }
                // What the last one cost is spent; the next is begun only with the money for it.
                let mut budget = lock(budget);
                budget.settle(std::mem::take(&mut ended.held), ended.unsettled());
                ended.settled = ended.cost;
                let Some(held) = budget.hold(&call) else {
                    ended.out_of_money = true;
                    return ended;
                };
                ended.held = held;
                continue;
            }
            if call.items.len() > 1 && may_be_one(refusal.kind) {
                // One of them may be to blame for all.
                ended.again = call.items.clone();
                return ended;
            }
            let failure = Failure {
                kind: refusal.kind.as_str().to_owned(),
                reason: refusal.message,
                tries,
                cost_nano_usd: paid,
                ended_ms: self.gateway.clock.now().as_millis(),
            };
            // What one call cost counts once, however many items it had.
            let failed = |(at, item): (usize, &usize)| {
                let cost_nano_usd = failure.cost_nano_usd.filter(|_| at == 0);
                (*item, End::Failed(Failure { cost_nano_usd, ..failure.clone() }))
            };
            ended.ends = call.items.iter().enumerate().map(failed).collect();
            return ended;
        }
        ended
    }

    /// One request. `None` where it was dropped before it was sent; else the refusal, if there is one, and what was paid so far.
    async fn once(&self, call: &Call, body: Bytes, ended: &mut Ended) -> Option<(Option<Refusal>, Option<NanoUsd>)> {
        let (_, api) = format::own();
        let mut guard = self.gateway.arrive(api);
        guard.set_caller(Some(Arc::clone(&guard.snapshot().callers.master)));
        let id = guard.id();
        ended.request = id.to_string();
        let (journal, items) = (Arc::clone(&self.journal), call.items.clone());
        let (progress, model) = (Arc::clone(&self.progress), ended.model.clone());
        let on_sent = move || {
            progress.update(&model, |model| model.sent += 1);
            journal.sent(&items);
        };
        self.heard.watch(id, Box::new(on_sent));
        let request = ClientRequest::post(Uri::from_static("/v1/chat/completions"), body);
        let served = {
            let mut serving = pin!(self.whole(guard, request));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => loop {
                    if !self.heard.is_under_way(id) {
                        break None;
                    }
                    tokio::select! {
                        biased;
                        served = &mut serving => break Some(served),
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                },
                served = &mut serving => Some(served),
            }
        };
        let (sent, record) = self.heard.take(id);
        if sent.is_some() {
            self.progress.update(&ended.model, |model| model.sent -= 1);
        }
        let served = served?;
        if let Some(record) = &record {
            // What budgets count: where a price is unknown, what it is taken for.
            ended.cost += record.charged;
            ended.tokens += record.usage.input_tokens + record.usage.output_tokens;
        }
        let paid = (ended.cost.0 > 0).then_some(ended.cost);
        let refusal = match (served, record) {
            (Err(refusal), _) => Some(refusal),
            (Ok(_), None) => Some(Refusal::new(RefusalKind::Internal, "the gateway told nothing of a request")),
            (Ok((body, meta)), Some(record)) => {
                let took = Took { record: &record, sent, ended: self.gateway.clock.now() };
                self.read(call, &body, &meta, &took, ended)
            }
        };
        Some((refusal, paid))
    }

    async fn whole(&self, guard: Box<RequestGuard>, request: ClientRequest) -> Result<(Bytes, ReplyMeta), Refusal> {
        match self.gateway.serve(guard, Box::new(request)).await? {
            Served::Whole { body, meta } => Ok((body, meta)),
            Served::Large { body, meta, .. } => {
                let pieces: Vec<Bytes> = body.map(|piece| piece.unwrap_or_else(|never| match never {})).collect().await;
                Ok((Bytes::from(pieces.concat()), meta))
            }
            Served::Streamed { .. } | Served::Late { .. } => {
                Err(Refusal::new(RefusalKind::Internal, "a reply came as a stream that was not asked for"))
            }
        }
    }

    /// Takes the results of a call. An item that was asked by itself and has none is refused.
    fn read(&self, call: &Call, body: &[u8], meta: &ReplyMeta, took: &Took<'_>, ended: &mut Ended) -> Option<Refusal> {
        let results = results(self.experiment, body, meta.items.as_deref(), self.planned.is_some());
        let parts = results.iter().flatten().count();
        if parts == 0 && call.items.len() == 1 {
            return Some(Refusal::new(RefusalKind::Unparsed, "the reply has no result that follows the schema"));
        }
        let mut part = 0;
        for (place, item) in call.items.iter().enumerate() {
            match results.get(place).cloned().flatten() {
                Some(result) => {
                    ended.ends.push((*item, End::Answered(Box::new(took.answer(result, part, parts)))));
                    part += 1;
                }
                None => ended.again.push(*item),
            }
        }
        None
    }

    fn expected_output(&self, expected: &Expectations, model: &GroupName) -> u64 {
        let group = self.experiment.settings.catalog.groups.get(model);
        let deployment = group.and_then(|group| group.deployments.first());
        deployment.map_or(expected.otherwise, |deployment| expected.of(&deployment.model)).output_tokens.into()
    }
}
