//! Listening and leaving: a signal stops new connections, requests under way finish within the grace time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::App;

/// How long a new connection may take to send the head of its first request.
const FIRST_HEAD: Duration = Duration::from_secs(75);
/// How long a connection may lie idle between two requests, the next one's head included. Longer than clients and the
/// load balancers of the large clouds (600 s) keep theirs, so that none is closed under a request.
const NEXT_HEAD: Duration = Duration::from_secs(620);
/// How often an HTTP/2 connection is asked whether anybody is there.
const PING: Duration = Duration::from_secs(30);
/// Until a listener that could not accept is asked again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A bound socket, and where it is.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    /// The address in use; its port is real even where 0 was asked for.
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

/// Serves until `stop` completes, then finishes what is under way, but not longer than `grace`.
pub async fn serve(
    listening: Listening,
    router: Router,
    app: Option<Arc<App>>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let connections = TaskTracker::new();
    let stopping = CancellationToken::new();
    let accepting = accept(&listening.listener, &router, &connections, &stopping);
    tokio::select! {
        biased;
        () = stop => {}
        never = accepting => match never {},
    }
    drop(listening);
    if let Some(app) = app {
        app.draining.store(true, Ordering::Release);
    }
    tracing::info!("stopping: no new connections; requests under way may finish");
    stopping.cancel();
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs(), "requests still under way were cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    connections: &TaskTracker,
    stopping: &CancellationToken,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                // Small pieces of a stream must not wait for each other.
                if let Err(fault) = socket.set_nodelay(true) {
                    tracing::debug!(%fault, "TCP_NODELAY could not be set");
                }
                connections.spawn(connection(socket, router.clone(), stopping.clone()));
            }
            Err(fault) if is_of_one_connection(&fault) => {}
            // Too many open files, mostly: those under way have to end first.
            Err(fault) => {
                tracing::error!(%fault, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

fn is_of_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(fault.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection to its end. Once stopping, it ends after the request under way; one that never sent a whole
/// head has none.
async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    stopping: CancellationToken,
) {
    let began = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        began.store(true, Ordering::Relaxed);
        router.clone().call(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING);
    let serving = builder.serve_connection(TokioIo::new(socket), service);
    let first_head = tokio::time::sleep(FIRST_HEAD);
    tokio::pin!(serving, first_head);
    let mut waits = true;
    let ended = loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => break ended,
            () = stopping.cancelled() => {
                if !began.load(Ordering::Relaxed) {
                    return;
                }
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            // The protocol's own timers begin only once its first bytes told which protocol it is.
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
