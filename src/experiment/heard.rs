//! What the gateway tells of the experiment's requests: when each was sent, and its record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::id::RequestId;
use crate::moment::Moment;
use crate::pipeline::Recorder;
use crate::record::Record;

/// Done when a request's first call is about to be sent.
type OnSent = Box<dyn Fn() + Send>;

/// Listens to a gateway, and passes on what it hears.
pub struct Heard {
    clock: Clock,
    inner: Arc<dyn Recorder>,
    requests: Mutex<HashMap<RequestId, Watched>>,
}

struct Watched {
    on_sent: OnSent,
    sent: Option<Moment>,
    /// Whether a provider has it now.
    under_way: bool,
    record: Option<Box<Record>>,
}

impl Heard {
    /// Hears what `inner` would.
    #[must_use]
    pub fn new(clock: Clock, inner: Arc<dyn Recorder>) -> Self {
        Self { clock, inner, requests: Mutex::default() }
    }

    /// Watches a request that has arrived.
    pub(super) fn watch(&self, id: RequestId, on_sent: OnSent) {
        self.lock().insert(id, Watched { on_sent, sent: None, under_way: false, record: None });
    }

    /// Whether a provider has it now, or has answered it.
    pub(super) fn is_under_way(&self, id: RequestId) -> bool {
        self.lock().get(&id).is_some_and(|watched| watched.under_way)
    }

    /// What became of it: when it was sent first, and its record, if it has ended.
    pub(super) fn take(&self, id: RequestId) -> (Option<Moment>, Option<Box<Record>>) {
        self.lock().remove(&id).map_or((None, None), |watched| (watched.sent, watched.record))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Watched>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for Heard {
    fn begun(&self) {
        self.inner.begun();
    }

    fn sending(&self, id: RequestId) {
        self.inner.sending(id);
        let mut requests = self.lock();
        let Some(watched) = requests.get_mut(&id) else { return };
        watched.under_way = true;
        if watched.sent.is_none() {
            watched.sent = Some(self.clock.now());
            (watched.on_sent)();
        }
    }

    fn unanswered(&self, id: RequestId) {
        self.inner.unanswered(id);
        if let Some(watched) = self.lock().get_mut(&id) {
            watched.under_way = false;
        }
    }

    fn ended(&self, record: &Record) {
        self.inner.ended(record);
        if let Some(watched) = self.lock().get_mut(&record.id) {
            watched.record = Some(Box::new(record.clone()));
        }
    }
}
