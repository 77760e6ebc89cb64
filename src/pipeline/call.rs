//! One attempt: write the request in the provider's words, send it, read what comes back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::attempt::AttemptProgress;
use crate::catalog::Deployment;
use crate::chat::{ChatRequest, FinishReason, Reply};
use crate::clock::by;
use crate::fault::{AttemptFault, FaultKind, Refusal};
use crate::format::{self, Encoded, Target, ToolNames};
use crate::seed;
use crate::snapshot::DeploymentRuntime;
use crate::upstream::{Body, Sent, UpstreamRequest, UpstreamResponse};

use super::authorize::authorize;
use super::judging::ToJudge;
use super::left_out::Defaulted;
use super::limits_left::limits_left;
use super::one_call::OneCall;
use super::parser::CallFailure;
use super::scrub::scrubbed;
use super::{
    LARGE, Pieces, ReplyMeta, RequestContext, RequestGuard, Served, defaulting, left_out, moderated, parser, prompt,
    stream, vectors,
};

/// The largest whole reply read from a provider.
const MAX_REPLY: usize = 64 << 20;
/// The largest error body read from a provider.
pub(super) const MAX_ERROR: usize = 1 << 20;

/// Calls the deployment `index` and reads a whole reply, or a streamed one up to its first content.
///
/// # Errors
/// What went wrong with this one call; the attempt is still open.
pub(super) async fn call(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    index: usize,
) -> Result<Served<Box<stream::Begun>>, CallFailure> {
    let runtime = &context.group.deployments[index];
    let deployment = &*runtime.config;
    prompt::built_for(context, guard);
    let mut sent = Vec::new();
    let answered = answered(context, guard, runtime, &mut sent).await;
    let scrub = |fault| scrubbed(fault, deployment, &sent);
    let (answer, dropped, within) = answered.map_err(scrub)?;
    let mut meta = ReplyMeta {
        deployment: deployment.id.clone(),
        policy: guard.record.policy.clone().unwrap_or_else(|| "built-in".into()),
        group: context.group.config.name.clone(),
        attempts: guard.attempts(),
        tried: guard.tried(),
        waited: guard.record.waited,
        model: String::new(),
        cost: None,
        bill: None,
        items: context.items.clone(),
        dropped,
        limits: limits_left(context, runtime),
        took: Duration::ZERO,
        overhead: Duration::ZERO,
    };
    if context.request.stream {
        return Box::pin(streamed(context, guard, runtime, (answer.body, within), sent, meta)).await;
    }
    let full = |full: Refusal| AttemptFault::new(FaultKind::Gateway, full.message);
    let mut hold = |bytes| guard.hold_memory(bytes).map_err(full);
    let reading = context.gateway.clock.now();
    let body = within.run(collect(&answer.headers, answer.body, MAX_REPLY, &mut hold)).await;
    let read = context.gateway.clock.now();
    let body = body.map_err(scrub)?;
    hold(context.gateway.tree_bytes(&body).await)?;
    guard.was_on_wire(reading, read);
    if context.request.vectors.is_some() {
        let given = Box::pin(vectors::given(context, guard, runtime, (&answer.headers, body), &mut meta));
        let body = given.await.map_err(scrub)?;
        return Ok(Served::Whole { body, meta });
    }
    let mut reply = decode(context, runtime, body).await.map_err(scrub)?;
    if let Some(names) = ToolNames::of(&context.request) {
        names.restore(&mut reply);
    }
    reply.created.get_or_insert(read.as_millis() / 1000);
    named((&mut reply.id, &mut reply.model), (context, guard), &mut meta, deployment);
    guard.first_content();
    let before = guard.record.cost;
    if let Some(progress) = guard.progress() {
        let parts = reply.choices.iter().flat_map(|choice| &choice.parts);
        parts.for_each(|part| progress.saw(part.kind.length() as u64));
        progress.truncated(reply.choices.iter().any(|choice| choice.finish == Some(FinishReason::Length)));
        reply.usage.iter().for_each(|usage| progress.reported(usage));
    }
    guard.count_to_bill(None).await;
    if let Some(progress) = guard.progress() {
        priced(&mut meta, progress, deployment);
        // What was asked before, of a reply the parser did not take, is in it.
        meta.cost = meta.cost.map(|cost| cost + before.unwrap_or_default());
    }
    moderated::whole(context, &reply)?;
    guard.set_to_judge(ToJudge::whole(context, guard, &reply));
    one_call(context, deployment, &mut reply);
    let length = parser::length(&reply);
    parser::whole(context, guard, &mut reply).await.map_err(|told| CallFailure::Complaint(told.scrubbed(scrub)))?;
    guard.hold_memory(parser::length(&reply).saturating_sub(length)).map_err(full)?;
    let body = guard.api().reply_to(&context.request, &reply);
    (meta.took, meta.overhead) = guard.times();
    Ok(Served::Whole { body, meta })
}

