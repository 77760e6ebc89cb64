//! A request that stands for several: each is served as a request of its own, with its own limits, retries and record, and the client
//! reads one reply. The first one's headers tell for all.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, select_all, unfold};
use futures_util::{Stream, StreamExt};

use crate::fault::Refusal;
use crate::format::{ClientRequest, Joiner, Several};
use crate::pipeline::{ReplyMeta, RequestGuard, Served};

use super::App;

/// What all of it comes to.
pub(super) struct Joined {
    pub(super) body: Body,
    /// Of the first; a stream whose first reply is late has none yet.
    pub(super) meta: Option<ReplyMeta>,
    pub(super) streamed: bool,
}

type Pieces = BoxStream<'static, Bytes>;

/// Serves them at once. `first` is the guard of the request they came in.
///
/// # Errors
/// The first refusal of any.
pub(super) async fn serve(
    app: &Arc<App>,
    first: Box<RequestGuard>,
    whole: &ClientRequest,
    several: Several,
) -> Result<Joined, Refusal> {
    let Several { bodies, mut joiner } = several;
    let (api, caller) = (first.api(), first.caller().cloned());
    let mut first = Some(first);
    let asked = bodies.into_iter().map(|body| {
        let mut guard = first.take().unwrap_or_else(|| app.gateway.arrive(api));
        guard.set_caller(caller.clone());
        app.gateway.serve(guard, ClientRequest { body, ..whole.clone() })
    });
    // Made before any is polled: all of them have arrived.
    let asked: Vec<_> = asked.collect();
    let answers: Result<Vec<Served>, Refusal> = join_all(asked).await.into_iter().collect();
    let (mut pieces, mut replies, mut meta, mut streamed) = (Vec::new(), Vec::new(), None, false);
    for served in answers? {
        let (told, stream) = match served {
            Served::Whole { body, meta } => {
                replies.push(body);
                (Some(meta), None)
            }
            Served::Large { body, meta, .. } => {
                let body: Vec<Bytes> = body.filter_map(|piece| async move { piece.ok() }).collect().await;
                replies.push(body.concat().into());
                (Some(meta), None)
            }
            Served::Streamed { stream, meta } => (Some(meta), Some(unfailing(stream))),
            Served::Late { stream } => (None, Some(unfailing(stream))),
        };
        meta = meta.or(told);
        if let Some(stream) = stream {
            streamed = true;
            let place = pieces.len();
            pieces.push(stream.map(move |piece| (place, Some(piece))).chain(ended(place)).boxed());
        }
    }
    if !streamed {
        return Ok(Joined { body: Body::from(joiner.whole(&replies)), meta, streamed });
    }
    Ok(Joined { body: Body::from_stream(together(pieces, joiner)), meta, streamed })
}

fn unfailing(stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Pieces {
    stream.map(|piece| piece.unwrap_or_else(|never| match never {})).boxed()
}

fn ended(place: usize) -> impl Stream<Item = (usize, Option<Bytes>)> {
    futures_util::stream::iter([(place, None)])
}

/// The pieces of all as they come. After an error nothing follows.
fn together(
    all: Vec<BoxStream<'static, (usize, Option<Bytes>)>>,
    joiner: Box<dyn Joiner>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let open = all.len();
    unfold((Some(select_all(all)), joiner, open), |(all, mut joiner, mut open)| async move {
        let mut all = all?;
        loop {
            let mut out = BytesMut::new();
            let (place, piece) = all.next().await?;
            let goes_on = if let Some(piece) = piece {
                joiner.piece(place, &piece, &mut out)
            } else {
                open -= 1;
                if open == 0 {
                    joiner.end(&mut out);
                }
                open > 0
            };
            if !out.is_empty() {
                return Some((Ok(out.freeze()), (goes_on.then_some(all), joiner, open)));
            }
            if !goes_on {
                return None;
            }
        }
    })
}
