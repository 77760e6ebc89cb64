//! The simulated provider: answers like a model, at a model's pace and within a provider's limits, for nothing.
//!
//! The rule: what it says depends on the model's seed and the conversation and on nothing else; how long it
//! takes and whether it fails depends also on how many requests that model has had before. It waits on tokio's
//! time alone, so on a paused clock an hour of it passes at once. It speaks both formats, each with its own
//! shape of replies, streams, errors and limit headers.
//!
//! - A reply is readable words; its length is drawn around `output_tokens`, cut at `max_tokens` and at a stop text.
//! - A tool is called where the choice demands it, and where the last message of the user says `call NAME`.
//! - A reply that must be JSON is JSON, and follows the schema as far as types, enums and required fields go.
//! - A model that always says the same (`mock_response`) says that, whatever is asked.
//! - Tokens are counted as [`tokens`] says: words, roughly.
//! - A request may say how many tokens it has and its reply is to have ([`INPUT_TOLD`], [`OUTPUT_TOLD`]): a simulation has counts and no texts.
//! - The head of an answer comes with the first token; of an answer that is not streamed, with the last.
//! - Limits count what was let in during the last 60 seconds, or the window it is given, on arrival: one request, and its input tokens plus
//!   `max_tokens` (the model's usual length where there is none), however short the reply turns out. A refused
//!   request does not count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::time::Instant;

use crate::catalog::SimulatedModel;
use crate::chat::ChatRequest;
use crate::clock::Clock;
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{ClientRequest, StreamEncoder};
use crate::id::DeploymentId;
use crate::seed::derive;
use crate::upstream::{Body, Upstream, UpstreamRequest, UpstreamResponse};

use self::meter::{Meter, Verdict};
use self::script::{Beat, Script};
use self::wire::Emulation;

mod json;
mod meter;
mod prose;
mod script;
#[cfg(test)]
mod tests;
pub mod tokens;
mod vectors;
mod wire;

/// The scheme of a call to the simulated provider in this process.
const SCHEME: &str = "simulated://";

/// The field of a request that says how many input tokens it has.
pub const INPUT_TOLD: &str = "witgate_planned_input";
/// The field of a request that says how many output tokens its reply is to have.
pub const OUTPUT_TOLD: &str = "witgate_planned_output";

/// The simulated provider, with its models as one snapshot knows them.
#[derive(Clone, Debug)]
pub struct Simulated {
    clock: Clock,
    models: Arc<BTreeMap<DeploymentId, Arc<SimulatedModel>>>,
    meters: Arc<Mutex<BTreeMap<DeploymentId, Meter>>>,
}

impl Simulated {
    /// A provider that nobody has called yet. `clock` dates its limits; its pace is tokio's time.
    #[must_use]
    pub fn new(clock: Clock, models: BTreeMap<DeploymentId, Arc<SimulatedModel>>) -> Self {
        Self { clock, models: Arc::new(models), meters: Arc::default() }
    }

    /// The same provider after a reload: other models, and what was counted so far goes on by id.
    #[must_use]
    pub fn with_models(&self, models: BTreeMap<DeploymentId, Arc<SimulatedModel>>) -> Self {
        Self { clock: self.clock, models: Arc::new(models), meters: Arc::clone(&self.meters) }
    }

    /// The origin of a deployment: with a format's path behind it, it is the URL of a [`UpstreamRequest`].
    #[must_use]
    pub fn origin(id: &DeploymentId) -> String {
        format!("{SCHEME}{id}")
    }

    /// Its models, in order.
    pub fn models(&self) -> impl Iterator<Item = &DeploymentId> {
        self.models.keys()
    }

