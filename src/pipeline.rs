//! The life of a request, one stage after another, each consuming what the last one produced:
//!
//! `authenticate → parse → build prompt → estimate → route → reserve → call → stream/parse → settle → record`
//!
//! A [`Ticket`] is made before the first stage and lives to the end of the last: every ending, a client that
//! leaves included, settles what was reserved and writes exactly one record.

mod admit;
mod auth;
mod call;
mod estimate;
mod prompt;
mod route;
mod stream;
mod ticket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

use crate::chat::{ChatRequest, DialectName};
use crate::clock::Clock;
use crate::dialect;
use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};
use crate::id::RequestId;
use crate::limits::Limits;
use crate::moment::Moment;
use crate::queue::Freed;
use crate::record::Record;
use crate::seed;
use crate::snapshot::{Live, Serving, Snapshot};
use crate::upstream::Upstream;

pub use auth::authenticate;
pub use stream::ReplyStream;
pub use ticket::{Ending, Ticket};

use estimate::Estimate;

/// Where finished requests are told of.
pub trait Recorder: Send + Sync {
    /// A request arrived.
    fn begun(&self);

    /// A request ended.
    fn ended(&self, record: &Record);
}

/// Everything the stages share. Time, providers, limits and the recorder are given: the same pipeline runs
/// on sockets and on virtual time.
pub struct Gateway {
    /// The configuration and policies in force.
    pub live: Live,
    /// What is reserved and used.
    pub limits: Arc<Limits>,
    /// Told when capacity may have become free.
    pub freed: Freed,
    /// The one clock.
    pub clock: Clock,
    /// Providers over the network.
    pub http: Arc<dyn Upstream>,
    /// Told of every request.
    pub recorder: Arc<dyn Recorder>,
    /// Where randomness comes from.
    pub seeds: Seeds,
}

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

/// A request that has been read, with what every later stage looks at.
struct Asked<'a> {
    gateway: &'a Arc<Gateway>,
    snapshot: &'a Snapshot,
    serving: &'a Arc<Serving>,
    request: &'a ChatRequest,
    /// Lower is more urgent.
    priority: i32,
    deadline: Moment,
}

impl Asked<'_> {
    /// Until when a request that starts to wait now may wait for a limit.
    fn patience(&self, now: Moment) -> Moment {
        (now + self.snapshot.settings.queue.max_wait).min(self.deadline)
    }
}

/// What a surface hands over: the dialect it speaks, the key it was shown, the body it read.
#[derive(Debug)]
pub struct Arrival {
    /// The surface's dialect.
    pub face: DialectName,
    /// The key the client showed, in whichever header its dialect uses.
    pub key: Option<SecretString>,
    /// The whole body.
    pub body: Bytes,
}

/// A request that gets a reply.
pub enum Served {
    /// All at once.
    Whole {
        /// The body, in the caller's dialect.
        body: Bytes,
        /// For the headers.
        about: About,
    },
    /// In pieces.
    Streamed {
        /// Server-sent events in the caller's dialect.
        stream: Box<ReplyStream>,
        /// For the headers.
        about: About,
    },
}

/// What a reply's headers tell.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The request.
    pub id: RequestId,
    /// Who answered.
    pub deployment: String,
    /// Who decided, `NAME@DIGEST` or `built-in`.
    pub policy: Arc<str>,
    /// The group asked.
    pub group: String,
    /// Calls made.
    pub attempts: usize,
    /// Time spent waiting for a limit.
    pub waited: Duration,
    /// Fields of the request the provider has no word for.
    pub dropped: Vec<String>,
}

impl Gateway {
    /// Opens a ticket for a request that has just arrived on the surface `face`.
    #[must_use]
    pub fn arrive(self: &Arc<Self>, face: DialectName) -> Ticket {
        let (now, seed) = (self.clock.now(), self.seeds.draw());
        self.recorder.begun();
        Ticket::new(Arc::clone(self), Record::new(RequestId::derive(now, seed), now, face), seed)
    }

