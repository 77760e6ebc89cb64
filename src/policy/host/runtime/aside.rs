//! Questions of somebody who only asks what a policy would say. They are put to an instance of their own: whatever becomes of it,
//! nothing is counted and those in service are left as they are, since whoever may ask must not be able to take a policy out of service.

use super::{PolicyRuntime, lock};
use crate::policy::host::contract::Contract;
use crate::policy::host::fault::PolicyFault;
use crate::policy::host::instance::{Budget, Instance};

impl<C: Contract> PolicyRuntime<C> {
    /// Calls an instance that begins with what the policy saved last and is thrown away afterwards. No call, time or fault is counted, and
    /// no probe of a quarantine is spent.
    ///
    /// # Errors
    /// The call failed, no instance can be made, or the policy is quarantined and would not be asked.
    pub(in crate::policy) fn ask_aside<R>(
        &self,
        call: impl FnOnce(&mut Instance<C>, Budget) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        if self.stats.quarantined() {
            return Err(PolicyFault::Quarantined);
        }
        call(&mut self.recover()?, self.call)
    }

    /// Has what the policy knows now saved, for an instance that is asked aside. Where that fails it begins with what was saved before, and
    /// the policy is asked once more when its time has come, which counts.
    pub(in crate::policy) fn save_aside(&self) {
        // Where several instances answer, none of them learns.
        if self.stats.quarantined() || self.instances.len() > 1 {
            return;
        }
        let mut learning = lock(&self.learning);
        let calls = self.stats.calls();
        let is_saved = learning.unsaved == 0 && learning.saved_calls == calls && lock(&self.saved).is_some();
        if is_saved || self.save_instance(&mut lock(self.first_instance())).is_err() {
            return;
        }
        (learning.unsaved, learning.saved_calls) = (0, calls);
    }
}
