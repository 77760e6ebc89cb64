//! Somebody who waits: what it wants, where it stands, and when it can start.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Want;
use crate::limits::{Demand, Reading, ScopeId, Wait};
use crate::moment::Moment;

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) number: u64,
    /// Its number when it came first: of equals the lower is first.
    pub(super) came: u64,
    pub(super) want: Want,
    pub(super) since: Moment,
    /// Its place among its priority: where its caller's request before it ends.
    pub(super) begins: u64,
    pub(super) overtaken: u32,
    /// Where it can start first, once it was overtaken: elsewhere others may start before it as often as they like.
    pub(super) turn: Option<ScopeId>,
    /// Scopes whose breaker lets it through, and for which budgets have the money: found before the limits are locked.
    pub(super) ready: Vec<ScopeId>,
    /// It was called, to start in this scope.
    pub(super) called: Option<ScopeId>,
    /// When it was called last.
    pub(super) called_at: Moment,
    /// It was called in vain: it is not called again before this moment, or before something ends.
    pub(super) not_before: Option<Moment>,
    pub(super) signal: Arc<Notify>,
}

impl Waiter {
    /// Whether it was sent away before, and came back.
    pub(super) const fn is_back(&self) -> bool {
        self.came != self.number
    }

    pub(super) fn demand_in(&self, scope: ScopeId) -> Option<Demand> {
        self.want.candidates.iter().find(|one| one.scope == scope).map(|one| (one.demand)())
    }

    pub(super) fn call(&mut self, scope: Option<ScopeId>, now: Moment) {
        if scope.is_some() {
            (self.called, self.called_at) = (scope, now);
            self.signal.notify_one();
        }
    }

    /// Whether it may be overtaken in this scope only so often.
    pub(super) fn is_its_turn_in(&self, scope: ScopeId) -> bool {
        self.turn.is_none_or(|turn| turn == scope)
    }

    /// Whether those of its limits of which the others know nothing have room.
    pub(super) fn has_own_room(&self, reading: &mut Reading<'_>) -> bool {
        let own = &self.want.own;
        own.is_empty() || {
            let demand = self.want.shared_demand();
            own.iter().all(|scope| reading.wait(*scope, demand) == Wait::Now)
        }
    }

    /// When it can start in a scope, if nothing but time changes.
    pub(super) fn start(&self, reading: &mut Reading<'_>, now: Moment, scope: ScopeId) -> Option<Moment> {
        self.starts(reading, now, scope).filter(|start| *start > now)
    }

    /// The same where that may be now.
    pub(super) fn starts(&self, reading: &mut Reading<'_>, now: Moment, scope: ScopeId) -> Option<Moment> {
        let shared_demand = self.want.shared_demand();
        let demands = self.want.shared.iter().chain(&self.want.own).map(|shared| (*shared, shared_demand));
        let mut start = now;
        for (scope, demand) in demands.chain(self.demand_in(scope).map(|demand| (scope, demand))) {
            match reading.wait(scope, demand) {
                Wait::Now => {}
                Wait::At(moment) => start = start.max(moment),
                Wait::Unknown | Wait::Never => return None,
            }
        }
        Some(start)
    }

    /// Whether no time will do: its limits were lowered.
    pub(super) fn is_hopeless(&self, reading: &mut Reading<'_>) -> bool {
        let mut never = |scope, demand| reading.wait(scope, demand) == Wait::Never;
        let want = &self.want;
        let shared_demand = want.shared_demand();
        want.shared.iter().chain(&want.own).any(|scope| never(*scope, shared_demand))
            || want.candidates.iter().all(|one| self.ready.contains(&one.scope) && never(one.scope, (one.demand)()))
    }
}
