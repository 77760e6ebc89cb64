//! Chats, through whichever API: read the body within bounds, serve it, name the deployment that replied in its headers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyExt;

use crate::clock::by;
use crate::fault::{Refusal, RefusalKind};
use crate::format::{ClientApi, ClientRequest};
use crate::moment::Moment;
use crate::pipeline::{Pieces, ReplyMeta, RequestGuard, Served};

use super::coding::Coding;
use super::stored::{Begun, Exchange};
use super::{App, RequestBody, access, coding, refusal, reply_headers, several, stored};

/// How long is read what nobody wants.
const DISCARD: Duration = Duration::from_secs(5);

/// How long a client may take to send its request.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves one chat request that came through `api`. It has arrived, and is recorded, even where its client leaves before the
/// future is polled once. All stages are within it: it is boxed, or each layer between here and the connection would move
/// tens of kilobytes for every request.
pub(super) fn handle<B: RequestBody>(
    app: &Arc<App>,
    api: &'static dyn ClientApi,
    request: Request<B>,
) -> Pin<Box<impl Future<Output = Response> + Send + use<B>>> {
    let (app, guard) = (Arc::clone(app), app.gateway.arrive(api));
    Box::pin(async move { serve(&app, guard, request).await })
}

/// Nothing of the body is read for a caller that is not known.
async fn serve<B: RequestBody>(app: &Arc<App>, mut guard: Box<RequestGuard>, request: Request<B>) -> Response {
    let api = guard.api();
    let id = guard.id().to_string();
    let (head, mut body) = request.into_parts();
    let now = app.gateway.clock.now();
    let authorized = access::authorize(guard.snapshot(), head.version, &head.headers, &head.uri, now);
    let known = authorized.and_then(|caller| {
        let caller = caller.unwrap_or_else(|| Arc::clone(&guard.snapshot().callers.anonymous));
        guard.set_caller(Some(Arc::clone(&caller)));
        access::is_json(guard.snapshot(), &head.headers)?;
        Ok((caller, coding::of(&head.headers)?))
    });
    let read = match known {
        Ok((caller, codings)) => {
            let body = read(app, &head.headers, &codings, &mut body, &mut guard, now).await;
            body.and_then(|body| {
                let most = guard.snapshot().settings.server.stored_responses;
                let begun = stored::begin(app, api, &caller.key, &id, &body, most)?;
                Ok((body, begun))
            })
        }
        Err(refusal) => Err(refusal),
    };
    let (body, Begun { earlier, named, exchange }) = match read {
        Ok(read) => read,
        Err(why) => {
            discard(&head.headers, body);
            return refusal::response(api, &guard.refuse(why), &id);
        }
    };
    let kind = HeaderValue::from_static(api.stream_type(&head.uri));
    let request = ClientRequest::new(head.method, head.uri, head.headers, body);
    let request = Box::new(ClientRequest { id: id.clone(), earlier, named, ..request });
    match api.several(&request.body) {
        Ok(None) => {}
        Ok(Some(several)) => {
            let joined = several::serve(app, guard, &request, several).await;
            return joined.map_or_else(|why| refusal::response(api, &why, &id), |joined| joint(api, joined, kind, &id));
        }
        Err(why) => return refusal::response(api, &guard.refuse(why), &id),
    }
    match app.gateway.serve(guard, request).await {
        Ok(Served::Whole { body, meta }) => {
            if let Some(exchange) = exchange {
                exchange.keep(body.clone());
            }
            respond(api, Body::from(body), HeaderValue::from_static("application/json"), &id, &meta)
        }
        Ok(Served::Large { body, length, meta }) => {
            let kind = HeaderValue::from_static("application/json");
            let body = match exchange {
                Some(exchange) => Body::from_stream(exchange.keep_whole(body, length)),
                None => Body::from_stream(body),
            };
            let mut response = respond(api, body, kind, &id, &meta);
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            response
        }
        Ok(Served::Streamed { stream, meta }) => streamed(api, kept(exchange, stream), Some(&meta), kind, &id),
        // Who replies is not known yet.
        Ok(Served::Late { stream }) => streamed(api, kept(exchange, stream), None, kind, &id),
        Err(why) => refusal::response(api, &why, &id),
    }
}

