//! The life of a request, one stage after another, each consuming what the last one produced:
//!
//! `authenticate → parse → build prompt → estimate → route → reserve → call → stream/parse → settle → record`
//!
//! A [`RequestGuard`] is made before the first stage and lives to the end of the last: every ending, a client that
//! leaves included, settles what was reserved and writes exactly one record.

mod added_budgets;
mod admit;
mod asked_again;
mod attempt_guard;
mod attempts;
mod attributes;
mod auth;
mod authorize;
mod background;
mod blocking_pool;
mod call;
mod connections;
mod context;
mod count;
mod decoding;
mod defaulting;
mod eligible;
mod embedding;
mod estimate;
mod fallback;
mod feedback;
mod judging;
mod late;
mod left_out;
mod limits_left;
mod memory;
mod moderated;
mod one_call;
mod parser;
mod paying;
mod pieces;
mod plan;
mod prompt;
mod request_guard;
mod rollout;
mod route;
mod scrub;
mod send_timeout;
mod steering;
mod stream;
mod vectors;
mod wishes;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budgets::{Budgets, Reached};
use crate::chat::ChatRequest;
use crate::clock::{Clock, by};
use crate::decisions::Decisions;
use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind, Tried};
use crate::format::{ClientApi, ClientRequest};
use crate::id::{DeploymentId, GroupName, RequestId};
use crate::limits::LimitStore;
use crate::moment::Moment;
use crate::money::{Bill, NanoUsd};
use crate::queue::CapacityNotify;
use crate::record::Record;
use crate::seed;
use crate::snapshot::{Live, Snapshot};
use crate::store::Ledger;

pub use asked_again::AskedAgain;
pub use auth::{Access, authenticate, caller_named, is_operator, may_use};
pub use background::Followed;
pub use blocking_pool::BlockingPool;
pub use connections::ConnectionTest;
pub use embedding::{Embedded, Embeddings, ToEmbed, Told, Vector};
pub use feedback::Listener;
pub use judging::{Judged, Judging, ToJudge, is_beyond};
pub use late::LateStream;
pub use memory::MemoryBudget;
pub use pieces::Pieces;
pub use plan::{Attributes, Features, PlannedAttempt, PlannedTrial, RequestPlan};
pub use request_guard::{Ending, RequestGuard};
pub use stream::ReplyStream;

use context::{Arrival, RequestContext};
use estimate::Estimate;
use wishes::Wishes;

/// Receives the beginning and the record of every request.
pub trait Recorder: Send + Sync {
    /// A request arrived.
    fn begun(&self);

    /// A call of a request is about to be sent to a provider: from here on it may cost something.
    fn sending(&self, _request: RequestId) {}

    /// That call has no reply: whatever is done next, nothing is under way at a provider.
    fn unanswered(&self, _request: RequestId) {}

    /// A request ended.
    fn ended(&self, record: &Record);

    /// Somebody said what a reply of this group's deployment was worth, 0 to 1, or the gateway saw it.
    fn worth(&self, _group: &GroupName, _deployment: &DeploymentId, _quality: f32) {}

    /// A reply of this group was drawn to be judged, and this became of it.
    fn judged(&self, _group: &GroupName, _what: Judged) {}

    /// A router of this group wanted the vector of a question, and this became of it.
    fn embedded(&self, _group: &GroupName, _what: Embedded) {}
}

/// Tells somebody of a budget.
pub trait Alarm: Send + Sync {
    /// It has come to a mark.
    fn reached(&self, snapshot: &Snapshot, reached: &Reached);
}

/// Everything the stages share. Time, providers, limits and the recorder are given: the same pipeline runs
/// on sockets and on virtual time.
pub struct Gateway {
    /// The configuration and policies in force.
    pub live: Live,
    /// What is reserved and used.
    pub limits: Arc<dyn LimitStore>,
    /// What may be spent and is.
    pub budgets: Arc<Budgets>,
    /// Tells of budgets that come to an end.
    pub alarm: Arc<dyn Alarm>,
    /// Wakes queues when capacity may have become free.
    pub capacity: CapacityNotify,
    /// The one clock.
    pub clock: Clock,
    /// Where records are kept for good; `None` keeps none.
    pub ledger: Option<Arc<Ledger>>,
    /// Receives every request's record.
    pub recorder: Arc<dyn Recorder>,
    /// What is kept of decisions.
    pub decisions: Arc<Decisions>,
    /// Where randomness comes from.
    pub seeds: Seeds,
    /// Where long work is done.
    pub blocking: BlockingPool,
    /// Where the calls of slow policies are made.
    pub slow_policies: BlockingPool,
    /// Where versions of policies are called that are never obeyed.
    pub shadows: BlockingPool,
    /// Where the ledger is waited for: nobody's request is written or counted behind that.
    pub judgements: BlockingPool,
    /// Where replies wait that are to be judged.
    pub judging: Judging,
    /// Where texts wait for their vectors, and vectors are remembered.
    pub embeddings: Embeddings,
    /// Where models of sentences run: one text at a time, each on several threads.
    pub sentences: BlockingPool,
    /// What was asked and answered a short while ago, in groups that want to know when it is asked again.
    pub asked_again: AskedAgain,
    /// Cancelled when requests that still go on are to end: the gateway has waited for them long enough.
    pub cutoff: CancellationToken,
    /// Requests that their clients left and that are counted for their bills before they are recorded: a stop waits for them.
    pub left: TaskTracker,
    /// What requests under way hold.
    pub memory: Arc<MemoryBudget>,
}

