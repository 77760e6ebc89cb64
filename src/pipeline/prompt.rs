//! Where a prompt is built: once per request, for its group, before anything is counted.
//!
//! A builder that fails ends the request, for it may be there to take something out; the group may say that what the client
//! wrote is sent instead.

mod versions;

use std::sync::Arc;

use serde_json::Value;

use crate::chat::{ChatRequest, Message, OutputFormat};
use crate::fault::{Refusal, RefusalKind};
use crate::id::RequestId;
use crate::policy::{BuildError, BuildRequest, Building, BuiltPrompt, PolicyFault, PromptBuilder};
use crate::record::{Explanation, PromptBuilt, PromptEnd};
use crate::rollout::Rollout;
use crate::snapshot::GroupRuntime;
use crate::tokens;

pub(super) use versions::BuiltBy;

use versions::Versions;

use super::attributes::Facts;
use super::context::Arrival;
use super::{Estimate, Gateway, LARGE, RequestContext, RequestGuard, estimate};

/// What clients send for a builder.
const VARIABLES: &str = "prompt_variables";
const ITEMS: &str = "prompt_items";

/// A request whose prompt is built.
pub(super) struct Prompt {
    pub(super) request: Box<ChatRequest>,
    /// The client's items that are in it, where it sent any.
    pub(super) items: Option<Vec<u32>>,
    /// For the group's response parser.
    pub(super) note: Option<Arc<str>>,
    /// Bytes of words it has beside those the client sent.
    pub(super) grown: usize,
    /// Which version built it, where a new one is tried.
    pub(super) built_by: Option<BuiltBy>,
}

/// The request as it will be counted and sent; what became of it is told in `told`.
///
/// # Errors
/// There is nothing to send, or the builder fails or refuses the request.
pub(super) async fn build(
    gateway: &Gateway,
    group: &GroupRuntime,
    arrival: &Arrival,
    mut request: Box<ChatRequest>,
    told: Option<&mut Explanation>,
) -> Result<Prompt, Refusal> {
    // Of texts whose vectors are wanted no prompt is made.
    let built = group.builder.as_ref().zip(group.config.builder.as_ref()).filter(|_| request.vectors.is_none());
    let Some((builder, choice)) = built else {
        if request.messages.is_empty() {
            return Err(no_messages(group));
        }
        return Ok(Prompt { request, items: None, note: None, grown: 0, built_by: None });
    };
    let variables = taken(&mut request, VARIABLES, Value::is_object, "an object")?;
    let items = taken(&mut request, ITEMS, Value::is_array, "an array")?;
    let question = BuildRequest {
        id: arrival.id,
        now: gateway.clock.now(),
        seed: arrival.seed,
        variables: variables.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string),
        items: items.iter().filter_map(Value::as_array).flatten().map(Value::to_string).collect(),
        budget: budget(gateway, group, &request).await,
        attributes: Vec::new(),
    };
    let builders = Versions::of(group, builder, arrival, &request);
    let asked = items.is_some();
    let mut account = told.map(|told| Account::begin(told, &request, question.items.len()));
    let came = words(&request.messages);
    let messages = Arc::unwrap_or_clone(std::mem::take(&mut request.messages));
    // Only a builder that may be passed over costs a copy.
    let written = choice.pass_on_fault.then(|| messages.clone());
    let (builder, built_by, answer) = builders.build(gateway, question, messages, arrival.large).await;
    if let Some(account) = &mut account {
        account.answered(&builder, &answer, written.as_ref().is_some_and(|messages| !messages.is_empty()));
    }
    let builder = &builder;
    let built = match (answer, written) {
        (Ok(built), _) => built,
        (Err(BuildError::Refused(words)), _) if choice.may_reject => {
            if let Some((rollout, by_candidate)) = &built_by {
                rollout.refused(*by_candidate);
            }
            return Err(refused(builder, words));
        }
        // Logged and counted where it happened.
        (Err(BuildError::Fault(_)), Some(messages)) if !messages.is_empty() => {
            BuiltPrompt { messages, ..BuiltPrompt::default() }
        }
        (Err(why), _) => {
            lost(built_by.as_ref());
            return Err(failed(builder, arrival, group, why));
        }
    };
    let grown = words(&built.messages).saturating_sub(came) + built.note.as_ref().map_or(0, |note| note.len());
    request.messages = Arc::new(built.messages);
    if let Some(account) = account {
        account.sent(&request);
    }
    Ok(Prompt { request, items: asked.then_some(built.items), note: built.note, grown, built_by })
}