    /// Answers a POST as the provider itself would over HTTP: the path tells the format, the request's `model`
    /// the model; where there is only one, it answers to every name. `None` where nothing is served under `path`.
    pub async fn respond(&self, path: &str, body: Bytes) -> Option<UpstreamResponse> {
        let (_, emulation) = wire::split(path)?;
        let waits = Waits { first_byte: Duration::MAX, idle: Duration::MAX };
        let request = match emulation.api().parse(&posted(body)) {
            Ok(request) => request,
            Err(refusal) => return Some(wire::refused(emulation, &refusal)),
        };
        let only = || self.models.first_key_value().filter(|_| self.models.len() == 1);
        let Some((id, model)) = self.models.get_key_value(request.model.as_str()).or_else(only) else {
            return Some(wire::unknown_model(emulation, &request.model));
        };
        // Without timeouts there is nothing to run out.
        self.answer(emulation, id, model, request, waits).await.ok()
    }

    async fn call(&self, call: UpstreamRequest) -> Result<UpstreamResponse, AttemptFault> {
        let target = call.url.strip_prefix(SCHEME).and_then(wire::split);
        let Some((id, emulation)) = target else {
            let message = format!("the simulated provider serves nothing at `{}`", call.url);
            return Err(AttemptFault::new(FaultKind::Misconfigured, message).before_sending());
        };
        let Some((id, model)) = self.models.get_key_value(id) else {
            let message = format!("the simulated provider has no model `{id}`");
            return Err(AttemptFault { status: Some(404), ..AttemptFault::new(FaultKind::Misconfigured, message) });
        };
        let waits = Waits { first_byte: call.timeouts.first_byte, idle: call.timeouts.idle };
        // Nothing lies between the two: what was sent is there.
        call.sent.tell();
        match emulation.api().parse(&posted(call.body)) {
            Ok(request) => self.answer(emulation, id, model, request, waits).await,
            Err(refusal) => Ok(wire::refused(emulation, &refusal)),
        }
    }

    async fn answer(
        &self,
        emulation: &dyn Emulation,
        id: &DeploymentId,
        model: &SimulatedModel,
        request: ChatRequest,
        waits: Waits,
    ) -> Result<UpstreamResponse, AttemptFault> {
        let start = Instant::now();
        let now = self.clock.now();
        let (content, counted) = tokens::survey(&request);
        let told = |name| request.rest.get(name)?.as_u64().map(|told| told.min(u32::MAX.into()));
        let told_input = told(INPUT_TOLD);
        let input = told_input.unwrap_or(counted);
        let most = request.max_tokens.map(u64::from);
        // A plan of an experiment tells the length alone, to other providers: here its texts are answered as they would be.
        let output = told_input.and(told(OUTPUT_TOLD)).map(|told| most.map_or(told, |most| told.min(most)));
        let reserved = input + output.or(most).unwrap_or(model.output_tokens.into());
        let (arrival, verdict, level) = {
            let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
            let account = model.account.as_ref().unwrap_or(id);
            let meter = meters.entry(account.clone()).or_default();
            let (arrival, verdict) = meter.admit(now, reserved, model);
            (arrival, verdict, meter.level(now, model))
        };
        if let Some(refused) = model.says.as_deref().and_then(wire::exception) {
            return Ok(wire::refused(emulation, &refused));
        }
        let dialect = request.dialect;
        let draw = derive(derive(model.seed, content), arrival);
        let mut headers = emulation.limit_headers(&level, now, draw);
        if !matches!(verdict, Verdict::Admitted) {
            return Ok(wire::limited(emulation, &request.model, &verdict, headers, draw));
        }
        let mut chance = fastrand::Rng::with_seed(draw);
        let fails = chance.f64() < model.error_rate;
        let pace = Pace::draw(model, &mut chance);
        if fails {
            waits.for_head(start, pace.due(0)).await?;
            return Ok(wire::broken(emulation, headers, draw));
        }
        if let Some(asked) = request.vectors {
            waits.for_head(start, pace.due(0)).await?;
            let vectors = vectors::of(&request, asked, model.seed, input);
            return Ok(whole(StatusCode::OK, headers, emulation.api().vectors(&request, &vectors)));
        }
        let seed = derive(model.seed, content);
        let id = format!("{}{draw:016x}", emulation.id_prefix());
        let script = Script::write(&request, model, (input, output), seed, id, now);
        if request.stream {
            waits.for_head(start, pace.due(0)).await?;
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            let show =
                Show { encoder: emulation.api().stream(&request), beats: script.beats(dialect), start, pace, waits };
            return Ok(UpstreamResponse { status: StatusCode::OK, headers, body: Box::pin(show.play()) });
        }
        waits.for_head(start, pace.due(script.longest().saturating_sub(1))).await?;
        let body = emulation.api().reply(&script.reply(dialect));
        Ok(whole(StatusCode::OK, headers, body))
    }
}