/// Bytes of a whole reply up to which it is handed over at once. Sockets take so much from a client that reads slowly.
const AT_ONCE: usize = 256 << 10;
/// Bytes of a body from which reading it takes a millisecond and more.
const LARGE: usize = 256 << 10;
/// Only what takes longer looks whether the gateway stops meanwhile: that costs a lock that all requests have in common.
const SLOW: Duration = Duration::from_millis(25);

/// One seed per request, from one seed per process.
#[derive(Debug)]
pub struct Seeds {
    parent: u64,
    next: AtomicU64,
}

impl Seeds {
    /// The first request gets the first seed under `parent`.
    #[must_use]
    pub const fn new(parent: u64) -> Self {
        Self { parent, next: AtomicU64::new(0) }
    }

    fn draw(&self) -> u64 {
        seed::derive(self.parent, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// A request that gets a reply; within the pipeline `S` is a stream that does not own the request's guard yet.
pub enum Served<S = Box<ReplyStream>> {
    /// All at once.
    Whole {
        /// The body, in the caller's dialect.
        body: Bytes,
        /// For the headers.
        meta: ReplyMeta,
    },
    /// All at once, but too large to be handed over as a whole: it is sent as fast as the client reads it.
    Large {
        /// The body, in the caller's dialect.
        body: Box<ReplyStream>,
        /// Its length in bytes.
        length: usize,
        /// For the headers.
        meta: ReplyMeta,
    },
    /// In pieces.
    Streamed {
        /// Server-sent events in the caller's dialect.
        stream: S,
        /// For the headers.
        meta: ReplyMeta,
    },
    /// In pieces, of which none is there yet; nor is it known who will reply.
    Late {
        /// Server-sent events in the caller's dialect, signs of life first.
        stream: Box<LateStream>,
    },
}

/// What a reply's headers say.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyMeta {
    /// The deployment that replied.
    pub deployment: DeploymentId,
    /// The policy that decided, `NAME@DIGEST` or `built-in`.
    pub policy: Arc<str>,
    /// The group.
    pub group: GroupName,
    /// What the provider names the model that replied. The reply itself says the name that was asked for.
    pub model: String,
    /// Calls made.
    pub attempts: usize,
    /// Of them, those after the first of a group; and the groups after the first.
    pub tried: Tried,
    /// Time spent waiting for a limit.
    pub waited: Duration,
    /// What the reply cost; `None` where the price is unknown, and of a stream, whose cost is known at its end.
    pub cost: Option<NanoUsd>,
    /// The parts of what this reply alone cost.
    pub bill: Option<Bill>,
    /// The client's `prompt_items` that are in the prompt, by index, where it sent any.
    pub items: Option<Vec<u32>>,
    /// Fields of the request that the provider does not support.
    pub dropped: Vec<String>,
    /// The deployment's own limits of requests and tokens, where it has such.
    pub limits: Vec<LimitLeft>,
    /// From the request's arrival to here: a whole reply, or the first content of a streamed one.
    pub took: Duration,
    /// Of it, what neither providers took nor limits made it wait.
    pub overhead: Duration,
}

impl ReplyMeta {
    /// The names of [`ReplyMeta::dropped`], which the client chose, made fit for a header: at most twenty, each short and in plain
    /// characters.
    #[must_use]
    pub fn dropped_told(&self) -> Option<String> {
        const MOST: usize = 20;
        let plain = |name: &String| {
            let kept = name.chars().take(60);
            kept.map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }).collect::<String>()
        };
        let names = &self.dropped;
        let list = names.iter().take(MOST).map(plain).collect::<Vec<_>>().join(", ");
        match names.len() {
            0 => None,
            count if count > MOST => Some(format!("{list}, and {} more", count - MOST)),
            _ => Some(list),
        }
    }
}

/// A limit, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitLeft {
    /// `requests` or `tokens`.
    pub what: &'static str,
    /// The limit, per window.
    pub limit: u64,
    /// What may still be used of it now, margin applied.
    pub left: u64,
    /// When all of it is there again.
    pub reset: Duration,
}

