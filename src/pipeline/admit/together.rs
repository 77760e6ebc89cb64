//! Requests that are one for their client, as the prompts of a completion are: the budgets of those who pay hold the money for all of them
//! before any is sent, or all are refused.
//!
//! Each says what it may cost, and waits until all have. Whoever has its turn first holds the sum in one step, so that two such requests never
//! each wait for what the other has a part of, and the others take their parts of it. One that is refused before it has said anything never
//! does: whoever serves them gives the others up then. Budgets of deployments and of providers are asked for each alone, since where one goes
//! is known when it goes there; and so is a group that takes over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::AdmissionControl;
use super::caller::still_known;
use super::money;
use crate::budgets::Hold;
use crate::fault::Refusal;
use crate::money::NanoUsd;
use crate::pipeline::Gateway;

/// What they have in common.
pub(in crate::pipeline) struct Together {
    gateway: Arc<Gateway>,
    state: Mutex<State>,
    /// All have said what they may cost.
    said: Notify,
    /// Of whoever holds the money, where nobody has yet, or takes its part.
    turn: Semaphore,
}

#[derive(Default)]
struct State {
    /// So many have not said yet what they may cost.
    missing: usize,
    asked: Costs,
    /// The parts that are held and not taken yet, and whether they are for the cheapest.
    held: Option<(Hold, bool)>,
    /// There is no money for all of them.
    refusal: Option<Refusal>,
}

/// What may be paid where each goes to the dearest deployment that it can pay for, and where to the cheapest.
#[derive(Clone, Copy, Default)]
struct Costs {
    most: NanoUsd,
    least: NanoUsd,
}

/// One of them.
pub(in crate::pipeline) struct Member(Arc<Together>);

impl Together {
    /// So many are asked together.
    pub(in crate::pipeline) fn members(gateway: &Arc<Gateway>, count: usize) -> impl Iterator<Item = Member> + use<> {
        let state = Mutex::new(State { missing: count, ..State::default() });
        let together = Self { gateway: Arc::clone(gateway), state, said: Notify::new(), turn: Semaphore::new(1) };
        let together = Arc::new(together);
        (0..count).map(move |_| Member(Arc::clone(&together)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn all_said(&self) {
        loop {
            let said = self.said.notified();
            if self.lock().missing == 0 {
                return;
            }
            said.await;
        }
    }
}

impl Drop for Together {
    /// What is held for those that were given up.
    fn drop(&mut self) {
        let held = self.lock().held.take();
        if let Some((held, _)) = held {
            self.gateway.budgets.release(self.gateway.clock.now(), held);
            self.gateway.capacity.notify();
        }
    }
}

impl Member {
    /// Says what it may cost; nothing where no budget counts it. It says so once.
    fn say(&self, costs: Costs) {
        let mut state = self.0.lock();
        state.missing = state.missing.saturating_sub(1);
        state.asked.most += costs.most;
        state.asked.least += costs.least;
        let all = state.missing == 0;
        drop(state);
        if all {
            self.0.said.notify_waiters();
        }
    }

    /// It has its own money, or needs none.
    pub(in crate::pipeline) fn goes_alone(self) {
        self.say(Costs::default());
    }

    /// Its part, or what all of them are refused with; `None` where that is not known yet.
    fn part(&self, costs: Costs) -> Option<Result<Hold, Refusal>> {
        let mut state = self.0.lock();
        if let Some(refusal) = &state.refusal {
            return Some(Err(refusal.clone()));
        }
        let (held, cheapest) = state.held.as_mut()?;
        let part = costs.of(*cheapest);
        Some(Ok(held.part(part)))
    }
}

impl Costs {
    const fn of(self, cheapest: bool) -> NanoUsd {
        if cheapest { self.least } else { self.most }
    }
}

impl AdmissionControl<'_, '_> {
    /// Holds the money for this request and those that are asked together with it, before its first admission. One that can pay for nothing is
    /// left to its admission, for whose answer the others wait.
    ///
    /// # Errors
    /// A budget has not so much, or what others hold of it was not given back in time.
    pub(in crate::pipeline) async fn hold_together(&mut self) -> Result<(), Refusal> {
        let context = self.context;
        if context.paying.budgets.is_empty() {
            self.guard.goes_alone();
            return Ok(());
        }
        let Some(member) = self.guard.together.take() else { return Ok(()) };
        // What is only bounded may be several times as dear, and all of them more so.
        if let Some(index) = self.order.first() {
            self.estimate.count(context, &context.group.deployments[*index].config.model).await;
        }
        let (began, nothing) = (context.gateway.clock.now(), (None, NanoUsd::default()));
        let (found, _shorts) = money::affordable(context, self.estimate, self.order, nothing, began);
        let costs = found.iter().map(|index| self.estimate.demand(&context.group.deployments[*index]).cost);
        let Some((most, least)) = costs.clone().max().zip(costs.min()) else {
            self.guard.together = Some(member);
            return Ok(());
        };
        let costs = Costs { most, least };
        member.say(costs);
        member.0.all_said().await;
        // It is never closed.
        let Ok(_turn) = member.0.turn.acquire().await else { return Ok(()) };
        if let Some(part) = member.part(costs) {
            self.guard.take_money(part?);
            return Ok(());
        }
        let asked = member.0.lock().asked;
        let began = context.gateway.clock.now();
        let held = self.hold_all(asked).await;
        self.guard.record.waited += context.gateway.clock.now().since(began);
        match held {
            Ok(cheapest) => {
                member.0.lock().held = self.guard.part_money(costs.of(cheapest)).map(|rest| (rest, cheapest));
                Ok(())
            }
            Err(refusal) => {
                member.0.lock().refusal = Some(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// Holds what all of them may cost, and waits for what others give back of it. Says whether that is for the cheapest alone.
    async fn hold_all(&mut self, asked: Costs) -> Result<bool, Refusal> {
        let context = self.context;
        let gateway = context.gateway;
        let began = gateway.clock.now();
        let deadline = context.wait_deadline(began);
        loop {
            let notified = gateway.capacity.notified();
            tokio::pin!(notified);
            // Registered before the check, so that nothing given back in between goes unheard.
            notified.as_mut().enable();
            let moment = || (gateway.clock.now(), Some(gateway.budgets.turned_away()));
            let Err(mut short) = money::hold(context, self.guard, asked.most, moment()).await else { return Ok(false) };
            if asked.least < asked.most {
                match money::hold(context, self.guard, asked.least, moment()).await {
                    Ok(_held) => return Ok(true),
                    Err(of_least) => short = of_least,
                }
            }
            let now = gateway.clock.now();
            if !short.may_wait() {
                return Err(money::refusal(context, &short));
            }
            if now >= deadline {
                return Err(self.waited_in_vain(began, None));
            }
            // What other gateways give back is told by nobody: it is looked for.
            let again = gateway.limits.recheck().map_or(deadline, |every| deadline.min(now + every));
            let again = short.resets.map_or(again, |resets| again.min(resets));
            tokio::select! { biased; () = notified => {}, () = gateway.clock.sleep_until(again) => {} }
            still_known(context)?;
        }
    }
}
