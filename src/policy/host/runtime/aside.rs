//! Questions of somebody who only asks what a policy would say. They are put to an instance of their own: whatever becomes of it,
//! nothing is counted and those in service are left as they are, since whoever may ask must not be able to take a policy out of service.
//! That instance begins with what was saved last. The one in service is asked for more no oftener than it is asked anyway.

use super::PolicyRuntime;
use crate::moment::Moment;
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

    /// Has what the policy knows saved for an instance that is asked aside, where that is due: it is [`Self::tick`], which would come in a
    /// moment. Saving holds up who is served, and costs a policy that fails in it what it learned: it must not happen for each question.
    pub(in crate::policy) fn save_aside(&self, now: Moment) {
        // Where several instances answer, none of them learns.
        if !self.stats.quarantined() && self.instances.len() == 1 {
            self.tick(now);
        }
    }
}
