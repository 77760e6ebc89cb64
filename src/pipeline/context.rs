//! A request that has been read, with what every later stage looks at.
//!
//! What is asked of a request before it is routed is asked here, so that serving it and planning it refuse alike.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::chat::ChatRequest;
use crate::failover::RetryRule;
use crate::fault::{Refusal, RefusalKind};
use crate::id::{GroupName, RequestId};
use crate::moment::Moment;
use crate::record::Explanation;
use crate::snapshot::{Caller, GroupRuntime, Snapshot};

use super::attributes::{Facts, KeptHeaders, take_tags};
use super::eligible::Eligible;
use super::paying::{Paying, own_tags};
use super::prompt::BuiltBy;
use super::wishes::Wishes;
use super::{Gateway, Vector, prompt, steering};

/// Bytes of an unknown name that a refusal repeats.
const NAME_BYTES: usize = 200;

pub(super) struct RequestContext<'a> {
    /// `None` where it is planned and not served.
    pub(super) id: Option<RequestId>,
    pub(super) gateway: &'a Gateway,
    pub(super) snapshot: &'a Snapshot,
    pub(super) group: &'a Arc<GroupRuntime>,
    /// The deployments it may go to.
    pub(super) eligible: Eligible,
    pub(super) caller: Arc<Caller>,
    /// Who pays for it.
    pub(super) paying: Paying,
    /// The name of the API it came through.
    pub(super) api: &'static str,
    pub(super) request: Arc<ChatRequest>,
    /// The client's items that are in the prompt, where it sent any.
    pub(super) items: Option<Vec<u32>>,
    /// What the prompt builder left for the response parser.
    pub(super) note: Option<Arc<str>>,
    /// Bytes the prompt builder made of the client's, beside those.
    pub(super) grown: usize,
    /// Where a new version of the prompt builder is tried: whether that built the prompt.
    pub(super) built_by: Option<BuiltBy>,
    /// How often the model was asked again because the parser complained.
    pub(super) asked_again: u32,
    /// Reading and writing it takes long.
    pub(super) large: bool,
    /// Lower is more urgent.
    pub(super) priority: i32,
    pub(super) seed: u64,
    pub(super) deadline: Moment,
    /// The client's tags, for policies.
    pub(super) tags: Vec<String>,
    /// The headers that policies read.
    pub(super) headers: KeptHeaders,
    /// What the client wants done about failures.
    pub(super) wishes: Wishes,
    /// How often it is tried again.
    pub(super) retry: RetryRule,
    /// Whether deployments that leave out what they cannot take may do so: not before those are asked that can take it.
    pub(super) may_lose: bool,
    /// Whether another group takes over where a filter of the provider holds a reply back.
    pub(super) leaves_held_back: bool,
    /// The vector of the question, once a router wanted it; `None` within where there is none.
    pub(super) vector: OnceCell<Option<Arc<Vector>>>,
}

/// What is known of a request beside itself. It passes through every stage before a group is found, in a box: it would be copied in each.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) id: Option<RequestId>,
    pub(super) caller: Arc<Caller>,
    pub(super) api: &'static str,
    pub(super) seed: u64,
    pub(super) large: bool,
    pub(super) deadline: Moment,
    pub(super) headers: KeptHeaders,
    /// The client's tags: of its headers first, those of the request when its context is made.
    pub(super) tags: Vec<String>,
    pub(super) wishes: Wishes,
}

impl<'a> RequestContext<'a> {
    /// Builds the prompt for the group that was [`find`]'s answer, of which is told in `told`.
    ///
    /// # Errors
    /// The request steers, or its tags or what it asks of a model fit no deployment, or no prompt can be built.
    pub(super) async fn new(
        gateway: &'a Gateway,
        snapshot: &'a Snapshot,
        group: &'a Arc<GroupRuntime>,
        mut arrival: Box<Arrival>,
        mut request: Box<ChatRequest>,
        told: Option<&mut Explanation>,
    ) -> Result<Self, Refusal> {
        steering::refuse(&request)?;
        let mut retry = group.config.failures.of(&request.model).retry;
        let priority = priority(&mut request);
        arrival.tags.append(&mut take_tags(&mut request));
        for tag in own_tags(snapshot, &arrival.caller) {
            if !arrival.tags.contains(&tag) {
                arrival.tags.push(tag);
            }
        }
        let paying = Paying::of(snapshot, &arrival.caller, &arrival.tags, group);
        let eligible = Eligible::of(group, &arrival.tags)?;
        let prompt = prompt::build(gateway, group, &arrival, request, told).await?;
        let prompt::Prompt { request, items, note, grown, built_by } = prompt;
        let eligible = eligible.taking(group, &request)?;
        let Arrival { id, caller, api, seed, large, deadline, headers, tags, wishes } = *arrival;
        retry.retries = wishes.retries.unwrap_or(retry.retries);
        Ok(Self {
            id,
            gateway,
            snapshot,
            group,
            eligible,
            caller,
            paying,
            api,
            request: Arc::from(request),
            items,
            note,
            grown,
            built_by,
            asked_again: 0,
            large,
            priority,
            seed,
            deadline,
            tags,
            headers,
            wishes,
            retry,
            may_lose: true,
            leaves_held_back: false,
            vector: OnceCell::new(),
        })
    }

    /// What policies may be told of it.
    pub(super) fn facts(&self) -> Facts<'_> {
        let Self { id, group, caller, api, tags, headers, request, .. } = self;
        Facts { group, caller, api, explained: id.is_none(), tags, headers, request }
    }

    /// Whether the client gets nothing of a stream before the reply is whole.
    pub(super) fn holds(&self) -> bool {
        self.group.config.parser.as_ref().is_some_and(|parser| parser.hold)
    }

    /// Until when a request that starts to wait now may wait for a limit.
    pub(super) fn wait_deadline(&self, now: Moment) -> Moment {
        (now + self.snapshot.settings.queue.max_wait).min(self.deadline)
    }
}

/// The urgency a client gave the request, in LiteLLM's field; ours to read, not the provider's.
fn priority(request: &mut ChatRequest) -> i32 {
    let said = request.rest.shift_remove("priority").and_then(|value| value.as_i64());
    said.and_then(|value| i32::try_from(value).ok()).unwrap_or_default()
}

/// The group that serves `model`.
///
/// # Errors
/// `UnknownModel`: none does.
pub(super) fn find<'s>(snapshot: &'s Snapshot, model: &str) -> Result<Cow<'s, Arc<GroupRuntime>>, Refusal> {
    snapshot.group(model).ok_or_else(|| unknown(snapshot, model))
}

/// What a request for a model that nobody serves is told.
pub(super) fn unknown(snapshot: &Snapshot, model: &str) -> Refusal {
    let known: Vec<&str> = snapshot.groups.keys().map(GroupName::as_str).take(20).collect();
    let more = snapshot.groups.len().saturating_sub(known.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let cut = model.floor_char_boundary(NAME_BYTES);
    let (model, dots) = (&model[..cut], if cut < model.len() { "…" } else { "" });
    let message = format!("no model is named `{model}{dots}` here; known: {}{tail}", known.join(", "));
    let mut refusal = Refusal::new(RefusalKind::UnknownModel, message).at("model");
    refusal.code = Some("model_not_found".to_owned());
    refusal
}
