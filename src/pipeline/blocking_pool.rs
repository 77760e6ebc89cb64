//! Long work, done on other threads than those that serve: while one of those computes, all its other connections
//! stand still.
//!
//! A semaphore bounds how much is done at once, so that many large requests leave processors to the serving threads.
//! A request that is cancelled while it waits gives its place in the line back.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

/// Where long work is done.
#[derive(Clone, Debug)]
pub struct BlockingPool {
    turns: Option<Arc<Semaphore>>,
}

impl BlockingPool {
    /// On threads of their own, at most so many at once.
    #[must_use]
    pub fn on_threads(at_once: NonZeroUsize) -> Self {
        Self { turns: Some(Arc::new(Semaphore::new(at_once.get()))) }
    }

    /// On the calling thread: on virtual time the order of events must not depend on when a thread is done.
    #[must_use]
    pub const fn in_place() -> Self {
        Self { turns: None }
    }

    /// Another pool of the same kind, one piece of work at a time: what is done there keeps nobody here waiting.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { turns: self.turns.as_ref().map(|_| Arc::new(Semaphore::new(1))) }
    }

    /// Does `work` without anybody waiting for it, in the order in which it is given.
    pub(super) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.turns.is_some() => {
                let pool = self.clone();
                drop(runtime.spawn(async move { pool.run(work).await }));
            }
            // No thread to hand it to: the process is ending, or time is virtual.
            _ => work(),
        }
    }

    /// What `work` comes to; `None` where it panicked. Boxed: work holds what it needs, and every small request would have room for it.
    pub(crate) fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> BoxFuture<'_, Option<R>> {
        Box::pin(async move {
            let Some(turns) = &self.turns else { return Some(work()) };
            let turn = Arc::clone(turns).acquire_owned().await.ok()?;
            let working = move || {
                let done = work();
                drop(turn);
                done
            };
            tokio::task::spawn_blocking(working).await.ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn long_work_is_done_elsewhere_and_one_after_another() {
        let blocking = BlockingPool::on_threads(NonZeroUsize::MIN);
        let here = std::thread::current().id();
        let (go, gone) = mpsc::channel::<()>();
        let first = blocking.run(move || {
            // It goes on only once this thread, which serves, has done so.
            gone.recv().map(|()| std::thread::current().id())
        });
        let second = blocking.run(|| "second");
        tokio::pin!(first, second);
        for _ in 0..10 {
            assert!(futures_util::poll!(first.as_mut()).is_pending());
            assert!(futures_util::poll!(second.as_mut()).is_pending(), "it has no turn yet");
            tokio::task::yield_now().await;
        }
        go.send(()).expect("it waits");
        assert!(first.await.is_some_and(|there| there.is_ok_and(|there| there != here)));
        assert_eq!(second.await, Some("second"));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_turn_back() {
        let blocking = BlockingPool::on_threads(NonZeroUsize::MIN);
        assert_eq!(blocking.run(|| assert_eq!(1, 2)).await, None);
        assert_eq!(blocking.run(|| 3).await, Some(3));
    }

    #[tokio::test]
    async fn in_place_means_on_this_thread() {
        let here = std::thread::current().id();
        assert_eq!(BlockingPool::in_place().run(move || std::thread::current().id() == here).await, Some(true));
    }
}
