//! Plain origins: HTTP/1.1 connections driven by the very task that waits for the reply.
//!
//! A pooled client runs each connection as a task beside: a request and every piece of its reply are handed over, and
//! each handing over wakes somebody. Here whoever asks reads and writes the socket itself: measured with a local server,
//! a fifth more whole replies on the same cores, and a quarter less CPU time a stream. An idle connection is driven by nobody; whether it still stands is looked at when it
//! is taken out again. (Encrypted origins negotiate HTTP/2, whose connections are shared and need a task of their own.)

use std::collections::BTreeMap;
use std::error::Error;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

use super::connect::{ConnectTimeout, POOL_IDLE};
use super::outgoing::Outgoing;

/// The connections to plain origins, by authority.
#[derive(Debug)]
pub(super) struct Http1Pool {
    connector: ConnectTimeout<HttpConnector>,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one used last stands last, and is used next: the others grow old and are closed.
    connections: BTreeMap<String, Vec<(Instant, Box<Http1Connection>)>>,
    /// Somebody is there to close them.
    is_swept: bool,
}

/// One connection.
#[derive(Debug)]
struct Http1Connection {
    sender: SendRequest<Outgoing>,
    connection: Connection<TokioIo<TcpStream>, Outgoing>,
    /// The connection has ended and is not to be driven any more.
    over: bool,
}