impl Upstream for Simulated {
    fn send(&self, call: UpstreamRequest) -> BoxFuture<'_, Result<UpstreamResponse, AttemptFault>> {
        self.call(call).boxed()
    }
}

/// The emulated formats read the body alone.
fn posted(body: Bytes) -> ClientRequest {
    ClientRequest::post(Uri::default(), body)
}

/// An answer that is not streamed.
fn whole(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> UpstreamResponse {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body: Body = Box::pin(stream::once(async move { Ok(body) }));
    UpstreamResponse { status, headers, body }
}

/// How long the caller waits.
#[derive(Clone, Copy)]
struct Waits {
    first_byte: Duration,
    idle: Duration,
}

impl Waits {
    async fn for_head(self, start: Instant, due: Duration) -> Result<(), AttemptFault> {
        tokio::time::timeout(self.first_byte, until(start, due)).await.map_err(|_| {
            let message = format!("the simulated provider: no answer within {:?}", self.first_byte);
            AttemptFault::new(FaultKind::TimedOut, message)
        })
    }

    async fn for_piece(self, start: Instant, due: Duration) -> Result<(), AttemptFault> {
        tokio::time::timeout(self.idle, until(start, due)).await.map_err(|_| {
            let message = format!("the simulated provider: nothing of the reply came for {:?}", self.idle);
            AttemptFault::new(FaultKind::TimedOut, message)
        })
    }
}

async fn until(start: Instant, due: Duration) {
    if !due.is_zero() {
        tokio::time::sleep_until(start + due).await;
    }
}

/// When each token of one reply is due.
#[derive(Clone, Copy)]
struct Pace {
    first: Duration,
    per_token: Duration,
}

/// Longer than this, no model takes for one token; keeps a wild draw inside what timers hold.
const SLOWEST: f64 = 86_400.0;

impl Pace {
    fn draw(model: &SimulatedModel, chance: &mut fastrand::Rng) -> Self {
        let first = model.ttft_ms / 1e3 * (model.ttft_sigma * normal(chance)).exp();
        let per_token = if model.tokens_per_second > 0.0 { 1.0 / model.tokens_per_second } else { 0.0 };
        let length = |seconds: f64| Duration::try_from_secs_f64(seconds.min(SLOWEST)).unwrap_or_default();
        Self { first: length(first), per_token: length(per_token) }
    }

    /// From the start of the call to the token with this place, from 0.
    fn due(self, place: usize) -> Duration {
        self.first.saturating_add(self.per_token.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX)))
    }
}

/// One draw of the standard normal distribution (Box and Muller).
fn normal(chance: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - chance.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * chance.f64()).cos()
}

/// A streamed reply on its way.
struct Show {
    encoder: Box<dyn StreamEncoder>,
    beats: std::vec::IntoIter<Beat>,
    start: Instant,
    pace: Pace,
    waits: Waits,
}

impl Show {
    fn play(self) -> impl Stream<Item = Result<Bytes, AttemptFault>> + Send {
        stream::unfold(Some(self), |show| async move {
            let mut show = show?;
            loop {
                let Some(Beat { place, chunks }) = show.beats.next() else {
                    let mut end = BytesMut::new();
                    show.encoder.end(&mut end);
                    return Some((Ok(end.freeze()), None));
                };
                if let Err(fault) = show.waits.for_piece(show.start, show.pace.due(place)).await {
                    return Some((Err(fault), None));
                }
                let mut piece = BytesMut::new();
                for chunk in &chunks {
                    show.encoder.chunk(chunk, &mut piece);
                }
                if !piece.is_empty() {
                    return Some((Ok(piece.freeze()), Some(show)));
                }
            }
        })
    }
}
