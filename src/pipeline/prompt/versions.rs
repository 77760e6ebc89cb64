//! A prompt while a new version of its builder is tried: which version builds it, and what the other would have made of it.
//!
//! A new version that fails is replaced by the one in force for that request, and so is one that refuses without the grant to; one that may
//! is obeyed, as the one in force would be, for it may be there to keep something in. A shadow builds beside, after the prompt is built, and
//! nobody waits for it.

use std::sync::Arc;

use super::{ask, facts, ungranted};
use crate::chat::{ChatRequest, Message};
use crate::pipeline::Gateway;
use crate::pipeline::attributes::attributes;
use crate::pipeline::context::Arrival;
use crate::policy::{BuildError, BuildRequest, Building, BuiltPrompt, PromptBuilder};
use crate::rollout::{Compared, Comparison, Decider, Rollout};
use crate::snapshot::GroupRuntime;

/// A new version that is tried, and whether it built the prompt.
pub(in crate::pipeline) type BuiltBy = (Arc<Rollout<Building>>, bool);

/// What a builder answered.
type Answer = Result<BuiltPrompt, BuildError>;

/// The versions of a group's builder that a request concerns, with what each of them wants to know.
pub(super) struct Versions<'g> {
    group: &'g GroupRuntime,
    live: (&'g Arc<PromptBuilder>, Vec<String>),
    tried: Option<Tried<'g>>,
}

/// The new version of a builder, and what it is to do.
struct Tried<'g> {
    rollout: &'g Arc<Rollout<Building>>,
    decider: Decider,
    attributes: Vec<String>,
}

impl<'g> Versions<'g> {
    /// Those for `request`, whose messages are still with it. What is planned and not served is built by the version in force alone.
    pub(super) fn of(
        group: &'g GroupRuntime,
        live: &'g Arc<PromptBuilder>,
        arrival: &Arrival,
        request: &ChatRequest,
    ) -> Self {
        let wanted = |builder: &PromptBuilder| attributes(&builder.needs().attributes, facts(group, arrival, request));
        let tried = group.builder_rollout.as_ref().filter(|_| arrival.id.is_some()).map(|rollout| {
            let decider = rollout.decider(arrival.seed);
            let attributes = if decider == Decider::Live { Vec::new() } else { wanted(rollout.candidate()) };
            Tried { rollout, decider, attributes }
        });
        Self { group, live: (live, wanted(live)), tried }
    }

    /// Has one of them build the prompt: which, and what it answered. `question` is without attributes.
    pub(super) async fn build(
        self,
        gateway: &Gateway,
        question: BuildRequest,
        mut messages: Vec<Message>,
        large: bool,
    ) -> (Arc<PromptBuilder>, Option<BuiltBy>, Answer) {
        let Self { group, live: (live, attributes), tried } = self;
        let Some(Tried { rollout, decider, attributes: own }) = tried else {
            let question = BuildRequest { attributes, ..question };
            return (Arc::clone(live), None, ask(gateway, live, question, messages, large).await);
        };
        if decider == Decider::Candidate {
            let may_reject = group.config.builder.as_ref().is_some_and(|choice| choice.may_reject);
            let candidate = rollout.candidate();
            let (own, kept) = (BuildRequest { attributes: own.clone(), ..question.clone() }, messages.clone());
            match ask(gateway, candidate, own, messages, large).await {
                Err(BuildError::Fault(_)) => {}
                Err(BuildError::Refused(words)) if !may_reject => {
                    ungranted(candidate, question.id, group, &words);
                    rollout.blamed();
                }
                answer => return (Arc::clone(candidate), Some((Arc::clone(rollout), true)), answer),
            }
            rollout.failed();
            messages = kept;
        }
        // A large prompt is not kept beside for somebody who is not obeyed.
        let shadowed = decider == Decider::LiveWithShadow && !large;
        let shadow =
            shadowed.then(|| (BuildRequest { id: None, attributes: own, ..question.clone() }, messages.clone()));
        if decider == Decider::LiveWithShadow && large {
            rollout.left_out();
        }
        let answer = ask(gateway, live, BuildRequest { attributes, ..question }, messages, large).await;
        if let Some((question, messages)) = shadow {
            beside(gateway, rollout, question, messages, &answer);
        }
        (Arc::clone(live), Some((Arc::clone(rollout), false)), answer)
    }
}

/// Has the shadow build, and compares.
fn beside(
    gateway: &Gateway,
    rollout: &Arc<Rollout<Building>>,
    question: BuildRequest,
    messages: Vec<Message>,
    live: &Answer,
) {
    // With a fault there is nothing to compare.
    let live = match live {
        Ok(prompt) => Some(prompt.clone()),
        Err(BuildError::Refused(_)) => None,
        Err(BuildError::Fault(_)) => return,
    };
    let Some(place) = rollout.place() else { return };
    let rollout = Arc::clone(rollout);
    gateway.shadows.spawn(move || {
        let _place = place;
        let own = rollout.candidate().build(&question, messages);
        rollout.compared(&compared(live.as_ref(), &own));
    });
}

/// How far two versions agree; `None` for the one in force: it refuses.
fn compared(live: Option<&BuiltPrompt>, own: &Answer) -> Compared {
    match (live, own) {
        (Some(live), Ok(own)) => Compared::Both(Comparison {
            same_first: own.messages == live.messages,
            same_ranking: own == live,
            ..Comparison::default()
        }),
        (Some(_), Err(_)) => Compared::Silent,
        (None, own) => Compared::Unserved { same: matches!(own, Err(BuildError::Refused(_))) },
    }
}
