//! A client that stops reading must not hold its reservation for ever. Nothing polls a stream whose socket is
//! full, so a task beside it watches: it drops the stream once the request's total time is over, or once a piece
//! has waited for the client longer than any working connection needs.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long one piece may wait for the client.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);

type Inner = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A stream that ends, dropped, when its reader has stopped.
pub(super) struct SendTimeout {
    shared: Arc<Mutex<Shared>>,
    watcher: AbortHandle,
}

struct Shared {
    inner: Option<Inner>,
    /// Since when a piece has been with the client.
    given: Option<Instant>,
}

impl SendTimeout {
    pub(super) fn new(inner: Inner, deadline: Instant) -> Self {
        let shared = Arc::new(Mutex::new(Shared { inner: Some(inner), given: None }));
        let watching = Arc::clone(&shared);
        let watcher = tokio::spawn(async move {
            loop {
                let given = lock(&watching).given;
                let late = given.unwrap_or_else(Instant::now) + SEND_TIMEOUT;
                tokio::time::sleep_until(late.min(deadline + SEND_TIMEOUT)).await;
                let now = Instant::now();
                let stopped = lock(&watching).given.is_some_and(|since| now >= since + SEND_TIMEOUT || now >= deadline);
                if stopped {
                    // Dropped outside the lock: the drop settles and records.
                    let inner = lock(&watching).inner.take();
                    drop(inner);
                    return;
                }
            }
        });
        Self { shared, watcher: watcher.abort_handle() }
    }
}

impl Stream for SendTimeout {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut shared = lock(&self.shared);
        shared.given = None;
        let Some(inner) = &mut shared.inner else { return Poll::Ready(None) };
        let polled = inner.as_mut().poll_next(context);
        if matches!(polled, Poll::Ready(Some(_))) {
            shared.given = Some(Instant::now());
        }
        polled
    }
}

impl Drop for SendTimeout {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