/// What closes a connection as a request is on its way has done so, and is heard of, within the time of one way there and back. Whoever closes it
/// later may have worked on the request, and bill it.
const RACE: Duration = Duration::from_secs(1);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// There is no connection; nothing was sent.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// It was a kept one, and ended before a byte of the answer had come, and soon: the provider closed it as the request was on its way.
    #[error("the kept connection was closed")]
    Closed(#[source] Box<dyn Error + Send + Sync>),
    /// The provider said that it has not looked at the request (HTTP/2's `GOAWAY` and `REFUSED_STREAM`).
    #[error("the request was not processed")]
    Unprocessed(#[source] Box<dyn Error + Send + Sync>),
    /// It broke before the head of the answer had come.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

impl From<hyper::Error> for SendError {
    fn from(fault: hyper::Error) -> Self {
        Self::Broken(fault.into())
    }
}

impl From<legacy::Error> for SendError {
    fn from(fault: legacy::Error) -> Self {
        match () {
            () if fault.is_connect() => Self::Connect(fault.into()),
            () if is_unprocessed(&fault) => Self::Unprocessed(fault.into()),
            () => Self::Broken(fault.into()),
        }
    }
}

/// Whether the provider said that it has not processed the request: RFC 9113, 6.8 and 8.7. A stream ends with the connection's
/// `GOAWAY` only where that names an earlier one as the last it looked at.
fn is_unprocessed(fault: &(dyn Error + 'static)) -> bool {
    let mut next = Some(fault);
    let fault = loop {
        let Some(one) = next else { return false };
        if let Some(fault) = one.downcast_ref::<h2::Error>() {
            break fault;
        }
        next = one.source();
    };
    fault.is_remote() && (fault.is_go_away() || fault.reason() == Some(h2::Reason::REFUSED_STREAM))
}

impl Http1Pool {
    pub(super) fn new(connector: ConnectTimeout<HttpConnector>) -> Arc<Self> {
        Arc::new(Self { connector, idle: Mutex::default() })
    }

    /// Sends one request and waits for the head of the answer. Only a request of which nothing was sent, because the
    /// connection it was given to had been closed meanwhile, is given to another one.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Http1Body>, SendError> {
        let origin = std::mem::take(request.uri_mut());
        let authority = origin.authority().map_or("", http::uri::Authority::as_str).to_owned();
        let path = origin.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        if let Ok(host) = HeaderValue::from_str(&authority) {
            request.headers_mut().insert(HOST, host);
        }
        loop {
            let kept = self.take(&authority);
            let used_before = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Box::pin(self.open(origin.clone())).await?,
            };
            let begun = Instant::now();
            match connection.send(request).await {
                Ok(answer) => {
                    let home = Some((Arc::clone(self), authority));
                    return Ok(answer.map(|body| Http1Body { body, connection: Some(connection), home }));
                }
                Err(mut fault) => {
                    if let Some(unsent) = fault.take_message().filter(|_| used_before) {
                        request = unsent;
                        continue;
                    }
                    let fault = fault.into_error();
                    let closed = used_before && was_closed(&fault);
                    let closed = closed && begun.elapsed() < RACE && connection.ended_in_silence();
                    return Err(if closed { SendError::Closed(fault.into()) } else { fault.into() });
                }
            }
        }
    }

    async fn open(&self, origin: Uri) -> Result<Box<Http1Connection>, SendError> {
        let socket = self.connector.clone().call(origin).await.map_err(SendError::Connect)?;
        let (sender, connection) = handshake(socket).await?;
        Ok(Box::new(Http1Connection { sender, connection, over: false }))
    }

    /// An idle connection that still stands.
    fn take(&self, authority: &str) -> Option<Box<Http1Connection>> {
        loop {
            let (since, mut connection) = self.lock().connections.get_mut(authority)?.pop()?;
            if since.elapsed() < POOL_IDLE && connection.stands(&mut Context::from_waker(Waker::noop())) {
                return Some(connection);
            }
        }
    }

    fn put(self: &Arc<Self>, authority: String, connection: Box<Http1Connection>) {
        let mut idle = self.lock();
        idle.connections.entry(authority).or_default().push((Instant::now(), connection));
        let is_swept = std::mem::replace(&mut idle.is_swept, true);
        drop(idle);
        if !is_swept {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has been idle for too long; whether anything is left.
    fn close_old(&self) -> bool {
        let now = Instant::now();
        let mut idle = self.lock();
        let mut old = Vec::new();
        idle.connections.retain(|_, connections| {
            let fresh = connections.partition_point(|(since, _)| now.duration_since(*since) >= POOL_IDLE);
            old.extend(connections.drain(..fresh));
            !connections.is_empty()
        });
        idle.is_swept = !idle.connections.is_empty();
        let left = idle.is_swept;
        drop(idle);
        // Closed outside the lock.
        drop(old);
        left
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the connection ended with no answer begun, in an orderly way or because the peer knew it no more.
fn was_closed(fault: &hyper::Error) -> bool {
    let io = fault.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    fault.is_incomplete_message()
        || io.is_some_and(|io| matches!(io.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

/// Looks after idle connections for as long as there are any.
async fn sweep(connections: Weak<Http1Pool>) {
    loop {
        tokio::time::sleep(POOL_IDLE / 4).await;
        if !connections.upgrade().is_some_and(|connections| connections.close_old()) {
            return;
        }
    }
}

type Unsent = hyper::client::conn::TrySendError<Request<Outgoing>>;

impl Http1Connection {
    async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Unsent> {
        let mut answer = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|context| {
            // The connection first: it writes the request, and what it reads answers the other.
            self.drive(context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Reads and writes what can be read and written now.
    fn drive(&mut self, context: &mut Context<'_>) {
        if !self.over {
            // Its fault, if any, is told to whoever waits for the answer or its body.
            self.over = Pin::new(&mut self.connection).poll(context).is_ready();
        }
    }

    /// Whether it ended without a byte of an answer. (Those of a whole head would have been an answer.)
    fn ended_in_silence(self) -> bool {
        self.connection.into_parts().read_buf.is_empty()
    }

    /// Whether it can take another request.
    fn stands(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        !self.over && self.sender.is_ready()
    }
}

/// The body of an answer. Read to its end, it gives its connection back; dropped before, it closes it.
#[derive(Debug)]
pub(super) struct Http1Body {
    body: Incoming,
    connection: Option<Box<Http1Connection>>,
    home: Option<(Arc<Http1Pool>, String)>,
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut frame = Pin::new(&mut this.body).poll_frame(context);
        if frame.is_pending()
            && let Some(connection) = &mut this.connection
        {
            connection.drive(context);
            frame = Pin::new(&mut this.body).poll_frame(context);
        }
        if matches!(frame, Poll::Ready(None))
            && let (Some(mut connection), Some((connections, authority))) = (this.connection.take(), this.home.take())
            && connection.stands(context)
        {
            connections.put(authority, connection);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        // Not before the end was read: the connection is given back there.
        self.connection.is_none() && self.body.is_end_stream()
    }
}
