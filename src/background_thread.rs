//! Work beside the requests, on a thread with an event loop of its own.
//!
//! The rule: a stop waits for the thread and not for its work. What waits is not begun, and what is under way is given up.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

/// The thread. It is told to end when this is dropped.
#[derive(Debug)]
pub struct BackgroundThread {
    name: &'static str,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl BackgroundThread {
    /// Does `work` on a thread of this name. It ends once the token that it is given is cancelled.
    ///
    /// # Errors
    /// There is no thread for it, in words.
    pub fn start<F>(
        name: &'static str,
        work: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Result<Self, String>
    where
        F: Future<Output = ()> + 'static,
    {
        let stop = CancellationToken::new();
        let told = stop.clone();
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(work(told)),
            Err(fault) => tracing::error!(%fault, thread = name, "a background thread has no event loop"),
        };
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = spawned.map_err(|fault| format!("the thread `{name}` cannot be started: {fault}"))?;
        Ok(Self { name, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Stops it. Blocks until it has ended.
    pub fn finish(&self) {
        self.stop.cancel();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(thread = self.name, "a background thread ended by a fault");
        }
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, TryRecvError};

    use super::*;

    #[test]
    fn work_under_way_is_given_up_and_a_stop_waits_for_the_thread() {
        let (told, hears) = mpsc::channel();
        let thread = BackgroundThread::start("a-test", move |stop| async move {
            told.send(std::thread::current().name().map(str::to_owned)).unwrap();
            stop.cancelled().await;
            drop(told);
        });
        let thread = thread.unwrap();
        assert_eq!(hears.recv().unwrap().as_deref(), Some("a-test"));
        thread.finish();
        assert_eq!(hears.try_recv(), Err(TryRecvError::Disconnected));
        // A second time there is nothing to wait for.
        thread.finish();
    }
}
