//! From one group to the next when all of its deployments failed.
//!
//! The client's own list stands in the place of every configured one; else the list for what the fault was about, else the one
//! for all faults. A group is tried once for a request, and no more than `max_fallbacks` after the first, so that lists may
//! lead in circles. Each group has its own prompt, route, limits and reservation. When all fail, the client reads the first
//! group's fault with its status, and what became of the others behind it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::chat::ChatRequest;
use crate::failover::{Target, may_fall_back};
use crate::fault::{Cause, Refusal, RefusalKind};
use crate::id::GroupName;
use crate::snapshot::{GroupRuntime, Snapshot};

use super::auth::check_model;
use super::context::{self, Arrival, RequestContext};
use super::estimate::Counted;
use super::paying::kept_tags;
use super::{Gateway, RequestGuard, Served, asked_again, attempts, stream};

/// Serves the request in the group it names, or in those that take over.
///
/// # Errors
/// The first group's refusal, with what became of the others.
pub(super) async fn serve(
    gateway: &Gateway,
    guard: &mut RequestGuard,
    snapshot: &Snapshot,
    mut arrival: Box<Arrival>,
    mut request: Box<ChatRequest>,
) -> Result<Served<Box<stream::Begun>>, Refusal> {
    arrival.wishes.take(snapshot, &mut request)?;
    check_model(snapshot, &arrival.caller, &request.model)?;
    // What the operator's lists lead to is the operator's choice; what the client's does is the key's, by the names that it knows.
    for name in arrival.wishes.named() {
        check_model(snapshot, &arrival.caller, name)?;
    }
    // Both are asked again of what has waited.
    arrival.wishes.model = arrival.caller.virtual_key.is_some().then(|| request.model.clone());
    let first = context::find(snapshot, &request.model)?;
    let most = usize::try_from(snapshot.settings.max_fallbacks).unwrap_or(usize::MAX);
    if most == 0 || !arrival.wishes.any(&first.config.failures.of(&request.model).fallbacks) {
        return in_group(
            gateway,
            guard,
            snapshot,
            &first,
            arrival,
            request,
            (Elsewhere::default(), &mut Counted::default()),
        )
        .await;
    }
    let wishes = arrival.wishes.clone();
    let mut chain = Chain { tried: vec![first.config.name.clone()], pending: VecDeque::new() };
    let mut group = first;
    let mut asked = request.clone();
    let mut primary: Option<Refusal> = None;
    let mut counted = Counted::default();
    loop {
        let may_go_on = chain.tried.len() <= most;
        let lists = &group.config.failures.of(&asked.model).fallbacks;
        let leads_on = |cause| may_go_on && chain.leads_on(wishes.after(lists, cause));
        let held_back = Some(Cause::ContentPolicy);
        let elsewhere =
            Elsewhere { any: leads_on(None), held_back: wishes.takes_held_back(lists) && leads_on(held_back) };
        let elsewhere = (elsewhere, &mut counted);
        let answer = in_group(gateway, guard, snapshot, &group, arrival.clone(), asked, elsewhere).await;
        let refusal = match answer {
            Ok(served) => return Ok(served),
            Err(refusal) => refusal,
        };
        let (kind, cause) = (refusal.kind, refusal.cause);
        tell(&mut primary, &group.config.name, refusal);
        if !may_go_on || guard.is_spent(snapshot) || !may_fall_back(kind, cause) {
            break;
        }
        chain.then(wishes.after(lists, cause));
        let Some((target, next)) = chain.next(snapshot) else { break };
        tracing::info!(id = %guard.id(), from = %group.config.name, to = %target.group, fault = kind.as_str(), "another group takes over");
        asked =
            target.overrides.as_ref().map_or_else(|| request.clone(), |overrides| Box::new(overrides.apply(&request)));
        target.group.as_str().clone_into(&mut asked.model);
        guard.record.handed_over.push((group.config.name.clone(), cause.map_or(kind.as_str(), Cause::as_str)));
        if guard.record.is_decided() {
            guard.record.left_decided.push(group.config.name.clone());
        }
        guard.change_group();
        group = next;
    }
    Err(primary.unwrap_or_else(|| Refusal::new(RefusalKind::Internal, "no group was tried")))
}

/// Whether other groups follow.
#[derive(Clone, Copy, Default)]
struct Elsewhere {
    /// After any fault.
    any: bool,
    /// After a reply that the provider's moderation held back, by a list that is there for it.
    held_back: bool,
}

async fn in_group(
    gateway: &Gateway,
    guard: &mut RequestGuard,
    snapshot: &Snapshot,
    group: &Arc<GroupRuntime>,
    arrival: Box<Arrival>,
    request: Box<ChatRequest>,
    (elsewhere, counted): (Elsewhere, &mut Counted),
) -> Result<Served<Box<stream::Begun>>, Refusal> {
    // Of a request that its builder refuses, too.
    guard.record.group = Some(group.config.name.clone());
    let mut context = RequestContext::new(gateway, snapshot, group, arrival, request, guard.explanation()).await?;
    context.priority = guard.priority().unwrap_or(context.priority);
    guard.hold_memory(context.grown)?;
    if gateway.ledger.is_some() {
        guard.record.tags = kept_tags(snapshot, &context.caller, &context.tags);
    }
    context.leaves_held_back = elsewhere.held_back;
    asked_again::notice(&context, guard);
    attempts::within_group(guard, &mut context, elsewhere.any, counted).await
}

/// Keeps the first group's refusal, and adds the words of the others to it.
fn tell(primary: &mut Option<Refusal>, group: &GroupName, refusal: Refusal) {
    match primary {
        None => *primary = Some(refusal),
        Some(first) => {
            first.message =
                format!("{}; fallback `{group}`: {} ({})", first.message, refusal.message, refusal.kind.as_str());
            // Whoever is back first serves it.
            first.retry_after = first.retry_after.map(|wait| refusal.retry_after.map_or(wait, |other| wait.min(other)));
        }
    }
}

/// The groups a request was in and those that may follow.
struct Chain {
    tried: Vec<GroupName>,
    pending: VecDeque<Target>,
}

impl Chain {
    fn is_new(&self, target: &Target) -> bool {
        !self.tried.contains(&target.group)
    }

    /// Whether any group would follow.
    fn leads_on(&self, targets: &[Target]) -> bool {
        !self.pending.is_empty() || targets.iter().any(|target| self.is_new(target))
    }

    /// The targets of a group that failed come before those its predecessor left.
    fn then(&mut self, targets: &[Target]) {
        for target in targets.iter().rev() {
            if self.is_new(target) {
                self.pending.retain(|pending| pending.group != target.group);
                self.pending.push_front(target.clone());
            }
        }
    }

    fn next<'s>(&mut self, snapshot: &'s Snapshot) -> Option<(Target, Cow<'s, Arc<GroupRuntime>>)> {
        let target = self.pending.pop_front()?;
        self.tried.push(target.group.clone());
        let group = snapshot.group(target.group.as_str())?;
        Some((target, group))
    }
}

#[cfg(test)]
mod tests;