impl Gateway {
    /// Where a policy's work is done that must not be done on a thread that serves.
    const fn pool_for(&self, slow: bool) -> &BlockingPool {
        if slow { &self.slow_policies } else { &self.blocking }
    }

    /// Opens a guard for a request that has just arrived through `api`. The guard holds the snapshot
    /// the request keeps to its end.
    #[must_use]
    pub fn arrive(self: &Arc<Self>, api: &'static dyn ClientApi) -> Box<RequestGuard> {
        let (now, seed) = (self.clock.now(), self.seeds.draw());
        // Before the snapshot is read: what comes into force from here on is looked for when the request ends.
        let knew = self.budgets.in_force();
        self.recorder.begun();
        let mut record = Record::new(RequestId::derive(now, seed), now, api.name());
        record.seed = seed;
        record.explanation = self.decisions.explanation();
        Box::new(RequestGuard::new(Arc::clone(self), self.live.read(), api, record, (seed, knew)))
    }

    /// An id for an answer that is no request's and writes no record.
    #[must_use]
    pub fn new_id(&self) -> RequestId {
        RequestId::derive(self.clock.now(), self.seeds.draw())
    }

    /// Serves one request to the end of a whole reply, or to the first content of a streamed one; a stream that has none yet after the
    /// time that a client may hear nothing is handed over as it is.
    ///
    /// # Errors
    /// The refusal the client is to read; it is already recorded. A guard that was not authenticated is refused.
    pub async fn serve(
        self: &Arc<Self>,
        mut guard: Box<RequestGuard>,
        request: Box<ClientRequest>,
    ) -> Result<Served, Refusal> {
        let snapshot = Arc::clone(guard.snapshot());
        let deadline = guard.record.arrived + snapshot.settings.server.request_timeout;
        let read = {
            let read = pin!(self.read(&mut guard, &snapshot, request, deadline));
            by(self.clock.instant(deadline), read).await
        };
        let (arrival, request) = match read {
            Some(Ok(read)) => read,
            Some(Err(refusal)) => return Err(guard.refuse(refusal)),
            None => return Err(Box::pin(out_of_time(guard, deadline)).await),
        };
        if arrival.deadline < deadline {
            guard.waits_until(arrival.deadline);
        }
        let deadline = arrival.deadline;
        let quiet = snapshot.settings.server.stream_quiet.filter(|_| request.stream);
        let late = quiet.map(|quiet| (quiet, guard.api().stream(&request), guard.id()));
        // Boxed for whole replies too: within this future it would be moved with it.
        let mut rest: late::Rest = Box::pin(Arc::clone(self).conclude(guard, arrival, request, deadline));
        let Some((quiet, encoder, id)) = late else { return rest.await };
        match tokio::time::timeout(quiet, &mut rest).await {
            Ok(served) => served,
            Err(_quiet) => {
                let stream = LateStream::new(rest, encoder, quiet, id.to_string(), self.cutoff.clone());
                Ok(Served::Late { stream: Box::new(stream) })
            }
        }
    }

    /// All that comes after reading.
    async fn conclude(
        self: Arc<Self>,
        mut guard: Box<RequestGuard>,
        arrival: Box<Arrival>,
        request: Box<ChatRequest>,
        deadline: Moment,
    ) -> Result<Served, Refusal> {
        let snapshot = Arc::clone(guard.snapshot());
        // Those that nobody waits for are ended by whoever made them.
        let cutoff = guard.priority().is_none().then_some(&self.cutoff);
        let (slow, until) =
            (self.clock.instant(deadline.min(guard.record.arrived + SLOW)), self.clock.instant(deadline));
        let served = {
            // Pinned where it is: it is large, and would be moved into what bounds its time.
            let mut answer = pin!(fallback::serve(&self, &mut guard, &snapshot, arrival, request));
            match tokio::time::timeout_at(slow, answer.as_mut()).await {
                Ok(served) => Some(Ok(served)),
                Err(_elapsed) => tokio::select! {
                    biased;
                    served = tokio::time::timeout_at(until, answer) => Some(served),
                    () = cut(cutoff) => None,
                },
            }
        };
        match served {
            Some(Ok(Ok(served))) => Ok(served.with(guard, until, &self.cutoff)),
            Some(Ok(Err(refusal))) => Err(guard.refuse(refusal)),
            Some(Err(_elapsed)) => Err(Box::pin(out_of_time(guard, deadline)).await),
            None => Err(stopped(guard)),
        }
    }

