//! The threads that serve, one event loop each. A connection stays with the worker it was given to.
//!
//! What a request reads, writes and waits for is then one thread's business, and no thread has to wake another one for it.
//! The price is that work on one connection never spreads; so a connection goes to the worker with the fewest, and long
//! work goes to other threads (`pipeline/blocking_pool.rs`).

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long blocking work (a name lookup) is awaited at the end.
const LEAVE: Duration = Duration::from_secs(1);

/// All of them; dropping them ends them.
#[derive(Debug)]
pub(super) struct Workers {
    all: Vec<Worker>,
    over: CancellationToken,
    /// The threads that still run.
    threads: TaskTracker,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: TaskTracker,
}

impl Workers {
    /// # Errors
    /// Where the system gives no thread or no event loop.
    pub(super) fn start(count: NonZeroUsize) -> io::Result<Self> {
        let mut workers =
            Self { all: Vec::with_capacity(count.get()), over: CancellationToken::new(), threads: TaskTracker::new() };
        for index in 0..count.get() {
            let (over, present) = (workers.over.clone(), workers.threads.token());
            let (sender, receiver) = mpsc::sync_channel(1);
            let work = move || {
                run(&over, &sender);
                drop(present);
            };
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(work)?;
            let runtime = receiver.recv().map_err(io::Error::other)??;
            workers.all.push(Worker { runtime, connections: TaskTracker::new() });
        }
        Ok(workers)
    }

    /// Gives a connection to the worker that has the fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        if let Some(worker) = self.all.iter().min_by_key(|worker| worker.connections.len()) {
            drop(worker.runtime.spawn(worker.connections.track_future(connection)));
        }
    }

    /// Completes once every connection has ended. None must be given out any more.
    pub(super) async fn idle(&self) {
        for worker in &self.all {
            worker.connections.close();
            worker.connections.wait().await;
        }
    }

    /// Drops what is still served and ends the threads.
    pub(super) async fn end(self) {
        self.over.cancel();
        self.threads.close();
        if tokio::time::timeout(2 * LEAVE, self.threads.wait()).await.is_err() {
            tracing::warn!("a worker did not end in time");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// Begins and ends on the worker's own thread: another one that serves must not drop an event loop.
fn run(over: &CancellationToken, handle: &SyncSender<io::Result<Handle>>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return drop(handle.send(Err(fault))),
    };
    if handle.send(Ok(runtime.handle().clone())).is_ok() {
        runtime.block_on(over.cancelled());
    }
    runtime.shutdown_timeout(LEAVE);
}

#[cfg(test)]
mod tests;
