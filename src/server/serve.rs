//! Listening and stopping. Connections go to the workers. No request is lost at a stop: for half a second, or as configured, more connections are
//! accepted and each reply closes its connection; then the listener closes, and requests under way finish within the grace time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionState, LAST_CALL};
use super::workers::Workers;
use super::{App, HttpService};

/// The pause after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long requests that are cut off at a stop have for their last words: a stream for an event, all others for a refusal.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The same after a second signal.
const HURRIED_WORDS: Duration = Duration::from_millis(100);
/// Descriptors kept for everything but clients and their providers: files, logs, listeners.
const SPARE_DESCRIPTORS: u64 = 64;
/// The most connections, whatever the system would allow.
const MOST_CONNECTIONS: u64 = 100_000;
/// A connection younger than this is not closed to make room: its first head may be on its way.
const YOUNG: Duration = Duration::from_secs(1);

/// How a stop goes on.
#[derive(Clone, Copy, Debug)]
pub struct Stopping {
    /// How long connections are still accepted, and requests on kept ones served: until everybody has noticed.
    pub delay: Duration,
    /// How long requests under way may take from then on.
    pub grace: Duration,
}

impl Stopping {
    /// With the usual delay.
    #[must_use]
    pub const fn within(grace: Duration) -> Self {
        Self { delay: LAST_CALL, grace }
    }
}

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

    /// Serves until `stop` completes and as much longer as `ending` says; then finishes the requests under way, but waits no longer
    /// than its grace time, and not at all any more once `hurry` completes. Streams that still go on then end with an error event, whatever
    /// has no reply yet with a refusal, and every request that is cut off is recorded.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
        ending: impl FnOnce() -> Stopping,
    ) {
        let Self { listening, service, workers } = self;
        let stopping = CancellationToken::new();
        tokio::pin!(hurry);
        // `None` is a second signal.
        let mut finished = Some(false);
        let grace = {
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
            let Stopping { delay, grace } = ending();
            tell_stop(service.gateway.as_deref(), grace);
            // Only one stop is served.
            let _first = service.last_call.set(delay);
            stopping.cancel();
            tokio::select! {
                biased;
                () = hurry.as_mut() => finished = None,
                _over = tokio::time::timeout(delay, accepting) => {}
            }
            grace
        };
        drop(listening);
        if finished.is_some() {
            finished = tokio::select! {
                biased;
                () = hurry => None,
                ended = tokio::time::timeout(grace, all_ended(&workers, &service)) => Some(ended.is_ok()),
            };
        }
        if finished != Some(true) {
            let cut = service.gateway.as_deref().map_or(0, |app| app.metrics.under_way());
            let why = if finished.is_none() { "a second signal came" } else { "the grace time is over" };
            tracing::warn!(cut, grace_s = grace.as_secs(), "{why}: requests still under way are cut off");
            if let Some(app) = &service.gateway {
                if finished.is_none()
                    && let Some(ledger) = &app.gateway.ledger
                {
                    ledger.hurry();
                }
                app.gateway.cutoff.cancel();
            }
            let last_words = if finished.is_none() { HURRIED_WORDS } else { LAST_WORDS };
            let _silent_clients = tokio::time::timeout(last_words, all_ended(&workers, &service)).await;
        }
        // A request that is cut off is still recorded: dropping its task writes the record.
        workers.end().await;
    }
}

/// Completes once every connection has ended, and what clients left before is counted and recorded.
async fn all_ended(workers: &Workers, service: &HttpService) {
    workers.idle().await;
    if let Some(app) = &service.gateway {
        app.gateway.left.close();
        app.gateway.left.wait().await;
    }
}

/// Says how many requests run and wait, and until when they may.
fn tell_stop(app: Option<&App>, grace: Duration) {
    let Some(app) = app else { return tracing::info!("stopping: requests under way may finish") };
    // Groups whose deployments share a limit share a queue.
    let live = app.gateway.live.read();
    let queues: BTreeMap<_, _> = live.groups.values().map(|group| (Arc::as_ptr(&group.queue), &group.queue)).collect();
    let waiting: usize = queues.values().map(|queue| queue.waiting()).sum();
    let running = app.metrics.under_way().saturating_sub(waiting as u64);
    tracing::info!(
        running,
        waiting,
        grace_s = grace.as_secs(),
        "stopping: {running} requests run and {waiting} wait; they may finish for {} s, a second signal ends them at once",
        grace.as_secs()
    );
}

/// The connections there are, as many as descriptors allow.
struct Connections {
    room: Arc<Semaphore>,
    known: Vec<(Arc<ConnectionState>, CancellationToken)>,
}

impl Connections {
    fn up_to(most: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(most)), known: Vec::new() }
    }

    /// Waits for room for one more. Where there is none, the connections without a request are closed, the oldest half of
    /// them first.
    async fn room(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                return permit;
            }
            self.forget_ended();
            let idle = self.known.iter().filter(|(state, _)| state.is_idle() && state.age() >= YOUNG);
            let idle: Vec<&CancellationToken> = idle.map(|(_, close)| close).collect();
            idle.iter().take(idle.len().div_ceil(2)).for_each(|close| close.cancel());
            tracing::warn!(closed = idle.len().div_ceil(2), "as many connections as possible; idle ones are closed");
            if let Ok(Ok(permit)) = tokio::time::timeout(YOUNG, Arc::clone(&self.room).acquire_owned()).await {
                return permit;
            }
        }
    }

    fn add(&mut self, close: CancellationToken) -> Arc<ConnectionState> {
        if self.known.len() == self.known.capacity() {
            self.forget_ended();
        }
        let state = ConnectionState::new();
        self.known.push((Arc::clone(&state), close));
        state
    }

    /// Only this list knows those that have ended.
    fn forget_ended(&mut self) {
        self.known.retain(|(state, _)| Arc::strong_count(state) > 1);
    }
}

/// Each client may need a connection to a provider, and files must still be opened.
fn most_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = (descriptors.saturating_sub(SPARE_DESCRIPTORS) / 2).clamp(16, MOST_CONNECTIONS);
    usize::try_from(most).unwrap_or(usize::MAX)
}

async fn accept(
    listener: &TcpListener,
    service: &Arc<HttpService>,
    workers: &Workers,
    stopping: &CancellationToken,
) -> Infallible {
    let mut connections = Connections::up_to(most_connections());
    loop {
        let room = connections.room().await;
        // Taken out of this thread's event loop, to be put into the worker's.
        match listener.accept().await.and_then(|(socket, _)| socket.into_std()) {
            Ok(socket) => {
                // A token of its own: each look at it takes its lock, which connections of other workers must not wait for.
                let stopping = stopping.child_token();
                let state = connections.add(stopping.clone());
                workers.spawn(connected(socket, Arc::clone(service), state, stopping, room));
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

async fn connected(
    socket: StdTcpStream,
    service: Arc<HttpService>,
    state: Arc<ConnectionState>,
    stopping: CancellationToken,
    _room: OwnedSemaphorePermit,
) {
    // Small pieces of a stream must not wait for each other.
    if let Err(fault) = socket.set_nodelay(true) {
        tracing::debug!(%fault, "TCP_NODELAY could not be set");
    }
    match TcpStream::from_std(socket) {
        Ok(socket) => connection::serve(socket, service, state, stopping).await,
        Err(fault) => tracing::warn!(%fault, "a connection could not be served"),
    }
}

fn is_of_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(fault.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests;
