//! Whether a policy is called at all, and on which threads: quarantine after faults, and what it costs to call it.

use tracing::field::display;

use super::PolicyRuntime;
use crate::id::RequestId;
use crate::policy::host::call_context::CallContext;
use crate::policy::host::contract::Contract;
use crate::policy::host::fault::PolicyFault;
use crate::policy::host::instance::Instance;
use crate::policy::host::quarantine::Probe;
use crate::policy::host::ticker::thread_cpu;

impl<C: Contract> PolicyRuntime<C> {
    pub(super) fn became_slow(&self) {
        let (group, policy) = (C::group(&self.setup).map(display), self.component.name());
        tracing::warn!(group, %policy, "its calls take over a millisecond; they are made beside the threads that serve");
    }

    /// Makes an instance while a request waits for it: that counts as much as a call does for whether the policy is slow.
    pub(in crate::policy::host) fn made_for(&self, request: Option<RequestId>) -> Result<Instance<C>, PolicyFault> {
        let start = thread_cpu();
        let made = self.recover();
        if self.stats.weigh(thread_cpu().saturating_sub(start)) {
            self.became_slow();
        }
        made.map_err(|fault| self.failed_for(fault, request))
    }

    /// The thread that called it for `request` ended within the call, which counts as a trap.
    pub(crate) fn thread_ended(&self, request: Option<RequestId>) -> PolicyFault {
        self.failed_for(PolicyFault::thread_ended(), request)
    }

    /// Whether it failed so often that it is called once a minute only.
    #[must_use]
    pub fn quarantined(&self) -> bool {
        self.stats.quarantined()
    }

    /// Whether a use may begin now, and whether it is a probe.
    ///
    /// # Errors
    /// It is quarantined, which is not counted yet.
    pub(in crate::policy::host) fn admits(&self, context: CallContext) -> Result<Option<Probe>, PolicyFault> {
        // What keeps an instance from being made has no other time.
        self.stats.saw(context.now());
        self.stats.admits(context)
    }

    /// A probe was good to its end: where it is one of the present quarantine, that is over.
    pub(in crate::policy) fn passed(&self, probe: Probe) {
        if self.stats.passed(probe) {
            let (group, policy) = (C::group(&self.setup).map(display), self.component.name());
            tracing::info!(group, %policy, "answers again: its quarantine is over");
        }
    }

    /// Whether its calls take so long that they must not be made on a thread that serves.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.stats.is_slow()
    }
}
