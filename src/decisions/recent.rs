//! The last decisions, in memory: for a question about a request of a moment ago, whether its run was drawn or not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::line::RequestLine;
use super::show::decision_json;
use crate::id::RequestId;
use crate::policy::{Decision, RouterFacts};

/// Requests that are remembered.
const KEPT: usize = 1000;

/// The last requests that a router decided.
#[derive(Default)]
pub(super) struct Recent(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    order: VecDeque<RequestId>,
    requests: HashMap<RequestId, Request>,
}

struct Request {
    facts: Arc<RouterFacts>,
    /// More than one where the router wanted it to wait and was asked again: the last counts.
    decision: Arc<Decision>,
    ended: Option<Arc<RequestLine>>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.lock());
        drop(forgotten);
    }

    pub(super) fn decided(&self, facts: &Arc<RouterFacts>, decision: &Arc<Decision>) {
        let Some(id) = decision.request.id else { return };
        let request = Request { facts: Arc::clone(facts), decision: Arc::clone(decision), ended: None };
        let mut remembered = self.lock();
        let replaced = remembered.requests.insert(id, request);
        let mut forgotten = None;
        if replaced.is_none() {
            remembered.order.push_back(id);
            if remembered.order.len() > KEPT {
                forgotten = remembered.order.pop_front().and_then(|oldest| remembered.requests.remove(&oldest));
            }
        }
        drop(remembered);
        drop((replaced, forgotten));
    }

    pub(super) fn ended(&self, id: RequestId, line: &Arc<RequestLine>) {
        if let Some(request) = self.lock().requests.get_mut(&id) {
            request.ended = Some(Arc::clone(line));
        }
    }

    pub(super) fn find(&self, id: RequestId) -> Option<Value> {
        let remembered = self.lock();
        let Request { facts, decision, ended } = remembered.requests.get(&id)?;
        let (facts, decision, ended) = (Arc::clone(facts), Arc::clone(decision), ended.clone());
        drop(remembered);
        Some(decision_json(&facts, &decision, ended.as_deref()))
    }
}