/// A streamed reply, once its first content has come. Its reader is large: whole replies do without the room for it.
async fn streamed(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    runtime: &DeploymentRuntime,
    (body, within): (Body, Within),
    sent: Vec<SecretString>,
    mut meta: ReplyMeta,
) -> Result<Served<Box<stream::Begun>>, CallFailure> {
    let mut source = stream::Source::new(context, guard, runtime, body);
    let reading = context.gateway.clock.now();
    let begun = within.run(source.first_content(guard)).await;
    guard.was_on_wire(reading, context.gateway.clock.now());
    if let Err(fault) = begun {
        return Err(source.complaint(fault, |fault| scrubbed(fault, &runtime.config, &sent)));
    }
    moderated::streamed(context, source.ended_at_once())?;
    (meta.took, meta.overhead) = guard.times();
    let stream = Box::new(stream::begin((context, guard), runtime, source, sent, &mut meta));
    Ok(Served::Streamed { stream, meta })
}

/// Leaves out what came beside the one call that the client wants.
fn one_call(context: &RequestContext<'_>, deployment: &Deployment, reply: &mut Reply) {
    if OneCall::wanted(&context.request, deployment.defaults.as_deref()) {
        OneCall::cut(reply);
    }
}

/// Puts into the head what the reply costs: what its provider says, else its parts at the deployment's prices.
pub(super) fn priced(meta: &mut ReplyMeta, progress: &AttemptProgress, deployment: &Deployment) {
    let prices = deployment.prices.as_ref();
    meta.cost = progress.cost(prices);
    meta.bill = prices.filter(|_| progress.told_cost().is_none()).map(|prices| progress.bill(prices));
}