    async fn read(
        &self,
        guard: &mut RequestGuard,
        snapshot: &Snapshot,
        request: Box<ClientRequest>,
        deadline: Moment,
    ) -> Result<(Box<Arrival>, Box<ChatRequest>), Refusal> {
        if guard.caller().is_none() {
            guard.set_caller(Some(authenticate(snapshot, Access::Client, None, self.clock.now())?));
        }
        let caller = guard.caller().map_or_else(|| Arc::clone(&snapshot.callers.anonymous), Arc::clone);
        let large = request.bytes() > LARGE;
        guard.hold_memory(self.tree_bytes(&request.body).await)?;
        for turn in request.earlier.iter().chain(&request.named) {
            guard.hold_memory(self.tree_bytes(&turn.request).await)?;
            guard.hold_memory(self.tree_bytes(&turn.reply).await)?;
        }
        let headers = attributes::keep(&snapshot.headers_read, &request.headers);
        let (wishes, tags) = (Wishes::of_headers(&request.headers), attributes::header_tags(&request.headers));
        let mut request = self.parse(guard.api(), request).await?;
        guard.record.streamed = request.stream;
        let own = wishes.own_timeout(&mut request)?;
        let deadline = own.map_or(deadline, |own| deadline.min(guard.record.arrived + own));
        let arrival = Box::new(Arrival {
            id: Some(guard.id()),
            caller,
            api: guard.api().name(),
            seed: guard.seed,
            large,
            deadline,
            headers,
            tags,
            wishes,
        });
        Ok((arrival, Box::new(request)))
    }

    /// What reading `body` will take; a large one is counted on another thread.
    async fn tree_bytes(&self, body: &Bytes) -> usize {
        if body.len() <= LARGE {
            return memory::tree_bytes(body);
        }
        let body = body.clone();
        self.blocking.run(move || memory::tree_bytes(&body)).await.unwrap_or(usize::MAX)
    }

    async fn parse(&self, api: &'static dyn ClientApi, request: Box<ClientRequest>) -> Result<ChatRequest, Refusal> {
        if request.bytes() <= LARGE {
            return api.parse(&request);
        }
        let parsed = self.blocking.run(move || api.parse(&request)).await;
        parsed.unwrap_or_else(|| Err(Refusal::new(RefusalKind::Internal, "the request could not be read")))
    }
}

/// The gateway stops, and waits no longer.
async fn cut(cutoff: Option<&CancellationToken>) {
    match cutoff {
        Some(cutoff) => cutoff.cancelled().await,
        None => std::future::pending().await,
    }
}

/// The gateway has waited for the request as long as it does at a stop; nothing of a reply was sent.
#[cold]
fn stopped(guard: Box<RequestGuard>) -> Refusal {
    let refusal = Refusal::new(RefusalKind::Unavailable, "the gateway is stopping; ask again");
    let mut refusal = refusal.after(Duration::from_secs(1));
    refusal.tried = (guard.attempts() > 0).then(|| guard.tried());
    // Its record says who ended it, as that of a stream does.
    drop(guard);
    refusal
}

/// The request's total time is over: its client's, or the configuration's.
async fn out_of_time(mut guard: Box<RequestGuard>, deadline: Moment) -> Refusal {
    let waited = guard.record.waited;
    let waited = if waited.is_zero() {
        String::new()
    } else {
        format!(", {:.1} s of it waiting for limits", waited.as_secs_f64())
    };
    let longest = guard.snapshot().settings.server.request_timeout;
    let given = deadline.since(guard.record.arrived);
    let (whose, more) = if given < longest {
        ("the time that its client gives this request", "give it more (`timeout`, `stream_timeout`)")
    } else {
        ("a request's total time", "raise `witgate.server.request_timeout_seconds`")
    };
    let why = format!("no reply within {} s, {whose}{waited}; ask for less or {more}", given.as_secs_f64());
    let fault = AttemptFault::new(FaultKind::TimedOut, "the request's total time ran out");
    guard.count_to_bill(Some(&fault)).await;
    guard.fail_attempt(&fault);
    guard.refuse(Refusal::new(RefusalKind::TimedOut, why))
}

impl Served<Box<stream::Begun>> {
    /// A whole reply ends its request; a streamed one takes the guard along.
    fn with(self, guard: Box<RequestGuard>, deadline: tokio::time::Instant, cutoff: &CancellationToken) -> Served {
        match self {
            Self::Whole { body, meta } if body.len() > AT_ONCE => {
                let length = body.len();
                Served::Large { body: Box::new(ReplyStream::of_whole(body, guard, deadline)), length, meta }
            }
            Self::Whole { body, meta } => {
                guard.complete();
                Served::Whole { body, meta }
            }
            Self::Streamed { stream, meta } => Served::Streamed { stream: Box::new(stream.with(guard, cutoff)), meta },
            // The stages make none of these: what is large or late is decided around them.
            Self::Large { body, length, meta } => Served::Large { body, length, meta },
            Self::Late { stream } => Served::Late { stream },
        }
    }
}

#[cfg(test)]
mod tests;