    /// Serves one request to the end of a whole reply, or to the first content of a streamed one.
    ///
    /// # Errors
    /// The refusal the client is to read; it is already recorded.
    pub async fn serve(self: &Arc<Self>, mut ticket: Ticket, arrival: Arrival) -> Result<Served, Refusal> {
        let snapshot = self.live.read();
        let total = snapshot.settings.server.request_timeout;
        let deadline = self.clock.now() + total;
        let served = {
            let attempt = Box::pin(self.answer(&mut ticket, &snapshot, arrival, deadline));
            tokio::time::timeout_at(self.clock.instant(deadline), attempt).await
        };
        match served {
            Ok(Ok(answered)) => Ok(answered.finish(ticket)),
            Ok(Err(refusal)) => Err(ticket.refuse(refusal)),
            Err(_elapsed) => {
                let why = format!(
                    "no reply within {} s, the request's total time; raise `request_timeout` or ask for less",
                    total.as_secs()
                );
                ticket.fail_attempt(&AttemptFault::new(FaultKind::TimedOut, "the request's total time ran out"));
                Err(ticket.refuse(Refusal::new(RefusalKind::TimedOut, why)))
            }
        }
    }

    async fn answer(
        self: &Arc<Self>,
        ticket: &mut Ticket,
        snapshot: &Snapshot,
        arrival: Arrival,
        deadline: Moment,
    ) -> Result<Answered, Refusal> {
        let caller = auth::authenticate(&snapshot.settings, arrival.key.as_ref())?;
        ticket.record.caller = Some(caller);
        let request = dialect::face(arrival.face).parse(&arrival.body)?;
        drop(arrival.body);
        ticket.record.streamed = request.stream;
        let serving = find(snapshot, &request.model)?;
        ticket.record.group = Some(serving.group.name.clone());
        ticket.record.policy = Some(Arc::clone(&serving.policy));
        let mut request = prompt::build(request);
        let priority = priority(&mut request);
        let asked = Asked { gateway: self, snapshot, serving, request: &request, priority, deadline };
        Self::attempts(ticket, &asked).await
    }

    /// Routes, reserves and calls until something of a reply is there or nothing is left to try.
    async fn attempts(ticket: &mut Ticket, asked: &Asked<'_>) -> Result<Answered, Refusal> {
        let clock = asked.gateway.clock;
        let mut estimate = Estimate::of(asked.request);
        let plan = route::plan(asked, &mut estimate, ticket);
        let mut failed: Vec<usize> = Vec::new();
        let mut last: Option<AttemptFault> = None;
        for attempt in 0..=asked.serving.group.retries {
            if let Some(fault) = &last {
                let until = clock.now() + call::pause(fault, attempt, &plan, &failed, ticket.seed);
                if until >= asked.deadline {
                    break;
                }
                clock.sleep_until(until).await;
                if plan.order.iter().all(|index| failed.contains(index)) {
                    failed.clear();
                }
            }
            let admitted = admit::admit(asked, ticket, &plan, &failed, &mut estimate).await;
            let index = match (admitted, last.take()) {
                (Ok(index), _) => index,
                // The provider's own words say more than that nobody else was free.
                (Err(_), Some(fault)) => return Err(fault.into()),
                (Err(refusal), None) => return Err(refusal),
            };
            match call::call(asked, ticket, index).await {
                Ok(answered) => return Ok(answered),
                Err(fault) => {
                    ticket.fail_attempt(&fault);
                    if !fault.kind.may_succeed_elsewhere() {
                        return Err(fault.into());
                    }
                    failed.push(index);
                    last = Some(fault);
                }
            }
        }
        Err(last.map_or_else(|| Refusal::new(RefusalKind::Internal, "no attempt was made"), Refusal::from))
    }
}

/// What the stages before the last have made: a whole reply, or one that has begun.
enum Answered {
    Whole(Bytes, About),
    Begun(stream::Begun, About),
}

impl Answered {
    fn finish(self, ticket: Ticket) -> Served {
        match self {
            Self::Whole(body, about) => {
                ticket.complete();
                Served::Whole { body, about }
            }
            Self::Begun(begun, about) => Served::Streamed { stream: Box::new(begun.with(ticket)), about },
        }
    }
}

/// The urgency a client gave the request, in LiteLLM's field; ours to read, not the provider's.
fn priority(request: &mut ChatRequest) -> i32 {
    let said = request.rest.shift_remove("priority").and_then(|value| value.as_i64());
    said.and_then(|value| i32::try_from(value).ok()).unwrap_or_default()
}

fn find<'a>(snapshot: &'a Snapshot, model: &str) -> Result<&'a Arc<Serving>, Refusal> {
    snapshot.group(model).ok_or_else(|| {
        let known: Vec<&str> = snapshot.groups.keys().map(crate::id::GroupName::as_str).take(20).collect();
        let more = snapshot.groups.len().saturating_sub(known.len());
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("no model is named `{model}` here; known: {}{tail}", known.join(", "));
        let mut refusal = Refusal::new(RefusalKind::UnknownModel, message).at("model");
        refusal.code = Some("model_not_found".to_owned());
        refusal
    })
}
