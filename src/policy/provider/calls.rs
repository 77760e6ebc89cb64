//! The calls of a provider, and what crosses with them.

use std::convert::Infallible;

use wasmtime::Store;
use wasmtime::component::{Instance as Linked, InstancePre, ResourceAny};

use super::bindings::{Provider as Exports, ProviderIndices};
use super::{ProviderSetup, wit};
use crate::id::GroupName;
use crate::policy::host::{Budget, Contract, HostState, Instance, InstanceLifetime, PolicyFault, PolicyProblem, Role};

/// Instances that wait for the next request, where they may.
pub(in crate::policy) const MOST_IDLE: usize = 64;

/// A request of one message, in the words every provider's policy reads.
const GREETING: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#;

/// The role of a provider.
#[derive(Debug)]
pub struct Providing;

/// What a provider's policy said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderNeeds {
    pub(super) framing: wit::Framing,
    /// Whether nothing of one request is remembered at the next.
    pub pure: bool,
}

impl Contract for Providing {
    const ROLE: Role = Role::Provider;

    type Exports = Exports;
    type Indices = ProviderIndices;
    type Setup = ProviderSetup;
    type Needs = ProviderNeeds;
    type Event = Infallible;
    type Recorder = ();

    fn bind(pre: &InstancePre<HostState>) -> wasmtime::Result<ProviderIndices> {
        ProviderIndices::new(pre)
    }

    fn load(indices: &ProviderIndices, store: &mut Store<HostState>, instance: &Linked) -> wasmtime::Result<Exports> {
        indices.load(store, instance)
    }

    fn common(setup: &ProviderSetup) -> (&str, u64) {
        (&setup.settings, setup.seed)
    }

    fn group(setup: &ProviderSetup) -> Option<&GroupName> {
        setup.group.as_ref()
    }

    fn start(
        instance: &mut Instance<Self>,
        budget: Budget,
        setup: &ProviderSetup,
    ) -> Result<ProviderNeeds, PolicyProblem> {
        instance.count_as(&setup.model);
        let answer = instance.call(budget, |exports, store| exports.witgate_policy_providing().call_start(store));
        let answer = answer.map_err(|fault| PolicyProblem::Setup { call: "start", fault })?;
        let needs = answer.map_err(PolicyProblem::refused)?;
        Ok(ProviderNeeds { framing: needs.framing, pure: needs.pure })
    }

    /// Has it write a greeting and read what no provider sends. It must answer, if only with faults.
    fn self_test(
        instance: &mut Instance<Self>,
        _: &ProviderNeeds,
        budget: Budget,
        setup: &ProviderSetup,
    ) -> Result<(), PolicyProblem> {
        let failed = |call| move |fault: PolicyFault| PolicyProblem::Setup { call, fault };
        let target = wit::Target { model: &setup.model, api_version: None, max_output_tokens: 100 };
        instance.encode(budget, GREETING.as_bytes(), target).map(drop).map_err(failed("encode"))?;
        instance.decode(budget, b"{}").map(drop).map_err(failed("decode"))?;
        instance.decode_error(budget, 500, b"?").map(drop).map_err(failed("decode-error"))?;
        let decoder = instance.open(budget).map_err(failed("decoder"))?;
        instance.push(budget, decoder, "", b"{}").map(drop).map_err(failed("push"))
    }

    fn lifetime(needs: &ProviderNeeds) -> InstanceLifetime {
        InstanceLifetime::PerUse(if needs.pure { MOST_IDLE } else { 0 })
    }
}

/// An answer, or the fault that it tells.
pub(super) type Told<T> = Result<Result<T, wit::Fault>, PolicyFault>;

impl Instance<Providing> {
    pub(super) fn encode(&mut self, budget: Budget, request: &[u8], target: wit::Target<'_>) -> Told<wit::Encoded> {
        self.call(budget.over(request.len()), |exports, store| {
            exports.witgate_policy_providing().call_encode(store, request, target)
        })
    }

    pub(super) fn decode(&mut self, budget: Budget, body: &[u8]) -> Told<Vec<wit::Event>> {
        self.call(budget.over(body.len()), |exports, store| exports.witgate_policy_providing().call_decode(store, body))
    }

    pub(super) fn decode_error(&mut self, budget: Budget, status: u16, body: &[u8]) -> Result<wit::Fault, PolicyFault> {
        self.call(budget.over(body.len()), |exports, store| {
            exports.witgate_policy_providing().call_decode_error(store, status, body)
        })
    }

    /// A reader of one stream.
    pub(super) fn open(&mut self, budget: Budget) -> Result<ResourceAny, PolicyFault> {
        self.call(budget, |exports, store| exports.witgate_policy_providing().decoder().call_constructor(store))
    }

    pub(super) fn push(
        &mut self,
        budget: Budget,
        decoder: ResourceAny,
        name: &str,
        data: &[u8],
    ) -> Told<Vec<wit::Event>> {
        self.call(budget.over(data.len()), |exports, store| {
            exports.witgate_policy_providing().decoder().call_push(store, decoder, name, data)
        })
    }

    pub(super) fn close(&mut self, budget: Budget, decoder: ResourceAny) -> Result<(), PolicyFault> {
        self.call(budget, |_, store| decoder.resource_drop(store))
    }
}
