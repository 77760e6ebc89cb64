//! The last requests, in memory: for a question about one of a moment ago, whether its run was drawn or not, and whether a router
//! decided it or not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::line::RequestLine;
use super::show::{decision_json, undecided_json};
use super::withheld::Withheld;
use crate::id::RequestId;
use crate::policy::{Decision, RouterFacts};

/// Requests that are remembered.
const KEPT: usize = 1000;

/// The last requests.
#[derive(Default)]
pub(super) struct Recent(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    order: VecDeque<RequestId>,
    requests: HashMap<RequestId, Request>,
}

#[derive(Default)]
struct Request {
    /// More than one where the router wanted it to wait and was asked again: the last counts. `None` where no router was asked.
    decided: Option<(Arc<RouterFacts>, Arc<Decision>)>,
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
        let decided = Some((Arc::clone(facts), Arc::clone(decision)));
        self.remember(id, |request| std::mem::replace(&mut request.decided, decided));
    }

    /// A request ended. One that asked for no group that there is, is nobody's to explain.
    pub(super) fn ended(&self, id: RequestId, line: &Arc<RequestLine>) {
        if line.group.is_some() {
            let ended = Some(Arc::clone(line));
            self.remember(id, |request| std::mem::replace(&mut request.ended, ended));
        }
    }

    /// Changes what is known of a request, the oldest being forgotten for one more. What goes is dropped without the lock.
    fn remember<R>(&self, id: RequestId, change: impl FnOnce(&mut Request) -> R) {
        let mut remembered = self.lock();
        let Remembered { order, requests } = &mut *remembered;
        let mut forgotten = None;
        let request = requests.entry(id).or_insert_with(|| {
            order.push_back(id);
            Request::default()
        });
        let replaced = change(request);
        if order.len() > KEPT {
            forgotten = order.pop_front().and_then(|oldest| requests.remove(&oldest));
        }
        drop(remembered);
        drop((replaced, forgotten));
    }

    /// What is known of a request; `withheld` keeps what was said out of it.
    pub(super) fn find(&self, id: RequestId, withheld: Option<&Withheld>) -> Option<Value> {
        let remembered = self.lock();
        let Request { decided, ended } = remembered.requests.get(&id)?;
        let (decided, ended) = (decided.clone(), ended.clone());
        drop(remembered);
        match decided {
            Some((facts, decision)) => {
                let shown = withheld.map(|withheld| withheld.decision(&facts.needs, &decision));
                Some(decision_json(&facts, shown.as_deref().unwrap_or(&decision), ended.as_deref()))
            }
            None => ended.map(|ended| undecided_json(&ended)),
        }
    }
}
