//! Instances that are taken out for one use: one prompt, one reply. Nothing of one use is seen at another: an instance is
//! given back only where its policy says that it remembers nothing, and only after a use that ended well.

use std::sync::{Arc, Mutex};

use super::contract::Contract;
use super::fault::PolicyFault;
use super::instance::{Budget, Instance};
use super::runtime::{CallContext, PolicyRuntime, lock};
use crate::id::RequestId;
use crate::moment::Moment;

/// Instances that wait for their next use.
pub(super) struct Idle<C: Contract> {
    most: usize,
    waiting: Mutex<Vec<Instance<C>>>,
}

impl<C: Contract> Idle<C> {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::new(Vec::new()) }
    }

    fn take(&self) -> Option<Instance<C>> {
        if self.most == 0 { None } else { lock(&self.waiting).pop() }
    }

    fn give_back(&self, instance: Instance<C>) {
        // Dropped, where it is not kept, without the lock.
        let mut surplus = Some(instance);
        let mut waiting = lock(&self.waiting);
        if waiting.len() < self.most {
            waiting.extend(surplus.take());
        }
        drop(waiting);
    }
}

/// An instance in use. Dropped without being given back, it is gone.
pub(in crate::policy) struct Lent<C: Contract> {
    policy: Arc<PolicyRuntime<C>>,
    instance: Option<Instance<C>>,
    request: Option<RequestId>,
}

impl<C: Contract> Lent<C> {
    /// Takes one out for a request, made anew where none waits.
    ///
    /// # Errors
    /// None can be made, or the policy is quarantined; both are counted.
    pub(in crate::policy) fn of(
        policy: &Arc<PolicyRuntime<C>>,
        request: Option<RequestId>,
    ) -> Result<Self, PolicyFault> {
        if policy.quarantined() {
            return Err(policy.failed_for(PolicyFault::Quarantined, request));
        }
        let mut instance = match policy.idle.take() {
            Some(instance) => instance,
            None => policy.recover().map_err(|fault| policy.failed_for(fault, request))?,
        };
        instance.serves(request);
        Ok(Self { policy: Arc::clone(policy), instance: Some(instance), request })
    }

    /// The policy it is an instance of.
    pub(in crate::policy) const fn policy(&self) -> &Arc<PolicyRuntime<C>> {
        &self.policy
    }

    /// Calls it, counted, timed and within the budget of a call. After a fault there is no instance any more.
    ///
    /// # Errors
    /// The call failed, now or before.
    pub(in crate::policy) fn call<R>(
        &mut self,
        now: Moment,
        call: impl FnOnce(&mut Instance<C>, Budget) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let Self { policy, instance: lent, request } = self;
        let Some(instance) = lent else { return Err(PolicyFault::Contract("it failed before".to_owned())) };
        let answer = policy.counted(CallContext::new(now, *request), || policy.within_budget(instance, call));
        if answer.is_err() {
            *lent = None;
        }
        answer
    }

    /// The use ended well: another may follow.
    pub(in crate::policy) fn give_back(mut self) {
        if let Some(mut instance) = self.instance.take() {
            instance.serves(None);
            self.policy.idle.give_back(instance);
        }
    }
}
