//! The calls of a response parser, and what crosses with them.

use std::convert::Infallible;

use wasmtime::Store;
use wasmtime::component::{Instance as Linked, InstancePre, ResourceAny};

use super::bindings::{ResponseParser as Exports, ResponseParserIndices};
use super::{ReplyInfo, wit};
use crate::chat::{Delta, FinishReason};
use crate::id::GroupName;
use crate::policy::PolicySetup;
use crate::policy::host::{
    Budget, Contract, HostState, Instance, InstanceLifetime, PolicyFault, PolicyProblem, Role, attributes,
};
use crate::signal::Attribute;

/// Instances that wait for the next reply, where they may.
pub(in crate::policy) const MOST_IDLE: usize = 64;

/// The role of a response parser.
#[derive(Debug)]
pub struct Parsing;

/// What a response parser asked to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserNeeds {
    /// The kinds of deltas it is told.
    pub(super) deltas: wit::Kinds,
    /// Facts as text, in this order.
    pub attributes: Vec<Attribute>,
    /// Whether nothing of one reply is remembered at the next.
    pub pure: bool,
}

/// The kinds of deltas there are, by name.
const KINDS: [(&str, wit::Kinds); 4] = [
    ("text", wit::Kinds::TEXT),
    ("reasoning", wit::Kinds::REASONING),
    ("refusal", wit::Kinds::REFUSAL),
    ("tool-calls", wit::Kinds::TOOL_CALLS),
];

impl ParserNeeds {
    /// The kinds of deltas it is told, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let told = KINDS.into_iter().filter(|(_, kind)| self.deltas.contains(*kind));
        told.map(|(name, _)| name)
    }

    /// Whether it is told this delta.
    pub(super) fn wants(&self, delta: &Delta) -> bool {
        let kind = match delta {
            Delta::Text(_) => wit::Kinds::TEXT,
            Delta::Reasoning(_) => wit::Kinds::REASONING,
            Delta::Refusal(_) => wit::Kinds::REFUSAL,
            Delta::ToolCall { .. } | Delta::ToolArguments { .. } => wit::Kinds::TOOL_CALLS,
            _ => return false,
        };
        self.deltas.contains(kind)
    }
}

impl Contract for Parsing {
    const ROLE: Role = Role::ResponseParser;

    type Exports = Exports;
    type Indices = ResponseParserIndices;
    type Setup = PolicySetup;
    type Needs = ParserNeeds;
    type Event = Infallible;
    type Recorder = ();

    fn bind(pre: &InstancePre<HostState>) -> wasmtime::Result<ResponseParserIndices> {
        ResponseParserIndices::new(pre)
    }

    fn load(
        indices: &ResponseParserIndices,
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

    fn start(instance: &mut Instance<Self>, budget: Budget, setup: &PolicySetup) -> Result<ParserNeeds, PolicyProblem> {
        instance.count_as(&setup.model);
        let answer = instance.call(budget, |exports, store| exports.witgate_policy_parsing().call_start(store));
        let answer = answer.map_err(|fault| PolicyProblem::Setup { call: "start", fault })?;
        let needs = answer.map_err(PolicyProblem::refused)?;
        Ok(ParserNeeds {
            deltas: needs.deltas,
            attributes: attributes(&needs.attributes, &setup.may_read)?,
            pure: needs.pure,
        })
    }

    /// Has it read a greeting. It must answer with deltas or a complaint.
    fn self_test(
        instance: &mut Instance<Self>,
        needs: &ParserNeeds,
        budget: Budget,
        _: &PolicySetup,
    ) -> Result<(), PolicyProblem> {
        let about = ReplyInfo { attributes: vec![String::new(); needs.attributes.len()], ..ReplyInfo::default() };
        let failed = |call| move |fault: PolicyFault| PolicyProblem::Setup { call, fault };
        let parser = instance.open(budget, 0, &about).map_err(failed("parser"))?;
        for delta in [Delta::Text("Hello".to_owned()), Delta::Text(" there.".to_owned())] {
            if needs.wants(&delta) {
                instance.push(budget, parser, &delta).map_err(failed("push"))?;
            }
        }
        instance.finish(budget, parser, &FinishReason::Stop).map(drop).map_err(failed("finish"))
    }

    fn lifetime(needs: &ParserNeeds) -> InstanceLifetime {
        InstanceLifetime::PerUse(if needs.pure { MOST_IDLE } else { 0 })
    }
}

impl Instance<Parsing> {
    /// A parser of one alternative.
    pub(super) fn open(&mut self, budget: Budget, choice: u32, about: &ReplyInfo) -> Result<ResourceAny, PolicyFault> {
        let attributes: Vec<&str> = about.attributes.iter().map(String::as_str).collect();
        let about = wit::ReplyInfo {
            choice,
            streamed: about.streamed,
            asked_again: about.asked_again,
            schema: about.schema.as_deref(),
            note: about.note.as_deref(),
            attributes: &attributes,
        };
        self.call(budget, |exports, store| exports.witgate_policy_parsing().parser().call_constructor(store, about))
    }