/// The body of a stream, of which is kept what an API keeps.
fn kept(exchange: Option<Exchange>, stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Body {
    match exchange {
        Some(exchange) => Body::from_stream(exchange.keep_stream(stream)),
        None => Body::from_stream(stream),
    }
}

/// A stream; `meta` is not there where its head goes out before anybody replied.
fn streamed(api: &dyn ClientApi, body: Body, meta: Option<&ReplyMeta>, kind: HeaderValue, id: &str) -> Response {
    let mut response = if let Some(meta) = meta {
        respond(api, body, kind, id, meta)
    } else {
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        refusal::identify(api, response.headers_mut(), id);
        response
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The reply to a request that stood for several.
fn joint(api: &dyn ClientApi, joined: several::Joined, kind: HeaderValue, id: &str) -> Response {
    match joined {
        several::Joined { body, meta: Some(meta), streamed: false } => {
            respond(api, body, HeaderValue::from_static("application/json"), id, &meta)
        }
        several::Joined { body, meta, .. } => streamed(api, body, meta.as_ref(), kind, id),
    }
}

/// Reads a body, and decodes it where it was sent compressed.
async fn read<B: RequestBody>(
    app: &App,
    headers: &HeaderMap,
    codings: &[Coding],
    body: &mut B,
    guard: &mut RequestGuard,
    now: Moment,
) -> Result<Bytes, Refusal> {
    let limit = guard.snapshot().settings.server.max_request_bytes;
    let too_large = move || {
        let message = format!(
            "the request body is larger than {limit} bytes; send less or raise `general_settings.max_request_size_mb`"
        );
        Refusal::new(RefusalKind::TooLarge, message)
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let read = async {
        let announced = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        let mut pieces = Pieces::announced(announced);
        while let Some(frame) = body.frame().await {
            let unreadable = |fault: B::Error| {
                let message = format!("the request body could not be read: {}", fault.into());
                Refusal::new(RefusalKind::InvalidRequest, message)
            };
            let Ok(piece) = frame.map_err(unreadable)?.into_data() else { continue };
            if pieces.len() + piece.len() > limit {
                return Err(too_large());
            }
            guard.hold_memory(piece.len())?;
            pieces.push(piece);
        }
        Ok(pieces.whole())
    };
    let until = app.gateway.clock.instant(now + BODY_TIMEOUT);
    let Some(read) = by(until, read).await else {
        let message = format!("the request body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        return Err(Refusal::new(RefusalKind::SlowRequest, message));
    };
    if codings.is_empty() {
        return read;
    }
    let (body, codings) = (read?, codings.to_vec());
    let decoded = app.gateway.blocking.run(move || coding::decode(&codings, &body, limit, too_large)).await;
    let failed = || Err(Refusal::new(RefusalKind::Internal, "the request body could not be decoded"));
    let decoded = decoded.unwrap_or_else(failed)?;
    guard.hold_memory(decoded.len())?;
    Ok(decoded)
}

/// Takes in what a refused client is still sending. One whose connection is closed under its writing reads no refusal.
fn discard<B: RequestBody>(headers: &HeaderMap, mut body: B) {
    // A client that sent `Expect: 100-continue` waits for this answer; reading the body would make it send.
    if !body.is_end_stream() && !headers.contains_key(EXPECT) {
        let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
        tokio::spawn(tokio::time::timeout(DISCARD, rest));
    }
}

fn respond(api: &dyn ClientApi, body: Body, kind: HeaderValue, id: &str, meta: &ReplyMeta) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = reply_headers::of(meta, kind, (&api.id_header(), id));
    response
}
