//! Listening and stopping. Connections go to the workers. No request is lost at a stop: for half a second more connections are
//! accepted and each reply closes its connection; then the listener closes, and requests under way finish within the grace time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::HttpService;
use super::workers::Workers;

/// How long a new connection may take to send the head of its first request.
const FIRST_HEAD: Duration = Duration::from_secs(75);
/// How long a connection may lie idle between two requests, the next one's head included. Longer than clients and the
/// load balancers of the large clouds (600 s) keep theirs, so that none is closed under a request.
const NEXT_HEAD: Duration = Duration::from_secs(620);
/// How long requests are still accepted after the signal to stop: those on their way would be cut off otherwise.
const LAST_CALL: Duration = Duration::from_millis(500);
/// How often an HTTP/2 connection is pinged, to notice a client that is gone.
const PING: Duration = Duration::from_secs(30);
/// The pause after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A bound socket, and where it is.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    /// The address in use; its port is real even where the configuration says 0.
    pub address: SocketAddr,
}

/// Binds `address`.
///
/// # Errors
/// Where the address cannot be had, naming it.
pub async fn listen(address: SocketAddr) -> io::Result<Listening> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|fault| io::Error::new(fault.kind(), format!("cannot listen on {address}: {fault}")))?;
    let address = listener.local_addr()?;
    Ok(Listening { listener, address })
}

/// A listener, what it serves, and the threads that do.
pub struct Server {
    listening: Listening,
    service: Arc<HttpService>,
    workers: Workers,
}

impl Server {
    /// Starts so many threads, each with an event loop of its own. Nothing is accepted yet.
    ///
    /// # Errors
    /// Where the threads cannot be had.
    pub fn start(listening: Listening, service: HttpService, workers: NonZeroUsize) -> io::Result<Self> {
        let started = Workers::start(workers);
        let describe =
            |fault: io::Error| io::Error::new(fault.kind(), format!("cannot start {workers} threads: {fault}"));
        Ok(Self { listening, service: Arc::new(service), workers: started.map_err(describe)? })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// Serves until `stop` completes and half a second longer; then finishes the requests under way, but waits no longer
    /// than `grace`.
    pub async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) {
        let Self { listening, service, workers } = self;
        let stopping = CancellationToken::new();
        {
            let accepting = accept(&listening.listener, &service, &workers, &stopping);
            tokio::pin!(accepting);
            tokio::select! {
                biased;
                () = stop => {}
                never = accepting.as_mut() => match never {},
            }
            if let Some(app) = &service.gateway {
                app.draining.store(true, Ordering::Release);
            }
            tracing::info!("stopping: requests under way may finish");
            stopping.cancel();
            let _over = tokio::time::timeout(LAST_CALL, accepting).await;
        }
        drop(listening);
        if tokio::time::timeout(grace, workers.idle()).await.is_err() {
            tracing::warn!(grace_s = grace.as_secs(), "requests still under way were cut off");
        }
        // A request that is cut off is still recorded: dropping its task writes the record.
        workers.end().await;
    }
}

async fn accept(
    listener: &TcpListener,
    service: &Arc<HttpService>,
    workers: &Workers,
    stopping: &CancellationToken,
) -> Infallible {
    loop {
        // Taken out of this thread's event loop, to be put into the worker's.
        match listener.accept().await.and_then(|(socket, _)| socket.into_std()) {
            // A token of its own: each look at it takes its lock, which connections of other workers must not wait for.
            Ok(socket) => workers.spawn(connected(socket, Arc::clone(service), stopping.child_token())),
            Err(fault) if is_of_one_connection(&fault) => {}
            // Too many open files, mostly: those under way have to end first.
            Err(fault) => {
                tracing::error!(%fault, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connected(socket: StdTcpStream, service: Arc<HttpService>, stopping: CancellationToken) {
    // Small pieces of a stream must not wait for each other.
    if let Err(fault) = socket.set_nodelay(true) {
        tracing::debug!(%fault, "TCP_NODELAY could not be set");
    }
    match TcpStream::from_std(socket) {
        Ok(socket) => connection(socket, service, stopping).await,
        Err(fault) => tracing::warn!(%fault, "a connection could not be served"),
    }
}

fn is_of_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(fault.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection to its end. Once stopping, it ends after the request under way or the one that comes at the last
/// call; one that never sent a whole head has none.
async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Arc<HttpService>,
    stopping: CancellationToken,
) {
    let began = AtomicBool::new(false);
    let serve = service_fn(|request: Request<Incoming>| {
        began.store(true, Ordering::Relaxed);
        let (service, stopping) = (Arc::clone(&service), stopping.clone());
        async move {
            // HTTP/2 has a frame of its own for this, and forbids the header.
            let http1 = request.version() <= Version::HTTP_11;
            let mut response = service.answer(request).await;
            if http1 && stopping.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING);
    let serving = builder.serve_connection(TokioIo::new(socket), serve);
    let first_head = tokio::time::sleep(FIRST_HEAD);
    tokio::pin!(serving, first_head);
    let mut waits = true;
    let ended = loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => break ended,
            () = stopping.cancelled() => {
                if let Ok(ended) = tokio::time::timeout(LAST_CALL, serving.as_mut()).await {
                    break ended;
                }
                if !began.load(Ordering::Relaxed) {
                    return;
                }
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            // The protocol's own timers begin only once its first bytes have shown which protocol it is.
            () = first_head.as_mut(), if waits => {
                if !began.load(Ordering::Relaxed) {
                    return;
                }
                waits = false;
            }
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