    /// What the client gets in the place of `delta`, which is one that parsers are told.
    pub(super) fn push(
        &mut self,
        budget: Budget,
        parser: ResourceAny,
        delta: &Delta,
    ) -> Result<Vec<Delta>, PolicyFault> {
        let Some(told) = told(delta) else { return Ok(vec![delta.clone()]) };
        let answer = self
            .call(budget, |exports, store| exports.witgate_policy_parsing().parser().call_push(store, parser, told))?;
        Ok(answer.into_iter().map(canonical).collect())
    }

    /// What was held back, or why the alternative is no reply.
    pub(super) fn finish(
        &mut self,
        budget: Budget,
        parser: ResourceAny,
        reason: &FinishReason,
    ) -> Result<Result<Vec<Delta>, wit::Complaint>, PolicyFault> {
        let reason = match reason {
            FinishReason::Stop | FinishReason::StopSequence(_) => wit::Finish::Stop,
            FinishReason::Length => wit::Finish::Length,
            FinishReason::ToolCalls => wit::Finish::ToolCalls,
            FinishReason::ContentFilter => wit::Finish::ContentFilter,
            FinishReason::Refusal => wit::Finish::Refusal,
            FinishReason::Other(_) => wit::Finish::Other,
        };
        let answer = self.call(budget, |exports, store| {
            let answer = exports.witgate_policy_parsing().parser().call_finish(&mut *store, parser, reason)?;
            parser.resource_drop(store)?;
            Ok(answer)
        })?;
        Ok(answer.map(|deltas| deltas.into_iter().map(canonical).collect()))
    }

    /// Forgets an alternative that nobody will finish.
    pub(super) fn close(&mut self, budget: Budget, parser: ResourceAny) -> Result<(), PolicyFault> {
        self.call(budget, |_, store| parser.resource_drop(store))
    }
}

fn told(delta: &Delta) -> Option<wit::DeltaParam<'_>> {
    Some(match delta {
        Delta::Text(text) => wit::DeltaParam::Text(text),
        Delta::Reasoning(text) => wit::DeltaParam::Reasoning(text),
        Delta::Refusal(text) => wit::DeltaParam::Refusal(text),
        Delta::ToolCall { index, id, name } => {
            wit::DeltaParam::ToolCall(wit::ToolCallParam { index: *index, id, name })
        }
        Delta::ToolArguments { index, fragment } => {
            wit::DeltaParam::ToolArguments(wit::ToolArgumentsParam { index: *index, fragment })
        }
        _ => return None,
    })
}

fn canonical(delta: wit::DeltaResult) -> Delta {
    match delta {
        wit::DeltaResult::Text(text) => Delta::Text(text),
        wit::DeltaResult::Reasoning(text) => Delta::Reasoning(text),
        wit::DeltaResult::Refusal(text) => Delta::Refusal(text),
        wit::DeltaResult::ToolCall(wit::ToolCallResult { index, id, name }) => Delta::ToolCall { index, id, name },
        wit::DeltaResult::ToolArguments(wit::ToolArgumentsResult { index, fragment }) => {
            Delta::ToolArguments { index, fragment }
        }
    }
}
