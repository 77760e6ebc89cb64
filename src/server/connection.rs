//! One client connection: how long a head may take, how long it may lie idle, how it leaves at a stop.
//!
//! The rule: a connection that owes a head has little time for it, one that owes nothing has much; and when there are too many
//! connections, those without a request make room.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HttpService;

/// How long a head may take from its first byte; for a new connection from its beginning.
pub(super) const HEAD: Duration = Duration::from_secs(30);
/// How long a connection may lie idle between two requests. Longer than clients and the
/// load balancers of the large clouds (600 s) keep theirs, so that none is closed under a request.
pub(super) const IDLE: Duration = Duration::from_secs(620);
/// How long requests are still accepted after the signal to stop: those on their way would be cut off otherwise.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);
/// How often an HTTP/2 connection is pinged, to notice a client that is gone.
const PING: Duration = Duration::from_secs(30);
/// The largest head that is read, bytes.
const MAX_HEAD: usize = 64 << 10;

/// What is known of a connection from outside.
#[derive(Debug)]
pub(super) struct ConnectionState {
    opened: Instant,
    /// Requests whose reply has not ended.
    under_way: AtomicUsize,
    /// A whole head has come.
    begun: AtomicBool,
    http2: AtomicBool,
    /// When the first byte of an unfinished head came, in nanoseconds after the opening; 0 where there is none.
    head_since: AtomicU64,
}

impl ConnectionState {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            under_way: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
        })
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// How old it is.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Until when a head must be there that has begun to come.
    fn head_deadline(&self) -> Option<Instant> {
        if !self.has_begun() {
            return Some(self.opened + HEAD);
        }
        // What HTTP/2 sends between requests are no heads; its own pings notice who is gone.
        let since = self.head_since.load(Ordering::Relaxed);
        (since > 0 && !self.http2.load(Ordering::Relaxed)).then(|| self.opened + Duration::from_nanos(since) + HEAD)
    }

    fn received(&self) {
        if self.is_idle() && self.head_since.load(Ordering::Relaxed) == 0 {
            let since = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.head_since.store(since.max(1), Ordering::Relaxed);
        }
    }

    fn begin(self: &Arc<Self>, version: Version) -> UnderWay {
        self.begun.store(true, Ordering::Relaxed);
        self.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }
}

/// A request under way; dropping it ends it.
struct UnderWay(Arc<ConnectionState>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end. Once stopping, it ends after the request under way or the one that comes at the last
/// call; one that never sent a whole head has none.
pub(super) async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Arc<HttpService>,
    state: Arc<ConnectionState>,
    stopping: CancellationToken,
) {
    let answer = service_fn(|request: Request<Incoming>| {
        let under_way = state.begin(request.version());
        let stopping = stopping.clone();
        // HTTP/2 has a frame of its own for this, and forbids the header.
        let http1 = request.version() <= Version::HTTP_11;
        let answering = service.answer(request);
        async move {
            let mut response = answering.await;
            if http1 && stopping.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| ReplyBody { body, _under_way: under_way }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_HEAD);
    let most = u32::try_from(MAX_HEAD).unwrap_or(u32::MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).max_header_list_size(most);
    let socket = Watched { inner: socket, state: Arc::clone(&state) };
    let mut serving = pin!(builder.serve_connection(TokioIo::new(socket), answer));
    let ended = {
        let until_late = until_late(serving.as_mut(), &state);
        tokio::select! {
            biased;
            ended = until_late => ended,
            () = stopping.cancelled() => Ended::Stopping,
        }
    };
    let ended = match ended {
        Ended::Late => return,
        Ended::Served(ended) => ended,
        Ended::Stopping => match tokio::time::timeout(last_call(&service), serving.as_mut()).await {
            Ok(ended) => ended,
            Err(_elapsed) if !state.has_begun() => return,
            Err(_elapsed) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        },
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a connection ended early");
    }
}

/// How long a connection may still bring a request once a stop has begun.
fn last_call(service: &HttpService) -> Duration {
    service.last_call.get().copied().unwrap_or(LAST_CALL)
}

enum Ended<T> {
    Served(T),
    /// A head did not come in time.
    Late,
    /// It goes on, but is to leave.
    Stopping,
}

/// Drives a connection to its end, or until a head is late. The timer is set anew only when a head begins or ends.
async fn until_late<F: Future>(mut serving: Pin<&mut F>, state: &ConnectionState) -> Ended<F::Output> {
    let mut timer = pin!(tokio::time::sleep_until(state.opened + HEAD));
    poll_fn(|context| {
        if let Poll::Ready(ended) = serving.as_mut().poll(context) {
            return Poll::Ready(Ended::Served(ended));
        }
        let Some(deadline) = state.head_deadline() else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context).map(|()| Ended::Late)
    })
    .await
}

/// A socket that notes when a head begins.
struct Watched<S> {
    inner: S,
    state: Arc<ConnectionState>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.state.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// A reply's body, at whose end the request is no more under way.
struct ReplyBody {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
