//! A provider of our own on a free port: it answers what its script says, piece by piece, and remembers what it
//! was asked.
//!
//! Nothing in it waits for time to pass. What must happen in an order waits at a [`Gate`] that the test opens,
//! and what the other side does (going away) is reported, not guessed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Holds whoever waits at it until the test opens it; then it stays open.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        // It holds a sender itself, so the channel cannot close.
        self.0.subscribe().wait_for(|open| *open).await.expect("the gate is gone");
    }
}

/// How one request is answered: a head, then pieces.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    status: StatusCode,
    headers: HeaderMap,
    head_gate: Option<Gate>,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Bytes),
    Gate(Gate),
    Cut,
    Hang,
}

impl Step {
    /// A whole answer of JSON.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    /// A stream of server-sent events, as they stand on the wire.
    pub(crate) fn events(wire: impl Into<Bytes>) -> Self {
        Self::bytes(200, "text/event-stream; charset=utf-8", wire)
    }

    pub(crate) fn bytes(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        let status = StatusCode::from_u16(status).expect("a status");
        Self { status, headers, head_gate: None, pieces: vec![Piece::Bytes(body.into())] }
    }

    /// OpenAI's refusal of one request too many.
    pub(crate) fn openai_rate_limited(retry_after_seconds: u32) -> Self {
        let error =
            json!({"message": "Rate limit reached", "type": "requests", "param": null, "code": "rate_limit_exceeded"});
        Self::json(429, &json!({ "error": error })).header("retry-after", &retry_after_seconds.to_string())
    }

    /// Anthropic's refusal of one request too many.
    pub(crate) fn anthropic_rate_limited(retry_after_seconds: u32) -> Self {
        let error = json!({"type": "rate_limit_error", "message": "This request would exceed your rate limit"});
        let body = json!({"type": "error", "error": error, "request_id": "req_1"});
        Self::json(429, &body).header("retry-after", &retry_after_seconds.to_string())
    }

    /// A provider that broke, in OpenAI's words.
    pub(crate) fn openai_broken(status: u16) -> Self {
        let error = json!({"message": "The server had an error", "type": "server_error", "param": null, "code": null});
        Self::json(status, &json!({ "error": error }))
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"));
        self
    }

    /// Not even the head is sent before `gate` opens.
    pub(crate) fn head_after(mut self, gate: &Gate) -> Self {
        self.head_gate = Some(gate.clone());
        self
    }

    /// The body as one piece per byte.
    pub(crate) fn byte_by_byte(self) -> Self {
        let length = self.body().len();
        self.split_at(&(1..length).collect::<Vec<_>>())
    }

    /// The body in pieces that end at these offsets.
    pub(crate) fn split_at(mut self, offsets: &[usize]) -> Self {
        let body = self.body();
        let ends = offsets.iter().copied().chain([body.len()]);
        let pieces = ends.scan(0, |start, end| {
            let piece = body.slice(*start..end);
            *start = end;
            Some(Piece::Bytes(piece))
        });
        self.pieces = pieces.collect();
        self
    }

    /// After `bytes` of the body, wait for `gate`.
    pub(crate) fn pause_after(mut self, bytes: usize, gate: &Gate) -> Self {
        self = self.split_at(&[bytes]);
        self.pieces.insert(1, Piece::Gate(gate.clone()));
        self
    }

    /// Send only the first `bytes` of the body, then break the connection.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self = self.split_at(&[bytes]);
        self.pieces.truncate(1);
        self.pieces.push(Piece::Cut);
        self
    }

    /// Send only the first `bytes` of the body, then nothing until the other side goes away.
    pub(crate) fn hang_after(mut self, bytes: usize) -> Self {
        self = self.split_at(&[bytes]);
        self.pieces.truncate(1);
        self.pieces.push(Piece::Hang);
        self
    }

    /// Never answer; not even with a head.
    pub(crate) fn silent() -> Self {
        Self::bytes(200, "application/json", "").head_after(&Gate::closed())
    }

    /// The body, as long as nothing but bytes is in it.
    fn body(&self) -> Bytes {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => &bytes[..],
            other => panic!("pieces are split before {other:?} is put between them"),
        });
        Bytes::from(bytes.collect::<Vec<_>>().concat())
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A running provider. It stops when it is dropped.
#[derive(Debug)]
pub(crate) struct ScriptedUpstream {
    address: SocketAddr,
    state: Arc<Script>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    asked: Mutex<Vec<Asked>>,
    arrived: watch::Sender<usize>,
    cancelled: watch::Sender<usize>,
}

impl ScriptedUpstream {
    /// Answers one request after another with `steps`; the last one answers all that follow.
    pub(crate) async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps: VecDeque<Step> = steps.into_iter().collect();
        assert!(!steps.is_empty(), "a script has at least one step");
        let state = Arc::new(Script {
            steps: Mutex::new(steps),
            asked: Mutex::default(),
            arrived: watch::Sender::new(0),
            cancelled: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serving") });
        Self { address, state, server }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        *self.state.arrived.borrow()
    }

    /// What was asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().expect("asked").clone()
    }

    /// Waits until `count` requests have come.
    pub(crate) async fn until_asked(&self, count: usize) {
        self.state.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.expect("the script is here");
    }

    /// Waits until the other side has gone away from `count` requests before their end.
    pub(crate) async fn until_cancelled(&self, count: usize) {
        self.state.cancelled.subscribe().wait_for(|cancelled| *cancelled >= count).await.expect("the script is here");
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Counts a cancellation when it is dropped before the end was reached.
struct Watcher {
    state: Arc<Script>,
    ended: bool,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if !self.ended {
            self.state.cancelled.send_modify(|count| *count += 1);
        }
    }
}

async fn answer(State(state): State<Arc<Script>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a whole request");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let step = {
        let mut steps = state.steps.lock().expect("steps");
        if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() }.expect("a step")
    };
    state.asked.lock().expect("asked").push(Asked { path: head.uri.to_string(), headers: head.headers, body });
    state.arrived.send_modify(|count| *count += 1);
    let watcher = Watcher { state, ended: false };
    if let Some(gate) = &step.head_gate {
        gate.pass().await;
    }
    let mut response = Response::new(Body::from_stream(Watched { pieces: Box::pin(play(step.pieces)), watcher }));
    *response.status_mut() = step.status;
    *response.headers_mut() = step.headers;
    response
}

type Played = Result<Bytes, std::io::Error>;

fn play(pieces: Vec<Piece>) -> impl Stream<Item = Played> + Send {
    stream::unfold(pieces.into_iter(), |mut pieces| async move {
        loop {
            // The server writes out what it has before it asks again, so each piece is one on the wire too.
            tokio::task::yield_now().await;
            match pieces.next()? {
                Piece::Bytes(bytes) if bytes.is_empty() => {}
                Piece::Bytes(bytes) => return Some((Ok(bytes), pieces)),
                Piece::Gate(gate) => gate.pass().await,
                Piece::Cut => return Some((Err(std::io::Error::other("cut by the script")), pieces)),
                Piece::Hang => std::future::pending().await,
            }
        }
    })
}

/// A body that knows whether it was read to its end.
struct Watched {
    pieces: Pin<Box<dyn Stream<Item = Played> + Send>>,
    watcher: Watcher,
}

impl Stream for Watched {
    type Item = Played;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Played>> {
        let piece = self.pieces.as_mut().poll_next(cx);
        if let Poll::Ready(None | Some(Err(_))) = &piece {
            self.watcher.ended = true;
        }
        piece
    }
}