/// An attempt is under way, which counts for the version that built its prompt, where a new one is tried.
pub(super) fn built_for(context: &RequestContext<'_>, guard: &mut RequestGuard) {
    if let Some((rollout, by_candidate)) = &context.built_by {
        guard.worked_for(Arc::<Rollout<Building>>::clone(rollout), *by_candidate);
    }
}

/// A prompt was built that no deployment of the group can ever take: to the version that built it, it is a failed attempt.
pub(super) fn unfit(context: &RequestContext<'_>) {
    lost(context.built_by.as_ref());
}

fn lost(built_by: Option<&BuiltBy>) {
    if let Some((rollout, by_candidate)) = built_by {
        rollout.lost(*by_candidate);
    }
}

/// What is told of a prompt while it is built.
struct Account<'a> {
    built: &'a mut PromptBuilt,
    words: bool,
}

impl<'a> Account<'a> {
    fn begin(told: &'a mut Explanation, request: &ChatRequest, items: usize) -> Self {
        let built = PromptBuilt {
            messages_before: request.messages.len(),
            tokens_before: Estimate::of(request).input(),
            items,
            ..PromptBuilt::default()
        };
        Self { words: told.words, built: told.prompt.insert(built) }
    }

    fn answered(&mut self, builder: &PromptBuilder, answer: &Result<BuiltPrompt, BuildError>, passes: bool) {
        let built = &mut *self.built;
        built.policy = builder.component().label();
        let mut said = None;
        match answer {
            Ok(prompt) => {
                built.items_kept = prompt.items.len();
                built.note = prompt.note.is_some();
            }
            Err(BuildError::Refused(words)) => {
                built.end = PromptEnd::Refused;
                said = Some(words.clone());
            }
            Err(BuildError::Fault(fault)) => {
                built.end = if passes { PromptEnd::PassedOver } else { PromptEnd::Failed };
                built.fault = Some(fault.kind().to_owned());
                said = Some(fault.to_string());
            }
        }
        built.words = said.filter(|_| self.words);
    }

    fn sent(self, request: &ChatRequest) {
        self.built.messages_after = request.messages.len();
        self.built.tokens_after = Estimate::of(request).input();
    }
}

/// Bytes of all words.
fn words(messages: &[Message]) -> usize {
    messages.iter().flat_map(|message| &message.parts).map(|part| part.kind.length()).sum()
}

fn facts<'a>(group: &'a GroupRuntime, arrival: &'a Arrival, request: &'a ChatRequest) -> Facts<'a> {
    let Arrival { id, caller, api, tags, headers, .. } = arrival;
    Facts { group, caller, api, explained: id.is_none(), tags, headers, request }
}

async fn ask(
    gateway: &Gateway,
    builder: &Arc<PromptBuilder>,
    question: BuildRequest,
    messages: Vec<Message>,
    large: bool,
) -> Result<BuiltPrompt, BuildError> {
    if question.id.is_none() {
        // With the shadows, whose calls keep nobody waiting: an instance is made for what is planned and not served.
        let own = Arc::clone(builder);
        let built = gateway.shadows.run(move || own.explain(&question, messages)).await;
        return built.unwrap_or_else(|| Err(PolicyFault::thread_ended().into()));
    }
    let written = question.variables.len() + question.items.iter().map(String::len).sum::<usize>();
    let slow = builder.is_slow();
    if !slow && !large && written <= LARGE {
        return builder.build(&question, messages);
    }
    let pool = gateway.pool_for(slow);
    let (own, id) = (Arc::clone(builder), question.id);
    let built = pool.run(move || own.build(&question, messages)).await;
    built.unwrap_or_else(|| Err(builder.thread_ended(id).into()))
}

