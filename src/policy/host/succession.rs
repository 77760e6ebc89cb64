//! The swap: how one policy takes over from another without an outcome being lost or told twice.
//!
//! Under the predecessor's lock its state is saved and a list of later outcomes is begun. Aside, the successor
//! is configured with the state and tried. At publishing it is told the list, the last of it under the lock,
//! and from then on whatever the predecessor hears goes to the newest of the line. Calls under way finish on
//! the old instance, which is dropped with the last request that holds it.

use std::sync::Arc;

use super::contract::Contract;
use super::engine::Component;
use super::problem::PolicyProblem;
use super::runtime::{PolicyRuntime, lock};
use super::state::Offers;

/// Outcomes that may be replayed while the predecessor's lock is held.
const LAST: usize = 64;
/// Rounds without the lock before the rest is replayed under it, however much it is.
const ROUNDS: usize = 16;

/// A successor that is ready but not in charge. Dropped unpublished, it leaves the predecessor as it was.
#[must_use = "a succession does nothing until it is published"]
#[derive(Debug)]
pub struct Succession<C: Contract> {
    next: Arc<PolicyRuntime<C>>,
    predecessor: Arc<PolicyRuntime<C>>,
    published: bool,
}

impl<C: Contract> Succession<C> {
    /// Makes a successor from the first that it takes of what it is offered, where the predecessor's state comes first unless it has one of
    /// its own. Blocks; call it off the async threads.
    ///
    /// # Errors
    /// As [`PolicyRuntime::start`]; or the predecessor is already replaced or being replaced.
    pub fn prepare(
        component: Arc<Component>,
        setup: C::Setup,
        predecessor: &Arc<PolicyRuntime<C>>,
        offers: Offers,
    ) -> Result<Self, PolicyProblem> {
        let state = {
            let mut learning = predecessor.learning();
            if learning.succeeded || learning.replay.is_some() {
                return Err(PolicyProblem::AlreadySucceeded);
            }
            let state = predecessor.state(&mut learning);
            learning.replay = Some(Vec::new());
            state
        };
        let (line, generation) = (Arc::clone(predecessor.lineage()), predecessor.generation() + 1);
        match PolicyRuntime::make(component, setup, offers.or(state), line, generation) {
            Ok(next) => Ok(Self { next, predecessor: Arc::clone(predecessor), published: false }),
            Err(problem) => {
                predecessor.learning().replay = None;
                Err(problem)
            }
        }
    }

    /// The successor, for a look at it before it is published.
    #[must_use]
    pub const fn successor(&self) -> &Arc<PolicyRuntime<C>> {
        &self.next
    }

    /// Puts the successor in charge of the line's outcomes. Where a whole snapshot is swapped, publish when
    /// nothing can fail any more.
    #[must_use]
    pub fn publish(mut self) -> Arc<PolicyRuntime<C>> {
        for _ in 0..ROUNDS {
            let missed = {
                let mut learning = self.predecessor.learning();
                let missed = learning.replay.as_mut().map(std::mem::take).unwrap_or_default();
                if missed.len() <= LAST {
                    learning.replay = Some(missed);
                    break;
                }
                missed
            };
            for outcome in &missed {
                self.next.observe_of(&self.predecessor, outcome);
            }
        }
        let mut learning = self.predecessor.learning();
        for outcome in learning.replay.take().unwrap_or_default() {
            self.next.observe_of(&self.predecessor, &outcome);
        }
        *lock(&self.predecessor.lineage().newest) = Arc::downgrade(&self.next);
        learning.succeeded = true;
        drop(learning);
        self.published = true;
        Arc::clone(&self.next)
    }
}

impl<C: Contract> Drop for Succession<C> {
    fn drop(&mut self) {
        if !self.published {
            self.predecessor.learning().replay = None;
        }
    }
}
