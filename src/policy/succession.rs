//! The swap: how one router takes over from another without an outcome being lost or told twice.
//!
//! Under the predecessor's lock its state is saved and a list of later outcomes is begun. Aside, the successor
//! is configured with the state and tried. At publishing it is told the list, the last of it under the lock,
//! and from then on whatever the predecessor hears goes to the newest of the line. Calls under way finish on
//! the old instance, which is dropped with the last request that holds it.

use std::sync::Arc;

use super::engine::Component;
use super::problem::PolicyProblem;
use super::router::{Router, lock};
use super::words::Setup;

/// Outcomes that may be replayed while the predecessor's lock is held.
const LAST: usize = 64;
/// Rounds without the lock before the rest is replayed under it, however much it is.
const ROUNDS: usize = 16;

/// A successor that is ready but not in charge. Dropped unpublished, it leaves the predecessor as it was.
#[must_use = "a succession does nothing until it is published"]
#[derive(Debug)]
pub struct Succession {
    next: Arc<Router>,
    predecessor: Arc<Router>,
    published: bool,
}

impl Succession {
    /// Makes a successor from the predecessor's state. Blocks; call it off the async threads.
    ///
    /// # Errors
    /// As [`Router::start`]; or the predecessor is already replaced or being replaced.
    pub fn prepare(component: Arc<Component>, setup: Setup, predecessor: &Arc<Router>) -> Result<Self, PolicyProblem> {
        let state = {
            let mut memory = predecessor.memory();
            if memory.succeeded || memory.replay.is_some() {
                return Err(PolicyProblem::AlreadySucceeded);
            }
            let state = predecessor.state(&mut memory);
            memory.replay = Some(Vec::new());
            state
        };
        let (line, generation) = (Arc::clone(predecessor.line()), predecessor.generation() + 1);
        match Router::make(component, setup, state, line, generation) {
            Ok(next) => Ok(Self { next, predecessor: Arc::clone(predecessor), published: false }),
            Err(problem) => {
                predecessor.memory().replay = None;
                Err(problem)
            }
        }
    }

    /// The successor, for a look at it before it is published.
    #[must_use]
    pub const fn router(&self) -> &Arc<Router> {
        &self.next
    }

    /// Puts the successor in charge of the line's outcomes. Where a whole snapshot is swapped, publish when
    /// nothing can fail any more.
    #[must_use]
    pub fn publish(mut self) -> Arc<Router> {
        for _ in 0..ROUNDS {
            let missed = {
                let mut memory = self.predecessor.memory();
                let missed = memory.replay.as_mut().map(std::mem::take).unwrap_or_default();
                if missed.len() <= LAST {
                    memory.replay = Some(missed);
                    break;
                }
                missed
            };
            for outcome in &missed {
                self.next.observe_of(&self.predecessor, outcome);
            }
        }
        let mut memory = self.predecessor.memory();
        for outcome in memory.replay.take().unwrap_or_default() {
            self.next.observe_of(&self.predecessor, &outcome);
        }
        *lock(&self.predecessor.line().newest) = Arc::downgrade(&self.next);
        memory.succeeded = true;
        drop(memory);
        self.published = true;
        Arc::clone(&self.next)
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        if !self.published {
            self.predecessor.memory().replay = None;
        }
    }
}