/// Gives a reply its names: the request's id where its provider gave none, and the model that the client asked for, which clients
/// compare (Claude Code keeps signed thinking by it). What another group replied keeps the name of its model. The model that the provider
/// names goes into the head.
pub(super) fn named(
    (id, model): (&mut String, &mut String),
    (context, guard): (&RequestContext<'_>, &RequestGuard),
    meta: &mut ReplyMeta,
    deployment: &Deployment,
) {
    if id.is_empty() {
        *id = guard.record.id.to_string();
    }
    name_model(model, context, meta, deployment);
}

/// What [`named`] does for the model's name.
pub(super) fn name_model(
    model: &mut String,
    context: &RequestContext<'_>,
    meta: &mut ReplyMeta,
    deployment: &Deployment,
) {
    if model.is_empty() {
        model.push_str(&deployment.model);
    }
    let told = if meta.tried.fallbacks == 0 { context.request.model.clone() } else { model.clone() };
    meta.model = std::mem::replace(model, told);
}

/// Sends the request until it is taken or refused. A provider that refuses only to be told that a stream's usage is wanted is asked
/// once more without, and from then on; what it used is estimated. So is one that gives no thinking under a seal. One that refuses
/// thinking which it sealed for another account of the same group is asked once more without. What was made to authorise the request
/// is put into `secrets`.
async fn answered(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    runtime: &Arc<DeploymentRuntime>,
    secrets: &mut Vec<SecretString>,
) -> Result<(UpstreamResponse, Vec<String>, Within), AttemptFault> {
    let bare = context.request.stream && runtime.learned.takes_bare_streams();
    let mut without = Without { bare, thoughts: false, unsealed: runtime.learned.gives_nothing_sealed() };
    loop {
        let sent = match send(context, guard, runtime, without, secrets).await {
            // Nothing was processed there, and each of these connections is found out once.
            Err(fault) if fault.met_closed_connection() => {
                Box::pin(send(context, guard, runtime, without, secrets)).await
            }
            sent => sent,
        };
        let (answer, dropped, within) = sent?;
        guard.response_head(answer.status.is_success());
        guard.told(&answer.headers);
        if answer.status.is_success() {
            if without.bare {
                runtime.learned.took_a_bare_stream();
            }
            if without.unsealed {
                runtime.learned.gave_nothing_sealed();
            }
            return Ok((answer, dropped, within));
        }
        let fault = Box::pin(refused(context, runtime, answer, within)).await;
        let refuses_stream_options = || context.request.stream && runtime.format.refuses_stream_options(&fault);
        if !without.thoughts && runtime.format.refuses_thoughts(&fault) {
            without.thoughts = true;
        } else if !without.unsealed && runtime.format.refuses_sealing(&fault) {
            without.unsealed = true;
        } else if !without.bare && refuses_stream_options() {
            without.bare = true;
        } else {
            return Err(fault);
        }
    }
}

/// What a request is written without, because its provider refused it for that.
#[derive(Clone, Copy)]
struct Without {
    /// What a stream is asked beside itself.
    bare: bool,
    /// Thinking that was sealed.
    thoughts: bool,
    /// That thinking is given under a seal.
    unsealed: bool,
}

/// Writes, authorises and sends the request; the fields it has no place for, and the end of the attempt's time, beside the
/// head of the response.
async fn send(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    runtime: &Arc<DeploymentRuntime>,
    without: Without,
    secrets: &mut Vec<SecretString>,
) -> Result<(UpstreamResponse, Vec<String>, Within), AttemptFault> {
    let mut encoded =
        encode(context, runtime, guard.default_bound(), without).await.map_err(AttemptFault::before_sending)?;
    let dropped = std::mem::take(&mut encoded.dropped);
    let mut outgoing = outgoing(runtime, encoded, context.request.stream);
    let now = context.gateway.clock.now();
    // A stream that is held is there when it is whole.
    let whole = context.holds().then_some(runtime.config.timeouts.first_byte);
    let limit = outgoing.timeouts.first_byte.max(whole.unwrap_or_default());
    let within = Within { deadline: context.gateway.clock.instant(now + limit), limit };
    let until = (now, within.deadline, limit);
    authorize(context, runtime, &mut outgoing, until, secrets).await.map_err(AttemptFault::before_sending)?;
    guard.sending();
    outgoing.sent = guard.sent(outgoing.body.len());
    if let Some(progress) = guard.progress() {
        progress.sent();
    }
    let asked = context.gateway.clock.now();
    let answer = runtime.transport.send(outgoing).await;
    guard.was_on_wire(asked, context.gateway.clock.now());
    if !answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
        guard.unanswered();
    }
    let answer = answer?;
    let coding = answer.headers.get(CONTENT_ENCODING).map(|coding| String::from_utf8_lossy(coding.as_bytes()));
    if let Some(coding) = coding.filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
        let message =
            format!("the provider's answer ({}) is coded as `{coding:.40}`, which was not asked for", answer.status);
        return Err(AttemptFault::new(FaultKind::BrokenStream, message));
    }
    Ok((answer, dropped, within))
}

