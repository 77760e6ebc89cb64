//! Listening and leaving: a signal stops new connections, requests under way finish within the grace time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::App;

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
///
/// # Errors
/// Where the listener itself breaks.
pub async fn serve(
    listening: Listening,
    router: Router,
    app: Option<Arc<App>>,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    // Small pieces of a stream must not wait for each other.
    let listener = listening.listener.tap_io(|socket| {
        if let Err(fault) = socket.set_nodelay(true) {
            tracing::debug!(%fault, "TCP_NODELAY could not be set");
        }
    });
    let stopping = CancellationToken::new();
    let told = stopping.clone();
    let stopped = async move {
        stop.await;
        if let Some(app) = app {
            app.draining.store(true, Ordering::Release);
        }
        tracing::info!("stopping: no new connections; requests under way may finish");
        told.cancel();
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
    let late = async {
        stopping.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        ended = served => ended,
        () = late => {
            tracing::warn!(grace_s = grace.as_secs(), "requests still under way were cut off");
            Ok(())
        }
    }
}
