//! The calls of a prompt builder, and what crosses with them.

use std::convert::Infallible;

use wasmtime::Store;
use wasmtime::component::{Instance as Linked, InstancePre};

use super::bindings::{PromptBuilder as Exports, PromptBuilderIndices};
use super::{BuildRequest, apply, wit};
use crate::chat::{Message, Part, Rest, Role as Speaker};
use crate::id::GroupName;
use crate::moment::Moment;
use crate::policy::PolicySetup;
use crate::policy::host::{
    Budget, Contract, HostState, Instance, InstanceLifetime, PolicyFault, PolicyProblem, Role, attributes,
};
use crate::signal::Attribute;

/// Instances that wait for the next request, where they may: about as many as there are threads to call them.
pub(in crate::policy) const MOST_IDLE: usize = 16;

/// The role of a prompt builder.
#[derive(Debug)]
pub struct Building;

/// What a prompt builder asked to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderNeeds {
    /// Facts as text, in this order.
    pub attributes: Vec<Attribute>,
    /// Whether nothing of one request is remembered at the next.
    pub pure: bool,
}

impl Contract for Building {
    const ROLE: Role = Role::PromptBuilder;

    type Exports = Exports;
    type Indices = PromptBuilderIndices;
    type Setup = PolicySetup;
    type Needs = BuilderNeeds;
    type Event = Infallible;
    type Recorder = ();

    fn bind(pre: &InstancePre<HostState>) -> wasmtime::Result<PromptBuilderIndices> {
        PromptBuilderIndices::new(pre)
    }

    fn load(
        indices: &PromptBuilderIndices,
        store: &mut Store<HostState>,
        instance: &Linked,
    ) -> wasmtime::Result<Exports> {
        indices.load(store, instance)
    }

    fn common(setup: &PolicySetup) -> (&str, u64) {
        (&setup.settings, setup.seed)
    }

    fn group(setup: &PolicySetup) -> Option<&GroupName> {
        setup.group.as_ref()
    }

    fn start(
        instance: &mut Instance<Self>,
        budget: Budget,
        setup: &PolicySetup,
    ) -> Result<BuilderNeeds, PolicyProblem> {
        instance.count_as(&setup.model);
        let answer = instance.call(budget, |exports, store| exports.witgate_policy_prompting().call_start(store));
        let answer = answer.map_err(|fault| PolicyProblem::Setup { call: "start", fault })?;
        let needs = answer.map_err(PolicyProblem::refused)?;
        Ok(BuilderNeeds { attributes: attributes(&needs.attributes, &setup.may_read)?, pure: needs.pure })
    }

    /// Asks for a prompt from a greeting. It must answer with a prompt or a refusal.
    fn self_test(
        instance: &mut Instance<Self>,
        needs: &BuilderNeeds,
        budget: Budget,
        setup: &PolicySetup,
    ) -> Result<(), PolicyProblem> {
        let messages =
            vec![Message { role: Speaker::User, parts: vec![Part::text("Hello")], name: None, rest: Rest::new() }];
        let request = BuildRequest {
            id: None,
            now: Moment::default(),
            seed: setup.seed,
            variables: "{}".to_owned(),
            items: Vec::new(),
            budget: Some(1000),
            attributes: vec![String::new(); needs.attributes.len()],
        };
        let failed = |fault: PolicyFault| PolicyProblem::Setup { call: "build", fault };
        let parts = apply::parts(&messages);
        if let Ok(prompt) = instance.build(budget, &request, &messages, &parts).map_err(failed)? {
            apply::apply(prompt, messages, 0).map_err(failed)?;
        }
        Ok(())
    }

    fn lifetime(needs: &BuilderNeeds) -> InstanceLifetime {
        InstanceLifetime::PerUse(if needs.pure { MOST_IDLE } else { 0 })
    }
}

impl Instance<Building> {
    /// Asks for a prompt; `parts` are those of `messages`, message by message.
    pub(super) fn build(
        &mut self,
        budget: Budget,
        request: &BuildRequest,
        messages: &[Message],
        parts: &[Vec<wit::Part<'_>>],
    ) -> Result<Result<wit::Prompt, String>, PolicyFault> {
        let messages: Vec<_> = messages
            .iter()
            .zip(parts)
            .map(|(message, parts)| wit::Message { role: apply::role(message.role), parts })
            .collect();
        let items: Vec<&str> = request.items.iter().map(String::as_str).collect();
        let attributes: Vec<&str> = request.attributes.iter().map(String::as_str).collect();
        let question = wit::Request {
            now_ms: request.now.as_millis(),
            seed: request.seed,
            messages: &messages,
            variables: &request.variables,
            items: &items,
            budget: request.budget,
            attributes: &attributes,
        };
        self.call(budget, |exports, store| exports.witgate_policy_prompting().call_build(store, question))
    }
}
