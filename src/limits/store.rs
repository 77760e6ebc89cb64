//! The contract of whatever keeps reservations: this process's memory, or a store that several gateways share.
//!
//! Only reserving may wait, because only its answer decides something. Everything else is reported without waiting; a remote
//! store queues it. What policies and reports read comes from this process's own view, so that no decision waits for
//! a network; whoever waits in a queue brings it up to date.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Decision, Demand, Limits, News, Reservation, ReservationHandle, ScopeId, Told};
use crate::id::RequestId;
use crate::moment::Moment;

/// Names a reservation over all gateways: a store that receives one twice, or one whose client left, knows which is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId {
    /// The request it is for.
    pub request: RequestId,
    /// Which of its attempts, from 0; `None` is the part that all of them share.
    pub attempt: Option<u32>,
}

/// How the tokens of a demand are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// They were counted.
    Counted,
    /// There are no more than these: good enough as long as no token limit of any scope would be more than half used.
    UpperBound,
}

/// What is to be reserved: in all of the shared scopes and at one candidate, or nowhere.
#[derive(Clone, Copy, Debug)]
pub struct ReserveRequest<'a> {
    /// Whose request it is.
    pub request: RequestId,
    /// Which of its attempts, from 0.
    pub attempt: u32,
    /// Scopes that must all have room. A retry passes none: its request has reserved there already. One named twice counts once.
    pub shared: &'a [ScopeId],
    /// What each of them must have room for.
    pub shared_demand: Demand,
    /// Where the request may go, best first, and what must fit there; none of them is among the shared scopes.
    pub candidates: &'a [(ScopeId, Demand)],
    /// How the demands are known.
    pub certainty: Certainty,
}

/// The answer of a store: at hand, or on its way. Dropping one that is on its way reserves nothing: the store takes back by
/// name what was granted meanwhile.
pub enum Reserving<'a> {
    /// The store is this process's memory.
    Ready(Option<Decision>),
    /// The store is elsewhere.
    Pending(Pin<Box<dyn Future<Output = Decision> + Send + 'a>>),
}

impl Future for Reserving<'_> {
    type Output = Decision;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Decision> {
        match self.get_mut() {
            // It is taken once; a future is not polled after that.
            Self::Ready(decision) => Poll::Ready(decision.take().unwrap_or(Decision::Until(None))),
            Self::Pending(answer) => answer.as_mut().poll(context),
        }
    }
}

/// Keeps what is reserved and used.
pub trait LimitStore: Send + Sync {
    /// Reserves in one step, as [`Limits::reserve`] says.
    fn reserve<'a>(&'a self, now: Moment, request: ReserveRequest<'a>) -> Reserving<'a>;

    /// Its last byte was sent, and the provider must have read it `by` then: from there one window runs.
    fn sent(&self, now: Moment, reservation: ReservationHandle, by: Moment);

    /// The head of the provider's response arrived: from here one window runs at the latest.
    fn response_head(&self, now: Moment, reservation: &Reservation);

    /// As [`LimitStore::sent`], of all that one request holds.
    fn sent_together(&self, now: Moment, reservations: &[ReservationHandle], by: Moment) {
        for reservation in reservations {
            self.sent(now, *reservation, by);
        }
    }

    /// As [`LimitStore::response_head`], of all that one request holds.
    fn response_heads(&self, now: Moment, reservations: &[&Reservation]) {
        for reservation in reservations {
            self.response_head(now, reservation);
        }
    }

    /// Gives back the places of all that one request holds, as [`Limits::leave`] says; it is to be ended all the same.
    fn leave(&self, reservations: &[&Reservation]);

    /// Ends a reservation with what was really used.
    fn settle(&self, now: Moment, reservation: Reservation, actual: Demand);

    /// Ends a reservation as if it had never been.
    fn refund(&self, now: Moment, reservation: Reservation);

    /// This process's own view, for signals and reports.
    fn local(&self) -> &Limits;

    /// Takes what a provider told, as [`Limits::told`] does. `hear` hears what was news: at once, or when it is known what other
    /// gateways used.
    fn told(&self, now: Moment, scope: ScopeId, told: &[Told], refused: bool, hear: Box<dyn FnOnce(News) + Send>) {
        hear(self.local().told(now, scope, told, refused));
    }

    /// How often whoever waits has to look for what others gave back; `None` where there are no others.
    fn recheck(&self) -> Option<Duration> {
        None
    }

    /// Brings this process's view of these scopes up to date. Says whether anything had changed.
    fn refresh<'a>(&'a self, _scopes: &'a [ScopeId]) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(std::future::ready(false))
    }

    /// Calls `then` as soon as what is held of budgets is told to other gateways and what they hold is heard, before anything else of them is; drops it
    /// where nobody hears of them.
    fn when_money_is_told(&self, then: Box<dyn FnOnce() + Send>) {
        drop(then);
    }

    /// Whether the server answers that keeps the limits of several gateways; `None` where there is none.
    fn shared_is_up(&self) -> Option<bool> {
        None
    }

    /// The process ends: what others have to know is told now. Blocks for as long as that takes, a second at most.
    fn finish(&self) {}
}

impl LimitStore for Limits {
    fn reserve<'a>(&'a self, now: Moment, request: ReserveRequest<'a>) -> Reserving<'a> {
        Reserving::Ready(Some(Self::reserve(self, now, &request)))
    }

    fn sent(&self, now: Moment, reservation: ReservationHandle, by: Moment) {
        Self::sent(self, now, reservation, by);
    }

    fn response_head(&self, now: Moment, reservation: &Reservation) {
        Self::response_head(self, now, reservation);
    }

    fn sent_together(&self, now: Moment, reservations: &[ReservationHandle], by: Moment) {
        Self::sent_together(self, now, reservations, by);
    }

    fn response_heads(&self, now: Moment, reservations: &[&Reservation]) {
        Self::response_heads(self, now, reservations);
    }

    fn leave(&self, reservations: &[&Reservation]) {
        Self::leave(self, reservations);
    }

    fn settle(&self, now: Moment, reservation: Reservation, actual: Demand) {
        Self::settle(self, now, reservation, actual);
    }

    fn refund(&self, now: Moment, reservation: Reservation) {
        Self::refund(self, now, reservation);
    }

    fn local(&self) -> &Limits {
        self
    }
}
