//! Keeping the calls of a policy, so that they can be repeated: a checkpoint, and every call after it in the order in which the
//! instance answered them.
//!
//! What a role's calls are is the role's to know; here is when they happen. All methods but [`CallRecorder::wants_checkpoint`] are
//! called while the instance is held, so the order in which they are called is the order of the calls. Events of a policy that
//! is told none are no calls; they are kept between those.

use std::sync::Arc;

use super::contract::Contract;
use super::engine::Component;
use super::fault::PolicyFault;
use super::state::SavedState;
use crate::moment::Moment;

/// What keeps the calls of one policy.
pub trait CallRecorder<C: Contract>: Send + Sync {
    /// For a policy that has just been set up.
    fn new(component: &Arc<Component>, setup: &C::Setup, needs: &C::Needs) -> Self;

    /// Whether a run begins with the next call. Asked before every call: false costs one branch where nothing is recorded.
    fn wants_checkpoint(&self) -> bool;

    /// A run begins, with what the policy knows.
    fn begin(&self, state: Option<SavedState>, now: Moment);

    /// It was told an event; one that is told nothing ([`Contract::hears`]) was not called for it.
    fn observed(&self, event: &C::Event, fault: Option<&PolicyFault>);

    /// It was asked to save.
    fn saved(&self, state: Result<Option<&SavedState>, &PolicyFault>);
}

/// Keeps nothing.
impl<C: Contract> CallRecorder<C> for () {
    fn new(_: &Arc<Component>, _: &C::Setup, _: &C::Needs) -> Self {}

    fn wants_checkpoint(&self) -> bool {
        false
    }

    fn begin(&self, _: Option<SavedState>, _: Moment) {}

    fn observed(&self, _: &C::Event, _: Option<&PolicyFault>) {}

    fn saved(&self, _: Result<Option<&SavedState>, &PolicyFault>) {}
}