async fn encode(
    context: &RequestContext<'_>,
    runtime: &Arc<DeploymentRuntime>,
    bound: u32,
    without: Without,
) -> Result<Encoded, AttemptFault> {
    let format = runtime.format.serving(context.id, context.gateway.clock.now());
    let (wishes, may_lose) = (context.wishes.clone(), context.may_lose);
    let encode = move |request: &ChatRequest, runtime: &DeploymentRuntime| {
        let less = without.thoughts.then(|| format::without_thoughts(request)).flatten();
        let (request, places) = match &less {
            Some((request, places)) => (request, places.as_slice()),
            None => (request, &[][..]),
        };
        let (model, api_version) = (&*runtime.config.model, runtime.config.api_version.as_deref());
        let defaults = runtime.config.defaults.as_deref();
        let whole = defaults.map(|defaults| request.with_defaults(defaults));
        let defaulted = defaults.map(|defaults| Defaulted(request, defaults));
        let request = whole.as_ref().unwrap_or(request);
        let Without { bare: bare_stream, unsealed, .. } = without;
        let quirks = runtime.config.quirks;
        let target = Target { model, api_version, quirks, default_max_tokens: bound, bare_stream, unsealed };
        let longest = runtime.config.max_output_tokens;
        let rules = wishes.left_out(&runtime.config.left_out);
        let write = |request: &ChatRequest| match request.vectors {
            Some(_) => format.encode_vectors(request, &target),
            None => format.encode(request, &target),
        };
        let tells = |path: &str| format.tells(path);
        let mut encoded = left_out::encoded(request, defaulted, &rules, may_lose, longest, write, tells)?;
        if let Some(defaults) = defaults {
            defaulting::fill(&mut encoded, request, defaults, &rules.never, write);
        }
        encoded.dropped.extend_from_slice(places);
        Ok(encoded)
    };
    if !context.large && !runtime.format.is_slow() {
        return encode(&context.request, runtime);
    }
    let (request, runtime) = (Arc::clone(&context.request), Arc::clone(runtime));
    let pool = context.gateway.pool_for(runtime.format.is_slow());
    let encoded = pool.run(move || encode(&request, &runtime)).await;
    encoded.unwrap_or_else(|| Err(AttemptFault::new(FaultKind::Misconfigured, "the request could not be written")))
}

