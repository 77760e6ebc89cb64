//! Instances that are taken out for one use: one prompt, one reply. Nothing of one use is seen at another: an instance is
//! given back only where its policy says that it remembers nothing, and only after a use that ended well.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::call_context::CallContext;
use super::contract::Contract;
use super::engine::Engine;
use super::fault::PolicyFault;
use super::instance::{Budget, Instance};
use super::quarantine::Probe;
use super::runtime::{PolicyRuntime, lock};
use crate::id::RequestId;
use crate::moment::Moment;

/// Memory an instance may have taken since it was set up and still wait for its next use.
const GROWN_BYTES: usize = 4 << 20;

/// Instances that wait for their next use. All of an engine together are no more than half of what it has room for, and one
/// that grew is not among them: what waits for a use that may never come must not be missed elsewhere.
pub(super) struct Idle<C: Contract> {
    engine: Engine,
    most: usize,
    most_bytes: usize,
    waiting: Mutex<Vec<Instance<C>>>,
}

impl<C: Contract> Idle<C> {
    /// At most so many of `engine`'s, which have `first_bytes` of memory when they are set up.
    pub(super) fn new(engine: &Engine, most: usize, first_bytes: usize) -> Self {
        let most_bytes = first_bytes.saturating_add(GROWN_BYTES);
        Self { engine: engine.clone(), most, most_bytes, waiting: Mutex::new(Vec::new()) }
    }

    fn take(&self) -> Option<Instance<C>> {
        let taken = if self.most == 0 { None } else { lock(&self.waiting).pop() };
        self.engine.idle().fetch_sub(usize::from(taken.is_some()), Ordering::Relaxed);
        taken
    }

    /// Bytes of linear memory of the largest.
    pub(super) fn memory_bytes(&self) -> usize {
        lock(&self.waiting).iter().map(Instance::memory_bytes).max().unwrap_or_default()
    }

    fn give_back(&self, instance: Instance<C>) {
        if self.most == 0 || instance.memory_bytes() > self.most_bytes {
            return;
        }
        let (idle, room) = (self.engine.idle(), self.engine.options().instances as usize / 2);
        // Dropped, where it is not kept, without the lock.
        let mut surplus = Some(instance);
        if idle.fetch_add(1, Ordering::Relaxed) < room {
            let mut waiting = lock(&self.waiting);
            if waiting.len() < self.most {
                waiting.extend(surplus.take());
            }
        }
        idle.fetch_sub(usize::from(surplus.is_some()), Ordering::Relaxed);
    }
}

impl<C: Contract> Drop for Idle<C> {
    fn drop(&mut self) {
        let waiting = lock(&self.waiting).len();
        self.engine.idle().fetch_sub(waiting, Ordering::Relaxed);
    }
}

/// An instance in use. Dropped without being given back, it is gone.
pub(in crate::policy) struct Lent<C: Contract> {
    policy: Arc<PolicyRuntime<C>>,
    instance: Option<Instance<C>>,
    request: Option<RequestId>,
    /// The quarantine that this use may end.
    probe: Option<Probe>,
}

impl<C: Contract> Lent<C> {
    /// Takes one out for a request, made anew where none waits.
    ///
    /// # Errors
    /// None can be made, or the policy is quarantined; both are counted.
    pub(in crate::policy) fn of(policy: &Arc<PolicyRuntime<C>>, context: CallContext) -> Result<Self, PolicyFault> {
        let request = context.request();
        let probe = policy.admits(context).map_err(|fault| policy.failed_for(fault, request))?;
        let mut instance = match policy.idle.take() {
            Some(instance) => instance,
            None => policy.made_for(request)?,
        };
        instance.serves(request);
        Ok(Self { policy: Arc::clone(policy), instance: Some(instance), request, probe })
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
        let Self { policy, instance: lent, request, .. } = self;
        let Some(instance) = lent else { return Err(PolicyFault::Contract("it failed before".to_owned())) };
        let answer = policy.counted(CallContext::new(now, *request), || policy.within_budget(instance, call));
        if answer.is_err() {
            *lent = None;
        }
        answer
    }

    /// The use ended well: another may follow.
    pub(in crate::policy) fn give_back(self) {
        if let Some(probe) = self.probe {
            self.policy.passed(probe);
        }
        self.hand_back();
    }

    /// This call of it went well, and says nothing yet of the use, which goes on or ended with no more than a part of it done.
    pub(in crate::policy) fn hand_back(mut self) {
        if let Some(mut instance) = self.instance.take() {
            instance.serves(None);
            self.policy.idle.give_back(instance);
        }
    }
}