/// A field that is ours to read, not the provider's.
fn taken(
    request: &mut ChatRequest,
    name: &str,
    fits: fn(&Value) -> bool,
    wanted: &str,
) -> Result<Option<Value>, Refusal> {
    let value = request.rest.shift_remove(name).filter(|value| !value.is_null());
    if value.as_ref().is_some_and(|value| !fits(value)) {
        return Err(Refusal::new(RefusalKind::InvalidRequest, format!("`{name}` must be {wanted}")).at(name));
    }
    Ok(value)
}

/// Tokens a prompt may have, so that each deployment of the group could take it, what goes along with it and the output asked for.
async fn budget(gateway: &Gateway, group: &GroupRuntime, request: &ChatRequest) -> Option<u32> {
    let estimate = Estimate::of(request);
    let of_deployment = |deployment: &Arc<crate::snapshot::DeploymentRuntime>| {
        let output = u32::try_from(estimate.demand(deployment).output_tokens).unwrap_or(u32::MAX);
        Some(deployment.config.context_window?.saturating_sub(output))
    };
    let room = group.deployments.iter().filter_map(of_deployment).min()?;
    let along = along(gateway, &group.deployments.first()?.config.model, request).await;
    Some(room.saturating_sub(u32::try_from(along).unwrap_or(u32::MAX)))
}

/// Tokens of a request's tools and of the schema its reply is to follow, whatever its prompt.
async fn along(gateway: &Gateway, model: &str, request: &ChatRequest) -> u64 {
    let has_schema = matches!(request.output, Some(OutputFormat::JsonSchema { .. }));
    if request.tools.is_empty() && !has_schema {
        return 0;
    }
    let rest = Arc::new(ChatRequest { messages: Arc::default(), input_tokens: None, ..request.clone() });
    let bound = tokens::upper_bound(&rest);
    estimate::count(gateway, &rest, bound, model).await.map_or(bound, |count| count.tokens)
}

fn no_messages(group: &GroupRuntime) -> Refusal {
    let message = format!(
        "at least one message is required: `{}` has no prompt builder that could make one of `{VARIABLES}`",
        group.config.name
    );
    Refusal::new(RefusalKind::InvalidRequest, message).at("messages")
}

fn refused(builder: &PromptBuilder, words: String) -> Refusal {
    let silent = words.trim().is_empty();
    let name = builder.component().name();
    Refusal::new(
        RefusalKind::PolicyRefused,
        if silent { format!("the prompt builder `{name}` refuses this request") } else { words },
    )
}

/// What the builder said is for the operator: it has no grant to speak to clients.
fn failed(builder: &PromptBuilder, arrival: &Arrival, group: &GroupRuntime, why: BuildError) -> Refusal {
    let policy = builder.component().name();
    if let BuildError::Refused(words) = why {
        ungranted(builder, arrival.id, group, &words);
    }
    let message = format!("the prompt builder `{policy}` made no prompt of this request, and nothing was sent");
    Refusal::new(RefusalKind::PromptFailed, message)
}

/// Tells the operator of a refusal that the builder has no grant for.
fn ungranted(builder: &PromptBuilder, id: Option<RequestId>, group: &GroupRuntime, words: &str) {
    let (id, group, policy) = (id.map(tracing::field::display), &group.config.name, builder.component().name());
    tracing::warn!(id, %group, %policy, %words, "the prompt builder refused a request, which needs `may_reject` of `witgate.prompt_builders`");
}
