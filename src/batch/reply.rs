//! One line through the pipeline: a request, or the several that it stands for, to a whole reply.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use crate::fault::{Refusal, RefusalKind};
use crate::money::NanoUsd;
use crate::pipeline::{Followed, Gateway, RequestGuard, Served};
use crate::snapshot::Caller;

/// How often, once it is to stop, a request is looked at that was under way: one that was refused meanwhile waits for nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What became of it.
pub(super) struct Replied {
    /// The request's id.
    pub(super) request: String,
    /// The reply and what it cost, or the refusal; `None` where it was dropped before anything was sent.
    pub(super) reply: Option<Result<(Bytes, NanoUsd), Refusal>>,
    /// Whether any provider was sent it.
    pub(super) was_sent: bool,
}

/// Asks once. Once `halt` is cancelled, what was sent is waited for, and what was not is dropped.
pub(super) async fn ask(gateway: &Arc<Gateway>, caller: Arc<Caller>, line: &Line, halt: &CancellationToken) -> Replied {
    let several = match line.api.several(&line.body) {
        Ok(several) => several,
        Err(refusal) => {
            let request = gateway.new_id().to_string();
            return Replied { request, reply: Some(Err(refusal)), was_sent: false };
        }
    };
    let (bodies, joiner) = match several {
        None => (vec![line.body.clone()], None),
        Some(several) => (several.bodies, Some(several.joiner)),
    };
    let arrive = |body: &Bytes| {
        let mut guard = gateway.arrive(line.api);
        guard.set_caller(Some(Arc::clone(&caller)));
        let mut request = line.request(body);
        request.id = guard.id().to_string();
        (guard.follow(), guard, request)
    };
    let mut arrived: Vec<_> = bodies.iter().map(arrive).collect();
    RequestGuard::pay_together(arrived.iter_mut().map(|(_, guard, _)| &mut **guard));
    let request = arrived.first().map_or_else(String::new, |(_, guard, _)| guard.id().to_string());
    let followed: Vec<Arc<Followed>> = arrived.iter().map(|(followed, ..)| Arc::clone(followed)).collect();
    let served = arrived.into_iter().map(|(_, guard, request)| whole(gateway, guard, request));
    let replies = {
        let mut serving = pin!(try_join_all(served));
        tokio::select! {
            biased;
            replies = &mut serving => Some(replies),
            () = halt.cancelled() => loop {
                if !followed.iter().any(|one| one.is_under_way()) {
                    break None;
                }
                tokio::select! {
                    biased;
                    replies = &mut serving => break Some(replies),
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            },
        }
    };
    let was_sent = followed.iter().any(|one| one.was_sent());
    let reply = replies.map(|replies| {
        replies.map(|replies| {
            let cost = replies.iter().map(|(_, cost)| *cost).sum();
            let bodies: Vec<Bytes> = replies.into_iter().map(|(body, _)| body).collect();
            let body = match joiner {
                Some(mut joiner) => joiner.whole(&bodies),
                None => bodies.into_iter().next().unwrap_or_default(),
            };
            (body, cost)
        })
    });
    Replied { request, reply, was_sent }
}

/// Serves a request whose reply is wanted whole, and what it cost.
///
/// # Errors
/// The refusal; it is recorded.
pub(crate) async fn whole(
    gateway: &Arc<Gateway>,
    guard: Box<RequestGuard>,
    request: crate::format::ClientRequest,
) -> Result<(Bytes, NanoUsd), Refusal> {
    let (body, meta) = match Box::pin(gateway.serve(guard, Box::new(request))).await? {
        Served::Whole { body, meta } => (body, meta),
        Served::Large { body, meta, .. } => {
            let pieces: Vec<Bytes> = body.map(|piece| piece.unwrap_or_else(|never| match never {})).collect().await;
            (Bytes::from(pieces.concat()), meta)
        }
        Served::Streamed { .. } | Served::Late { .. } => {
            return Err(Refusal::new(RefusalKind::Internal, "a reply came as a stream that was not asked for"));
        }
    };
    Ok((body, meta.cost.unwrap_or_default()))
}
