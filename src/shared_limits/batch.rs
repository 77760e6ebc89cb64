//! What the thread is asked for, and what goes to the server together.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Link;
use super::book::Update;
use crate::clock::Clock;
use crate::id::RequestId;
use crate::limits::{Certainty, Decision, Demand, Limits, News, OwnPart, PerDimension, ReserveRequest, ScopeId, Told};
use crate::moment::Moment;

/// What the thread is asked for.
pub(super) enum Command {
    Reserve(Box<Asked>),
    Refresh { scopes: Vec<ScopeId>, done: oneshot::Sender<bool> },
    Told { scope: ScopeId, told: Vec<Told>, refused: bool, hear: Box<dyn FnOnce(News) + Send> },
    Stop(std::sync::mpsc::Sender<()>),
}

impl Command {
    /// Takes what a provider told.
    pub(super) fn hear(self, limits: &Limits, now: Moment) {
        if let Self::Told { scope, told, refused, hear } = self {
            hear(limits.told(now, scope, &told, refused));
        }
    }
}

/// A request for a reservation.
pub(super) struct Asked {
    request: RequestId,
    attempt: u32,
    pub(super) shared: Vec<ScopeId>,
    pub(super) shared_demand: Demand,
    pub(super) candidates: Vec<(ScopeId, Demand)>,
    pub(super) certainty: Certainty,
    pub(super) answer: oneshot::Sender<Granted>,
}

impl Asked {
    pub(super) fn new(of: &ReserveRequest<'_>, answer: oneshot::Sender<Granted>) -> Self {
        Self {
            request: of.request,
            attempt: of.attempt,
            shared: of.shared.to_vec(),
            shared_demand: of.shared_demand,
            candidates: of.candidates.to_vec(),
            certainty: of.certainty,
            answer,
        }
    }

    pub(super) fn request(&self) -> ReserveRequest<'_> {
        ReserveRequest {
            request: self.request,
            attempt: self.attempt,
            shared: &self.shared,
            shared_demand: self.shared_demand,
            candidates: &self.candidates,
            certainty: self.certainty,
        }
    }
}

/// A decision on its way: what nobody takes is given back.
pub(super) struct Granted {
    pub(super) decision: Option<Decision>,
    pub(super) limits: Arc<Limits>,
    pub(super) link: Arc<Link>,
    pub(super) clock: Clock,
}

impl Granted {
    pub(super) fn take(mut self) -> Decision {
        self.decision.take().unwrap_or(Decision::Until(None))
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        let Some(Decision::Granted { shared, own, .. }) = self.decision.take() else { return };
        let now = self.clock.now();
        shared.into_iter().chain([own]).for_each(|one| self.limits.refund(now, one));
        self.link.dirty.notify_one();
    }
}

/// One batch on its way.
pub(super) struct Batch {
    pub(super) updates: Vec<Update>,
    pub(super) wanted: BTreeSet<ScopeId>,
    pub(super) asked: Vec<(Box<Asked>, Vec<Place>)>,
    pub(super) refreshed: Vec<oneshot::Sender<bool>>,
    pub(super) told: Vec<Command>,
    pub(super) stop: Option<std::sync::mpsc::Sender<()>>,
}

/// A limited window of a reservation: for which candidate (0 is shared), and how much.
pub(super) struct Place {
    pub(super) part: OwnPart,
    pub(super) candidate: usize,
    pub(super) amount: PerDimension<u64>,
}

/// Tells whoever waits for a look whether it was news; they may have left.
pub(super) fn tell(news: bool) -> impl Fn(oneshot::Sender<bool>) {
    move |done| {
        let _gone = done.send(news);
    }
}

impl Batch {
    pub(super) fn of(updates: Vec<Update>) -> Self {
        let (wanted, asked, refreshed, told) = (BTreeSet::new(), Vec::new(), Vec::new(), Vec::new());
        Self { updates, wanted, asked, refreshed, told, stop: None }
    }
}
