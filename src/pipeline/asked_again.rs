//! Whoever asks the same again was not helped: the router hears that the first answer was poor.
//!
//! Only in groups whose configuration says so (`asked_again_seconds`): programs that repeat themselves mean nothing by it. What is
//! remembered is a digest of who asked what, and of the answer what a router is told of it; of so many questions at most. Only the
//! first answer that was whole counts, and each counts once.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::{Gateway, Listener, RequestContext, RequestGuard};
use crate::chat::PartKind;
use crate::moment::Moment;
use crate::record::{Ending, Record};
use crate::store::{LastAttempt, Replied};

/// Questions that are remembered.
const KEPT: usize = 4_096;
/// What an answer is worth to a router after which the same was asked again.
const POOR: f32 = 0.2;

/// The last questions of groups that want to know.
#[derive(Debug, Default)]
pub struct AskedAgain {
    /// Digests have a key that ends with the process: no question is found by trying.
    keyed: RandomState,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    by_question: HashMap<u64, (Moment, Replied)>,
    /// In the order in which they were answered; of one that was answered again, all its places.
    order: VecDeque<(Moment, u64)>,
}

impl Answers {
    fn keep(&mut self, question: u64, now: Moment, replied: Replied) {
        self.by_question.insert(question, (now, replied));
        self.order.push_back((now, question));
        while self.order.len() > KEPT {
            let Some((at, oldest)) = self.order.pop_front() else { return };
            if self.by_question.get(&oldest).is_some_and(|(answered, _)| *answered == at) {
                self.by_question.remove(&oldest);
            }
        }
    }
}

/// Remembers what is asked, and tells the router where the same was answered a short while ago.
pub(super) fn notice(context: &RequestContext<'_>, guard: &mut RequestGuard) {
    // Another group's question is none of this one's.
    guard.set_question(None);
    let Some(within) = context.group.config.router.asked_again else { return };
    if context.group.router.is_none() || context.request.vectors.is_some() || guard.priority().is_some() {
        return;
    }
    let (gateway, now) = (context.gateway, context.gateway.clock.now());
    let question = digest(context);
    guard.set_question(Some(question));
    let answered = {
        let mut answers = gateway.asked_again.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.by_question.remove(&question)
    };
    let Some((at, replied)) = answered.filter(|(at, _)| now.since(*at) <= within) else { return };
    match Listener::of(context.snapshot, &replied) {
        Ok(listener) => listener.left(gateway, POOR),
        Err(why) => tracing::debug!(?at, why, "asked again, and nobody learns from it"),
    }
}

/// Who asks what of whom.
fn digest(context: &RequestContext<'_>) -> u64 {
    let key = context.caller.key.as_str();
    let messages = context.request.messages.iter().map(|message| {
        let parts = message.parts.iter().map(|part| match &part.kind {
            PartKind::Text(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(format!("{other:?}")),
        });
        (format!("{:?}", message.role), parts.collect::<Vec<_>>())
    });
    let asked: Vec<_> = messages.collect();
    context.gateway.asked_again.keyed.hash_one((key, context.group.config.name.as_str(), asked))
}

/// A request ended that may be asked again.
pub(super) fn answered(gateway: &Gateway, question: u64, record: &Record) {
    let Some(last) = record.attempts.last().filter(|_| record.ending == Ending::Whole) else { return };
    let earlier = record.attempts.iter().filter(|attempt| attempt.group == last.group).count() - 1;
    let replied = Replied {
        arrived: record.arrived,
        key: record.caller.as_ref().map(ToString::to_string),
        policy: record.policy.as_deref().map(str::to_owned),
        seed: Some(record.seed),
        last: Some(LastAttempt {
            group: last.group.to_string(),
            number: u32::try_from(earlier).unwrap_or(u32::MAX),
            deployment: last.deployment.to_string(),
            fault: None,
            input_tokens: last.usage.input_tokens,
            output_tokens: last.usage.output_tokens,
            cost: last.cost,
        }),
    };
    let mut answers = gateway.asked_again.answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.keep(question, gateway.clock.now(), replied);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_questions_are_remembered_and_the_oldest_go_first() {
        let replied =
            |seed| Replied { arrived: Moment::default(), key: None, policy: None, seed: Some(seed), last: None };
        let mut answers = Answers::default();
        let at = |number: u64| Moment::from_millis(number);
        answers.keep(1, at(0), replied(0));
        for number in 1..KEPT as u64 {
            answers.keep(number, at(number), replied(number));
        }
        assert_eq!(answers.by_question[&1].1.seed, Some(1));
        answers.keep(9_999, at(9_999), replied(9_999));
        // What went is the first answer to the first question, and not the one that was given since.
        assert!(answers.by_question.contains_key(&1) && answers.order.len() == KEPT);
        answers.keep(10_000, at(10_000), replied(10_000));
        assert!(!answers.by_question.contains_key(&1));
    }
}
