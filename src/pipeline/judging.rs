//! Replies that are kept to be judged: drawn by the request's seed, and handed over when the request has ended well.
//!
//! What is kept is what the model was sent and what it said, before the group's response parser made something else of it: who judges
//! is told nothing that no provider was. It is bounded, and kept of drawn requests alone. Where too many wait already, or nobody judges,
//! it is dropped: no request waits for its judge or fails with it.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::{Estimate, Gateway, RequestContext, RequestGuard, estimate};
use crate::budgets::BudgetId;
use crate::chat::{ChatRequest, PartKind, Reply, Role};
use crate::id::{GroupName, RequestId};
use crate::money::NanoUsd;
use crate::seed;
use crate::snapshot::GroupRuntime;
use crate::tokens;

/// Bytes of a conversation, and of a reply, that are judged.
const LONGEST: usize = 64 << 10;
/// Replies that wait to be judged at most: 16 MiB, if each is as long as may be.
const WAITING: usize = 128;
/// Which of a request's draws says whether its reply is judged.
const DRAW: u64 = 0x006A_7564_6765;

/// A reply that is to be judged.
#[derive(Debug)]
pub struct ToJudge {
    /// The request it answers.
    pub request: RequestId,
    /// The group whose deployment replied.
    pub group: GroupName,
    /// What the model was sent, as who says what; of a long conversation the end.
    pub conversation: Vec<(&'static str, String)>,
    /// What it said; of a long reply the beginning.
    pub reply: String,
    /// Whether the reply goes on.
    pub cut: bool,
}

/// What became of a reply that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// There is a verdict.
    Judged,
    /// There is none: its judge was not asked, for want of money, room or a text.
    Skipped,
    /// There is none: its judge failed.
    Failed,
}

impl Judged {
    /// Its stable name, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// Where replies wait for their judge.
#[derive(Debug, Default)]
pub struct Judging(OnceLock<mpsc::Sender<Box<ToJudge>>>);

impl Judging {
    /// Whoever takes them from now on; `None` where somebody does already.
    pub fn open(&self) -> Option<mpsc::Receiver<Box<ToJudge>>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.0.set(sender).is_ok().then_some(receiver)
    }
}

impl ToJudge {
    /// The reply to come, where it is drawn.
    pub(super) fn drawn(context: &RequestContext<'_>, guard: &RequestGuard) -> Option<Box<Self>> {
        let group = &context.group.config;
        let judge = group.judge.as_ref()?;
        let Gateway { judging, ledger, .. } = context.gateway;
        let may_be = judging.0.get().is_some() && ledger.is_some() && !guard.is_a_judges();
        if !may_be
            || context.request.vectors.is_some()
            || !seed::is_drawn(seed::derive(context.seed, DRAW), judge.sample)
        {
            return None;
        }
        let conversation = conversation(&context.request);
        Some(Box::new(Self {
            request: guard.id(),
            group: group.name.clone(),
            conversation,
            reply: String::new(),
            cut: false,
        }))
    }

    /// More of what the model said.
    pub(super) fn say(&mut self, text: &str) {
        if !self.cut {
            let room = text.floor_char_boundary(LONGEST - self.reply.len());
            self.cut = room < text.len();
            self.reply.push_str(&text[..room]);
        }
    }

    /// A whole reply, where it is drawn: what the first of its alternatives says.
    pub(super) fn whole(context: &RequestContext<'_>, guard: &RequestGuard, reply: &Reply) -> Option<Box<Self>> {
        let mut drawn = Self::drawn(context, guard)?;
        for part in reply.choices.first().into_iter().flat_map(|choice| &choice.parts) {
            if let PartKind::Text(text) | PartKind::Refusal(text) = &part.kind {
                drawn.say(text);
            }
        }
        Some(drawn)
    }

    /// Its request has ended well.
    pub(super) fn hand_over(self: Box<Self>, gateway: &Gateway) {
        let group = self.group.clone();
        let given =
            !self.reply.trim().is_empty() && gateway.judging.0.get().is_some_and(|to| to.try_send(self).is_ok());
        if !given {
            gateway.recorder.judged(&group, Judged::Skipped);
        }
    }
}