/// Adds what a format must not know: origin and the operator's own headers.
pub(super) fn outgoing(runtime: &DeploymentRuntime, encoded: Encoded, streamed: bool) -> UpstreamRequest {
    let query = runtime.config.query.as_deref();
    // Where the address names the model, the method alone follows.
    let method = encoded.path.split_once(':').filter(|_| runtime.base_url.ends_with(':'));
    let path = method.map_or(encoded.path.as_str(), |(_, method)| method);
    let mut url = String::with_capacity(runtime.base_url.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    url.push_str(&runtime.base_url);
    url.push_str(path);
    if let Some(query) = query {
        url.push(if path.contains('?') { '&' } else { '?' });
        url.push_str(query);
    }
    let mut headers: HeaderMap = encoded.headers;
    // Beside the three here there are one that authorises and three of the connection's.
    headers.reserve(7 + runtime.config.headers.len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    // Without it any coding would be acceptable.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in &runtime.config.headers {
        let joined = headers.get(name).filter(|_| name.as_str().ends_with("-beta"));
        let joined = joined.and_then(|clients| joined_lists(clients, value));
        headers.insert(name.clone(), joined.unwrap_or_else(|| value.clone()));
    }
    let timeouts = if streamed { runtime.config.stream_timeouts } else { runtime.config.timeouts };
    UpstreamRequest { url, headers, body: encoded.body, timeouts, sent: Sent::default() }
}

/// What either of two comma-separated lists names, each once.
fn joined_lists(one: &HeaderValue, other: &HeaderValue) -> Option<HeaderValue> {
    let mut names: Vec<&str> = Vec::new();
    for name in one.to_str().ok()?.split(',').chain(other.to_str().ok()?.split(',')).map(str::trim) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    HeaderValue::try_from(names.join(",")).ok()
}

/// The end of an attempt's time: a whole reply, or the first content of a streamed one, must have come by then. A provider
/// that sends a byte now and then, or pings, is no faster for it.
#[derive(Clone, Copy)]
struct Within {
    deadline: Instant,
    limit: Duration,
}

impl Within {
    async fn run<T>(self, work: impl Future<Output = Result<T, AttemptFault>>) -> Result<T, AttemptFault> {
        by(self.deadline, work).await.unwrap_or_else(|| {
            let message = format!("the provider's reply was not there after {} s", self.limit.as_secs_f64());
            Err(AttemptFault::new(FaultKind::TimedOut, message))
        })
    }
}

/// Reads a whole reply; a large one on another thread.
async fn decode(
    context: &RequestContext<'_>,
    runtime: &Arc<DeploymentRuntime>,
    body: Bytes,
) -> Result<Reply, AttemptFault> {
    let format = runtime.format.serving(context.id, context.gateway.clock.now());
    if body.len() <= LARGE && !format.is_slow() {
        return format.decode(&body);
    }
    let pool = context.gateway.pool_for(format.is_slow());
    let decoded = pool.run(move || format.decode(&body)).await;
    decoded.unwrap_or_else(|| Err(AttemptFault::new(FaultKind::BrokenStream, "the reply could not be read")))
}

async fn refused(
    context: &RequestContext<'_>,
    runtime: &DeploymentRuntime,
    answer: UpstreamResponse,
    within: Within,
) -> AttemptFault {
    let status = answer.status.as_u16();
    let body = within.run(collect(&answer.headers, answer.body, MAX_ERROR, |_| Ok(()))).await.unwrap_or_default();
    let format = runtime.format.serving(context.id, context.gateway.clock.now());
    format.decode_error(status, &answer.headers, &body)
}

/// Reads a body of at most so many bytes; `hold` is asked for the room of one that comes in several pieces.
pub(super) async fn collect(
    headers: &HeaderMap,
    mut body: Body,
    most: usize,
    mut hold: impl FnMut(usize) -> Result<(), AttemptFault>,
) -> Result<Bytes, AttemptFault> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut pieces = Pieces::announced(announced.unwrap_or(0).min(most));
    while let Some(piece) = body.next().await.transpose()? {
        if pieces.len() + piece.len() > most {
            let message = format!("the provider's reply is larger than {} MiB", most >> 20);
            return Err(AttemptFault::new(FaultKind::BrokenStream, message));
        }
        if !pieces.is_empty() {
            hold(piece.len())?;
        }
        pieces.push(piece);
    }
    Ok(pieces.whole())
}

/// How long to wait before attempt number `attempt` (from 1) once every deployment of the plan has failed: what the
/// provider asked for, up to a minute; else 0.5 s doubled each time, at most 8 s, and up to 0.75 s more so that
/// many do not return at once; never less than the configured `retry_after`. `None` where the provider asks for
/// more than a minute: the client is told so instead.
pub(super) fn pause(
    context: &RequestContext<'_>,
    wanted: Option<Duration>,
    attempt: u32,
    seed: u64,
) -> Option<Duration> {
    let least = context.snapshot.settings.retry_after;
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_zero()) {
        return (wanted <= Duration::from_secs(60)).then_some(wanted.max(least));
    }
    let doubled = Duration::from_millis(500).saturating_mul(1 << attempt.saturating_sub(1).min(4));
    let jitter = fastrand::Rng::with_seed(seed::derive(seed, u64::from(attempt))).u64(0..=750);
    Some((doubled.min(Duration::from_secs(8)) + Duration::from_millis(jitter)).max(least))
}
