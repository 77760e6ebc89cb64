//! What a policy knows, asked for: now and then, before a swap, and where a run of recorded calls begins.

use std::sync::atomic::Ordering;

use super::{Learning, PolicyRuntime, SAVE_AFTER, lock};
use crate::moment::Moment;
use crate::policy::host::contract::Contract;
use crate::policy::host::fault::PolicyFault;
use crate::policy::host::instance::Instance;
use crate::policy::host::recorder::CallRecorder;
use crate::policy::host::state::SavedState;

impl<C: Contract> PolicyRuntime<C> {
    /// What the policy knows now; what it saved last where it cannot be asked.
    #[must_use]
    pub fn save(&self) -> Option<SavedState> {
        let mut learning = lock(&self.learning);
        if learning.unsaved > 0 || learning.saved_calls != self.stats.calls() || lock(&self.saved).is_none() {
            self.ask_to_save(&mut learning);
        }
        lock(&self.saved).clone()
    }

    /// To be called now and then: asks the policy to save when five seconds have passed and it did anything.
    pub fn tick(&self, now: Moment) {
        self.stats.saw(now);
        let mut learning = lock(&self.learning);
        let active = learning.unsaved > 0 || learning.saved_calls != self.stats.calls();
        let due = learning.saved_at.is_none_or(|saved_at| now.since(saved_at) >= SAVE_AFTER);
        if active && !learning.succeeded && due {
            learning.saved_at = Some(now);
            self.ask_to_save(&mut learning);
        }
    }

    /// The saved state after asking for it, with the lock of what it learned held by the caller.
    pub(in crate::policy::host) fn state(&self, learning: &mut Learning<C::Event>) -> Option<SavedState> {
        self.ask_to_save(learning);
        lock(&self.saved).clone()
    }

    pub(super) fn ask_to_save(&self, learning: &mut Learning<C::Event>) {
        if self.stats.quarantined() {
            return;
        }
        learning.unsaved = 0;
        learning.saved_calls = self.stats.calls();
        let saved = self.save_instance(&mut lock(self.first_instance()));
        if let Err(fault) = saved {
            self.failed(fault);
        }
    }

    /// Asks an instance to save. It is held until what it saved is kept: nobody begins from an older state in between.
    ///
    /// # Errors
    /// The call failed, which is not counted yet.
    fn save_instance(&self, kept: &mut Option<Instance<C>>) -> Result<(), PolicyFault> {
        let saved = self.with_instance(kept, |instance| instance.save(self.call));
        self.recorder.saved(saved.as_ref().map(Option::as_ref));
        if let Some(state) = saved? {
            self.stats.saves.fetch_add(1, Ordering::Relaxed);
            *lock(&self.saved) = Some(state);
        }
        Ok(())
    }

    /// Begins a run of recorded calls with what the policy knows now. Where several instances answer, none of them learns,
    /// and what was saved last will do.
    pub(super) fn checkpoint(&self, kept: &mut Option<Instance<C>>, now: Moment) {
        if self.instances.len() == 1
            && let Err(fault) = self.save_instance(kept)
        {
            self.failed(fault);
        }
        let state = lock(&self.saved).clone();
        self.recorder.begin(state, now);
    }
}