/// Whether what is left of these budgets is less than what would be held for this call, wherever in the group that is least, also
/// once the calls under way have ended. Asked before a call is made, so that none is refused, and recorded, for each reply.
pub async fn is_beyond(
    gateway: &Gateway,
    budgets: &[BudgetId],
    group: &GroupRuntime,
    mut request: Box<ChatRequest>,
) -> bool {
    let beyond = |amount: NanoUsd| {
        // What costs nothing has no room either where all is spent.
        let short = gateway.budgets.short(gateway.clock.now(), budgets, amount.max(NanoUsd(1)));
        short.is_some_and(|short| !short.may_wait())
    };
    let least = |request: &ChatRequest| {
        let estimate = Estimate::of(request);
        let held = group.deployments.iter().map(|deployment| estimate.demand(deployment).cost);
        held.min().unwrap_or_default()
    };
    if !beyond(least(&request)) {
        return false;
    }
    if beyond(NanoUsd(1)) {
        return true;
    }
    // By its bytes it is taken for dearer than by its tokens, which are counted before it is refused for want of money.
    let Some(first) = group.deployments.first() else { return true };
    let (bound, words) = (tokens::upper_bound(&request), Arc::new((*request).clone()));
    let counted = estimate::count(gateway, &words, bound, &first.config.model).await;
    request.input_tokens = Some(counted.map_or(bound, |count| count.tokens));
    beyond(least(&request))
}

/// Its end, as long as may be.
fn conversation(request: &ChatRequest) -> Vec<(&'static str, String)> {
    let mut room = LONGEST;
    let mut turns = Vec::new();
    for message in request.messages.iter().rev() {
        let who = match message.role {
            Role::System | Role::Developer => "instructions",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        // The last parts first, and of each no more than there is room for: what is copied is bounded.
        let mut text = String::new();
        for part in message.parts.iter().rev() {
            if text.len() >= room {
                break;
            }
            let mut said = String::new();
            words(&part.kind, room, &mut said);
            text.insert_str(0, &said);
        }
        let cut = text.len() >= room;
        text.drain(..text.len() - end(&text, room).len());
        room -= text.len();
        if !text.is_empty() {
            turns.push((who, text));
        }
        if cut {
            break;
        }
    }
    turns.reverse();
    turns
}

/// The end of a text, so many bytes at most.
fn end(text: &str, most: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(most))..]
}

/// What is said in words: of each text its end, so many bytes at most.
fn words(part: &PartKind, most: usize, text: &mut String) {
    match part {
        PartKind::Text(said) | PartKind::Refusal(said) => text.push_str(end(said, most)),
        PartKind::ToolCall { name, arguments, .. } => text.extend([end(name, most), "(", end(arguments, most), ")"]),
        PartKind::ToolResult { content, .. } => content.iter().for_each(|part| words(&part.kind, most, text)),
        PartKind::Image(_) => text.push_str("[a picture]"),
        PartKind::Reasoning { .. } | PartKind::Other(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ClientRequest, operation_at};
    use http::Uri;
    use serde_json::{Value, json};

    fn parsed(messages: &Value) -> ChatRequest {
        let uri = Uri::from_static("/v1/chat/completions");
        let (api, _) = operation_at(uri.path()).unwrap();
        api.parse(&ClientRequest::post(uri, json!({"model": "g", "messages": messages}).to_string())).unwrap()
    }

    #[test]
    fn of_a_long_conversation_the_end_is_judged_and_of_a_long_reply_the_beginning() {
        let short = parsed(&json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Who?"}, {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]},
        ]));
        let told = [("instructions", "Be brief.".to_owned()), ("user", "Who?[a picture]".to_owned())];
        assert_eq!(conversation(&short), told);
        let long = parsed(&json!([
            {"role": "user", "content": "left out"},
            {"role": "assistant", "content": "é".repeat(LONGEST)},
            {"role": "user", "content": "Go on."},
        ]));
        let kept = conversation(&long);
        assert_eq!((kept[0].0, kept[1].1.as_str(), kept.len()), ("assistant", "Go on.", 2));
        assert!((LONGEST - 10..=LONGEST).contains(&(kept[0].1.len() + kept[1].1.len())));

        let id = RequestId::derive(crate::moment::Moment::from_millis(1), 1);
        let mut reply =
            ToJudge { request: id, group: "g".into(), conversation: kept, reply: String::new(), cut: false };
        reply.say("abc");
        assert!(!reply.cut);
        reply.say(&"é".repeat(LONGEST));
        assert!(reply.cut && reply.reply.len() <= LONGEST && reply.reply.len() > LONGEST - 2);
        let length = reply.reply.len();
        reply.say("x");
        assert_eq!(reply.reply.len(), length, "what follows a gap is none of it");
    }
}
