//! What the host must know of a role to run its components. Everything else about a role is its own part's.

use wasmtime::Store;
use wasmtime::component::{Instance as Linked, InstancePre};

use super::fault::PolicyFault;
use super::inspect::Role;
use super::instance::{Budget, Instance, InstanceLifetime};
use super::problem::PolicyProblem;
use super::recorder::CallRecorder;
use super::store::HostState;
use crate::id::GroupName;

/// One role.
pub trait Contract: Sized + Send + Sync + 'static {
    /// Which role it is.
    const ROLE: Role;

    /// The role's own exports of an instance.
    type Exports: Send;
    /// Where those exports are in a component.
    type Indices;
    /// What a policy is set up with.
    type Setup: Clone + Send + Sync;
    /// What it says when it is set up, and must say again whenever it is.
    type Needs: PartialEq + Send + Sync;
    /// What it is told and may learn from; `Infallible` for a role that is told nothing, which leaves the last three out.
    type Event: Clone + Send + Sync;
    /// What keeps its calls, so that they can be repeated; `()` keeps none.
    type Recorder: CallRecorder<Self>;

    /// Finds the exports.
    ///
    /// # Errors
    /// One is missing or of another type.
    fn bind(pre: &InstancePre<HostState>) -> wasmtime::Result<Self::Indices>;

    /// The exports of an instance.
    ///
    /// # Errors
    /// One is missing or of another type.
    fn load(
        indices: &Self::Indices,
        store: &mut Store<HostState>,
        instance: &Linked,
    ) -> wasmtime::Result<Self::Exports>;

    /// What every role is configured with: the settings, a JSON object as text, and the seed.
    fn common(setup: &Self::Setup) -> (&str, u64);

    /// The group it works for, where there is one: log lines name it.
    #[must_use]
    fn group(_: &Self::Setup) -> Option<&GroupName> {
        None
    }

    /// How many choices an answer may list.
    #[must_use]
    fn choices(_setup: &Self::Setup) -> usize {
        0
    }

    /// What follows `configure`.
    ///
    /// # Errors
    /// The call fails, or the policy wants what there is not.
    fn start(instance: &mut Instance<Self>, budget: Budget, setup: &Self::Setup) -> Result<Self::Needs, PolicyProblem>;

    /// Tries an instance, which is thrown away afterwards, on what nobody sent.
    ///
    /// # Errors
    /// It fails, or answers with what no answer can be.
    fn self_test(
        instance: &mut Instance<Self>,
        needs: &Self::Needs,
        budget: Budget,
        setup: &Self::Setup,
    ) -> Result<(), PolicyProblem>;

    /// Puts an instance that passed to what is wrong, infinite or as large as it gets; it is asked to save then, and thrown away too. What
    /// passes is served, so this is all that `witgate policy check` judges by.
    ///
    /// # Errors
    /// It fails, or answers with what no answer can be.
    fn trial(
        _instance: &mut Instance<Self>,
        _needs: &Self::Needs,
        _budget: Budget,
        _setup: &Self::Setup,
    ) -> Result<(), PolicyProblem> {
        Ok(())
    }

    /// How its instances live.
    fn lifetime(needs: &Self::Needs) -> InstanceLifetime;

    /// Whether one that says this is told anything: what learns nothing has no use for it.
    #[must_use]
    fn hears(_needs: &Self::Needs) -> bool {
        true
    }

    /// Whether an event is one that a policy with this setup may be told.
    #[must_use]
    fn concerns(_event: &Self::Event, _setup: &Self::Setup) -> bool {
        false
    }

    /// Tells an event.
    ///
    /// # Errors
    /// The call fails.
    fn observe(_instance: &mut Instance<Self>, _budget: Budget, _event: &Self::Event) -> Result<(), PolicyFault> {
        Ok(())
    }

    /// An event of a policy that was set up with `from`, as one that was set up with `to` must be told it; `None` where it does
    /// not concern it.
    #[must_use]
    fn carry(_event: &Self::Event, _from: &Self::Setup, _to: &Self::Setup) -> Option<Self::Event> {
        None
    }
}
