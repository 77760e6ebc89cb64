//! The threads that serve, one event loop each. A connection stays with the worker it was given to.
//!
//! What a request reads, writes and waits for is then one thread's business: under a scheduler that moves tasks between
//! threads the same requests took a third more CPU time, most of it spent on waking each other. The price is that work
//! on one connection never spreads; so connections are given to whoever has the fewest, and what takes long (counting
//! a long prompt, asking for a name) is done on threads beside.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the end of work beside (a name being asked for) is awaited when everything is over.
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
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (over, present) = (workers.over.clone(), workers.threads.token());
            let work = move || {
                run(runtime, &over);
                drop(present);
            };
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(work)?;
            workers.all.push(Worker { runtime: handle, connections: TaskTracker::new() });
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

fn run(runtime: Runtime, over: &CancellationToken) {
    runtime.block_on(over.cancelled());
    runtime.shutdown_timeout(LEAVE);
}

#[cfg(test)]
mod tests;
